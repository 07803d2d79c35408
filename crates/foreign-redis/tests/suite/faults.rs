use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agw_config::Secret;
use agw_wire::{Code, Retry};
use tokio::time::Instant;

use crate::fake::{Act, Fake, reply};
use crate::server::{RedisServer, free_port};
use crate::world::{MS, World, batch, plain, resource};

#[tokio::test]
async fn a_refused_connection_is_unavailable_at_once_and_shows_no_address() {
    let port = free_port();
    let world = World::new(port);
    let error = world.run(&["GET", "k"]).await.unwrap_err();
    assert_eq!((error.code, error.retry), (Code::Unavailable, Retry::Safe));
    assert!(!error.message.contains("127.0.0.1") && !error.message.contains(&port.to_string()), "{error}");
    assert_eq!(world.backend.status().last_error.as_deref(), Some("connect"));
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(world.code(&["GET", "k"]).await, Code::Unavailable);
    }
    assert!(begun.elapsed() < 400 * MS, "calls do not wait for an attempt each");
}

#[tokio::test]
async fn a_server_that_takes_no_connection_times_out_at_the_calls_deadline() {
    // It accepts, and then says nothing: the login never ends.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new(listener.local_addr().unwrap().port());
    let begun = Instant::now();
    let error = world.call_within(batch(&[plain(&["GET", "k"])]), 50 * MS).await.unwrap_err();
    assert_eq!(error.code, Code::TimeoutConnect);
    assert!(begun.elapsed() < 300 * MS);
}

#[tokio::test]
async fn a_wrong_password_is_auth_and_never_shown() {
    let server = RedisServer::start(&["--requirepass", "right"]).await;
    let mut wrong = resource(server.port);
    wrong.redis.password = Some(Secret::new("hunter2"));
    let world = World::of(&wrong);
    let error = world.run(&["GET", "k"]).await.unwrap_err();
    assert_eq!((error.code, &*error.server_code), (Code::Auth, "WRONGPASS"));
    assert!(!error.message.contains("hunter2"));
    assert_eq!(world.backend.status().last_error.as_deref(), Some("auth"));

    let without = World::new(server.port);
    assert_eq!(without.code(&["GET", "k"]).await, Code::Auth);

    let mut right = resource(server.port);
    right.redis.password = Some(Secret::new("right"));
    right.redis.database = 3;
    let world = World::of(&right);
    assert_eq!(world.run(&["SET", "k", "v"]).await.unwrap(), "+OK\r\n");
    right.redis.database = 99;
    assert_eq!(World::of(&right).code(&["GET", "k"]).await, Code::Unavailable);
}

#[tokio::test]
async fn a_user_without_rights_is_auth_and_its_name_is_not_shown() {
    let server = RedisServer::start(&["--user", "gateway", "on", ">pass", "~p:*", "+get", "+client"]).await;
    let mut limited = resource(server.port);
    limited.redis.username = Some("gateway".into());
    limited.redis.password = Some(Secret::new("pass"));
    let world = World::of(&limited);
    assert_eq!(world.run(&["GET", "k"]).await.unwrap(), "$-1\r\n");
    let error = world.run(&["SET", "k", "v"]).await.unwrap_err();
    assert_eq!((error.code, &*error.server_code), (Code::Auth, "NOPERM"));
    assert!(!error.message.contains("gateway has"), "{error}");
    assert_eq!(world.run(&["GET", "k"]).await.unwrap(), "$-1\r\n", "the connection stays");
}

#[tokio::test]
async fn a_stalled_server_times_out_at_the_deadline_and_serves_again_when_it_goes_on() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    world.run(&["GET", "k"]).await.unwrap();
    server.pause();
    let begun = Instant::now();
    let calls: Vec<_> = (0..100)
        .map(|_| tokio::spawn(world.start(batch(&[plain(&["GET", "k"])]), 1, 50 * MS).unwrap()))
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err().code, Code::TimeoutIo);
    }
    assert!(begun.elapsed() >= 50 * MS && begun.elapsed() < 300 * MS, "{:?}", begun.elapsed());
    // Beyond the grace the connection is given up.
    tokio::time::sleep(700 * MS).await;
    assert_eq!(world.backend.status().multiplexed, 0);
    server.resume();
    assert!(world.back_within(2000 * MS).await < 2000 * MS);
    assert!(server.gateway_connections().await <= 4);
}

