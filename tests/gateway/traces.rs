//! Traces: what the collector gets, what it never gets, and that nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agw_tests::collector::Exported;
use agw_tests::port::free_port;
use agw_tests::redis_server::RedisOptions;
use agw_tests::{Authority, Client, Collector, Gateway, RedisServer, Script, Upstream};
use anyhow::{Context, Result, ensure};
use http::StatusCode;

const OPTIONS: [&str; 4] = ["--admin", "127.0.0.1:0", "--workers", "1"];
const SECRET: &str = "planted-redis-Vx9kQ";
const HEADER_SECRET: &str = "Bearer planted-otlp-Vx9kQ";
const API_KEY: &str = "canary-api-key-Vx9kQ";
/// SHA-256 of it: the parameter of the statement.
const API_KEY_HASH: &str = "02f5246cce484f6d071c9a2b919c6fbb940f3b8d72779c77874fa73429b1654f";
const QUERY_SECRET: &str = "canary-query-Vx9kQ";
const CLIENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const QUICK: &str = "export: { interval: 10ms }";

/// Two plugins with a resource each, in front of an upstream.
fn traced(redis: &RedisServer, upstream: &Upstream, tracing: &str) -> String {
    let rest = format!(
        "routes: [{{ name: all, match: {{ prefix: / }}, cluster: up, plugins: [limit, auth] }}]
clusters: [{{ name: up, endpoints: [\"{}\"] }}]
plugins:
- name: limit
  module: {{ builtin: rate-limit }}
  vm: {{ mode: shared }}
  configuration: {{ limit: 1000, window: 60, resource: limits, key: [{{ header: x-api-key }}], on_error: closed }}
- name: auth
  module: {{ builtin: api-key-auth }}
  vm: {{ mode: shared }}
  configuration: {{ on_error: closed }}
resources:
- name: limits
  type: redis
  url: {}
  password: {{ file: redis.secret }}
  limits: {{ call_timeout: 5s }}
  grants: [{{ plugin: limit, commands: [set, incr, pttl, expire], key_prefix: \"canary-prefix:\" }}]
- name: users
  type: sqlite
  url: sqlite://users.db
  schema: {{ source: \"CREATE TABLE IF NOT EXISTS api_keys (key_hash TEXT, user_id INTEGER, tier TEXT)\" }}
  limits: {{ call_timeout: 5s }}
  statements: {{ find_api_key: \"SELECT 7 AS user_id, 'canary-literal-Vx9kQ' AS tier WHERE ? <> ''\" }}
  grants: [{{ plugin: auth, statements: [find_api_key], read_only: true }}]
tracing: {{ {tracing} }}",
        upstream.address(),
        redis.url(),
    );
    crate::document("", &rest)
}

/// A gateway without plugins that answers everything itself.
fn plain(tracing: &str) -> String {
    let routes = "routes: [{ name: all, match: { prefix: / }, respond: { status: 200, body: fine } }]";
    crate::document("", &format!("{routes}\ntracing: {{ {tracing} }}"))
}

fn start(document: &str) -> Result<Gateway> {
    Gateway::start_with(document, &[], &OPTIONS)
}

fn count(gateway: &Gateway, outcome: &str) -> Result<f64> {
    Ok(gateway.metrics()?.value("agw_trace_spans_total", &[("outcome", outcome)]).unwrap_or(0.0))
}

fn named<'a>(spans: &'a [Exported], name: &str) -> Result<&'a Exported> {
    spans.iter().find(|span| span.0.name == name).with_context(|| format!("no span {name:?}: {spans:#?}"))
}

/// The times of the stages are there, and no more than the whole.
fn assert_stages(span: &Exported) {
    let stage = |name: &str| -> f64 { span.get(name).parse().unwrap_or(-1.0) };
    let parts = ["agw.queue_seconds", "agw.connect_seconds", "agw.io_seconds"].map(stage);
    let whole = (span.0.end_time_unix_nano - span.0.start_time_unix_nano) as f64 / 1e9;
    assert!(parts.iter().all(|part| *part >= 0.0) && parts[2] > 0.0, "{parts:?}");
    assert!(parts.iter().sum::<f64>() <= whole + 0.001, "{parts:?} {whole}");
}

/// What was sent has nothing of what was planted.
fn assert_no_secret(collector: &Collector, redis: &RedisServer) {
    let bodies: Vec<_> = collector.requests().into_iter().map(|request| request.body).collect();
    let bodies = bodies.concat();
    let text = String::from_utf8_lossy(&bodies);
    assert!(text.contains("find_api_key"), "the search finds what is there");
    for planted in ["canary", "planted", "WHERE", API_KEY_HASH, &redis.address()] {
        assert!(!text.contains(planted), "{planted}: {text:?}");
    }
}

#[tokio::test]
async fn a_request_and_its_calls_are_one_trace_and_no_secret_is_in_it() -> Result<()> {
    let redis =
        RedisServer::start_with(RedisOptions { password: Some(SECRET.to_owned()), ..Default::default() })?;
    let (upstream, collector) = (Upstream::start(|_| Script::ok("hello"))?, Collector::start()?);
    let tracing = format!(
        "endpoint: \"{}\", sample_per_million: 1000000, headers: {{ authorization: {{ file: otlp.secret }} }}, {QUICK}",
        collector.endpoint()
    );
    let files: [(&str, &[u8]); 2] =
        [("redis.secret", SECRET.as_bytes()), ("otlp.secret", HEADER_SECRET.as_bytes())];
    let gateway = Gateway::start_with(&traced(&redis, &upstream, &tracing), &files, &OPTIONS)?;
    let mut client = Client::new(gateway.address()?);
    let asked = [("x-api-key", API_KEY), ("traceparent", CLIENT)];
    let reply = client.get_with(&format!("/path?token={QUERY_SECRET}"), &asked).await?;
    ensure!(reply.status == 200, "{reply:?} {}", gateway.output());

    let spans = collector.wait_for(4).await?;
    let server = named(&spans, "GET all")?;
    assert_eq!(
        (server.0.kind, server.parent().as_str()),
        (2, ""),
        "a client that is not trusted is no parent"
    );
    assert!(!CLIENT.contains(&server.trace()));
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "all"),
        ("url.path", "/path"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("error.type", ""),
    ] {
        assert_eq!(server.get(name), value, "{name}");
    }
    let to_upstream = named(&spans, "GET up")?;
    let sql = named(&spans, "find_api_key")?;
    let is_redis = |span: &&Exported| span.get("db.system.name") == "redis";
    let redis_call = spans.iter().find(is_redis).context("a call of Redis")?;
    for span in [to_upstream, sql, redis_call] {
        assert_eq!((span.trace(), span.parent(), span.0.kind), (server.trace(), server.id(), 3), "{span:#?}");
    }
    let sent = upstream.last()?.headers["traceparent"].to_str()?.to_owned();
    assert_eq!(sent, format!("00-{}-{}-01", server.trace(), to_upstream.id()));
    assert_eq!(sql.get("db.system.name"), "sqlite");
    assert_eq!(
        (sql.get("db.operation.name"), sql.get("db.query.summary")),
        ("SELECT".into(), "find_api_key".into())
    );
    assert_eq!((sql.get("agw.resource"), sql.get("agw.plugin")), ("users".into(), "auth".into()));
    assert_eq!(
        (redis_call.get("agw.resource"), redis_call.get("agw.plugin")),
        ("limits".into(), "limit".into())
    );
    assert!(!redis_call.get("db.operation.name").is_empty(), "{redis_call:#?}");
    assert_stages(sql);
    assert_stages(redis_call);

    let requests = collector.requests();
    assert_eq!(requests[0].headers["authorization"], HEADER_SECRET, "the collector itself needs it");
    assert_eq!(requests[0].headers["content-type"], "application/x-protobuf");
    assert_no_secret(&collector, &redis);
    assert!(!gateway.output().contains("planted-otlp") && !gateway.output().contains("planted-redis"));
    assert!(count(&gateway, "exported")? >= 4.0);
    Ok(())
}

#[tokio::test]
async fn a_client_that_is_trusted_is_the_parent_and_decides() -> Result<()> {
    let collector = Collector::start()?;
    let document = plain(&format!(
        "endpoint: \"{}\", sample_per_million: 0, trust_traceparent: true, {QUICK}",
        collector.endpoint()
    ));
    let gateway = start(&document)?;
    let mut client = Client::new(gateway.address()?);
    let unsampled = CLIENT.replace("-01", "-00");
    client.get("/unsampled").await?;
    client.get_with("/unsampled", &[("traceparent", &unsampled)]).await?;
    client.get_with("/sampled", &[("traceparent", CLIENT)]).await?;
    let spans = collector.wait_for(1).await?;
    assert_eq!(spans.len(), 1, "{spans:#?}");
    let [_, trace, parent, _] = CLIENT.split('-').collect::<Vec<_>>()[..] else { unreachable!() };
    assert_eq!((spans[0].trace().as_str(), spans[0].parent().as_str()), (trace, parent));
    assert_eq!(spans[0].get("url.path"), "/sampled");
    // The access log names the same trace.
    gateway.wait_for_output("the trace", |log| log.matches(trace).count() == 2).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_error_is_an_error_of_both_spans_and_one_of_the_client_of_none() -> Result<()> {
    let collector = Collector::start()?;
    let nobody = free_port()?;
    let document = crate::document(
        "",
        &format!(
            "routes: [{{ name: gone, match: {{ path: /gone }}, cluster: gone }}]
clusters: [{{ name: gone, endpoints: [\"127.0.0.1:{nobody}\"] }}]
tracing: {{ endpoint: \"{}\", sample_per_million: 1000000, {QUICK} }}",
            collector.endpoint()
        ),
    );
    let gateway = start(&document)?;
    let mut client = Client::new(gateway.address()?);
    ensure!(client.get("/gone").await?.status.is_server_error());
    ensure!(client.get("/nothing").await?.status == 404);
    let spans = collector.wait_for(3).await?;
    for name in ["GET gone"] {
        let failed: Vec<_> = spans.iter().filter(|span| span.0.name == name).collect();
        assert_eq!(failed.len(), 2, "the route and the cluster have one name: {spans:#?}");
        for span in failed {
            assert_eq!(span.get("error.type"), "upstream_connect_failed", "{span:#?}");
            assert_eq!(span.0.status.as_ref().map(|status| status.code), Some(2));
        }
    }
    let unmatched = named(&spans, "GET")?;
    assert_eq!(
        (unmatched.get("http.response.status_code"), unmatched.get("error.type")),
        ("404".into(), "".into())
    );
    Ok(())
}

/// Requests go on, spans are dropped at the bound, and those that come after the collector's return arrive.
#[tokio::test]
async fn a_collector_that_does_not_take_spans_costs_spans_and_nothing_else() -> Result<()> {
    type Trouble = (&'static str, fn() -> Script);
    let troubles: [Trouble; 4] = [
        ("busy", || Script::status(StatusCode::SERVICE_UNAVAILABLE, "")),
        ("silent", Script::never),
        ("refuses", || Script::status(StatusCode::BAD_REQUEST, "<html>")),
        ("hangs up", || Script::chunks([]).closing_early()),
    ];
    for (name, trouble) in troubles {
        let well = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&well);
        let collector = Collector::answering(move |_| match seen.load(Ordering::Relaxed) {
            true => Script::ok("garbage that is no protobuf \u{ff}"),
            false => trouble(),
        })?;
        let export = "export: { queue: 4, batch: 2, interval: 10ms, timeout: 200ms, retry_for: 300ms }";
        let gateway = start(&plain(&format!(
            "endpoint: \"{}\", sample_per_million: 1000000, {export}",
            collector.endpoint()
        )))?;
        let mut client = Client::new(gateway.address()?);
        for _ in 0..200 {
            assert_eq!(client.get("/").await?.status, 200, "{name}");
        }
        let lost = |metrics: &agw_tests::Metrics| {
            let of = |outcome| metrics.value("agw_trace_spans_total", &[("outcome", outcome)]).unwrap_or(0.0);
            of("dropped") + of("failed") >= 200.0
        };
        gateway.wait_for_metrics(&format!("{name}: all are lost"), lost).await?;
        assert_eq!(count(&gateway, "exported")?, 0.0, "{name}");
        well.store(true, Ordering::Relaxed);
        client.get("/again").await?;
        let exported = |metrics: &agw_tests::Metrics| {
            metrics.value("agw_trace_spans_total", &[("outcome", "exported")]) == Some(1.0)
        };
        gateway.wait_for_metrics(&format!("{name}: it recovers"), exported).await?;
        let log = gateway.output();
        assert_eq!(log.matches("spans are lost if that goes on").count(), 1, "{name}: said once: {log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_not_there_keeps_no_end_waiting() -> Result<()> {
    let endpoint = format!("http://127.0.0.1:{}/v1/traces", free_port()?);
    let export = "export: { interval: 10ms, flush_timeout: 300ms }";
    let mut gateway =
        start(&plain(&format!("endpoint: \"{endpoint}\", sample_per_million: 1000000, {export}")))?;
    let mut client = Client::new(gateway.address()?);
    assert_eq!(client.get("/").await?.status, 200);
    drop(client);
    ensure!(gateway.terminate(Duration::from_secs(20))?.success(), "{}", gateway.output());
    Ok(())
}

#[tokio::test]
async fn the_end_sends_what_is_left() -> Result<()> {
    let collector = Collector::start()?;
    let mut gateway = start(&plain(&format!(
        "endpoint: \"{}\", sample_per_million: 1000000, export: {{ interval: 1m }}",
        collector.endpoint()
    )))?;
    let mut client = Client::new(gateway.address()?);
    for _ in 0..3 {
        client.get("/").await?;
    }
    drop(client);
    ensure!(gateway.terminate(Duration::from_secs(20))?.success(), "{}", gateway.output());
    assert_eq!(collector.wait_for(3).await?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn another_document_sends_spans_elsewhere_and_loses_none() -> Result<()> {
    let (one, other) = (Collector::start()?, Collector::start()?);
    let to = |collector: &Collector| {
        // So long that what the first has is sent because it is replaced.
        let rest = "sample_per_million: 1000000, export: { interval: 1m, flush_timeout: 1s }";
        plain(&format!("endpoint: \"{}\", {rest}", collector.endpoint()))
    };
    let mut gateway = start(&to(&one))?;
    let mut client = Client::new(gateway.address()?);
    client.get("/one").await?;
    gateway.replace("agw.yaml", to(&other))?;
    let page = gateway.wait_for_revision(2).await?;
    assert_eq!(page["revisions"][0]["changes"], serde_json::json!(["tracing: changed"]), "{page:#}");
    client.get("/other").await?;
    let spans = one.wait_for(1).await?;
    assert_eq!((spans.len(), spans[0].get("url.path")), (1, "/one".into()));
    gateway
        .replace("agw.yaml", plain(&format!("endpoint: \"{}\", sample_per_million: 0", one.endpoint())))?;
    gateway.wait_for_revision(3).await?;
    client.get("/nowhere").await?;
    let spans = other.wait_for(1).await?;
    assert_eq!((spans.len(), spans[0].get("url.path")), (1, "/other".into()));
    drop(client);
    ensure!(gateway.terminate(Duration::from_secs(20))?.success(), "{}", gateway.output());
    assert_eq!((one.spans()?.len(), other.spans()?.len()), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_collector_with_tls_gets_spans_only_if_its_certificate_is_of_the_authority() -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let collector = Collector::start_tls(authority.issue("localhost")?.server(&[], None)?)?;
    let document = plain(&format!(
        "endpoint: \"https://localhost:{}/v1/traces\", tls: {{ ca: {{ file: ca.pem }} }}, \
         sample_per_million: 1000000, export: {{ interval: 10ms, retry_for: 100ms }}",
        collector.address().port()
    ));
    let gateway = Gateway::start_with(&document, &[("ca.pem", stranger.pem().as_bytes())], &OPTIONS)?;
    let mut client = Client::new(gateway.address()?);
    client.get("/stranger").await?;
    let failed = |metrics: &agw_tests::Metrics| {
        metrics.value("agw_trace_spans_total", &[("outcome", "failed")]) == Some(1.0)
    };
    gateway.wait_for_metrics("a stranger gets nothing", failed).await?;
    assert!(collector.requests().is_empty());
    gateway.replace("ca.pem", authority.pem())?;
    gateway.wait_for_revision(2).await?;
    client.get("/known").await?;
    let spans = collector.wait_for(1).await?;
    assert_eq!((spans.len(), spans[0].get("url.path")), (1, "/known".into()));
    Ok(())
}
