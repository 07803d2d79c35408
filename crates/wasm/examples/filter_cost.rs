//! What a filter costs without a network: time per request of a chain of 1, 4 and 16 filters, and of a filter that
//! makes foreign calls, each of which suspends its guest once.
//!
//! `cargo build -p header-filter -p rate-limit --target wasm32-wasip1 --profile guest`, then
//! `cargo run --release -p agw-wasm --example filter_cost`. It gives the best of many short rounds, which a busy
//! machine disturbs least. The call's answer is a counter's, written by hand: no Redis is asked.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a measurement run by hand")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use agw_config::{FailurePolicy, ModuleSource, Plugin, PluginLimits, VmMode, VmPolicy};
use agw_foreign::{
    Access, BackendFuture, CallError, CallSite, ContextKey, GrantedResource, Reply, Resource, ResourcePolicy,
};
use agw_telemetry::Metrics;
use agw_wasm::{
    EngineOptions, HostOptions, LoadedPlugin, Opened, PluginHost, RequestHead, ResponseHead, Stream,
    StreamInfo, VmPools,
};
use agw_wire::Request;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use tokio::task::LocalSet;

const ROUNDS: usize = 150;
const REQUESTS: u32 = 200;
const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/wasm32-wasip1/guest/");
const HEADERS: &str =
    "request-set x-team edge\nrequest-remove x-debug\nresponse-set x-served-by agw\nresponse-remove server\n";
const LIMIT: &str =
    r#"{"name":"per-key","limit":1000000,"window":600,"key":[{"header":"x-api-key"}],"on_error":"closed"}"#;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let metrics = Arc::new(Metrics::new());
        let engine = EngineOptions { vms_max: 40, memory_bytes_max: 16 << 20, table_elements_max: 1000 };
        let options = HostOptions { engine, cache_dir: None, metrics: Arc::clone(&metrics) };
        let host = PluginHost::new(options).unwrap();
        let pools = VmPools::new(0);
        report("no filter", &pools, &[]).await;
        let mut headers = Vec::new();
        for index in 0..16 {
            let config = plugin(&format!("h{index}"), HEADERS, VmMode::Shared);
            headers
                .push(host.load(Arc::new(config), guest("header_filter"), Access::empty("h")).await.unwrap());
        }
        for count in [1, 4, 16] {
            report(&format!("{count} header filters"), &pools, &headers[..count]).await;
        }
        let same = vec![headers[0].clone(); 16];
        report("16 of one VM", &pools, &same).await;
        let exclusive = plugin("x", HEADERS, VmMode::Exclusive);
        let exclusive =
            host.load(Arc::new(exclusive), guest("header_filter"), Access::empty("x")).await.unwrap();
        report("1, exclusive", &pools, &[exclusive]).await;
        let limit = plugin("limit", LIMIT, VmMode::Exclusive);
        let limit = host.load(Arc::new(limit), guest("rate_limit"), access(&metrics)).await.unwrap();
        report("rate limit", &pools, &[limit]).await;
        pools.shutdown().await;
    });
}

async fn report(name: &str, pools: &std::rc::Rc<VmPools>, plugins: &[Arc<LoadedPlugin>]) {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..REQUESTS {
            request(pools, plugins).await;
        }
        best = best.min(begun.elapsed() / REQUESTS);
    }
    println!("{name:>20} {:>8.2} us", best.as_nanos() as f64 / 1000.0);
}

