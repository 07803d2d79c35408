//! Nodes that lie about the topology, quarrel over it, or know none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use agw_wire::Retry;

use super::*;
use crate::fake::{Act, Fake, reply};

/// A node that says that it, at `names`, has every slot.
async fn claiming(names: Arc<AtomicU16>, answer: impl Fn(&[Vec<u8>]) -> Act + Send + Sync + 'static) -> Fake {
    Fake::start(move |command| match command {
        [cluster, slots] if cluster == b"CLUSTER" && slots == b"SLOTS" => {
            let port = names.load(Ordering::SeqCst);
            reply(format!("*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$-1\r\n:{port}\r\n$2\r\nid\r\n").as_bytes())
        }
        _ => answer(command),
    })
    .await
}

#[tokio::test]
async fn a_node_that_lies_is_outvoted() {
    let server = RedisServer::start(&[]).await;
    let names = || Arc::new(AtomicU16::new(server.port));
    let honest = [claiming(names(), |_| Act::Silence).await, claiming(names(), |_| Act::Silence).await];
    let mine = Arc::new(AtomicU16::new(0));
    let liar = claiming(Arc::clone(&mine), |_| reply(b"$4\r\nmine\r\n")).await;
    mine.store(liar.port, Ordering::SeqCst);
    for _ in 0..5 {
        let world = World::of(&sharded(&[liar.port, honest[0].port, honest[1].port]));
        assert_eq!(world.run(&["GET", "a"]).await.unwrap(), "$-1\r\n");
    }
}

#[tokio::test]
async fn of_two_nodes_that_claim_a_slot_the_one_that_most_name_gets_the_calls_and_of_as_many_it_is_told() {
    let claims = |says: &'static str| {
        let own = Arc::new(AtomicU16::new(0));
        let answer = move |_: &[Vec<u8>]| reply(format!("${}\r\n{says}\r\n", says.len()).as_bytes());
        async move {
            let fake = claiming(Arc::clone(&own), answer).await;
            own.store(fake.port, Ordering::SeqCst);
            fake
        }
    };
    let (old, new) = (claims("old").await, claims("new").await);
    let third = claiming(Arc::new(AtomicU16::new(new.port)), |_| Act::Silence).await;
    for _ in 0..5 {
        let world = World::of(&sharded(&[old.port, new.port, third.port]));
        assert_eq!(world.run(&["GET", "a"]).await.unwrap(), "$3\r\nnew\r\n");
    }
    // With nobody to decide, one of them gets the call; that it is the wrong one is for it to say.
    let knows = new.port;
    let own = Arc::new(AtomicU16::new(0));
    let moved = move |_: &[Vec<u8>]| reply(format!("-MOVED 1 127.0.0.1:{knows}\r\n").as_bytes());
    let behind = claiming(Arc::clone(&own), moved).await;
    own.store(behind.port, Ordering::SeqCst);
    for _ in 0..5 {
        let world = World::of(&sharded(&[behind.port, new.port]));
        assert_eq!(world.run(&["GET", "a"]).await.unwrap(), "$3\r\nnew\r\n");
    }
}

#[tokio::test]
async fn a_topology_without_end_is_refused_and_the_calls_are_coded_errors() {
    let range =
        |slot: usize, port: usize| format!("*3\r\n:{slot}\r\n:{slot}\r\n*2\r\n$1\r\na\r\n:{port}\r\n");
    let of = |ranges: &[String]| format!("*{}\r\n{}", ranges.len(), ranges.concat());
    let nodes: String = (0..100_000).map(|at| format!("*2\r\n$1\r\na\r\n:{}\r\n", at % 60_000 + 1)).collect();
    for (topology, class) in [
        // A hundred thousand ranges, as many nodes of one range, and as many slots as there may be at a node each.
        (of(&(0..100_000).map(|at| range(at, at % 60_000 + 1)).collect::<Vec<_>>()), "nonsense"),
        (format!("*1\r\n*100002\r\n:0\r\n:16383\r\n{nodes}"), "nonsense"),
        (of(&(0..16_384).map(|at| range(at, at + 1)).collect::<Vec<_>>()), "nonsense"),
        ("*1\r\n*3\r\n:-7\r\n:5\r\n*2\r\n$1\r\na\r\n:1\r\n".to_owned(), "nonsense"),
        ("*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$1\r\na\r\n:-1\r\n".to_owned(), "nonsense"),
        (of(&[range(5, 1), range(5, 2)]), "nonsense"),
        (format!("*1\r\n${}\r\n{}\r\n", 5 << 20, "x".repeat(5 << 20)), "login"),
    ] {
        let topology = topology.into_bytes();
        let fake = Fake::start(move |_| reply(&topology)).await;
        let world = World::of(&sharded(&[fake.port]));
        assert_eq!(world.code(&["GET", "a"]).await, Code::Unavailable);
        assert_eq!(world.backend.status().last_error.as_deref(), Some(class));
        assert!(world.backend.status().nodes.is_empty());
    }
}