#[tokio::test]
async fn a_late_answer_is_thrown_away_and_the_next_call_gets_its_own() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    world.run(&["SET", "a", "first"]).await.unwrap();
    world.run(&["SET", "b", "second"]).await.unwrap();
    server.pause();
    let late = world.call_within(batch(&[plain(&["GET", "a"])]), 20 * MS).await;
    assert_eq!(late.unwrap_err().code, Code::TimeoutIo);
    server.resume();
    assert_eq!(world.run(&["GET", "b"]).await.unwrap(), "$6\r\nsecond\r\n");
    assert!(world.metrics.encode().unwrap().contains("agw_resource_reconnects_total{resource=\"limits\"} 0"));
}

#[tokio::test]
async fn a_dropped_call_leaves_the_connection_to_the_others() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    world.run(&["SET", "a", "first"]).await.unwrap();
    for round in 0..50 {
        let mut dropped = world.start(batch(&[plain(&["GET", "a"])]), 1, 500 * MS).unwrap();
        if round % 2 == 0 {
            // Polled, and therefore queued or even sent.
            assert!(futures_poll_once(&mut dropped).await.is_none());
        }
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
        drop(dropped);
        let expected = format!("${}\r\n{round}\r\n", round.to_string().len());
        world.run(&["SET", "b", &round.to_string()]).await.unwrap();
        assert_eq!(world.run(&["GET", "b"]).await.unwrap(), expected);
    }
    assert_eq!(server.gateway_connections().await, 1);
}

async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| match std::pin::Pin::new(&mut *future).poll(cx) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn a_server_killed_under_load_is_back_within_two_seconds_of_its_return() {
    let mut server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    world.run(&["GET", "k"]).await.unwrap();
    let calls: Vec<_> = (0..64)
        .map(|_| tokio::spawn(world.start(batch(&[plain(&["GET", "k"])]), 1, 500 * MS).unwrap()))
        .collect();
    server.kill();
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            assert_eq!(error.code, Code::Unavailable);
        }
    }
    tokio::time::sleep(1500 * MS).await;
    let begun = Instant::now();
    assert_eq!(world.code(&["GET", "k"]).await, Code::Unavailable);
    assert!(begun.elapsed() < 100 * MS, "it fails fast while the server is away");
    server.start_again().await;
    world.back_within(2000 * MS).await;
}

#[tokio::test]
async fn a_connection_closed_in_mid_reply_fails_its_calls_and_is_replaced() {
    let first = AtomicBool::new(true);
    let fake = Fake::start(move |_| match first.swap(false, Ordering::SeqCst) {
        true => Act::ReplyAndClose(b"$10\r\nhalf".to_vec()),
        false => reply(b"+OK\r\n"),
    })
    .await;
    let world = World::new(fake.port);
    let error = world.run(&["GET", "k"]).await.unwrap_err();
    assert_eq!((error.code, error.retry), (Code::Unavailable, Retry::IfIdempotent));
    world.back_within(1000 * MS).await;
    assert_eq!(
        fake.open_max.load(Ordering::SeqCst),
        1,
        "the old socket is closed before a new one is opened"
    );
}

#[tokio::test]
async fn bytes_that_are_not_resp_cost_the_connection_and_nothing_else() {
    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\0\xff\0\xff\r\n", b"$-7\r\n", b"*1\r\n?\r\n"]
    {
        let first = AtomicBool::new(true);
        let fake = Fake::start(move |_| match first.swap(false, Ordering::SeqCst) {
            true => reply(garbage),
            false => reply(b"+OK\r\n"),
        })
        .await;
        let world = World::new(fake.port);
        assert_eq!(world.code(&["GET", "k"]).await, Code::Unavailable, "{}", garbage.escape_ascii());
        world.back_within(1000 * MS).await;
        assert_eq!(fake.accepted(), 2);
    }
}

#[tokio::test]
async fn garbage_instead_of_a_login_is_unavailable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new(listener.local_addr().unwrap().port());
    let task = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"220 mail.example ESMTP\r\n").await;
        }
    });
    assert_eq!(world.code(&["GET", "k"]).await, Code::Unavailable);
    assert_eq!(world.backend.status().last_error.as_deref(), Some("login"));
    task.abort();
}

#[tokio::test]
async fn a_reply_nested_too_deep_is_too_large_and_costs_the_connection() {
    let deep = [&b"*1\r\n".repeat(100)[..], b":1\r\n"].concat();
    let first = AtomicBool::new(true);
    let fake = Fake::start(move |_| match first.swap(false, Ordering::SeqCst) {
        true => reply(&deep),
        false => reply(b"+OK\r\n"),
    })
    .await;
    let world = World::new(fake.port);
    assert_eq!(world.code(&["GET", "k"]).await, Code::TooLarge);
    world.back_within(1000 * MS).await;
}

