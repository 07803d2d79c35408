//! Clients as a balancer's: they leave a gateway when it tells them to, and check every answer to its last byte.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agw_tests::{Recorded, Script};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::Reason;
use http::header::CONNECTION;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::balancer::{Balancer, Slot};

const HTTP1_CLIENTS: usize = 96;
const HTTP2_CLIENTS: usize = 8;
/// Requests that an HTTP/2 client has under way at once.
const STREAMS: usize = 4;
/// Requests on one connection, unless the gateway ends it first: some clients stay, some soon come again.
const REQUESTS_PER_CONNECTION: [usize; 4] = [2, 16, 64, 256];
/// No connection and no answer takes longer.
const WITHIN: Duration = Duration::from_secs(30);

const LARGE_BYTES: usize = 64 << 10;
const POSTED: &[u8] = &[b'p'; 4096];
const SLOW: [&str; 2] = ["first ", "last"];
const SLOW_PAUSE: Duration = Duration::from_millis(20);

/// The load: all that its clients have in common.
pub(super) struct Clients {
    balancer: Arc<Balancer>,
    requests: usize,
    sent: AtomicUsize,
}

/// What came of the load.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) answered: usize,
    /// Requests and connections without a good answer, and why.
    pub(super) failed: Vec<String>,
    /// Connections that were made, by version.
    pub(super) http1: usize,
    pub(super) http2: usize,
    /// Connections that ended because the gateway said so.
    pub(super) told: usize,
    /// Connections that a gateway refused which was ended by surprise, and that it reset before a byte of an answer.
    pub(super) refused: usize,
    pub(super) untaken: usize,
}

/// What came of some streams of a connection.
#[derive(Debug, Default)]
struct Life {
    answered: usize,
    /// The gateway said that the connection takes no more.
    told: bool,
    failed: Option<anyhow::Error>,
}

/// What the upstream answers.
pub(super) fn answer(request: &Recorded) -> Script {
    match request.path.as_str() {
        "/large" => Script::ok(vec![b'l'; LARGE_BYTES]),
        "/slow" => Script::chunks(SLOW.map(|part| (SLOW_PAUSE, Bytes::from(part)))),
        _ => Script::ok(request.body.clone()),
    }
}

/// The n-th request, without what its version wants, and the body of its answer.
fn request(n: usize) -> Result<(Request<Full<Bytes>>, Bytes)> {
    let get = |path: &str| Request::get(format!("http://drain.test{path}")).body(Full::default());
    Ok(match n % 8 {
        1 | 5 => {
            let posted = Bytes::from_static(POSTED);
            (Request::post("http://drain.test/echo").body(Full::new(posted.clone()))?, posted)
        }
        3 => (get("/large")?, Bytes::from(vec![b'l'; LARGE_BYTES])),
        7 => (get("/slow")?, Bytes::from(SLOW.concat())),
        _ => (get("/echo")?, Bytes::new()),
    })
}

/// The same in HTTP/1.1.
fn to_http1(mut request: Request<Full<Bytes>>) -> Result<Request<Full<Bytes>>> {
    let path = request.uri().path().parse()?;
    *request.uri_mut() = path;
    request.headers_mut().insert("host", http::HeaderValue::from_static("drain.test"));
    Ok(request)
}

/// Reads the whole answer. Whether it says that the connection ends.
async fn check(response: Response<Incoming>, expected: &Bytes) -> Result<bool> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.context("in the body of an answer")?.to_bytes();
    ensure!(head.status == 200 && body == *expected, "{} with {} bytes", head.status, body.len());
    Ok(head.headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close")))
}

/// Of the streams that end with such a GOAWAY, none was processed.
fn was_not_read(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_go_away() && cause.is_remote() && cause.reason() == Some(Reason::NO_ERROR)
    })
}

// === impl Clients ===

impl Clients {
    pub(super) fn new(balancer: Arc<Balancer>, requests: usize) -> Self {
        Clients { balancer, requests, sent: AtomicUsize::new(0) }
    }

