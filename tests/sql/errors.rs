use std::time::Duration;

use agw_wire::sql::{Cell, Mode};
use agw_wire::{Code, Kind, Retry};

use crate::world::{AD_HOC, World};

#[tokio::test]
async fn violations_have_their_kinds_and_say_nothing_of_the_values() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    for text in [
        "CREATE TABLE a (id int4 PRIMARY KEY, v text NOT NULL CHECK (v <> 'hunter2x'))",
        "CREATE TABLE b (a int4 REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO a VALUES (1, 'x')",
    ] {
        plugin.sql(Mode::Execute, text, &[]).await.unwrap();
    }
    let secret = Cell::Text("hunter2");
    for (text, params, state, kind) in [
        ("INSERT INTO a VALUES (1, $1)", vec![secret], "23505", Some(Kind::UniqueViolation)),
        ("INSERT INTO a VALUES (2, $1)", vec![Cell::Null], "23502", Some(Kind::NotNullViolation)),
        ("INSERT INTO a VALUES (2, $1 || 'x')", vec![secret], "23514", Some(Kind::CheckViolation)),
        // Refused only at COMMIT.
        ("INSERT INTO b VALUES ($1)", vec![Cell::Int(77)], "23503", Some(Kind::ForeignKeyViolation)),
        ("SELECT $1::text::int4", vec![secret], "22P02", None),
        ("SELECT hunter2", vec![], "42703", None),
        ("CREATE INDEX CONCURRENTLY i ON a (v)", vec![], "25001", None),
    ] {
        for mode in [Mode::Execute, Mode::Query] {
            let error = plugin.sql(mode, text, &params).await.unwrap_err();
            assert_eq!((error.code, error.kind), (Code::Server, kind), "{text}: {error}");
            assert_eq!((error.server_code.as_str(), error.retry), (state, Retry::Never), "{text}");
            assert!(!error.message.contains("hunter2") && !error.message.contains("77"), "{error}");
        }
    }
    assert_eq!(
        plugin.value("SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b)", &[]).await,
        "Int(1)"
    );
}

#[tokio::test]
async fn one_of_two_that_wait_for_each_other_may_try_again() {
    let server = ["deadlock_timeout=50ms".to_owned()].to_vec();
    let options = agw_tests::PostgresOptions { settings: server, ..Default::default() };
    let world = World::with_options(options, AD_HOC).await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (id int4 PRIMARY KEY, n int4)", &[]).await.unwrap();
    plugin.sql(Mode::Execute, "INSERT INTO t VALUES (1, 0), (2, 0)", &[]).await.unwrap();
    let crossing = |first: u8, second: u8| {
        let plugin = plugin.clone();
        async move {
            let texts = [first, second].map(|id| format!("UPDATE t SET n = n + 1 WHERE id = {id}"));
            plugin.batch(&[&texts[0], "SELECT pg_sleep(0.3)", &texts[1]]).await
        }
    };
    let (one, two) = tokio::join!(crossing(1, 2), crossing(2, 1));
    let error = match (one, two) {
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!((error.kind, error.retry), (Some(Kind::Deadlock), Retry::Safe), "{error}");
    assert_eq!(plugin.value("SELECT sum(n) FROM t", &[]).await, "Int(2)");
}

#[tokio::test]
async fn results_over_their_caps_end_without_being_read_to_their_end() {
    let fields = format!(
        "{AD_HOC}\nlimits: {{ rows: 1000, cell: 64KiB, response: 256KiB, call_timeout: 20s }}\npool: {{ max: 1 }}"
    );
    let world = World::new(&fields).await;
    let plugin = world.plugin("p");
    for text in [
        "SELECT generate_series(1, 100000000)",
        "SELECT repeat('x', 100000)",
        "SELECT repeat('x', 50000000)",
        "SELECT repeat('x', 60000), generate_series(1, 1000000)",
        "SELECT array_agg(g) FROM generate_series(1, 1000000) g",
    ] {
        let error = plugin.query(text, &[]).await.unwrap_err();
        assert_eq!(error.code, Code::TooLarge, "{text}: {error}");
        world.all_given_back().await;
        assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)", "{text}");
    }
    plugin.sql(Mode::Execute, "CREATE TABLE t (a int4)", &[]).await.unwrap();
    let many = "INSERT INTO t SELECT g FROM generate_series(1, 2000) g RETURNING a";
    assert_eq!(plugin.query(many, &[]).await.unwrap_err().code, Code::TooLarge);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(plugin.value("SELECT count(*) FROM t", &[]).await, "Int(0)");
}
