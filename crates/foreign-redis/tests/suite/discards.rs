//! Connections that the gateway itself throws away, and what that costs the calls around.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agw_foreign::BreakerState;
use agw_wire::{Code, Retry};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::fake::{Act, Fake, reply};
use crate::gated::Gated;
use crate::server::RedisServer;
use crate::world::{MS, Outcome, World, batch, plain, resource};

/// Announces a reply far over every bound.
const HUGE: &[u8] = b"$104857600\r\n";

impl World {
    fn spawn(&self, args: &[&str], within: Duration) -> JoinHandle<Outcome> {
        tokio::spawn(self.start(batch(&[plain(args)]), 1, within).unwrap())
    }
}

/// Replies with `bytes` to the key `bad`, not at all from the key `stalled` on, and with `+OK` to others.
async fn server_with(bytes: &'static [u8]) -> Fake {
    Fake::start(move |args| match args.get(1).map(Vec::as_slice) {
        Some(b"p:bad") => reply(bytes),
        Some(b"p:stalled") => Act::Stall,
        _ => reply(b"+OK\r\n"),
    })
    .await
}

#[tokio::test]
async fn the_call_after_a_discard_waits_for_the_new_connection_and_is_served() {
    let unasked = b"+OK\r\n+forged\r\n";
    for bytes in [HUGE, &b"*1\r\n".repeat(100).leak()[..], b"-READONLY replica\r\n", unasked] {
        let fake = server_with(bytes).await;
        let world = World::new(fake.port);
        for round in 1..=5 {
            let _ = world.run(&["GET", "bad"]).await;
            let next = world.run(&["GET", "k"]).await;
            assert_eq!(
                next.as_deref(),
                Ok("+OK\r\n"),
                "after {}",
                bytes[..12.min(bytes.len())].escape_ascii()
            );
            assert_eq!(fake.accepted(), 1 + round);
        }
        assert_eq!(fake.open_max.load(Ordering::SeqCst), 1, "one socket at a time");
    }
}

#[tokio::test]
async fn calls_that_come_after_a_late_oldest_call_was_given_up_are_served() {
    let fake = server_with(b"").await;
    let world = World::new(fake.port);
    let late = world.spawn(&["GET", "stalled"], 50 * MS);
    tokio::time::sleep(100 * MS).await;
    assert_eq!(late.await.unwrap().unwrap_err().code, Code::TimeoutIo);
    let begun = Instant::now();
    // Whatever is sent before the grace ends is answered behind the stalled call: never. After that all is well.
    loop {
        match world.call_within(batch(&[plain(&["GET", "k"])]), 2000 * MS).await {
            Ok(_) => break,
            Err(error) => assert_eq!((error.code, error.retry), (Code::Unavailable, Retry::IfIdempotent)),
        }
        assert!(begun.elapsed() < 1000 * MS);
    }
}

#[tokio::test]
async fn neighbours_that_were_sent_are_told_that_they_may_have_run() {
    let server = RedisServer::start(&[]).await;
    server.command(&["SETRANGE", "p:huge", "104857600", "x"]).await;
    let world = World::new(server.port);
    world.run(&["GET", "k"]).await.unwrap();
    // One write, so that the neighbour is sent behind the discard's cause.
    let huge = world.spawn(&["GET", "huge"], 500 * MS);
    let neighbour = world.spawn(&["INCR", "n"], 500 * MS);
    assert_eq!(huge.await.unwrap().unwrap_err().code, Code::TooLarge);
    let error = neighbour.await.unwrap().unwrap_err();
    assert_eq!((error.code, error.retry), (Code::Unavailable, Retry::IfIdempotent));
    assert_eq!(world.run(&["GET", "k"]).await.unwrap(), "$-1\r\n");
}

