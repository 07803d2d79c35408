use std::time::Duration;

use agw_foreign::ContextKey;
use agw_wire::Code;
use tokio::time::Instant;

use crate::server::RedisServer;
use crate::world::{MS, World, atomic, batch, leased, plain, resource, text};

#[tokio::test]
async fn a_blocking_command_waits_on_a_connection_of_its_own() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let popping = tokio::spawn(world.start(batch(&[plain(&["BLPOP", "list", "1"])]), 1, 2000 * MS).unwrap());
    tokio::time::sleep(50 * MS).await;
    let begun = Instant::now();
    world.run(&["GET", "k"]).await.unwrap();
    assert!(begun.elapsed() < 500 * MS, "the shared connection is free");
    assert_eq!(world.backend.status().leased, 1);
    server.command(&["RPUSH", "p:list", "x"]).await;
    let reply = popping.await.unwrap().unwrap();
    assert_eq!((text(&reply).as_str(), reply.lease), ("*2\r\n$4\r\nlist\r\n$1\r\nx\r\n", 0));
    assert_eq!(world.run(&["BLPOP", "list", "0.05"]).await.unwrap(), "*-1\r\n");
    assert_eq!((world.backend.status().leased, world.backend.status().idle), (0, 1));
}

#[tokio::test]
async fn a_command_that_could_block_past_the_deadline_is_refused() {
    let world = World::new(1);
    for timeout in ["0", "2.1", "99999999"] {
        let error = world.start(batch(&[plain(&["BLPOP", "list", timeout])]), 1, 2000 * MS).err().unwrap();
        assert_eq!(error.code, Code::Invalid, "{timeout}");
    }
    let both = [plain(&["BLPOP", "a", "1.5"]), plain(&["BLPOP", "b", "1.5"])];
    assert_eq!(
        world.start(batch(&both), 1, 2000 * MS).err().unwrap().code,
        Code::Invalid,
        "together too long"
    );
}

#[tokio::test]
async fn waiters_for_a_lease_time_out_and_the_lease_comes_back() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let blocking =
        || tokio::spawn(world.start(batch(&[plain(&["BLPOP", "none", "0.5"])]), 1, 2000 * MS).unwrap());
    let (first, second) = (blocking(), blocking());
    tokio::time::sleep(20 * MS).await;
    let begun = Instant::now();
    assert_eq!(world.code(&["BLPOP", "none", "0.1"]).await, Code::TimeoutQueue);
    assert!(begun.elapsed() >= 100 * MS && begun.elapsed() < 300 * MS, "at the acquire timeout");
    for call in [first, second] {
        assert_eq!(text(&call.await.unwrap().unwrap()), "*-1\r\n");
    }
    assert_eq!(world.run(&["BLPOP", "none", "0.01"]).await.unwrap(), "*-1\r\n");
    assert_eq!(server.gateway_connections().await, 2);
}

#[tokio::test]
async fn a_blocking_call_that_is_dropped_gives_its_place_back_and_loses_its_connection() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    for _ in 0..5 {
        let call = tokio::spawn(world.start(batch(&[plain(&["BLPOP", "none", "1"])]), 1, 2000 * MS).unwrap());
        tokio::time::sleep(20 * MS).await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    let status = world.backend.status();
    assert_eq!((status.leased, status.idle), (0, 0));
    tokio::time::sleep(50 * MS).await;
    assert_eq!(server.gateway_connections().await, 0);
    assert_eq!(world.run(&["BLPOP", "none", "0.01"]).await.unwrap(), "*-1\r\n");
}

#[tokio::test]
async fn an_idle_connection_that_the_server_has_closed_is_replaced_before_it_is_used() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    world.run(&["BLPOP", "none", "0.01"]).await.unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    tokio::time::sleep(20 * MS).await;
    assert_eq!(world.run(&["BLPOP", "none", "0.01"]).await.unwrap(), "*-1\r\n");
    assert_eq!(server.gateway_connections().await, 1);
}

#[tokio::test]
async fn watch_and_an_atomic_batch_see_a_conflict_and_its_absence() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    for conflict in [true, false] {
        let watching = batch(&[plain(&["WATCH", "k"]), plain(&["GET", "k"])]);
        let watched = world.call(leased(watching, 0, true)).await.unwrap();
        assert_ne!(watched.lease, 0);
        if conflict {
            server.command(&["SET", "p:k", "other"]).await;
        }
        let setting = atomic(&[plain(&["SET", "k", "mine"])]);
        let set = world.call(leased(setting, watched.lease, false)).await.unwrap();
        let expected = if conflict { "*-1\r\n" } else { "*1\r\n+OK\r\n" };
        assert_eq!((text(&set).as_str(), set.lease), (expected, 0));
    }
    assert_eq!(server.command(&["GET", "p:k"]).await, "$4\r\nmine\r\n");
    assert_eq!(world.backend.status().idle, 1, "after EXEC it is clean, and used again");
}

