//! Makes hostile commands: valid lines, then bent.

use agw_redis_commands::all;

use super::planted::{KNOWN, PREFIX};
use super::templates::{ATTACKS, TEMPLATES};

/// Words that mean something to some command.
const WORDS: &[&str] = &[
    "STORE",
    "STOREDIST",
    "BY",
    "GET",
    "DB",
    "MATCH",
    "STREAMS",
    "LIMIT",
    "COUNT",
    "BLOCK",
    "GROUP",
    "KEYS",
    "AUTH",
    "REPLACE",
    "COPY",
    "NOACK",
    "TYPE",
    "WEIGHTS",
    "AGGREGATE",
    "FROMMEMBER",
    "STORE\0",
    "STREAMS\0",
    "DB\0",
    "store",
    "sToReDiSt",
    "ALPHA",
    "ANY",
    "WITHSCORES",
    "MAXLEN",
    "NOMKSTREAM",
    "IDX",
    "#",
    "nosort",
];

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "5",
    "-1",
    "-2",
    "10",
    "100",
    "00",
    "01",
    "+1",
    "0x2",
    "1.5",
    "1e1",
    " 1",
    "inf",
    "nan",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999",
    "",
];

const PATTERNS: &[&str] = &[
    "*",
    "outside*",
    "*outside:s*",
    "../outside:s",
    "\\",
    "\\*",
    "[^a]*",
    "]:*",
    "[",
    "outside:*->f",
    "outside:h->*",
    "tenant*",
    "?*",
    "\r\nDEL outside:s\r\n",
    "\r\n*2\r\n$3\r\nDEL\r\n$9\r\noutside:s\r\n",
    "{outside}",
    "}{",
];

/// A small, seeded generator: xorshift64*.
pub(crate) struct Hostile {
    state: u64,
}

/// The guest's own keys, the first byte being the type.
pub(crate) fn own_names() -> Vec<Vec<u8>> {
    let typed = b"snhlezxgp".iter().flat_map(|kind| [vec![*kind, b'0'], vec![*kind, b'1']]);
    typed.chain([b"".to_vec(), b"s\0\xff".to_vec(), b"{outside}s".to_vec()]).collect()
}

impl Hostile {
    pub(crate) fn new(seed: u64) -> Hostile {
        Hostile { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// One command line.
    pub(crate) fn line(&mut self) -> Vec<Vec<u8>> {
        if self.one_in(12) {
            return self.any_command();
        }
        let attack = self.one_in(8);
        let template = self.pick(if attack { ATTACKS } else { TEMPLATES });
        let mut line: Vec<_> = template.split(' ').map(|word| self.word(word)).collect();
        // Half of the lines stay valid, so that much of them succeeds.
        if self.one_in(2) {
            for _ in 0..=self.below(3) {
                self.bend(&mut line);
            }
        }
        line
    }

    fn word(&mut self, word: &str) -> Vec<u8> {
        match word.as_bytes() {
            [b'@', b'd'] => self.own_key(),
            [b'@', kind] if self.one_in(10) => [*kind, b'9'].to_vec(),
            [b'@', kind] => vec![*kind, b'0' + self.below(2) as u8],
            b"$" | b"%" => self.value(),
            b"!" => self.pick(KNOWN).into(),
            b"&" => vec![b'0' + self.below(9) as u8],
            _ => word.as_bytes().to_vec(),
        }
    }

    fn own_key(&mut self) -> Vec<u8> {
        let names = own_names();
        names[self.below(names.len())].clone()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.below(8) {
            0 => self.outside(),
            1 => b"mine-1".to_vec(),
            // The rest of a name outside, for `SORT ... GET outside:*`.
            2 => b"s".to_vec(),
            _ => vec![b'a' + self.below(8) as u8],
        }
    }

    /// A key outside, as the guest might try to reach it.
    fn outside(&mut self) -> Vec<u8> {
        let name = self.pick(KNOWN).as_bytes();
        match self.below(6) {
            0 => [PREFIX.as_bytes(), name].concat(),
            1 => [name, b"\0"].concat(),
            2 => [&b"\r\n"[..], name].concat(),
            _ => name.to_vec(),
        }
    }

    fn anything(&mut self) -> Vec<u8> {
        match self.below(8) {
            0 | 1 => self.outside(),
            2 => self.pick(WORDS).into(),
            3 => self.pick(NUMBERS).into(),
            4 => self.pick(PATTERNS).into(),
            5 => self.own_key(),
            6 => PREFIX.into(),
            _ => self.value(),
        }
    }

    fn bend(&mut self, line: &mut Vec<Vec<u8>>) {
        let at = self.below(line.len());
        match self.below(12) {
            0..=2 => line[at] = self.outside(),
            3 => line[at] = self.anything(),
            4 => line.insert(at, self.anything()),
            5 => line.push(self.anything()),
            6 => {
                line.push(self.pick(WORDS).into());
                line.push(self.outside());
            }
            7 => {
                let at = 1 + self.below(line.len());
                line.insert(at.min(line.len()), self.outside());
                line.insert(at.min(line.len()), self.pick(WORDS).into());
            }
            8 if line.len() > 1 => {
                line.remove(at);
            }
            9 => {
                let other = self.below(line.len());
                line.swap(at, other);
            }
            10 => {
                let number = self.pick(NUMBERS).into();
                line[at] = number;
            }
            _ => self.change_case(&mut line[at]),
        }
    }

    fn change_case(&mut self, word: &mut Vec<u8>) {
        match self.below(4) {
            0 => word.make_ascii_uppercase(),
            1 => word.make_ascii_lowercase(),
            2 => word.push(0),
            _ => word.iter_mut().step_by(2).for_each(|byte| *byte = byte.to_ascii_uppercase()),
        }
    }

    /// Any command of the table, the refused ones among them, with any arguments.
    fn any_command(&mut self) -> Vec<Vec<u8>> {
        let row = &all()[self.below(all().len())];
        let mut line: Vec<Vec<u8>> = row.name.split('|').map(|word| word.as_bytes().to_vec()).collect();
        let spare = self.below(6).saturating_sub(2);
        while line.len() < usize::from(row.arity.unsigned_abs()) + spare {
            line.push(self.anything());
        }
        line
    }
}
