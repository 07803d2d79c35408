//! A TCP proxy on loopback that breaks connections in the ways networks and servers do.
//!
//! It has a thread of its own. A mode holds for open and for new connections from the moment it is set.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::background::Background;

/// Chunks of a server's bytes that may wait for their time on one connection; then the server is no longer read.
const HELD_CHUNKS_MAX: usize = 65_536;
const CHUNK_BYTES: usize = 16 * 1024;

/// What the proxy does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes go through as they come.
    Pass,
    /// Nothing listens, and open connections end: as after the death of the server.
    Refuse,
    /// Bytes from the server arrive this much later; any number may be on their way at once.
    HoldReplies(Duration),
    /// A connection ends after this many bytes from the server, counted from the switch or the connection's start.
    CutAfter(usize),
    /// Connections are taken and stay open; no byte moves, in either direction.
    Stall,
    /// Open and new connections are reset (RST).
    Reset,
    /// Bytes from the server arrive one by one, with this much time between them.
    SlowBytes(Duration),
    /// These bytes take the place of whatever the server sends.
    Garbage(Bytes),
}

/// The running proxy. Dropping it ends every connection.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    listening: watch::Receiver<bool>,
    counts: Arc<Counts>,
    background: Background,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
    open_max: AtomicUsize,
}

// === impl FaultProxy ===

impl FaultProxy {
    /// A proxy in mode [`Mode::Pass`] on a free port, to `target` (`host:port`).
    ///
    /// # Errors
    /// When no port or thread can be had.
    pub fn start(target: impl Into<String>) -> Result<Self> {
        let background = Background::start("fault-proxy")?;
        let listener = background.run(TcpListener::bind(("127.0.0.1", 0)))??;
        let address = listener.local_addr()?;
        let (mode, modes) = watch::channel(Mode::Pass);
        let (report, listening) = watch::channel(true);
        let counts = Arc::new(Counts::default());
        let server = Server { address, target: target.into(), modes, report, counts: Arc::clone(&counts) };
        background.spawn(server.run(listener));
        Ok(FaultProxy { address, mode, listening, counts, background })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL for Redis.
    pub fn redis_url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Switches, and returns when the port is open or closed accordingly.
    ///
    /// # Errors
    /// When the port cannot be had back after [`Mode::Refuse`].
    pub fn set(&self, mode: Mode) -> Result<()> {
        let open = mode != Mode::Refuse;
        self.mode.send_replace(mode);
        let mut listening = self.listening.clone();
        self.background.run(async move { listening.wait_for(|now| *now == open).await.is_ok() })?;
        Ok(())
    }

    /// Connections taken so far.
    pub fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// The most connections that were open at once.
    pub fn open_max(&self) -> usize {
        self.counts.open_max.load(Ordering::SeqCst)
    }
}

// === impl Counts ===

impl Counts {
    fn enter(self: &Arc<Self>) -> Open {
        self.accepted.fetch_add(1, Ordering::SeqCst);
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.open_max.fetch_max(open, Ordering::SeqCst);
        Open(Arc::clone(self))
    }
}

/// Counts one connection as open while it lives.
struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

// === the listener ===

struct Server {
    address: SocketAddr,
    target: String,
    modes: watch::Receiver<Mode>,
    report: watch::Sender<bool>,
    counts: Arc<Counts>,
}

impl Server {
    /// Runs until the proxy is dropped.
    async fn run(mut self, first: TcpListener) {
        let mut listener = Some(first);
        loop {
            let refuse = *self.modes.borrow_and_update() == Mode::Refuse;
            if refuse {
                listener = None;
            } else if listener.is_none() {
                listener = TcpListener::bind(self.address).await.ok();
            }
            self.report.send_replace(listener.is_some());
            tokio::select! {
                changed = self.modes.changed() => if changed.is_err() { return },
                taken = accept(listener.as_ref()) => if let Ok(client) = taken { self.serve(client) },
                // The port was not to be had: try again.
                () = sleep(Duration::from_millis(10)), if listener.is_none() && !refuse => {}
            }
        }
    }