#[tokio::test]
async fn a_watching_connection_is_never_used_by_the_next() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    world.call(batch(&[plain(&["WATCH", "k"])])).await.unwrap();
    assert_eq!((world.backend.status().leased, world.backend.status().idle), (0, 0));
    server.command(&["SET", "p:k", "other"]).await;
    let setting = leased(atomic(&[plain(&["SET", "k", "mine"])]), 0, false);
    assert_eq!(text(&world.call(setting).await.unwrap()), "*1\r\n+OK\r\n", "nothing is watched");
}

#[tokio::test]
async fn a_kept_lease_ends_with_its_context() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let kept = world.call(leased(batch(&[plain(&["GET", "k"])]), 0, true)).await.unwrap();
    assert_ne!(kept.lease, 0);
    let again = leased(batch(&[plain(&["GET", "k"])]), kept.lease, true);
    assert_eq!(world.call(again.clone()).await.unwrap().lease, kept.lease);
    let foreign = world.start(again.clone(), 2, 500 * MS).err().unwrap();
    assert_eq!(foreign.code, Code::Invalid, "another context's lease");
    world.granted.context_ended(ContextKey(2));
    assert_eq!(world.backend.status().leased, 1);
    world.granted.context_ended(ContextKey(1));
    assert_eq!((world.backend.status().leased, world.backend.status().idle), (0, 1));
    assert_eq!(world.call(again).await.unwrap_err().code, Code::Invalid);
}

#[tokio::test]
async fn a_context_that_ends_during_a_call_takes_the_lease_with_it() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let kept = world.call(leased(batch(&[plain(&["GET", "k"])]), 0, true)).await.unwrap();
    let popping = leased(batch(&[plain(&["BLPOP", "none", "0.1"])]), kept.lease, true);
    let call = tokio::spawn(world.start(popping, 1, 2000 * MS).unwrap());
    tokio::time::sleep(20 * MS).await;
    let busy = leased(batch(&[plain(&["GET", "k"])]), kept.lease, true);
    assert_eq!(world.call(busy).await.unwrap_err().code, Code::Invalid, "in use");
    world.granted.context_ended(ContextKey(1));
    assert_eq!(call.await.unwrap().unwrap().lease, 0);
    assert_eq!(world.backend.status().leased, 0);
}

#[tokio::test]
async fn a_kept_lease_that_nobody_uses_ends() {
    let server = RedisServer::start(&[]).await;
    let mut impatient = resource(server.port);
    impatient.pool.idle_timeout = 100 * MS;
    let world = World::of(&impatient);
    let kept = world.call(leased(batch(&[plain(&["WATCH", "k"])]), 0, true)).await.unwrap();
    tokio::time::sleep(200 * MS).await;
    assert_eq!(world.backend.status().leased, 0);
    let late = leased(batch(&[plain(&["GET", "k"])]), kept.lease, true);
    assert_eq!(world.call(late).await.unwrap_err().code, Code::Invalid);
    tokio::time::sleep(50 * MS).await;
    assert_eq!(server.gateway_connections().await, 0, "it watched, and was therefore closed");
}

#[tokio::test]
async fn an_unknown_lease_is_invalid_and_a_lease_on_a_dead_server_says_why() {
    let world = World::new(crate::server::free_port());
    let unknown = leased(batch(&[plain(&["GET", "k"])]), 77, false);
    assert_eq!(world.call(unknown).await.unwrap_err().code, Code::Invalid);
    let new = leased(batch(&[plain(&["GET", "k"])]), 0, true);
    assert_eq!(world.call(new).await.unwrap_err().code, Code::Unavailable);
    assert_eq!(world.backend.status().leased, 0);
}

#[tokio::test]
async fn a_lease_on_a_stalled_server_times_out_and_is_gone() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let kept = world.call(leased(batch(&[plain(&["GET", "k"])]), 0, true)).await.unwrap();
    server.pause();
    let again = leased(batch(&[plain(&["GET", "k"])]), kept.lease, true);
    let begun = Instant::now();
    assert_eq!(world.call_within(again, 100 * MS).await.unwrap_err().code, Code::TimeoutIo);
    assert!(begun.elapsed() < 400 * MS);
    let new = leased(batch(&[plain(&["GET", "k"])]), 0, false);
    assert_eq!(world.call_within(new, 100 * MS).await.unwrap_err().code, Code::TimeoutConnect);
    assert_eq!((world.backend.status().leased, world.backend.status().idle), (0, 0));
    server.resume();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.run(&["BLPOP", "none", "0.01"]).await.unwrap(), "*-1\r\n");
}