/// What the gateway does with a GET's filters.
async fn request(pools: &std::rc::Rc<VmPools>, plugins: &[Arc<LoadedPlugin>]) {
    let stream = stream();
    let mut filters = Vec::with_capacity(plugins.len());
    for plugin in plugins {
        let Opened::Filter(filter) = pools.open(plugin, &stream).await else { panic!("no filter") };
        black_box(filter.request_headers(true).await);
        filters.push(filter);
    }
    let mut headers = HeaderMap::new();
    headers.insert("server", HeaderValue::from_static("nginx"));
    headers.insert("content-type", HeaderValue::from_static("text/plain"));
    stream.state().response = Some(ResponseHead { status: StatusCode::OK, headers });
    for filter in filters.iter().rev() {
        black_box(filter.response_headers(false).await);
    }
    let mut body = Bytes::from_static(b"hello, world\n");
    for filter in filters.iter().rev() {
        black_box(filter.response_body(body, true).await);
        body = filter.take_response_body();
    }
    assert_eq!(body.len(), 13);
    assert!(!stream.is_interrupted());
}

fn stream() -> Arc<Stream> {
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("key-17"));
    headers.insert("user-agent", HeaderValue::from_static("filter_cost"));
    headers.insert("accept", HeaderValue::from_static("*/*"));
    let request = RequestHead {
        method: Method::GET,
        scheme: Scheme::HTTP,
        authority: Some(Authority::from_static("a.example:80")),
        path: PathAndQuery::from_static("/path?query"),
        headers,
    };
    let now = tokio::time::Instant::now();
    let info = StreamInfo {
        connection_id: 7,
        source: SocketAddr::from(([10, 0, 0, 1], 1234)),
        destination: SocketAddr::from(([10, 0, 0, 2], 80)),
        tls: None,
        version: Version::HTTP_11,
        request_id: "id-1".into(),
        started: SystemTime::UNIX_EPOCH,
        started_at: now,
        deadline: now + Duration::from_secs(60),
        listener: "main".into(),
        route: "r".into(),
        cluster: "c".into(),
        upstream: None,
        request_bytes: 0,
        response_bytes: 0,
        code_details: "".into(),
        response_flags: "",
        trace: None,
    };
    Stream::new(request, info)
}

fn guest(name: &str) -> Bytes {
    let path = format!("{GUESTS}{name}.wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")).into()
}

fn plugin(name: &str, configuration: &str, mode: VmMode) -> Plugin {
    Plugin {
        name: name.into(),
        module: ModuleSource::Builtin(name.into()),
        root_id: String::new(),
        configuration: configuration.into(),
        vm_configuration: Vec::new(),
        vm: VmPolicy { mode, max: 16, wait: Duration::from_secs(1) },
        limits: PluginLimits {
            memory_bytes_max: 16 << 20,
            table_elements_max: 1000,
            cpu_time: Duration::from_millis(200),
        },
        on_failure: FailurePolicy::FailClosed,
        reload_backoff: Duration::from_secs(1),
        reload_backoff_max: Duration::from_secs(4),
        foreign_calls_max: 10_000,
        calls_per_request_max: 64,
    }
}

/// Answers as Redis does to an atomic `SET`, `INCR`, `PTTL`, after one turn of the event loop.
struct Counting;

impl GrantedResource for Counting {
    fn start(
        &self,
        request: &Request<'_>,
        _: &CallSite,
        _: tokio::time::Instant,
    ) -> Result<BackendFuture, CallError> {
        black_box(request);
        Ok(Box::pin(async {
            tokio::task::yield_now().await;
            Ok(Reply::resp(Bytes::from_static(b"*3\r\n$-1\r\n:42\r\n:599000\r\n"), 0))
        }))
    }

    fn context_ended(&self, _: ContextKey) {}
}

fn access(metrics: &Arc<Metrics>) -> Arc<Access> {
    let policy = ResourcePolicy {
        in_flight_max: 100,
        waiters_max: 100,
        call_timeout: Duration::from_secs(1),
        call_timeout_max: Duration::from_secs(10),
        request_bytes_max: 1 << 20,
        breaker_failures: 5,
        breaker_probe_interval: Duration::from_millis(500),
        breaker_counts_timeout_io: true,
    };
    let resource = Resource::new("limits", policy, metrics);
    Access::builder("limit", 1000, Arc::clone(metrics))
        .grant("agw_redis", resource, Arc::new(Counting))
        .build()
}
