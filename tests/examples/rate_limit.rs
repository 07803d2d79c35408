use std::time::{Duration, Instant};

use agw_tests::{Client, Gateway, RedisServer, Reply, guest};
use anyhow::{Context, Result, bail};

use crate::document::Document;

/// The example's own document on this Redis.
fn own_document(redis: &RedisServer) -> Result<Document> {
    Document::of("rate-limit")?.with("redis://127.0.0.1:6379/0", &redis.url())
}

/// One route `/NAME` and one plugin for each policy, a configuration of the example's. Windows are an hour unless
/// the policy says otherwise.
fn start(redis: &RedisServer, policies: &[(&str, &str)]) -> Result<Gateway> {
    let module = guest("rate-limit")?;
    let (module, url) = (module.display(), redis.url());
    let (mut routes, mut plugins, mut grants) = (String::new(), String::new(), String::new());
    for (name, policy) in policies {
        let window = if policy.contains("window") { "" } else { ", window: 3600" };
        routes += &format!(
            "  - {{ name: {name}, match: {{ prefix: /{name} }}, cluster: echo, plugins: [{name}] }}\n"
        );
        plugins += &format!(
            "  - {{ name: {name}, module: {{ file: \"{module}\" }}, configuration: {{ name: {name}, {policy}{window} }} }}\n"
        );
        grants += &format!(
            "      - {{ plugin: {name}, commands: [set, incr, pttl, expire], key_prefix: \"limits:\" }}\n"
        );
    }
    Gateway::start(&format!(
        "version: 1\nlisteners: [{{ name: http, address: \"127.0.0.1:0\" }}]\nroutes:\n{routes}\
         clusters: [{{ name: echo, builtin: echo }}]\nplugins:\n{plugins}\
         resources:\n  - name: limits\n    type: redis\n    url: {url}\n    limits: {{ call_timeout: 5s }}\n    grants:\n{grants}"
    ))
}

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
    Client::new(gateway.address()?).get_with(path, headers).await
}

/// Statuses of one request after another.
async fn statuses(gateway: &Gateway, path: &str, headers: &[(&str, &str)], count: usize) -> Result<Vec<u16>> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(get(gateway, path, headers).await?.status.as_u16());
    }
    Ok(statuses)
}

/// Every key has an expiry, and there are so many.
fn assert_keys_expire(redis: &RedisServer, count: usize) -> Result<()> {
    let mut connection = redis.connection()?;
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection)?;
    assert_eq!(
        keys.len(),
        count,
        "{:?}",
        keys.iter().map(|key| key.escape_ascii().to_string()).collect::<Vec<_>>()
    );
    for key in keys {
        let shown = key.escape_ascii().to_string();
        assert!(key.starts_with(b"limits:"), "{shown} is outside the grant's prefix");
        let left: i64 = redis::cmd("PTTL").arg(&key).query(&mut connection)?;
        assert!(left > 0 || left == -2, "{shown}: {left}");
    }
    Ok(())
}

/// What counts is the whole number after `name=` in a structured header.
fn number(header: &str, name: &str) -> Result<u64> {
    let found = header.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    found.with_context(|| format!("{name} in {header:?}"))?.parse().context("a number")
}

#[tokio::test]
async fn bad_configurations_are_refused_by_the_fields_name() -> Result<()> {
    let cases = [
        ("limit: 5", "limit: 0", "configuration: limit:"),
        ("limit: 5", "limit: many", "configuration: limit:"),
        ("window: 10", "windows: 10", "configuration: window: it is missing"),
        ("on_error: open", "on_error: perhaps", "configuration: on_error:"),
        ("on_error: open", "on_eror: open", "configuration: on_eror: there is no such field"),
        ("header: x-api-key", "heder: x-api-key", "configuration: key[0]"),
        ("name: per-key", "name: \"per key\"", "configuration: name:"),
    ];
    for (old, new, expected) in cases {
        let refusal = Document::of("rate-limit")?.with(old, new)?.refusal()?;
        assert!(refusal.contains(expected), "{new}:\n{refusal}");
        assert!(refusal.contains("load the plugin \"limit\""), "{new}:\n{refusal}");
    }
    Ok(())
}

