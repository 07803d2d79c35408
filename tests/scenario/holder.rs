//! A process of its own that holds connections open, idle or slow, until it is killed.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use agw_tests::process::Process;
use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What makes the scenario's own program a holder.
pub(crate) const WORD: &str = "@hold";

/// What it prints when every connection is as it should be.
const READY: &str = "all connections are held";

/// Connections that are being made at once: the gateway's queue has a bound.
const AT_ONCE: usize = 64;

/// A slow client does one byte in this time.
const PACE: Duration = Duration::from_secs(1);

/// How long a slow sender counts as being opened.
const SENDER_SETTLES: Duration = Duration::from_millis(100);

/// Bytes of an answer that tell its status.
const HEAD_START: usize = 16;

/// What the held connections do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Had one answer, and wait.
    Idle,
    /// Half of them send a body, half of them read one, a byte a second.
    Slow,
}

/// Starts a holder, and returns when it holds all of them. Dropping it closes them.
pub(crate) fn start(kind: Kind, address: SocketAddr, count: usize) -> Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([WORD, &format!("{kind:?}"), &address.to_string(), &count.to_string()]);
    let mut process = Process::spawn("holder", &mut command)?;
    process.wait_for_line(Duration::from_secs(120), |line| line.contains(READY).then_some(()))?;
    Ok(process)
}

/// The holder's life.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let [kind, address, count] = args else { bail!("{WORD} is for the scenarios themselves") };
    let kind = if kind == "Idle" { Kind::Idle } else { Kind::Slow };
    let (address, count) = (address.parse()?, count.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(hold(kind, address, count))
}

async fn hold(kind: Kind, address: SocketAddr, count: usize) -> Result<ExitCode> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut opening = JoinSet::new();
    for at in 0..count {
        let places = Arc::clone(&places);
        opening.spawn(async move {
            let _place = places.acquire_owned().await?;
            timeout(Duration::from_secs(30), open(kind, address, at)).await.context("no answer in time")?
        });
    }
    let mut held = Vec::with_capacity(count);
    while let Some(opened) = opening.join_next().await {
        held.push(opened??);
    }
    println!("{READY}");
    let mut living = JoinSet::new();
    for (at, stream) in held {
        living.spawn(live(kind, at, stream));
    }
    // None ends by itself: a connection that does was closed by the gateway.
    while let Some(ended) = living.join_next().await {
        ended??;
    }
    Ok(ExitCode::SUCCESS)
}

/// Which of the slow clients send, and which read.
fn sends(at: usize) -> bool {
    at.is_multiple_of(2)
}

async fn open(kind: Kind, address: SocketAddr, at: usize) -> Result<(usize, TcpStream)> {
    let socket = TcpSocket::new_v4()?;
    if let Kind::Slow = kind {
        // Or the kernel would take the whole answer at once.
        socket.set_recv_buffer_size(4096)?;
    }
    let mut stream = socket.connect(address).await?;
    let request = match kind {
        Kind::Idle => "GET /plain HTTP/1.1\r\nhost: held\r\n\r\n",
        Kind::Slow if sends(at) => "POST /plain HTTP/1.1\r\nhost: held\r\ncontent-length: 100000\r\n\r\n",
        Kind::Slow => "GET /large HTTP/1.1\r\nhost: held\r\n\r\n",
    };
    stream.write_all(request.as_bytes()).await?;
    if let Kind::Slow = kind
        && sends(at)
    {
        // Nothing tells that its exchange has begun: it keeps its place until it surely has.
        sleep(SENDER_SETTLES).await;
        return Ok((at, stream));
    }
    let mut answer = [0; HEAD_START];
    stream.read_exact(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "no 200: {}", String::from_utf8_lossy(&answer));
    if let Kind::Idle = kind {
        let _ = stream.read(&mut [0; 1024]).await?;
    }
    Ok((at, stream))
}

/// A sender's answer comes after its body: whatever is there before is a refusal.
fn no_answer_yet(stream: &TcpStream) -> Result<()> {
    let mut answer = [0; 1024];
    match stream.try_read(&mut answer) {
        Ok(read) => bail!("a slow sender was cut off: {:?}", String::from_utf8_lossy(&answer[..read])),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error).context("a slow sender was cut off"),
    }
}

async fn live(kind: Kind, at: usize, mut stream: TcpStream) -> Result<()> {
    let mut byte = [0];
    loop {
        match kind {
            Kind::Idle => ensure!(stream.read(&mut byte).await? > 0, "an idle connection was closed"),
            Kind::Slow if sends(at) => {
                no_answer_yet(&stream)?;
                stream.write_all(b"x").await?;
            }
            Kind::Slow => ensure!(stream.read(&mut byte).await? > 0, "a slow reader was cut off"),
        }
        sleep(PACE).await;
    }
}
