//! The admin port: health, metrics, and what runs, for operators on the same machine. It only reads.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agw_telemetry::Metrics;
use agw_wasm::LoadedPlugin;
use anyhow::{Context, Result};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::{Mutex, MutexGuard, RwLock};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::resources::Resources;
use crate::revisions::Revisions;

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;

/// For a request's head to arrive.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

const ENDPOINTS: [&str; 7] =
    ["/livez", "/readyz", "/metrics", "/v1/config", "/v1/plugins", "/v1/resources", "/v1/revisions"];

/// The running admin port.
pub(crate) struct Admin {
    address: SocketAddr,
    state: Arc<State>,
    /// A second handle, for a successor; gone once the port is released.
    socket: Option<std::net::TcpListener>,
    release: CancellationToken,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

struct State {
    metrics: Arc<Metrics>,
    stage: RwLock<Stage>,
    revisions: Mutex<Revisions>,
}

/// What the port has to show.
enum Stage {
    /// Plugins are being loaded.
    Starting,
    Serving(View),
    Draining(View),
}

/// A gateway, to look at.
#[derive(Clone)]
pub(crate) struct View {
    config: Arc<Value>,
    plugins: Arc<[Arc<LoadedPlugin>]>,
    resources: Arc<Resources>,
}

impl View {
    pub(crate) fn of(gateway: &Gateway) -> Self {
        let listening: Value = gateway
            .addresses()
            .iter()
            .map(|(name, address)| json!({ "name": name, "address": address.to_string() }))
            .collect();
        let config = json!({
            "revision": gateway.revision(),
            "digest": gateway.snapshot().digest,
            "listening": listening,
            "snapshot": agw_config::redacted_json(gateway.snapshot()),
        });
        View {
            config: Arc::new(config),
            plugins: gateway.plugins().into(),
            resources: Arc::clone(gateway.resources()),
        }
    }
}

impl Admin {
    /// Binds, unless the socket is inherited.
    ///
    /// # Errors
    /// An address that cannot be bound.
    pub(crate) async fn bind(
        address: SocketAddr,
        inherited: Option<std::net::TcpListener>,
    ) -> Result<std::net::TcpListener> {
        let ours = |socket: &std::net::TcpListener| socket.local_addr().is_ok_and(|theirs| theirs == address);
        if let Some(socket) = inherited.filter(ours) {
            return Ok(socket);
        }
        let socket = TcpListener::bind(address).await.and_then(TcpListener::into_std);
        socket.with_context(|| format!("bind the admin port {address} (--admin)"))
    }

    /// Serves on a socket, until stopped.
    ///
    /// # Errors
    /// A socket that the system refuses to serve.
    pub(crate) fn start(socket: std::net::TcpListener, metrics: Arc<Metrics>) -> Result<Self> {
        let address = socket.local_addr().context("read the admin port's address")?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "the admin port has no access control and is not on loopback");
        }
        socket.set_nonblocking(true).context("prepare the admin port")?;
        let second = socket.try_clone().context("copy the admin port's socket")?;
        let listener = TcpListener::from_std(socket).context("serve the admin port")?;
        let state =
            Arc::new(State { metrics, stage: RwLock::new(Stage::Starting), revisions: Mutex::default() });
        let (release, stop) = (CancellationToken::new(), CancellationToken::new());
        let server = tokio::spawn(serve(listener, state.clone(), release.clone(), stop.clone()));
        Ok(Admin { address, state, socket: Some(second), release, stop, server })
    }

    /// A handle of the socket, for a successor.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub(crate) fn socket(&self) -> std::io::Result<Option<std::net::TcpListener>> {
        self.socket.as_ref().map(std::net::TcpListener::try_clone).transpose()
    }

    /// Leaves the port to a successor; connections that are open go on.
    pub(crate) fn release(&mut self) {
        self.socket = None;
        self.release.cancel();
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on the gateway is ready, and this is what there is to see of it.
    pub(crate) fn show(&self, view: View) {
        // What was shown before may be the last to hold a resource; it goes outside of the lock.
        let before = std::mem::replace(&mut *self.state.stage.write(), Stage::Serving(view));
        drop(before);
    }

    /// For `/v1/revisions`.
    pub(crate) fn revisions(&self) -> MutexGuard<'_, Revisions> {
        self.state.revisions.lock()
    }

    /// From here on `/readyz` says no, so that load balancers look elsewhere.
    pub(crate) fn set_draining(&self) {
        let mut stage = self.state.stage.write();
        if let Stage::Serving(view) = &*stage {
            *stage = Stage::Draining(view.clone());
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.server.await;
    }
}

/// Owns every connection's task; they end with it.
async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    release: CancellationToken,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    while !release.is_cancelled() {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = release.cancelled() => {}
            Some(_) = connections.join_next() => {}
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let state = state.clone();
                    connections.spawn(async move {
                        let _place = place;
                        converse(stream, state).await;
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: trying at once would spin.
                    tracing::warn!(%error, "the admin port cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    tokio::select! {
        () = stop.cancelled() => {}
        () = async { while connections.join_next().await.is_some() {} } => {}
    }
}

async fn converse(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(&state, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "admin connection");
    }
}

fn respond(state: &State, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "the admin port only reads: use GET\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => ready(&state.stage.read()),
        "/metrics" => state.page(),
        "/v1/config" => state.show(|view| (*view.config).clone()),
        "/v1/plugins" => state.show(|view| view.plugins.iter().map(|plugin| plugin_json(plugin)).collect()),
        "/v1/resources" => state.show(|view| view.resources.status()),
        "/v1/revisions" => state.show(|_| state.revisions.lock().show()),
        _ => text(StatusCode::NOT_FOUND, format!("no such page; there are {}\n", ENDPOINTS.join(", "))),
    }
}

/// A dead Redis does not fail it: it would take the whole fleet out, where plugins have policies of their own.
fn ready(stage: &Stage) -> Response<Full<Bytes>> {
    match stage {
        Stage::Serving(_) => text(StatusCode::OK, "ready\n"),
        Stage::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "not ready: plugins are being loaded\n"),
        Stage::Draining(_) => text(StatusCode::SERVICE_UNAVAILABLE, "not ready: draining\n"),
    }
}

fn plugin_json(plugin: &LoadedPlugin) -> Value {
    let status = plugin.status();
    json!({
        "name": status.name,
        "mode": if status.exclusive { "exclusive" } else { "shared" },
        "vms": status.vms,
        "memory_bytes": status.memory_bytes,
    })
}

impl State {
    /// The metrics. Those of servers are what they are at this moment.
    fn page(&self) -> Response<Full<Bytes>> {
        if let Stage::Serving(view) | Stage::Draining(view) = &*self.stage.read() {
            self.metrics.show_nodes(view.resources.nodes());
        }
        match self.metrics.encode() {
            Ok(page) => {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                page_of(StatusCode::OK, kind, page)
            }
            Err(error) => {
                tracing::error!(%error, "metrics cannot be encoded");
                text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded\n")
            }
        }
    }

    fn show(&self, page: impl FnOnce(&View) -> Value) -> Response<Full<Bytes>> {
        match &*self.stage.read() {
            Stage::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "not yet: plugins are being loaded\n"),
            Stage::Serving(view) | Stage::Draining(view) => {
                page_of(StatusCode::OK, "application/json", format!("{:#}\n", page(view)))
            }
        }
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<Full<Bytes>> {
    page_of(status, "text/plain; charset=utf-8", body.into())
}

fn page_of(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
