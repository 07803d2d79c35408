use std::fmt::Debug;

use super::*;

fn read<T: FromReply>(resp: &[u8]) -> Result<T, Error> {
    Reply::one(resp).finish()
}

fn check<T: FromReply + PartialEq + Debug>(resp: &[u8], expected: T) {
    assert_eq!(read::<T>(resp), Ok(expected), "{}", resp.escape_ascii());
}

fn check_wrong<T: FromReply + PartialEq + Debug>(resp: &[u8], found: &'static str) {
    match read::<T>(resp) {
        Err(Error::WrongType { found: said, .. }) => assert_eq!(said, found),
        other => panic!("{}: {other:?}", resp.escape_ascii()),
    }
}

#[test]
fn a_reply_of_another_type_is_named_in_the_error() {
    check_wrong::<i64>(b"*0\r\n", "a list");
    check_wrong::<i64>(b"$1\r\nx\r\n", "a bulk string");
    check_wrong::<i64>(b"_\r\n", "null");
    check_wrong::<Vec<u8>>(b":1\r\n", "an integer");
    check_wrong::<Vec<u8>>(b"$-1\r\n", "null");
    check_wrong::<String>(b"$1\r\n\xff\r\n", "other bytes");
    check_wrong::<bool>(b":2\r\n", "an integer");
    check_wrong::<bool>(b"+QUEUED\r\n", "a simple string");
    check_wrong::<f64>(b"#t\r\n", "a boolean");
    check_wrong::<Vec<i64>>(b"$2\r\nab\r\n", "a bulk string");
    check_wrong::<(i64, i64)>(b"*3\r\n:1\r\n:2\r\n:3\r\n", "another number of replies");
    check_wrong::<Vec<(i64, i64)>>(b"*3\r\n:1\r\n:2\r\n:3\r\n", "a list of odd length");
}

#[test]
fn the_servers_error_is_found_wherever_it_stands() {
    let wrong = |result: Error| match result {
        Error::Server { code, message, .. } => (code, message),
        other => panic!("{other:?}"),
    };
    let error = b"-WRONGTYPE Operation against a key\r\n";
    let expected = ("WRONGTYPE".to_string(), "Operation against a key".to_string());
    assert_eq!(wrong(read::<i64>(error).unwrap_err()), expected);
    assert_eq!(wrong(read::<()>(error).unwrap_err()), expected);
    assert_eq!(wrong(read::<Option<i64>>(error).unwrap_err()), expected);
    let list = [b"*2\r\n:1\r\n", error.as_slice()].concat();
    assert_eq!(wrong(read::<(i64, i64)>(&list).unwrap_err()), expected);
    assert_eq!(wrong(read::<Vec<i64>>(&list).unwrap_err()), expected);
    let (first, second) = read::<(i64, Result<i64, Error>)>(&list).unwrap();
    assert_eq!((first, wrong(second.unwrap_err())), (1, expected));
    assert_eq!(wrong(read::<i64>(b"!7\r\nERR bad\r\n").unwrap_err()), ("ERR".into(), "bad".into()));
}

#[test]
fn one_failed_reply_does_not_spoil_the_next() {
    let resp = b"*2\r\n*2\r\n:1\r\n$1\r\nx\r\n:7\r\n";
    let (first, second) = read::<(Result<Vec<i64>, Error>, i64)>(resp).unwrap();
    assert!(first.is_err());
    assert_eq!(second, 7);
}

