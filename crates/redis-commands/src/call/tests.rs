use super::*;
use crate::table::lookup;

fn positions(line: &[&[u8]]) -> Result<Vec<usize>, Refusal> {
    lookup(line[0]).unwrap().key_positions(line).map(|keys| keys.iter().collect())
}

fn blocking_of(line: &[&[u8]]) -> Result<Blocking, Refusal> {
    Ok(Call::read(lookup(line[0]).unwrap(), line)?.blocking)
}

#[test]
fn a_number_of_keys_must_be_plain_digits_and_fit() {
    let lies: [&[u8]; 16] = [
        b"0",
        b"-1",
        b"+2",
        b"02",
        b" 2",
        b"2 ",
        b"",
        b"2.0",
        b"2e0",
        b"0x2",
        b"4",
        b"18446744073709551615",
        b"18446744073709551616",
        b"9223372036854775807",
        b"2\0",
        b"\xb2",
    ];
    for lie in lies {
        for name in [&b"zunion"[..], b"sintercard", b"lmpop", b"zmpop", b"msetex"] {
            assert!(matches!(positions(&[name, lie, b"a", b"b", b"c"]), Err(Refusal::Invalid(_))), "{lie:?}");
        }
        let store = positions(&[b"zunionstore", b"dest", lie, b"a", b"b", b"c"]);
        assert!(matches!(store, Err(Refusal::Invalid(_))), "{lie:?}");
        let popped = positions(&[b"blmpop", b"0", lie, b"a", b"b", b"c"]);
        assert!(matches!(popped, Err(Refusal::Invalid(_))), "{lie:?}");
    }
    assert_eq!(positions(&[b"zunion", b"3", b"a", b"b", b"c"]), Ok(vec![2, 3, 4]));
}

#[test]
fn a_stepped_count_may_not_run_past_the_arguments_or_overflow() {
    assert!(positions(&[b"msetex", b"2", b"k", b"v", b"k"]).is_err());
    assert!(positions(&[b"msetex", b"9223372036854775808", b"k", b"v"]).is_err());
    assert_eq!(positions(&[b"msetex", b"2", b"k", b"v", b"k", b"v", b"NX"]), Ok(vec![2, 4]));
}

#[test]
fn keys_end_before_the_timeout() {
    assert_eq!(positions(&[b"blpop", b"a", b"b", b"0"]), Ok(vec![1, 2]));
    assert_eq!(positions(&[b"bzpopmin", b"a", b"1"]), Ok(vec![1]));
}

#[test]
fn half_of_what_follows_streams_is_keys() {
    assert_eq!(positions(&[b"xread", b"STREAMS", b"a", b"b", b"0", b"0"]), Ok(vec![2, 3]));
    assert_eq!(positions(&[b"xread", b"streams", b"streams", b"0"]), Ok(vec![2]));
    for line in [
        &[&b"xread"[..], b"STREAMS", b"a", b"b", b"0"][..],
        &[b"xread", b"COUNT", b"1", b"STREAMS"],
        &[b"xread", b"COUNT", b"STREAMS", b"a"],
        &[b"xread", b"a", b"STREAMS", b"b", b"0"],
        &[b"xread", b"STREAMS\0", b"a", b"b"],
    ] {
        assert!(matches!(positions(line), Err(Refusal::Invalid(_))), "{line:?}");
    }
}

#[test]
fn a_group_named_streams_does_not_move_the_keys() {
    let line: [&[u8]; 7] = [b"xreadgroup", b"GROUP", b"STREAMS", b"STREAMS", b"STREAMS", b"key", b">"];
    assert_eq!(positions(&line), Ok(vec![5]));
    let short: [&[u8]; 7] = [b"xreadgroup", b"GROUP", b"STREAMS", b"a", b"b", b"c", b"d"];
    assert!(positions(&short).is_err());
}

