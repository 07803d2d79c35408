//! Several hosts: a primary and its standby, and hosts that are dead.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use agw_tests::port::free_port;
use agw_tests::{Postgres, PostgresOptions};
use agw_wire::sql::{Call, Cell, Cells, Mode, Statement};
use agw_wire::{CallError, Code, Retry};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::time::{Instant, sleep};

use crate::world::{AD_HOC, Plugin, World};

/// Which server answers: the port that it listens on.
const WHERE: &str = "SELECT current_setting('port')";
const READS: &str = "grants: [{ plugin: p, ad_hoc: true, read_only: true }]";

fn fields(grants: &str, target: &str, ports: &[u16]) -> String {
    let endpoints: Vec<String> = ports.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
    format!("{grants}\nendpoints: [{}]\ntarget: {target}\ndatabase: postgres", endpoints.join(", "))
}

/// A primary and its standby, and the ports of the two.
struct Pair {
    primary: Arc<Mutex<Postgres>>,
    standby: Postgres,
    ports: [u16; 2],
}

impl Pair {
    fn start() -> Self {
        let primary = Postgres::start().unwrap();
        let standby = primary.standby().unwrap();
        let ports = [primary.port(), standby.port()];
        Pair { primary: Arc::new(Mutex::new(primary)), standby, ports }
    }

    fn world(&self, fields: &str) -> World {
        World::on(Arc::clone(&self.primary), fields)
    }

    fn primary(&self) -> MutexGuard<'_, Postgres> {
        self.primary.lock().unwrap()
    }
}

async fn is_at(plugin: &Plugin, port: u16) {
    assert_eq!(plugin.value(WHERE, &[]).await, format!("Text(\"{port}\")"));
}

fn assert_has_no_host(error: &CallError, role: &str) {
    assert_eq!((error.code, error.retry), (Code::Unavailable, Retry::Safe), "{error}");
    assert!(error.message.contains(role), "{error}");
}

#[tokio::test]
async fn a_connection_goes_to_a_host_of_the_role_that_is_wanted() {
    let pair = Pair::start();
    let [primary, standby] = pair.ports;
    for (target, ports, port) in [
        ("any", [primary, standby], primary),
        ("any", [standby, primary], standby),
        ("primary", [primary, standby], primary),
        ("primary", [standby, primary], primary),
        ("replica", [primary, standby], standby),
        ("replica", [standby, primary], standby),
        ("prefer_replica", [primary, standby], standby),
    ] {
        let world = pair.world(&fields(READS, target, &ports));
        world.start().await.unwrap();
        let plugin = world.plugin("p");
        for _ in 0..3 {
            is_at(&plugin, port).await;
        }
    }
    for (target, port, role) in [("replica", primary, "a replica"), ("primary", standby, "a primary")] {
        let world = pair.world(&fields(READS, target, &[port]));
        world.start().await.unwrap();
        assert_has_no_host(&world.plugin("p").query(WHERE, &[]).await.unwrap_err(), role);
        assert_eq!(world.backend.status().last_error.as_deref(), Some("role"));
    }
}

#[tokio::test]
async fn a_write_on_a_standby_is_refused_as_the_servers_and_not_as_the_grants() {
    let pair = Pair::start();
    let world = pair.world(&fields(AD_HOC, "any", &[pair.ports[1]]));
    let plugin = world.plugin("p");
    for _ in 0..2 {
        let error = plugin.sql(Mode::Execute, "CREATE TABLE t (a int4)", &[]).await.unwrap_err();
        assert_eq!((error.code, error.server_code.as_str()), (Code::Server, "25006"), "{error}");
        let error = plugin.batch(&["CREATE TABLE t (a int4)"]).await.unwrap_err();
        assert_eq!((error.code, error.server_code.as_str()), (Code::Server, "25006"), "{error}");
    }
}

