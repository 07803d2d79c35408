//! From spans to the bytes of a request to the collector.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agw_telemetry::{Span, SpanKind, Value};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans, ScopeSpans, Status, span, status};
use prost::Message;

/// The conventions that the attributes' names follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.44.0";
const VERSION: &str = env!("CARGO_PKG_VERSION");

const SAMPLED: u32 = 1;
/// It is known whether the parent is in another process.
const REMOTE_KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// One request with all of them.
pub(crate) fn request(service_name: &str, spans: &[Span]) -> Bytes {
    let text = |key: &str, text: &str| pair(key, any_value::Value::StringValue(text.to_owned()));
    let resource = Resource {
        attributes: vec![text("service.name", service_name), text("service.version", VERSION)],
        ..Resource::default()
    };
    let scope =
        InstrumentationScope { name: "agw".to_owned(), version: VERSION.to_owned(), ..Default::default() };
    let spans = spans.iter().map(encoded).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: SCHEMA.to_owned() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), scope_spans, schema_url: SCHEMA.to_owned() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

/// How many of the spans the collector has refused, though it took the request. An answer that cannot be read says
/// nothing of that.
pub(crate) fn refused(answer: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer).ok();
    let partial = answer.and_then(|answer| answer.partial_success);
    partial.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0))
}

fn encoded(span: &Span) -> otlp::Span {
    let (kind, remote) = match span.kind {
        SpanKind::Server if span.parent.is_some() => (span::SpanKind::Server, REMOTE),
        SpanKind::Server => (span::SpanKind::Server, 0),
        SpanKind::Client => (span::SpanKind::Client, 0),
    };
    let code = if span.failed { status::StatusCode::Error } else { status::StatusCode::Unset };
    let start = nanos(span.start);
    otlp::Span {
        trace_id: span.trace.to_be_bytes().to_vec(),
        span_id: span.id.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        flags: SAMPLED | REMOTE_KNOWN | remote,
        name: span.name.to_string(),
        kind: kind.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(whole_nanos(span.duration)),
        attributes: span.attributes.iter().map(|(name, value)| pair(name, encoded_value(value))).collect(),
        status: Some(Status { message: String::new(), code: code.into() }),
        ..otlp::Span::default()
    }
}

fn encoded_value(value: &Value) -> any_value::Value {
    match value {
        Value::Text(text) => any_value::Value::StringValue(text.to_string()),
        Value::Name(name) => any_value::Value::StringValue(name.to_string()),
        Value::Integer(number) => any_value::Value::IntValue(*number),
        Value::Seconds(number) => any_value::Value::DoubleValue(*number),
        Value::Flag(flag) => any_value::Value::BoolValue(*flag),
    }
}

fn pair(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A clock before 1970 counts as 1970.
fn nanos(time: SystemTime) -> u64 {
    whole_nanos(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn whole_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn what_cannot_be_read_or_makes_no_sense_refuses_nothing() {
        let answer = |rejected_spans| {
            let partial = ExportTracePartialSuccess { rejected_spans, error_message: "no".to_owned() };
            ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        };
        assert_eq!((refused(&answer(3)), refused(&answer(-3))), (3, 0));
        assert_eq!((refused(b""), refused(b"<html>"), refused(&[0xff; 100])), (0, 0, 0));
    }
}
