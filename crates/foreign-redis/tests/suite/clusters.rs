//! A Redis Cluster: three real nodes, and fakes that lie. The suite `redis` and the scenario `cluster` of the workspace have
//! replicas and failovers.

mod hostile;

use std::time::Duration;

use agw_config::{RedisAddress, RedisCluster, RedisHost, RedisReadFrom, RedisTopology, Resource};
use agw_wire::{Code, Retry};
use tokio::time::Instant;

use crate::server::{RedisServer, free_port};
use crate::world::{MS, World, atomic, batch, leased, plain, resource, script, text};

/// Three primaries, each with a third of the slots, and the ports of their bus.
struct Nodes([RedisServer; 3], [String; 3]);

const THIRDS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];
/// Keys behind the prefix "p:" that are not all at one node.
const KEYS: [&str; 3] = ["a", "b", "c"];

impl Nodes {
    async fn start() -> Self {
        let buses = [free_port(), free_port(), free_port()].map(|port| port.to_string());
        let args =
            |bus| ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", bus];
        let [first, second, third] = buses.each_ref().map(|bus| args(bus));
        let nodes = Nodes(
            [
                RedisServer::start(&first).await,
                RedisServer::start(&second).await,
                RedisServer::start(&third).await,
            ],
            buses.clone(),
        );
        for (node, (first, last)) in nodes.0.iter().zip(THIRDS) {
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
        }
        let first = nodes.0[0].port.to_string();
        for (place, node) in nodes.0.iter().enumerate() {
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(place + 1).to_string()]).await;
            if place > 0 {
                node.command(&["CLUSTER", "MEET", "127.0.0.1", &first, &buses[0]]).await;
            }
        }
        let begun = Instant::now();
        for node in &nodes.0 {
            while !node.command(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok") {
                assert!(begun.elapsed() < Duration::from_secs(20), "no cluster");
                tokio::time::sleep(20 * MS).await;
            }
        }
        nodes
    }

    fn resource(&self) -> Resource {
        sharded(&[self.0[0].port])
    }

    /// The node that has a key of the grant.
    async fn owner(&self, key: &str) -> usize {
        for (place, node) in self.0.iter().enumerate() {
            let found = node.command(&["GET", &format!("p:{key}")]).await;
            if !found.starts_with("-MOVED") && !found.starts_with("-ASK") {
                return place;
            }
        }
        panic!("nobody has {key}");
    }

    async fn id(&self, place: usize) -> String {
        let reply = self.0[place].command(&["CLUSTER", "MYID"]).await;
        reply.lines().nth(1).unwrap().to_owned()
    }

    async fn slot(&self, key: &str) -> String {
        let reply = self.0[0].command(&["CLUSTER", "KEYSLOT", &format!("p:{key}")]).await;
        reply.trim_start_matches(':').trim().to_owned()
    }

    /// The slot of a key begins to move: its keys are still where they were.
    async fn begin_move(&self, key: &str, from: usize, to: usize) {
        let (slot, source, target) = (self.slot(key).await, self.id(from).await, self.id(to).await);
        let done = self.0[to].command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]).await;
        assert_eq!(done, "+OK\r\n");
        let done = self.0[from].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]).await;
        assert_eq!(done, "+OK\r\n");
    }

    async fn move_key(&self, key: &str, from: usize, to: usize) {
        let (key, port) = (format!("p:{key}"), self.0[to].port.to_string());
        let moved = self.0[from].command(&["MIGRATE", "127.0.0.1", &port, &key, "0", "1000"]).await;
        assert_eq!(moved, "+OK\r\n");
    }

    /// The slot has moved; the third node is told by the others, later.
    async fn end_move(&self, key: &str, from: usize, to: usize) {
        let (slot, target) = (self.slot(key).await, self.id(to).await);
        for node in [to, from] {
            let done = self.0[node].command(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]).await;
            assert_eq!(done, "+OK\r\n");
        }
    }
}

fn sharded(ports: &[u16]) -> Resource {
    let mut resource = resource(0);
    let endpoints = ports.iter().map(|port| RedisHost { host: "127.0.0.1".into(), port: *port }).collect();
    let topology = RedisTopology {
        announced: Vec::new(),
        refresh: Duration::from_secs(60),
        read_from: RedisReadFrom::Primary,
    };
    resource.redis.address = RedisAddress::Cluster(RedisCluster { endpoints, topology });
    resource
}

