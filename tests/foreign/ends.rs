use std::time::{Duration, Instant};

use agw_tests::{Client, Mode};
use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::task::JoinSet;

use crate::world::{Vm, WAYS, World};

const WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_cancelled_call_answers_cancelled_exactly_once() -> Result<()> {
    let world = World::start()?;
    for vm in [Vm::Exclusive, Vm::Shared] {
        // Connected before replies are held, so that the calls are on the wire.
        world.lines(vm, "/callback/get?k").await?;
        world.proxy.set(Mode::HoldReplies(Duration::from_millis(200)))?;
        let reply = world.ask(vm, "/callback/cancel?k").await?;
        let expected = [
            "error 13 retry 0 server_code \"\"",
            r"resp :1\r\n",
            "cancelled",
            "error 3 retry 0 server_code \"\"",
            "error 3 retry 0 server_code \"\"",
            r"resp $1\r\n1\r\n",
        ];
        assert_eq!(reply.text().lines().collect::<Vec<_>>(), expected, "{vm:?}");
        // The last call went out after the cancelled one's reply was due: a second answer would have come before.
        assert_eq!(reply.header("x-callbacks"), "3", "{vm:?}");
        world.proxy.set(Mode::Pass)?;
        until_nothing_is_under_way(&world).await?;
    }
    Ok(())
}

#[tokio::test]
async fn streams_that_go_away_in_mid_call_leave_nothing_behind() -> Result<()> {
    let world = World::start()?;
    for (vm, style) in WAYS {
        world.proxy.set(Mode::Pass)?;
        world.lines(vm, &format!("/{style}/get?k")).await?;
        world.proxy.set(Mode::Stall)?;
        for round in 0..4 {
            leave_in_mid_call(&world, vm, style, 4).await?;
            until_nothing_is_under_way(&world).await?;
            ensure!(world.gateway.output().lines().all(|line| !line.contains("trapped")), "round {round}");
        }
        let vms = world.plugin(vm)?["vms"].as_i64();
        // One more than a round needs, should a VM still be on its way back when the next round starts.
        let most = if vm == Vm::Shared { 1 } else { 8 };
        assert!(
            vms.is_some_and(|vms| (1..=most).contains(&vms)),
            "{vm:?} {style}: {vms:?} VMs after 16 streams"
        );

        world.proxy.set(Mode::Pass)?;
        assert_eq!(world.lines(vm, &format!("/{style}/get?k")).await?, [r"resp $-1\r\n"], "{vm:?} {style}");
    }
    let metrics = world.gateway.metrics()?;
    assert_eq!(metrics.value("agw_plugin_traps_total", &[]), None, "nothing has trapped");
    let cancelled = [("outcome", "cancelled")];
    let cancelled = metrics.value("agw_resource_operation_duration_seconds_count", &cancelled);
    assert_eq!(cancelled, Some(48.0), "three ways, four rounds, four streams");
    Ok(())
}

#[tokio::test]
async fn one_connections_requests_share_one_vm() -> Result<()> {
    let world = World::start()?;
    for (vm, style) in WAYS {
        let mut client = world.client()?;
        for _ in 0..20 {
            let reply = client.get_with(&format!("/{style}/get?k"), &[("host", vm.host())]).await?;
            assert_eq!(reply.text(), "resp $-1\\r\\n\n");
        }
    }
    for vm in [Vm::Exclusive, Vm::Shared] {
        assert_eq!(world.plugin(vm)?["vms"], 1, "{vm:?}");
        assert_eq!(world.plugin(vm)?["mode"], vm.host());
    }
    assert_eq!(world.resource()?["in_flight"], 0);
    Ok(())
}

#[tokio::test]
async fn a_call_made_while_a_stream_is_logged_outlives_it() -> Result<()> {
    let world = World::start()?;
    let mut redis = world.redis.connection()?;
    for (vm, style) in WAYS {
        let key = format!("log-{}-{style}", vm.host());
        assert_eq!(world.ask(vm, &format!("/{style}/log?{key}")).await?.status, 200);
        let prefix = if vm == Vm::Exclusive { "e:" } else { "s:" };
        let end = Instant::now() + WITHIN;
        let mut get = redis::cmd("GET");
        get.arg(format!("{prefix}{key}"));
        while get.query::<Option<i64>>(&mut redis)? != Some(1) {
            ensure!(Instant::now() < end, "{vm:?} {style}: the call never ran");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let blocking = |log: &str| log.contains(r"the stream's last call: resp :1\r\n");
    world.gateway.wait_for_output("the blocking call's answer", blocking).await?;
    let callbacks = |log: &str| log.matches(r"the root context got resp :1\r\n").count() == 2;
    world.gateway.wait_for_output("both callbacks' answers", callbacks).await?;
    until_nothing_is_under_way(&world).await
}

/// So many clients start a call that nobody answers, and go once all of them are in it.
async fn leave_in_mid_call(world: &World, vm: Vm, style: &str, streams: u64) -> Result<()> {
    let mut clients = JoinSet::new();
    for _ in 0..streams {
        let address = world.gateway.address()?;
        let uri = format!("/{style}/get?k");
        clients.spawn(async move {
            let request = Request::builder().uri(uri).header("host", vm.host());
            Client::new(address).start(request.body(Full::<Bytes>::default())?).await?;
            anyhow::Ok(())
        });
    }
    let end = Instant::now() + WITHIN;
    while world.resource()?["in_flight"].as_u64() != Some(streams) {
        if Instant::now() > end {
            bail!("{vm:?} {style}: not all {streams} are in the call: {}", world.resource()?);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    clients.shutdown().await;
    Ok(())
}

async fn until_nothing_is_under_way(world: &World) -> Result<()> {
    let end = Instant::now() + WITHIN;
    loop {
        let resource = world.resource()?;
        if resource["in_flight"] == 0 && resource["waiting"] == 0 {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("still under way: {resource}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
