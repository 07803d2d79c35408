//! Clients that verify what they are served and write down which certificate it was.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificates::NAME;

/// Connections at once; one half is kept to the end, the other made anew after a few requests.
const CONNECTIONS: usize = 64;
pub(super) const KEPT: usize = CONNECTIONS / 2;
const REQUESTS_PER_NEW: usize = 8;

/// No connection and no answer takes longer.
const WITHIN: Duration = Duration::from_secs(30);

/// The load: all that its clients have in common.
pub(super) struct Clients {
    address: SocketAddr,
    /// The certificates, by generation.
    generations: Vec<CertificateDer<'static>>,
    requests: usize,
    sent: AtomicUsize,
    handshakes: AtomicUsize,
    /// The rotation is over: the load may end when it is complete.
    finish: AtomicBool,
}

/// One handshake in which the server showed a certificate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handshake {
    pub(super) begun: Instant,
    pub(super) ended: Instant,
    pub(super) generation: usize,
}

/// What came of the load.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) answered: usize,
    /// Requests and connections without a good answer, and why.
    pub(super) failed: Vec<String>,
    pub(super) handshakes: Vec<Handshake>,
    /// Handshakes without a certificate: an earlier session went on.
    pub(super) resumed: usize,
    /// Connections of those clients that keep theirs.
    pub(super) kept: usize,
}

/// How one client behaves.
struct Habit {
    connector: TlsConnector,
    keeps: bool,
}

// === impl Clients ===

impl Clients {
    pub(super) fn new(
        address: SocketAddr,
        generations: Vec<CertificateDer<'static>>,
        requests: usize,
    ) -> Self {
        let (sent, handshakes, finish) = Default::default();
        Clients { address, generations, requests, sent, handshakes, finish }
    }

    /// Handshakes so far that showed a certificate.
    pub(super) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// Requests so far.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Lets [`Self::run`] end when it has sent its requests.
    pub(super) fn finish(&self) {
        self.finish.store(true, Ordering::Relaxed);
    }

    fn complete(&self) -> bool {
        self.finish.load(Ordering::Relaxed) && self.sent() >= self.requests
    }

    /// Sends the requests, and more until [`Self::finish`]. Blocks; for a thread of its own.
    pub(super) fn run(self: &Arc<Self>, roots: &RootCertStore) -> Result<Tally> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut clients = JoinSet::new();
            for at in 0..CONNECTIONS {
                clients.spawn(Arc::clone(self).client(habit(at, roots.clone())?));
            }
            let mut total = Tally::default();
            while let Some(tally) = clients.join_next().await {
                total.add(tally.context("a client's task panicked")?);
            }
            Ok(total)
        })
    }

    async fn client(self: Arc<Self>, habit: Habit) -> Tally {
        let mut tally = Tally::default();
        while !self.complete() {
            if let Err(error) = self.connection(&habit, &mut tally).await {
                tally.failed.push(format!("{error:#}"));
                // A gateway that refuses must not make this loop spin.
                sleep(Duration::from_millis(5)).await;
            }
        }
        tally
    }

    /// One connection's life.
    async fn connection(&self, habit: &Habit, tally: &mut Tally) -> Result<()> {
        tally.kept += usize::from(habit.keeps);
        let begun = Instant::now();
        let stream = timeout(WITHIN, self.connect(&habit.connector)).await.context("connect")??;
        let (_, tls) = stream.get_ref();
        if tls.handshake_kind() == Some(HandshakeKind::Resumed) {
            tally.resumed += 1;
        } else {
            let shown = tls.peer_certificates().and_then(<[_]>::first).context("no certificate")?;
            let generation = self.generations.iter().position(|known| known == shown);
            let generation = generation.context("a certificate that was never issued")?;
            tally.handshakes.push(Handshake { begun, ended: Instant::now(), generation });
            self.handshakes.fetch_add(1, Ordering::Relaxed);
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped or the gateway closes; its error is the request's as well.
        drop(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let mut left = if habit.keeps { usize::MAX } else { REQUESTS_PER_NEW };
        while left > 0 && !self.complete() {
            left -= 1;
            self.sent.fetch_add(1, Ordering::Relaxed);
            timeout(WITHIN, ask(&mut sender)).await.context("no answer")??;
            tally.answered += 1;
        }
        Ok(())
    }

    async fn connect(&self, connector: &TlsConnector) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await.context("TCP")?;
        stream.set_nodelay(true)?;
        connector.connect(ServerName::try_from(NAME)?, stream).await.context("TLS")
    }
}

async fn ask(sender: &mut SendRequest<Empty<Bytes>>) -> Result<()> {
    sender.ready().await?;
    let request = Request::get("/").header("host", NAME).body(Empty::new())?;
    let response = sender.send_request(request).await.context("send")?;
    let status = response.status();
    let body = response.into_body().collect().await.context("body")?.to_bytes();
    ensure!(status == 200 && body == "hello", "{status} {body:?}");
    Ok(())
}

/// Of those that connect anew, one in four resumes its sessions, and one in four knows TLS 1.2 only.
fn habit(at: usize, roots: RootCertStore) -> Result<Habit> {
    let versions: &[&SupportedProtocolVersion] =
        if at % 4 == 1 { &[&rustls::version::TLS12] } else { rustls::ALL_VERSIONS };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    if !at.is_multiple_of(4) {
        config.resumption = Resumption::disabled();
    }
    Ok(Habit { connector: TlsConnector::from(Arc::new(config)), keeps: at < KEPT })
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, other: Tally) {
        self.answered += other.answered;
        self.failed.extend(other.failed);
        self.handshakes.extend(other.handshakes);
        self.resumed += other.resumed;
        self.kept += other.kept;
    }
}
