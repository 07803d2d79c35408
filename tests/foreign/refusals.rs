use std::time::Duration;

use agw_tests::Mode;
use anyhow::Result;

use crate::world::{Vm, WAYS, World};

#[tokio::test]
async fn what_is_refused_has_its_own_status_or_code_in_every_way_to_call() -> Result<()> {
    let world = World::start()?;
    let expected = [
        ("denied", "error 1 retry 0 server_code \"\""),
        ("unknown-command", "error 1 retry 0 server_code \"\""),
        ("unknown-resource", "error 2 retry 0 server_code \"\""),
        ("nothing", "error 3 retry 0 server_code \"\""),
        ("undecodable", "status 3"),
        ("unknown-field", "status 3"),
        ("unknown-function", "status 1"),
    ];
    for (vm, style) in WAYS {
        for (scenario, line) in expected {
            let reply = world.ask(vm, &format!("/{style}/{scenario}?k")).await?;
            assert_eq!(reply.text(), format!("{line}\n"), "{vm:?} {style} {scenario}");
            assert_eq!(reply.header("x-callbacks"), "0", "{vm:?} {style} {scenario}: refused at once");
        }
    }
    assert_eq!(world.proxy.accepted(), 0, "nothing of it is worth a connection");
    Ok(())
}

#[tokio::test]
async fn a_blocking_call_in_a_shared_vm_is_refused_and_the_log_names_the_way_out() -> Result<()> {
    let world = World::start()?;
    assert_eq!(world.lines(Vm::Shared, "/blocking/get?k").await?, ["error 3 retry 0 server_code \"\""]);
    let way_out = "set vm.mode to exclusive";
    world.gateway.wait_for_output("the way out", |log| log.contains(way_out)).await?;
    Ok(())
}

#[tokio::test]
async fn a_call_ends_at_the_deadline_that_it_named() -> Result<()> {
    let world = World::start()?;
    for (vm, style) in WAYS {
        assert_eq!(world.lines(vm, &format!("/{style}/get?k")).await?, [r"resp $-1\r\n"]);
        world.proxy.set(Mode::Stall)?;
        let started = std::time::Instant::now();
        let lines = world.lines(vm, &format!("/{style}/deadline?k")).await?;
        assert_eq!(lines, ["error 6 retry 2 server_code \"\""], "{vm:?} {style}");
        assert!(started.elapsed() < Duration::from_secs(20), "not the resource's own deadline");
        world.proxy.set(Mode::Pass)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable() -> Result<()> {
    let world = World::start()?;
    world.proxy.set(Mode::Refuse)?;
    for (vm, style) in WAYS {
        let lines = world.lines(vm, &format!("/{style}/get?k")).await?;
        assert_eq!(lines, ["error 7 retry 1 server_code \"\""], "{vm:?} {style}");
    }
    Ok(())
}

#[tokio::test]
async fn a_request_cut_at_any_byte_is_refused_and_nothing_of_it_runs() -> Result<()> {
    let world = World::start()?;
    for (vm, style) in WAYS {
        let lines = world.lines(vm, &format!("/{style}/cut?k")).await?;
        assert!(lines.len() > 30, "{vm:?} {style}: {lines:?}");
        let refusals = ["status 3", "error 3 retry 0 server_code \"\""];
        for (length, line) in lines.iter().enumerate() {
            assert!(refusals.contains(&line.as_str()), "{vm:?} {style}: {length} bytes came to {line}");
        }
    }
    assert_eq!(world.proxy.accepted(), 0);
    Ok(())
}

#[tokio::test]
async fn a_request_over_the_limit_is_too_large_and_is_not_sent() -> Result<()> {
    let world = World::start()?;
    for (vm, style) in WAYS {
        let lines = world.lines(vm, &format!("/{style}/too-large?k")).await?;
        assert_eq!(lines, ["error 12 retry 0 server_code \"\""], "{vm:?} {style}");
    }
    assert_eq!(world.proxy.accepted(), 0);
    Ok(())
}
