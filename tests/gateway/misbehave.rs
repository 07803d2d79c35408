use std::time::{Duration, Instant};

use agw_tests::{Client, Gateway, Load, Reply, guest};
use anyhow::{Context, Result, bail};
use http::Method;

use crate::raw::send;

/// Plugin, and its answer to a trap.
const PLUGINS: [(&str, u16); 4] =
    [("closed-shared", 503), ("open-shared", 200), ("closed-exclusive", 503), ("open-exclusive", 200)];

/// What traps, and the kind it is counted as.
const TRAPS: [(&str, &str); 9] = [
    ("panic", "unreachable"),
    ("loop", "cpu"),
    ("memory", "unreachable"),
    ("stack", "stack"),
    ("frames", "memory"),
    ("bad-header", "unreachable"),
    ("bad-value", "unreachable"),
    ("bad-reply", "host"),
    ("bad-status", "host"),
];

/// Every plugin on a route of its own, and one route without.
fn start() -> Result<Gateway> {
    let module = guest("misbehave")?;
    let (mut routes, mut plugins) = (String::new(), String::new());
    for (name, _) in PLUGINS {
        let (policy, mode) = name.split_once('-').context("a policy and a mode")?;
        routes += &format!(
            "  - {{ name: {name}, match: {{ prefix: /{name}/ }}, cluster: echo, plugins: [{name}] }}\n  \
             - {{ name: {name}-pause, match: {{ path: /{name}/pause }}, cluster: echo, plugins: [{name}], timeout: 500ms }}\n"
        );
        plugins += &format!(
            "  - {{ name: {name}, module: {{ file: \"{}\" }}, vm: {{ mode: {mode} }}, on_failure: fail_{policy}, \
             limits: {{ cpu_time: 300ms, memory: 8MiB }}, reload_backoff: {{ base: 1ms, max: 1ms }} }}\n",
            module.display()
        );
    }
    crate::start(&format!(
        "routes:\n  - {{ name: plain, match: {{ prefix: /plain }}, cluster: echo }}\n{routes}\
         clusters: [{{ name: echo, builtin: echo }}]\nplugins:\n{plugins}"
    ))
}

async fn get(gateway: &Gateway, path: &str) -> Result<Reply> {
    Client::new(gateway.address()?).get(path).await
}

