use agw_tests::{Client, Gateway, RedisOptions, RedisServer, guest};
use anyhow::{Context, Result};
use http::Method;

const PASSWORD: &str = "planted-correct-horse-battery";
const PAGES: [&str; 7] =
    ["/livez", "/readyz", "/metrics", "/v1/config", "/v1/plugins", "/v1/resources", "/v1/revisions"];

/// The families of control-and-resources, section 5.3, that issue 2 brings.
const METRICS: [&str; 18] = [
    "agw_http_requests_total",
    "agw_http_request_duration_seconds_bucket",
    "agw_upstream_duration_seconds_bucket",
    "agw_http_connections",
    "agw_plugin_phase_duration_seconds_bucket",
    "agw_plugin_traps_total",
    "agw_plugin_memory_bytes",
    "agw_plugin_vms",
    "agw_vm_restarts_total",
    "agw_resource_operation_duration_seconds_bucket",
    "agw_resource_queue_seconds_bucket",
    "agw_resource_connect_seconds_bucket",
    "agw_resource_io_seconds_bucket",
    "agw_resource_pool_connections",
    "agw_resource_pool_rejected_total",
    "agw_resource_breaker_state",
    "agw_resource_reconnects_total",
    "agw_plugin_counter_total",
];

/// The rate-limit example before a Redis with a password, which stands in a file beside the document.
fn start(redis: &RedisServer, password: &str) -> Result<Gateway> {
    let document = crate::document(
        "",
        &format!(
            r#"routes:
  - {{ name: limited, match: {{ prefix: /limited }}, cluster: echo, plugins: [limit] }}
  - {{ name: bad, match: {{ prefix: /bad }}, cluster: echo, plugins: [bad] }}
  - {{ name: plain, match: {{ prefix: /plain }}, cluster: gone }}
clusters: [{{ name: echo, builtin: echo }}, {{ name: gone, endpoints: ["127.0.0.1:1"] }}]
plugins:
  - {{ name: limit, module: {{ file: "{}" }}, configuration: {{ limit: 5, window: 60 }} }}
  - {{ name: bad, module: {{ file: "{}" }} }}
resources:
  - name: limits
    type: redis
    url: {}
    password: {{ file: secret }}
    limits: {{ call_timeout: 5s }}
    grants: [{{ plugin: limit, commands: [set, incr, pttl], key_prefix: "l:" }}]
"#,
            guest("rate-limit")?.display(),
            guest("misbehave")?.display(),
            redis.url()
        ),
    );
    let options = ["--admin", "127.0.0.1:0", "--workers", "1"];
    Gateway::start_with(&document, &[("secret", password.as_bytes())], &options)
}

fn redis() -> Result<RedisServer> {
    RedisServer::start_with(RedisOptions { password: Some(PASSWORD.to_owned()), ..RedisOptions::default() })
}

#[tokio::test]
async fn a_dead_redis_fails_neither_livez_nor_readyz() -> Result<()> {
    let mut redis = redis()?;
    let gateway = start(&redis, PASSWORD)?;
    redis.kill()?;
    let mut client = Client::new(gateway.address()?);
    for _ in 0..8 {
        assert_eq!(client.get("/limited").await?.status, 200, "fail open");
    }
    for page in ["/livez", "/readyz"] {
        assert_eq!(gateway.ask_admin(page)?.status, 200, "{page}");
    }
    let resource = gateway.ask_admin("/v1/resources")?.json()?[0].clone();
    assert_eq!((&resource["breaker"], &resource["in_flight"]), (&"open".into(), &0.into()), "{resource}");
    let state = gateway.metrics()?.value("agw_resource_breaker_state", &[("resource", "limits")]);
    assert_eq!(state, Some(1.0));
    Ok(())
}

#[tokio::test]
async fn no_page_and_no_log_line_shows_a_password() -> Result<()> {
    let redis = redis()?;
    // Once with the right one, and once with one that the server refuses.
    for password in [PASSWORD, "planted-wrong-horse-battery"] {
        let gateway = start(&redis, password)?;
        let mut client = Client::new(gateway.address()?);
        for path in ["/limited", "/plain", "/bad/panic", "/none"] {
            client.get(path).await?;
        }
        let pages = PAGES.map(|page| gateway.ask_admin(page).map(|reply| reply.text()));
        for (page, text) in PAGES.iter().zip(pages) {
            let text = text?;
            assert!(!text.contains("horse"), "{page}: {text}");
            assert!(!text.is_empty(), "{page}");
        }
        let config = gateway.ask_admin("/v1/config")?.json()?;
        assert_eq!(config["snapshot"]["resources"][0]["password"], "***", "{config:#}");
        let resource = gateway.ask_admin("/v1/resources")?.json()?[0].clone();
        assert_eq!(resource["last_error"].is_null(), password == PASSWORD, "{resource}");
        let log = gateway.wait_for_output("the trap", |log| log.contains("the guest trapped")).await?;
        assert!(!log.contains("horse"), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn every_metric_has_the_name_that_dashboards_know() -> Result<()> {
    let redis = redis()?;
    let gateway = start(&redis, PASSWORD)?;
    let mut client = Client::new(gateway.address()?);
    for path in ["/limited", "/plain", "/bad/panic", "/bad/panic"] {
        client.get(path).await?;
    }
    let page = gateway.ask_admin("/metrics")?;
    assert!(page.header("content-type").starts_with("application/openmetrics-text"), "{:?}", page.headers);
    let text = page.text();
    assert!(text.ends_with("# EOF\n"));
    let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    for name in METRICS {
        let family = name.trim_end_matches("_total").trim_end_matches("_bucket");
        assert!(
            families.iter().any(|line| line.split(' ').next() == Some(family)),
            "{family} in {families:#?}"
        );
    }
    let metrics = gateway.metrics()?;
    let requests = [("route", "limited"), ("method", "GET"), ("code", "200")];
    assert_eq!(metrics.value("agw_http_requests_total", &requests), Some(1.0));
    let calls = [("resource", "limits"), ("plugin", "limit"), ("outcome", "ok")];
    assert_eq!(metrics.value("agw_resource_operation_duration_seconds_count", &calls), Some(1.0));
    let traps = [("plugin", "bad"), ("kind", "unreachable")];
    assert_eq!(metrics.value("agw_plugin_traps_total", &traps), Some(2.0));
    Ok(())
}

#[tokio::test]
async fn the_pages_tell_what_runs_and_only_read() -> Result<()> {
    let redis = redis()?;
    let gateway = start(&redis, PASSWORD)?;
    let config = gateway.ask_admin("/v1/config")?.json()?;
    assert_eq!(config["digest"].as_str().map(str::len), Some(64));
    assert_eq!(config["listening"][0]["address"], gateway.address()?.to_string());
    let plugins = gateway.ask_admin("/v1/plugins")?.json()?;
    let modes: Vec<_> = plugins
        .as_array()
        .context("a list")?
        .iter()
        .map(|plugin| (&plugin["name"], &plugin["mode"]))
        .collect();
    assert!(modes.contains(&(&"limit".into(), &"exclusive".into())), "{plugins}");
    assert!(modes.contains(&(&"bad".into(), &"shared".into())), "{plugins}");

    let mut admin = Client::new(gateway.admin());
    for page in PAGES {
        let reply = admin.send(Method::POST, page, &[], "").await?;
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, "GET, HEAD"), "{page}");
    }
    let reply = admin.get("/v1/secrets").await?;
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("/v1/config"), "it says what there is: {}", reply.text());
    Ok(())
}
