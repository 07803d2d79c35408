//! The task that sends spans to the collector.
//!
//! It has one batch at a time. While that is tried again, spans wait in the queue, and what that has no room for is
//! dropped: so a collector that is gone costs memory up to a bound, and nobody's time.

use std::sync::Arc;
use std::time::Duration;

use agw_config::{TraceExport, Tracing};
use agw_telemetry::{Metrics, Sampling, Span, Tracer};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, SendError};
use crate::encode;
use crate::queue::{Outcomes, Waiting, fill, queue};
use crate::tls::TlsError;

/// How often the queue is looked at while a batch is filled: a look costs workers nothing, a wake-up for each span would.
const LOOK: Duration = Duration::from_millis(20);
/// From the first try of a batch to its second; doubled for each further one, up to the longest.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Why no exporter can be made of a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A name or value that HTTP does not allow.
    #[error("tracing.headers or tracing.endpoint cannot be sent in HTTP")]
    Header,
    /// Its TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A running exporter. Dropped, it ends at once, and what it holds is lost.
#[derive(Debug)]
pub struct Exporter {
    task: JoinHandle<()>,
    retired: CancellationToken,
    stop: CancellationToken,
}

/// What the task has.
struct Export {
    client: Client,
    service_name: String,
    settings: TraceExport,
    outcomes: Outcomes,
    stop: CancellationToken,
    /// Spans that are being sent. Here, so that they are counted when time is up.
    batch: Vec<Span>,
    /// Said once for each run of failures.
    failing: bool,
}

// === impl Exporter ===

impl Exporter {
    /// Starts the task on the current event loop. The tracer decides which requests are recorded, and is where their spans
    /// go. No I/O before there are some.
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn start(tracing: &Tracing, metrics: &Metrics) -> Result<(Arc<Tracer>, Exporter), SetupError> {
        let outcomes = Outcomes::new(metrics);
        let (sink, waiting) = queue(tracing.export.queue_max, &outcomes);
        let sampling =
            Sampling { per_million: tracing.sample_per_million, trusts_clients: tracing.trust_traceparent };
        let (retired, stop) = (CancellationToken::new(), CancellationToken::new());
        let export = Export {
            client: Client::new(tracing)?,
            service_name: tracing.service_name.clone(),
            settings: tracing.export,
            outcomes,
            stop: stop.clone(),
            batch: Vec::new(),
            failing: false,
        };
        let task = tokio::spawn(export.live(waiting, retired.clone()));
        Ok((Tracer::new(sampling, sink), Exporter { task, retired, stop }))
    }

    /// Another takes over. Requests that began with this one may still end, within the flush timeout; then it sends what is
    /// left, within the same again, and ends.
    pub fn retire(&self) {
        self.retired.cancel();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Sends what is left, within the flush timeout, and ends. Spans that come now are dropped.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// The same, and waits for it.
    pub async fn finish(mut self) {
        self.stop();
        // It ends by itself, in time, and has said what there was to say.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Export ===

impl Export {
    async fn live(mut self, mut waiting: Waiting, retired: CancellationToken) {
        let (stop, flush_timeout) = (self.stop.clone(), self.settings.flush_timeout);
        let time_is_up = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = async { retired.cancelled().await; sleep(flush_timeout).await } => stop.cancel(),
            }
            sleep(flush_timeout).await;
        };
        tokio::select! {
            biased;
            () = self.run(&mut waiting) => {}
            () = time_is_up => {}
        }
        waiting.close();
        self.outcomes.failed.inc_by(self.batch.len() as u64);
        let mut left = Vec::new();
        fill(&mut left, &mut waiting, usize::MAX);
        self.outcomes.dropped.inc_by(left.len() as u64);
    }

    /// Ends once no span can come any more, and the last one was sent.
    async fn run(&mut self, waiting: &mut Waiting) {
        let mut open = true;
        while open {
            open = self.collect(waiting).await;
            if !self.batch.is_empty() {
                self.deliver().await;
            }
        }
    }

    /// Fills the batch: until there are enough, or the first has waited long enough. False: no more will come.
    async fn collect(&mut self, waiting: &mut Waiting) -> bool {
        let TraceExport { batch_max, interval, .. } = self.settings;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            first = waiting.recv() => match first {
                Some(span) => self.batch.push(span),
                None => return false,
            },
        }
        let until = Instant::now() + interval;
        loop {
            if self.stop.is_cancelled() {
                waiting.close();
            }
            let open = fill(&mut self.batch, waiting, batch_max);
            let now = Instant::now();
            if !open || self.batch.len() >= batch_max || now >= until {
                return open;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                () = sleep(LOOK.min(until - now)) => {}
            }
        }
    }

    /// Sends the batch until the collector has taken it, or there is no more hope for it.
    async fn deliver(&mut self) {
        let count = self.batch.len() as u64;
        let body = encode::request(&self.service_name, &self.batch);
        let give_up = Instant::now() + self.settings.retry_for;
        let mut backoff = BACKOFF;
        let outcome = loop {
            let error = match self.client.send(body.clone()).await {
                Ok(answer) => break Ok(answer),
                Err(error) => error,
            };
            let pause =
                backoff.mul_f64(0.5 + 0.5 * fastrand::f64()).max(error.retry_after().unwrap_or_default());
            if !error.is_passing() || Instant::now() + pause >= give_up {
                break Err(error);
            }
            self.report_failure(&error);
            sleep(pause).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        };
        self.batch.clear();
        match outcome {
            Ok(answer) => {
                let refused = encode::refused(&answer).min(count);
                self.outcomes.exported.inc_by(count - refused);
                self.outcomes.failed.inc_by(refused);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                self.outcomes.failed.inc_by(count);
                self.report_failure(&error);
            }
        }
    }

    fn report_failure(&mut self, error: &SendError) {
        if !std::mem::replace(&mut self.failing, true) {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(cause, "{error}; spans are lost if that goes on");
        }
    }
}

#[cfg(test)]
mod tests;
