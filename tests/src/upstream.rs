//! A server behind the gateway, of HTTP/1.1 or of what its TLS agrees on: it does what a script says and remembers what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::channel::Channel;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::background::Background;

/// Requests that are remembered; later ones are answered and forgotten.
const RECORDED_MAX: usize = 10_000;

/// One request as it arrived, body included.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// What it was asked in.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

/// What to answer.
#[derive(Clone, Debug)]
pub struct Script {
    pause: Duration,
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    /// With a content length.
    Whole(Bytes),
    /// Chunk by chunk, each after its pause.
    Chunks { chunks: Vec<(Duration, Bytes)>, complete: bool, trailers: Option<HeaderMap> },
    /// The request is read and nothing comes back; the connection stays open.
    Never,
}

/// The running server. Dropping it ends every connection.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    recorded: Arc<Mutex<Vec<Recorded>>>,
    _background: Background,
}

type Answer = dyn Fn(&Recorded) -> Script + Send + Sync;

// === impl Script ===

impl Script {
    /// This body with status 200 and a content length.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::status(StatusCode::OK, body)
    }

    /// This status and body.
    pub fn status(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Script { pause: Duration::ZERO, status, headers: HeaderMap::new(), body: Body::Whole(body.into()) }
    }

    /// A chunked body with status 200; each chunk comes after its pause.
    pub fn chunks(chunks: impl IntoIterator<Item = (Duration, Bytes)>) -> Self {
        let chunks = chunks.into_iter().collect();
        let body = Body::Chunks { chunks, complete: true, trailers: None };
        Script { pause: Duration::ZERO, status: StatusCode::OK, headers: HeaderMap::new(), body }
    }

    /// No answer at all, on an open connection.
    pub fn never() -> Self {
        let (pause, status) = (Duration::ZERO, StatusCode::OK);
        Script { pause, status, headers: HeaderMap::new(), body: Body::Never }
    }

    /// The same, but its head comes after a pause.
    pub fn after(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// The same with one more header.
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// The same, but the connection closes after the last chunk, in the middle of the body.
    pub fn closing_early(mut self) -> Self {
        if let Body::Chunks { complete, .. } = &mut self.body {
            *complete = false;
        }
        self
    }

    /// The same with trailers after a chunked body.
    pub fn trailers(mut self, map: HeaderMap) -> Self {
        if let Body::Chunks { trailers, .. } = &mut self.body {
            // hyper sends only trailers that the head announces.
            self.headers
                .extend(map.keys().map(|name| (http::header::TRAILER, HeaderValue::from(name.clone()))));
            *trailers = Some(map);
        }
        self
    }

    async fn respond(self) -> Response<BoxBody<Bytes, EarlyClose>> {
        sleep(self.pause).await;
        let body = match self.body {
            Body::Whole(bytes) => Full::new(bytes).map_err(|never: Infallible| match never {}).boxed(),
            Body::Never => std::future::pending().await,
            Body::Chunks { chunks, complete, trailers } => {
                let (mut sender, body) = Channel::new(1);
                drop(tokio::spawn(async move {
                    for (pause, chunk) in chunks {
                        sleep(pause).await;
                        if sender.send_data(chunk).await.is_err() {
                            return;
                        }
                    }
                    if !complete {
                        // The last chunk gets out before the connection breaks.
                        sleep(Duration::from_millis(20)).await;
                        return sender.abort(EarlyClose);
                    }
                    if let Some(trailers) = trailers {
                        let _ = sender.send_trailers(trailers).await;
                    }
                }));
                body.boxed()
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// What makes hyper close a connection in the middle of a body.
#[derive(Debug)]
struct EarlyClose;

impl std::fmt::Display for EarlyClose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the script closes the connection here")
    }
}

impl std::error::Error for EarlyClose {}

// === impl Upstream ===

impl Upstream {
    /// A server on a free port of loopback that asks `answer` for every request.
    ///
    /// # Errors
    /// When no port or thread can be had.
    pub fn start(answer: impl Fn(&Recorded) -> Script + Send + Sync + 'static) -> Result<Self> {
        Self::launch(None, Arc::new(answer))
    }

    /// The same behind TLS; it speaks HTTP/2 with whom it has agreed on that.
    ///
    /// # Errors
    /// As for [`Upstream::start`].
    pub fn start_tls(
        tls: Arc<ServerConfig>,
        answer: impl Fn(&Recorded) -> Script + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::launch(Some(tls.into()), Arc::new(answer))
    }

    fn launch(tls: Option<TlsAcceptor>, answer: Arc<Answer>) -> Result<Self> {
        let background = Background::start("upstream")?;
        let listener = background.run(TcpListener::bind(("127.0.0.1", 0)))??;
        let address = listener.local_addr()?;
        let recorded = Arc::new(Mutex::new(Vec::new()));
        background.spawn(run(listener, tls, answer, Arc::clone(&recorded)));
        Ok(Upstream { address, recorded, _background: background })
    }

    /// Where the gateway connects.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last request.
    ///
    /// # Errors
    /// When there was none.
    pub fn last(&self) -> Result<Recorded> {
        self.recorded().pop().context("the upstream has seen no request")
    }
}

async fn run(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    answer: Arc<Answer>,
    recorded: Arc<Mutex<Vec<Recorded>>>,
) {
    // An error of accept concerns the connection that was to be taken.
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let (tls, answer, recorded) = (tls.clone(), Arc::clone(&answer), Arc::clone(&recorded));
            drop(tokio::spawn(take(stream, tls, answer, recorded)));
        }
    }
}

async fn take(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    answer: Arc<Answer>,
    recorded: Arc<Mutex<Vec<Recorded>>>,
) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return serve(stream, false, answer, recorded).await };
    // A handshake that fails is often what the test wants.
    if let Ok(stream) = tls.accept(stream).await {
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        serve(stream, http2, answer, recorded).await;
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    answer: Arc<Answer>,
    recorded: Arc<Mutex<Vec<Recorded>>>,
) {
    let service = service_fn(move |request| {
        let (answer, recorded) = (Arc::clone(&answer), Arc::clone(&recorded));
        async move {
            let request = record(request).await?;
            let script = answer(&request);
            {
                let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
                if recorded.len() < RECORDED_MAX {
                    recorded.push(request);
                }
            }
            Ok::<_, hyper::Error>(script.respond().await)
        }
    });
    let stream = TokioIo::new(stream);
    // A broken connection is often what the test wants.
    let _ = if http2 {
        http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await
    } else {
        http1::Builder::new().serve_connection(stream, service).await
    };
}

async fn record(request: Request<Incoming>) -> Result<Recorded, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let (method, version, headers) = (head.method, head.version, head.headers);
    Ok(Recorded { method, path, version, headers, body: body.to_bytes(), trailers })
}
