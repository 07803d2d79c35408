//! A primary behind sentinels: found, left when it is none any more, never guessed. The sentinels are fakes, so that they
//! can be wrong in every way; the suite `redis` of the workspace has real ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use agw_config::{
    AnnouncedHost, HostMatch, RedisAddress, RedisHost, RedisReadFrom, RedisSentinels, RedisTopology, Resource,
};
use agw_wire::{Code, Retry};
use tokio::time::Instant;

use crate::fake::{Act, Fake, reply};
use crate::server::{RedisServer, free_port};
use crate::world::{MS, World, batch, leased, plain, resource, text};

/// A sentinel that names whatever port it is told.
struct Sentinel {
    fake: Fake,
    names: Arc<AtomicU16>,
    epoch: Arc<AtomicU64>,
}

impl Sentinel {
    async fn start(port: u16) -> Self {
        Sentinel::naming("127.0.0.1", port).await
    }

    async fn naming(host: &'static str, port: u16) -> Self {
        let (names, epoch) = (Arc::new(AtomicU16::new(port)), Arc::new(AtomicU64::new(0)));
        let (named, of) = (Arc::clone(&names), Arc::clone(&epoch));
        let fake = Fake::start(move |command| match command {
            [_, what, name] if name != b"mymaster" => {
                reply(if what == b"MASTER" { b"-ERR No such master with that name\r\n" } else { b"*-1\r\n" })
            }
            [_, what, _] if what == b"MASTER" => {
                let epoch = of.load(Ordering::SeqCst).to_string();
                reply(format!("*2\r\n$12\r\nconfig-epoch\r\n${}\r\n{epoch}\r\n", epoch.len()).as_bytes())
            }
            _ => {
                let port = named.load(Ordering::SeqCst).to_string();
                let (host_len, port_len) = (host.len(), port.len());
                reply(format!("*2\r\n${host_len}\r\n{host}\r\n${port_len}\r\n{port}\r\n").as_bytes())
            }
        });
        Sentinel { fake: fake.await, names, epoch }
    }

    fn name(&self, port: u16) {
        self.names.store(port, Ordering::SeqCst);
    }
}

fn behind(ports: &[u16]) -> Resource {
    let mut resource = resource(0);
    let endpoints = ports.iter().map(|port| RedisHost { host: "127.0.0.1".into(), port: *port }).collect();
    let topology = RedisTopology {
        announced: Vec::new(),
        refresh: Duration::from_secs(60),
        read_from: RedisReadFrom::Primary,
    };
    let name = "mymaster".into();
    let sentinels = RedisSentinels { endpoints, name, username: None, password: None, tls: None, topology };
    resource.redis.address = RedisAddress::Sentinel(Box::new(sentinels));
    resource
}

fn sentinels(resource: &mut Resource) -> &mut RedisSentinels {
    match &mut resource.redis.address {
        RedisAddress::Sentinel(sentinels) => sentinels,
        other => panic!("{other:?}"),
    }
}

async fn three(port: u16) -> ([Sentinel; 3], Resource) {
    let all = [Sentinel::start(port).await, Sentinel::start(port).await, Sentinel::start(port).await];
    let ports = [all[0].fake.port, all[1].fake.port, all[2].fake.port];
    (all, behind(&ports))
}

#[tokio::test]
async fn calls_leases_and_scripts_go_to_the_primary_and_follow_it() {
    let mut old = RedisServer::start(&[]).await;
    let new = RedisServer::start(&[]).await;
    let (all, resource) = three(old.port).await;
    let world = World::of(&resource);
    assert_eq!(world.run(&["INCR", "n"]).await.unwrap(), ":1\r\n");
    let popped = world.call(batch(&[plain(&["BLPOP", "q", "0.01"])])).await.unwrap();
    assert_eq!(text(&popped), "*-1\r\n");
    old.kill();
    assert_eq!(world.code(&["INCR", "n"]).await, Code::Unavailable);
    all.iter().for_each(|sentinel| sentinel.name(new.port));
    world.back_within(2000 * MS).await;
    assert_eq!(world.run(&["INCR", "n"]).await.unwrap(), ":1\r\n");
    let touched = world.call(batch(&[crate::world::script("touch", 1, &["n"])])).await.unwrap();
    assert_eq!(text(&touched), ":2\r\n");
    let popped = world.call(batch(&[plain(&["BLPOP", "q", "0.01"])])).await.unwrap();
    assert_eq!(text(&popped), "*-1\r\n");
}

