//! Values that would change a statement if they were put into its text.

/// What Postgres may trip over.
pub const POSTGRES: [&str; 16] = [
    "'",
    "\"",
    "';DROP TABLE t;--",
    "\\",
    "\\'",
    "$$",
    "$1",
    "/*",
    "*/",
    "--\n",
    "\u{2019}",
    "\u{bf27}",
    "%",
    "x' OR '1'='1",
    "E'\\'",
    ");DELETE FROM t;(",
];

/// What MySQL and MariaDB may trip over.
pub const MYSQL: [&str; 16] = [
    "'",
    "\"",
    "';DROP TABLE t;--",
    "\\",
    "\\'",
    "`",
    "?",
    "/*!50000 ",
    "*/",
    "-- \n",
    "#",
    "\u{bf27}",
    "%",
    "x' OR '1'='1",
    "\0",
    ");DELETE FROM t;(",
];

/// What stands between parts.
const BETWEEN: [&str; 4] = ["", " ", "\n", "; SELECT 1; "];

/// One to eight of the parts in any order: the same for the same seed and number.
pub fn payload(parts: &[&str], seed: u64, number: u64) -> String {
    let mut state = seed ^ number.wrapping_mul(0xa076_1d64_78bd_642f);
    let mut pick = |of: usize| (next(&mut state) % of as u64) as usize;
    let mut payload = String::new();
    for _ in 0..1 + pick(8) {
        payload.push_str(parts[pick(parts.len())]);
        payload.push_str(BETWEEN[pick(BETWEEN.len())]);
    }
    payload
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn payloads_are_the_same_again_and_most_differ() {
        let all: HashSet<String> = (0..1000).map(|number| payload(&MYSQL, 1, number)).collect();
        assert!(all.len() > 900, "{}", all.len());
        assert_eq!(payload(&MYSQL, 1, 7), payload(&MYSQL, 1, 7));
        assert_ne!(payload(&MYSQL, 1, 7), payload(&MYSQL, 2, 7));
    }
}
