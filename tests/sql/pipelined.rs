use std::time::Duration;

use agw_wire::sql::{Call, Cell, Cells, Mode, Statement};
use agw_wire::{CallError, Code};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::world::{AD_HOC, Plugin, Shown, World, cells};

/// `echo` gives its number, `slow` sleeps for so many seconds, `many` gives so many rows.
fn fields(more: &str) -> String {
    format!(
        "{AD_HOC}\nstatements:\n  echo: {{ text: 'SELECT $1::int8', pipelined: true }}\n  \
         slow: {{ text: 'SELECT pg_sleep($1::float8)::text', pipelined: true }}\n  \
         many: {{ text: 'SELECT g FROM generate_series(1, $1::int8) g', pipelined: true }}\n\
         pool: {{ max: 1, pipelined: 1, acquire_timeout: 20s }}\n{more}"
    )
    .replace("ad_hoc: true,", "ad_hoc: true, statements: [echo, slow, many],")
}

impl Plugin {
    /// One named statement.
    pub(crate) async fn named(
        &self,
        mode: Mode,
        name: &str,
        params: &[Cell<'_>],
    ) -> Result<Shown, CallError> {
        let params = cells(params);
        let statements = vec![Statement::named(name, Cells::new(&params))];
        let (mut results, _) = self.call(Call { mode, statements, ..Call::default() }).await?;
        assert_eq!(results.len(), 1);
        Ok(results.remove(0))
    }
}

fn connections(world: &World) -> String {
    world.direct("SELECT count(*) FROM pg_stat_activity WHERE usename = 'agw'")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_share_one_connection_and_each_gets_its_own_row() {
    let world = World::new(&fields("")).await;
    let plugin = world.plugin("p");
    let mut calls = JoinSet::new();
    for number in 0..1000i64 {
        let plugin = plugin.clone();
        calls.spawn(async move {
            let shown = plugin.named(Mode::QueryOne, "echo", &[Cell::Int(number)]).await.unwrap();
            assert_eq!(shown.rows, [[format!("Int({number})")]]);
        });
    }
    calls.join_all().await;
    assert_eq!(connections(&world), "1", "none but the shared one");
    assert_eq!(world.backend.status().multiplexed, 1);
}

#[tokio::test]
async fn a_slow_statement_answers_at_its_deadline_and_ends_on_the_server_at_the_call_timeout() {
    let world = World::new(&fields("limits: { call_timeout: 700ms }")).await;
    let plugin = world.plugin("p");
    let started = Instant::now();
    let slow = plugin.clone().with_deadline(100);
    let error = slow.named(Mode::Query, "slow", &[Cell::Float(60.0)]).await.unwrap_err();
    assert_eq!(error.code, Code::TimeoutIo);
    let behind = plugin.clone().with_deadline(10_000);
    let shown = behind.named(Mode::QueryOne, "echo", &[Cell::Int(7)]).await.unwrap();
    assert_eq!(shown.rows, [["Int(7)"]], "it waits behind the slow one and gets its own row");
    assert!(started.elapsed() >= Duration::from_millis(600), "{:?}", started.elapsed());
    assert_eq!(connections(&world), "1");
    let error = plugin.named(Mode::Query, "slow", &[Cell::Text("much")]).await.unwrap_err();
    assert_eq!(error.code, Code::Invalid, "{error}");
}

#[tokio::test]
async fn a_call_that_is_taken_back_leaves_the_others_alone() {
    let world = World::new(&fields("")).await;
    let plugin = world.plugin("p");
    let cancel = CancellationToken::new();
    let params = cells(&[Cell::Float(0.3)]);
    let statements = vec![Statement::named("slow", Cells::new(&params))];
    let call = Call { mode: Mode::Query, statements, ..Default::default() };
    let (taken_back, shown, ()) = tokio::join!(
        plugin.call_until(call, &cancel),
        async {
            while !world.running().contains("pg_sleep") {
                sleep(Duration::from_millis(5)).await;
            }
            cancel.cancel();
            plugin.named(Mode::QueryOne, "echo", &[Cell::Int(1)]).await
        },
        async {}
    );
    assert_eq!(taken_back.unwrap_err().code, Code::Cancelled);
    assert_eq!(shown.unwrap().rows, [["Int(1)"]]);
}

#[tokio::test]
async fn a_result_over_the_cap_is_read_past_and_an_endless_one_costs_its_connection_only() {
    let world = World::new(&fields("limits: { call_timeout: 20s, rows: 10 }")).await;
    let plugin = world.plugin("p");
    for rows in [11, 1000, 5_000_000] {
        let error = plugin.named(Mode::Query, "many", &[Cell::Int(rows)]).await.unwrap_err();
        let expected = if rows > 100_000 { Code::Unavailable } else { Code::TooLarge };
        assert_eq!(error.code, expected, "{rows}: {error}");
        let shown = plugin.named(Mode::QueryOne, "echo", &[Cell::Int(rows)]).await.unwrap();
        assert_eq!(shown.rows, [[format!("Int({rows})")]]);
    }
}

#[tokio::test]
async fn a_schema_change_under_a_pipelined_statement_is_not_seen_as_an_error() {
    let fields = "statements: { all: { text: SELECT * FROM t, pipelined: true } }\n\
                  grants: [{ plugin: p, statements: [all], ad_hoc: true, read_only: false }]";
    let world = World::unstarted(fields);
    world.direct("CREATE TABLE t (a int4); INSERT INTO t VALUES (1); GRANT ALL ON t TO agw");
    world.start().await.unwrap();
    let plugin = world.plugin("p");
    assert_eq!(plugin.named(Mode::Query, "all", &[]).await.unwrap().columns, ["a"]);
    world.direct("ALTER TABLE t ADD COLUMN b text");
    assert_eq!(plugin.named(Mode::Query, "all", &[]).await.unwrap().columns, ["a", "b"]);
}

#[tokio::test]
async fn a_server_that_dies_is_found_again() {
    let world = World::new(&fields("breaker: { failures: 1000000 }")).await;
    let plugin = world.plugin("p");
    plugin.named(Mode::QueryOne, "echo", &[Cell::Int(1)]).await.unwrap();
    let slow = plugin.clone();
    let slow = tokio::spawn(async move { slow.named(Mode::Query, "slow", &[Cell::Float(60.0)]).await });
    while !world.running().contains("pg_sleep") {
        sleep(Duration::from_millis(5)).await;
    }
    world.server.lock().unwrap().kill();
    assert_eq!(slow.await.unwrap().unwrap_err().code, Code::Unavailable);
    let error = plugin.named(Mode::QueryOne, "echo", &[Cell::Int(2)]).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable, "{error}");
    world.server.lock().unwrap().restart().unwrap();
    let back = Instant::now();
    while plugin.named(Mode::QueryOne, "echo", &[Cell::Int(3)]).await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(10), "it does not come back");
        sleep(Duration::from_millis(5)).await;
    }
}
