use std::task::{Context, Poll, Waker};

use agw_config::RedisAddress;
use agw_wire::Code;

use crate::world::{MS, World, atomic, batch, leased, plain, resource, script, text};

fn world(name: &str) -> World {
    let mut memory = resource(1);
    memory.redis.address = RedisAddress::Memory { name: name.into() };
    memory.limits.response_bytes_max = 10_000;
    World::of(&memory)
}

#[tokio::test]
async fn what_the_embedded_store_cannot_do_is_said() {
    let world = world("refusals");
    let refused = |batch| world.start(batch, 1, 500 * MS).err().unwrap().code;
    assert_eq!(refused(batch(&[plain(&["BLPOP", "k", "0.1"])])), Code::Invalid);
    assert_eq!(refused(batch(&[script("double", 0, &["1"])])), Code::Invalid);
    assert_eq!(refused(leased(batch(&[plain(&["GET", "k"])]), 0, true)), Code::Invalid);
    for nothing in [leased(batch(&[]), 0, true), leased(batch(&[]), 7, false)] {
        let error = world.start(nothing, 1, 500 * MS).err().unwrap();
        assert_eq!(error.code, Code::Invalid);
        assert!(error.message.contains("no connections to lease"), "{error}");
    }
    assert_eq!(refused(batch(&[plain(&["FLUSHALL"])])), Code::Denied);
}

#[tokio::test]
async fn a_call_is_answered_at_its_first_poll() {
    let world = world("at-once");
    let mut call = world.start(batch(&[plain(&["INCR", "k"])]), 1, 500 * MS).unwrap();
    let Poll::Ready(Ok(reply)) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!()
    };
    assert_eq!(text(&reply), ":1\r\n");
}

#[tokio::test]
async fn stores_are_shared_by_name_and_keys_carry_the_prefix() {
    let (one, same, other) = (world("shared"), world("shared"), world("not-shared"));
    one.run(&["SET", "k", "v"]).await.unwrap();
    assert_eq!(same.run(&["GET", "k"]).await.unwrap(), "$1\r\nv\r\n");
    assert_eq!(other.run(&["GET", "k"]).await.unwrap(), "$-1\r\n");
}

#[tokio::test]
async fn batches_and_atomic_batches_are_answered_as_a_server_would() {
    let world = world("batches");
    let commands = [plain(&["INCR", "k"]), plain(&["LPUSH", "k", "x"]), plain(&["EXPIRE", "k", "10"])];
    let reply = text(&world.call(batch(&commands)).await.unwrap());
    assert!(reply.starts_with(":1\r\n-WRONGTYPE ") && reply.ends_with("\r\n:1\r\n"), "{reply}");
    let reply = text(&world.call(atomic(&commands)).await.unwrap());
    assert!(reply.starts_with("*3\r\n:2\r\n-WRONGTYPE ") && reply.ends_with("\r\n:1\r\n"), "{reply}");
}

#[tokio::test]
async fn an_answer_over_the_limit_is_too_large() {
    let world = world("large");
    world.run(&["SET", "k", &"v".repeat(9000)]).await.unwrap();
    let twice = batch(&[plain(&["GET", "k"]), plain(&["GET", "k"])]);
    assert_eq!(world.call(twice).await.unwrap_err().code, Code::TooLarge);
}