#[tokio::test]
async fn a_demoted_server_is_not_used_though_sentinels_still_name_it() {
    let old = RedisServer::start(&[]).await;
    let new = RedisServer::start(&[]).await;
    let (all, resource) = three(old.port).await;
    let world = World::of(&resource);
    world.run(&["SET", "k", "v"]).await.unwrap();
    old.command(&["REPLICAOF", "127.0.0.1", &new.port.to_string()]).await;
    // The connection stands; the first write finds out.
    let error = world.run(&["SET", "k", "w"]).await.unwrap_err();
    assert_eq!(
        (error.code, error.server_code.as_str(), error.retry),
        (Code::Server, "READONLY", Retry::Safe)
    );
    for _ in 0..20 {
        let error = world.run(&["GET", "k"]).await.unwrap_err();
        assert_eq!((error.code, error.retry), (Code::Unavailable, Retry::Safe), "{error}");
        assert!(!error.message.contains("127.0.0.1"), "{error}");
    }
    assert_eq!(world.backend.status().last_error.as_deref(), Some("no_primary"));
    all.iter().for_each(|sentinel| sentinel.name(new.port));
    world.back_within(2000 * MS).await;
    world.run(&["SET", "k", "w"]).await.unwrap();
    assert_eq!(new.command(&["GET", "p:k"]).await, "$1\r\nw\r\n");
}

#[tokio::test]
async fn one_sentinel_that_is_down_or_silent_or_behind_changes_nothing() {
    let (old, new) = (RedisServer::start(&[]).await, RedisServer::start(&[]).await);
    let good = [Sentinel::start(new.port).await, Sentinel::start(new.port).await];
    let behind_ = Sentinel::start(old.port).await;
    let silent = Fake::start(|_| Act::Stall).await;
    for odd in [free_port(), silent.port, behind_.fake.port] {
        let mut configured = behind(&[odd, good[0].fake.port, good[1].fake.port]);
        configured.pool.connect_timeout = Duration::from_secs(4);
        let world = World::of(&configured);
        let begun = Instant::now();
        world.run(&["SET", "k", "v"]).await.unwrap();
        assert!(begun.elapsed() < 1500 * MS, "nobody waits for {odd}: {:?}", begun.elapsed());
        assert_eq!(old.command(&["EXISTS", "p:k"]).await, ":0\r\n");
    }
}

#[tokio::test]
async fn of_two_sentinels_the_one_of_the_later_election_is_believed() {
    let (old, new) = (RedisServer::start(&[]).await, RedisServer::start(&[]).await);
    let (late, early) = (Sentinel::start(new.port).await, Sentinel::start(old.port).await);
    late.epoch.store(8, Ordering::SeqCst);
    early.epoch.store(7, Ordering::SeqCst);
    let world = World::of(&behind(&[early.fake.port, late.fake.port]));
    world.run(&["SET", "k", "v"]).await.unwrap();
    assert_eq!(new.command(&["GET", "p:k"]).await, "$1\r\nv\r\n");
}

#[tokio::test]
async fn a_primary_that_was_cut_off_loses_its_connections_when_another_reigns() {
    let (old, new) = (RedisServer::start(&[]).await, RedisServer::start(&[]).await);
    let (all, mut resource) = three(old.port).await;
    sentinels(&mut resource).topology.refresh = 100 * MS;
    let world = World::of(&resource);
    world.run(&["SET", "k", "old"]).await.unwrap();
    let lease = world.call(leased(batch(&[plain(&["WATCH", "k"])]), 0, true)).await.unwrap().lease;
    // It still calls itself a primary.
    all.iter().for_each(|sentinel| sentinel.name(new.port));
    let begun = Instant::now();
    while new.command(&["EXISTS", "p:k"]).await == ":0\r\n" {
        assert!(begun.elapsed() < 2000 * MS, "calls still go to the old primary");
        let _ = world.run(&["SET", "k", "new"]).await;
        tokio::time::sleep(5 * MS).await;
    }
    let error = world.call(leased(batch(&[plain(&["GET", "k"])]), lease, true)).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable, "a lease at the old primary ends");
    let again = world.call(leased(batch(&[plain(&["GET", "k"])]), 0, false)).await.unwrap();
    assert_eq!(text(&again), "$3\r\nnew\r\n");
    assert_eq!(old.gateway_connections().await, 0);
}

