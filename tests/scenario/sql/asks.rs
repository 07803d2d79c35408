//! Requests to the guest, and what each came to. Unlike `Load` it looks into the answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use agw_tests::Client;
use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// A client that was refused waits so long.
const PAUSE: Duration = Duration::from_millis(5);

/// One request.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    pub(super) path: String,
    /// Names are the guest's: `x-deadline`, `x-value`, `x-statement`.
    pub(super) headers: Vec<(&'static str, String)>,
    /// It is not sent before this, from the start: so many connections send at the same time.
    pub(super) not_before: Duration,
}

/// What one request came to.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Which request.
    pub(super) number: usize,
    /// When it was sent, from the start.
    pub(super) at: Duration,
    /// Until the whole answer was here.
    pub(super) latency: Duration,
    /// How long the call took, as the guest saw it.
    pub(super) call: Duration,
    /// 0 when there was no whole answer.
    pub(super) status: u16,
    /// Of the call's error; empty if there was none, or none of the guest's.
    pub(super) code: String,
    pub(super) body: Bytes,
}

/// Requests under way, on a thread of their own.
pub(super) struct Asks(JoinHandle<Result<Vec<Answer>>>);

/// Each connection sends its next request when it has the answer to its last, until `make` gives none for a number.
pub(super) fn start(
    address: SocketAddr,
    connections: usize,
    make: impl Fn(usize) -> Option<Ask> + Send + Sync + 'static,
) -> Result<Asks> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let body = move || runtime.block_on(drive(address, connections, Arc::new(make)));
    Ok(Asks(thread::Builder::new().name("asks".to_owned()).spawn(body)?))
}

impl Asks {
    /// Whether all answers are there.
    pub(super) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for all answers.
    pub(super) fn finish(self) -> Result<Vec<Answer>> {
        self.0.join().map_err(|_| anyhow!("the asking thread panicked"))?
    }
}

impl Ask {
    pub(super) fn new(path: impl Into<String>) -> Ask {
        Ask { path: path.into(), ..Ask::default() }
    }

    pub(super) fn not_before(self, not_before: Duration) -> Ask {
        Ask { not_before, ..self }
    }

    pub(super) fn deadline(mut self, deadline: Duration) -> Ask {
        self.headers.push(("x-deadline", deadline.as_millis().to_string()));
        self
    }
}

async fn drive(
    address: SocketAddr,
    connections: usize,
    make: Arc<impl Fn(usize) -> Option<Ask> + Send + Sync + 'static>,
) -> Result<Vec<Answer>> {
    let (start, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(connection(address, start, Arc::clone(&next), Arc::clone(&make)));
    }
    let mut answers = Vec::new();
    while let Some(done) = tasks.join_next().await {
        answers.extend(done.context("a connection's task panicked")?);
    }
    Ok(answers)
}

async fn connection(
    address: SocketAddr,
    start: Instant,
    next: Arc<AtomicUsize>,
    make: Arc<impl Fn(usize) -> Option<Ask> + Send + Sync>,
) -> Vec<Answer> {
    let mut client = Client::new(address);
    let mut answers = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(ask) = make(number) else { return answers };
        tokio::time::sleep_until((start + ask.not_before).into()).await;
        let answer = exchange(&mut client, &ask, number, start).await;
        let refused = answer.status == 0;
        answers.push(answer);
        if refused {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn exchange(client: &mut Client, ask: &Ask, number: usize, start: Instant) -> Answer {
    let headers: Vec<_> = ask.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let sent = Instant::now();
    let reply = client.get_with(&ask.path, &headers).await;
    let (at, latency) = (sent - start, sent.elapsed());
    let nothing = Answer {
        number,
        at,
        latency,
        call: Duration::ZERO,
        status: 0,
        code: String::new(),
        body: Bytes::new(),
    };
    match reply {
        Err(_) => nothing,
        Ok(reply) => Answer {
            call: Duration::from_micros(reply.header("x-call-us").parse().unwrap_or_default()),
            status: reply.status.as_u16(),
            code: reply.header("x-sql-code").to_owned(),
            body: reply.body,
            ..nothing
        },
    }
}

/// How often each outcome came: `ok`, an error's code, or the status of an answer that was not the guest's.
pub(super) fn outcomes(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for answer in answers {
        *outcomes.entry(answer.outcome()).or_default() += 1;
    }
    outcomes
}

/// How many came to this.
pub(super) fn count(answers: &[Answer], outcome: &str) -> usize {
    answers.iter().filter(|answer| answer.outcome() == outcome).count()
}

/// The longest call, as the guest saw it.
pub(super) fn longest(answers: &[Answer]) -> Duration {
    answers.iter().map(|answer| answer.call).max().unwrap_or_default()
}

/// The latency that this share of the answers stayed within.
pub(super) fn percentile(answers: &[Answer], share: f64) -> Duration {
    let mut latencies: Vec<_> = answers.iter().map(|answer| answer.latency).collect();
    latencies.sort_unstable();
    let rank = (share * latencies.len() as f64).ceil() as usize;
    latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

impl Answer {
    pub(super) fn outcome(&self) -> String {
        match (self.status, self.code.as_str()) {
            (200, _) => "ok".to_owned(),
            (status, "") => format!("status {status}"),
            (_, code) => code.to_owned(),
        }
    }
}
