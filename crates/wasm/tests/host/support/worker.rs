//! A worker: a single-threaded runtime with a host and its pools.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agw_config::{FailurePolicy, ModuleSource, Plugin, PluginLimits, VmMode, VmPolicy};
use agw_foreign::Access;
use agw_telemetry::Metrics;
use agw_wasm::{
    EngineOptions, Filter, HostOptions, LoadError, LoadedPlugin, Opened, PluginHost, RequestHead, Stream,
    StreamInfo, VmPools,
};
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Version};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::{Backend, Guest, Lines};

/// What a test works with.
pub(crate) struct Worker {
    pub(crate) host: Arc<PluginHost>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pools: Rc<VmPools>,
    pub(crate) lines: Lines,
    pub(crate) backend: Backend,
}

/// Few small VMs.
pub(crate) fn engine() -> EngineOptions {
    EngineOptions { vms_max: 40, memory_bytes_max: 16 << 20, table_elements_max: 1000 }
}

/// Runs a test on a worker with paused time.
pub(crate) fn in_worker(test: impl AsyncFnOnce(Worker)) {
    in_worker_with(engine(), true, test);
}

/// Runs a test on a worker.
pub(crate) fn in_worker_with(engine: EngineOptions, paused: bool, test: impl AsyncFnOnce(Worker)) {
    let lines = Lines::default();
    let _logging = tracing::subscriber::set_default(lines.clone());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(paused).build().unwrap();
    let metrics = Arc::new(Metrics::new());
    let options = HostOptions { engine, cache_dir: None, metrics: metrics.clone() };
    let host = PluginHost::new(options).unwrap();
    LocalSet::new().block_on(&runtime, async {
        let pools = VmPools::new(0);
        let backend = Backend::new(metrics.clone());
        test(Worker { host, metrics, pools: pools.clone(), lines, backend }).await;
        pools.shutdown().await;
    });
}

/// An exclusive plugin.
pub(crate) fn plugin() -> Plugin {
    Plugin {
        name: "p".into(),
        module: ModuleSource::Builtin("test".into()),
        root_id: "root".into(),
        configuration: b"plugin configuration".to_vec(),
        vm_configuration: b"vm configuration".to_vec(),
        vm: VmPolicy { mode: VmMode::Exclusive, max: 16, wait: Duration::from_secs(1) },
        limits: PluginLimits {
            memory_bytes_max: 16 << 20,
            table_elements_max: 1000,
            cpu_time: Duration::from_millis(200),
        },
        on_failure: FailurePolicy::FailClosed,
        reload_backoff: Duration::from_secs(1),
        reload_backoff_max: Duration::from_secs(4),
        foreign_calls_max: 10_000,
        calls_per_request_max: 1_000_000,
    }
}

/// A shared plugin.
pub(crate) fn shared() -> Plugin {
    let mut plugin = plugin();
    plugin.vm.mode = VmMode::Shared;
    plugin
}

/// `GET /path?query` with a few headers.
pub(crate) fn stream() -> Arc<Stream> {
    let mut headers = HeaderMap::new();
    headers.insert("x-key", "value".parse().unwrap());
    headers.append("x-many", "one".parse().unwrap());
    headers.append("x-many", "two".parse().unwrap());
    headers.insert("user-agent", "tests".parse().unwrap());
    let request = RequestHead {
        method: Method::GET,
        scheme: Scheme::HTTP,
        authority: Some(Authority::from_static("a.example:80")),
        path: PathAndQuery::from_static("/path?query"),
        headers,
    };
    let info = StreamInfo {
        connection_id: 7,
        source: SocketAddr::from(([10, 0, 0, 1], 1234)),
        destination: SocketAddr::from(([10, 0, 0, 2], 80)),
        tls: None,
        version: Version::HTTP_11,
        request_id: "id-1".into(),
        started: SystemTime::now(),
        started_at: Instant::now(),
        deadline: Instant::now() + Duration::from_secs(60),
        listener: "main".into(),
        route: "r".into(),
        cluster: "c".into(),
        upstream: None,
        request_bytes: 3,
        response_bytes: 4,
        code_details: "via_upstream".into(),
        response_flags: "",
        trace: None,
    };
    Stream::new(request, info)
}

impl Worker {
    /// Loads a guest that may call the backend as resource `r`.
    pub(crate) async fn load(&self, plugin: Plugin, guest: Guest) -> Arc<LoadedPlugin> {
        self.try_load(plugin, guest.build()).await.unwrap_or_else(|error| panic!("{}", super::words(&error)))
    }

    pub(crate) async fn try_load(
        &self,
        plugin: Plugin,
        module: Bytes,
    ) -> Result<Arc<LoadedPlugin>, LoadError> {
        let (calls, request_calls) = (plugin.foreign_calls_max, plugin.calls_per_request_max);
        let access = self.backend.access(&plugin.name, calls, request_calls);
        self.host.load(Arc::new(plugin), module, access).await
    }

    /// Loads a guest that may call nothing.
    pub(crate) async fn load_plain(
        &self,
        plugin: Plugin,
        guest: Guest,
    ) -> Result<Arc<LoadedPlugin>, LoadError> {
        let access = Access::empty(&plugin.name);
        self.host.load(Arc::new(plugin), guest.build(), access).await
    }

    pub(crate) async fn open(&self, plugin: &Arc<LoadedPlugin>, stream: &Arc<Stream>) -> Filter {
        super::filter(self.pools.open(plugin, stream).await)
    }

    pub(crate) async fn try_open(&self, plugin: &Arc<LoadedPlugin>, stream: &Arc<Stream>) -> Opened {
        self.pools.open(plugin, stream).await
    }

    /// Loads a guest, runs its `request_headers` in a stream of its own, and gives what the guest said in it.
    pub(crate) async fn said(&self, plugin: Plugin, guest: Guest) -> Vec<String> {
        let plugin = self.load(plugin, guest).await;
        let filter = self.open(&plugin, &stream()).await;
        self.lines.take();
        filter.request_headers(true).await;
        self.lines.take()
    }

    /// Lets everything run that can run without time passing.
    pub(crate) async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}
