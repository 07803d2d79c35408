//! What the plugins of a snapshot may call: nothing but what a grant names.

use std::sync::Arc;

use agw_config::{CallRate, Plugin, Snapshot};
use agw_foreign::{Access, AccessBuilder, GrantBounds, GrantedResource, Rate};
use agw_foreign_redis::RedisBackend;
use agw_foreign_sql::SqlBackend;
use agw_telemetry::Metrics;
use agw_wire::{AGW_REDIS, AGW_SQL};
use anyhow::{Result, anyhow};

use crate::resources::{Attached, Backend, Resources};

/// A snapshot with its resources.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) resources: &'a Resources,
}

impl Side<'_> {
    /// Whether a plugin may do the same with the same resources as on the other side.
    pub(crate) fn grants_alike(self, other: Side<'_>, plugin: &str) -> bool {
        let granted = |side: Side<'_>, name: &String| {
            let redis = side.snapshot.resources.get(name);
            let sql = side.snapshot.sql_resources.get(name);
            (
                redis.and_then(|resource| resource.grants.get(plugin).cloned()),
                sql.and_then(|resource| resource.grants.get(plugin).cloned()),
            )
        };
        let (ours, theirs) = (self.resources.by_name(), other.resources.by_name());
        ours.keys().chain(theirs.keys()).all(|name| {
            let same = match (ours.get(name), theirs.get(name)) {
                (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
                _ => false,
            };
            let (ours, theirs) = (granted(self, name), granted(other, name));
            ours == theirs && (same || ours == (None, None))
        })
    }

    /// What a plugin may call.
    ///
    /// # Errors
    /// A grant that cannot be compiled, with its resource.
    pub(crate) fn access(self, plugin: &Plugin, metrics: &Arc<Metrics>) -> Result<Arc<Access>> {
        let access = Access::builder(&plugin.name, plugin.foreign_calls_max, metrics.clone());
        let access = access.calls_per_request(plugin.calls_per_request_max);
        let access = access.function(AGW_REDIS).function(AGW_SQL);
        let snapshot = self.snapshot;
        let grant = |access: AccessBuilder, (name, attached): (&String, &Arc<Attached>)| {
            let (function, granted) = match &attached.backend {
                Backend::Redis(backend) => (AGW_REDIS, redis_grant(snapshot, name, backend, plugin)?),
                Backend::Sql(backend) => (AGW_SQL, sql_grant(snapshot, name, backend, plugin, metrics)),
            };
            anyhow::Ok(match granted {
                Some((granted, bounds)) => {
                    access.grant_within(function, attached.gate.clone(), granted, bounds)
                }
                None => access,
            })
        };
        Ok(self.resources.by_name().iter().try_fold(access, grant)?.build())
    }
}

fn redis_grant(
    snapshot: &Snapshot,
    name: &str,
    backend: &Arc<RedisBackend>,
    plugin: &Plugin,
) -> Result<Option<(Arc<dyn GrantedResource>, GrantBounds)>> {
    let grants = snapshot.resources.get(name).map(|resource| &resource.grants);
    let Some(grant) = grants.and_then(|grants| grants.get(&plugin.name)) else { return Ok(None) };
    let granted = backend.grant(grant).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow!("grant of resource {name:?} to plugin {:?}: {}", plugin.name, errors.join("; "))
    })?;
    Ok(Some((granted, bounds(grant.share_percent, grant.rate))))
}

fn sql_grant(
    snapshot: &Snapshot,
    name: &str,
    backend: &Arc<SqlBackend>,
    plugin: &Plugin,
    metrics: &Metrics,
) -> Option<(Arc<dyn GrantedResource>, GrantBounds)> {
    let grant = snapshot.sql_resources.get(name)?.grants.get(&plugin.name)?;
    let granted = backend.grant(&plugin.name, grant, metrics);
    Some((granted, bounds(grant.share_percent, grant.rate)))
}

fn bounds(share_percent: u32, rate: Option<CallRate>) -> GrantBounds {
    let rate = rate.map(|CallRate { per_second, burst }| Rate { per_second, burst });
    GrantBounds { share_percent, rate }
}