#[tokio::test]
async fn nodes_that_send_calls_around_in_circles_are_found_out() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (names, counter) = (Arc::new(AtomicU16::new(0)), Arc::clone(&asked));
    let port = Arc::clone(&names);
    let fake = claiming(Arc::clone(&names), move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        reply(format!("-MOVED 1 127.0.0.1:{}\r\n", port.load(Ordering::SeqCst)).as_bytes())
    })
    .await;
    names.store(fake.port, Ordering::SeqCst);
    let world = World::of(&sharded(&[fake.port]));
    let error = world.run(&["GET", "a"]).await.unwrap_err();
    assert_eq!((error.code, error.server_code.as_str(), error.retry), (Code::Server, "MOVED", Retry::Safe));
    assert!(!error.message.contains("127.0.0.1") && !error.message.contains("mode"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 6);
    let error = world.call(batch(&[plain(&["GET", "a"]), plain(&["GET", "b"])])).await.unwrap_err();
    assert_eq!((error.code, error.retry), (Code::Server, Retry::IfIdempotent));
}

#[tokio::test]
async fn no_node_is_connected_to_where_the_operator_does_not_allow_it() {
    let elsewhere = Fake::start(|_| reply(b"+OK\r\n")).await;
    let names = Arc::new(AtomicU16::new(0));
    let target = elsewhere.port;
    for word in ["MOVED", "ASK"] {
        let fake = claiming(Arc::clone(&names), move |_| {
            reply(format!("-{word} 1 localhost:{target}\r\n").as_bytes())
        })
        .await;
        names.store(fake.port, Ordering::SeqCst);
        let world = World::of(&sharded(&[fake.port]));
        let error = world.run(&["GET", "a"]).await.unwrap_err();
        assert_eq!(error.code, Code::Unavailable, "{error}");
        assert!(!error.message.contains("localhost"), "{error}");
    }
    let fake = Fake::start(move |_| {
        reply(format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\nlocalhost\r\n:{target}\r\n").as_bytes())
    })
    .await;
    let world = World::of(&sharded(&[fake.port]));
    assert_eq!(world.code(&["GET", "a"]).await, Code::Unavailable);
    assert_eq!(world.backend.status().last_error.as_deref(), Some("not_allowed"));
    assert_eq!(elsewhere.accepted(), 0);
}

#[tokio::test]
async fn an_uncovered_slot_and_a_server_that_is_no_node_are_coded_errors() {
    let half = Fake::start(|command| match command {
        [cluster, _] if cluster == b"CLUSTER" => {
            reply(b"*1\r\n*3\r\n:0\r\n:8000\r\n*2\r\n$9\r\n127.0.0.1\r\n:1\r\n")
        }
        _ => Act::Silence,
    })
    .await;
    let world = World::of(&sharded(&[half.port]));
    let error = world.run(&["GET", "b"]).await.unwrap_err();
    assert_eq!((error.code, error.retry), (Code::Unavailable, Retry::Safe));
    assert!(error.message.contains("no node of the cluster has this key"), "{error}");

    let standalone = RedisServer::start(&[]).await;
    let refusing = Fake::start(|_| reply(b"-NOAUTH Authentication required.\r\n")).await;
    let endless = Fake::start(|_| reply(b"*10000000\r\n")).await;
    let garbage = Fake::start(|_| reply(b"*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\na\r\n:1\r\n")).await;
    for (port, code, class) in [
        (standalone.port, Code::Unavailable, "no_cluster"),
        (refusing.port, Code::Auth, "auth"),
        (endless.port, Code::Unavailable, "login"),
        (garbage.port, Code::Unavailable, "nonsense"),
        (free_port(), Code::Unavailable, "connect"),
    ] {
        let world = World::of(&sharded(&[port]));
        let error = world.run(&["GET", "a"]).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert_eq!(world.backend.status().last_error.as_deref(), Some(class), "{error}");
    }
}

#[tokio::test]
async fn a_cluster_in_trouble_is_asked_for_its_topology_seldom() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let down = Fake::start(move |command| match command {
        [cluster, _] if cluster == b"CLUSTER" => {
            counter.fetch_add(1, Ordering::SeqCst);
            reply(b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:1\r\n")
        }
        _ => Act::Silence,
    })
    .await;
    let world = World::of(&sharded(&[down.port]));
    let begun = Instant::now();
    let mut calls = 0;
    while begun.elapsed() < 1000 * MS {
        assert!(gone(world.code(&["GET", "a"]).await));
        calls += 1;
        tokio::time::sleep(MS).await;
    }
    let asked = asked.load(Ordering::SeqCst);
    assert!(calls > 100 && (2..=8).contains(&asked), "{asked} questions for {calls} calls");
}
