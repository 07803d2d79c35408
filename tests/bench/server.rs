//! A server under measurement, whoever made it.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use agw_tests::process::Process;
use agw_tests::{Client, Gateway, Reply};
use anyhow::{Context, Result, bail};
use http::Request;
use http_body_util::Full;
use rustix::process::Signal;
use tempfile::TempDir;

/// Envoy compiles its modules before it listens.
const READY_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Below those that the kernel gives to connections and to port 0, so that nobody gets one by chance.
const PORTS: std::ops::Range<u16> = 18_000..30_000;

/// Dropping it ends it.
#[derive(Debug)]
pub(crate) enum Server {
    /// AGW.
    Agw(Box<Gateway>),
    /// A program that was given a port.
    Peer(Peer),
}

/// A process, and its children, with its files in a temporary folder.
#[derive(Debug)]
pub(crate) struct Peer {
    process: Process,
    address: SocketAddr,
    _folder: Option<TempDir>,
}

// === impl Server ===

impl Server {
    /// AGW with one worker and without an access log.
    ///
    /// # Errors
    /// As for [`Gateway::start`].
    pub(crate) fn agw(document: &str) -> Result<Self> {
        let options = ["--admin", "127.0.0.1:0", "--access-log", "off", "--workers", "1"];
        Ok(Server::Agw(Box::new(Gateway::start_with(document, &[], &options)?)))
    }

    /// Starts a program on a free port. `write` fills its folder and says how to start it.
    ///
    /// # Errors
    /// When it ends or does not listen in time, with its output.
    pub(crate) fn peer(name: &str, write: impl Fn(&Folder<'_>) -> Result<Command>) -> Result<Self> {
        let mut attempts = 3;
        loop {
            let folder = tempfile::tempdir()?;
            let port = free_port()?;
            let mut command = write(&Folder { path: folder.path(), port })?;
            let process = Process::spawn(name, command.current_dir(folder.path()))?;
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let mut peer = Peer { process, address, _folder: Some(folder) };
            match peer.wait_until_it_listens() {
                Ok(()) => return Ok(Server::Peer(peer)),
                Err(error) => {
                    attempts -= 1;
                    // Somebody else may have taken the port in between.
                    if attempts == 0 || !peer.process.output().contains("ddress already in use") {
                        return Err(error.context(format!("start {name}")));
                    }
                }
            }
        }
    }

    /// A program that listens already.
    pub(crate) fn started(process: Process, address: SocketAddr) -> Self {
        Server::Peer(Peer { process, address, _folder: None })
    }

    pub(crate) fn address(&self) -> Result<SocketAddr> {
        match self {
            Server::Agw(gateway) => gateway.address(),
            Server::Peer(peer) => Ok(peer.address),
        }
    }

    pub(crate) fn id(&mut self) -> u32 {
        match self {
            Server::Agw(gateway) => gateway.process().id(),
            Server::Peer(peer) => peer.process.id(),
        }
    }

    /// What it has printed.
    pub(crate) fn output(&self) -> String {
        match self {
            Server::Agw(gateway) => gateway.output(),
            Server::Peer(peer) => peer.process.output(),
        }
    }

    /// One request, as the load will send it.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub(crate) fn ask(&self, path: &str) -> Result<Reply> {
        let address = self.address()?;
        let request = Request::get(path).header("host", "bench.test").header("x-api-key", "probe");
        let request = request.body(Full::default())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { Client::new(address).exchange(request).await })
    }
}

/// Where a program's files go, and where it shall listen.
#[derive(Debug)]
pub(crate) struct Folder<'a> {
    path: &'a Path,
    /// On 127.0.0.1.
    pub(crate) port: u16,
}

// === impl Folder ===

impl Folder<'_> {
    pub(crate) fn path(&self) -> &Path {
        self.path
    }

    /// Writes a file and returns its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, name: &str, contents: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, contents).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// A port of [`PORTS`] that nobody holds, another one each time.
fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Two runs at once begin at different places.
    let from = u16::try_from(std::process::id() % u32::from(count)).unwrap_or_default();
    for _ in 0..count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % count;
        let port = PORTS.start + (from + step) % count;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("every port of {PORTS:?} is taken");
}

// === impl Peer ===

impl Peer {
    fn wait_until_it_listens(&mut self) -> Result<()> {
        let end = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.process.ended()? {
                // The pipes are read by other threads.
                std::thread::sleep(Duration::from_millis(50));
                bail!("it ended ({status}):\n{}", self.process.output());
            }
            if TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
            if Instant::now() >= end {
                bail!("it does not listen after {READY_WITHIN:?}:\n{}", self.process.output());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A killed nginx would leave its worker behind; a terminated one takes it along.
        if self.process.signal(Signal::TERM).is_ok() {
            let _ = self.process.wait(ENDS_WITHIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_out_of_the_kernels_range_and_differ() -> Result<()> {
        let (one, other) = (free_port()?, free_port()?);
        assert!(PORTS.contains(&one) && PORTS.contains(&other) && one != other, "{one} {other}");
        Ok(())
    }
}