#[test]
fn stored_results_go_to_keys_in_any_case_and_order() {
    assert_eq!(positions(&[b"sort", b"a", b"sToRe", b"b", b"ASC"]), Ok(vec![1, 3]));
    assert_eq!(positions(&[b"sort", b"a", b"LIMIT", b"STORE", b"STORE", b"STORE", b"b"]), Ok(vec![1, 6]));
    let both: [&[u8]; 10] = [b"georadius", b"a", b"1", b"1", b"1", b"m", b"STOREDIST", b"b", b"store", b"c"];
    assert_eq!(positions(&both), Ok(vec![1, 7, 9]));
}

#[test]
fn a_store_option_hidden_behind_a_nul_byte_is_refused() {
    for line in [
        &[&b"sort"[..], b"a", b"STORE\0x", b"b"][..],
        &[b"sort", b"a", b"STORE ", b"b"],
        &[b"georadius", b"a", b"1", b"1", b"1", b"m", b"STORE\0", b"b"],
        &[b"georadiusbymember", b"a", b"m", b"1", b"m", b"STOREDIST\0", b"b"],
        &[b"copy", b"a", b"b", b"DB\0", b"1"],
    ] {
        assert!(matches!(positions(line), Err(Refusal::Invalid(_))), "{line:?}");
    }
}

#[test]
fn an_option_given_twice_is_refused() {
    for line in [
        &[&b"sort"[..], b"a", b"STORE", b"b", b"store", b"c"][..],
        &[b"georadius", b"a", b"1", b"1", b"1", b"m", b"STORE", b"b", b"STORE", b"c"],
        &[b"xread", b"BLOCK", b"1", b"BLOCK", b"0", b"STREAMS", b"a", b"0"],
        &[b"scan", b"0", b"MATCH", b"a", b"MATCH", b"b"],
    ] {
        assert!(matches!(positions(line), Err(Refusal::Invalid(_))), "{line:?}");
    }
}

#[test]
fn an_option_without_its_value_is_refused() {
    for line in [
        &[&b"sort"[..], b"a", b"STORE"][..],
        &[b"sort", b"a", b"LIMIT", b"1"],
        &[b"georadius", b"a", b"1", b"1", b"1", b"m", b"COUNT"],
        &[b"scan", b"0", b"MATCH"],
        &[b"xreadgroup", b"COUNT", b"1", b"NOACK", b"NOACK", b"GROUP", b"g"],
    ] {
        assert!(matches!(positions(line), Err(Refusal::Invalid(_))), "{line:?}");
    }
}

#[test]
fn computed_keys_are_denied_and_their_harmless_forms_are_not() {
    for line in [
        &[&b"sort"[..], b"a", b"BY", b"weight_*"][..],
        &[b"sort", b"a", b"by", b"other:*->field"],
        &[b"sort_ro", b"a", b"GET", b"*"],
        &[b"sort", b"a", b"GET", b"#", b"GET", b"secret"],
        &[b"sort", b"a", b"BY", b"nosort*"],
    ] {
        assert!(matches!(positions(line), Err(Refusal::Denied(_))), "{line:?}");
    }
    let harmless: [&[u8]; 8] = [b"sort", b"a", b"BY", b"NoSort", b"GET", b"#", b"GET", b"#"];
    assert_eq!(positions(&harmless), Ok(vec![1]));
}

#[test]
fn reading_forms_have_no_store_option() {
    assert!(positions(&[b"sort_ro", b"a", b"STORE", b"b"]).is_err());
    assert!(positions(&[b"georadius_ro", b"a", b"1", b"1", b"1", b"m", b"STORE", b"b"]).is_err());
    assert!(positions(&[b"georadiusbymember_ro", b"a", b"m", b"1", b"m", b"STOREDIST", b"b"]).is_err());
}

#[test]
fn another_database_is_denied() {
    assert!(matches!(positions(&[b"copy", b"a", b"b", b"db", b"1"]), Err(Refusal::Denied(_))));
    assert_eq!(positions(&[b"copy", b"a", b"b", b"REPLACE"]), Ok(vec![1, 2]));
}

