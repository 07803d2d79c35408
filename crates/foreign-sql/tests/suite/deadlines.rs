use std::time::Duration;

use agw_wire::sql::{Call, Cells, Mode, Statement};
use agw_wire::{Code, Retry};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::world::{AD_HOC, ENDLESS, World};

#[tokio::test]
async fn an_endless_statement_ends_at_the_deadline_and_its_connection_serves_on() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 2 }}")).await;
    let plugin = world.plugin("p");
    for mode in [Mode::Query, Mode::Execute, Mode::QueryOne, Mode::Page] {
        let begun = Instant::now();
        let error = plugin.clone().with_deadline(100).sql(mode, ENDLESS, &[]).await.unwrap_err();
        assert_eq!((error.code, error.retry), (Code::TimeoutIo, Retry::IfIdempotent), "{mode:?}");
        assert!(begun.elapsed() >= Duration::from_millis(100), "not before its deadline");
    }
    world.all_given_back().await;
    assert!(world.backend.status().idle >= 1, "stopped, proven clean and kept");
    for round in 0..500 {
        assert_eq!(
            plugin.value("SELECT ?1", &[agw_wire::sql::Cell::Int(round)]).await,
            format!("Int({round})")
        );
    }
}

#[tokio::test]
async fn a_batch_that_is_stopped_leaves_nothing_behind() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1, acquire_timeout: 10s }}")).await;
    let plugin = world.plugin("p");
    let late = plugin.clone().with_deadline(100);
    let error = late.batch(&["DELETE FROM keys", ENDLESS]).await.unwrap_err();
    assert_eq!(error.code, Code::TimeoutIo);
    let wait = plugin.with_deadline(10_000);
    assert_eq!(
        wait.value("SELECT count(*) FROM keys", &[]).await,
        "Int(2)",
        "rolled back, on the same connection"
    );
}

#[tokio::test]
async fn a_call_that_is_taken_back_or_dropped_stops_its_statement() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p").with_deadline(30_000);
    let (calling, cancel) = (plugin.clone(), CancellationToken::new());
    let token = cancel.clone();
    let call = tokio::spawn(async move {
        let statements = vec![Statement::ad_hoc(ENDLESS, Cells::default())];
        calling.call_until(Call { statements, ..Call::default() }, &token).await
    });
    while world.backend.status().leased == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cancel.cancel();
    assert_eq!(call.await.unwrap().unwrap_err().code, Code::Cancelled);
    world.all_given_back().await;

    let dropped = tokio::spawn(async move { plugin.query(ENDLESS, &[]).await });
    while world.backend.status().leased == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    dropped.abort();
    world.all_given_back().await;
    assert!(world.backend.status().idle >= 1);
}

#[tokio::test]
async fn the_shutdown_ends_what_runs_and_refuses_what_comes() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p").with_deadline(30_000);
    let calling = plugin.clone();
    let call = tokio::spawn(async move { calling.query(ENDLESS, &[]).await });
    while world.backend.status().leased == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.backend.shutdown().await;
    assert_eq!(call.await.unwrap().unwrap_err().code, Code::Unavailable);
    assert_eq!(plugin.query("SELECT 1", &[]).await.unwrap_err().code, Code::Unavailable);
    let status = world.backend.status();
    assert_eq!((status.leased, status.idle), (0, 0));
}

#[tokio::test]
async fn slow_statements_do_not_open_the_breaker() {
    let world = World::new(&format!("{AD_HOC}\nbreaker: {{ failures: 1 }}")).await;
    let plugin = world.plugin("p");
    for _ in 0..3 {
        let error = plugin.clone().with_deadline(50).query(ENDLESS, &[]).await.unwrap_err();
        assert_eq!(error.code, Code::TimeoutIo);
    }
    assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)");
}
