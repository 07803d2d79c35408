//! A collector of spans: takes OTLP over HTTP, does what a script says, and remembers what it was sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustls::ServerConfig;
use tokio::time::{Instant, sleep};

use crate::upstream::{Recorded, Script, Upstream};

/// The running collector.
#[derive(Debug)]
pub struct Collector(Upstream);

/// One span, as the collector has read it.
#[derive(Clone, Debug)]
pub struct Exported(pub Span);

// === impl Collector ===

impl Collector {
    /// A collector on a free port that takes everything.
    ///
    /// # Errors
    /// When no port or thread can be had.
    pub fn start() -> Result<Self> {
        Self::answering(|_| Script::ok(""))
    }

    /// A collector that asks `answer` for every request. What it remembers it does whatever the answer is.
    ///
    /// # Errors
    /// As for [`Collector::start`].
    pub fn answering(answer: impl Fn(&Recorded) -> Script + Send + Sync + 'static) -> Result<Self> {
        Upstream::start(answer).map(Collector)
    }

    /// The same behind TLS.
    ///
    /// # Errors
    /// As for [`Collector::start`].
    pub fn start_tls(tls: Arc<ServerConfig>) -> Result<Self> {
        Upstream::start_tls(tls, |_| Script::ok("")).map(Collector)
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// For `tracing.endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1/traces", self.address())
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.0.recorded()
    }

    /// The spans of all requests so far, in the order in which they came.
    ///
    /// # Errors
    /// When a request is no OTLP.
    pub fn spans(&self) -> Result<Vec<Exported>> {
        let mut spans = Vec::new();
        for request in self.requests() {
            let request = ExportTraceServiceRequest::decode(request.body).context("decode a request")?;
            let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            spans.extend(scopes.flat_map(|scope| scope.spans).map(Exported));
        }
        Ok(spans)
    }

    /// Waits until there are so many spans, and gives them.
    ///
    /// # Errors
    /// When there are fewer after 20 seconds, or a request is no OTLP.
    pub async fn wait_for(&self, count: usize) -> Result<Vec<Exported>> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let spans = self.spans()?;
            if spans.len() >= count {
                return Ok(spans);
            }
            if Instant::now() >= end {
                bail!("after 20 s there are {} spans and not {count}: {spans:#?}", spans.len());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

// === impl Exported ===

impl Exported {
    /// The trace's id, in hex.
    pub fn trace(&self) -> String {
        hex(&self.0.trace_id)
    }

    /// Its own id, in hex.
    pub fn id(&self) -> String {
        hex(&self.0.span_id)
    }

    /// Its parent's id, in hex; empty without one.
    pub fn parent(&self) -> String {
        hex(&self.0.parent_span_id)
    }

    /// An attribute as text; empty if it is not there.
    pub fn get(&self, name: &str) -> String {
        let found = self.0.attributes.iter().find(|pair| pair.key == name);
        match found.and_then(|pair| pair.value.as_ref()?.value.as_ref()) {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::DoubleValue(number)) => number.to_string(),
            Some(Value::BoolValue(flag)) => flag.to_string(),
            _ => String::new(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
