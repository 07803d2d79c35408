//! Circuit limits of one cluster, over all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agw_config::ClusterLimits;
use agw_telemetry::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::RETRIES_ALWAYS;

/// How much of the limits is used.
#[derive(Debug)]
pub(super) struct Circuit {
    limits: ClusterLimits,
    requests: AtomicUsize,
    retries: AtomicUsize,
    pending: AtomicUsize,
    /// One permit for each connection that may be open.
    connections: Arc<Semaphore>,
}

/// Which limit a request was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Requests that wait for a connection, all of which are in use.
    Pending,
    /// Requests under way.
    Requests,
    /// Retries under way.
    Retries,
}

/// A request under way, until it is dropped or given to a lease.
pub(super) struct RequestPlace<'a>(&'a Circuit);

/// A retry under way.
pub(super) struct RetryPlace<'a>(&'a Circuit);

/// A request that waits for a connection.
pub(super) struct PendingPlace<'a>(&'a Circuit, Gauge);

/// An open connection: whoever holds it last has closed the socket.
#[derive(Debug)]
pub(super) struct OpenConnection {
    _permit: OwnedSemaphorePermit,
    gauge: Gauge,
}

impl Limit {
    /// As the metrics name it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Limit::Pending => "pending",
            Limit::Requests => "requests",
            Limit::Retries => "retries",
        }
    }
}

// === impl Circuit ===

impl Circuit {
    pub(super) fn new(limits: ClusterLimits) -> Self {
        Circuit {
            connections: Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS))),
            limits,
            requests: AtomicUsize::new(0),
            retries: AtomicUsize::new(0),
            pending: AtomicUsize::new(0),
        }
    }

    /// A place for one more request.
    pub(super) fn request(&self) -> Result<RequestPlace<'_>, Limit> {
        if self.requests.fetch_add(1, Ordering::Relaxed) >= self.limits.requests_max {
            self.request_ends();
            return Err(Limit::Requests);
        }
        Ok(RequestPlace(self))
    }

    /// A request that was handed over has ended.
    pub(super) fn request_ends(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// A place for one more retry.
    pub(super) fn retry(&self) -> Result<RetryPlace<'_>, Limit> {
        let share =
            self.requests.load(Ordering::Relaxed).saturating_mul(self.limits.retry_percent_max as usize);
        let allowed = (share / 100).max(RETRIES_ALWAYS);
        if self.retries.fetch_add(1, Ordering::Relaxed) >= allowed {
            self.retries.fetch_sub(1, Ordering::Relaxed);
            return Err(Limit::Retries);
        }
        Ok(RetryPlace(self))
    }

    /// A place among those that wait for a connection.
    pub(super) fn pending(&self, gauge: &Gauge) -> Result<PendingPlace<'_>, Limit> {
        if self.pending.fetch_add(1, Ordering::Relaxed) >= self.limits.pending_max {
            self.pending.fetch_sub(1, Ordering::Relaxed);
            return Err(Limit::Pending);
        }
        gauge.inc();
        Ok(PendingPlace(self, gauge.clone()))
    }

    /// Whether a request on any worker waits for a connection.
    pub(super) fn is_anyone_waiting(&self) -> bool {
        self.pending.load(Ordering::Relaxed) != 0
    }

    /// A place for one more connection, if there is one now.
    pub(super) fn try_connection(&self, gauge: &Gauge) -> Option<OpenConnection> {
        let permit = Arc::clone(&self.connections).try_acquire_owned().ok()?;
        Some(OpenConnection::new(permit, gauge))
    }

    /// A place for one more connection, in the order of asking.
    ///
    /// # Cancel safety
    /// Safe; the place in the queue is lost.
    pub(super) async fn connection(&self, gauge: &Gauge) -> Option<OpenConnection> {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.connections).acquire_owned().await.ok()?;
        Some(OpenConnection::new(permit, gauge))
    }
}

impl RequestPlace<'_> {
    /// From now on somebody else calls [`Circuit::request_ends`].
    pub(super) fn hand_over(self) {
        std::mem::forget(self);
    }
}

impl Drop for RequestPlace<'_> {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}

impl Drop for RetryPlace<'_> {
    fn drop(&mut self) {
        self.0.retries.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for PendingPlace<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
        self.1.dec();
    }
}

impl OpenConnection {
    fn new(permit: OwnedSemaphorePermit, gauge: &Gauge) -> Self {
        gauge.inc();
        OpenConnection { _permit: permit, gauge: gauge.clone() }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit(requests_max: usize, retry_percent_max: u32) -> Circuit {
        Circuit::new(ClusterLimits { requests_max, retry_percent_max, ..ClusterLimits::default() })
    }

    #[test]
    fn requests_over_the_limit_are_refused_until_one_ends() {
        let circuit = circuit(2, 0);
        let (first, _second) = (circuit.request().unwrap(), circuit.request().unwrap());
        assert_eq!(circuit.request().err(), Some(Limit::Requests));
        drop(first);
        let third = circuit.request().unwrap();
        third.hand_over();
        assert_eq!(circuit.request().err(), Some(Limit::Requests));
        circuit.request_ends();
        assert!(circuit.request().is_ok());
    }

    #[test]
    fn three_retries_are_always_allowed_and_more_by_share() {
        let circuit = circuit(100, 20);
        let places: Vec<_> = (0..20).map(|_| circuit.request().unwrap()).collect();
        let mut retries: Vec<_> = (0..4).map(|_| circuit.retry().unwrap()).collect();
        assert_eq!(circuit.retry().err(), Some(Limit::Retries));
        drop(places);
        retries.pop();
        assert_eq!(circuit.retry().err(), Some(Limit::Retries), "three of three are under way");
        retries.pop();
        assert!(circuit.retry().is_ok());
    }
}