#[tokio::test]
async fn every_call_goes_to_the_node_that_has_its_key() {
    let nodes = Nodes::start().await;
    let world = World::of(&nodes.resource());
    for at in 0..100 {
        assert_eq!(world.run(&["SET", &format!("k{at}"), "v"]).await.unwrap(), "+OK\r\n");
    }
    for node in &nodes.0 {
        let size = node.command(&["DBSIZE"]).await;
        assert!(size != ":0\r\n", "the keys are spread");
        let errors = node.command(&["INFO", "errorstats"]).await;
        assert!(!errors.contains("MOVED"), "nobody had to be sent elsewhere: {errors}");
    }
    assert_eq!(world.run(&["PING"]).await.unwrap(), "+PONG\r\n");
    assert_eq!(world.backend.status().multiplexed, 3);
}

#[tokio::test]
async fn a_batch_is_split_over_nodes_and_its_replies_come_in_order() {
    let nodes = Nodes::start().await;
    let world = World::of(&nodes.resource());
    assert_ne!(nodes.owner("a").await, nodes.owner("b").await);
    let keys: Vec<String> = (0..60).map(|at| format!("k{at}")).collect();
    let mut commands = vec![plain(&["ECHO", "begin"])];
    for key in &keys {
        commands.push(plain(&["SET", key, key]));
        commands.push(plain(&["GET", key]));
        commands.push(plain(&["LPUSH", key, "x"]));
    }
    commands.push(plain(&["ECHO", "end"]));
    let replies = text(&world.call(batch(&commands)).await.unwrap());
    let wrong_type = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    let each = |key: &String| format!("+OK\r\n${}\r\n{key}\r\n{wrong_type}", key.len());
    let expected = format!("$5\r\nbegin\r\n{}$3\r\nend\r\n", keys.iter().map(each).collect::<String>());
    assert_eq!(replies, expected);
}

#[tokio::test]
async fn keys_in_different_slots_are_refused_before_anything_is_sent() {
    let world = World::of(&sharded(&[free_port()]));
    for refused in [
        batch(&[plain(&["MGET", "a", "b"])]),
        batch(&[plain(&["SET", "a", "1"]), plain(&["RENAME", "a", "b"])]),
        atomic(&[plain(&["SET", "a", "1"]), plain(&["PING"]), plain(&["SET", "b", "1"])]),
        batch(&[script("double", 2, &["a", "b", "1"])]),
        batch(&[plain(&["SCAN", "0"])]),
        leased(batch(&[]), 0, true),
    ] {
        // Whatever was sent would be `unavailable`: nobody is there.
        let error = world.call(refused).await.unwrap_err();
        assert_eq!(error.code, Code::Invalid, "{error}");
        assert!(error.message.contains("cluster"), "{error}");
    }
    let error = world.call(atomic(&[plain(&["GET", "a"]), plain(&["GET", "b"])])).await.unwrap_err();
    assert!(error.message.starts_with("command 1: ") && error.message.contains("{user7}:a"), "{error}");
}

#[tokio::test]
async fn a_hash_tag_keeps_keys_together() {
    let nodes = Nodes::start().await;
    let world = World::of(&nodes.resource());
    assert_eq!(world.run(&["MSET", "{u}1", "x", "{u}2", "y"]).await.unwrap(), "+OK\r\n");
    let both =
        world.call(atomic(&[plain(&["GET", "{u}1"]), plain(&["MGET", "{u}2", "{u}1"])])).await.unwrap();
    assert_eq!(text(&both), "*2\r\n$1\r\nx\r\n*2\r\n$1\r\ny\r\n$1\r\nx\r\n");
    let mut grant = crate::world::grant();
    grant.key_prefix = "{all}:".into();
    let together = World::with_grant(&nodes.resource(), &grant);
    assert_eq!(together.run(&["MSET", "a", "1", "b", "2", "c", "3"]).await.unwrap(), "+OK\r\n");
}

