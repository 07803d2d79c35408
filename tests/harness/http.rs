use std::time::Duration;

use agw_tests::{Client, FaultProxy, Load, Mode, Script, Upstream};
use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

#[tokio::test]
async fn an_upstream_answers_by_its_script_and_remembers_the_request() -> Result<()> {
    let upstream = Upstream::start(|request| match request.path.as_str() {
        "/teapot" => Script::status(StatusCode::IM_A_TEAPOT, "short and stout").header("x-kind", "pot"),
        _ => Script::ok(""),
    })?;
    let mut client = Client::new(upstream.address());
    let reply = client.send(Method::POST, "/teapot", &[("x-a", "1")], "leaves").await?;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (418, "short and stout"));
    assert_eq!(reply.header("x-kind"), "pot");

    let seen = upstream.last()?;
    assert_eq!((seen.method, seen.path.as_str(), &seen.body[..]), (Method::POST, "/teapot", &b"leaves"[..]));
    assert_eq!(seen.headers["x-a"], "1");
    Ok(())
}

#[tokio::test]
async fn a_chunked_body_comes_in_its_time_with_trailers() -> Result<()> {
    let upstream = Upstream::start(|_| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        let pause = Duration::from_millis(50);
        Script::chunks([(pause, Bytes::from("one ")), (pause, Bytes::from("two"))]).trailers(trailers)
    })?;
    let start = std::time::Instant::now();
    let reply = Client::new(upstream.address()).get_with("/", &[("te", "trailers")]).await?;
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(reply.text(), "one two");
    assert_eq!(reply.trailers.context("no trailers")?["x-sum"], "42");
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_closes_in_mid_body_is_an_error_for_its_client() -> Result<()> {
    let upstream =
        Upstream::start(|_| Script::chunks([(Duration::ZERO, Bytes::from("half"))]).closing_early())?;
    let error = Client::new(upstream.address()).get("/").await.expect_err("the body is not whole");
    assert!(!format!("{error:#}").contains("minute"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_never_answers_keeps_the_connection() -> Result<()> {
    let upstream = Upstream::start(|_| Script::never())?;
    let mut client = Client::new(upstream.address());
    let waited = tokio::time::timeout(Duration::from_millis(200), client.get("/")).await;
    assert!(waited.is_err(), "there was an answer: {waited:?}");
    assert_eq!(upstream.recorded().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_client_keeps_its_connection() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("x"))?;
    let proxy = FaultProxy::start(upstream.address().to_string())?;
    let mut client = Client::new(proxy.address());
    for _ in 0..5 {
        assert_eq!(client.get("/").await?.status, StatusCode::OK);
    }
    assert_eq!(proxy.accepted(), 1);
    Ok(())
}

#[test]
fn a_load_sends_exactly_what_it_was_told_over_its_connections() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("x"))?;
    let proxy = FaultProxy::start(upstream.address().to_string())?;
    let report = Load::new(proxy.address(), "/", 8).header("x-load", "1").run(500)?;
    assert_eq!(report.statuses(), [(200, 500)].into());
    assert_eq!(proxy.accepted(), 8);
    assert_eq!(upstream.recorded().len(), 500);
    assert_eq!(upstream.last()?.headers["x-load"], "1");
    assert!(report.percentile(0.99) >= report.percentile(0.5));
    Ok(())
}

#[test]
fn a_load_counts_what_was_not_answered_and_ends_when_told() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("x"))?;
    let proxy = FaultProxy::start(upstream.address().to_string())?;
    let load = Load::new(proxy.address(), "/", 4).start()?;
    std::thread::sleep(Duration::from_millis(200));
    proxy.set(Mode::Refuse)?;
    std::thread::sleep(Duration::from_millis(200));
    let report = load.stop()?;
    assert!(report.count(200) > 0 && report.count(0) > 0, "{report}");
    Ok(())
}
