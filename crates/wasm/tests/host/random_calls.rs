//! Every hostcall with arguments drawn at random from those that hurt.

use agw_wasm::{Opened, Verdict};
use bytes::Bytes;

use crate::support::{ABI, Guest, call, call_back, escaped, in_worker, plugin, shared, stream};

const CALLS: usize = 10_000;

/// Statuses that every SDK survives somewhere.
const STATUSES: [&str; 7] = ["0", "1", "2", "3", "7", "8", "10"];

/// Reads the number of a function and its arguments from the body, and calls it.
fn dispatching() -> Guest {
    let calls: String = ABI
        .iter()
        .enumerate()
        .map(|(index, (name, params))| {
            let arguments: String = params
                .chars()
                .enumerate()
                .map(|(at, kind)| {
                    let load = if kind == 'l' { "i64.load" } else { "i32.load" };
                    format!("({load} offset={} (local.get $at))", 8 + 8 * at)
                })
                .collect();
            format!(
                "(if (i32.eq (i32.load (local.get $at)) (i32.const {index}))
                   (then (call $print (call ${name} {arguments}))))\n"
            )
        })
        .collect();
    let texts = ["agw_redis", "x-key", "plugin_name", &escaped(&call("k")), &escaped(&call_back("k"))];
    // They stand at 1024 and on, where arguments point to.
    let texts: String = texts.iter().map(|text| format!("(call $say <<{text}>>)")).collect();
    Guest::new()
        .on(
            "request_body",
            &format!(
                "(local $at i32)
                 (if (i32.eqz (local.get $size)) (then {texts}))
                 (drop (call $get_buffer_bytes (i32.const 0) (i32.const 0) (local.get $size) CELLS))
                 (local.set $at (i32.load (i32.const 8)))
                 {calls} (i32.const 0)"
            ),
        )
        .on("foreign_function", "")
        .on("tick", "")
        .on("done", "(i32.const 1)")
}

/// A small generator with a fixed seed: a failure comes again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn argument(&mut self) -> u64 {
        const HURTING: [u64; 20] = [
            0,
            1,
            2,
            3,
            4,
            5,
            8,
            9,
            12,
            16,
            1024,
            1033,
            1038,
            65_536,
            131_068,
            131_071,
            131_072,
            0x7fff_ffff,
            0xffff_fffc,
            0xffff_ffff,
        ];
        match self.below(4) {
            0 => self.next() >> self.below(64),
            1 => u64::MAX,
            _ => HURTING[self.below(HURTING.len())],
        }
    }
}

#[test]
fn no_hostcall_does_more_harm_than_a_trap_or_a_status_that_the_sdks_survive() {
    in_worker(async |worker| {
        worker.backend.answer_at_once("x");
        let mut random = Random(0x5eed_0000_0001);
        for mode in [plugin(), shared()] {
            let mut config = mode;
            (config.reload_backoff, config.reload_backoff_max) = Default::default();
            let plugin = worker.load(config, dispatching()).await;
            let (mut trapped, mut answered) = (0, 0);
            for _ in 0..CALLS / 2 {
                let mut body = (random.below(ABI.len()) as u64).to_le_bytes().to_vec();
                body.extend((0..12).flat_map(|_| random.argument().to_le_bytes()));
                let stream = stream();
                let Opened::Filter(filter) = worker.try_open(&plugin, &stream).await else {
                    panic!("no VM for {body:?}")
                };
                worker.lines.take();
                let verdict = filter.request_body(Bytes::from(body.clone()), true).await;
                let reply = stream.state().local_reply.take();
                if reply.is_some_and(|reply| reply.details == "wasm_fail_stream") {
                    trapped += 1;
                    continue;
                }
                let said = worker.lines.take();
                let status = said.last().expect("a status");
                assert!(STATUSES.contains(&status.as_str()), "{status} for {body:?}");
                assert!(matches!(verdict, Verdict::Continue | Verdict::Interrupted));
                answered += 1;
            }
            // Otherwise the arguments were not those that matter.
            assert!(trapped > CALLS / 20 && answered > CALLS / 20, "{trapped} trapped, {answered} answered");
            worker.settle().await;
            assert!(plugin.status().vms <= 2);
        }
    });
}
