//! A gateway on a free port, upstreams that do as they are told, and a client that sees every byte.
#![allow(unreachable_pub)]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agw_config::{Cluster, ClusterTarget, Forward, Listener, PathMatch, Plugin, Route, RouteMatch, Snapshot};
use agw_proxy::{Proxy, ProxyOptions, Runtime};
use agw_telemetry::Metrics;
use agw_wasm::LoadedPlugin;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

pub const PATIENCE: Duration = Duration::from_secs(10);

/// What a test changes before it starts the gateway.
pub struct Setup {
    pub listener: Listener,
    pub routes: Vec<Route>,
    pub clusters: Vec<Cluster>,
    pub plugins: HashMap<String, Arc<LoadedPlugin>>,
    pub drain_timeout: Duration,
    pub workers: usize,
}

pub struct Gateway {
    pub address: SocketAddr,
    pub metrics: Arc<Metrics>,
    proxy: Option<Proxy>,
}

pub fn route(name: &str, prefix: &str, cluster: &str) -> Route {
    let matching = RouteMatch::path(PathMatch::Prefix(prefix.into()));
    Route {
        timeout: Duration::from_secs(5),
        request_body_bytes_max: 4 << 20,
        ..Route::new(name, matching, Forward::to(cluster))
    }
}

pub fn cluster(name: &str, target: ClusterTarget) -> Cluster {
    Cluster {
        connect_timeout: Duration::from_millis(500),
        idle_timeout: Duration::from_secs(30),
        idle_max: 8,
        ..Cluster::new(name, target)
    }
}

impl Setup {
    /// One route, `/`, to `upstream`.
    pub fn to(upstream: SocketAddr) -> Self {
        Setup::with(ClusterTarget::Endpoints(vec![upstream.to_string()]))
    }

    pub fn echo() -> Self {
        Setup::with(ClusterTarget::BuiltinEcho)
    }

    fn with(target: ClusterTarget) -> Self {
        Setup {
            listener: Listener {
                header_bytes_max: 16 << 10,
                headers_max: 100,
                header_timeout: Duration::from_secs(5),
                idle_timeout: Duration::from_secs(30),
                connections_max: 100,
                ..Listener::new("main", ([127, 0, 0, 1], 0).into())
            },
            routes: vec![route("all", "/", "upstream")],
            clusters: vec![cluster("upstream", target)],
            plugins: HashMap::new(),
            drain_timeout: Duration::from_secs(5),
            workers: 1,
        }
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        let clusters = self.clusters.iter().cloned();
        Arc::new(Snapshot {
            digest: String::new(),
            listeners: vec![Arc::new(self.listener.clone())],
            routes: self.routes.iter().cloned().map(Arc::new).collect(),
            clusters: clusters.map(|c| (c.name.clone(), Arc::new(c))).collect(),
            plugins: BTreeMap::<String, Arc<Plugin>>::new(),
            resources: BTreeMap::new(),
            sql_resources: BTreeMap::new(),
            tracing: None,
        })
    }

    pub fn start(self) -> Gateway {
        let metrics = Arc::new(Metrics::new());
        let snapshot = self.snapshot();
        let options = ProxyOptions {
            workers: self.workers,
            access_log: false,
            drain_timeout: self.drain_timeout,
            metrics: Arc::clone(&metrics),
        };
        let bound = Proxy::bind(&snapshot, options).unwrap();
        let address = bound.addresses()[0].1;
        let runtime = Runtime::new(1, snapshot, &self.plugins, None).unwrap();
        let proxy = bound.spawn(Arc::new(runtime)).unwrap();
        Gateway { address, metrics, proxy: Some(proxy) }
    }
}

