//! Traces: where they go, and what of a document is refused.

use std::time::Duration;

use super::{accept, lines, load_with, problems, usual_files};
use crate::Secret;

const REST: &str = "version: 1\nlisteners: [{ name: http, address: '127.0.0.1:0' }]\n\
                    routes: [{ name: r, match: { prefix: / }, respond: {} }]\n";

fn document(fields: &str) -> String {
    format!("{REST}tracing: {{ {fields} }}\n")
}

#[test]
fn a_url_that_is_none_is_refused_with_its_place_and_never_shown() {
    for (url, reason) in [
        ("", "the string is empty"),
        ("hunter2", "neither http:// nor https://"),
        ("grpc://hunter2:4317", "neither http:// nor https://"),
        ("http://user:hunter2@h/v1/traces", "holds a user or a password"),
        ("http://hunter2@h/v1/traces", "holds a user or a password"),
        ("http:///v1/traces", "the host is neither"),
        ("http://h:0/v1/traces", "the port is not a number"),
        ("http://h:4318", "the URL has no plain path"),
        ("http://h:4318/v1/traces?key=hunter2", "the URL has no plain path"),
        ("http://h:4318?hunter2", "the URL has no plain path"),
        ("https://h/v1/traces", "an https URL needs tls"),
    ] {
        let found = problems(&document(&format!("endpoint: '{url}'")));
        assert_eq!(found.len(), 1, "{url}: {found:#?}");
        assert!(found[0].contains(": tracing") && found[0].contains(reason), "{url}: {found:#?}");
        assert!(!found[0].contains("hunter"), "{found:#?}");
    }
    let plain = document("endpoint: 'http://h/v1/traces', tls: { ca: { file: ca.pem } }");
    assert!(problems(&plain)[0].contains("tracing.tls: tls belongs to an https URL"));
    assert!(problems(&document("service_name: a"))[0].contains("the field \"endpoint\" is missing"));
}

#[test]
fn headers_are_secrets_by_reference_and_none_of_the_gateways_own() {
    let with = |headers: &str| document(&format!("endpoint: 'http://[::1]/v1/traces', headers: {headers}"));
    for (headers, reason) in [
        ("{ authorization: hunter2 }", "a plain value is refused here"),
        ("{ authorization: { env: NOT_THERE } }", "is not set"),
        ("{ 'a b': { env: REDIS_PASSWORD } }", "is not the name of a header"),
        ("{ Content-Type: { env: REDIS_PASSWORD } }", "the gateway sets"),
        ("{ a: { env: REDIS_PASSWORD }, A: { env: REDIS_PASSWORD } }", "in another spelling"),
    ] {
        let found = problems(&with(headers));
        assert!(
            found.iter().any(|line| line.contains(": tracing.headers") && line.contains(reason)),
            "{found:#?}"
        );
        assert!(!found.concat().contains("hunter"), "{found:#?}");
    }
    let many: Vec<_> = (0..17).map(|index| format!("h{index}: {{ env: REDIS_PASSWORD }}")).collect();
    assert!(problems(&with(&format!("{{ {} }}", many.join(", "))))[0].contains("too many headers"));
    let breaks = usual_files().variable("BREAKS", "a\r\nx-y: z");
    let found = load_with(&with("{ a: { env: BREAKS } }"), &breaks).expect_err("it is refused");
    assert!(lines(&found)[0].contains("control characters"), "{:#?}", lines(&found));
}

#[test]
fn a_batch_is_not_more_than_the_queue_and_follows_a_small_one() {
    let with = |export: &str| document(&format!("endpoint: 'http://[::1]/v1/traces', export: {export}"));
    let found = problems(&with("{ queue: 10, batch: 11 }"));
    assert!(found[0].contains("tracing.export: batch is more than queue"), "{found:#?}");
    let export = accept(&with("{ queue: 10 }")).tracing.expect("traces").export;
    assert_eq!((export.queue_max, export.batch_max), (10, 10));
}

#[test]
fn secrets_that_would_leave_the_machine_in_plaintext_earn_a_warning() {
    let warnings = |host: &str, headers: &str| {
        let text = document(&format!("endpoint: 'http://{host}/v1/traces', headers: {headers}"));
        lines(&load_with(&text, &usual_files()).expect("it loads").warnings)
    };
    let secret = "{ authorization: { env: REDIS_PASSWORD } }";
    assert!(warnings("collector", secret)[0].contains("leave this machine in plaintext"));
    assert!(warnings("localhost", secret).is_empty() && warnings("collector", "{}").is_empty());
}

#[test]
fn every_field_arrives_and_the_least_document_has_defaults() {
    let tracing = accept(super::complete::COMPLETE).tracing.expect("traces");
    let endpoint = &tracing.endpoint;
    assert_eq!((endpoint.host.as_str(), endpoint.port), ("collector.example.com", 4319));
    let tls = endpoint.tls.as_ref().expect("TLS");
    assert_eq!(
        (endpoint.path.as_str(), tls.server_name.as_deref()),
        ("/v1/traces", Some("otlp.example.com"))
    );
    assert_eq!(tracing.headers["authorization"], Secret::new("hunter3"));
    assert_eq!((tracing.service_name.as_str(), tracing.sample_per_million), ("edge", 250_000));
    assert!(tracing.trust_traceparent);
    let export = tracing.export;
    assert_eq!((export.queue_max, export.batch_max), (1000, 100));
    assert_eq!((export.interval, export.timeout), (Duration::from_secs(1), Duration::from_secs(2)));
    assert_eq!((export.retry_for, export.flush_timeout), (Duration::from_secs(10), Duration::from_secs(3)));

    let least = accept(&document("endpoint: 'http://127.0.0.1/v1/traces'")).tracing.expect("traces");
    assert_eq!((least.endpoint.port, least.service_name.as_str()), (4318, "agw"));
    assert!(!least.trust_traceparent && least.sample_per_million == 10_000);
    assert!(accept(REST).tracing.is_none());
}
