//! Keeps the view of a cluster fresh: one task for each resource, started by its first call.
//!
//! It asks three nodes at once, each over a short connection of its own: one of the operator's endpoints, and others that
//! the view has. It asks at the beginning, after `topology_refresh`, and when something gives reason to, but never more
//! often than once in [`INTERVAL_MIN`]: a cluster in trouble is not to be asked by every call.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agw_config::RedisHost;
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::layout::{Layout, REPLY_BYTES_MAX};
use super::view::View;
use super::{Cluster, State};
use crate::backoff::Backoff;
use crate::blueprint::Role;
use crate::error::{ConnectError, cause};

/// Nodes that are asked at once.
const ASKED: usize = 3;
/// From one question to the next, whatever gives reason to it.
const INTERVAL_MIN: Duration = Duration::from_millis(200);
/// Who has not answered so long after the first is not waited for.
const STRAGGLERS: Duration = Duration::from_millis(100);

/// Says that nobody keeps the view fresh when the task ends, however it ends.
struct Refresher(Arc<Cluster>);

// === impl Cluster ===

impl Cluster {
    /// Starts the task on the current runtime if none runs.
    pub(super) fn keep_fresh(self: &Arc<Self>) {
        // A plain load first: every call comes by here.
        if self.refreshed.load(Ordering::Relaxed) || self.refreshed.swap(true, Ordering::Relaxed) {
            return;
        }
        let refresher = Refresher(Arc::clone(self));
        let stop = self.blueprint.stop.clone();
        self.blueprint.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = refresher.run() => {}
                () = refresher.watch_replicas() => {}
            }
        });
    }

    async fn learn(self: &Arc<Self>) -> Result<Layout, ConnectError> {
        let mut candidates = self.candidates().into_iter();
        let mut asking = JoinSet::new();
        let mut ask = |asking: &mut JoinSet<Result<Layout, ConnectError>>| {
            if let Some(at) = candidates.next() {
                let cluster = Arc::clone(self);
                asking.spawn(async move { cluster.ask(at).await });
            }
        };
        (0..ASKED).for_each(|_| ask(&mut asking));
        let (mut layouts, mut failure) = (Vec::new(), None);
        let mut until = Instant::now() + self.blueprint.access.timeout() * 2;
        while let Ok(Some(answered)) = timeout_at(until, asking.join_next()).await {
            match answered {
                Ok(Ok(layout)) => {
                    layouts.push(layout);
                    until = until.min(Instant::now() + STRAGGLERS);
                }
                Ok(Err(error)) => {
                    failure = Some(error);
                    ask(&mut asking);
                }
                // It panicked, which says nothing of the others.
                Err(_) => {}
            }
        }
        if layouts.is_empty() {
            Err(failure.unwrap_or(ConnectError::Timeout))
        } else {
            Ok(Layout::agreed(&layouts))
        }
    }

    /// Whom to ask, in this order: one of the operator's words first, for all others are hearsay.
    fn candidates(&self) -> Vec<RedisHost> {
        let mut endpoints = self.config.endpoints.clone();
        fastrand::shuffle(&mut endpoints);
        let mut known: Vec<_> = self.view.read().nodes().iter().map(|node| node.at.clone()).collect();
        fastrand::shuffle(&mut known);
        let mut all: Vec<RedisHost> = Vec::with_capacity(endpoints.len() + known.len());
        let (first, rest) = endpoints.split_at(endpoints.len().min(1));
        for at in first.iter().chain(&known).chain(rest) {
            if !all.contains(at) {
                all.push(at.clone());
            }
        }
        all
    }

    async fn ask(&self, at: RedisHost) -> Result<Layout, ConnectError> {
        let connector = self.blueprint.connector(at.clone()).map_err(|_| ConnectError::NotAllowed)?;
        let asking = async {
            let mut session = connector.connect().await?;
            let reply = session.exchange(b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n", 1, REPLY_BYTES_MAX).await;
            Layout::read(&reply.map_err(ConnectError::Login)?, &at)
        };
        let within = self.blueprint.access.timeout();
        tokio::time::timeout(within, asking).await.unwrap_or(Err(ConnectError::Timeout))
    }

    /// Nodes that stay keep their connections.
    fn install(&self, layout: &Layout) {
        let mut current = self.view.write();
        // Closed meanwhile: nothing is to be opened again.
        if self.blueprint.stop.is_cancelled() {
            return;
        }
        let known = |at: &RedisHost| current.place(at).and_then(|place| current.node(place));
        let view = View::of(layout, |at| {
            known(at)
                .or_else(|| if self.admits(&at.host) { self.blueprint.node(at, Role::Primary) } else { None })
        });
        let changed = view.nodes().len() != current.nodes().len() || view.covered() != current.covered();
        if changed {
            tracing::info!(
                resource.name = self.blueprint.resource,
                primaries = view.nodes().len(),
                hash_slots = view.covered(),
                "the cluster's topology"
            );
        }
        let old = std::mem::replace(&mut *current, Arc::new(view));
        drop(current);
        // Nodes that are gone close their connections, outside of the lock.
        drop(old);
    }
}

