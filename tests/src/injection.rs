//! Values that would change a statement if they were put into its text.

use crate::seed::Seed;

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
    let mut seed = Seed::new(seed ^ number.wrapping_mul(0xa076_1d64_78bd_642f));
    let mut payload = String::new();
    for _ in 0..=seed.below(8) {
        payload.push_str(parts[seed.below(parts.len())]);
        payload.push_str(BETWEEN[seed.below(BETWEEN.len())]);
    }
    payload
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
