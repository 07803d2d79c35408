//! Looks whether certificates have changed, and puts new ones in place.
//!
//! One thread for all listeners, owned by the proxy: reading a file may block, and a worker must not. A file counts as
//! changed when the system says something else about it than before; then its bytes are compared. A pair that cannot
//! be used, such as a new certificate whose key has not been written yet, leaves the old one in place, and is tried
//! again when one of its files changes once more; one that cannot be read, when it can.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};

use agw_config::{ListenerTls, Pem};
use agw_telemetry::{CertificateLabels, Metrics, ReloadLabels};
use parking_lot::Mutex;
use rustls::server::danger::ClientCertVerifier;

use super::{CertificateError, Identity, ServerTls};
use crate::limits::{CERTIFICATE_FILE_BYTES_MAX, CERTIFICATE_POLL};

/// The thread; dropping it ends it.
#[derive(Debug)]
pub(crate) struct CertificateWatch {
    /// The lock is held while files are read.
    listeners: Arc<Mutex<Vec<WatchedListener>>>,
    metrics: Arc<Metrics>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One listener's certificates, and where they come from.
#[derive(Debug)]
pub(crate) struct WatchedListener {
    name: String,
    tls: Arc<ServerTls>,
    pairs: Vec<Pair>,
    authority: Option<Authority>,
}

#[derive(Debug)]
struct Pair {
    chain: Source,
    key: Source,
    /// One of them has changed, and the pair was not tried since.
    changed: bool,
    identity: Arc<Identity>,
}

#[derive(Debug)]
struct Authority {
    ca: Source,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// A PEM text and its file.
#[derive(Debug)]
struct Source {
    pem: Pem,
    /// What was read last, whether it could be used or not.
    bytes: Vec<u8>,
    /// What the system said of the file then; nothing before the first look.
    stamp: Option<Stamp>,
    /// The last look failed, and `bytes` are older than the file.
    unreadable: bool,
}

/// What changes with a file: device, inode, length, and times of change in nanoseconds.
type Stamp = (u64, u64, u64, i128, i128);

/// What a look at a file found.
enum Look {
    Same,
    Changed,
    Failed(CertificateError),
}

// === impl CertificateWatch ===

impl CertificateWatch {
    /// Starts the thread. The gauges are set in any case.
    pub(crate) fn spawn(listeners: Vec<WatchedListener>, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let all: Arc<Mutex<Vec<WatchedListener>>> = Arc::default();
        let (stop, stopped) = mpsc::channel();
        let (theirs, their_metrics) = (Arc::clone(&all), Arc::clone(&metrics));
        let thread = thread::Builder::new().name("certificates".into()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(CERTIFICATE_POLL) {
                theirs.lock().iter_mut().for_each(|listener| listener.look(&their_metrics));
            }
        })?;
        let watch = CertificateWatch { listeners: all, metrics, stop: Some(stop), thread: Some(thread) };
        watch.add(listeners);
        Ok(watch)
    }

    /// Watches more. Waits for a file that is being read.
    pub(crate) fn add(&self, listeners: Vec<WatchedListener>) {
        listeners.iter().for_each(|listener| listener.tell_expiry(&self.metrics));
        self.listeners.lock().extend(listeners);
    }

    /// Watches only those on from here. Waits for a file that is being read.
    pub(crate) fn keep(&self, kept: impl Fn(&Arc<ServerTls>) -> bool) {
        let mut listeners = self.listeners.lock();
        for gone in listeners.extract_if(.., |listener| !kept(&listener.tls)) {
            gone.forget_expiry(&self.metrics);
        }
    }
}

impl Drop for CertificateWatch {
    /// Waits for a file that is being read.
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watch of certificates panicked");
        }
    }
}

// === impl WatchedListener ===

