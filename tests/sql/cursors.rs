use agw_wire::Code;
use agw_wire::sql::{Call, Cell, Cells, Mode, Statement};

use crate::world::{AD_HOC, Plugin, World, cells};

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
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1 }}")).await;
    let plugin = world.plugin("p");
    for (text, sizes) in [
        ("SELECT g FROM generate_series(1, $1::int8) g", vec![10, 10, 10]),
        ("SELECT g FROM generate_series(1, $1::int8) g;", vec![24, 3]),
        ("SELECT g FROM generate_series(1, $1::int8) g", vec![25]),
        ("SELECT g FROM generate_series(1, $1::int8) g", vec![1, 5, 2, 100]),
        ("SELECT g, point(g, 0) FROM generate_series(1, $1::int8) g", vec![7, 7, 7, 7]),
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
        assert_eq!(numbers, (1..=25).map(|at| format!("Int({at})")).collect::<Vec<_>>(), "{text} {sizes:?}");
    }
    world.all_given_back().await;
}

#[tokio::test]
async fn a_cursor_ends_with_its_context_or_an_error_and_leaves_nothing_open() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1, acquire_timeout: 10s }}")).await;
    let plugin = world.plugin("p");
    let text = "SELECT 100 / (13 - g) FROM generate_series(1, $1::int8) g";
    let (_, cursor) = page(&plugin, text, 10).await;
    let call = Call { mode: Mode::Fetch, cursor, page_rows: 10, ..Call::default() };
    assert_eq!(plugin.call(call).await.unwrap_err().server_code, "22012");
    let (_, cursor) = page(&plugin, "SELECT g FROM generate_series(1, $1::int8) g", 10).await;
    assert_ne!(cursor, 0);
    plugin.end_context();
    assert_eq!(plugin.clone().in_context(2).value("SELECT 1", &[]).await, "Int(1)");
    world.all_given_back().await;
    let left = world.direct("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'");
    assert_eq!(left, "0");
    let error = plugin.sql(Mode::Page, "DELETE FROM pg_class", &[]).await.unwrap_err();
    assert_eq!(error.code, Code::Invalid);
}
