//! A small HTTP/1.1 client that keeps its connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::planted;

/// No test waits longer for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

/// One connection at a time, made when needed and kept while both sides let it live.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

// === impl Reply ===

impl Reply {
    /// A header's value as text; the empty string when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }
}

// === impl Client ===

impl Client {
    /// A client of this server; it connects with the first request.
    pub fn new(address: SocketAddr) -> Self {
        Client { address, connection: None }
    }

    /// GET without headers of its own.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn get(&mut self, path: &str) -> Result<Reply> {
        self.get_with(path, &[]).await
    }

    /// GET with these headers.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn get_with(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
        self.send(Method::GET, path, headers, Bytes::new()).await
    }

    /// Any request with a body of known length.
    ///
    /// # Errors
    /// When there is no whole answer in a minute.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply> {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.exchange(request.body(Full::new(body.into()))?).await
    }

    /// Sends a request as it is and reads the whole answer.
    ///
    /// # Errors
    /// When there is no whole answer in a minute, or it has a [secret](crate::planted) of the test.
    pub async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Reply> {
        let answer = async {
            let (head, body) = self.start(request).await?.into_parts();
            let body = body.collect().await?;
            let trailers = body.trailers().cloned();
            anyhow::Ok(Reply { status: head.status, headers: head.headers, body: body.to_bytes(), trailers })
        };
        let reply: Reply = timeout(ANSWER_WITHIN, answer).await.context("no whole answer in a minute")??;
        for said in reply.headers.values().map(HeaderValue::as_bytes).chain([&reply.body[..]]) {
            planted::check(said)?;
        }
        Ok(reply)
    }

    /// Sends a request and returns with the answer's head; the body is still to be read.
    ///
    /// # Errors
    /// When the connection breaks before the head is here.
    pub async fn start(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        let mut connection = match self.connection.take() {
            Some(kept) if !kept.is_closed() => kept,
            _ => connect(self.address).await?,
        };
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let ends = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
        if !response.headers().get(http::header::CONNECTION).is_some_and(ends) {
            self.connection = Some(connection);
        }
        Ok(response)
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends when the sender is dropped or the server closes; its error is the request's as well.
    drop(tokio::spawn(async move {
        let _ = connection.await;
    }));
    Ok(sender)
}
