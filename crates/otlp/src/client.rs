//! One connection to the collector, used again as long as it lasts.

use std::time::Duration;

use agw_config::{TraceEndpoint, Tracing};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::exporter::SetupError;
use crate::tls::ClientTls;

/// Bytes of an answer; the connection of a longer one is closed.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// No longer than that is anything sent again; a longer time would only be harder to add to another.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
const AGENT: &str = concat!("agw/", env!("CARGO_PKG_VERSION"));

/// A client of one collector.
pub(crate) struct Client {
    endpoint: TraceEndpoint,
    tls: Option<ClientTls>,
    /// Of every request.
    headers: HeaderMap,
    timeout: Duration,
    open: Option<Open>,
}

/// A connection, and the task that moves its bytes, which ends with it.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

/// Why the collector has not taken a batch. No text here has an address or a header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// There is no connection, or it broke.
    #[error("the collector cannot be reached")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Its answer took too long.
    #[error("the collector has not answered in time")]
    Timeout,
    /// It has more to do than it can.
    #[error("the collector is busy (status {0})")]
    Busy(u16, Option<Duration>),
    /// It will not take this, however often it is sent.
    #[error("the collector refuses spans (status {0})")]
    Refused(u16),
}

impl SendError {
    /// Whether the same batch may be taken later.
    pub(crate) fn is_passing(&self) -> bool {
        !matches!(self, SendError::Refused(_))
    }

    /// How long the collector wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            SendError::Busy(_, after) => *after,
            _ => None,
        }
    }
}

// === impl Client ===

impl Client {
    /// No I/O.
    pub(crate) fn new(tracing: &Tracing) -> Result<Self, SetupError> {
        let endpoint = tracing.endpoint.clone();
        let mut headers = HeaderMap::new();
        for (name, value) in &tracing.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| SetupError::Header)?;
            let mut value = HeaderValue::from_bytes(value.expose()).map_err(|_| SetupError::Header)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let host = match endpoint.host.as_str() {
            ip if ip.contains(':') => format!("[{ip}]:{}", endpoint.port),
            host => format!("{host}:{}", endpoint.port),
        };
        headers.insert(HOST, HeaderValue::from_str(&host).map_err(|_| SetupError::Header)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        let tls = ClientTls::new(&endpoint)?;
        Ok(Client { endpoint, tls, headers, timeout: tracing.export.timeout, open: None })
    }

    /// Sends a batch, within the timeout, and gives the answer's body.
    ///
    /// # Cancel safety
    /// Dropped, it closes the connection; the collector may have taken the batch or not.
    pub(crate) async fn send(&mut self, body: Bytes) -> Result<Bytes, SendError> {
        // Put back only after a whole exchange: a connection in the middle of one is closed.
        let kept = self.open.take();
        let sending = async {
            let mut open = match kept {
                Some(open) if !open.sender.is_closed() => open,
                _ => self.connect().await?,
            };
            let answer = self.exchange(&mut open, body).await;
            Ok((open, answer?))
        };
        match timeout(self.timeout, sending).await {
            Err(_) => Err(SendError::Timeout),
            Ok(Err(error)) => Err(error),
            Ok(Ok((open, answer))) => {
                self.open = Some(open);
                answer
            }
        }
    }

    async fn connect(&self) -> Result<Open, SendError> {
        let TraceEndpoint { host, port, .. } = &self.endpoint;
        let socket = TcpStream::connect((host.as_str(), *port)).await.map_err(broken)?;
        socket.set_nodelay(true).map_err(broken)?;
        match &self.tls {
            None => Open::on(socket).await,
            Some(ClientTls { connector, server_name }) => {
                let socket = connector.connect(server_name.clone(), socket).await.map_err(broken)?;
                Open::on(socket).await
            }
        }
    }

    /// The outer error says that the connection is of no more use.
    async fn exchange(&self, open: &mut Open, body: Bytes) -> Result<Result<Bytes, SendError>, SendError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.path.parse().map_err(broken)?;
        *request.headers_mut() = self.headers.clone();
        open.sender.ready().await.map_err(broken)?;
        let response = open.sender.send_request(request).await.map_err(broken)?;
        let (status, after) = (response.status(), retry_after(response.headers()));
        let read = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let answer = match read {
            Ok(read) => read.to_bytes(),
            // What it says at such length is of no interest; hyper closes the connection.
            Err(error) if error.is::<LengthLimitError>() => Bytes::new(),
            Err(error) => return Err(SendError::Connection(error)),
        };
        Ok(match status {
            taken if taken.is_success() => Ok(answer),
            other => Err(refusal(other, after)),
        })
    }
}

// === impl Open ===

impl Open {
    async fn on(socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, SendError> {
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(broken)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Whoever sends hears of it.
            let _ = connection.await;
        });
        Ok(Open { sender, _driver: driver })
    }
}

fn refusal(status: StatusCode, after: Option<Duration>) -> SendError {
    match status.as_u16() {
        status @ (429 | 502 | 503 | 504) => SendError::Busy(status, after),
        status => SendError::Refused(status),
    }
}

/// In seconds; a date is not looked at.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SendError {
    SendError::Connection(error.into())
}
