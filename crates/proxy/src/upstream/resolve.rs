//! Names to addresses, in the background.
//!
//! The first worker has one task for each name of a cluster; what it learns is every worker's. A name is asked for
//! again only after its last answer came, so a resolver that hangs holds one thread for each name. A failure keeps the
//! last good addresses and is counted; requests wait for the first answer only.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::state::ClusterState;
use super::stats::ClusterStats;

/// One question to the resolver.
pub(super) type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>>>>;

/// Asks for the addresses of `host:port`.
pub(super) type Lookup = Rc<dyn Fn(String) -> Answer>;

/// The system's resolver.
pub(super) fn system() -> Lookup {
    Rc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host(name).await?.collect()) }))
}

/// Keeps the addresses of one name up to date, for ever.
///
/// # Cancel safety
/// Safe: what was learnt is kept.
pub(super) async fn keep_resolved(
    name: String,
    cluster: Arc<ClusterState>,
    stats: Rc<ClusterStats>,
    lookup: Lookup,
) {
    let mut failing = false;
    loop {
        let answer = lookup(name.clone()).await;
        let addresses = match answer {
            Ok(addresses) if !addresses.is_empty() => {
                failing = false;
                addresses
            }
            failed => {
                stats.dns_failures.inc();
                if !std::mem::replace(&mut failing, true) {
                    let error = failed
                        .err()
                        .map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
                    tracing::warn!(cluster.name = %cluster.cluster.name, name, error,
                        "cannot resolve; known addresses stay in use");
                }
                Vec::new()
            }
        };
        if cluster.answered(&name, addresses) {
            tracing::info!(cluster.name = %cluster.cluster.name, name, "endpoints have changed");
            stats.census(&cluster);
        }
        tokio::time::sleep(jittered(cluster.cluster.dns_refresh)).await;
    }
}

/// The duration, give or take a tenth, so that what began together does not stay together.
pub(super) fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.9 + 0.2 * fastrand::f64())
}
