use std::time::Duration;

use agw_wire::sql::{Call, Cell, Cells, Mode, Statement};
use agw_wire::{CallError, Code};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::world::{Plugin, Shown, World, cells};

/// A server that counts.
async fn world(cache: &str) -> World {
    let settings = vec!["shared_preload_libraries=pg_stat_statements".to_owned()];
    let fields = format!(
        "statements:\n  count: {{ text: 'SELECT n AS agw_cached FROM generate_series(1, $1::int8) n', cache: {cache} }}\n  \
         slow: {{ text: 'SELECT pg_sleep(0.5)::text AS agw_cached, $1::int8 AS n', cache: {cache} }}\n  \
         since: {{ text: 'SELECT pg_postmaster_start_time()::text', cache: {cache} }}\n\
         pool: {{ max: 4, acquire_timeout: 10s }}\nbreaker: {{ failures: 2, probe_interval: 100ms }}\n\
         grants: [{{ plugin: p, statements: [count, slow, since] }}, {{ plugin: q, statements: [count] }}]"
    );
    let world = World::with_options(Options { settings, ..Options::default() }, &fields).await;
    world.direct("CREATE EXTENSION pg_stat_statements");
    world
}

/// Executions of `count` and `slow` that the server has seen.
fn seen(world: &World) -> usize {
    let counted = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '%agw_cached%'";
    world.direct(counted).parse().unwrap()
}

async fn ask(plugin: &Plugin, mode: Mode, name: &str, params: &[Cell<'_>]) -> Result<Shown, CallError> {
    let params = cells(params);
    let statements = vec![Statement::named(name, Cells::new(&params))];
    let (mut results, _) = plugin.call(Call { mode, statements, ..Call::default() }).await?;
    Ok(results.remove(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_is_kept_costs_the_server_no_statement_even_when_it_is_down() {
    let world = world("{ ttl: 1h, negative_ttl: 1h }").await;
    let (plugin, other) = (world.plugin("p"), world.plugin("q"));
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let plugin = plugin.clone();
        calls.spawn(async move { ask(&plugin, Mode::Query, "count", &[Cell::Int(3)]).await.unwrap().rows });
    }
    for rows in calls.join_all().await {
        assert_eq!(rows, [["Int(1)"], ["Int(2)"], ["Int(3)"]]);
    }
    assert_eq!(seen(&world), 1, "those that came at the same time waited for the first");
    for _ in 0..100 {
        assert_eq!(ask(&plugin, Mode::Query, "count", &[Cell::Int(3)]).await.unwrap().rows.len(), 3);
        assert_eq!(ask(&plugin, Mode::QueryOptional, "count", &[Cell::Int(0)]).await.unwrap().rows.len(), 0);
        ask(&plugin, Mode::QueryOne, "count", &[Cell::Int(0)]).await.unwrap_err();
    }
    assert_eq!(seen(&world), 3, "none was found, in two ways");
    assert_eq!(ask(&other, Mode::Query, "count", &[Cell::Int(3)]).await.unwrap().rows.len(), 3);
    assert_eq!(seen(&world), 4, "grants share nothing");
    for _ in 0..2 {
        ask(&plugin, Mode::Page, "count", &[Cell::Int(3)]).await.unwrap();
    }

    world.server.lock().unwrap().kill();
    for _ in 0..5 {
        let error = ask(&plugin, Mode::Query, "count", &[Cell::Int(4)]).await.unwrap_err();
        assert!(matches!(error.code, Code::Unavailable | Code::CircuitOpen), "{error}");
        assert_eq!(ask(&plugin, Mode::Query, "count", &[Cell::Int(3)]).await.unwrap().rows.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_stream_that_fetches_ends_another_fetches_and_the_statement_is_stopped() {
    let world = world("{ ttl: 1h }").await;
    let plugin = world.plugin("p");
    let cancel = CancellationToken::new();
    let leader = tokio::spawn({
        let (plugin, cancel) = (plugin.clone(), cancel.clone());
        async move {
            let params = cells(&[Cell::Int(1)]);
            let statements = vec![Statement::named("slow", Cells::new(&params))];
            plugin.call_until(Call { statements, ..Call::default() }, &cancel).await
        }
    });
    while !world.running().contains("pg_sleep") {
        sleep(Duration::from_millis(5)).await;
    }
    let waiter = tokio::spawn({
        let plugin = plugin.clone();
        async move { ask(&plugin, Mode::Query, "slow", &[Cell::Int(1)]).await }
    });
    sleep(Duration::from_millis(50)).await;
    cancel.cancel();
    assert_eq!(leader.await.unwrap().unwrap_err().code, Code::Cancelled);
    assert_eq!(waiter.await.unwrap().unwrap().rows.len(), 1);
    world.all_given_back().await;
    assert_eq!(world.running(), "");
    assert_eq!(ask(&plugin, Mode::Query, "slow", &[Cell::Int(1)]).await.unwrap().rows.len(), 1);
    assert_eq!(seen(&world), 1, "the one that was not stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_result_serves_through_an_outage_and_is_renewed_after_it() {
    let world = world("{ ttl: 1ms, stale_while_revalidate: 1h }").await;
    let plugin = world.plugin("p");
    let before = ask(&plugin, Mode::QueryOne, "since", &[]).await.unwrap().rows;
    world.server.lock().unwrap().kill();
    for _ in 0..50 {
        assert_eq!(ask(&plugin, Mode::QueryOne, "since", &[]).await.unwrap().rows, before);
        sleep(Duration::from_millis(5)).await;
    }
    world.server.lock().unwrap().restart().unwrap();
    let back = Instant::now();
    while ask(&plugin, Mode::QueryOne, "since", &[]).await.unwrap().rows == before {
        assert!(back.elapsed() < Duration::from_secs(30), "it is not renewed");
        sleep(Duration::from_millis(5)).await;
    }
}
