//! Replays what the fuzzer of the framer starts from, and every input it once failed on, with the fuzzer's own oracle.

// The framer is private to its crate. Its own tests come along, since they stand beside it.
#[allow(dead_code, reason = "the oracle takes a part")]
#[path = "../src"]
mod source {
    pub(crate) mod frame;
}
#[path = "../fuzz/oracle.rs"]
mod oracle;

use source::frame;
use std::fs;
use std::path::Path;

#[test]
fn the_seeds_of_frame_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/frame");
    let mut replayed = 0;
    for seed in fs::read_dir(&folder).unwrap() {
        let bytes = fs::read(seed.unwrap().path()).unwrap();
        // A seed's prefixes and neighbours cost nothing and reach more.
        for end in 0..=bytes.len() {
            oracle::frame(&bytes[..end]);
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                oracle::frame(&changed);
            }
        }
        replayed += 1;
    }
    assert!(replayed > 10, "only {replayed} seeds in {}", folder.display());
}