/// Asks until the plugin serves again, which also ends its back-off.
async fn until_well(gateway: &Gateway, plugin: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    while !serves(gateway, plugin).await? {
        if Instant::now() > end {
            bail!("{plugin} does not come back:\n{}", gateway.output());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Whether the plugin itself runs: an answer of its own shows it, whatever its policy.
async fn serves(gateway: &Gateway, plugin: &str) -> Result<bool> {
    Ok(get(gateway, &format!("/{plugin}/twice")).await?.status == 401)
}

#[tokio::test]
async fn a_trap_costs_its_own_request_and_is_counted_by_kind() -> Result<()> {
    let gateway = start()?;
    let plain = Load::new(gateway.address()?, "/plain", 2).start()?;
    for (plugin, expected) in PLUGINS {
        for (deed, _) in TRAPS {
            until_well(&gateway, plugin).await?;
            let reply = get(&gateway, &format!("/{plugin}/{deed}")).await?;
            assert_eq!(reply.status.as_u16(), expected, "{plugin} {deed}: {}", reply.text());
            assert!(!reply.text().contains("smuggled"), "{}", reply.text());
            assert!(!reply.headers.contains_key("x-smuggled"));
        }
        until_well(&gateway, plugin).await?;
        let metrics = gateway.metrics()?;
        for kind in ["unreachable", "cpu", "stack", "memory", "host"] {
            let expected = TRAPS.iter().filter(|(_, counted)| *counted == kind).count() as f64;
            let counted = metrics.value("agw_plugin_traps_total", &[("plugin", plugin), ("kind", kind)]);
            assert_eq!(counted, Some(expected), "{plugin} {kind}");
        }
        let restarts = metrics.value("agw_vm_restarts_total", &[("plugin", plugin)]);
        assert_eq!(restarts, Some(TRAPS.len() as f64), "{plugin}");
        assert_eq!(metrics.value("agw_plugin_vms", &[("plugin", plugin)]), Some(1.0), "{plugin}");
    }
    let report = plain.stop()?;
    assert_eq!(report.count(200), report.samples.len(), "{report}");
    assert!(report.count(200) > 100, "{report}");
    Ok(())
}

#[tokio::test]
async fn a_trap_is_logged_with_the_names_of_functions() -> Result<()> {
    let gateway = start()?;
    let deeds = [
        ("panic", "deep_inside"),
        ("loop", "turn_for_ever"),
        ("memory", "eat_memory"),
        ("stack", "fall_down_the_stack"),
        ("frames", "fill_the_stack"),
    ];
    for (deed, function) in deeds {
        until_well(&gateway, "closed-shared").await?;
        get(&gateway, &format!("/closed-shared/{deed}")).await?;
        let named = |log: &str| {
            log.contains("the guest trapped") && log.contains(&format!("misbehave::deeds::{function}"))
        };
        gateway.wait_for_output(function, named).await?;
    }
    let log = gateway.output();
    assert!(log.contains("a mishap three calls deep"), "the panic's own words:\n{log}");
    assert!(log.contains("plugin.name=\"closed-shared\"") && log.contains("kind=\"cpu\""), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_pause_that_nobody_ends_is_a_504_and_the_vm_lives() -> Result<()> {
    let gateway = start()?;
    for (plugin, _) in PLUGINS {
        let reply = get(&gateway, &format!("/{plugin}/pause")).await?;
        assert_eq!((reply.status.as_u16(), &reply.json()?["code"]), (504, &"plugin_pause_timeout".into()));
        assert!(serves(&gateway, plugin).await?, "{plugin}");
    }
    assert_eq!(gateway.metrics()?.value("agw_plugin_traps_total", &[]), None);
    Ok(())
}

#[tokio::test]
async fn of_two_local_answers_the_first_counts() -> Result<()> {
    let gateway = start()?;
    for (plugin, _) in PLUGINS {
        let reply = get(&gateway, &format!("/{plugin}/twice")).await?;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (401, "first"), "{plugin}");
        assert_eq!((reply.header("x-first"), reply.header("x-second")), ("yes", ""), "{plugin}");
    }
    Ok(())
}

#[tokio::test]
async fn a_filter_cannot_break_the_framing() -> Result<()> {
    let gateway = start()?;
    for (plugin, _) in PLUGINS {
        let mut client = Client::new(gateway.address()?);
        for _ in 0..2 {
            let reply = client.send(Method::POST, &format!("/{plugin}/framing"), &[], "hello world").await?;
            let echo = reply.json()?;
            assert_eq!((reply.status.as_u16(), &echo["body_bytes"]), (200, &11.into()), "{plugin}");
            assert_eq!(echo["headers"]["content-length"], "11", "{plugin}");
            assert!(echo["headers"]["transfer-encoding"].is_null(), "{plugin}: {echo}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn calls_for_a_stream_that_is_gone_do_nothing() -> Result<()> {
    let gateway = start()?;
    for (plugin, _) in PLUGINS {
        for deed in ["after-the-end", "remember"] {
            let reply = get(&gateway, &format!("/{plugin}/{deed}")).await?;
            assert_eq!((reply.status.as_u16(), reply.header("x-late")), (200, ""), "{plugin} {deed}");
        }
    }
    for line in ["acted after the end", "acted on a dead stream"] {
        let told = |log: &str| log.matches(line).count() >= PLUGINS.len();
        gateway.wait_for_output(line, told).await?;
    }
    for (plugin, _) in PLUGINS {
        assert!(serves(&gateway, plugin).await?, "{plugin}");
    }
    assert_eq!(gateway.metrics()?.value("agw_plugin_traps_total", &[]), None);
    Ok(())
}

#[tokio::test]
async fn at_the_bound_on_vms_a_request_waits_and_then_follows_the_policy() -> Result<()> {
    let module = guest("misbehave")?;
    let plugin = |name: &str, policy: &str| {
        let vm = "{ mode: exclusive, max: 1, wait: 50ms }";
        format!(
            "  - {{ name: {name}, module: {{ file: \"{}\" }}, vm: {vm}, on_failure: {policy} }}\n",
            module.display()
        )
    };
    let route = |name: &str| {
        format!(
            "  - {{ name: {name}, match: {{ prefix: /{name}/ }}, cluster: echo, plugins: [{name}], timeout: 60s }}\n"
        )
    };
    let gateway = crate::start(&format!(
        "routes:\n{}{}clusters: [{{ name: echo, builtin: echo }}]\nplugins:\n{}{}",
        route("closed"),
        route("open"),
        plugin("closed", "fail_closed"),
        plugin("open", "fail_open")
    ))?;
    for (name, expected) in [("closed", 503), ("open", 200)] {
        let head = format!("GET /{name}/pause HTTP/1.1\r\nhost: a\r\n\r\n");
        let holder = send(gateway.address()?, head.as_bytes()).await?;
        let end = Instant::now() + Duration::from_secs(20);
        // Until the other request has the VM, this one gets it.
        while serves(&gateway, name).await? {
            assert!(Instant::now() < end, "{name}: the paused request never got the VM");
        }
        assert_eq!(get(&gateway, &format!("/{name}/twice")).await?.status.as_u16(), expected);
        drop(holder);
        until_well(&gateway, name).await?;
        let vms = gateway.metrics()?.value("agw_plugin_vms", &[("plugin", name)]);
        assert_eq!(vms, Some(1.0), "{name}: the same VM again");
    }
    Ok(())
}
