use std::time::Duration;

use agw_wire::Code;
use tokio::task::JoinSet;

use crate::world::{ENDLESS, World};

const TWO: &str = "url: sqlite://db.sqlite\nschema: { file: schema.sql }\n\
    pool: { max: 4, acquire_timeout: 100ms }\nlimits: { call_timeout_max: 1m }\ngrants:\n\
    - { plugin: p, ad_hoc: true, read_only: true, share: 50 }\n- { plugin: q, ad_hoc: true, read_only: true }";

#[tokio::test]
async fn a_plugin_at_its_share_waits_for_itself_and_the_other_does_not() {
    let world = World::new(TWO).await;
    let (slow, quick) = (world.plugin("p").with_deadline(500), world.plugin("q"));
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let slow = slow.clone();
        calls.spawn(async move { slow.query(ENDLESS, &[]).await.unwrap_err().code });
    }
    while world.backend.status().leased < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..200 {
        assert_eq!(quick.value("SELECT 1", &[]).await, "Int(1)");
        assert!(world.backend.status().leased <= 3, "two of the one's, one of the other's");
    }
    let codes = calls.join_all().await;
    let count = |code| codes.iter().filter(|one| **one == code).count();
    assert_eq!(count(Code::TimeoutIo) + count(Code::TimeoutQueue), 50, "{codes:?}");
    assert_eq!(count(Code::TimeoutIo), 2, "those that had a connection: {codes:?}");
    world.all_given_back().await;
}

#[tokio::test]
async fn a_thousand_calls_at_once_on_four_connections_are_all_answered() {
    let world = World::new(&TWO.replace("acquire_timeout: 100ms", "acquire_timeout: 30s")).await;
    let mut calls = JoinSet::new();
    for at in 0..1000 {
        let plugin = world.plugin(if at % 2 == 0 { "p" } else { "q" }).with_deadline(30_000);
        calls.spawn(async move {
            let value = plugin.value("SELECT ?1", &[agw_wire::sql::Cell::Int(at)]).await;
            assert_eq!(value, format!("Int({at})"), "its own row");
        });
    }
    calls.join_all().await;
    world.all_given_back().await;
    let status = world.backend.status();
    assert!(status.idle <= 4, "{status:?}");
}

#[tokio::test]
async fn what_calls_wait_for_is_told_apart() {
    let one = TWO.replace("max: 4, acquire_timeout: 100ms", "max: 1, acquire_timeout: 30s");
    let world = World::new(&one).await;
    let (slow, quick) = (world.plugin("p").with_deadline(200), world.plugin("q").with_deadline(30_000));
    let endless = tokio::spawn(async move { slow.query(ENDLESS, &[]).await });
    while world.backend.status().leased == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(quick.value("SELECT 1", &[]).await, "Int(1)");
    assert_eq!(endless.await.unwrap().unwrap_err().code, Code::TimeoutIo);
    let metrics = world.metrics();
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in {metrics}")).parse().unwrap()
    };
    let queued = value("agw_resource_queue_seconds_sum{resource=\"db\",queue=\"pool\"}");
    assert!(queued > 0.05, "the quick call waited for the slow one: {queued}");
    assert_eq!(value("agw_resource_queue_seconds_sum{resource=\"db\",queue=\"gate\"}"), 0.0);
    assert_eq!(value("agw_resource_queue_seconds_count{resource=\"db\",queue=\"pool\"}"), 2.0);
    let io = value("agw_resource_io_seconds_sum{resource=\"db\"}");
    assert!(io > 0.1, "the slow call ran into its deadline: {io}");
    assert_eq!(value("agw_resource_io_seconds_count{resource=\"db\"}"), 2.0);
    assert!(value("agw_resource_connect_seconds_count{resource=\"db\"}") >= 1.0);
}
