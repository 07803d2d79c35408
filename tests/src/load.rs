//! Many requests over a fixed number of connections, and what came of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::task::JoinSet;

use crate::http_client::Client;

/// A closed loop: each connection sends its next request when it has the answer to the last.
#[derive(Clone, Debug)]
pub struct Load {
    address: SocketAddr,
    path: String,
    headers: Vec<(String, String)>,
    connections: usize,
    pace: Duration,
}

/// One request's fate.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was sent, from the start of the load.
    pub at: Duration,
    /// The status, or 0 when there was no whole answer.
    pub status: u16,
    /// Until the whole answer was here.
    pub latency: Duration,
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Every request, in no order.
    pub samples: Vec<Sample>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

/// A load that goes on until it is told to stop.
#[derive(Debug)]
pub struct RunningLoad {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<LoadReport>>,
}

// === impl Load ===

impl Load {
    /// GET `path` over `connections` kept connections.
    pub fn new(address: SocketAddr, path: &str, connections: usize) -> Self {
        Load { address, path: path.to_owned(), headers: Vec::new(), connections, pace: Duration::ZERO }
    }

    /// The same with one more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a connection's requests no closer together than this.
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Sends this many requests, from a thread of its own, and waits for all answers.
    ///
    /// # Errors
    /// When the thread or its event loop cannot be had; a failed request is a sample with status 0.
    pub fn run(self, requests: usize) -> Result<LoadReport> {
        let left = AtomicUsize::new(requests);
        let more =
            move || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
        self.spawn(more)?.join().map_err(|_| anyhow::anyhow!("the load's thread panicked"))?
    }

    /// Starts and goes on until [`RunningLoad::stop`].
    ///
    /// # Errors
    /// When the thread cannot be had.
    pub fn start(self) -> Result<RunningLoad> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = self.spawn(move || !told.load(Ordering::Relaxed))?;
        Ok(RunningLoad { stop, thread })
    }

    fn spawn(
        self,
        more: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<thread::JoinHandle<Result<LoadReport>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let body = move || runtime.block_on(self.drive(Arc::new(more)));
        thread::Builder::new().name("load".to_owned()).spawn(body).context("start the load's thread")
    }

    async fn drive(self, more: Arc<impl Fn() -> bool + Send + Sync + 'static>) -> Result<LoadReport> {
        let start = Instant::now();
        let load = Arc::new(self);
        let mut connections = JoinSet::new();
        for _ in 0..load.connections {
            connections.spawn(Arc::clone(&load).connection(start, Arc::clone(&more)));
        }
        let mut samples = Vec::new();
        while let Some(done) = connections.join_next().await {
            samples.extend(done.context("a connection's task panicked")??);
        }
        Ok(LoadReport { samples, elapsed: start.elapsed() })
    }

    async fn connection(
        self: Arc<Self>,
        start: Instant,
        more: Arc<impl Fn() -> bool + Send + Sync>,
    ) -> Result<Vec<Sample>> {
        let mut client = Client::new(self.address);
        let mut samples = Vec::new();
        while more() {
            let request = self.request()?;
            let sent = Instant::now();
            let answer = client.exchange(request).await;
            let status = answer.map_or(0, |reply| reply.status.as_u16());
            samples.push(Sample { at: sent - start, status, latency: sent.elapsed() });
            if status == 0 {
                // A server that refuses must not make this loop spin.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if !self.pace.is_zero() {
                tokio::time::sleep_until((sent + self.pace).into()).await;
            }
        }
        Ok(samples)
    }

    fn request(&self) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::get(&self.path).header("host", "load.test");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(request.body(Full::default())?)
    }
}

// === impl RunningLoad ===

impl RunningLoad {
    /// Lets requests under way finish, and returns all of them.
    ///
    /// # Errors
    /// When the load's thread panicked.
    pub fn stop(self) -> Result<LoadReport> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the load's thread panicked"))?
    }
}

// === impl LoadReport ===

impl LoadReport {
    /// How often each status came; 0 stands for no whole answer.
    pub fn statuses(&self) -> BTreeMap<u16, usize> {
        let mut statuses = BTreeMap::new();
        for sample in &self.samples {
            *statuses.entry(sample.status).or_default() += 1;
        }
        statuses
    }

    /// How often one status came.
    pub fn count(&self, status: u16) -> usize {
        self.samples.iter().filter(|sample| sample.status == status).count()
    }

    /// The requests that were sent in this span, as a report of their own.
    pub fn between(&self, from: Duration, to: Duration) -> LoadReport {
        let samples = self.samples.iter().filter(|sample| (from..to).contains(&sample.at)).copied().collect();
        LoadReport { samples, elapsed: to.saturating_sub(from) }
    }

    /// The latency that this share of the requests stayed within; `0.99` is the p99. Zero without requests.
    pub fn percentile(&self, share: f64) -> Duration {
        let mut latencies: Vec<_> = self.samples.iter().map(|sample| sample.latency).collect();
        latencies.sort_unstable();
        let rank = (share * latencies.len() as f64).ceil() as usize;
        latencies.get(rank.saturating_sub(1)).or(latencies.last()).copied().unwrap_or_default()
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        self.samples.len() as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, p999) = (self.percentile(0.5), self.percentile(0.99), self.percentile(0.999));
        write!(f, "{} requests in {:.2?}, {:.0}/s; ", self.samples.len(), self.elapsed, self.rate())?;
        write!(f, "p50 {p50:.2?}, p99 {p99:.2?}, p99.9 {p999:.2?}; statuses {:?}", self.statuses())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(latencies: impl IntoIterator<Item = u64>) -> LoadReport {
        let sample =
            |ms| Sample { at: Duration::from_millis(ms), status: 200, latency: Duration::from_millis(ms) };
        LoadReport { samples: latencies.into_iter().map(sample).collect(), elapsed: Duration::from_secs(1) }
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let report = report((1..=1000).rev());
        assert_eq!(report.percentile(0.5), Duration::from_millis(500));
        assert_eq!(report.percentile(0.99), Duration::from_millis(990));
        assert_eq!(report.percentile(0.999), Duration::from_millis(999));
        assert_eq!(report.percentile(1.0), Duration::from_millis(1000));
    }

    #[test]
    fn a_span_has_only_the_requests_sent_in_it() {
        let span = report(1..=10).between(Duration::from_millis(3), Duration::from_millis(6));
        assert_eq!(span.samples.len(), 3);
    }

    #[test]
    fn an_empty_report_has_figures_too() {
        assert_eq!(report([]).percentile(0.99), Duration::ZERO);
        assert_eq!(report([]).count(200), 0);
    }
}