#[test]
fn scalars_are_read_from_both_protocol_versions() {
    check(b":-5\r\n", -5i64);
    check(b"$2\r\n42\r\n", 42i64);
    check(b"(9223372036854775807\r\n", i64::MAX);
    check(b"$3\r\n1.5\r\n", 1.5f64);
    check(b",1.5\r\n", 1.5f64);
    check(b",inf\r\n", f64::INFINITY);
    check(b":3\r\n", 3.0f64);
    check(b"#t\r\n", true);
    check(b":0\r\n", false);
    check(b"+OK\r\n", true);
    check(b"$-1\r\n", false);
    check(b"+PONG\r\n", "PONG".to_string());
    check(b"=7\r\ntxt:abc\r\n", "abc".to_string());
    check(b"$2\r\n\r\n\r\n", b"\r\n".to_vec());
    check(b"$0\r\n\r\n", Some(Vec::<u8>::new()));
    check(b"*-1\r\n", None::<Vec<i64>>);
    check(b"_\r\n", None::<i64>);
    check(b"%1\r\n+a\r\n*1\r\n:1\r\n", ());
}

#[test]
fn pairs_are_read_from_a_map_a_flat_list_and_a_list_of_pairs() {
    let expected = vec![("a".to_string(), 1.0), ("b".to_string(), 2.5)];
    check(b"%2\r\n+a\r\n:1\r\n+b\r\n,2.5\r\n", expected.clone());
    check(b"*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$3\r\n2.5\r\n", expected.clone());
    check(b"*2\r\n*2\r\n+a\r\n,1\r\n*2\r\n+b\r\n,2.5\r\n", expected);
    check(b"*0\r\n", Vec::<(String, f64)>::new());
    check(b"%0\r\n", Vec::<(String, f64)>::new());
}

#[test]
fn lists_nest_and_attributes_are_passed_over() {
    check(b"*2\r\n*1\r\n:1\r\n~2\r\n:2\r\n:3\r\n", vec![vec![1i64], vec![2, 3]]);
    check(b"|1\r\n+ttl\r\n:9\r\n:4\r\n", 4i64);
    check(b"*2\r\n$1\r\na\r\n$-1\r\n", vec![Some(b"a".to_vec()), None]);
}

#[test]
fn a_pipelines_replies_are_read_side_by_side() {
    let reply = Reply::sequence(b":1\r\n$-1\r\n", 2);
    assert_eq!(reply.finish(), Ok((1i64, None::<String>)));
    let reply = Reply::sequence(b":1\r\n:2\r\n", 2);
    assert_eq!(reply.finish(), Ok(vec![1i64, 2]));
    let reply = Reply::sequence(b":1\r\n", 1);
    assert_eq!(reply.finish(), Ok(Some((1i64,))));
    let reply = Reply::sequence(b":1\r\n:2\r\n", 2);
    assert_eq!(reply.finish(), Ok(Ok::<_, Error>((1i64, 2i64))));
}

#[test]
fn too_few_or_too_many_replies_are_the_hosts_fault() {
    assert!(matches!(read::<i64>(b":1\r\n:2\r\n"), Err(Error::Host(_))));
    assert!(matches!(read::<i64>(b""), Err(Error::Host(_))));
    assert!(matches!(read::<i64>(b"what\r\n"), Err(Error::Host(_))));
    assert!(matches!(Reply::sequence(b":1\r\n", 2).finish::<(i64, i64)>(), Err(Error::Host(_))));
}

#[test]
fn a_length_that_lies_allocates_nothing_by_itself() {
    assert!(matches!(read::<Vec<i64>>(b"*9223372036854775807\r\n:1\r\n"), Err(Error::Host(_))));
    assert!(matches!(read::<Vec<(i64, i64)>>(b"%9223372036854775807\r\n"), Err(Error::Host(_))));
}

#[test]
fn a_raw_reply_is_exactly_one_reply() {
    let (raw, next): (RawReply, i64) = read(b"*2\r\n%1\r\n+a\r\n,1.5\r\n:3\r\n").unwrap();
    assert_eq!(raw.as_bytes(), b"%1\r\n+a\r\n,1.5\r\n");
    assert_eq!(raw.value(), Ok(Value::Map(vec![(Value::Simple(b"a"), Value::Double(1.5))])));
    assert_eq!(next, 3);
    assert!(matches!(read::<RawReply>(b"-ERR no\r\n").unwrap().value(), Err(Error::Server { .. })));
}