// === impl Refresher ===

impl Refresher {
    /// Never returns.
    async fn run(&self) {
        let cluster = &self.0;
        let mut backoff = Backoff::default();
        loop {
            let begun = Instant::now();
            let pause = match cluster.learn().await {
                Ok(layout) => {
                    backoff.reset();
                    self.learnt(&layout);
                    let refresh = cluster.config.topology.refresh;
                    // A tenth more or less, so that many gateways do not ask at the same time.
                    refresh.mul_f64(0.9 + fastrand::f64() / 5.0)
                }
                Err(error) => {
                    self.failed(&error);
                    backoff.next()
                }
            };
            tokio::select! {
                () = cluster.suspicion.notified() => {}
                () = sleep(pause) => {}
            }
            sleep_until(begun + INTERVAL_MIN).await;
        }
    }

    /// Asks every primary for its replicas, again and again. Never returns.
    async fn watch_replicas(&self) {
        let cluster = &self.0;
        let Some(reads) = cluster.blueprint.reads else { return std::future::pending().await };
        loop {
            let begun = Instant::now();
            let view = Arc::clone(&cluster.view.read());
            let admits = |host: &str| cluster.admits(host);
            let mut polls = Vec::with_capacity(view.nodes().len());
            for node in view.nodes() {
                polls.push(cluster.blueprint.poll(&node.server, admits));
            }
            join_all(polls).await;
            drop(view);
            sleep_until(begun + reads.interval()).await;
        }
    }

    fn learnt(&self, layout: &Layout) {
        let cluster = &self.0;
        cluster.install(layout);
        if cluster.view.read().is_empty() {
            // They answer, but nobody has a slot, or none may be connected to.
            let error =
                if layout.hosts.is_empty() { ConnectError::NoCluster } else { ConnectError::NotAllowed };
            return self.failed(&error);
        }
        if cluster.last_error.lock().take().is_some() {
            tracing::info!(
                resource.name = cluster.blueprint.resource,
                "the cluster's topology is known again"
            );
        }
        cluster.state.send_replace(State::Known);
    }

    fn failed(&self, error: &ConnectError) {
        let cluster = &self.0;
        let class = error.class();
        // Once for each kind of failure, not once for each attempt.
        if cluster.last_error.lock().replace(class) != Some(class) {
            let resource = &cluster.blueprint.resource;
            tracing::warn!(
                resource.name = resource,
                class,
                error = cause(error),
                "no topology of the cluster"
            );
        }
        if cluster.view.read().is_empty() {
            cluster.state.send_replace(State::Failed(error.call_error()));
        }
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        self.0.refreshed.store(false, Ordering::Relaxed);
        // Whoever waits is not left waiting for nobody; the next call starts another task.
        if self.0.blueprint.stop.is_cancelled() {
            self.0.state.send_replace(State::Failed(crate::error::not_sent()));
        }
    }
}
