use agw_wire::Request;

use super::*;
use crate::SetOptions;
use crate::transport::fake;

fn limits() -> Redis<'static> {
    crate::redis("limits").unwrap()
}

#[test]
fn an_empty_batch_is_not_sent() {
    assert!(matches!(limits().pipeline().run::<()>(), Err(Error::Invalid(_))));
    assert!(matches!(limits().atomic().start(), Err(Error::Invalid(_))));
    assert!(fake::take_requests().is_empty());
}

#[test]
fn a_fixed_window_is_one_call() {
    fake::will_reply(b"*3\r\n+OK\r\n:1\r\n:10000\r\n");
    let start = SetOptions { ex: Some(10), nx: true, ..SetOptions::default() };
    let replies = limits().atomic().set_with("k", "0", start).incr("k").pttl("k").run();
    assert_eq!(replies, Ok((true, 1i64, 10_000i64)));
    let requests = fake::take_requests();
    assert_eq!(requests.len(), 1);
    let batch = Request::decode(&requests[0]).unwrap().redis.unwrap();
    assert!(batch.atomic && batch.lease.is_none());
    let lines: Vec<_> = batch.commands.iter().map(|command| command.args.join(&b' ')).collect();
    assert_eq!(lines, [&b"SET k 0 EX 10 NX"[..], b"INCR k", b"PTTL k"]);
}

#[test]
fn a_pipeline_reads_replies_in_order_and_an_error_is_the_wholes() {
    fake::will_reply(b":1\r\n-WRONGTYPE no\r\n");
    let replies: Result<(i64, i64), Error> = limits().pipeline().incr("a").incr("b").run();
    assert!(matches!(replies, Err(Error::Server { ref code, .. }) if code == "WRONGTYPE"), "{replies:?}");
    fake::will_reply(b":1\r\n-WRONGTYPE no\r\n");
    let (a, b): (i64, Result<i64, Error>) = limits().pipeline().incr("a").incr("b").run().unwrap();
    assert!(a == 1 && b.is_err());
}

#[test]
fn an_aborted_transaction_is_none() {
    for null in [&b"*-1\r\n"[..], b"_\r\n"] {
        fake::will_reply(null);
        let replies: Option<(i64,)> = limits().atomic().incr("a").run().unwrap();
        assert_eq!(replies, None);
    }
}

#[test]
fn a_refused_transaction_is_the_servers_error() {
    fake::will_reply(b"-EXECABORT Transaction discarded because of previous errors.\r\n");
    let replies: Result<(i64,), Error> = limits().atomic().incr("a").run();
    assert!(matches!(replies, Err(Error::Server { ref code, .. }) if code == "EXECABORT"), "{replies:?}");
}

#[test]
fn scripts_and_commands_mix() {
    fake::will_reply(b":1\r\n+OK\r\n");
    let batch = limits().pipeline().script("take", &["k"], &["3", "4"]).command(&[b"PING"]);
    assert_eq!(batch.run(), Ok((1i64, ())));
    let requests = fake::take_requests();
    let batch = Request::decode(&requests[0]).unwrap().redis.unwrap();
    assert_eq!((batch.commands[0].script, batch.commands[0].script_keys), ("take", 1));
    assert_eq!(batch.commands[0].args, [b"k", b"3", b"4"]);
    assert_eq!(batch.commands[1].args, [b"PING"]);
}