#[tokio::test]
async fn a_transaction_that_the_server_refuses_costs_the_lease_its_connection() {
    let rights = ["--user", "gateway", "on", ">pass", "~p:*", "+@all", "-multi"];
    let server = RedisServer::start(&rights).await;
    let mut limited = resource(server.port);
    limited.redis.username = Some("gateway".into());
    limited.redis.password = Some(agw_config::Secret::new("pass"));
    let world = World::of(&limited);
    let watched = world.call(leased(batch(&[plain(&["WATCH", "k"])]), 0, true)).await.unwrap();
    let setting = leased(atomic(&[plain(&["SET", "k", "mine"])]), watched.lease, true);
    assert_eq!(world.call(setting).await.unwrap_err().code, Code::Auth);
    assert_eq!((world.backend.status().leased, world.backend.status().idle), (0, 0), "it may still watch");
}

#[tokio::test]
async fn a_lease_is_taken_and_given_back_without_a_command() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let taken = world.call(leased(batch(&[]), 0, true)).await.unwrap();
    assert_eq!(text(&taken), "");
    assert_ne!(taken.lease, 0);
    assert_eq!(world.backend.status().leased, 1);
    let used = world.call(leased(batch(&[plain(&["GET", "k"])]), taken.lease, true)).await.unwrap();
    assert_eq!((text(&used).as_str(), used.lease), ("$-1\r\n", taken.lease));
    let given_back = world.call(leased(batch(&[]), taken.lease, false)).await.unwrap();
    assert_eq!((text(&given_back).as_str(), given_back.lease), ("", 0));
    assert_eq!((world.backend.status().leased, world.backend.status().idle), (0, 1));
    let twice = world.call(leased(batch(&[]), taken.lease, false)).await;
    assert_eq!(twice.unwrap_err().code, Code::Invalid, "it has ended");
}

#[tokio::test]
async fn a_lease_given_back_while_it_watches_loses_its_connection() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let watched = world.call(leased(batch(&[plain(&["WATCH", "k"])]), 0, true)).await.unwrap();
    world.call(leased(batch(&[]), watched.lease, false)).await.unwrap();
    assert_eq!((world.backend.status().leased, world.backend.status().idle), (0, 0));
}

#[tokio::test]
async fn only_its_own_context_gives_a_lease_back_and_only_between_calls() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let taken = world.call(leased(batch(&[]), 0, true)).await.unwrap();
    let give_back = leased(batch(&[]), taken.lease, false);
    let foreign = world.start(give_back.clone(), 2, 500 * MS).err().unwrap();
    assert_eq!(foreign.code, Code::Invalid, "another context's lease");
    let popping = leased(batch(&[plain(&["BLPOP", "none", "0.1"])]), taken.lease, true);
    let call = tokio::spawn(world.start(popping, 1, 2000 * MS).unwrap());
    tokio::time::sleep(20 * MS).await;
    assert_eq!(world.call(give_back.clone()).await.unwrap_err().code, Code::Invalid, "in use");
    assert_eq!(call.await.unwrap().unwrap().lease, taken.lease);
    world.call(give_back).await.unwrap();
    assert_eq!(world.backend.status().leased, 0);
}

#[tokio::test]
async fn a_lease_cannot_be_taken_without_a_server_and_an_empty_batch_must_do_something() {
    let world = World::new(crate::server::free_port());
    assert_eq!(world.call(leased(batch(&[]), 0, true)).await.unwrap_err().code, Code::Unavailable);
    assert_eq!(world.backend.status().leased, 0);
    let unknown = leased(batch(&[]), 77, false);
    assert_eq!(world.call(unknown).await.unwrap_err().code, Code::Invalid);
    for nothing in [batch(&[]), leased(batch(&[]), 0, false), leased(atomic(&[]), 0, true)] {
        assert_eq!(world.start(nothing, 1, 500 * MS).err().unwrap().code, Code::Invalid);
    }
}

#[tokio::test]
async fn a_call_on_a_lease_that_never_starts_ends_the_lease_as_its_answer_says() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let taken = world.call(leased(batch(&[]), 0, true)).await.unwrap();
    let denied = leased(batch(&[plain(&["FLUSHALL"])]), taken.lease, true);
    assert_eq!(world.call(denied).await.unwrap_err().code, Code::Denied);
    assert_eq!((world.backend.status().leased, world.backend.status().idle), (0, 1));
    let taken = world.call(leased(batch(&[]), 0, true)).await.unwrap();
    // As when the breaker or a bound refuses the call.
    drop(world.start(leased(batch(&[plain(&["GET", "k"])]), taken.lease, true), 1, 500 * MS).unwrap());
    assert_eq!((world.backend.status().leased, world.backend.status().idle), (0, 1));
}
