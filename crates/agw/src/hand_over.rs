//! One process takes over the ports of another, and no client notices.
//!
//! A gateway that runs with `--hand-over PATH` listens on that Unix socket. The next one connects to it, is sent every
//! listening socket, starts on them, and says that it serves; only then does the old one stop accepting and drain. If
//! the new one ends before that word, the old one goes on as before.
//!
//! The sockets themselves are passed, not just their ports: with `SO_REUSEPORT`, what waits in the queue of a socket is
//! reset when its last handle closes. Both processes accept from the same queues for a moment; nothing is closed.
//!
//! Only the same user (or root) is given the sockets, and is believed to have some: the socket has mode 0600, and both
//! sides ask the kernel who the other is.

mod passing;

use std::cell::Cell;
use std::fs;
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

pub(crate) use self::passing::Passed;

/// What the new process says.
const SERVING: &[u8; 8] = b"serving\n";

/// For the new process to compile its plugins and to start. Then the old one goes on as before.
const START_WITHIN: Duration = Duration::from_secs(300);

/// For the sockets to pass.
const PASS_WITHIN: Duration = Duration::from_secs(10);

/// A process whose ports are being taken over.
#[derive(Debug)]
pub(crate) struct Predecessor {
    stream: StdUnixStream,
}

/// The hand-over socket of this process. Dropping it removes the file, if it is still ours.
#[derive(Debug)]
pub(crate) struct Offer {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the socket's file.
    file: (u64, u64),
    /// A successor has the sockets, and may come to serve.
    under_way: Cell<bool>,
}

// === impl Predecessor ===

impl Predecessor {
    /// Takes the sockets of the process that listens at `path`. `None` if there is none.
    ///
    /// # Errors
    /// A path that is no socket, a process of another user, or one that breaks off.
    pub(crate) fn find(path: &Path) -> Result<Option<(Self, Passed)>> {
        let said = || format!("take over from the gateway at {} (--hand-over)", path.display());
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(said),
            Ok(file) if !file.file_type().is_socket() => {
                bail!("{}: it is no socket; name another path, or remove it", said())
            }
            Ok(_) => {}
        }
        let stream = match StdUnixStream::connect(path) {
            // A process that was killed leaves the file behind.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
                return Ok(None);
            }
            connected => connected.with_context(said)?,
        };
        check_peer(&stream).with_context(said)?;
        stream.set_read_timeout(Some(PASS_WITHIN)).and(stream.set_write_timeout(Some(PASS_WITHIN)))?;
        let passed = passing::receive(&stream).with_context(said)?;
        Ok(Some((Predecessor { stream }, passed)))
    }

    /// Tells it that this process serves: it drains and ends.
    pub(crate) fn serving(mut self) {
        if let Err(error) = self.stream.write_all(SERVING) {
            tracing::warn!(%error, "the process before this one is gone already");
        }
    }
}

// === impl Offer ===

impl Offer {
    /// Listens beside `path`; [`Offer::publish`] moves the socket there.
    ///
    /// # Errors
    /// A path that is too long, or a folder that cannot be written.
    pub(crate) fn prepare(path: &Path) -> Result<Self> {
        let said = || format!("listen for a successor at {} (--hand-over)", path.display());
        let path = std::path::absolute(path).with_context(said)?;
        let mut name = path.clone().into_os_string();
        name.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(name);
        let listener = private_listener(&beside).with_context(said)?;
        let file = fs::symlink_metadata(&beside).map(|file| (file.dev(), file.ino())).with_context(said)?;
        Ok(Offer { listener, path: beside, file, under_way: Cell::new(false) })
    }

    /// Takes the place of whatever socket is there.
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub(crate) fn publish(&mut self, path: &Path) -> Result<()> {
        let path = std::path::absolute(path)?;
        fs::rename(&self.path, &path).with_context(|| format!("publish {} (--hand-over)", path.display()))?;
        self.path = path;
        Ok(())
    }

    /// Whether a successor is about to take over.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.get()
    }

    /// Passes what `sockets` gives to each process that asks for it, until one says that it serves.
    ///
    /// # Cancel safety
    /// Dropping the future ends a hand-over that is under way; the other process learns it and does not serve.
    pub(crate) async fn handed_over(&self, sockets: impl Fn() -> io::Result<Passed>) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a successor");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            self.under_way.set(true);
            let handed_over = hand_over(stream, &sockets).await;
            self.under_way.set(false);
            match handed_over {
                Ok(()) => return,
                Err(error) => tracing::warn!("the hand-over failed, this process goes on: {error:#}"),
            }
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).map(|file| (file.dev(), file.ino()));
        if now.is_ok_and(|now| now == self.file) {
            // What stays behind is taken for stale by the next process.
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn hand_over(mut stream: UnixStream, sockets: &impl Fn() -> io::Result<Passed>) -> Result<()> {
    check_peer(&stream)?;
    let passed = sockets().context("copy the sockets")?;
    within(PASS_WITHIN, passing::send(&stream, &passed)).await.context("pass the sockets")?;
    drop(passed);
    tracing::info!("a successor has the sockets; waiting for it to serve");
    let mut word = [0; SERVING.len()];
    within(START_WITHIN, stream.read_exact(&mut word)).await.context("the successor did not get to serve")?;
    if word != *SERVING {
        bail!("the successor said something else than that it serves");
    }
    Ok(())
}

async fn within<T>(time: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, future).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// # Errors
/// When the other process is of another user, and not of root.
fn check_peer(stream: impl AsFd) -> Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(stream).context("ask who is there")?.uid;
    if peer != rustix::process::geteuid() && !peer.is_root() {
        bail!("the process there is of user {}, and only this user's may take part", peer.as_raw());
    }
    Ok(())
}

/// A listening socket that nobody else can connect to: it listens only once its mode is set.
fn private_listener(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    socket.listen(8)?;
    UnixListener::from_std(socket.into())
}

/// Reads exactly as much, as [`Read::read_exact`] does, from a shared stream.
fn read_exact(mut stream: &StdUnixStream, bytes: &mut [u8]) -> io::Result<()> {
    stream.read_exact(bytes)
}

#[cfg(test)]
mod tests;