impl WatchedListener {
    pub(super) fn new(
        name: &str,
        config: &ListenerTls,
        tls: Arc<ServerTls>,
        identities: Vec<Arc<Identity>>,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Self {
        let pairs = config.certificates.iter().zip(identities).map(|(certificate, identity)| Pair {
            chain: Source::new(&certificate.chain),
            key: Source::new(&certificate.key),
            changed: false,
            identity,
        });
        let authority = config.client_auth.as_ref().zip(verifier);
        WatchedListener {
            name: name.to_owned(),
            tls,
            pairs: pairs.collect(),
            authority: authority.map(|(auth, verifier)| Authority { ca: Source::new(&auth.ca), verifier }),
        }
    }

    /// Looks at every file once, and waits for the disk. What changed and can be used serves from now on.
    pub(super) fn look(&mut self, metrics: &Metrics) {
        let mut renewed = Vec::new();
        for pair in &mut self.pairs {
            match pair.look(&self.tls) {
                Ok(false) => {}
                Ok(true) => renewed.push(pair.label().to_owned()),
                Err(error) => refuse(metrics, &self.name, pair.label(), &error),
            }
        }
        if let Some(authority) = &mut self.authority {
            match authority.look(&self.tls) {
                Ok(false) => {}
                Ok(true) => renewed.push(authority.ca.label().to_owned()),
                Err(error) => refuse(metrics, &self.name, authority.ca.label(), &error),
            }
        }
        if !renewed.is_empty() {
            self.put_in_place(&renewed, metrics);
        }
    }

    /// Tells of it only afterwards: who reads the count may rely on the next handshake.
    fn put_in_place(&self, renewed: &[String], metrics: &Metrics) {
        let identities: Vec<_> = self.pairs.iter().map(|pair| Arc::clone(&pair.identity)).collect();
        let verifier = self.authority.as_ref().map(|authority| Arc::clone(&authority.verifier));
        if let Err(error) = self.tls.replace(&identities, verifier) {
            return refuse(metrics, &self.name, "all", &CertificateError::Config(error));
        }
        self.tell_expiry(metrics);
        for certificate in renewed {
            count(metrics, &self.name, "ok");
            tracing::info!(listener.name = %self.name, certificate, "certificate reloaded");
        }
    }

    fn tell_expiry(&self, metrics: &Metrics) {
        for pair in &self.pairs {
            let gauge = metrics.certificate_expiry.get_or_create(&labels(&self.name, pair.label())).clone();
            gauge.set(pair.identity.not_after);
        }
    }

    /// It serves no more.
    fn forget_expiry(&self, metrics: &Metrics) {
        for pair in &self.pairs {
            metrics.certificate_expiry.remove(&labels(&self.name, pair.label()));
        }
    }
}

fn labels(listener: &str, certificate: &str) -> CertificateLabels {
    CertificateLabels { listener: listener.to_owned(), certificate: certificate.to_owned() }
}

fn count(metrics: &Metrics, listener: &str, outcome: &'static str) {
    let labels = ReloadLabels { listener: listener.to_owned(), outcome };
    metrics.certificate_reloads.get_or_create(&labels).inc();
}

fn refuse(metrics: &Metrics, listener: &str, certificate: &str, error: &CertificateError) {
    count(metrics, listener, "failed");
    let error = error as &dyn std::error::Error;
    tracing::error!(
        listener.name = listener,
        certificate,
        error,
        "new certificate refused: the old one serves on"
    );
}

// === impl Pair, Authority ===

impl Pair {
    /// The file of the certificate, as a label.
    fn label(&self) -> &str {
        self.chain.label()
    }

    /// Whether there is a new certificate.
    fn look(&mut self, tls: &ServerTls) -> Result<bool, CertificateError> {
        let mut failed = None;
        for look in [self.chain.look(), self.key.look()] {
            match look {
                Look::Same => {}
                Look::Changed => self.changed = true,
                Look::Failed(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        // Its other half may come back as it was: that is no change, but the time to try the pair.
        if !self.changed || self.chain.unreadable || self.key.unreadable {
            return Ok(false);
        }
        self.changed = false;
        self.identity =
            Arc::new(Identity::parse(&self.chain.bytes, &self.key.bytes, &tls.settings.provider)?);
        Ok(true)
    }
}

impl Authority {
    fn look(&mut self, tls: &ServerTls) -> Result<bool, CertificateError> {
        match self.ca.look() {
            Look::Same => Ok(false),
            Look::Changed => {
                self.verifier = tls.settings.verifier(&self.ca.bytes)?;
                Ok(true)
            }
            Look::Failed(error) => Err(error),
        }
    }
}

// === impl Source ===

impl Source {
    fn new(pem: &Pem) -> Self {
        Source { pem: pem.clone(), bytes: pem.text.expose().to_vec(), stamp: None, unreadable: false }
    }

    fn label(&self) -> &str {
        self.pem.file.as_deref().and_then(Path::to_str).unwrap_or("environment")
    }

    /// Reads the file if the system says that it is another one than before.
    fn look(&mut self) -> Look {
        let Some(file) = self.pem.file.as_deref() else { return Look::Same };
        let stamp = match stamp(file) {
            Ok(stamp) => stamp,
            // Told once, not each time.
            Err(_) if self.stamp == Some(Stamp::default()) => return Look::Same,
            Err(error) => {
                self.stamp = Some(Stamp::default());
                self.unreadable = true;
                return Look::Failed(CertificateError::Unreadable(error));
            }
        };
        if self.stamp == Some(stamp) {
            return Look::Same;
        }
        self.stamp = Some(stamp);
        let read = read(file);
        self.unreadable = read.is_err();
        match read {
            Ok(bytes) if bytes == self.bytes => Look::Same,
            Ok(bytes) => {
                self.bytes = bytes;
                Look::Changed
            }
            Err(error) => Look::Failed(error),
        }
    }
}

fn stamp(file: &Path) -> std::io::Result<Stamp> {
    let data = fs::metadata(file)?;
    if !data.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Ok((
        data.dev(),
        data.ino(),
        data.len(),
        nanoseconds(data.mtime(), data.mtime_nsec()),
        nanoseconds(data.ctime(), data.ctime_nsec()),
    ))
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut bytes = Vec::new();
    let max = CERTIFICATE_FILE_BYTES_MAX;
    let read = File::open(file).and_then(|file| file.take(max + 1).read_to_end(&mut bytes));
    match read {
        Ok(count) if count as u64 > max => Err(CertificateError::TooLarge { max }),
        Ok(_) => Ok(bytes),
        Err(error) => Err(CertificateError::Unreadable(error)),
    }
}
