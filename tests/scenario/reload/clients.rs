//! Clients that keep their connections and check every answer.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::document::LIMIT;

const CONNECTIONS: usize = 64;
/// No answer takes longer.
const WITHIN: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A load that runs on a thread of its own.
pub(super) struct Clients {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Tally>>,
}

struct Shared {
    address: SocketAddr,
    stop: AtomicBool,
    /// The newest number that an answer had.
    newest: AtomicU64,
}

/// What came of the load.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) answered: usize,
    /// Requests without a good answer, and why.
    pub(super) failed: Vec<String>,
    /// Answers whose parts had different numbers.
    pub(super) mixed: usize,
    /// Every number that was seen.
    pub(super) revisions: BTreeSet<u64>,
}

/// An answer, as far as it is looked at.
#[derive(Debug, Default)]
struct Answer {
    status: u16,
    length: usize,
    first: Option<u64>,
    last: Option<u64>,
    policy: Option<u64>,
    closes: bool,
}

impl Clients {
    pub(super) fn start(address: SocketAddr) -> Result<Self> {
        let (stop, newest) = (AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(Shared { address, stop, newest });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let mut clients = JoinSet::new();
                for at in 0..CONNECTIONS {
                    clients.spawn(client(Arc::clone(&theirs), path(at)));
                }
                let mut total = Tally::default();
                while let Some(tally) = clients.join_next().await {
                    total.add(tally.context("a client's task panicked")?);
                }
                Ok(total)
            })
        });
        Ok(Clients { shared, thread })
    }

    /// Waits until an answer has this number.
    pub(super) fn wait_for(&self, number: u64, within: Duration) -> Result<()> {
        let end = Instant::now() + within;
        while self.shared.newest.load(Ordering::Relaxed) < number {
            ensure!(Instant::now() < end, "no answer has {number} in {within:?}");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub(super) fn stop(self) -> Result<Tally> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the load panicked"))?
    }
}

/// Most answers come from the gateway itself; a part asks Redis, and a smaller one the database.
fn path(at: usize) -> &'static str {
    match at % 16 {
        0 => "/account/",
        1..=4 => "/limited/",
        _ => "/light/",
    }
}

async fn client(shared: Arc<Shared>, path: &'static str) -> Tally {
    let mut tally = Tally::default();
    let request = format!("GET {path} HTTP/1.1\r\nhost: load.test\r\nx-api-key: demo-pro\r\n\r\n");
    let mut kept = None;
    let mut buffer = Vec::with_capacity(HEAD_BYTES_MAX);
    while !shared.stop.load(Ordering::Relaxed) {
        let asked = timeout(WITHIN, ask(&mut kept, shared.address, request.as_bytes(), &mut buffer));
        match asked.await.unwrap_or_else(|_| bail!("no answer in {WITHIN:?}")) {
            Ok((answer, body)) => tally.take(&shared, path, &answer, body),
            Err(error) => {
                kept = None;
                tally.failed.push(format!("{path}: {error:#}"));
                // A server that refuses must not make this loop spin.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    tally
}

/// One request on a kept connection, or on a new one if the last answer said that it was the last.
async fn ask(
    kept: &mut Option<TcpStream>,
    address: SocketAddr,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(Answer, Option<u64>)> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => TcpStream::connect(address).await.context("connect")?,
    };
    stream.write_all(request).await.context("send")?;
    buffer.clear();
    let head = loop {
        ensure!(stream.read_buf(buffer).await.context("read")? > 0, "closed after {} bytes", buffer.len());
        if let Some(at) = buffer.windows(4).position(|end| end == b"\r\n\r\n") {
            break at;
        }
        ensure!(buffer.len() < HEAD_BYTES_MAX, "an endless head");
    };
    let answer = Answer::parse(std::str::from_utf8(&buffer[..head])?)?;
    while buffer.len() < head + 4 + answer.length {
        ensure!(stream.read_buf(buffer).await.context("read")? > 0, "closed in mid-body");
    }
    let body = std::str::from_utf8(&buffer[head + 4..])?.parse().ok();
    if !answer.closes {
        *kept = Some(stream);
    }
    Ok((answer, body))
}

impl Answer {
    fn parse(head: &str) -> Result<Self> {
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?;
        let mut answer = Answer { status: status.parse()?, ..Answer::default() };
        for line in lines {
            let Some((name, value)) = line.split_once(": ") else { continue };
            match name {
                "content-length" => answer.length = value.parse()?,
                "connection" => answer.closes = value.eq_ignore_ascii_case("close"),
                "x-first" => answer.first = value.parse().ok(),
                "x-last" => answer.last = value.parse().ok(),
                "ratelimit-policy" => answer.policy = policy(value),
                _ => {}
            }
        }
        Ok(answer)
    }
}

/// `"name";q=LIMIT;w=...`
fn policy(value: &str) -> Option<u64> {
    let (_, rest) = value.split_once("q=")?;
    let digits = rest.split(';').next()?;
    digits.parse::<u64>().ok()?.checked_sub(LIMIT)
}

impl Tally {
    fn take(&mut self, shared: &Shared, path: &str, answer: &Answer, body: Option<u64>) {
        if answer.status != 200 {
            return self.failed.push(format!("{path}: {}", answer.status));
        }
        self.answered += 1;
        let Some(number) = body else {
            self.mixed += 1;
            return;
        };
        let limited = path != "/limited/" || answer.policy == Some(number);
        if answer.first != Some(number) || answer.last != Some(number) || !limited {
            self.mixed += 1;
            println!("     {path}: body {number}, {answer:?}");
        }
        if self.revisions.insert(number) {
            shared.newest.fetch_max(number, Ordering::Relaxed);
        }
    }

    fn add(&mut self, other: Tally) {
        self.answered += other.answered;
        self.failed.extend(other.failed);
        self.mixed += other.mixed;
        self.revisions.extend(other.revisions);
    }
}
