use std::time::Duration;

use agw_wire::Code;
use agw_wire::sql::{Call, Cell, Cells, Mode, Statement};

use crate::world::{AD_HOC, Plugin, World, cells};

const NUMBERS: &str = "SELECT seq FROM seq_1_to_1000000 LIMIT ?";

async fn page(plugin: &Plugin, text: &str, rows: u32) -> (Vec<Vec<String>>, u32) {
    let params = cells(&[Cell::Int(25)]);
    let statements = vec![Statement::ad_hoc(text, Cells::new(&params))];
    let call = Call { mode: Mode::Page, statements, page_rows: rows, ..Call::default() };
    let (mut results, cursor) = plugin.call(call).await.unwrap();
    (results.remove(0).rows, cursor)
}

async fn fetch(plugin: &Plugin, cursor: u32, rows: u32) -> (Vec<Vec<String>>, u32) {
    let call = Call { mode: Mode::Fetch, cursor, page_rows: rows, ..Call::default() };
    let (mut results, cursor) = plugin.call(call).await.unwrap();
    assert!(results[0].columns.is_empty());
    (results.remove(0).rows, cursor)
}

#[tokio::test]
async fn every_row_comes_once_whatever_the_pages() {
    for kept in [0, 10] {
        let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1, statements: {kept} }}")).await;
        let plugin = world.plugin("p");
        for (text, sizes) in [
            (NUMBERS, vec![10, 10, 10]),
            ("SELECT seq FROM seq_1_to_1000000 LIMIT ?;", vec![24, 3]),
            (NUMBERS, vec![25]),
            (NUMBERS, vec![1, 5, 2, 100]),
        ] {
            let (mut rows, mut cursor) = page(&plugin, text, sizes[0]).await;
            for size in &sizes[1..] {
                assert_ne!(cursor, 0, "{text} {sizes:?}");
                let (more, next) = fetch(&plugin, cursor, *size).await;
                rows.extend(more);
                cursor = next;
            }
            assert_eq!(cursor, 0, "{text} {sizes:?}");
            let numbers: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
            let expected: Vec<_> = (1..=25).map(|at| format!("Uint({at})")).collect();
            assert_eq!(numbers, expected, "{text} {sizes:?}");
        }
        world.all_given_back().await;
    }
}

#[tokio::test]
async fn a_cursor_ends_with_its_context_or_an_error_and_leaves_nothing_open() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1, acquire_timeout: 10s }}")).await;
    let plugin = world.plugin("p");
    let text = "SELECT CASE o.seq WHEN 13 THEN (SELECT i.seq FROM seq_1_to_2 i WHERE i.seq < o.seq) ELSE o.seq END \
                FROM seq_1_to_1000000 o LIMIT ?";
    let (_, cursor) = page(&plugin, text, 10).await;
    let call = Call { mode: Mode::Fetch, cursor, page_rows: 10, ..Call::default() };
    let error = plugin.call(call).await.unwrap_err();
    assert_eq!((error.server_code.as_str(), error.server_errno), ("21000", 1242));
    // A million rows of which nobody wants more than ten: the server stops, they are not read.
    let endless = "SELECT seq, REPEAT('x', 100), ? FROM seq_1_to_100000000";
    for _ in 0..3 {
        let (_, cursor) = page(&plugin, endless, 10).await;
        assert_ne!(cursor, 0);
        plugin.end_context();
        assert_eq!(plugin.clone().in_context(2).value("SELECT 1", &[]).await, "Int(1)");
        world.all_given_back().await;
    }
    assert_eq!(world.running(), "");
    assert_eq!(world.backend.status().idle, 1, "the connection serves on");
    let error = plugin.sql(Mode::Page, "DELETE FROM t", &[]).await.unwrap_err();
    assert_eq!(error.code, Code::Invalid);
}

#[tokio::test]
async fn a_cursor_waits_longer_than_a_statement_may_take() {
    let world =
        World::new(&format!("{AD_HOC}\nlimits: {{ call_timeout: 100ms, call_timeout_max: 200ms }}")).await;
    let plugin = world.plugin("p").with_deadline(200);
    let (first, cursor) = page(&plugin, "SELECT seq, REPEAT('x', 1000), ? FROM seq_1_to_100000", 10).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let (second, _) = fetch(&plugin, cursor, 500).await;
    assert_eq!((first.len(), second.len()), (10, 500));
    assert_eq!(second[0][0], "Uint(11)");
}
