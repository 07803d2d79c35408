use std::time::{Duration, Instant};

use agw_tests::{Client, Gateway, guest};
use anyhow::{Result, ensure};

const BASE: Duration = Duration::from_secs(2);

fn start() -> Result<Gateway> {
    let module = guest("misbehave")?;
    let plugin = |name: &str, policy: &str| {
        format!(
            "  - {{ name: {name}, module: {{ file: \"{}\" }}, on_failure: {policy}, reload_backoff: {{ base: 2s, max: 2s }} }}\n",
            module.display()
        )
    };
    crate::start(&format!(
        "routes:\n  - {{ name: closed, match: {{ prefix: /closed/ }}, cluster: echo, plugins: [closed] }}\n  \
         - {{ name: open, match: {{ prefix: /open/ }}, cluster: echo, plugins: [open] }}\n\
         clusters: [{{ name: echo, builtin: echo }}]\nplugins:\n{}{}",
        plugin("closed", "fail_closed"),
        plugin("open", "fail_open")
    ))
}

#[tokio::test]
async fn a_plugin_that_keeps_trapping_rests_and_comes_back() -> Result<()> {
    let gateway = start()?;
    let mut client = Client::new(gateway.address()?);
    // The first trap is made good at once, the second after the base.
    assert_eq!(client.get("/closed/panic").await?.status, 503);
    let started = Instant::now();
    assert_eq!(client.get("/closed/panic").await?.status, 503);
    assert_eq!(client.get("/open/panic").await?.status, 200);
    assert_eq!(client.get("/open/panic").await?.status, 200);
    let mut refused = 0;
    // Only the plugin itself answers 401.
    while client.get("/closed/twice").await?.status != 401 {
        refused += 1;
        ensure!(started.elapsed() < Duration::from_secs(30), "it does not come back:\n{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(started.elapsed() >= BASE, "back after {:?}", started.elapsed());
    assert!(refused > 0);
    while client.get("/open/twice").await?.status != 401 {
        ensure!(started.elapsed() < Duration::from_secs(30), "it does not come back:\n{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let metrics = gateway.metrics()?;
    for plugin in ["closed", "open"] {
        let traps = metrics.value("agw_plugin_traps_total", &[("plugin", plugin)]);
        assert_eq!(traps, Some(2.0), "{plugin}: while it rests nothing is tried");
        assert_eq!(metrics.value("agw_vm_restarts_total", &[("plugin", plugin)]), Some(2.0), "{plugin}");
    }
    Ok(())
}
