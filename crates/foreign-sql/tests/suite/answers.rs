use agw_wire::sql::{Call, Cell, Cells, Mode, Statement};
use agw_wire::{Code, Kind};

use crate::world::{AD_HOC, World};

#[tokio::test]
async fn rows_come_with_their_columns_and_in_order() {
    let plugin = World::new(AD_HOC).await.plugin("p");
    let shown = plugin.query("SELECT hash, user AS u, 1.5 FROM keys ORDER BY user DESC", &[]).await.unwrap();
    assert_eq!(shown.columns, ["hash", "u", "1.5"]);
    assert_eq!(
        shown.rows,
        [["Text(\"b2\")", "Int(2)", "Float(1.5)"], ["Text(\"a1\")", "Int(1)", "Float(1.5)"]]
    );
    assert_eq!((shown.affected, shown.last_insert_id), (0, 0));
    let none = plugin.query("SELECT hash FROM keys WHERE user > ?", &[Cell::Int(9)]).await.unwrap();
    assert_eq!((none.columns.len(), none.rows.len()), (1, 0));
}

#[tokio::test]
async fn one_row_is_one_row_and_an_optional_one_may_be_missing() {
    let plugin = World::new(AD_HOC).await.plugin("p");
    let find = "SELECT user FROM keys WHERE hash = ?1";
    let one = plugin.sql(Mode::QueryOne, find, &[Cell::Text("b2")]).await.unwrap();
    assert_eq!(one.rows, [["Int(2)"]]);
    let missing = plugin.sql(Mode::QueryOne, find, &[Cell::Text("x")]).await.unwrap_err();
    assert_eq!((missing.code, missing.kind), (Code::Server, Some(Kind::NoRow)));
    assert_eq!(missing.server_code, "02000");
    let none = plugin.sql(Mode::QueryOptional, find, &[Cell::Text("x")]).await.unwrap();
    assert_eq!(none.rows.len(), 0);
    for mode in [Mode::QueryOne, Mode::QueryOptional] {
        let several = plugin.sql(mode, "SELECT user FROM keys", &[]).await.unwrap_err();
        assert_eq!((several.kind, several.server_code.as_str()), (Some(Kind::SeveralRows), "21000"));
    }
}