#[tokio::test]
async fn an_extra_reply_that_nobody_asked_for_ends_the_connection_before_it_answers_anybody() {
    let first = AtomicBool::new(true);
    let fake = Fake::start(move |_| match first.swap(false, Ordering::SeqCst) {
        true => reply(b"$4\r\nmine\r\n$6\r\nforged\r\n"),
        false => reply(b"$4\r\nreal\r\n"),
    })
    .await;
    let world = World::new(fake.port);
    assert_eq!(world.run(&["GET", "k"]).await.unwrap(), "$4\r\nmine\r\n");
    tokio::time::sleep(20 * MS).await;
    world.back_within(1000 * MS).await;
    assert_eq!(world.run(&["GET", "k"]).await.unwrap(), "$4\r\nreal\r\n");
    assert_eq!(fake.accepted(), 2);
}

#[tokio::test]
async fn too_few_replies_are_a_timeout_and_then_the_end_of_the_connection() {
    let calls = AtomicUsize::new(0);
    let fake = Fake::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        1 => Act::Silence,
        _ => reply(b"+OK\r\n"),
    })
    .await;
    let world = World::new(fake.port);
    let two = batch(&[plain(&["GET", "a"]), plain(&["GET", "b"])]);
    assert_eq!(world.call_within(two, 50 * MS).await.unwrap_err().code, Code::TimeoutIo);
    tokio::time::sleep(700 * MS).await;
    world.back_within(1000 * MS).await;
    assert_eq!(fake.accepted(), 2);
}

#[tokio::test]
async fn a_value_of_100_mb_is_too_large_and_the_next_call_is_served() {
    let server = RedisServer::start(&[]).await;
    server.command(&["SETRANGE", "p:huge", "104857600", "x"]).await;
    let world = World::new(server.port);
    world.run(&["GET", "k"]).await.unwrap();
    let begun = Instant::now();
    assert_eq!(world.code(&["GET", "huge"]).await, Code::TooLarge);
    assert!(begun.elapsed() < 500 * MS, "refused by its announced length: {:?}", begun.elapsed());
    world.back_within(2000 * MS).await;
    assert!(server.gateway_connections().await <= 4);
}

#[tokio::test]
async fn a_value_a_little_over_the_limit_is_too_large_and_leaves_the_connection_to_the_others() {
    let server = RedisServer::start(&[]).await;
    server.command(&["SETRANGE", "p:big", "2000000", "x"]).await;
    let world = World::new(server.port);
    world.run(&["SET", "k", "v"]).await.unwrap();
    for _ in 0..5 {
        let big = world.start(batch(&[plain(&["GET", "big"])]), 1, 500 * MS).unwrap();
        let neighbour = world.start(batch(&[plain(&["GET", "k"])]), 1, 500 * MS).unwrap();
        let (big, neighbour) = tokio::join!(big, neighbour);
        assert_eq!(big.unwrap_err().code, Code::TooLarge);
        assert_eq!(&neighbour.unwrap().bytes()[..], b"$1\r\nv\r\n");
    }
    assert!(world.metrics.encode().unwrap().contains("agw_resource_reconnects_total{resource=\"limits\"} 0"));
}

#[tokio::test]
async fn loading_is_a_server_error_that_is_safe_to_try_again() {
    let fake = Fake::start(|_| reply(b"-LOADING Redis is loading the dataset in memory\r\n")).await;
    let error = World::new(fake.port).run(&["GET", "k"]).await.unwrap_err();
    assert_eq!((error.code, &*error.server_code, error.retry), (Code::Server, "LOADING", Retry::Safe));
}

#[tokio::test]
async fn readonly_makes_the_gateway_connect_anew() {
    let first = AtomicBool::new(true);
    let fake = Fake::start(move |_| match first.swap(false, Ordering::SeqCst) {
        true => reply(b"-READONLY You can't write against a read only replica.\r\n"),
        false => reply(b"+OK\r\n"),
    })
    .await;
    let world = World::new(fake.port);
    let error = world.run(&["SET", "k", "v"]).await.unwrap_err();
    assert_eq!((error.code, &*error.server_code), (Code::Server, "READONLY"));
    world.back_within(1000 * MS).await;
    assert_eq!(fake.accepted(), 2);
}