#[tokio::test]
async fn a_guest_cannot_make_the_primary_seem_to_be_none() {
    let pair = Pair::start();
    let world = pair.world(&fields(AD_HOC, "primary", &pair.ports));
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (a int4)", &[]).await.unwrap();
    let sleep = || {
        let plugin = plugin.clone();
        tokio::spawn(async move { plugin.query("SELECT pg_backend_pid(), pg_sleep(0.5)", &[]).await })
    };
    let (one, other) = tokio::join!(sleep(), sleep());
    let pids = [one, other].map(|shown| shown.unwrap().unwrap().rows[0][0].clone());
    let sneaky = ["SELECT set_config('transaction_read_only', 'on', true)", "INSERT INTO t VALUES (1)"];
    let error = plugin.batch(&sneaky).await.unwrap_err();
    assert_eq!((error.code, error.server_code.as_str()), (Code::Server, "25006"), "{error}");
    let pid = plugin.value("SELECT pg_backend_pid()", &[]).await;
    assert!(pids.contains(&pid), "the other connection is kept: {pid} of {pids:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_at_the_new_primary_and_none_that_was_acknowledged_is_lost() {
    let pair = Pair::start();
    // A commit waits for the standby, so that what it acknowledges is at the new primary.
    pair.primary().sql("CREATE TABLE t (a int8 PRIMARY KEY); GRANT ALL ON t TO agw").unwrap();
    pair.primary().sql("ALTER SYSTEM SET synchronous_standby_names = '*'").unwrap();
    pair.primary().sql("SELECT pg_reload_conf()").unwrap();
    let extra = "pool: { max: 4, acquire_timeout: 5s }\nbreaker: { failures: 1000000 }\n\
                 limits: { call_timeout: 2s }\n\
                 statements: { find: { text: SELECT a FROM t WHERE a = $1, pipelined: true } }";
    let grants = "grants: [{ plugin: p, statements: [find], ad_hoc: true, read_only: false }]";
    let world = pair.world(&format!("{}\n{extra}", fields(grants, "primary", &pair.ports)));
    world.start().await.unwrap();
    let (plugin, over) = (world.plugin("p"), Arc::new(AtomicBool::new(false)));
    let mut tasks = Vec::new();
    for task in 0..4i64 {
        tasks.push(tokio::spawn(write(plugin.clone(), task, Arc::clone(&over))));
    }
    sleep(Duration::from_millis(300)).await;
    pair.primary().kill();
    sleep(Duration::from_millis(300)).await;
    pair.standby.promote().unwrap();
    let promoted = Instant::now();
    while plugin.sql(Mode::Execute, "INSERT INTO t VALUES (-1)", &[]).await.is_err() {
        assert!(promoted.elapsed() < Duration::from_secs(20), "writes do not go on");
        sleep(Duration::from_millis(5)).await;
    }
    is_at(&plugin, pair.ports[1]).await;
    sleep(Duration::from_millis(200)).await;
    over.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for task in tasks {
        acknowledged.extend(task.await.unwrap());
    }
    let there = pair.standby.sql("SELECT a FROM t").unwrap();
    let there: HashSet<i64> = there.lines().map(|line| line.parse().unwrap()).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|a| !there.contains(a)).collect();
    assert!(lost.is_empty() && acknowledged.len() > 8, "{lost:?} of {}", acknowledged.len());
    world.all_given_back().await;
}

/// Writes, looks by the pipelined statement for what was written, and gives what was acknowledged.
async fn write(plugin: Plugin, task: i64, over: Arc<AtomicBool>) -> Vec<i64> {
    let (mut at, mut acknowledged) = (task, Vec::new());
    while !over.load(Ordering::Relaxed) {
        at += 4;
        match plugin.sql(Mode::Execute, "INSERT INTO t VALUES ($1)", &[Cell::Int(at)]).await {
            Ok(_) => acknowledged.push(at),
            Err(error) => {
                assert_passes(&error);
                sleep(Duration::from_millis(5)).await;
                continue;
            }
        }
        let params = crate::world::cells(&[Cell::Int(at)]);
        let statements = vec![Statement::named("find", Cells::new(&params))];
        match plugin.call(Call { mode: Mode::Query, statements, ..Call::default() }).await {
            Ok((results, _)) => assert_eq!(results[0].rows, [[format!("Int({at})")]]),
            Err(error) => assert_passes(&error),
        }
    }
    acknowledged
}

/// What a failover may do to a call.
fn assert_passes(error: &CallError) {
    let coded =
        matches!(error.code, Code::Unavailable | Code::TimeoutIo | Code::TimeoutConnect | Code::TimeoutQueue);
    assert!(coded, "{error}");
}

