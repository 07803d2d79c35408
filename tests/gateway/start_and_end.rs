use std::net::TcpListener;
use std::time::{Duration, Instant};

use agw_tests::gateway::output;
use agw_tests::{Client, Gateway, Script, Upstream};
use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use rustix::process::Signal;

use crate::raw::{read_all, read_until, send};

const ECHO: &str =
    "routes: [{ name: all, match: { prefix: / }, cluster: echo }]\nclusters: [{ name: echo, builtin: echo }]";

#[test]
fn a_port_that_another_process_holds_is_an_error_at_start() -> Result<()> {
    let holder = TcpListener::bind("127.0.0.1:0")?;
    let taken = holder.local_addr()?;
    let folder = tempfile::tempdir()?;
    let document = crate::document("", ECHO).replace("127.0.0.1:0", &taken.to_string());
    std::fs::write(folder.path().join("agw.yaml"), document)?;
    let said = output(folder.path(), &["run", "--config", "agw.yaml", "--admin", "127.0.0.1:0"])?;
    let text = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(1), "{text}");
    assert!(text.contains(&taken.to_string()) && text.contains("in use") && text.contains("http"), "{text}");

    std::fs::write(folder.path().join("agw.yaml"), crate::document("", ECHO))?;
    let said = output(folder.path(), &["run", "--config", "agw.yaml", "--admin", &taken.to_string()])?;
    let text = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(1), "{text}");
    assert!(text.contains(&taken.to_string()) && text.contains("--admin"), "{text}");
    Ok(())
}

#[tokio::test]
async fn another_gateways_port_is_an_error_too() -> Result<()> {
    let first = crate::start(ECHO)?;
    let taken = first.address()?.to_string();
    let document = crate::document("", ECHO).replace("127.0.0.1:0", &taken);
    let error = Gateway::start(&document).expect_err("two gateways share a port");
    assert!(format!("{error:#}").contains("in use"), "{error:#}");
    assert_eq!(Client::new(first.address()?).get("/").await?.status, 200);
    Ok(())
}

/// A gateway with a request under way that takes two seconds, begun to be answered.
async fn with_a_request_under_way() -> Result<(Gateway, Upstream, tokio::net::TcpStream)> {
    let upstream = Upstream::start(|_| {
        Script::chunks([
            (Duration::ZERO, Bytes::from("first ")),
            (Duration::from_secs(2), Bytes::from("last")),
        ])
    })?;
    let gateway = crate::start(&format!(
        "routes: [{{ name: all, match: {{ prefix: / }}, cluster: up, timeout: 60s }}]\n\
         clusters: [{{ name: up, endpoints: [\"{}\"] }}]",
        upstream.address()
    ))?;
    let mut stream = send(gateway.address()?, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    read_until(&mut stream, "first ").await?;
    Ok((gateway, upstream, stream))
}

#[tokio::test]
async fn sigterm_lets_requests_finish_and_takes_no_new_connection() -> Result<()> {
    let (mut gateway, _upstream, mut stream) = with_a_request_under_way().await?;
    let address = gateway.address()?;
    let mut idle = send(address, b"").await?;
    gateway.process().signal(Signal::TERM)?;
    gateway.wait_for_output("that it drains", |log| log.contains("draining")).await?;
    let ready = gateway.ask_admin("/readyz");
    if let Ok(ready) = ready {
        assert_eq!(ready.status, 503, "{}", ready.text());
    }
    assert_eq!(read_all(&mut idle).await?, "", "a connection without a request is closed");
    let end = Instant::now() + Duration::from_secs(20);
    while let Ok(mut late) = send(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await {
        // Whoever got into the kernel's queue before the socket closed is served, once.
        let answer = read_all(&mut late).await.unwrap_or_default();
        ensure!(answer.is_empty() || answer.contains("connection: close"), "{answer}");
        if Instant::now() > end {
            bail!("connections are still taken");
        }
    }
    let rest = read_all(&mut stream).await?;
    assert!(rest.contains("last") && rest.contains("\r\n0\r\n"), "the answer is whole: {rest:?}");
    let status = gateway.process().wait(Duration::from_secs(20))?;
    assert_eq!(status.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() -> Result<()> {
    let (mut gateway, _upstream, _stream) = with_a_request_under_way().await?;
    gateway.process().signal(Signal::INT)?;
    gateway.wait_for_output("that it drains", |log| log.contains("draining")).await?;
    gateway.process().signal(Signal::TERM)?;
    let status = gateway.process().wait(Duration::from_secs(20))?;
    assert_eq!(status.code(), Some(0));
    gateway.wait_for_output("why", |log| log.contains("second signal")).await?;
    Ok(())
}

#[tokio::test]
async fn an_idle_gateway_ends_at_once() -> Result<()> {
    let mut gateway = crate::start(ECHO)?;
    let mut client = Client::new(gateway.address()?);
    assert_eq!(client.get("/").await?.status, 200);
    let status = gateway.terminate(Duration::from_secs(20))?;
    assert_eq!(status.code(), Some(0));
    Ok(())
}