#[test]
fn a_cursor_is_plain_digits_and_a_count_is_bounded() {
    for line in [
        &[&b"scan"[..], b"-1"][..],
        &[b"scan", b" 0"],
        &[b"scan", b"0x10"],
        &[b"scan", b"0", b"COUNT", b"1001"],
        &[b"scan", b"0", b"COUNT", b"0"],
        &[b"scan", b"0", b"COUNT", b"-1"],
    ] {
        assert!(matches!(positions(line), Err(Refusal::Invalid(_))), "{line:?}");
    }
    assert_eq!(positions(&[b"scan", b"17", b"COUNT", b"1000"]), Ok(vec![]));
}

#[test]
fn a_pattern_that_would_recurse_deep_in_the_server_is_refused() {
    let deep = b"*?".repeat(9);
    for line in [&[&b"scan"[..], b"0", b"MATCH", &deep][..], &[b"hscan", b"k", b"0", b"MATCH", &deep]] {
        assert!(matches!(positions(line), Err(Refusal::Invalid(_))), "{line:?}");
    }
}

#[test]
fn the_timeout_of_a_blocking_command_is_read() {
    let second = Duration::from_secs(1);
    assert_eq!(blocking_of(&[b"blpop", b"a", b"0"]), Ok(Blocking::Forever));
    assert_eq!(blocking_of(&[b"blpop", b"a", b"-0"]), Ok(Blocking::Forever));
    assert_eq!(blocking_of(&[b"blpop", b"a", b"1.0"]), Ok(Blocking::AtMost(second)));
    assert_eq!(blocking_of(&[b"blpop", b"a", b"1e-30"]), Ok(Blocking::AtMost(Duration::ZERO)));
    assert_eq!(blocking_of(&[b"bzmpop", b"0", b"1", b"a", b"MIN"]), Ok(Blocking::Forever));
    assert_eq!(blocking_of(&[b"wait", b"1", b"1000"]), Ok(Blocking::AtMost(second)));
    assert_eq!(blocking_of(&[b"xread", b"STREAMS", b"a", b"$"]), Ok(Blocking::No));
    assert_eq!(blocking_of(&[b"xread", b"block", b"0", b"STREAMS", b"a", b"$"]), Ok(Blocking::Forever));
    assert_eq!(
        blocking_of(&[b"xread", b"BLOCK", b"1000", b"STREAMS", b"a", b"$"]),
        Ok(Blocking::AtMost(second))
    );
    assert_eq!(blocking_of(&[b"get", b"a"]), Ok(Blocking::No));
}

#[test]
fn a_timeout_that_is_no_time_is_refused() {
    for timeout in [&b"-1"[..], b"nan", b"inf", b"-inf", b"1e300", b"0x1p4", b"", b"x", b"\xff", b"1 "] {
        assert!(matches!(blocking_of(&[b"blpop", b"a", timeout]), Err(Refusal::Invalid(_))), "{timeout:?}");
        let read = blocking_of(&[b"xread", b"BLOCK", timeout, b"STREAMS", b"a", b"$"]);
        assert!(matches!(read, Err(Refusal::Invalid(_))), "{timeout:?}");
    }
}

#[test]
fn arity_is_the_tables() {
    assert!(matches!(positions(&[b"get"]), Err(Refusal::Invalid(_))));
    assert!(matches!(positions(&[b"get", b"a", b"b"]), Err(Refusal::Invalid(_))));
    assert!(matches!(positions(&[b"blpop", b"a"]), Err(Refusal::Invalid(_))));
    assert_eq!(positions(&[b"mget", b"a", b"b", b"c"]), Ok(vec![1, 2, 3]));
    assert_eq!(positions(&[b"mset", b"a", b"1", b"b", b"2"]), Ok(vec![1, 3]));
}
