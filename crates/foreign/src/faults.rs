//! Faults that the operator injects into a share of a resource's calls, to rehearse them.
//!
//! They befall a call when it has its place and would go to the backend, so that all that comes before holds as ever, and
//! the breaker learns from them as it does from real ones.

use std::time::Duration;

use agw_telemetry::{Counter, FaultLabels, Metrics};
use agw_wire::{CallError, Code, Retry, sql};
use tokio::time::{Instant, sleep_until};

use crate::backend::{BackendFuture, Reply, ReplyBody};

/// What is made to go wrong with a share of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPolicy {
    /// Of the calls; drawn for each. From 1 to 100.
    pub share_percent: u32,
    /// Before anything else.
    pub delay: Duration,
    /// What then happens.
    pub fault: Fault,
}

/// What happens to a call that is drawn, after the delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing more: the server answers.
    None,
    /// The server is not asked. A timeout comes at the call's deadline, everything else at once.
    Error(Code),
    /// The server is asked, and its answer is lost with the connection.
    Cut,
}

/// The faults of one resource.
pub(crate) struct Faults {
    pub(crate) policy: FaultPolicy,
    delayed: Counter,
    failed: Counter,
    cut: Counter,
}

impl Faults {
    pub(crate) fn new(resource: &str, policy: FaultPolicy, metrics: &Metrics) -> Self {
        let counter = |fault| {
            let labels = FaultLabels { resource: resource.to_owned(), fault };
            metrics.faults_injected.get_or_create(&labels).clone()
        };
        Faults { policy, delayed: counter("delay"), failed: counter("error"), cut: counter("cut") }
    }

    /// Whether the next call is one of those.
    pub(crate) fn draw(&self) -> bool {
        fastrand::u32(0..100) < self.policy.share_percent
    }

    /// What a call that was drawn comes to. `end` ends what its context holds of the resource.
    ///
    /// # Cancel safety
    /// As that of the backend's future.
    pub(crate) async fn befall(
        &self,
        backend: &mut BackendFuture,
        deadline: Instant,
        end: impl FnOnce(),
    ) -> Result<Reply, CallError> {
        if !self.policy.delay.is_zero() {
            self.delayed.inc();
            let until = Instant::now() + self.policy.delay;
            sleep_until(until.min(deadline)).await;
            if until >= deadline {
                return Err(injected(Code::TimeoutIo));
            }
        }
        match self.policy.fault {
            Fault::None => backend.await,
            Fault::Error(code) => {
                self.failed.inc();
                if matches!(code, Code::TimeoutQueue | Code::TimeoutConnect | Code::TimeoutIo) {
                    sleep_until(deadline).await;
                }
                Err(injected(code))
            }
            Fault::Cut => {
                let reply = backend.await?;
                self.cut.inc();
                if holds(&reply) {
                    end();
                }
                Err(CallError::new(
                    Code::Unavailable,
                    "injected: the connection was lost before the answer came",
                )
                .retry(Retry::IfIdempotent))
            }
        }
    }
}

/// Whether the answer comes with a lease or a cursor, of which its caller will not learn.
fn holds(reply: &Reply) -> bool {
    match &reply.body {
        ReplyBody::Resp(_) => reply.lease != 0,
        ReplyBody::Sql(bytes) => sql::Reply::decode(bytes).is_ok_and(|reply| reply.cursor != 0),
    }
}

fn injected(code: Code) -> CallError {
    let retry = match code {
        Code::TimeoutIo => Retry::IfIdempotent,
        Code::Auth => Retry::Never,
        _ => Retry::Safe,
    };
    CallError::new(code, format!("injected: the operator rehearses {code} (faults)")).retry(retry)
}