#[tokio::test]
async fn what_sentinels_announce_is_connected_to_only_where_the_operator_allows_it() {
    let server = RedisServer::start(&[]).await;
    let sentinel = Sentinel::naming("localhost", server.port).await;
    let mut configured = behind(&[sentinel.fake.port]);
    let world = World::of(&configured);
    let error = world.run(&["GET", "k"]).await.unwrap_err();
    assert_eq!((error.code, error.retry), (Code::Unavailable, Retry::Safe));
    assert!(!error.message.contains("localhost"), "{error}");
    assert_eq!(world.backend.status().last_error.as_deref(), Some("not_allowed"));
    assert_eq!(server.gateway_connections().await, 0);
    sentinels(&mut configured).topology.announced =
        vec![AnnouncedHost::Name(HostMatch::Exact("localhost".into()))];
    World::of(&configured).run(&["GET", "k"]).await.unwrap();
}

#[tokio::test]
async fn sentinels_that_are_of_no_use_are_coded_errors() {
    let refusing = Fake::start(|_| reply(b"-NOAUTH Authentication required.\r\n")).await;
    let lying = Fake::start(|_| reply(b"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n99999\r\n")).await;
    let endless = Fake::start(|_| reply(b"*1000000000\r\n")).await;
    let garbage = Fake::start(|_| reply(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let unknown = Sentinel::start(1).await;
    for (port, code, class) in [
        (refusing.port, Code::Auth, "sentinels"),
        (lying.port, Code::Unavailable, "sentinels"),
        (endless.port, Code::Unavailable, "sentinels"),
        (garbage.port, Code::Unavailable, "sentinels"),
        (free_port(), Code::Unavailable, "sentinels"),
        (unknown.fake.port, Code::Unavailable, "no_primary"),
    ] {
        let mut configured = behind(&[port]);
        if port == unknown.fake.port {
            sentinels(&mut configured).name = "other".into();
        }
        let world = World::of(&configured);
        let error = world.run(&["GET", "k"]).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert_eq!(world.backend.status().last_error.as_deref(), Some(class), "{error}");
    }
}

#[tokio::test]
async fn an_outage_asks_sentinels_seldom_and_leaves_no_connection() {
    let (all, resource) = three(free_port()).await;
    let world = World::of(&resource);
    let begun = Instant::now();
    let mut calls = 0;
    while begun.elapsed() < 1000 * MS {
        assert_eq!(world.code(&["GET", "k"]).await, Code::Unavailable);
        calls += 1;
        tokio::time::sleep(MS).await;
    }
    let asked = all[0].fake.accepted();
    assert!(calls > 100 && asked < 20, "{asked} questions for {calls} calls");
}

/// How often a server has run GET.
async fn gets(server: &RedisServer) -> usize {
    let stats = server.command(&["INFO", "commandstats"]).await;
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
    calls.and_then(|rest| rest.split(',').next()).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn reads_go_to_a_replica_by_choice_and_to_the_primary_without_one() {
    let primary = RedisServer::start(&[]).await;
    let port = primary.port.to_string();
    let mut replica =
        RedisServer::start(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"]).await;
    let (_all, mut configured) = three(primary.port).await;
    let lag_max = Some(1000 * MS);
    sentinels(&mut configured).topology.read_from = RedisReadFrom::PreferReplica { lag_max };
    let world = World::of(&configured);
    world.run(&["SET", "k", "v"]).await.unwrap();
    let begun = Instant::now();
    while gets(&replica).await == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "no read has gone to the replica");
        assert_eq!(world.run(&["GET", "k"]).await.unwrap(), "$1\r\nv\r\n");
        tokio::time::sleep(20 * MS).await;
    }
    assert_eq!(world.backend.status().nodes.len(), 2);
    // What writes, and what stands beside a write, is the primary's.
    let before = gets(&replica).await;
    for _ in 0..20 {
        let mixed = world.call(batch(&[plain(&["INCR", "n"]), plain(&["GET", "n"])])).await;
        assert!(mixed.is_ok());
    }
    assert_eq!(gets(&replica).await, before);
    replica.kill();
    let begun = Instant::now();
    while begun.elapsed() < 1500 * MS {
        match world.run(&["GET", "k"]).await {
            Ok(value) => assert_eq!(value, "$1\r\nv\r\n"),
            // What was on its way when it died.
            Err(error) => assert_eq!(error.retry, Retry::IfIdempotent, "{error}"),
        }
        tokio::time::sleep(5 * MS).await;
    }
    assert_eq!(world.backend.status().nodes.len(), 1, "the primary does not tell of it any more");
}
