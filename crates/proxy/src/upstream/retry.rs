//! Requests that may be tried again, by their route's policy.
//!
//! The request's head is kept, and its body as far as the policy says, so that a try can fail after it was sent. Only
//! the last try's response is seen by anybody; that of another one is dropped, and its connection with it unless it
//! has been read to its end.

use std::net::SocketAddr;
use std::time::Duration;

use agw_config::RetryPolicy;
use http::{Method, Request};
use http_body::Body as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::{SendError, SendPlan, Sent, Upstream, http2};
use crate::body::{Replay, RequestBody};
use crate::connection::after;

/// Sends the request as often as the policy and the deadline allow.
///
/// # Cancel safety
/// As [`Upstream::send`].
pub(super) async fn send(
    upstream: &Upstream,
    request: Box<Request<RequestBody>>,
    plan: SendPlan<'_>,
    policy: &RetryPolicy,
) -> Result<Sent, SendError> {
    let (head, body) = request.into_parts();
    let repeatable = policy.unsafe_methods || is_safe(&head.method);
    let replay = Replay::new(body, policy.body_bytes_max);
    let mut tried: Vec<SocketAddr> = Vec::new();
    let mut retry = 0;
    let mut place = None;
    loop {
        let request = Box::new(Request::from_parts(head.clone(), replay.body()));
        let result = try_in_time(upstream, request, plan, policy, &mut tried).await;
        drop(place.take());
        let worth = match &result {
            Ok(sent) => repeatable && policy.on_statuses.contains(&sent.response.status().as_u16()),
            Err(error) => is_worth_retrying(error, policy, repeatable, plan.tries.was_sent()),
        };
        if !worth || retry >= policy.retries || plan.upgrade || !replay.is_at_hand() {
            return result;
        }
        let wait = backoff(policy, retry);
        if after(Instant::now(), wait) >= plan.deadline {
            return result;
        }
        place = match upstream.state.circuit.retry() {
            Ok(place) => Some(place),
            Err(limit) => {
                upstream.stats.overflow(limit);
                return result;
            }
        };
        give_up(result);
        sleep(wait).await;
        retry += 1;
        upstream.stats.retries.inc();
    }
}

/// One try, for as long as the policy gives it.
async fn try_in_time(
    upstream: &Upstream,
    request: Box<Request<RequestBody>>,
    plan: SendPlan<'_>,
    policy: &RetryPolicy,
    tried: &mut Vec<SocketAddr>,
) -> Result<Sent, SendError> {
    plan.tries.not_sent();
    // The caller drops everything at the plan's deadline, so a try that lasts as long needs no timer of its own.
    let deadline = policy.per_try_timeout.map_or(plan.deadline, |time| after(Instant::now(), time));
    let before = tried.len();
    let sent = Box::pin(upstream.try_once(request, SendPlan { deadline, ..plan }, tried));
    let result = if deadline < plan.deadline { timeout_at(deadline, sent).await } else { Ok(sent.await) };
    match result {
        Ok(result) => {
            if let Ok(sent) = &result {
                tried.push(sent.lease.peer());
            }
            result
        }
        Err(_) => {
            if tried.len() == before {
                tried.extend(plan.tries.peer());
            }
            Err(SendError::TryTimeout)
        }
    }
}

fn is_worth_retrying(error: &SendError, policy: &RetryPolicy, repeatable: bool, sent: bool) -> bool {
    match error {
        SendError::Connect { .. } => true,
        SendError::Overflow { .. } => false,
        SendError::TryTimeout => !sent || (policy.on_timeout && repeatable),
        SendError::Exchange(error) if http2::is_unprocessed(error) => true,
        // What is no HTTP will be none the next time.
        SendError::Exchange(error) => policy.on_reset && repeatable && !error.is_parse(),
    }
}

/// Methods that may be sent twice.
fn is_safe(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// A random wait about a mean that doubles with each retry.
fn backoff(policy: &RetryPolicy, retry: u32) -> Duration {
    let mean = policy.backoff.saturating_mul(2_u32.saturating_pow(retry)).min(policy.backoff_max);
    mean.mul_f64(0.5 + fastrand::f64())
}

/// Drops a response that nobody will see. Its connection is kept if nothing of it is to come.
fn give_up(result: Result<Sent, SendError>) {
    if let Ok(Sent { response, lease }) = result
        && response.body().is_end_stream()
    {
        lease.keep();
    }
}