    fn serve(&self, client: TcpStream) {
        let open = self.counts.enter();
        let target = self.target.clone();
        let modes = self.modes.clone();
        drop(tokio::spawn(async move {
            // A connection's error is its end, which is what the client sees as well.
            let _ = relay(client, &target, modes).await;
            drop(open);
        }));
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

// === one connection ===

/// Ends when either side closes; a client that only shuts its sending half down is taken for gone.
async fn relay(mut client: TcpStream, target: &str, modes: watch::Receiver<Mode>) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let reset = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let (hold, held) = mpsc::channel(HELD_CHUNKS_MAX);
        let answers = async {
            let read = replies(server_read, hold, modes.clone());
            // Joined, so that what is held still arrives after the server has closed.
            tokio::join!(read, release(held, client_write, modes.clone()))
        };
        tokio::select! {
            reset = until_over(modes.clone()) => reset,
            _ = requests(client_read, server_write, modes.clone()) => false,
            _ = answers => false,
        }
    };
    if reset {
        client.set_zero_linger()?;
    }
    Ok(())
}

/// Returns when a mode ends every connection, and whether by a reset.
async fn until_over(mut modes: watch::Receiver<Mode>) -> bool {
    let over = modes.wait_for(|mode| matches!(mode, Mode::Refuse | Mode::Reset)).await;
    over.is_ok_and(|mode| *mode == Mode::Reset)
}

async fn until_flowing(modes: &mut watch::Receiver<Mode>) {
    // The sender lives as long as this thread.
    let _ = modes.wait_for(|mode| *mode != Mode::Stall).await;
}

async fn requests(
    mut client: ReadHalf<'_>,
    mut server: WriteHalf<'_>,
    mut modes: watch::Receiver<Mode>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        until_flowing(&mut modes).await;
        let read = client.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        until_flowing(&mut modes).await;
        server.write_all(&chunk[..read]).await?;
    }
}

/// A chunk and the time at which it may be written.
type Held = (Instant, Bytes);

/// Reads from the server until it closes, a cut is reached or the client is gone.
async fn replies(mut server: ReadHalf<'_>, hold: mpsc::Sender<Held>, mut modes: watch::Receiver<Mode>) {
    let mut passed = 0;
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        if !server.read_buf(&mut chunk).await.is_ok_and(|read| read > 0) {
            return;
        }
        if modes.has_changed().unwrap_or(false) {
            passed = 0;
        }
        let mode = modes.borrow_and_update().clone();
        let mut chunk = chunk.freeze();
        let mut due = Instant::now();
        let mut last = false;
        match mode {
            Mode::HoldReplies(time) => due += time,
            Mode::CutAfter(bytes) => {
                chunk.truncate(bytes.saturating_sub(passed));
                passed += chunk.len();
                last = passed >= bytes;
            }
            Mode::SlowBytes(between) => {
                trickle(&hold, chunk.split_to(chunk.len() - 1), between).await;
                due = Instant::now();
            }
            Mode::Garbage(bytes) => chunk = bytes,
            Mode::Pass | Mode::Stall | Mode::Refuse | Mode::Reset => {}
        }
        if hold.send((due, chunk)).await.is_err() || last {
            return;
        }
    }
}

/// Passes all these bytes, each followed by a pause.
async fn trickle(hold: &mpsc::Sender<Held>, bytes: Bytes, between: Duration) {
    for at in 0..bytes.len() {
        if hold.send((Instant::now(), bytes.slice(at..=at))).await.is_err() {
            return;
        }
        sleep(between).await;
    }
}

/// Writes what is held, each chunk at its time.
async fn release(
    mut held: mpsc::Receiver<Held>,
    mut client: WriteHalf<'_>,
    mut modes: watch::Receiver<Mode>,
) -> io::Result<()> {
    while let Some((due, chunk)) = held.recv().await {
        sleep_until(due).await;
        until_flowing(&mut modes).await;
        client.write_all(&chunk).await?;
    }
    Ok(())
}
