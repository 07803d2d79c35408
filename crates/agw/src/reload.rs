//! When the configuration is to be read again: its files have changed, somebody sent SIGHUP, or it was refused and what
//! it needs may be there by now.
//!
//! Files are looked at, not waited for: that works on every file system, and for the symbolic links that Kubernetes
//! swaps. One that is being written is left alone until two looks in a row find it the same, but not for ever.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agw_config::{Loaded, Pem, Problem, Snapshot};
use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::document::{self, Machine, Noting, Stamp, Stamps};

/// How often files are looked at.
const POLL: Duration = Duration::from_millis(500);
/// Files that never rest are read after so many looks.
const RESTLESS_LOOKS: u32 = 4;
/// A refused configuration is tried again after this; the time doubles with each refusal, up to `RETRY_MAX`.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Why the configuration is to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    Files,
    Signal,
    Retry,
}

/// A configuration document and what it names on this machine.
pub(crate) struct Watch {
    path: PathBuf,
    machine: &'static Machine<'static>,
    /// As they were when the document was read last.
    read: Stamps,
    hangup: Signal,
    next_look: Instant,
    looked: Option<Stamps>,
    restless: u32,
    retry: Option<(Duration, Instant)>,
}

// === impl Watch ===

impl Watch {
    /// Reads the document for the first time.
    ///
    /// # Errors
    /// All its problems.
    pub(crate) fn start(
        path: &Path,
        machine: &'static Machine<'static>,
    ) -> Result<(Loaded, WatchStart), Vec<Problem>> {
        let reading = read(path, machine, Stamps::new());
        reading
            .loaded
            .map(|loaded| (loaded, WatchStart { path: path.to_owned(), machine, read: reading.stamps }))
    }

    /// Returns when the document is to be read again.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn due(&mut self) -> Trigger {
        loop {
            let retry = self.retry.map(|(_, at)| at);
            tokio::select! {
                biased;
                // Never ends while the process lives.
                Some(()) = self.hangup.recv() => return Trigger::Signal,
                () = sleep_until(self.next_look) => {}
            }
            self.next_look = Instant::now() + POLL;
            let paths: Vec<PathBuf> = self.read.keys().cloned().collect();
            // The disk may be one that hangs.
            let look = move || paths.into_iter().map(|path| (path.clone(), Stamp::of(&path))).collect();
            let Ok(now) = tokio::task::spawn_blocking(look).await else { continue };
            if self.has_settled(now) {
                return Trigger::Files;
            }
            if retry.is_some_and(|at| at <= Instant::now()) {
                return Trigger::Retry;
            }
        }
    }

    /// Whether files are others than those that were read, and rest.
    fn has_settled(&mut self, now: Stamps) -> bool {
        if now == self.read {
            (self.looked, self.restless) = (None, 0);
            return false;
        }
        let rests = self.looked.as_ref() == Some(&now);
        self.looked = Some(now);
        self.restless += 1;
        rests || self.restless >= RESTLESS_LOOKS
    }

    /// Reads the document once more.
    ///
    /// # Errors
    /// All its problems.
    pub(crate) async fn load(&mut self) -> Result<Loaded, Vec<Problem>> {
        let (path, machine, known) = (self.path.clone(), self.machine, self.read.clone());
        let reading = match tokio::task::spawn_blocking(move || read(&path, machine, known)).await {
            Ok(reading) => reading,
            // It does not panic; if it does, the next look tries again.
            Err(_) => return Err(Vec::new()),
        };
        self.read = reading.stamps;
        (self.looked, self.restless) = (None, 0);
        reading.loaded
    }

    /// What was read last serves.
    pub(crate) fn taken(&mut self) {
        self.retry = None;
    }

    /// What was read last does not serve: it is tried again later, even if no file changes.
    pub(crate) fn refused(&mut self) {
        let pause = self.retry.map_or(RETRY, |(pause, _)| (pause * 2).min(RETRY_MAX));
        self.retry = Some((pause, Instant::now() + pause));
    }
}

/// A watch that waits for its runtime.
pub(crate) struct WatchStart {
    path: PathBuf,
    machine: &'static Machine<'static>,
    read: Stamps,
}

impl WatchStart {
    /// To be called inside a runtime.
    ///
    /// # Errors
    /// When the system lets nobody wait for SIGHUP.
    pub(crate) fn watch(self) -> Result<Watch> {
        let hangup = signal(SignalKind::hangup()).context("wait for SIGHUP")?;
        let WatchStart { path, machine, read } = self;
        let next_look = Instant::now() + POLL;
        Ok(Watch { path, machine, read, hangup, next_look, looked: None, restless: 0, retry: None })
    }
}

struct Reading {
    loaded: Result<Loaded, Vec<Problem>>,
    stamps: Stamps,
}

/// Reads a document. One that could not be loaded may not name all that it should, so that what was known before is
/// watched on.
fn read(path: &Path, machine: &Machine<'_>, known: Stamps) -> Reading {
    let own = Stamp::of(path);
    let noting = Noting::new(machine);
    let loaded = document::load_file(path, &noting);
    let mut stamps = noting.named();
    stamps.insert(path.to_owned(), own);
    match &loaded {
        // They are watched by the listeners, and no reason to read everything again.
        Ok(loaded) => stamps.retain(|file, _| !certificates(&loaded.snapshot).any(|watched| watched == file)),
        Err(_) => {
            for (file, stamp) in known {
                stamps.entry(file).or_insert(stamp);
            }
        }
    }
    Reading { loaded, stamps }
}

fn certificates(snapshot: &Snapshot) -> impl Iterator<Item = &PathBuf> {
    let all = snapshot.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(|tls| {
        let pairs = tls.certificates.iter().flat_map(|pair| [&pair.chain, &pair.key]);
        pairs.chain(tls.client_auth.iter().map(|auth| &auth.ca))
    });
    all.filter_map(|pem: &Pem| pem.file.as_ref())
}
