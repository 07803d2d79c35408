use super::*;
use crate::shell::{Shell, show};

const OUT_OF_MEMORY: &str = "-OOM command not allowed when used memory > 'maxmemory'.";
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.";

fn small() -> Shell {
    Shell::with(Limits { bytes: 20_000, keys: 3, reply_bytes: 1000 })
}

#[test]
fn writes_beyond_the_bytes_are_refused_while_reads_and_removals_go_on() {
    let shell = small();
    let half = "x".repeat(9_000);
    assert_eq!(shell.run(&format!("SET a {half}")), "+OK");
    assert_eq!(shell.run(&format!("APPEND a {half}")), "18000");
    assert_eq!(shell.run(&format!("RPUSH l {half}")), OUT_OF_MEMORY);
    assert_eq!(shell.run("COPY a b"), OUT_OF_MEMORY);
    assert_eq!(shell.run("SETRANGE a 19900 x"), OUT_OF_MEMORY);
    assert_eq!(shell.run("INCRBYFLOAT f 1e4900"), OUT_OF_MEMORY);
    assert_eq!(shell.run(&format!("RENAME a {half}")), OUT_OF_MEMORY);
    shell.expect(&[("STRLEN a", "18000"), ("DEL a", "1")]);
    assert_eq!(shell.run(&format!("RPUSH l {half}")), "1");
}

#[test]
fn a_result_that_does_not_fit_is_not_stored() {
    let shell = small();
    let members = |from: u32| (from..from + 45).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(shell.run(&format!("SADD a {}", members(0))), "45");
    assert_eq!(shell.run(&format!("SADD b {}", members(100))), "45");
    shell.expect(&[("SUNIONSTORE c a b", OUT_OF_MEMORY), ("EXISTS c", "0"), ("SCARD a", "45")]);
}

#[test]
fn a_key_too_many_is_refused_while_the_others_can_still_be_written() {
    let shell = small();
    shell.expect(&[
        ("MSET a 1 b 1", "+OK"),
        ("MSET c 1 d 1", OUT_OF_MEMORY),
        ("INCR c", "1"),
        ("INCR d", OUT_OF_MEMORY),
        ("INCR c", "2"),
        ("RENAME c d", "+OK"),
        ("DEL a", "1"),
        ("INCR e", "1"),
    ]);
}

#[test]
fn expired_keys_make_room() {
    let mut shell = Shell::with(Limits { bytes: 1 << 20, keys: 100, ..Limits::default() });
    for n in 0..100 {
        assert_eq!(shell.run(&format!("SET k{n} v PX 50")), "+OK");
    }
    assert_eq!(shell.run("SET one v"), OUT_OF_MEMORY);
    shell.now += 51;
    assert_eq!(shell.run("DBSIZE"), "0");
    let many: Vec<String> = (0..100).map(|n| format!("new{n} v")).collect();
    assert_eq!(shell.run(&format!("MSET {}", many.join(" "))), "+OK");
    assert_eq!(shell.run("DBSIZE"), "100");
}

#[test]
fn a_reply_beyond_its_bound_becomes_an_error() {
    let shell = small();
    let too_long = "-ERR the reply is longer than memory:// allows; ask for less at a time";
    assert_eq!(shell.run(&format!("SET a {}", "x".repeat(600))), "+OK");
    assert_eq!(shell.run("GET a").len(), 600);
    assert_eq!(shell.run("MGET a a"), too_long);
    let batch = shell.atomic(&["STRLEN a", "GET a", "GET a", "STRLEN a"]);
    assert_eq!(batch, format!("[600 {} {too_long} 600]", "x".repeat(600)));
}

#[test]
fn a_batch_with_a_command_that_cannot_run_does_nothing() {
    let shell = small();
    assert_eq!(shell.atomic(&["SET a 1", "NOSUCH x"]), ABORTED);
    assert_eq!(shell.atomic(&["SET a 1", "GET"]), ABORTED);
    let room = "-EXECABORT Transaction discarded because of: \
                OOM command not allowed when used memory > 'maxmemory'.";
    assert_eq!(shell.atomic(&["SET a 1", "SET b 1", "SET c 1", "SET d 1"]), room);
    assert_eq!(shell.run("DBSIZE"), "0");
}

#[test]
fn an_error_inside_a_batch_stands_in_its_place() {
    let shell = small();
    assert_eq!(
        shell.atomic(&["SET a 1", "RPUSH a x", "INCR a"]),
        "[+OK -WRONGTYPE Operation against a key holding the wrong kind of value 2]"
    );
    assert_eq!(shell.atomic(&[]), "[]");
}

#[test]
fn a_copy_inside_a_batch_cannot_push_the_rest_over_the_bytes() {
    let shell = small();
    let third = "x".repeat(7_000);
    assert_eq!(shell.run(&format!("SET a {third}")), "+OK");
    let set = format!("SET c {third}");
    assert_eq!(shell.atomic(&["COPY a b", &set]), format!("[1 {OUT_OF_MEMORY}]"));
}

#[test]
fn no_command_at_all_is_an_error() {
    let mut out = Vec::new();
    Store::new(Limits::default()).execute(UnixMillis(u64::MAX), &[], &mut out);
    assert!(show(&out).starts_with("-ERR unknown command ''"));
}

#[test]
fn clones_share_the_keyspace() {
    let shell = Shell::new();
    let other = Shell { store: shell.store.clone(), ..shell };
    shell.run("SET a 1");
    assert_eq!(other.run("GET a"), "1");
}

/// Random arguments, most of them wrong, for every command, with a clock that jumps: nothing panics, each call
/// answers with exactly one reply, and the books agree with what is there.
#[test]
fn hostile_arguments_neither_panic_nor_upset_the_books() {
    const WORDS: [&[u8]; 34] = [
        b"a",
        b"b",
        b"c",
        b"a",
        b"b",
        b"c",
        b"0",
        b"1",
        b"2",
        b"-1",
        b"-3",
        b"5",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"9223372036854775806",
        b"1e308",
        b"-inf",
        b"inf",
        b"nan",
        b"1e4932",
        b"0.1",
        b"",
        b"\xff\0",
        b"(1",
        b"[a",
        b"+",
        b"-",
        b"ex",
        b"px",
        b"limit",
        b"nx",
        b"byscore",
        b"count",
        b"left",
    ];
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let store = Store::new(Limits { bytes: 100_000, keys: 3, reply_bytes: 10_000 });
    let names: Vec<&str> = commands::names().collect();
    for step in 0..60_000 {
        let now = match random.u32(0..100) {
            0 => UnixMillis(u64::MAX),
            1 => UnixMillis(0),
            _ => UnixMillis(1_800_000_000_000 + step),
        };
        let mut args = vec![names[random.usize(0..names.len())].as_bytes()];
        args.extend((0..random.usize(0..7)).map(|_| WORDS[random.usize(0..WORDS.len())]));
        let mut out = Vec::new();
        store.execute(now, &args, &mut out);
        show(&out);
        if step % 50 == 0 {
            store.keyspace.lock().unwrap().audit();
        }
    }
}
