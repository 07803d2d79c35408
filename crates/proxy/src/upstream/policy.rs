//! What a route says about how its requests are sent.

use agw_config::RetryPolicy;
use tokio::time::Instant;

/// How one request is sent: what the exchange knows and the upstream needs.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "retries and balancing by hash are to read them")]
pub(crate) struct SendPolicy<'a> {
    /// When to try again; `None` leaves it at what was never sent.
    pub(crate) retry: Option<&'a RetryPolicy>,
    /// Requests with the same value go to the same endpoint, if the cluster balances by hash. `None` goes anywhere.
    pub(crate) hash: Option<u64>,
    /// `Host` becomes name and port of the endpoint that is chosen, as the configuration has them.
    pub(crate) host_of_endpoint: bool,
    /// No try begins or goes on after this. The exchange drops the future then; waits between tries end before.
    pub(crate) deadline: Instant,
}
