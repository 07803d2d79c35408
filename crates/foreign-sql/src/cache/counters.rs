//! What the lookups of one cache came to.

use agw_telemetry::{CacheLabels, CacheLookupLabels, Counter, Metrics};

/// Handles of one cache's metrics.
#[derive(Clone, Default)]
pub(crate) struct Counters {
    pub(super) hit: Counter,
    pub(super) stale: Counter,
    pub(super) miss: Counter,
    pub(super) joined: Counter,
    pub(super) evictions: Counter,
}

// === impl Counters ===

impl Counters {
    pub(crate) fn new(metrics: &Metrics, resource: &str, plugin: &str, statement: &str) -> Self {
        let (resource, plugin, statement) = (resource.to_owned(), plugin.to_owned(), statement.to_owned());
        let labels = CacheLabels { resource, plugin, statement };
        let lookups = |outcome| {
            let CacheLabels { resource, plugin, statement } = labels.clone();
            let labels = CacheLookupLabels { resource, plugin, statement, outcome };
            metrics.cache_lookups.get_or_create(&labels).clone()
        };
        Counters {
            hit: lookups("hit"),
            stale: lookups("stale"),
            miss: lookups("miss"),
            joined: lookups("joined"),
            evictions: metrics.cache_evictions.get_or_create(&labels).clone(),
        }
    }
}
