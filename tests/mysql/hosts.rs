//! Several hosts: one that takes writes, one with `read_only`, and hosts that are dead.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use agw_tests::Mariadb;
use agw_tests::port::free_port;
use agw_wire::sql::Mode;
use agw_wire::{CallError, Code, Retry};
use tokio::time::{Duration, Instant, sleep};

use crate::world::{AD_HOC, Plugin, World};

/// Which server answers.
const WHERE: &str = "SELECT @@port";
const READS: &str = "grants: [{ plugin: p, ad_hoc: true, read_only: true }]";
const TABLE: &str = "CREATE TABLE t (a INT PRIMARY KEY)";

/// Two servers that do not replicate: the suite says which of them takes writes.
struct Pair {
    first: Arc<Mutex<Mariadb>>,
    second: Mariadb,
    ports: [u16; 2],
}

impl Pair {
    /// The first takes writes.
    fn start() -> Self {
        let first = Mariadb::start().unwrap();
        let second = Mariadb::start().unwrap();
        let ports = [first.port(), second.port()];
        first.sql(TABLE).unwrap();
        second.sql(TABLE).unwrap();
        second.sql("SET GLOBAL read_only = 1").unwrap();
        Pair { first: Arc::new(Mutex::new(first)), second, ports }
    }

    async fn world(&self, grants: &str, target: &str, ports: &[u16]) -> World {
        let endpoints: Vec<String> = ports.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
        let endpoints = endpoints.join(", ");
        let fields = format!("{grants}\nendpoints: [{endpoints}]\ntarget: {target}\ndatabase: app");
        let world = World::on(Arc::clone(&self.first), &fields);
        world.start().await.unwrap();
        world
    }

    fn switch(&self) {
        self.first.lock().unwrap().sql("SET GLOBAL read_only = 1").unwrap();
        self.second.sql("SET GLOBAL read_only = 0").unwrap();
    }
}

async fn is_at(plugin: &Plugin, port: u16) {
    assert_eq!(plugin.value(WHERE, &[]).await, format!("Uint({port})"));
}

async fn insert(plugin: &Plugin, a: i64) -> Result<(), CallError> {
    plugin.sql(Mode::Execute, &format!("INSERT INTO t VALUES ({a})"), &[]).await.map(drop)
}

#[tokio::test]
async fn a_connection_goes_to_a_host_of_the_role_that_is_wanted() {
    let pair = Pair::start();
    let [first, second] = pair.ports;
    for (target, ports, port) in [
        ("any", [second, first], second),
        ("primary", [second, first], first),
        ("replica", [first, second], second),
        ("prefer_replica", [first, second], second),
        ("prefer_replica", [first, free_port().unwrap()], first),
    ] {
        let plugin = pair.world(READS, target, &ports).await.plugin("p");
        for _ in 0..3 {
            is_at(&plugin, port).await;
        }
    }
    for (target, port, role) in [("replica", first, "a replica"), ("primary", second, "a primary")] {
        let world = pair.world(READS, target, &[port]).await;
        let error = world.plugin("p").query(WHERE, &[]).await.unwrap_err();
        assert_eq!((error.code, error.retry), (Code::Unavailable, Retry::Safe), "{error}");
        assert!(error.message.contains(role), "{error}");
        assert_eq!(world.backend.status().last_error.as_deref(), Some("role"));
    }
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_costs_one_call_and_all_its_connections() {
    let pair = Pair::start();
    let world = pair.world(AD_HOC, "primary", &pair.ports).await;
    let plugin = world.plugin("p");
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let plugin = plugin.clone();
            tokio::spawn(async move { plugin.query("SELECT SLEEP(0.3)", &[]).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    insert(&plugin, 1).await.unwrap();
    world.all_given_back().await;
    assert!(world.backend.status().idle >= 2, "{:?}", world.backend.status());
    pair.switch();
    let error = insert(&plugin, 2).await.unwrap_err();
    assert_eq!((error.code, error.retry), (Code::Unavailable, Retry::Safe), "{error}");
    insert(&plugin, 2).await.unwrap();
    for at in 3..8 {
        insert(&plugin, at).await.unwrap();
        is_at(&plugin, pair.ports[1]).await;
    }
    plugin.batch(&["INSERT INTO t VALUES (8)"]).await.unwrap();
    assert_eq!(pair.first.lock().unwrap().sql("SELECT COUNT(*) FROM t").unwrap(), "1");
    assert_eq!(pair.second.sql("SELECT MIN(a), MAX(a), COUNT(*) FROM t").unwrap(), "2|8|7");
}

#[tokio::test]
async fn a_batch_on_a_host_that_became_a_replica_leaves_nothing_behind() {
    let pair = Pair::start();
    let world = pair.world(AD_HOC, "primary", &pair.ports).await;
    let plugin = world.plugin("p");
    insert(&plugin, 1).await.unwrap();
    pair.switch();
    let batch = ["INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (3)"];
    let error = plugin.batch(&batch).await.unwrap_err();
    assert_eq!((error.code, error.retry), (Code::Unavailable, Retry::Safe), "{error}");
    plugin.batch(&batch).await.unwrap();
    assert_eq!(pair.first.lock().unwrap().sql("SELECT a FROM t").unwrap(), "1");
    assert_eq!(pair.second.sql("SELECT COUNT(*) FROM t").unwrap(), "2");
}

#[tokio::test]
async fn without_a_target_a_replicas_refusal_is_the_servers_own() {
    let pair = Pair::start();
    let plugin = pair.world(AD_HOC, "any", &[pair.ports[1]]).await.plugin("p");
    for at in 0..2 {
        let error = insert(&plugin, at).await.unwrap_err();
        assert_eq!((error.code, error.server_errno), (Code::Server, 1290), "{error}");
    }
}

#[tokio::test]
async fn an_idle_connection_whose_server_died_is_replaced_by_one_to_the_next_host() {
    let pair = Pair::start();
    let world = pair.world(READS, "any", &pair.ports).await;
    let plugin = world.plugin("p");
    is_at(&plugin, pair.ports[0]).await;
    pair.first.lock().unwrap().kill();
    sleep(Duration::from_millis(1200)).await;
    is_at(&plugin, pair.ports[1]).await;
    let error = plugin.clone().with_deadline(300).query("SELECT SLEEP(30)", &[]).await.unwrap_err();
    assert_eq!(error.code, Code::TimeoutIo, "{error}");
    world.all_given_back().await;
    assert_eq!(pair.second.sql(crate::RUNNING).unwrap(), "", "the kill goes to the new host");
    assert_eq!(world.backend.status().idle, 1);
}

#[tokio::test]
async fn hosts_that_are_dead_cost_a_share_of_the_time() {
    let world = World::unstarted(AD_HOC);
    let port = world.server.lock().unwrap().port();
    // The kernel takes connections for it, and nobody ever answers.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let silent = listener.local_addr().unwrap().port();
    let refuses = free_port().unwrap();
    for dead in [format!("127.0.0.1:{silent}"), format!("127.0.0.1:{refuses}"), "db.invalid:3306".to_owned()]
    {
        let fields = format!(
            "{AD_HOC}\nendpoints: ['{dead}', '127.0.0.1:{port}']\ndatabase: app\nplaintext: true\n\
             pool: {{ connect_timeout: 20s }}"
        );
        let world = World::on(Arc::clone(&world.server), &fields);
        let plugin = world.plugin("p").with_deadline(8_000);
        let begin = Instant::now();
        is_at(&plugin, port).await;
        assert!(begin.elapsed() < Duration::from_secs(8), "{dead}");
    }
}