#[tokio::test]
async fn scripts_are_taught_to_each_node_and_leases_are_at_the_node_of_their_key() {
    let nodes = Nodes::start().await;
    let world = World::of(&nodes.resource());
    for key in KEYS {
        let one = world.call(batch(&[script("touch", 1, &[key])])).await.unwrap();
        assert_eq!(text(&one), ":1\r\n");
    }
    let all = KEYS.map(|key| script("touch", 1, &[key]));
    assert_eq!(text(&world.call(batch(&all)).await.unwrap()), ":2\r\n:2\r\n:2\r\n");
    for key in KEYS {
        let watch = batch(&[plain(&["WATCH", key]), plain(&["GET", key])]);
        let lease = world.call(leased(watch, 0, true)).await.unwrap().lease;
        assert_ne!(lease, 0);
        world.run(&["SET", key, "other"]).await.unwrap();
        let executed = world.call(leased(atomic(&[plain(&["INCR", key])]), lease, false)).await.unwrap();
        assert_eq!(text(&executed), "*-1\r\n", "{key} has changed");
        let popped = world.call(batch(&[plain(&["BLPOP", &format!("q{key}"), "0.01"])])).await.unwrap();
        assert_eq!(text(&popped), "*-1\r\n");
    }
    let lease = world.call(leased(batch(&[plain(&["WATCH", "a"])]), 0, true)).await.unwrap().lease;
    let error = world.call(leased(batch(&[plain(&["GET", "b"])]), lease, true)).await.unwrap_err();
    assert!(error.code == Code::Invalid && error.message.contains("one node of the cluster"), "{error}");
    assert_eq!(world.backend.status().leased, 0, "a call that is refused ends its lease");
}

#[tokio::test]
async fn a_slot_on_its_way_is_followed_key_by_key() {
    let nodes = Nodes::start().await;
    let world = World::of(&nodes.resource());
    let from = nodes.owner("{a}1").await;
    let to = (from + 1) % 3;
    world.run(&["MSET", "{a}1", "1", "{a}2", "2"]).await.unwrap();
    nodes.begin_move("{a}1", from, to).await;
    nodes.move_key("{a}2", from, to).await;
    // One key is here, one there, and a third nowhere: it is asked for where it would be new.
    assert_eq!(world.run(&["INCR", "{a}1"]).await.unwrap(), ":2\r\n");
    assert_eq!(world.run(&["INCR", "{a}2"]).await.unwrap(), ":3\r\n");
    assert_eq!(world.run(&["INCR", "{a}3"]).await.unwrap(), ":1\r\n");
    let batch_ = batch(&[
        plain(&["GET", "{a}1"]),
        plain(&["GET", "b"]),
        plain(&["INCR", "{a}2"]),
        plain(&["GET", "{a}1"]),
        plain(&["INCR", "{a}2"]),
    ]);
    assert_eq!(text(&world.call(batch_).await.unwrap()), "$1\r\n2\r\n$-1\r\n:4\r\n$1\r\n2\r\n:5\r\n");
    let transaction = atomic(&[plain(&["INCR", "{a}2"]), plain(&["INCR", "{a}3"])]);
    assert_eq!(text(&world.call(transaction).await.unwrap()), "*2\r\n:6\r\n:2\r\n");
    let scripted = world.call(batch(&[script("touch", 1, &["{a}2"])])).await.unwrap();
    assert_eq!(text(&scripted), ":7\r\n");
    // Partly here and partly there is nowhere at all.
    let error = world.run(&["MGET", "{a}1", "{a}2"]).await.unwrap_err();
    assert_eq!(
        (error.code, error.server_code.as_str(), error.retry),
        (Code::Server, "TRYAGAIN", Retry::Safe)
    );
    nodes.move_key("{a}1", from, to).await;
    assert_eq!(world.run(&["MGET", "{a}1", "{a}2"]).await.unwrap(), "*2\r\n$1\r\n2\r\n$1\r\n7\r\n");
}

