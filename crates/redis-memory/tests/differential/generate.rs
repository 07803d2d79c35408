//! Random commands over few keys, so that types collide, from one template for each command.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Command;

pub(crate) const KEYS: &[&[u8]] = &[b"a", b"b", b"c", b"d", b"e{\xff\r\n}"];
const MEMBERS: &[&[u8]] = &[b"", b"0", b"1", b"2", b"a", b"b", b"B", b"aa", b"\xff\0\r\n", b"-5", b"07"];
const INTEGERS: &[&[u8]] = &[
    b"0",
    b"-1",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"922337203685477580",
    b"01",
    b"+5",
    b" 5",
    b"",
    b"-0",
    b"abc",
    b"4.5",
    b"999999999999",
];
const FLOATS: &[&[u8]] = &[
    b"0",
    b"-0",
    b"0.1",
    b"0.2",
    b"-0.3",
    b"3.0e3",
    b"1e17",
    b"1e18",
    b"-1e19",
    b"1e-17",
    b"5e-18",
    b"1e300",
    b"1e308",
    b"1e400",
    b"1e-400",
    b"1e4900",
    b"1e4932",
    b"1e4933",
    b"1e-4950",
    b"1e-4960",
    b"inf",
    b"-inf",
    b"+Infinity",
    b"nan",
    b"0x1p3",
    b"0x.8",
    b"0xg",
    b".5",
    b"5.",
    b".",
    b"e5",
    b"1e",
    b" 1",
    b"1 ",
    b"1\x001",
    b"",
    b"abc",
    b"18446744073709551615",
    b"9007199254740993",
    b"0.30000000000000004",
    b"2.98023223876953125e-08",
    b"3.6893488147419103232e19",
    b"4611686018427387904",
    b"1.00000000000000001",
    b"123456789.123456789123456789",
];
const PATTERNS: &[&[u8]] = &[b"*", b"a*", b"?", b"[a-b]", b"[^a]", b"\\*", b"[", b"*a*", b"", b"[0-"];

/// `$x` stands for a random argument of its kind. `<a|b>` is one of them; `?` after it makes it optional,
/// `*` means up to three, `+` one to three.
const TEMPLATES: &str = include_str!("templates.txt");

/// Every command that the store has, but DBSIZE, which Redis answers with expired keys counted in.
pub(crate) fn names() -> BTreeSet<&'static str> {
    TEMPLATES.lines().filter_map(|template| template.split(' ').next()).collect()
}

