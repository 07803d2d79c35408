//! The store against a real `redis-server`: the same commands to both, the replies compared byte by byte.
//!
//! `AGW_DIFFERENTIAL_COMMANDS` sets how many random commands run, `AGW_DIFFERENTIAL_SEED` repeats a run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod compare;
mod generate;
mod server;

use std::collections::{HashSet, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use agw_redis_memory::{Limits, Store, UnixMillis};
use compare::same;
use generate::{Generator, KEYS, names};
use server::Server;

type Command = Vec<Vec<u8>>;

/// Both start empty again after this many commands, so that values stay small and keys change their types.
const EPOCH: usize = 1500;

fn now() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

fn seed() -> u64 {
    number("AGW_DIFFERENTIAL_SEED").unwrap_or_else(|| fastrand::u64(..))
}

fn refs(command: &Command) -> Vec<&[u8]> {
    command.iter().map(Vec::as_slice).collect()
}

fn words(text: &str) -> Command {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn show(command: &Command) -> String {
    command.iter().map(|arg| format!("\"{}\"", arg.escape_ascii())).collect::<Vec<_>>().join(" ")
}

/// A store and a server that should be in the same state.
struct Pair {
    store: Store,
    server: Server,
    history: VecDeque<String>,
    seed: u64,
    errors: u64,
    /// Names of the commands that have done more than fail.
    answered: HashSet<Vec<u8>>,
}

impl Pair {
    fn new(seed: u64) -> Self {
        Pair {
            store: Store::new(Limits::default()),
            server: Server::start(),
            history: VecDeque::new(),
            seed,
            errors: 0,
            answered: HashSet::new(),
        }
    }

    fn clear(&mut self) {
        self.store = Store::new(Limits::default());
        assert_eq!(self.server.call(&[b"FLUSHALL"]), b"+OK\r\n");
        self.history.clear();
    }

    fn local(&self, command: &Command) -> Vec<u8> {
        let mut out = Vec::new();
        self.store.execute(now(), &refs(command), &mut out);
        out
    }

    fn note(&mut self, line: String) {
        self.history.push_back(line);
        if self.history.len() > 30 {
            self.history.pop_front();
        }
    }

    fn check(&self, command: &Command, ours: &[u8], theirs: &[u8]) {
        if let Err(difference) = same(command, ours, theirs) {
            let history: Vec<_> = self.history.iter().map(String::as_str).collect();
            panic!(
                "AGW_DIFFERENTIAL_SEED={}: {difference}\n{}\nafter\n{}\nstore: {}\nredis: {}",
                self.seed,
                show(command),
                history.join("\n"),
                ours.escape_ascii(),
                theirs.escape_ascii()
            );
        }
    }

    fn run(&mut self, command: &Command) {
        match command[0].to_ascii_lowercase().as_slice() {
            b"spop" => self.run_spop(command),
            _ => {
                let ours = self.local(command);
                let theirs = self.server.call(&refs(command));
                let theirs = self.scan_to_the_end(command, theirs);
                self.check(command, &ours, &theirs);
                if ours.starts_with(b"-") {
                    self.errors += 1;
                } else {
                    self.answered.insert(command[0].to_ascii_lowercase());
                }
            }
        }
        self.note(show(command));
    }

    /// The store answers a scan at once, Redis piece by piece: gathers the pieces.
    fn scan_to_the_end(&mut self, command: &Command, first: Vec<u8>) -> Vec<u8> {
        let mut gathered = compare::Scanned::default();
        let mut command = command.clone();
        let mut reply = first.clone();
        while let Some(cursor) = gathered.add(&command, &reply) {
            if cursor == b"0" {
                return gathered.reply();
            }
            command[2] = cursor;
            reply = self.server.call(&refs(&command));
        }
        first
    }

    /// Each pops its own choice. The store pops from a copy; then it removes what Redis has removed.
    fn run_spop(&mut self, command: &Command) {
        const COPY: &[u8] = b"copy for spop";
        let mut on_copy = command.clone();
        if let Some(key) = command.get(1) {
            self.local(&vec![b"DEL".to_vec(), COPY.to_vec()]);
            self.local(&vec![b"COPY".to_vec(), key.clone(), COPY.to_vec()]);
            on_copy[1] = COPY.to_vec();
        }
        let ours = self.local(&on_copy);
        let theirs = self.server.call(&refs(command));
        self.check(command, &ours, &theirs);
        let (Some(key), popped) = (command.get(1), compare::members(&theirs)) else { return };
        if popped.is_empty() {
            return;
        }
        self.answered.insert(b"spop".to_vec());
        for member in compare::members(&ours) {
            let own = |key: &[u8]| self.local(&vec![b"SISMEMBER".to_vec(), key.to_vec(), member.clone()]);
            assert_eq!((own(key), own(COPY)), (b":1\r\n".to_vec(), b":0\r\n".to_vec()), "{}", show(command));
        }
        let left = |key: &[u8]| self.local(&vec![b"SCARD".to_vec(), key.to_vec()]);
        let left_by_store = left(COPY);
        let count = popped.len();
        let removal = [vec![b"SREM".to_vec(), key.clone()], popped].concat();
        assert_eq!(self.local(&removal), format!(":{count}\r\n").into_bytes(), "{}", show(command));
        assert_eq!(left_by_store, self.local(&vec![b"SCARD".to_vec(), key.clone()]), "{}", show(command));
        self.local(&vec![b"DEL".to_vec(), COPY.to_vec()]);
    }

    fn run_atomic(&mut self, commands: &[Command]) {
        let mut ours = Vec::new();
        let batch: Vec<_> = commands.iter().map(refs).collect();
        self.store.execute_atomic(now(), &batch, &mut ours);
        let theirs = self.server.call_atomic(&batch);
        let outcome = compare::same_batch(commands, &ours, &theirs);
        let shown = commands.iter().map(show).collect::<Vec<_>>().join("; ");
        assert_eq!(outcome, Ok(()), "AGW_DIFFERENTIAL_SEED={}: MULTI {shown}", self.seed);
        self.note(format!("MULTI {shown} EXEC"));
    }

    /// Everything that a key holds.
    fn run_full_look(&mut self) {
        for key in KEYS {
            for look in [
                "TYPE",
                "TTL",
                "PEXPIRETIME",
                "GET",
                "HGETALL",
                "SMEMBERS",
                "LRANGE 0 -1",
                "ZRANGE 0 -1 WITHSCORES",
            ] {
                let mut command = words(look);
                command.insert(1, key.to_vec());
                self.run(&command);
            }
        }
    }
}

#[test]
fn random_commands_are_answered_as_redis_answers_them() {
    let commands = number("AGW_DIFFERENTIAL_COMMANDS").unwrap_or(20_000);
    let seed = seed();
    println!("AGW_DIFFERENTIAL_SEED={seed} AGW_DIFFERENTIAL_COMMANDS={commands}");
    let mut generator = Generator::new(seed);
    let mut pair = Pair::new(seed);
    let mut done = 0;
    while done < commands {
        pair.clear();
        for _ in 0..EPOCH {
            if generator.chance(20) {
                let batch = generator.batch();
                done += batch.len() as u64;
                pair.run_atomic(&batch);
            } else {
                done += 1;
                pair.run(&generator.command());
            }
        }
        pair.run_full_look();
    }
    println!("{done} commands, {} of them errors", pair.errors);
    let silent: Vec<_> =
        names().into_iter().filter(|name| !pair.answered.contains(name.as_bytes())).collect();
    assert!(commands < 10_000 || silent.is_empty(), "these did nothing but fail: {silent:?}");
}

#[test]
fn floats_are_read_added_and_printed_as_redis_does() {
    let seed = seed();
    println!("AGW_DIFFERENTIAL_SEED={seed}");
    let mut generator = Generator::new(seed);
    let mut pair = Pair::new(seed);
    for _ in 0..3_000 {
        let (a, b) = (generator.float(), generator.float());
        pair.run(&vec![b"SET".to_vec(), b"f".to_vec(), a.clone()]);
        pair.run(&vec![b"INCRBYFLOAT".to_vec(), b"f".to_vec(), b.clone()]);
        pair.run(&vec![b"ZADD".to_vec(), b"z".to_vec(), a, b"m".to_vec()]);
        pair.run(&vec![b"ZINCRBY".to_vec(), b"z".to_vec(), b, b"m".to_vec()]);
        pair.run(&words("ZRANGE z 0 -1 WITHSCORES"));
    }
}

#[test]
fn any_number_of_arguments_is_answered_as_redis_answers_it() {
    let mut pair = Pair::new(0);
    for name in names() {
        for count in 0..8 {
            let mut command = vec![name.as_bytes().to_vec()];
            command.extend(vec![b"x".to_vec(); count]);
            pair.clear();
            pair.run(&command);
        }
    }
}

#[test]
fn the_odd_corners_are_those_of_redis() {
    let mut pair = Pair::new(0);
    for line in include_str!("corners.txt").lines() {
        match line {
            "" => pair.clear(),
            line => pair.run(&line.split(' ').map(generate::unescape).collect()),
        }
    }
}
