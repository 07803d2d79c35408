//! Replays what the fuzzer starts from, and every input it once failed on, with the fuzzer's own oracles.

#![expect(clippy::unwrap_used, reason = "a seed that cannot be read is a failed test")]

#[path = "../fuzz/oracle.rs"]
mod oracle;

use std::fs;
use std::path::Path;

fn replay(target: &str, oracle: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut replayed = 0;
    for seed in fs::read_dir(&folder).unwrap() {
        let bytes = fs::read(seed.unwrap().path()).unwrap();
        // A seed's prefixes and neighbours cost nothing and reach more.
        for end in 0..=bytes.len() {
            oracle(&bytes[..end]);
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                oracle(&changed);
            }
        }
        replayed += 1;
    }
    assert!(replayed > 10, "only {replayed} seeds in {}", folder.display());
}

#[test]
fn the_seeds_of_request_hold() {
    replay("request", oracle::request);
}

#[test]
fn the_seeds_of_response_hold() {
    replay("response", oracle::response);
}

#[test]
fn the_seeds_of_resp_parse_hold() {
    replay("resp_parse", oracle::resp_parse);
}