#[tokio::test]
async fn a_wrong_type_passes_through_as_the_servers_own_reply() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    world.run(&["LPUSH", "list", "x"]).await.unwrap();
    let reply = world.run(&["INCR", "list"]).await.unwrap();
    assert!(reply.starts_with("-WRONGTYPE "), "{reply}");
}

#[tokio::test]
async fn full_buffers_on_both_sides_do_not_lock_the_connection_up() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let value = "v".repeat(200_000);
    world.run(&["SET", "k", &value]).await.unwrap();
    let calls: Vec<_> = (0..60)
        .flat_map(|_| {
            let set =
                world.start(batch(&[plain(&["SET", "k", &value])]), 1, Duration::from_secs(10)).unwrap();
            let get = world.start(batch(&[plain(&["GET", "k"])]), 1, Duration::from_secs(10)).unwrap();
            [tokio::spawn(set), tokio::spawn(get)]
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn more_than_the_bound_on_queued_bytes_is_overloaded() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    world.run(&["GET", "k"]).await.unwrap();
    server.pause();
    let value = "v".repeat(900_000);
    let calls: Vec<_> = (0..60)
        .map(|_| tokio::spawn(world.start(batch(&[plain(&["SET", "k", &value])]), 1, 300 * MS).unwrap()))
        .collect();
    let mut codes = Vec::new();
    for call in calls {
        codes.push(call.await.unwrap().unwrap_err().code);
    }
    assert!(codes.contains(&Code::Overloaded) && codes.contains(&Code::TimeoutIo), "{codes:?}");
    server.resume();
    world.back_within(2000 * MS).await;
}

#[tokio::test]
async fn the_server_never_sees_more_connections_than_the_pools_max() {
    let mut server = RedisServer::start(&[]).await;
    let world = Arc::new(World::new(server.port));
    let most = Arc::new(Mutex::new(0));
    for round in 0..3 {
        let calls: Vec<_> = (0..50)
            .map(|number| {
                let blocking = batch(&[plain(&["BLPOP", "none", "0.02"])]);
                let shared = batch(&[plain(&["GET", "k"])]);
                let batch = if number % 5 == 0 { blocking } else { shared };
                tokio::spawn(world.start(batch, 1, 500 * MS).unwrap())
            })
            .collect();
        for _ in 0..10 {
            let seen = server.gateway_connections().await;
            let mut most = most.lock().unwrap();
            *most = seen.max(*most);
        }
        for call in calls {
            let _ = call.await.unwrap();
        }
        if round == 1 {
            server.kill();
            server.start_again().await;
            world.back_within(2000 * MS).await;
        }
    }
    let most = *most.lock().unwrap();
    assert!((2..=4).contains(&most), "{most} connections");
}

#[tokio::test]
async fn a_shutdown_closes_every_connection_and_later_calls_are_unavailable() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    world.run(&["GET", "k"]).await.unwrap();
    world.run(&["BLPOP", "none", "0.01"]).await.unwrap();
    assert_eq!(server.gateway_connections().await, 2);
    tokio::time::timeout(1000 * MS, world.backend.shutdown()).await.unwrap();
    for _ in 0..50 {
        if server.gateway_connections().await == 0 {
            break;
        }
        tokio::time::sleep(10 * MS).await;
    }
    assert_eq!(server.gateway_connections().await, 0);
    assert_eq!(world.code(&["GET", "k"]).await, Code::Unavailable);
    assert_eq!(world.code(&["BLPOP", "none", "0.01"]).await, Code::Unavailable);
}

#[test]
fn calls_of_several_event_loops_are_served_and_a_loop_that_ends_takes_nothing_down() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let starter = runtime();
    let server = starter.block_on(RedisServer::start(&[]));
    let mut one = resource(server.port);
    one.pool.max = 2;
    one.pool.leased_max = 1;
    // Two workers, one connection: it belongs to the loop that calls first.
    let world = World::of(&one);
    let first = runtime();
    first.block_on(world.run(&["SET", "k", "v"])).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let second = runtime();
            let begun = std::time::Instant::now();
            let call = async { world.call_within(batch(&[plain(&["GET", "k"])]), 100 * MS).await };
            // The first loop does not run at the moment, so that its connection answers nobody.
            assert_eq!(second.block_on(call).unwrap_err().code, Code::TimeoutIo);
            assert!(begun.elapsed() < Duration::from_secs(1));
        });
    });
    drop(first);
    assert_eq!(starter.block_on(world.run(&["GET", "k"])).unwrap(), "$1\r\nv\r\n");
}
