//! What a dead, slow, hostile or misconfigured Redis does to requests: each has a written outcome. The fail-open
//! route answers 200, the fail-closed route 503, and nothing hangs, leaks or touches other requests.

mod answers;
#[path = "../scenario/cluster.rs"]
#[expect(clippy::print_stdout, reason = "figures are its output")]
mod cluster;
mod connections;
mod limits;
mod tls;
mod topology;
#[path = "../scenario/verdict.rs"]
#[expect(clippy::print_stdout, reason = "figures are its output")]
mod verdict;

use std::time::Duration;

use agw_tests::{Client, Gateway};
use anyhow::{Context, Result};

/// The resource's outcomes so far: how many calls of all plugins ended with `outcome`.
fn outcomes(gateway: &Gateway, outcome: &str) -> Result<f64> {
    let metrics = gateway.metrics()?;
    let name = "agw_resource_operation_duration_seconds_count";
    Ok(metrics.value(name, &[("outcome", outcome)]).unwrap_or(0.0))
}

/// Holds if at least `least` calls ended with `outcome`; else shows how calls did end.
fn expect_outcome(gateway: &Gateway, outcome: &str, least: f64) -> Result<()> {
    let count = outcomes(gateway, outcome)?;
    if count < least {
        let metrics = gateway.ask_admin("/metrics")?.text();
        let calls =
            metrics.lines().filter(|line| line.starts_with("agw_resource_operation_duration_seconds_count"));
        let calls: Vec<&str> = calls.collect();
        anyhow::bail!("{outcome}: {count}, expected {least} or more; calls were\n{}", calls.join("\n"));
    }
    Ok(())
}

/// Asks both routes and compares their statuses: fail-open, then fail-closed.
async fn expect(client: &mut Client, open: u16, closed: u16) -> Result<()> {
    let answer = client.get_with("/open/x", &[("x-api-key", "k")]).await.context("the fail-open route")?;
    assert_eq!(answer.status.as_u16(), open, "fail-open: {}", answer.text());
    let answer =
        client.get_with("/closed/x", &[("x-api-key", "k")]).await.context("the fail-closed route")?;
    assert_eq!(answer.status.as_u16(), closed, "fail-closed: {}", answer.text());
    Ok(())
}

/// The test's task sleeps; the gateway and Redis are other processes.
async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Asks until the fail-closed route answers 200.
async fn until_back(client: &mut Client, within: Duration) -> Result<Duration> {
    let start = std::time::Instant::now();
    loop {
        let answer = client.get_with("/closed/x", &[("x-api-key", "k")]).await?;
        if answer.status == 200 {
            return Ok(start.elapsed());
        }
        anyhow::ensure!(start.elapsed() < within, "still {} after {within:?}", answer.status);
        pause(20).await;
    }
}
