//! Sends a case through a proxy and says what came of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agw_tests::{Received, Recorder, Verdict};
use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::case::Case;

/// Connections at once.
const AT_ONCE: usize = 256;
/// No proxy keeps a connection so long: its own time-outs are far shorter.
const WITHIN: Duration = Duration::from_secs(60);

/// What came of one case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Final statuses that the client got, in their order.
    pub(crate) statuses: Vec<u16>,
    /// What the client got that is no response.
    pub(crate) noise: bool,
    /// What reached the upstream, one for each connection.
    pub(crate) upstream: Vec<Verdict>,
}

// === impl Outcome ===

impl Outcome {
    /// Whole requests that reached the upstream.
    pub(crate) fn forwarded(&self) -> usize {
        self.upstream.iter().map(|verdict| verdict.requests.len()).sum()
    }

    /// Requests that the client was told the upstream's answer to.
    pub(crate) fn answered(&self) -> usize {
        self.statuses.iter().filter(|status| **status == 204).count()
    }

    /// As in the table: `1 up, 204 400`.
    pub(crate) fn shown(&self) -> String {
        let statuses: Vec<_> = self.statuses.iter().map(u16::to_string).collect();
        let statuses = if statuses.is_empty() { "closed".to_owned() } else { statuses.join(" ") };
        let noise = if self.noise { " + bytes" } else { "" };
        let defect =
            if self.upstream.iter().any(|verdict| verdict.defect.is_some()) { " doubtful" } else { "" };
        match self.forwarded() {
            0 if defect.is_empty() => format!("{statuses}{noise}"),
            n => format!("{n} up{defect}, {statuses}{noise}"),
        }
    }
}

/// The name of the n-th case in its bytes; no request id has its letter.
pub(crate) fn id(index: usize) -> String {
    format!("z{index:03}")
}

/// Sends all cases through the proxy at `proxy`, whose upstream is `recorder`, and waits until both are through.
pub(crate) async fn run(cases: &[Case], proxy: SocketAddr, recorder: &Recorder) -> Result<Vec<Outcome>> {
    ensure!(cases.len() < 1000, "numbers of three digits");
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut clients = JoinSet::new();
    for (index, case) in cases.iter().enumerate() {
        let (bytes, places) = (case.numbered(&id(index)), Arc::clone(&places));
        clients.spawn(async move {
            let _place = places.acquire_owned().await?;
            anyhow::Ok((index, exchange(proxy, &bytes).await?))
        });
    }
    let mut outcomes = vec![Outcome::default(); cases.len()];
    while let Some(done) = clients.join_next().await {
        let (index, answer) = done??;
        (outcomes[index].statuses, outcomes[index].noise) = statuses(&answer);
    }
    for received in settled(recorder).await? {
        let owner = (0..cases.len()).find(|index| received.mentions(&id(*index)));
        let owner = owner.with_context(|| format!("whose is this? {}", received.bytes.escape_ascii()))?;
        outcomes[owner].upstream.push(received.verdict());
    }
    Ok(outcomes)
}

/// Everything that the proxy says until it closes.
async fn exchange(proxy: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>> {
    let stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    let (mut reading, mut writing) = stream.into_split();
    let mut answer = Vec::new();
    let both = async {
        // The proxy may have closed before it has read all; what it has said is still there.
        let (_written, _read) = tokio::join!(writing.write_all(bytes), reading.read_to_end(&mut answer));
    };
    timeout(WITHIN, both).await.with_context(|| format!("still open: {}", bytes.escape_ascii()))?;
    Ok(answer)
}

/// What the upstream has, once no connection is open any more.
pub(crate) async fn settled(recorder: &Recorder) -> Result<Vec<Received>> {
    let end = Instant::now() + WITHIN;
    loop {
        let received = recorder.received();
        if received.iter().all(|received| received.closed) {
            return Ok(received.into_iter().filter(|received| !received.bytes.is_empty()).collect());
        }
        if Instant::now() > end {
            bail!("a connection to the upstream is still open");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The final statuses, and whether there is something else.
pub(crate) fn statuses(mut answer: &[u8]) -> (Vec<u16>, bool) {
    let mut statuses = Vec::new();
    while let Some(status) = status(answer) {
        let head =
            answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        if status >= 200 {
            statuses.push(status);
        }
        let (head, rest) = answer.split_at(head);
        // The answer to HEAD has a length and no body.
        let body = if rest.starts_with(b"HTTP/1.") { 0 } else { content_length(head).min(rest.len()) };
        answer = &rest[body..];
    }
    (statuses, !answer.is_empty())
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.get(..12)?).ok()?;
    line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?.parse().ok()
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
