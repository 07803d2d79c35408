//! What it costs to check and encode one command: `cargo run --release -p agw-redis-commands --example admit_cost`.

use std::hint::black_box;
use std::time::Instant;

use agw_redis_commands::{CommandSet, Rules, RulesSpec};

const CALLS: u32 = 10_000_000;

fn main() {
    let spec = RulesSpec {
        commands: CommandSet::AllSafe,
        key_prefix: "tenant:7:",
        read_only: false,
        key_bytes_max: 512,
    };
    let Ok(rules) = Rules::new(spec) else { return eprintln!("the rules do not compile") };
    let mut out = Vec::with_capacity(1 << 16);
    let lines: [&[&[u8]]; 3] =
        [&[b"SET", b"session:1234", b"value"], &[b"INCR", b"a"], &[b"ZUNION", b"2", b"a", b"b"]];
    for line in lines {
        let start = Instant::now();
        for _ in 0..CALLS {
            out.clear();
            let admitted = rules.admit(black_box(line), &mut out);
            assert!(black_box(admitted).is_ok());
        }
        eprintln!("{}: {:?} per call", String::from_utf8_lossy(line[0]), start.elapsed() / CALLS);
    }
}
