//! Traces.

use serde_json::{Map, Value, json};

use super::{HIDDEN, tls};
use crate::snapshot::Tracing;
use crate::units::show_duration;

pub(super) fn show(tracing: &Tracing) -> Value {
    let endpoint = &tracing.endpoint;
    let scheme = if endpoint.tls.is_some() { "https" } else { "http" };
    let host = &endpoint.host;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let export = &tracing.export;
    let mut shown = json!({
        "endpoint": format!("{scheme}://{host}:{}{}", endpoint.port, endpoint.path),
        "service_name": tracing.service_name,
        "sample_per_million": tracing.sample_per_million,
        "trust_traceparent": tracing.trust_traceparent,
        "export": {
            "queue": export.queue_max,
            "batch": export.batch_max,
            "interval": show_duration(export.interval),
            "timeout": show_duration(export.timeout),
            "retry_for": show_duration(export.retry_for),
            "flush_timeout": show_duration(export.flush_timeout),
        },
    });
    if let Some(verification) = &endpoint.tls {
        shown["tls"] = tls(verification);
    }
    if !tracing.headers.is_empty() {
        let hidden = tracing.headers.keys().map(|name| (name.clone(), json!(HIDDEN)));
        shown["headers"] = Value::Object(hidden.collect::<Map<_, _>>());
    }
    shown
}
