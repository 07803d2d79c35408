use agw_foreign_sql::StartError;
use agw_wire::Code;
use agw_wire::sql::{Cell, Mode};

use crate::world::{AD_HOC, World};

#[tokio::test]
async fn a_statement_that_the_database_refuses_is_named_with_its_message_and_position() {
    let world = World::unstarted(
        "statements:\n  good: SELECT 1\n  no-table: SELECT * FROM kyes\n  syntax: SELECT 'ä' FRM x\n  \
         point: { text: \"INSERT INTO places VALUES ('(1,2)') RETURNING p\" }\n\
         grants: [{ plugin: p, statements: [good] }]",
    );
    world.direct("CREATE TABLE places (p point); GRANT ALL ON places TO agw");
    let error = world.backend.start().await.unwrap_err();
    let StartError::Statements(problems) = &error else { panic!("{error}") };
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "statements.no-table: relation \"kyes\" does not exist (at byte 14)",
            "statements.point: column p is of the type point, which has no form here: cast it to text",
            "statements.syntax: syntax error at or near \"x\" (at byte 16)",
        ]
    );
}

#[tokio::test]
async fn prepared_statements_outlive_ddl_and_discard() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1 }}")).await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (a int4)", &[]).await.unwrap();
    plugin.sql(Mode::Execute, "INSERT INTO t VALUES ($1)", &[Cell::Int(1)]).await.unwrap();
    assert_eq!(plugin.query("SELECT * FROM t", &[]).await.unwrap().columns, ["a"]);
    world.direct("ALTER TABLE t ADD COLUMN b text DEFAULT 'x'");
    let shown = plugin.query("SELECT * FROM t", &[]).await.unwrap();
    assert_eq!((shown.columns, shown.rows.len()), (vec!["a".to_owned(), "b".to_owned()], 1));
    world.direct("ALTER TABLE t ALTER COLUMN a TYPE int8");
    let shown = plugin.query("SELECT * FROM t", &[]).await.unwrap();
    assert_eq!(shown.types[0], "Int int8");
    // Through a function that the operator has made, as a pooler in between may do it.
    world.direct(
        "CREATE FUNCTION forget() RETURNS int LANGUAGE plpgsql AS 'BEGIN DEALLOCATE ALL; RETURN 1; END'",
    );
    plugin.query("SELECT forget()", &[]).await.unwrap();
    assert_eq!(plugin.query("SELECT * FROM t", &[]).await.unwrap().rows.len(), 1);
    plugin.query("SELECT forget()", &[]).await.unwrap();
    assert_eq!(plugin.batch(&["SELECT 1", "SELECT * FROM t"]).await.unwrap().len(), 2);
    world.direct("DROP TABLE t");
    assert_eq!(plugin.query("SELECT * FROM t", &[]).await.unwrap_err().server_code, "42P01");
}

#[tokio::test]
async fn no_more_statements_stay_prepared_than_the_pool_keeps() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1, statements: 5 }}")).await;
    let plugin = world.plugin("p");
    for at in 0..30 {
        assert_eq!(plugin.value(&format!("SELECT {at}"), &[]).await, format!("Int({at})"));
        assert_eq!(plugin.value("SELECT 'often'", &[]).await, "Text(\"often\")");
    }
    let kept = plugin.query("SELECT statement FROM pg_prepared_statements", &[]).await.unwrap().rows;
    assert!(kept.len() <= 6, "{kept:?}");
    assert!(kept.iter().any(|row| row[0].contains("often")), "the one that is used stays: {kept:?}");
}

#[tokio::test]
async fn results_have_names_types_and_counts() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (a int4 PRIMARY KEY, b text)", &[]).await.unwrap();
    let insert = "INSERT INTO t SELECT g, 'x' FROM generate_series(1, $1) g";
    assert_eq!(plugin.sql(Mode::Execute, insert, &[Cell::Int(10)]).await.unwrap().affected, 10);
    let shown = plugin.query("UPDATE t SET b = 'y' WHERE a > 8 RETURNING a AS id, b", &[]).await.unwrap();
    assert_eq!((shown.columns, shown.affected), (vec!["id".to_owned(), "b".to_owned()], 2));
    assert_eq!(shown.types, ["Int int4", "Text text"]);
    let shown = plugin.query("SELECT a FROM t WHERE a > 100", &[]).await.unwrap();
    assert_eq!((shown.columns.len(), shown.rows.len(), shown.affected), (1, 0, 0));
    let none = plugin.sql(Mode::QueryOptional, "SELECT a FROM t WHERE a = 100", &[]).await.unwrap();
    assert!(none.rows.is_empty());
    let error = plugin.sql(Mode::QueryOne, "SELECT a FROM t", &[]).await.unwrap_err();
    assert_eq!(error.server_code, "21000");
    let error = plugin.sql(Mode::QueryOne, "DELETE FROM t", &[]).await.unwrap_err();
    assert_eq!(error.server_code, "02000");
    assert_eq!(plugin.value("SELECT count(*) FROM t", &[]).await, "Int(10)", "what is refused is undone");
    let results = plugin
        .batch(&["CREATE TABLE u (a int4)", "INSERT INTO u VALUES (1), (2)", "SELECT count(*) FROM u"])
        .await
        .unwrap();
    assert_eq!((results[1].affected, results[2].rows[0][0].as_str()), (2, "Int(2)"));
    let error =
        plugin.batch(&["DELETE FROM t", "INSERT INTO u VALUES (3)", "SELECT 1 / 0"]).await.unwrap_err();
    assert!(error.message.starts_with("statement 2: ") && error.server_code == "22012", "{error}");
    assert_eq!(plugin.value("SELECT count(*) FROM t", &[]).await, "Int(10)");
    assert_eq!(plugin.value("SELECT count(*) FROM u", &[]).await, "Int(2)");
    assert_eq!(plugin.query("SELEC 1", &[]).await.unwrap_err().code, Code::Denied);
}