#[tokio::test]
async fn a_dead_host_costs_a_share_of_one_calls_time_and_then_comes_last() {
    let server = World::unstarted(AD_HOC).server;
    let port = server.lock().unwrap().port();
    // The kernel takes connections for it, and nobody ever answers.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    silent.set_nonblocking(true).unwrap();
    let refuses = format!("127.0.0.1:{}", free_port().unwrap());
    for dead in [silent.local_addr().unwrap().to_string(), refuses, "db.invalid:5432".to_owned()] {
        let fields = format!(
            "{AD_HOC}\nendpoints: ['{dead}', '127.0.0.1:{port}']\ndatabase: postgres\nplaintext: true\n\
             pool: {{ connect_timeout: 30s }}"
        );
        let world = World::on(Arc::clone(&server), &fields);
        // The call ends long before connect_timeout: it is its own time that is shared out.
        let plugin = world.plugin("p").with_deadline(6_000);
        is_at(&plugin, port).await;
        let calls = (0..4).map(|_| {
            let plugin = plugin.clone();
            tokio::spawn(async move { plugin.query("SELECT pg_sleep(0.3)", &[]).await })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap().unwrap();
        }
    }
    let tried = std::iter::from_fn(|| silent.accept().ok()).count();
    assert_eq!(tried, 1);
}

#[tokio::test]
async fn with_all_hosts_dead_the_error_that_tells_most_is_given() {
    let [a, b] = [free_port().unwrap(), free_port().unwrap()];
    let world = World::unstarted(AD_HOC);
    let port = world.server.lock().unwrap().port();
    for (ports, extra, code, class) in [
        (vec![a, b], "", Code::Unavailable, "unreachable"),
        (vec![a, port], "password: { file: wrong }", Code::Auth, "auth"),
        (vec![port, b], "password: { file: wrong }", Code::Auth, "auth"),
    ] {
        let fields = format!("{}\n{extra}", fields(AD_HOC, "any", &ports));
        let world = World::on(Arc::clone(&world.server), &fields);
        let error = world.plugin("p").query("SELECT 1", &[]).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert_eq!(world.backend.status().last_error.as_deref(), Some(class));
        assert!(!error.message.contains("127.0.0.1"), "{error}");
    }
}

#[tokio::test]
async fn a_statement_is_stopped_on_the_server_that_runs_it() {
    let pair = Pair::start();
    let world = pair.world(&fields(READS, "replica", &pair.ports));
    let plugin = world.plugin("p");
    is_at(&plugin, pair.ports[1]).await;
    let error = plugin.clone().with_deadline(300).query("SELECT pg_sleep(30)", &[]).await.unwrap_err();
    assert_eq!(error.code, Code::TimeoutIo, "{error}");
    world.all_given_back().await;
    assert_eq!(pair.standby.sql(crate::RUNNING).unwrap(), "");
    assert_eq!(world.backend.status().idle, 1, "the connection is kept: the stop was heard");
}

/// A certificate of this authority for one name, and its key.
fn certificate(authority: &CertifiedIssuer<'_, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn each_host_is_verified_by_its_own_name() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let start = |name: &str| {
        let tls = Some(certificate(&authority, name));
        Postgres::start_with(PostgresOptions { tls, ..PostgresOptions::default() }).unwrap()
    };
    let (by_name, by_address) = (start("localhost"), start("127.0.0.1"));
    let ports = [by_name.port(), by_address.port()];
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let servers = [Arc::new(Mutex::new(by_name)), Arc::new(Mutex::new(by_address))];
    let world = |hosts: [&str; 2], tls: &str| {
        let [first, second] = [format!("{}:{}", hosts[0], ports[0]), format!("{}:{}", hosts[1], ports[1])];
        let tls = format!("tls: {{ ca: {{ file: {} }}{tls} }}", ca.display());
        let fields = format!("{AD_HOC}\nendpoints: ['{first}', '{second}']\ndatabase: postgres\n{tls}");
        World::on(Arc::clone(&servers[0]), &fields)
    };
    let right = world(["localhost", "127.0.0.1"], "");
    is_at(&right.plugin("p"), ports[0]).await;
    is_at(&world(["127.0.0.1", "127.0.0.1"], "").plugin("p"), ports[1]).await;
    let wrong = world(["127.0.0.1", "localhost"], "");
    let error = wrong.plugin("p").query(WHERE, &[]).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable, "{error}");
    assert_eq!(wrong.backend.status().last_error.as_deref(), Some("tls"));
    is_at(&world(["localhost", "localhost"], ", server_name: 127.0.0.1").plugin("p"), ports[1]).await;
    servers[0].lock().unwrap().kill();
    let begin = Instant::now();
    while right.plugin("p").query(WHERE, &[]).await.is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the second host does not serve");
    }
    is_at(&right.plugin("p"), ports[1]).await;
}
