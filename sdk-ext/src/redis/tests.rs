use agw_wire::{CallError, Code, RedisCommand, Request};

use super::*;
use crate::SetOptions;
use crate::transport::fake;

fn limits() -> Redis<'static> {
    crate::redis("limits").unwrap()
}

/// Runs one call and returns its command as text, arguments parted by a space.
fn sent<T>(resp: &[u8], call: impl FnOnce(Redis<'static>) -> Result<T, Error>) -> (Result<T, Error>, String) {
    fake::will_reply(resp);
    let result = call(limits());
    let bytes = fake::take_requests().remove(0);
    let request = Request::decode(&bytes).unwrap();
    assert_eq!((request.resource, request.style), ("limits", Style::Blocking));
    let commands = request.redis.unwrap().commands;
    assert_eq!(commands.len(), 1);
    (result, commands[0].args.join(&b' ').escape_ascii().to_string())
}

#[test]
fn a_handle_asks_nobody_and_an_empty_name_is_refused() {
    assert!(matches!(crate::redis(""), Err(Error::Invalid(_))));
    assert!(crate::redis("no such resource").is_ok());
    assert!(fake::take_requests().is_empty());
}

#[test]
fn a_host_without_agw_shows_at_the_first_call() {
    fake::will_answer(Err(proxy_wasm::types::Status::NotFound));
    assert_eq!(limits().incr("a"), Err(Error::Unsupported));
}

#[test]
fn the_gateways_errors_reach_the_plugin() {
    fake::will_fail(CallError::new(Code::Denied, "grant `incr`"));
    let error = limits().incr("a").unwrap_err();
    assert_eq!(error.to_string(), "denied: grant `incr`");
    fake::will_answer(Ok(Some(vec![0xff])));
    assert!(matches!(limits().incr("a"), Err(Error::Host(_))));
}

#[test]
fn arguments_go_out_as_they_are() {
    assert_eq!(sent(b":1\r\n", |r| r.incr(b"\xff\r\n")), (Ok(1), "INCR \\xff\\r\\n".into()));
    assert_eq!(sent(b":-9\r\n", |r| r.incr_by("a", -10)).1, "INCRBY a -10");
    let expected = (Ok(vec![None, Some(b"1".to_vec())]), "MGET a b".into());
    assert_eq!(sent(b"*2\r\n$-1\r\n$1\r\n1\r\n", |r| r.mget(&["a", "b"])), expected);
    assert_eq!(sent(b"+OK\r\n", |r| r.mset(&[("a", "1"), ("b", "2")])), (Ok(()), "MSET a 1 b 2".into()));
    assert_eq!(
        sent(b":2\r\n", |r| r.zadd("z", &[(1.5, "a"), (f64::NEG_INFINITY, "b")])).1,
        "ZADD z 1.5 a -inf b"
    );
    assert_eq!(sent(b"*0\r\n", |r| r.zrange_by_score("z", "-inf", "(5")).1, "ZRANGEBYSCORE z -inf (5");
    assert_eq!(sent(b",2.5\r\n", |r| r.zincr_by("z", 0.5, "a")), (Ok(2.5), "ZINCRBY z 0.5 a".into()));
    assert_eq!(sent(b"_\r\n", |r| r.command::<Option<i64>>(&[b"ZRANK", b"z", b"a"])).1, "ZRANK z a");
}

#[test]
fn set_takes_its_options_in_redis_order() {
    let none = SetOptions::default();
    assert_eq!(sent(b"+OK\r\n", |r| r.set_with::<()>("k", "v", none)).1, "SET k v");
    let all = SetOptions { ex: Some(1), px: Some(2), nx: true, xx: true, keep_ttl: true, get: true };
    let (old, line) = sent(b"$1\r\no\r\n", |r| r.set_with::<Option<Vec<u8>>>("k", "v", all));
    assert_eq!((old, line.as_str()), (Ok(Some(b"o".to_vec())), "SET k v EX 1 PX 2 NX XX KEEPTTL GET"));
    let nx = SetOptions { nx: true, ..none };
    assert_eq!(sent(b"$-1\r\n", |r| r.set_with::<bool>("k", "v", nx)).0, Ok(false));
}

#[test]
fn a_deadline_is_rounded_up_and_never_nothing() {
    let deadline_ms = |deadline| {
        fake::will_reply(b":1\r\n");
        limits().deadline(deadline).incr("a").unwrap();
        let bytes = fake::take_requests().remove(0);
        Request::decode(&bytes).unwrap().deadline_ms
    };
    assert_eq!(deadline_ms(Duration::ZERO), 1);
    assert_eq!(deadline_ms(Duration::from_micros(1500)), 2);
    assert_eq!(deadline_ms(Duration::from_millis(50)), 50);
    assert_eq!(deadline_ms(Duration::MAX), u32::MAX);
}

#[test]
fn a_command_without_a_name_is_left_to_the_host_to_refuse() {
    fake::will_fail(CallError::new(Code::Invalid, "a command needs a name"));
    assert!(matches!(limits().command::<()>(&[]), Err(Error::Invalid(_))));
    let bytes = fake::take_requests().remove(0);
    let batch = Request::decode(&bytes).unwrap().redis.unwrap();
    assert_eq!(batch.commands, [RedisCommand::default()]);
}
