use std::time::{Duration, Instant};

use agw_tests::{Client, FaultProxy, Script, Upstream};
use anyhow::{Result, bail};
use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use crate::raw::{read_until, send, upstream};

#[tokio::test]
async fn a_client_that_leaves_takes_its_upstream_request_with_it() -> Result<()> {
    let upstream = Upstream::start(|request| match request.path.as_str() {
        "/never" => Script::never(),
        _ => Script::chunks((0..1000).map(|_| (Duration::from_millis(50), Bytes::from("x".repeat(100))))),
    })?;
    let between = FaultProxy::start(upstream.address().to_string())?;
    let gateway = crate::start(&format!(
        "routes: [{{ name: all, match: {{ prefix: / }}, cluster: up, timeout: 60s }}]\n\
         clusters: [{{ name: up, endpoints: [\"{}\"] }}]",
        between.address()
    ))?;
    // Before the answer, and in the middle of it.
    let waiting = send(gateway.address()?, b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    let mut reading = send(gateway.address()?, b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    read_until(&mut reading, "xxx").await?;
    let end = Instant::now() + Duration::from_secs(20);
    while between.open() < 2 {
        if Instant::now() > end {
            bail!("{} connections to the upstream", between.open());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop((waiting, reading));
    while between.open() > 0 {
        if Instant::now() > end {
            bail!("{} upstream connections are still open", between.open());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = |log: &str| log.matches("\"flags\":\"DC\"").count() == 2;
    gateway.wait_for_output("that the clients left", told).await?;
    gateway
        .wait_for_metrics("no connection is open", |m| m.value("agw_http_connections", &[]) == Some(0.0))
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_breaks_off_its_body_is_no_whole_request() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("x"))?;
    let gateway = crate::start(&format!(
        "routes: [{{ name: all, match: {{ prefix: / }}, cluster: up }}]\nclusters: [{{ name: up, endpoints: [\"{}\"] }}]",
        upstream.address()
    ))?;
    let mut stream =
        send(gateway.address()?, b"POST /cut HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf").await?;
    stream.shutdown().await?;
    drop(stream);
    let logged = |log: &str| log.contains("\"path\":\"/cut\"");
    gateway.wait_for_output("the request", logged).await?;
    assert_eq!(Client::new(gateway.address()?).get("/whole").await?.status, 200);
    let paths: Vec<_> = upstream.recorded().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/whole"], "the upstream never got a whole request of it");
    Ok(())
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_rest_of_the_body() -> Result<()> {
    let (address, server) = upstream(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await?;
    let gateway = crate::start(&format!(
        "routes: [{{ name: all, match: {{ prefix: / }}, cluster: up }}]\nclusters: [{{ name: up, endpoints: [\"{address}\"] }}]"
    ))?;
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nthe beginning";
    let mut stream = send(gateway.address()?, head).await?;
    let answer = read_until(&mut stream, "no").await?;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    server.abort();
    Ok(())
}