impl Gateway {
    pub async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap(), Vec::new())
    }

    /// One request on a connection of its own.
    pub async fn get(&self, path: &str) -> Response {
        let mut client = self.client().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        client.response().await
    }

    pub async fn post(&self, path: &str, body: &str) -> Response {
        let mut client = self.client().await;
        let length = body.len();
        client
            .send(&format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"))
            .await;
        client.response().await
    }

    /// A connection that speaks HTTP/2 by prior knowledge, and the task that ends with it.
    pub async fn http2(&self) -> (Http2, tokio::task::JoinHandle<Result<(), h2::Error>>) {
        http2_over(TcpStream::connect(self.address).await.unwrap()).await
    }

    pub async fn drain(mut self) {
        self.proxy.take().unwrap().drain().await;
    }

    pub fn drain_in_background(&mut self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(self.proxy.take().unwrap().drain())
    }

    /// Waits until the metrics have `line`.
    pub async fn wait_for_metric(&self, line: &str) {
        let found = async {
            while !self.metrics.encode().unwrap().lines().any(|l| l == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, found).await.is_err() {
            panic!("no `{line}` in\n{}", self.metrics.encode().unwrap());
        }
    }
}

/// Sends requests on an HTTP/2 connection.
#[derive(Clone)]
pub struct Http2(pub h2::client::SendRequest<Bytes>);

/// Speaks HTTP/2 on a connection.
pub async fn http2_over(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> (Http2, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let (sender, connection) = h2::client::handshake(io).await.unwrap();
    (Http2(sender), tokio::spawn(connection))
}

impl Http2 {
    /// Sends a head; the stream to write a body to, if there is one to come.
    pub async fn send(
        &mut self,
        request: http::Request<()>,
        end: bool,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let mut ready = timeout(PATIENCE, self.0.clone().ready()).await.expect("no room").unwrap();
        ready.send_request(request, end).unwrap()
    }

    /// One request without body, and its whole response.
    pub async fn get(&mut self, path: &str) -> (http::response::Parts, String) {
        let (response, _) = self.send(http2_get(path), true).await;
        http2_response(response).await.unwrap()
    }
}

pub fn http2_get(path: &str) -> http::Request<()> {
    http::Request::get(format!("http://a{path}")).body(()).unwrap()
}

/// Head and body of a response; its trailers are at the end of the body.
pub async fn http2_response(
    response: h2::client::ResponseFuture,
) -> Result<(http::response::Parts, String), h2::Error> {
    let whole = async {
        let (head, mut body) = response.await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        for (name, value) in body.trailers().await?.unwrap_or_default() {
            bytes.extend(format!("{}: {}", name.unwrap(), value.to_str().unwrap()).into_bytes());
        }
        Ok((head, String::from_utf8(bytes).unwrap()))
    };
    timeout(PATIENCE, whole).await.expect("no response")
}

/// A connection, and what was read beyond the last response.
pub struct Client(pub TcpStream, Vec<u8>);

#[derive(Debug)]
pub struct Response {
    pub head: String,
    pub body: String,
}

impl Response {
    pub fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    #[track_caller]
    pub fn assert(&self, status: u16, code: &str) {
        assert_eq!(self.status(), status, "{self:?}");
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["code"], code, "{self:?}");
    }
}

pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|l| l.1)
}

impl Client {
    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    pub async fn response(&mut self) -> Response {
        timeout(PATIENCE, read_message(&mut self.0, &mut self.1, true))
            .await
            .expect("no response")
            .expect("closed")
    }

    /// The response to a HEAD request.
    pub async fn head_only(&mut self) -> Response {
        timeout(PATIENCE, read_message(&mut self.0, &mut self.1, false))
            .await
            .expect("no response")
            .expect("closed")
    }

    /// Everything until the gateway closes the connection.
    pub async fn rest(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.1);
        // A reset ends it as well.
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("not closed");
        String::from_utf8(rest).unwrap()
    }
}

/// Reads one message. A chunked body comes back decoded, with its trailers at the end; `None` at the end of input.
async fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>, with_body: bool) -> Option<Response> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let mut body = Vec::new();
    if !with_body {
    } else if header(&head, "transfer-encoding") == Some("chunked") {
        loop {
            let line = read_line(stream, buffer).await?;
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            if size == 0 {
                loop {
                    let line = read_line(stream, buffer).await?;
                    if line.is_empty() {
                        break;
                    }
                    body.extend_from_slice(line.as_bytes());
                }
                break;
            }
            body.extend(read_exact(stream, buffer, size).await?);
            read_exact(stream, buffer, 2).await?;
        }
    } else if let Some(length) = header(&head, "content-length") {
        body = read_exact(stream, buffer, length.parse().unwrap()).await?;
    }
    Some(Response { head, body: String::from_utf8(body).unwrap() })
}

async fn read_line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(2).position(|w| w == b"\r\n") {
            let line = buffer.drain(..end + 2).take(end).collect();
            return Some(String::from_utf8(line).unwrap());
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn read_exact(stream: &mut TcpStream, buffer: &mut Vec<u8>, size: usize) -> Option<Vec<u8>> {
    while buffer.len() < size {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(buffer.drain(..size).collect())
}

/// An upstream that answers every request with what `answer` makes of its head and body.
pub async fn upstream<F>(answer: F) -> SocketAddr
where
    F: Fn(&Response) -> String + Clone + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                while let Some(request) = read_message(&mut stream, &mut buffer, true).await {
                    let response = answer(&request);
                    if stream.write_all(response.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// An upstream whose first connection the test plays itself.
pub async fn manual_upstream() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), listener)
}

/// Accepts a connection and reads one request from it.
pub async fn accept(listener: &TcpListener) -> (TcpStream, Response) {
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.expect("no connection").unwrap();
    let request =
        timeout(PATIENCE, read_message(&mut stream, &mut Vec::new(), true)).await.expect("no request");
    (stream, request.expect("closed"))
}

pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
