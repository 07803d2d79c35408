use std::time::Duration;

use agw_wire::sql::{Call, Cell, Cells, Mode, Statement};
use agw_wire::{CallError, Code};

use crate::world::{AD_HOC, ENDLESS, Plugin, World, cells};

const COUNT: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?1) SELECT i FROM n";

/// The numbers of the first page, and the cursor.
async fn page(plugin: &Plugin, text: &str, up_to: i64, page_rows: u32) -> Result<(Vec<i64>, u32), CallError> {
    let params = cells(&[Cell::Int(up_to)]);
    let params = if text.contains('?') { Cells::new(&params) } else { Cells::default() };
    let statements = vec![Statement::ad_hoc(text, params)];
    numbers(plugin, Call { mode: Mode::Page, statements, page_rows, ..Call::default() }).await
}

async fn fetch(plugin: &Plugin, cursor: u32, page_rows: u32) -> Result<(Vec<i64>, u32), CallError> {
    numbers(plugin, Call { mode: Mode::Fetch, cursor, page_rows, ..Call::default() }).await
}

async fn close(plugin: &Plugin, cursor: u32) -> Result<(), CallError> {
    plugin.call(Call { mode: Mode::Close, cursor, ..Call::default() }).await.map(drop)
}

async fn numbers(plugin: &Plugin, call: Call<'_>) -> Result<(Vec<i64>, u32), CallError> {
    let first = call.mode == Mode::Page;
    let (results, cursor) = plugin.call(call).await?;
    assert_eq!(results.iter().map(|result| result.columns.len()).sum::<usize>(), usize::from(first));
    let number = |row: &Vec<String>| row[0].trim_start_matches("Int(").trim_end_matches(')').parse().unwrap();
    Ok((results.iter().flat_map(|result| result.rows.iter().map(number)).collect(), cursor))
}

#[tokio::test]
async fn a_result_comes_in_pages_each_row_once_and_in_order() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    for (rows, page_rows) in [(0, 3), (1, 3), (3, 3), (4, 3), (10, 3), (5000, 999)] {
        let (mut found, mut cursor) = page(&plugin, COUNT, rows, page_rows).await.unwrap();
        while cursor != 0 {
            assert!(world.backend.status().leased >= 1, "the cursor has a connection");
            let (more, next) = fetch(&plugin, cursor, page_rows).await.unwrap();
            assert!(!more.is_empty() && (next == cursor || next == 0));
            found.extend(more);
            cursor = next;
        }
        // SQLite gives the first row of this statement whatever the limit is.
        let expected: Vec<i64> = (1..=rows).collect();
        assert_eq!(found, expected, "{rows} rows");
        world.all_given_back().await;
    }
}

#[tokio::test]
async fn a_page_is_never_larger_than_the_cap_and_may_be_smaller_than_the_last() {
    let plugin = World::new(&format!("{AD_HOC}\nlimits: {{ rows: 5 }}")).await.plugin("p");
    let (first, cursor) = page(&plugin, COUNT, 100, 0).await.unwrap();
    assert_eq!(first, [1, 2, 3, 4, 5]);
    let (second, cursor) = fetch(&plugin, cursor, 1).await.unwrap();
    assert_eq!(second, [6]);
    let (third, _) = fetch(&plugin, cursor, 1000).await.unwrap();
    assert_eq!(third, [7, 8, 9, 10, 11]);
}

#[tokio::test]
async fn a_cursor_that_is_closed_gives_its_connection_back_and_is_gone() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1 }}")).await;
    let plugin = world.plugin("p");
    let (_, cursor) = page(&plugin, COUNT, 10, 2).await.unwrap();
    assert_eq!(
        plugin.query("SELECT 1", &[]).await.unwrap_err().code,
        Code::TimeoutQueue,
        "it has the only one"
    );
    close(&plugin, cursor).await.unwrap();
    world.all_given_back().await;
    assert_eq!(world.backend.status().idle, 1);
    assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)");
    assert_eq!(fetch(&plugin, cursor, 2).await.unwrap_err().code, Code::Invalid);
    assert_eq!(close(&plugin, cursor).await.unwrap_err().code, Code::Invalid);
}

#[tokio::test]
async fn a_cursor_belongs_to_its_context_and_ends_with_it() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    let (_, cursor) = page(&plugin, COUNT, 10, 2).await.unwrap();
    let other = plugin.clone().in_context(2);
    assert_eq!(fetch(&other, cursor, 2).await.unwrap_err().code, Code::Invalid);
    assert_eq!(close(&other, cursor).await.unwrap_err().code, Code::Invalid);
    other.end_context();
    assert_eq!(fetch(&plugin, cursor, 2).await.unwrap().0, [3, 4], "another's end is not its own");
    plugin.end_context();
    world.all_given_back().await;
    assert_eq!(fetch(&plugin, cursor, 2).await.unwrap_err().code, Code::Invalid);
}

#[tokio::test]
async fn a_cursor_that_nobody_uses_ends() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ idle_timeout: 100ms }}")).await;
    let plugin = world.plugin("p");
    let (_, cursor) = page(&plugin, COUNT, 10, 2).await.unwrap();
    world.all_given_back().await;
    assert_eq!(fetch(&plugin, cursor, 2).await.unwrap_err().code, Code::Invalid);
}

#[tokio::test]
async fn a_page_that_comes_too_late_ends_the_cursor_and_not_the_connection() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1, acquire_timeout: 10s }}")).await;
    let plugin = world.plugin("p").with_deadline(10_000);
    // Two rows at once, and then it searches for ever.
    let text = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 3";
    let (first, cursor) = page(&plugin, text, 0, 1).await.unwrap();
    assert_eq!(first, [1]);
    let late = plugin.clone().with_deadline(100);
    assert_eq!(fetch(&late, cursor, 5).await.unwrap_err().code, Code::TimeoutIo);
    assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)");
    assert_eq!(fetch(&plugin, cursor, 5).await.unwrap_err().code, Code::Invalid);
    let error = page(&plugin.clone().with_deadline(100), ENDLESS, 0, 1).await.unwrap_err();
    assert_eq!(error.code, Code::TimeoutIo);
    tokio::time::timeout(Duration::from_secs(10), world.all_given_back()).await.unwrap();
}