#[tokio::test]
async fn exactly_the_limit_passes_and_the_rest_is_told_when_to_come_back() -> Result<()> {
    let redis = RedisServer::start()?;
    // A window that a slow machine does not outlast.
    let gateway = own_document(&redis)?.with("window: 10", "window: 600")?.start()?;
    let me = [("x-api-key", "me")];
    for left in (0..5).rev() {
        let reply = get(&gateway, "/any/path", &me).await?;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("ratelimit-policy"), "\"per-key\";q=5;w=600");
        assert!(reply.header("ratelimit").starts_with(&format!("\"per-key\";r={left};t=")), "{reply:?}");
        assert_eq!(reply.header("retry-after"), "");
        assert_eq!(reply.json()?["headers"]["x-api-key"], "me", "the upstream's own answer");
    }
    for _ in 0..3 {
        let reply = get(&gateway, "/another/path", &me).await?;
        assert_eq!(reply.status, 429);
        assert_eq!(reply.header("ratelimit-policy"), "\"per-key\";q=5;w=600");
        let seconds = number(reply.header("ratelimit"), "t")?;
        assert_eq!(reply.header("ratelimit"), format!("\"per-key\";r=0;t={seconds}"));
        assert_eq!(reply.header("retry-after"), seconds.to_string());
        assert!((500..=600).contains(&seconds), "{seconds}");
        assert_eq!(reply.header("content-type"), "application/problem+json");
        let problem = reply.json()?;
        assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
        assert_eq!((&problem["status"], &problem["violated-policies"][0]), (&429.into(), &"per-key".into()));
    }
    assert_eq!(get(&gateway, "/", &[("x-api-key", "you")]).await?.status, 200, "another key counts apart");
    assert_keys_expire(&redis, 2)?;
    let metrics = gateway.metrics()?;
    let counter =
        |name: &str| metrics.value("agw_plugin_counter_total", &[("plugin", "limit"), ("name", name)]);
    assert_eq!(counter("rate_limit_allowed_total"), Some(6.0));
    assert_eq!(counter("rate_limit_limited_total"), Some(3.0));
    Ok(())
}

/// Path, a header, and what it comes to.
type Case<'a> = (&'a str, Option<(&'a str, &'a str)>, u16);

#[tokio::test]
async fn keys_come_from_header_cookie_address_and_path() -> Result<()> {
    let redis = RedisServer::start()?;
    let gateway = start(
        &redis,
        &[
            ("header", "limit: 1, key: [{ header: X-Api-Key }]"),
            ("cookie", "limit: 1, key: [{ cookie: sid }]"),
            ("address", "limit: 1, key: [{ address: true }]"),
            ("path", "limit: 1, key: [{ path: true }]"),
            ("first", "limit: 1, key: [{ header: x-api-key }, { cookie: sid }, { path: true }]"),
        ],
    )?;
    let long = "k".repeat(3000);
    let cases: [Case<'_>; 23] = [
        ("/header", Some(("x-api-key", "a")), 200),
        ("/header", Some(("X-API-KEY", "a")), 429),
        ("/header", Some(("x-api-key", "b")), 200),
        ("/header", Some(("x-api-key", &long)), 200),
        ("/header", Some(("x-api-key", &long)), 429),
        // Those without a key share one counter: leaving it out is no way around the limit.
        ("/header", None, 200),
        ("/header", Some(("x-api-key", "")), 429),
        ("/cookie", Some(("cookie", "sid=a")), 200),
        ("/cookie", Some(("cookie", "x=1; sid=a; y=2")), 429),
        ("/cookie", Some(("cookie", "sid=b")), 200),
        ("/cookie", Some(("cookie", "xsid=a")), 200),
        ("/cookie", None, 429),
        // Each request has a port of its own: the address alone counts, whatever the headers say.
        ("/address", None, 200),
        ("/address", Some(("x-forwarded-for", "1.2.3.4")), 429),
        ("/path/a", None, 200),
        ("/path/a?query", None, 429),
        ("/path/b", None, 200),
        // The first source that a request has; no value poses as another's.
        ("/first/a", Some(("x-api-key", "a")), 200),
        ("/first/b", Some(("x-api-key", "a")), 429),
        ("/first/a", Some(("cookie", "sid=a")), 200),
        ("/first/b", Some(("cookie", "sid=a")), 429),
        ("/first/a", None, 200),
        ("/first/a", None, 429),
    ];
    for (path, header, expected) in cases {
        let headers: Vec<_> = header.into_iter().collect();
        let reply = get(&gateway, path, &headers).await?;
        assert_eq!(reply.status.as_u16(), expected, "{path} {headers:?}");
    }
    assert_keys_expire(&redis, 13)
}