    /// Requests so far.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    fn complete(&self) -> bool {
        self.sent() >= self.requests
    }

    /// The number of the next request.
    fn send(&self) -> usize {
        self.sent.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends the requests. Blocks; for a thread of its own.
    pub(super) fn run(self: &Arc<Self>) -> Result<Tally> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut clients = JoinSet::new();
            for at in 0..HTTP1_CLIENTS + HTTP2_CLIENTS {
                clients.spawn(Arc::clone(self).client(at));
            }
            let mut total = Tally::default();
            while let Some(tally) = clients.join_next().await {
                total.add(tally.context("a client's task panicked")?);
            }
            Ok(total)
        })
    }

    async fn client(self: Arc<Self>, at: usize) -> Tally {
        let mut tally = Tally::default();
        let most = REQUESTS_PER_CONNECTION[at % REQUESTS_PER_CONNECTION.len()];
        while !self.complete() {
            let mut slot = self.balancer.next();
            let lived = match at < HTTP1_CLIENTS {
                true => self.http1(&mut slot, most, &mut tally).await,
                false => self.http2(&mut slot, most, &mut tally).await,
            };
            if let Err(error) = lived {
                tally.failed.push(format!("{} {error:#}", slot.address()));
                // A gateway that refuses must not make this loop spin.
                sleep(Duration::from_millis(5)).await;
            }
        }
        tally
    }

    /// Nothing if the gateway was ended by surprise and is gone.
    async fn connect(&self, slot: &mut Slot<'_>, tally: &mut Tally) -> Result<Option<TcpStream>> {
        let stream = match timeout(WITHIN, TcpStream::connect(slot.address())).await.context("connect")? {
            Ok(stream) => stream,
            Err(_) if slot.was_surprised() => {
                tally.refused += 1;
                return Ok(None);
            }
            Err(error) => return Err(error).context("connect"),
        };
        slot.connected();
        stream.set_nodelay(true)?;
        Ok(Some(stream))
    }

    /// One connection's life.
    async fn http1(&self, slot: &mut Slot<'_>, most: usize, tally: &mut Tally) -> Result<()> {
        let Some(stream) = self.connect(slot, tally).await? else { return Ok(()) };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped or the gateway closes; its error is the request's as well.
        drop(tokio::spawn(connection));
        tally.http1 += 1;
        for nth in 0..most {
            if self.complete() {
                return Ok(());
            }
            let (request, expected) = request(self.send())?;
            let sent = async {
                // Not ready is closed, as far as it is known here.
                sender.ready().await?;
                sender.send_request(to_http1(request)?).await.map_err(anyhow::Error::from)
            };
            let response = match timeout(WITHIN, sent).await.context("no answer")? {
                Ok(response) => response,
                Err(_) if nth == 0 && slot.was_surprised() => {
                    tally.untaken += 1;
                    return Ok(());
                }
                Err(error) => return Err(error).context(format!("request {nth} of a connection")),
            };
            let last = timeout(WITHIN, check(response, &expected)).await.context("half an answer")??;
            tally.answered += 1;
            if last {
                tally.told += 1;
                return Ok(());
            }
        }
        Ok(())
    }

    /// One connection's life: several requests at once until it ends, one after another on each stream's turn.
    async fn http2(self: &Arc<Self>, slot: &mut Slot<'_>, most: usize, tally: &mut Tally) -> Result<()> {
        let Some(stream) = self.connect(slot, tally).await? else { return Ok(()) };
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.context("HTTP/2")?;
        drop(tokio::spawn(connection));
        tally.http2 += 1;
        let mut streams = JoinSet::new();
        for _ in 0..STREAMS {
            streams.spawn(Arc::clone(self).streams(sender.clone(), most));
        }
        let mut lives = Vec::with_capacity(STREAMS);
        while let Some(lived) = streams.join_next().await {
            lives.push(lived.context("a stream's task panicked")?);
        }
        let answered: usize = lives.iter().map(|life| life.answered).sum();
        tally.answered += answered;
        tally.told += usize::from(lives.iter().any(|life| life.told));
        let mut failed = lives.into_iter().filter_map(|life| life.failed);
        match failed.next() {
            Some(_) if answered == 0 && slot.was_surprised() => tally.untaken += 1,
            Some(error) => {
                tally.failed.extend(failed.map(|error| format!("{error:#}")));
                return Err(error);
            }
            None => {}
        }
        Ok(())
    }

    /// Requests one after another, each a stream of the same connection.
    async fn streams(self: Arc<Self>, mut sender: http2::SendRequest<Full<Bytes>>, most: usize) -> Life {
        let mut life = Life::default();
        for _ in 0..most {
            if self.complete() {
                break;
            }
            match self.stream(&mut sender).await {
                Ok(true) => life.answered += 1,
                Ok(false) => {
                    life.told = true;
                    break;
                }
                Err(error) => {
                    life.failed = Some(error);
                    break;
                }
            }
        }
        life
    }

    /// Sends one request. False if the gateway takes none any more: it has not gone out then, or its GOAWAY says that
    /// it was not read. Either way a client sends it elsewhere (RFC 9113, 6.8).
    async fn stream(&self, sender: &mut http2::SendRequest<Full<Bytes>>) -> Result<bool> {
        if sender.ready().await.is_err() {
            return Ok(false);
        }
        let (request, expected) = request(self.sent())?;
        let response = match timeout(WITHIN, sender.try_send_request(request)).await.context("no answer")? {
            Ok(response) => response,
            Err(error) if error.message().is_some() || was_not_read(error.error()) => return Ok(false),
            Err(error) => return Err(error.into_error()).context("a stream"),
        };
        self.send();
        timeout(WITHIN, check(response, &expected)).await.context("half an answer")??;
        Ok(true)
    }
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, other: Tally) {
        self.answered += other.answered;
        self.failed.extend(other.failed);
        self.http1 += other.http1;
        self.http2 += other.http2;
        self.told += other.told;
        self.refused += other.refused;
        self.untaken += other.untaken;
    }
}
