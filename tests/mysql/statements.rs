use agw_foreign_sql::StartError;
use agw_wire::Code;
use agw_wire::sql::{Call, Cell, Cells, Mode, Statement};

use crate::world::{AD_HOC, World, cells};

#[tokio::test]
async fn a_statement_that_the_database_refuses_is_named_with_its_message_and_position() {
    let world = World::unstarted(
        "statements:\n  good: SELECT 1\n  no-table: SELECT * FROM kyes\n  syntax: SELECT 'ä' FRM x\n  \
         named: \"SELECT :a\"\n\
         grants: [{ plugin: p, statements: [good] }]",
    );
    let error = world.backend.start().await.unwrap_err();
    let StartError::Statements(problems) = &error else { panic!("{error}") };
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 3, "{shown:#?}");
    assert!(shown[0].starts_with("statements.named: a colon with a name behind it"), "{shown:#?}");
    assert_eq!(shown[1], "statements.no-table: Table 'app.kyes' doesn't exist (errno 1146, SQLSTATE 42S02)");
    assert!(shown[2].contains("(errno 1064, SQLSTATE 42000) (at byte 16)"), "{shown:#?}");
}

#[tokio::test]
async fn prepared_statements_outlive_ddl() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1 }}")).await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (a int)", &[]).await.unwrap();
    plugin.sql(Mode::Execute, "INSERT INTO t VALUES (?)", &[Cell::Int(1)]).await.unwrap();
    assert_eq!(plugin.query("SELECT * FROM t", &[]).await.unwrap().columns, ["a"]);
    world.direct("ALTER TABLE t ADD COLUMN b text DEFAULT 'x'");
    let shown = plugin.query("SELECT * FROM t", &[]).await.unwrap();
    assert_eq!((shown.columns, shown.rows.len()), (vec!["a".to_owned(), "b".to_owned()], 1));
    world.direct("ALTER TABLE t MODIFY a bigint unsigned");
    let shown = plugin.query("SELECT * FROM t", &[]).await.unwrap();
    assert_eq!((shown.types[0].as_str(), shown.rows[0][0].as_str()), ("Uint bigint unsigned", "Uint(1)"));
    for _ in 0..3 {
        world.direct("RENAME TABLE t TO u; CREATE TABLE t (c int); INSERT INTO t VALUES (5)");
        assert_eq!(plugin.query("SELECT * FROM t", &[]).await.unwrap().rows, [["Int(5)"]]);
        world.direct("DROP TABLE t; RENAME TABLE u TO t");
        assert_eq!(plugin.batch(&["SELECT 1", "SELECT * FROM t"]).await.unwrap()[1].rows[0].len(), 2);
    }
    world.direct("DROP TABLE t");
    let error = plugin.query("SELECT * FROM t", &[]).await.unwrap_err();
    assert_eq!((error.server_code.as_str(), error.server_errno), ("42S02", 1146));
}

#[tokio::test]
async fn no_more_statements_stay_prepared_than_the_pool_keeps() {
    for kept_max in [0usize, 5] {
        let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1, statements: {kept_max} }}")).await;
        let plugin = world.plugin("p");
        for at in 0..30 {
            assert_eq!(plugin.value(&format!("SELECT {at}"), &[]).await, format!("Int({at})"));
            assert_eq!(plugin.value("SELECT 'often'", &[]).await, "Text(\"often\")");
        }
        let kept: usize = world
            .direct("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'")
            .trim_start_matches("Prepared_stmt_count|")
            .parse()
            .unwrap();
        assert!(kept <= kept_max, "{kept} of {kept_max}");
    }
}