pub(crate) struct Generator {
    random: fastrand::Rng,
    templates: Vec<&'static str>,
    /// The key that the current command prefers, so that it often finds its own type.
    home: usize,
    lifetimes: i64,
    start_millis: i64,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Generator {
            random: fastrand::Rng::with_seed(seed),
            templates: TEMPLATES.lines().collect(),
            home: 0,
            lifetimes: 0,
            start_millis: now.as_millis() as i64,
        }
    }

    /// One in `n`.
    pub(crate) fn chance(&mut self, n: u32) -> bool {
        self.random.u32(0..n) == 0
    }

    pub(crate) fn command(&mut self) -> Command {
        let template = self.templates[self.random.usize(0..self.templates.len())];
        self.home = match template.as_bytes()[0] {
            b'h' => 0,
            b'l' | b'r' => 1,
            b's' => 2,
            b'z' => 3,
            _ => 4,
        };
        let mut command = Vec::new();
        self.expand(template, &mut command);
        if self.chance(3) {
            command[0].make_ascii_uppercase();
        }
        match self.random.u32(0..60) {
            0 if command.len() > 1 => drop(command.pop()),
            1 => command.push(self.pick(INTEGERS)),
            2 if command.len() > 1 => {
                let place = self.random.usize(1..command.len());
                let odd = if self.random.bool() { INTEGERS } else { FLOATS };
                // Redis would start somewhere else for another cursor.
                let is_cursor = place == 2 && command[0].to_ascii_lowercase().ends_with(b"scan");
                // A lifetime of a few seconds would end somewhere in the run.
                command[place] = match self.pick(odd) {
                    _ if is_cursor => b"0".to_vec(),
                    number if number.len() > 4 => number,
                    _ => b"-1".to_vec(),
                };
            }
            _ => {}
        }
        command
    }

    /// A few commands for MULTI, now and then with one that makes EXEC refuse.
    pub(crate) fn batch(&mut self) -> Vec<Command> {
        let len = self.random.usize(0..6);
        let mut batch: Vec<Command> = Vec::new();
        while batch.len() < len {
            let command = self.command();
            // What Redis chooses, and scans in pieces, cannot be followed up inside a batch.
            let followed: [&[u8]; 5] = [b"spop", b"srandmember", b"hscan", b"sscan", b"zscan"];
            if !followed.contains(&command[0].to_ascii_lowercase().as_slice()) {
                batch.push(command);
            }
        }
        if self.chance(8) {
            batch.push(vec![b"nosuchcommand".to_vec(), b"x".to_vec()]);
        }
        batch
    }

    fn expand(&mut self, template: &str, command: &mut Command) {
        let mut rest = template.trim();
        while !rest.is_empty() {
            if let Some(group) = rest.strip_prefix('<') {
                let (inside, after) = group.split_once('>').unwrap();
                let (count, skip) = match after.chars().next() {
                    Some('?') => (self.random.u32(0..2), 1),
                    Some('*') => (self.random.u32(0..8).saturating_sub(4), 1),
                    Some('+') => (self.random.u32(1..4), 1),
                    _ => (1, 0),
                };
                let choices: Vec<_> = inside.split('|').collect();
                for _ in 0..count {
                    let choice = choices[self.random.usize(0..choices.len())];
                    self.expand(choice, command);
                }
                rest = after[skip..].trim_start();
            } else {
                let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
                command.push(self.argument(word));
                rest = after.trim_start();
            }
        }
    }

    fn argument(&mut self, word: &str) -> Vec<u8> {
        match word {
            "$k" if self.chance(3) => self.pick(KEYS),
            "$k" => KEYS[self.home].to_vec(),
            "$m" => self.pick(MEMBERS),
            "$p" => self.pick(PATTERNS),
            "$v" => self.value(),
            "$i" => self.integer(),
            "$f" => self.float(),
            "$b" => {
                let open = if self.chance(3) { "(" } else { "" };
                [open.as_bytes(), &self.float()].concat()
            }
            "$x" => match self.random.u32(0..8) {
                0 => b"-".to_vec(),
                1 => b"+".to_vec(),
                2 => self.pick(MEMBERS),
                n => [if n % 2 == 0 { b"(" } else { b"[" }, &self.pick(MEMBERS)[..]].concat(),
            },
            "$n" => self.small(-5..6, 30),
            "$c" => self.small(0..8, 30),
            "$s" => (self.lifetime() / 1000).to_string().into_bytes(),
            "$ms" => self.lifetime().to_string().into_bytes(),
            "$at" => (self.moment() / 1000).to_string().into_bytes(),
            "$atms" => self.moment().to_string().into_bytes(),
            word => word.as_bytes().to_vec(),
        }
    }

    fn pick(&mut self, from: &[&[u8]]) -> Vec<u8> {
        from[self.random.usize(0..from.len())].to_vec()
    }

    fn small(&mut self, range: std::ops::Range<i64>, odd: u32) -> Vec<u8> {
        if self.chance(odd) { self.pick(INTEGERS) } else { self.random.i64(range).to_string().into_bytes() }
    }

    fn integer(&mut self) -> Vec<u8> {
        self.small(-100..100, 6)
    }

    fn value(&mut self) -> Vec<u8> {
        match self.random.u32(0..4) {
            0 => self.integer(),
            1 => self.float(),
            2 => self.pick(MEMBERS),
            _ => (0..self.random.usize(0..12)).map(|_| self.random.u8(..)).collect(),
        }
    }

    pub(crate) fn float(&mut self) -> Vec<u8> {
        match self.random.u32(0..8) {
            0 => self.pick(FLOATS),
            1 => format!("{:e}", f64::from_bits(self.random.u64(..))).into_bytes(),
            2 => {
                let digits: String = (0..self.random.usize(1..30)).map(|_| self.random.digit(10)).collect();
                let fraction: String = (0..self.random.usize(1..30)).map(|_| self.random.digit(10)).collect();
                format!("{digits}.{fraction}e{}", self.random.i32(-20..20)).into_bytes()
            }
            3 => format!("{}", self.random.f64() * 10.0 - 5.0).into_bytes(),
            4 => format!("{}.{}", self.random.i32(-99..99), self.random.u32(0..1000)).into_bytes(),
            _ => self.random.i32(-6..7).to_string().into_bytes(),
        }
    }

    /// Milliseconds: over, far away, or too far. No two are near each other, since which of two near ones is later
    /// depends on the clock.
    fn lifetime(&mut self) -> i64 {
        if self.chance(12) {
            let extremes = [0, -1, -100_000, i64::MIN, i64::MAX, i64::MAX - 1000, i64::MAX / 1000];
            return extremes[self.random.usize(0..extremes.len())];
        }
        self.lifetimes += 1;
        1_000_000 + self.lifetimes * 7919 % 100_003 * 60_000
    }

    /// Milliseconds since 1970, long ago or far away.
    fn moment(&mut self) -> i64 {
        match self.random.u32(0..12) {
            0 => self.start_millis - 10_000_000,
            1 => self.lifetime(),
            _ => self.start_millis.saturating_add(self.lifetime()),
        }
    }
}

/// `\xNN`, `\r`, `\n` and `\_` for a space; a word of two quotes is empty.
pub(crate) fn unescape(word: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = if word == "\"\"" { "" } else { word }.bytes();
    while let Some(byte) = rest.next() {
        match (byte, byte == b'\\') {
            (_, true) => match rest.next().expect("an escape ends the word") {
                b'r' => out.push(b'\r'),
                b'n' => out.push(b'\n'),
                b'_' => out.push(b' '),
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                }
                other => panic!("unknown escape {}", char::from(other)),
            },
            (byte, false) => out.push(byte),
        }
    }
    out
}
