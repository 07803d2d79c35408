//! Against a collector on loopback.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use agw_config::{Secret, TraceEndpoint};
use agw_telemetry::{RequestSpan, TraceSpanLabels};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the collector does with its nth request; `None`: nothing at all.
type Answer = fn(usize) -> Option<(u16, Vec<u8>)>;

struct Collector {
    address: SocketAddr,
    got: mpsc::UnboundedReceiver<(http::HeaderMap, Bytes)>,
    _server: JoinSet,
}

type JoinSet = tokio::task::JoinSet<()>;

impl Collector {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, got) = mpsc::unbounded_channel();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            let count = Arc::new(AtomicUsize::new(0));
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (sender, count) = (sender.clone(), Arc::clone(&count));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (sender, count) = (sender.clone(), Arc::clone(&count));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.expect("a body").to_bytes();
                        let _ = sender.send((head.headers, body));
                        let Some((status, body)) = answer(count.fetch_add(1, Ordering::Relaxed)) else {
                            std::future::pending().await
                        };
                        let mut response = Response::new(Full::new(Bytes::from(body)));
                        *response.status_mut() = status.try_into().expect("a status");
                        Ok::<_, Infallible>(response)
                    }
                });
                connections.spawn(async move {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Collector { address, got, _server: server }
    }

    async fn next(&mut self) -> Vec<otlp::Span> {
        let (_, body) = timeout(PATIENCE, self.got.recv()).await.expect("in time").expect("a request");
        let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }
}

struct World {
    metrics: Metrics,
    tracer: Option<Arc<Tracer>>,
    exporter: Exporter,
}

impl World {
    fn start(address: SocketAddr, change: impl FnOnce(&mut TraceExport)) -> Self {
        let mut export = TraceExport {
            queue_max: 100,
            batch_max: 10,
            interval: Duration::from_millis(20),
            timeout: PATIENCE,
            retry_for: PATIENCE,
            flush_timeout: Duration::from_millis(200),
        };
        change(&mut export);
        let tracing = Tracing {
            endpoint: TraceEndpoint {
                host: address.ip().to_string(),
                port: address.port(),
                path: "/v1/traces".to_owned(),
                tls: None,
            },
            headers: BTreeMap::from([("authorization".to_owned(), Secret::new("hunter2"))]),
            service_name: "edge".to_owned(),
            sample_per_million: 1_000_000,
            trust_traceparent: false,
            export,
        };
        let metrics = Metrics::new();
        let (tracer, exporter) = Exporter::start(&tracing, &metrics).expect("it starts");
        World { metrics, tracer: Some(tracer), exporter }
    }

    fn span(&self) -> Arc<RequestSpan> {
        self.tracer.as_ref().expect("a tracer").begin(None).span.expect("recorded")
    }

    fn end(&self, count: usize) {
        for _ in 0..count {
            self.span().end(|span| span.name = "GET r".into());
        }
    }

    fn count(&self, outcome: &'static str) -> u64 {
        self.metrics.trace_spans.get_or_create(&TraceSpanLabels { outcome }).get()
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("it holds in time");
    }
}

#[tokio::test]
async fn what_a_busy_collector_did_not_take_is_sent_again() {
    let mut collector = Collector::start(|at| Some((if at < 2 { 503 } else { 200 }, Vec::new()))).await;
    let world = World::start(collector.address, |_| {});
    world.end(3);
    let first = collector.next().await;
    assert_eq!((collector.next().await, collector.next().await), (first.clone(), first.clone()));
    assert_eq!((first.len(), first[0].name.as_str()), (3, "GET r"));
    world.until(|world| world.count("exported") == 3).await;
    assert_eq!((world.count("failed"), world.count("dropped")), (0, 0));
}

#[tokio::test]
async fn what_a_collector_refuses_is_not_sent_again_and_the_next_batch_is() {
    let mut collector =
        Collector::start(|at| Some((if at == 0 { 400 } else { 200 }, b"<html>".to_vec()))).await;
    let world = World::start(collector.address, |_| {});
    world.end(2);
    world.until(|world| world.count("failed") == 2).await;
    world.end(1);
    world.until(|world| world.count("exported") == 1).await;
    assert_eq!((collector.next().await.len(), collector.next().await.len()), (2, 1));
}

