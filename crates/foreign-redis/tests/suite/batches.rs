use agw_config::Grant;
use agw_wire::{Code, RedisBatch};

use crate::server::RedisServer;
use crate::world::{MS, World, atomic, batch, grant, plain, resource, script, text};

#[tokio::test]
async fn what_the_grant_does_not_allow_never_starts() {
    let world = World::new(1);
    let refused = |batch: RedisBatch<'_>| world.start(batch, 1, 100 * MS).err().unwrap();
    assert_eq!(refused(batch(&[plain(&["FLUSHALL"])])).code, Code::Denied);
    assert_eq!(refused(batch(&[plain(&["SELECT", "1"])])).code, Code::Denied);
    assert_eq!(refused(batch(&[plain(&["GET"])])).code, Code::Invalid);
    assert_eq!(refused(batch(&[])).code, Code::Invalid);
    assert_eq!(refused(batch(&vec![plain(&["GET", "k"]); 1001])).code, Code::TooLarge);
    let error = refused(batch(&[plain(&["GET", "k"]), plain(&["FLUSHALL"])]));
    assert!(error.message.starts_with("command 1: "), "{error}");
    assert_eq!(refused(batch(&[script("nobody", 0, &[])])).code, Code::Denied);
    assert_eq!(refused(batch(&[script("double", 2, &["k"])])).code, Code::Invalid);
    let read_only = Grant { read_only: true, ..grant() };
    let world = World::with_grant(&resource(1), &read_only);
    let error = world.start(batch(&[plain(&["SET", "k", "v"])]), 1, 100 * MS).err().unwrap();
    assert_eq!(error.code, Code::Denied);
}

#[tokio::test]
async fn a_grant_that_names_what_is_not_there_says_all_of_it() {
    let world = World::new(1);
    let bad = Grant { scripts: vec!["x".into(), "y".into()], key_bytes_max: 0, ..grant() };
    let errors = world.backend.grant(&bad).err().unwrap();
    assert_eq!(errors.len(), 3, "{errors:?}");
}

#[tokio::test]
async fn every_key_gets_the_prefix_and_replies_lose_it() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    world.run(&["SET", "k", "v"]).await.unwrap();
    assert_eq!(server.command(&["GET", "p:k"]).await, "$1\r\nv\r\n");
    server.command(&["SET", "q:k", "foreign"]).await;
    let scanned = world.run(&["SCAN", "0", "COUNT", "1000"]).await.unwrap();
    assert!(scanned.contains("\r\nk\r\n") && !scanned.contains("q:k"), "{scanned}");
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order_with_errors_in_place() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let commands = [plain(&["SET", "k", "1"]), plain(&["LPUSH", "k", "x"]), plain(&["INCR", "k"])];
    let reply = text(&world.call(batch(&commands)).await.unwrap());
    assert!(reply.starts_with("+OK\r\n-WRONGTYPE ") && reply.ends_with("\r\n:2\r\n"), "{reply}");
}

#[tokio::test]
async fn an_atomic_batch_is_answered_with_one_array() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let commands = [plain(&["INCR", "k"]), plain(&["EXPIRE", "k", "10"]), plain(&["GET", "k"])];
    assert_eq!(text(&world.call(atomic(&commands)).await.unwrap()), "*3\r\n:1\r\n:1\r\n$1\r\n1\r\n");
    let one = [plain(&["INCR", "k"])];
    assert_eq!(text(&world.call(atomic(&one)).await.unwrap()), "*1\r\n:2\r\n");
}

#[tokio::test]
async fn an_atomic_batch_that_the_server_does_not_queue_changes_nothing() {
    let server = RedisServer::start(&["--maxmemory", "1mb", "--maxmemory-policy", "noeviction"]).await;
    let world = World::new(server.port);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let reply = text(&world.call(atomic(&[plain(&["GET", "k"]), plain(&["SET", "k", "v"])])).await.unwrap());
    assert!(reply.starts_with("-OOM "), "{reply}");
    assert_eq!(world.run(&["EXISTS", "k"]).await.unwrap(), ":0\r\n");
}

#[tokio::test]
async fn a_script_is_loaded_when_the_server_does_not_know_it() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    for _ in 0..2 {
        let reply = world.call(batch(&[script("double", 0, &["21"])])).await.unwrap();
        assert_eq!(text(&reply), ":42\r\n");
        server.command(&["SCRIPT", "FLUSH"]).await;
    }
    let reply = world.call(batch(&[script("touch", 1, &["k"])])).await.unwrap();
    assert_eq!(text(&reply), ":1\r\n");
    assert_eq!(server.command(&["GET", "p:k"]).await, "$1\r\n1\r\n");
}

#[tokio::test]
async fn scripts_in_a_batch_are_loaded_ahead_of_it_and_run_once() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let commands = [plain(&["INCR", "n"]), script("touch", 1, &["k"])];
    assert_eq!(text(&world.call(batch(&commands)).await.unwrap()), ":1\r\n:1\r\n");
    assert_eq!(text(&world.call(atomic(&commands)).await.unwrap()), "*2\r\n:2\r\n:2\r\n");
    server.command(&["SCRIPT", "FLUSH"]).await;
    let flushed = text(&world.call(batch(&commands)).await.unwrap());
    assert!(flushed.starts_with(":3\r\n-NOSCRIPT "), "{flushed}");
    assert_eq!(text(&world.call(batch(&commands)).await.unwrap()), ":4\r\n:3\r\n");
}

#[tokio::test]
async fn a_thousand_calls_at_once_get_their_own_answers() {
    let server = RedisServer::start(&[]).await;
    let world = World::new(server.port);
    let calls: Vec<_> = (0..1000)
        .map(|number| {
            let number = number.to_string();
            let commands = [plain(&["ECHO", &number])];
            tokio::spawn(world.start(batch(&commands), 1, 5000 * MS).unwrap())
        })
        .collect();
    for (number, call) in calls.into_iter().enumerate() {
        let number = number.to_string();
        assert_eq!(text(&call.await.unwrap().unwrap()), format!("${}\r\n{number}\r\n", number.len()));
    }
    assert_eq!(server.gateway_connections().await, 1);
}