#[tokio::test]
async fn calls_that_were_not_written_yet_move_to_the_new_connection() {
    let fake = server_with(b"").await;
    let mut narrow = resource(fake.port);
    // 16 calls are sent at once, and 16 more wait behind them.
    (narrow.limits.in_flight_max, narrow.limits.waiters_max) = (8, 8);
    let world = World::of(&narrow);
    world.run(&["GET", "k"]).await.unwrap();
    let stalled: Vec<_> = (0..16).map(|_| world.spawn(&["GET", "stalled"], 50 * MS)).collect();
    tokio::time::sleep(20 * MS).await;
    let waiting: Vec<_> = (0..16).map(|_| world.spawn(&["GET", "k"], 3000 * MS)).collect();
    for call in stalled {
        assert_eq!(call.await.unwrap().unwrap_err().code, Code::TimeoutIo);
    }
    for call in waiting {
        assert_eq!(&call.await.unwrap().unwrap().bytes()[..], b"+OK\r\n");
    }
    assert_eq!(fake.accepted(), 2);
}

#[tokio::test]
async fn a_script_that_was_not_written_yet_moves_too() {
    let server = RedisServer::start(&[]).await;
    let mut narrow = resource(server.port);
    (narrow.limits.in_flight_max, narrow.limits.waiters_max) = (8, 8);
    let world = World::of(&narrow);
    world.run(&["GET", "k"]).await.unwrap();
    server.pause();
    let stuck: Vec<_> = (0..16).map(|_| world.spawn(&["GET", "k"], 50 * MS)).collect();
    tokio::time::sleep(20 * MS).await;
    let one = batch(&[crate::world::script("double", 0, &["21"])]);
    let among = batch(&[crate::world::script("touch", 1, &["n"]), plain(&["GET", "n"])]);
    let calls = [one, among].map(|batch| tokio::spawn(world.start(batch, 1, 5000 * MS).unwrap()));
    for call in stuck {
        assert_eq!(call.await.unwrap().unwrap_err().code, Code::TimeoutIo);
    }
    // Beyond the grace the connection is thrown away.
    tokio::time::sleep(600 * MS).await;
    server.resume();
    let [one, among] = calls;
    assert_eq!(&one.await.unwrap().unwrap().bytes()[..], b":42\r\n");
    assert_eq!(&among.await.unwrap().unwrap().bytes()[..], b":1\r\n$1\r\n1\r\n", "it ran once");
}

#[tokio::test]
async fn one_plugins_large_values_do_not_open_the_breaker_for_others() {
    let fake = server_with(HUGE).await;
    let mut touchy = resource(fake.port);
    touchy.breaker.failures = 2;
    touchy.limits.call_timeout = 30 * MS;
    let gated = Arc::new(Gated::new(&touchy));
    let stop = Instant::now() + 2000 * MS;
    let greedy = {
        let gated = Arc::clone(&gated);
        tokio::spawn(async move {
            while Instant::now() < stop {
                let _ = gated.run(&["GET", "bad"]).await;
                tokio::time::sleep(15 * MS).await;
            }
        })
    };
    let (mut served, mut codes) = (0, Vec::new());
    while Instant::now() < stop {
        match gated.run(&["GET", "k"]).await {
            Ok(_) => served += 1,
            Err(error) if codes.contains(&error.code) => {}
            Err(error) => codes.push(error.code),
        }
        assert_eq!(gated.resource.breaker_state(), BreakerState::Closed, "by {codes:?}");
        tokio::time::sleep(MS).await;
    }
    greedy.await.unwrap();
    assert!(served > 0 && codes.contains(&Code::TimeoutQueue), "{served} served, {codes:?}");
    assert!(codes.iter().all(|code| [Code::Unavailable, Code::TimeoutQueue].contains(code)), "{codes:?}");
    // Ten at once, ten a second from then on, and the first.
    assert!((15..=32).contains(&fake.accepted()), "{} connections in two seconds", fake.accepted());
}

#[tokio::test]
async fn a_server_that_ends_every_connection_is_not_connected_to_at_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let fake = Fake::start(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        Act::ReplyAndClose(Vec::new())
    })
    .await;
    let gated = Gated::new(&resource(fake.port));
    let until = Instant::now() + 400 * MS;
    while Instant::now() < until {
        assert!(gated.run(&["GET", "k"]).await.is_err());
        tokio::time::sleep(MS).await;
    }
    assert_eq!(gated.resource.breaker_state(), BreakerState::Open, "this is the server's doing");
    assert!(calls.load(Ordering::SeqCst) < 10);
}
