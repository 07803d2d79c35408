//! The engine alone, without the gate in front of it.

use std::time::Duration;

use agw_config::{BreakerPolicy, SqlEndpoint, SqlLimits, SqlPool};
use agw_sql_statements::Kind;
use agw_wire::Code;

use super::*;
use crate::engine::{Bound, Caps, Expect, RunMode};

fn engine() -> SqliteEngine {
    let schema = "CREATE TABLE t (n); INSERT INTO t VALUES (1), (2)".to_owned();
    let at = Sqlite { path: None, schema: Some(schema) };
    let second = Duration::from_secs(1);
    let resource = SqlResource {
        name: "db".to_owned(),
        endpoint: SqlEndpoint::Sqlite(at.clone()),
        pool: SqlPool {
            max: 1,
            min: 0,
            connect_timeout: second,
            acquire_timeout: second,
            idle_timeout: second,
            lifetime: second,
            statements_max: 2,
            pipelined: 1,
        },
        limits: SqlLimits {
            call_timeout: second,
            call_timeout_max: second,
            request_bytes_max: 1 << 20,
            response_bytes_max: 1 << 20,
            rows_max: 100,
            cell_bytes_max: 1 << 20,
            batch_max: 10,
            in_flight_max: 10,
            waiters_max: 10,
        },
        breaker: BreakerPolicy { failures: 1, probe_interval: second },
        faults: None,
        statements: Default::default(),
        grants: Default::default(),
    };
    SqliteEngine::new(&resource, &at)
}

fn work(text: &str, mode: RunMode, read_only: bool) -> Arc<Work> {
    Arc::new(Work {
        mode,
        // As if the gate had taken it for harmless.
        statements: vec![Bound { text: text.into(), params: Vec::new(), kind: Kind::Reads, ad_hoc: true }],
        read_only,
        pipelined: false,
        caps: Caps { rows: 100, response_bytes: 1 << 20, cell_bytes: 1 << 20 },
        deadline: Instant::now() + Duration::from_secs(30),
    })
}

async fn count(connection: &mut dyn Connection) -> usize {
    let ran = connection.run(&work("SELECT n FROM t", RunMode::Rows(Expect::Any), true)).await.unwrap();
    let bytes = ran.reply.finish(0);
    agw_wire::sql::Reply::decode(&bytes).unwrap().results[0].rows().count()
}

#[tokio::test]
async fn what_the_gate_might_let_through_the_session_stops() {
    let mut connection = engine().connect(Instant::now()).await.unwrap();
    for text in [
        "DELETE FROM t",
        "INSERT INTO t VALUES (3) RETURNING n",
        "WITH a AS (SELECT 1) DELETE FROM t",
        "DROP TABLE t",
        "CREATE TEMP TABLE u (n)",
        "PRAGMA user_version = 5",
        "SELECT 1; DELETE FROM t",
        "VACUUM",
    ] {
        for mode in [RunMode::Rows(Expect::Any), RunMode::Execute, RunMode::Batch, RunMode::Page(1)] {
            assert!(connection.run(&work(text, mode, true)).await.is_err(), "{mode:?} {text}");
            assert!(connection.prove_clean().await, "{text}");
        }
    }
    assert_eq!(count(connection.as_mut()).await, 2);
    for text in ["ATTACH ':memory:' AS other", "SELECT load_extension('x')"] {
        assert!(connection.run(&work(text, RunMode::Execute, false)).await.is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_stop_ends_the_statement_that_runs_and_not_the_next_one() {
    let mut connection = engine().connect(Instant::now()).await.unwrap();
    let stopper = connection.stopper();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    for _ in 0..20 {
        let endless = work(endless, RunMode::Rows(Expect::Any), true);
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            stopper.stop().await;
        };
        let (ran, ()) = tokio::join!(connection.run(&endless), stopping);
        assert_eq!(ran.unwrap_err().error.code, Code::TimeoutIo);
        assert!(connection.prove_clean().await);
        // Where nothing runs there is nothing to stop.
        stopper.stop().await;
        assert_eq!(count(connection.as_mut()).await, 2);
    }
}

#[tokio::test]
async fn a_connection_is_not_clean_with_a_transaction_open() {
    let mut connection = engine().connect(Instant::now()).await.unwrap();
    connection.run(&work("BEGIN", RunMode::Execute, false)).await.unwrap();
    assert!(!connection.prove_clean().await);
}

#[tokio::test]
async fn a_handle_that_is_dropped_in_mid_statement_ends_its_thread() {
    let engine = engine();
    let mut connection = engine.connect(Instant::now()).await.unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let work = work(endless, RunMode::Rows(Expect::Any), true);
    let running = tokio::time::timeout(Duration::from_millis(20), connection.run(&work)).await;
    assert!(running.is_err());
    drop(connection);
    // Its thread alone keeps the opener beside the engine.
    while Arc::strong_count(&engine.opener) > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