#[tokio::test]
async fn two_policies_of_one_key_count_apart() -> Result<()> {
    let redis = RedisServer::start()?;
    let gateway = start(&redis, &[("one", "limit: 1"), ("two", "limit: 2")])?;
    assert_eq!(statuses(&gateway, "/one", &[], 2).await?, [200, 429]);
    assert_eq!(statuses(&gateway, "/two", &[], 3).await?, [200, 200, 429]);
    Ok(())
}

#[tokio::test]
async fn without_redis_each_policy_does_what_it_says_and_recovers() -> Result<()> {
    let mut redis = RedisServer::start()?;
    let policies = [
        ("open", "limit: 1, on_error: open"),
        ("closed", "limit: 1, on_error: closed"),
        ("shadow", "limit: 1, on_error: closed, shadow: true"),
    ];
    let gateway = start(&redis, &policies)?;
    for path in ["/open", "/closed"] {
        assert_eq!(statuses(&gateway, path, &[], 2).await?, [200, 429], "{path}");
    }
    redis.kill()?;
    for round in 0..10 {
        for path in ["/open", "/shadow"] {
            let reply = get(&gateway, path, &[]).await?;
            assert_eq!(reply.status, 200, "{path} {round}");
            assert_eq!(reply.header("ratelimit"), "", "nobody knows where the client stands");
        }
        let reply = get(&gateway, "/closed", &[]).await?;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (503, "application/problem+json"));
        assert_eq!(reply.json()?["status"], 503);
    }
    let line = "policy open: requests are not counted";
    let log = gateway.wait_for_output("that requests are not counted", |log| log.contains(line)).await?;
    let told = log.matches(line).count();
    assert!((1..=2).contains(&told), "once for each VM, not for each request: {told}\n{log}");

    redis.restart()?;
    let end = Instant::now() + Duration::from_secs(30);
    while get(&gateway, "/closed", &[]).await?.status == 503 {
        if Instant::now() > end {
            bail!("no service 30 s after Redis came back:\n{}", gateway.output());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(statuses(&gateway, "/closed", &[], 1).await?, [429], "it counts again");
    Ok(())
}

#[tokio::test]
async fn shadow_mode_counts_and_says_so_but_lets_everything_pass() -> Result<()> {
    let redis = RedisServer::start()?;
    let gateway = start(&redis, &[("shadow", "limit: 2, shadow: true")])?;
    for left in [1, 0, 0, 0] {
        let reply = get(&gateway, "/shadow", &[]).await?;
        assert_eq!(reply.status, 200);
        assert!(reply.header("ratelimit").starts_with(&format!("\"shadow\";r={left};t=")), "{reply:?}");
    }
    let told = |log: &str| log.matches("over the limit, and passes because of shadow mode").count();
    let log = gateway.wait_for_output("two passes", |log| told(log) >= 2).await?;
    assert_eq!(told(&log), 2, "{log}");
    let limited = [("plugin", "shadow"), ("name", "rate_limit_limited_total")];
    assert_eq!(gateway.metrics()?.value("agw_plugin_counter_total", &limited), Some(2.0));
    Ok(())
}

#[tokio::test]
async fn a_window_ends_and_the_next_one_begins() -> Result<()> {
    let redis = RedisServer::start()?;
    let gateway = start(&redis, &[("short", "limit: 1, window: 1")])?;
    let end = Instant::now() + Duration::from_secs(30);
    // On a machine that stalls, a window may be over before its second request: look for one that is not.
    loop {
        let first = get(&gateway, "/short", &[]).await?;
        let second = get(&gateway, "/short", &[]).await?;
        if (first.status.as_u16(), second.status.as_u16()) == (200, 429) {
            assert_eq!(second.header("retry-after"), "1");
            break;
        }
        if Instant::now() > end {
            bail!("no window had a 200 and then a 429: {first:?} {second:?}");
        }
    }
    let limited = Instant::now();
    while get(&gateway, "/short", &[]).await?.status == 429 {
        if limited.elapsed() > Duration::from_secs(30) {
            bail!("the window of one second has not ended in 30");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_keys_expire(&redis, 1)
}

#[tokio::test]
async fn a_counter_that_lost_its_expiry_gets_one() -> Result<()> {
    let redis = RedisServer::start()?;
    let gateway = start(&redis, &[("mend", "limit: 3")])?;
    assert_eq!(statuses(&gateway, "/mend", &[], 1).await?, [200]);
    let mut connection = redis.connection()?;
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection)?;
    assert_eq!(redis::cmd("PERSIST").arg(&keys).query::<i64>(&mut connection)?, 1);
    assert_eq!(statuses(&gateway, "/mend", &[], 3).await?, [200, 200, 429], "and the count goes on");
    assert_keys_expire(&redis, 1)
}
