use agw_wire::sql::{Cell, Mode};
use agw_wire::{Code, Kind, Retry};

use crate::world::{AD_HOC, World};

#[tokio::test]
async fn violations_have_their_kinds_and_say_nothing_of_the_values() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    for text in [
        "CREATE TABLE a (id int PRIMARY KEY, v varchar(20) NOT NULL CHECK (v <> 'hunter2x'))",
        "CREATE TABLE b (a int, FOREIGN KEY (a) REFERENCES a (id))",
        "INSERT INTO a VALUES (1, 'x')",
        "INSERT INTO b VALUES (1)",
    ] {
        plugin.sql(Mode::Execute, text, &[]).await.unwrap();
    }
    let secret = Cell::Text("hunter2");
    for (text, params, state, errno, kind) in [
        ("INSERT INTO a VALUES (1, ?)", vec![secret], "23000", 1062, Some(Kind::UniqueViolation)),
        ("INSERT INTO a VALUES (2, ?)", vec![Cell::Null], "23000", 1048, Some(Kind::NotNullViolation)),
        ("INSERT INTO a (id) VALUES (?)", vec![Cell::Int(77)], "HY000", 1364, Some(Kind::NotNullViolation)),
        ("INSERT INTO a VALUES (2, CONCAT(?, 'x'))", vec![secret], "23000", 4025, Some(Kind::CheckViolation)),
        ("INSERT INTO b VALUES (?)", vec![Cell::Int(77)], "23000", 1452, Some(Kind::ForeignKeyViolation)),
        ("DELETE FROM a", vec![], "23000", 1451, Some(Kind::ForeignKeyViolation)),
        ("SELECT hunter2", vec![], "42S22", 1054, None),
        ("SELECT * FROM hunter2", vec![], "42S02", 1146, None),
        ("SELECT hunter2 hunter2 hunter2", vec![], "42000", 1064, None),
        ("SELECT * FROM mysql.global_priv", vec![], "42000", 1142, None),
        ("SELECT CAST(? AS UNSIGNED) * 18446744073709551615", vec![Cell::Int(77)], "22003", 1690, None),
    ] {
        for mode in [Mode::Execute, Mode::Query] {
            let error = plugin.sql(mode, text, &params).await.unwrap_err();
            assert_eq!((error.code, error.kind), (Code::Server, kind), "{text}: {error}");
            assert_eq!((error.server_code.as_str(), error.server_errno), (state, errno), "{text}");
            assert_eq!(error.retry, Retry::Never, "{text}");
            assert!(!error.message.contains("hunter2") && !error.message.contains("77"), "{error}");
        }
    }
    assert_eq!(
        plugin.value("SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b)", &[]).await,
        "Int(2)"
    );
}

#[tokio::test]
async fn one_of_two_that_wait_for_each_other_may_try_again() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (id int PRIMARY KEY, n int)", &[]).await.unwrap();
    plugin.sql(Mode::Execute, "INSERT INTO t VALUES (1, 0), (2, 0)", &[]).await.unwrap();
    let crossing = |first: u8, second: u8| {
        let plugin = plugin.clone();
        async move {
            let texts = [first, second].map(|id| format!("UPDATE t SET n = n + 1 WHERE id = {id}"));
            plugin.batch(&[&texts[0], "SELECT SLEEP(0.5)", &texts[1]]).await
        }
    };
    let (one, two) = tokio::join!(crossing(1, 2), crossing(2, 1));
    let error = match (one, two) {
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!((error.kind, error.retry), (Some(Kind::Deadlock), Retry::Safe), "{error}");
    assert_eq!((error.server_code.as_str(), error.server_errno), ("40001", 1213));
    assert_eq!(plugin.value("SELECT sum(n) FROM t", &[]).await, "Decimal(\"2\")");
}

#[tokio::test]
async fn a_lock_that_the_server_waits_for_no_longer_is_said() {
    let options =
        crate::Options { settings: vec!["innodb-lock-wait-timeout=1".to_owned()], ..Default::default() };
    let world = World::with_options(options, AD_HOC).await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (id int PRIMARY KEY)", &[]).await.unwrap();
    plugin.sql(Mode::Execute, "INSERT INTO t VALUES (1)", &[]).await.unwrap();
    let holder = plugin.clone();
    let holding =
        tokio::spawn(async move { holder.batch(&["UPDATE t SET id = 2", "SELECT SLEEP(3)"]).await });
    while !world.running().contains("SLEEP") {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let error = plugin.batch(&["INSERT INTO t VALUES (7)", "DELETE FROM t WHERE id = 1"]).await.unwrap_err();
    assert_eq!((error.kind, error.retry), (Some(Kind::Locked), Retry::Safe), "{error}");
    holding.await.unwrap().unwrap();
    assert_eq!(plugin.query("SELECT * FROM t", &[]).await.unwrap().rows, [["Int(2)"]], "all of it is undone");
}

#[tokio::test]
async fn results_over_their_caps_end_without_being_read_to_their_end() {
    let fields = format!(
        "{AD_HOC}\nlimits: {{ rows: 1000, cell: 64KiB, response: 256KiB, call_timeout: 20s }}\npool: {{ max: 1 }}"
    );
    let world = World::new(&fields).await;
    let plugin = world.plugin("p");
    for text in [
        "SELECT seq FROM seq_1_to_1000000000",
        "SELECT REPEAT('x', 100000)",
        "SELECT REPEAT('x', 10000000)",
        "SELECT REPEAT('x', 60000), seq FROM seq_1_to_1000000",
    ] {
        let error = plugin.query(text, &[]).await.unwrap_err();
        assert_eq!(error.code, Code::TooLarge, "{text}: {error}");
        world.all_given_back().await;
        assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)", "{text}");
        assert_eq!(world.running(), "", "{text}");
    }
    plugin.sql(Mode::Execute, "CREATE TABLE t (a int)", &[]).await.unwrap();
    let many = "INSERT INTO t SELECT seq FROM seq_1_to_2000 RETURNING a";
    assert_eq!(plugin.query(many, &[]).await.unwrap_err().code, Code::TooLarge);
    world.all_given_back().await;
    assert_eq!(plugin.value("SELECT count(*) FROM t", &[]).await, "Int(0)");
}