#[tokio::test]
async fn results_have_names_types_and_counts() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    let table = "CREATE TABLE t (a int PRIMARY KEY AUTO_INCREMENT, b varchar(10))";
    plugin.sql(Mode::Execute, table, &[]).await.unwrap();
    let insert = "INSERT INTO t (b) SELECT 'x' FROM seq_1_to_100 LIMIT ?";
    let inserted = plugin.sql(Mode::Execute, insert, &[Cell::Int(10)]).await.unwrap();
    assert_eq!((inserted.affected, inserted.last_insert_id), (10, 1));
    let inserted = plugin.sql(Mode::Execute, "INSERT INTO t VALUES (20, 'y')", &[]).await.unwrap();
    assert_eq!((inserted.affected, inserted.last_insert_id), (1, 20));
    let shown =
        plugin.query("INSERT INTO t (b) VALUES ('z'), ('z') RETURNING a AS id, b", &[]).await.unwrap();
    assert_eq!((shown.columns, shown.affected), (vec!["id".to_owned(), "b".to_owned()], 2));
    assert_eq!(shown.rows, [["Int(21)", "Text(\"z\")"], ["Int(22)", "Text(\"z\")"]]);
    assert_eq!(shown.types, ["Int int", "Text varchar"]);
    // Rows that were found count, also those that had the value before.
    let again = plugin.sql(Mode::Execute, "UPDATE t SET b = 'y' WHERE a >= 20", &[]).await.unwrap();
    assert_eq!((again.affected, again.last_insert_id), (3, 0));
    let shown = plugin.query("SELECT a FROM t WHERE a > 100", &[]).await.unwrap();
    assert_eq!((shown.columns.len(), shown.rows.len(), shown.affected), (1, 0, 0));
    let error = plugin.sql(Mode::QueryOne, "SELECT a FROM t", &[]).await.unwrap_err();
    assert_eq!(error.server_code, "21000");
    let error = plugin.sql(Mode::QueryOne, "DELETE FROM t", &[]).await.unwrap_err();
    assert_eq!(error.server_code, "02000");
    assert_eq!(plugin.value("SELECT count(*) FROM t", &[]).await, "Int(13)", "what is refused is undone");
}

#[tokio::test]
async fn a_batch_is_one_transaction() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1 }}")).await;
    let plugin = world.plugin("p");
    for text in ["CREATE TABLE t (a int PRIMARY KEY AUTO_INCREMENT)", "CREATE TABLE u (t int)"] {
        plugin.sql(Mode::Execute, text, &[]).await.unwrap();
    }
    let results = plugin
        .batch(&["INSERT INTO t VALUES ()", "INSERT INTO u VALUES (LAST_INSERT_ID())", "SELECT t FROM u"])
        .await
        .unwrap();
    assert_eq!((results[0].last_insert_id, results[1].affected), (1, 1));
    assert_eq!(results[2].rows, [["Int(1)"]]);
    let error =
        plugin.batch(&["DELETE FROM t", "DELETE FROM u", "INSERT INTO t VALUES (1, 2)"]).await.unwrap_err();
    assert!(error.message.starts_with("statement 2: ") && error.server_errno == 1136, "{error}");
    let error = plugin.batch(&["DELETE FROM t", "CREATE TABLE v (a int)"]).await.unwrap_err();
    assert_eq!(error.code, Code::Invalid);
    assert_eq!(
        plugin.value("SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM u)", &[]).await,
        "Int(2)"
    );
    assert_eq!(plugin.query("SELEC 1", &[]).await.unwrap_err().code, Code::Denied);
}

/// So many times the server has done this.
fn count(world: &World, what: &str) -> u64 {
    let line = world.direct(&format!("SHOW GLOBAL STATUS LIKE '{what}'"));
    line.rsplit('|').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_named_statement_that_reads_or_writes_is_one_round_trip() {
    let world = World::unstarted(
        "pool: { max: 1 }\nstatements: { read: SELECT a FROM t WHERE a = ?, write: INSERT INTO t VALUES (?) }\n\
         grants: [{ plugin: p, statements: [read], read_only: true }, { plugin: q, statements: [write], read_only: false }]",
    );
    world.direct("CREATE TABLE t (a int)");
    world.start().await.unwrap();
    for (plugin, name, mode) in [("p", "read", Mode::Query), ("q", "write", Mode::Execute)] {
        let plugin = world.plugin(plugin);
        let call = async |at: i64| {
            let params = cells(&[Cell::Int(at)]);
            let statements = vec![Statement::named(name, Cells::new(&params))];
            plugin.call(Call { mode, statements, ..Call::default() }).await.unwrap();
            world.all_given_back().await;
        };
        call(0).await;
        let counted = ["Com_stmt_execute", "Com_stmt_prepare", "Com_set_option", "Com_begin", "Com_commit"];
        let before = counted.map(|what| count(&world, what));
        for at in 0..20 {
            call(at).await;
        }
        let after = counted.map(|what| count(&world, what));
        let more: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!(more, [20, 0, 0, 0, 0], "{name}");
    }
}