#[tokio::test]
async fn a_slot_that_has_moved_is_found_and_remembered() {
    let nodes = Nodes::start().await;
    let world = World::of(&nodes.resource());
    let from = nodes.owner("{a}1").await;
    let to = (from + 1) % 3;
    world.run(&["SET", "{a}1", "1"]).await.unwrap();
    nodes.begin_move("{a}1", from, to).await;
    nodes.move_key("{a}1", from, to).await;
    nodes.end_move("{a}1", from, to).await;
    let popped = world.call(batch(&[plain(&["BLPOP", "{a}q", "0.01"])])).await.unwrap();
    assert_eq!(text(&popped), "*-1\r\n", "leases follow as well");
    for at in 2..20 {
        assert_eq!(world.run(&["INCR", "{a}1"]).await.unwrap(), format!(":{at}\r\n"));
    }
    let errors = nodes.0[from].command(&["INFO", "errorstats"]).await;
    let moved = errors.lines().find(|line| line.contains("MOVED")).unwrap_or_default();
    assert!(moved.ends_with("count=2") || moved.ends_with("count=1"), "once is enough: {moved}");
}

#[tokio::test]
async fn a_node_that_is_killed_costs_its_own_keys_and_nothing_that_was_sent_is_sent_again() {
    let mut nodes = Nodes::start().await;
    let world = World::of(&nodes.resource());
    for key in KEYS {
        world.run(&["SET", key, "v"]).await.unwrap();
    }
    let dead = nodes.owner("a").await;
    nodes.0[dead].kill();
    let begun = Instant::now();
    while begun.elapsed() < 500 * MS {
        let error = world.run(&["GET", "a"]).await.unwrap_err();
        assert!(gone(error.code), "{error}");
        assert!(!error.message.contains("127.0.0.1"), "{error}");
        let both = world.call(batch(&[plain(&["GET", "b"]), plain(&["GET", "a"])])).await.unwrap_err();
        assert!(gone(both.code), "{both}");
        assert_eq!(world.run(&["GET", "b"]).await.unwrap(), "$1\r\nv\r\n");
        tokio::time::sleep(5 * MS).await;
    }
    // Nobody takes its place, so that after a while the others refuse as well.
    let error = loop {
        match world.run(&["GET", "b"]).await {
            Ok(_) => assert!(begun.elapsed() < Duration::from_secs(10)),
            Err(error) => break error,
        }
        tokio::time::sleep(20 * MS).await;
    };
    assert_eq!(
        (error.code, error.server_code.as_str(), error.retry),
        (Code::Server, "CLUSTERDOWN", Retry::Safe)
    );
}

#[tokio::test]
async fn reads_go_to_the_replica_of_the_node_that_has_the_key() {
    let nodes = Nodes::start().await;
    let bus = free_port().to_string();
    let replica = RedisServer::start(&[
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--repl-diskless-sync-delay",
        "0",
    ])
    .await;
    let owner = nodes.owner("a").await;
    let (id, port) = (nodes.id(owner).await, nodes.0[owner].port.to_string());
    replica.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &nodes.1[owner]]).await;
    let begun = Instant::now();
    while replica.command(&["CLUSTER", "REPLICATE", &id]).await != "+OK\r\n" {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not know its primary");
        tokio::time::sleep(100 * MS).await;
    }
    while !replica.command(&["INFO", "replication"]).await.contains("master_link_status:up") {
        assert!(begun.elapsed() < Duration::from_secs(20), "no replica");
        tokio::time::sleep(100 * MS).await;
    }
    let mut configured = nodes.resource();
    let RedisAddress::Cluster(cluster) = &mut configured.redis.address else { panic!() };
    cluster.topology.read_from = RedisReadFrom::PreferReplica { lag_max: None };
    let world = World::of(&configured);
    world.run(&["SET", "a", "v"]).await.unwrap();
    let begun = Instant::now();
    while !replica.command(&["INFO", "commandstats"]).await.contains("cmdstat_get:") {
        assert!(begun.elapsed() < Duration::from_secs(20), "no read has gone to the replica");
        assert_eq!(world.run(&["GET", "a"]).await.unwrap(), "$1\r\nv\r\n");
        tokio::time::sleep(20 * MS).await;
    }
    assert!(!replica.command(&["INFO", "errorstats"]).await.contains("MOVED"), "it answers itself");
    assert_eq!(world.backend.status().nodes.len(), 4);
}

/// What a dead node's calls come to: its own breaker opens after a few of them.
fn gone(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::CircuitOpen)
}