#[tokio::test]
async fn an_executed_statement_tells_what_it_changed_and_never_what_another_did() {
    let plugin = World::new(AD_HOC).await.plugin("p");
    let insert =
        plugin.sql(Mode::Execute, "INSERT INTO uses (hash, n) VALUES ('a1', 1), ('b2', 2)", &[]).await;
    let insert = insert.unwrap();
    assert_eq!((insert.affected, insert.last_insert_id, insert.rows.len()), (2, 2, 0));
    let update = plugin.sql(Mode::Execute, "UPDATE uses SET n = n + 1", &[]).await.unwrap();
    assert_eq!((update.affected, update.last_insert_id), (2, 0));
    let nothing = plugin.sql(Mode::Execute, "UPDATE uses SET n = 0 WHERE id = 99", &[]).await.unwrap();
    assert_eq!((nothing.affected, nothing.last_insert_id), (0, 0));
    let read = plugin.sql(Mode::Execute, "SELECT * FROM uses", &[]).await.unwrap();
    assert_eq!((read.affected, read.columns.len(), read.rows.len()), (0, 0, 0));
    let upsert = "INSERT INTO uses (id, n) VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET n = 5";
    let upsert = plugin.sql(Mode::Execute, upsert, &[]).await.unwrap();
    assert_eq!((upsert.affected, upsert.last_insert_id), (1, 0), "no row was added");
    let table = plugin.sql(Mode::Execute, "CREATE TABLE other (a)", &[]).await.unwrap();
    assert_eq!((table.affected, table.last_insert_id), (0, 0));
    let returning = plugin.query("DELETE FROM uses WHERE id = 2 RETURNING n", &[]).await.unwrap();
    assert_eq!((returning.affected, returning.rows), (1, vec![vec!["Int(3)".to_owned()]]));
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_and_answers_each_statement() {
    let plugin = World::new(AD_HOC).await.plugin("p");
    let results = plugin
        .batch(&[
            "INSERT INTO uses (hash, n) VALUES ('a1', 7)",
            "SELECT n FROM uses",
            "UPDATE keys SET tier = 'max'",
        ])
        .await
        .unwrap();
    assert_eq!((results[0].affected, results[0].last_insert_id), (1, 1));
    assert_eq!(results[1].rows, [["Int(7)"]]);
    assert_eq!(results[2].affected, 2);
    let failed = plugin
        .batch(&["DELETE FROM uses", "INSERT INTO keys VALUES ('a1', 1, 'x')", "DELETE FROM keys"])
        .await
        .unwrap_err();
    assert_eq!(failed.kind, Some(Kind::UniqueViolation));
    assert_eq!(plugin.value("SELECT count(*) FROM uses", &[]).await, "Int(1)", "nothing remains of it");
}

#[tokio::test]
async fn named_statements_are_run_by_name_and_only_those_that_are_granted() {
    let world = World::new(
        "url: sqlite://db.sqlite\nschema: { file: schema.sql }\n\
         statements:\n  find: SELECT user, tier FROM keys WHERE hash = ?1\n  all: SELECT * FROM keys\n  \
         use: { text: 'INSERT INTO uses (hash, n) VALUES (?1, ?2)' }\n\
         grants: [{ plugin: p, statements: [find, use] }, { plugin: q, statements: [find], read_only: true }]",
    )
    .await;
    let (p, q) = (world.plugin("p"), world.plugin("q"));
    for plugin in [&p, &q] {
        let row = plugin.named(Mode::QueryOne, "find", &[Cell::Text("a1")]).await.unwrap();
        assert_eq!(row.rows, [["Int(1)", "Text(\"free\")"]]);
        let denied = plugin.named(Mode::Query, "all", &[]).await.unwrap_err();
        assert_eq!(denied.code, Code::Denied);
        let ad_hoc = plugin.query("SELECT 1", &[]).await.unwrap_err();
        assert_eq!(ad_hoc.code, Code::Denied);
    }
    let params = [Cell::Text("a1"), Cell::Int(1)];
    assert_eq!(p.named(Mode::Execute, "use", &params).await.unwrap().affected, 1);
    assert_eq!(q.named(Mode::Execute, "use", &params).await.unwrap_err().code, Code::Denied);
}

#[tokio::test]
async fn caps_hold_and_what_was_done_over_them_is_undone() {
    let limits = "limits: { rows: 3, cell: 100, response: 1KiB }";
    let plugin = World::new(&format!("{AD_HOC}\n{limits}")).await.plugin("p");
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?1) SELECT i FROM n";
    assert_eq!(plugin.query(many, &[Cell::Int(3)]).await.unwrap().rows.len(), 3);
    assert_eq!(plugin.query(many, &[Cell::Int(4)]).await.unwrap_err().code, Code::TooLarge);
    assert_eq!(plugin.query(many, &[Cell::Int(1_000_000)]).await.unwrap_err().code, Code::TooLarge);
    for (bytes, fits) in [(100, true), (101, false), (50_000_000, false)] {
        let cell = plugin.query("SELECT zeroblob(?1)", &[Cell::Int(bytes)]).await;
        assert_eq!(cell.as_ref().err().map(|error| error.code), (!fits).then_some(Code::TooLarge), "{bytes}");
    }
    let huge = plugin.query("SELECT zeroblob(1 << 40)", &[]).await.unwrap_err();
    assert_eq!(huge.code, Code::TooLarge);

    let insert = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 4) \
                  INSERT INTO uses (n) SELECT i FROM n RETURNING n";
    assert_eq!(plugin.query(insert, &[]).await.unwrap_err().code, Code::TooLarge);
    assert_eq!(plugin.sql(Mode::QueryOne, insert, &[]).await.unwrap_err().kind, Some(Kind::SeveralRows));
    assert_eq!(plugin.value("SELECT count(*) FROM uses", &[]).await, "Int(0)");
}

#[tokio::test]
async fn ten_thousand_payloads_bound_as_values_change_nothing() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    let payloads = [
        "' OR '1'='1",
        "'; DROP TABLE keys; --",
        "a1'--",
        "\" OR 1=1 --",
        "') UNION SELECT hash FROM keys --",
        "\\'; --",
        "a1\0' OR 1=1",
        "%",
        "_",
        "a1/**/",
        "1; DELETE FROM keys",
        "${1}",
        "?1",
        "$1",
        ":hash",
        "x' || (SELECT 1) || '",
    ];
    for round in 0..625 {
        for payload in payloads {
            let payload = format!("{payload}{round}");
            let params = cells_of(&payload);
            let statements = vec![
                Statement::ad_hoc("SELECT user FROM keys WHERE hash = ?1 OR tier = ?1", Cells::new(&params)),
                Statement::ad_hoc("UPDATE keys SET tier = 'stolen' WHERE hash = ?1", Cells::new(&params)),
            ];
            let call = Call { mode: Mode::Batch, statements, ..Call::default() };
            let (results, _) = plugin.call(call).await.unwrap();
            assert_eq!((results[0].rows.len(), results[1].affected), (0, 0), "{payload}");
        }
    }
    let left = plugin.query("SELECT hash, tier FROM keys ORDER BY hash", &[]).await.unwrap();
    assert_eq!(left.rows, [["Text(\"a1\")", "Text(\"free\")"], ["Text(\"b2\")", "Text(\"pro\")"]]);
}

fn cells_of(text: &str) -> Vec<u8> {
    crate::world::cells(&[Cell::Text(text)])
}
