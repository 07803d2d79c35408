use std::time::Duration;

use agw_wire::sql::{Cell, Mode};
use agw_wire::{CallError, Code};

use crate::world::{ENDLESS, Plugin, Shown, World};

/// One place, so that whoever waits for one gets none.
const FIELDS: &str = "url: sqlite://db.sqlite\nschema: { file: schema.sql }\n\
    statements:\n  tier: { text: SELECT tier FROM keys WHERE hash = ?1, cache: { ttl: 1h, negative_ttl: 0s } }\n\
    limits: { in_flight: 1, waiters: 0 }\n\
    grants:\n- { plugin: p, statements: [tier], ad_hoc: true, read_only: true }\n\
    - { plugin: q, statements: [tier], read_only: true, response: 1KiB }";

async fn tier(plugin: &Plugin, hash: &str) -> Result<Shown, CallError> {
    plugin.named(Mode::QueryOptional, "tier", &[Cell::Text(hash)]).await
}

#[tokio::test]
async fn two_grants_never_share_a_result() {
    let world = World::new(FIELDS).await;
    let (plugin, other) = (world.plugin("p"), world.plugin("q"));
    assert_eq!(tier(&plugin, "a1").await.unwrap().rows, [["Text(\"free\")"]]);
    world.direct().execute_batch("UPDATE keys SET tier = 'pro' WHERE hash = 'a1'").unwrap();
    assert_eq!(tier(&other, "a1").await.unwrap().rows, [["Text(\"pro\")"]]);
    assert_eq!(tier(&plugin, "a1").await.unwrap().rows, [["Text(\"free\")"]]);
    assert_eq!(plugin.value("SELECT tier FROM keys WHERE hash = 'a1'", &[]).await, "Text(\"pro\")");
    let metrics = world.metrics();
    for (plugin, outcome, count) in [("p", "miss", 1), ("p", "hit", 1), ("q", "miss", 1), ("q", "hit", 0)] {
        let line = format!(
            "agw_resource_cache_lookups_total{{resource=\"db\",plugin=\"{plugin}\",statement=\"tier\",\
             outcome=\"{outcome}\"}} {count}"
        );
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn a_result_without_rows_that_is_not_kept_is_looked_for_anew() {
    let world = World::new(FIELDS).await;
    let plugin = world.plugin("p");
    assert!(tier(&plugin, "c3").await.unwrap().rows.is_empty());
    world.direct().execute_batch("INSERT INTO keys VALUES ('c3', 3, 'team')").unwrap();
    assert_eq!(tier(&plugin, "c3").await.unwrap().rows, [["Text(\"team\")"]]);
}

#[tokio::test]
async fn what_is_kept_needs_no_place() {
    let world = World::new(FIELDS).await;
    let plugin = world.plugin("p");
    let kept = tier(&plugin, "a1").await.unwrap();
    // The answer is out before the place is free.
    world.all_given_back().await;
    let endless = tokio::spawn({
        let plugin = plugin.clone().with_deadline(300);
        async move { plugin.query(ENDLESS, &[]).await }
    });
    while world.backend.status().leased == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(tier(&plugin, "b2").await.unwrap_err().code, Code::Overloaded);
    assert_eq!(tier(&plugin, "a1").await.unwrap(), kept);
    assert_eq!(endless.await.unwrap().unwrap_err().code, Code::TimeoutIo);
    world.all_given_back().await;
    assert_eq!(tier(&plugin, "b2").await.unwrap().rows.len(), 1);
}