#[tokio::test]
async fn spans_that_a_collector_rejects_of_a_batch_have_failed() {
    let rejects = |_| {
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "no".to_owned() };
        let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
        Some((200, answer.encode_to_vec()))
    };
    let collector = Collector::start(rejects).await;
    let world = World::start(collector.address, |_| {});
    world.end(5);
    world.until(|world| (world.count("exported"), world.count("failed")) == (2, 3)).await;
}

#[tokio::test]
async fn an_answer_without_end_counts_by_its_status_and_the_next_batch_arrives() {
    let collector = Collector::start(|_| Some((200, vec![b'x'; 1 << 20]))).await;
    let world = World::start(collector.address, |_| {});
    for count in 1..=3 {
        world.end(1);
        world.until(|world| world.count("exported") == count).await;
    }
}

#[tokio::test]
async fn a_silent_collector_costs_no_more_than_the_queue_and_a_batch() {
    let mut collector = Collector::start(|_| None).await;
    let world = World::start(collector.address, |export| export.flush_timeout = Duration::from_millis(50));
    world.end(1);
    assert_eq!(collector.next().await.len(), 1);
    world.end(1000);
    assert_eq!(world.count("dropped"), 900);
    let World { metrics, exporter, .. } = world;
    timeout(PATIENCE, exporter.finish()).await.expect("the flush has a bound");
    let count = |outcome| metrics.trace_spans.get_or_create(&TraceSpanLabels { outcome }).get();
    assert_eq!((count("exported"), count("failed"), count("dropped")), (0, 1, 1000));
}

#[tokio::test]
async fn nobody_there_is_given_up_in_time() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let world = World::start(gone, |export| export.retry_for = Duration::from_millis(100));
    world.end(7);
    world.until(|world| world.count("failed") == 7).await;
}

#[tokio::test]
async fn the_end_sends_what_waits_in_as_many_batches_as_it_takes() {
    let mut collector = Collector::start(|_| Some((200, Vec::new()))).await;
    let world = World::start(collector.address, |export| {
        export.interval = PATIENCE;
        export.batch_max = 100;
        export.flush_timeout = PATIENCE;
    });
    world.end(42);
    let (metrics, exporter) = (world.metrics, world.exporter);
    timeout(PATIENCE, exporter.finish()).await.expect("it ends");
    assert_eq!(collector.next().await.len(), 42);
    assert_eq!(metrics.trace_spans.get_or_create(&TraceSpanLabels { outcome: "exported" }).get(), 42);
}

#[tokio::test]
async fn one_that_is_retired_waits_for_requests_under_way_and_ends_with_the_last() {
    let mut collector = Collector::start(|_| Some((200, Vec::new()))).await;
    let mut world = World::start(collector.address, |export| {
        export.interval = PATIENCE;
        export.flush_timeout = PATIENCE;
    });
    let under_way = world.span();
    world.exporter.retire();
    world.tracer = None;
    sleep(Duration::from_millis(20)).await;
    assert!(!world.exporter.is_finished());
    under_way.end(|_| {});
    drop(under_way);
    world.until(|world| world.exporter.is_finished()).await;
    assert_eq!(collector.next().await.len(), 1);
}

#[tokio::test]
async fn one_that_is_retired_ends_in_time_whatever_requests_do() {
    let collector = Collector::start(|_| Some((200, Vec::new()))).await;
    let world = World::start(collector.address, |export| export.flush_timeout = Duration::from_millis(30));
    let under_way = world.span();
    world.exporter.retire();
    world.until(|world| world.exporter.is_finished()).await;
    under_way.end(|_| {});
    assert_eq!(world.count("dropped"), 1);
}

#[tokio::test]
async fn headers_are_sent_and_shown_by_nothing() {
    let mut collector = Collector::start(|_| Some((200, Vec::new()))).await;
    let world = World::start(collector.address, |_| {});
    world.end(1);
    let (headers, _) = timeout(PATIENCE, collector.got.recv()).await.expect("in time").expect("a request");
    assert_eq!(headers["authorization"], "hunter2");
    assert_eq!(headers["host"], collector.address.to_string());
    assert!(!format!("{:?} {:?}", world.exporter, world.tracer).contains("hunter"));
}
