use std::time::Duration;

use agw_tests::Mode;
use anyhow::Result;

use crate::world::{Vm, WAYS, World};

#[tokio::test]
async fn single_commands_are_answered_with_the_servers_own_bytes() -> Result<()> {
    let world = World::start()?;
    let mut redis = world.redis.connection()?;
    for (vm, style) in WAYS {
        let path = |scenario: &str, key: &str| format!("/{style}/{scenario}?{key}-{style}");
        assert_eq!(world.lines(vm, &path("get", "text")).await?, [r"resp $-1\r\n"]);
        assert_eq!(world.lines(vm, &path("set", "text")).await?, [r"resp +OK\r\n"]);
        assert_eq!(world.lines(vm, &path("get", "text")).await?, [r"resp $6\r\na\x00\xff\r\nb\r\n"]);
        for count in 1..=3 {
            let line = format!(r"resp :{count}\r\n");
            assert_eq!(world.lines(vm, &path("incr", "count")).await?, [line]);
        }
        let prefix = if vm == Vm::Exclusive { "e:" } else { "s:" };
        let stored: Vec<u8> = redis::cmd("GET").arg(format!("{prefix}text-{style}")).query(&mut redis)?;
        assert_eq!(stored, b"a\0\xff\r\nb", "the grant's prefix is before the key");
    }
    Ok(())
}

#[tokio::test]
async fn batches_are_answered_in_order_and_an_error_stays_in_its_place() -> Result<()> {
    let world = World::start()?;
    let wrong_type = r"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    for (vm, style) in WAYS {
        let lines = world.lines(vm, &format!("/{style}/pipeline?p")).await?;
        assert_eq!(lines, [format!(r"resp +OK\r\n:2\r\n{wrong_type}$1\r\n2\r\n")], "{vm:?} {style}");
        let lines = world.lines(vm, &format!("/{style}/atomic?a")).await?;
        assert_eq!(lines, [r"resp *3\r\n+OK\r\n:2\r\n$1\r\n2\r\n"], "{vm:?} {style}");
    }
    Ok(())
}

#[tokio::test]
async fn several_calls_of_a_stream_are_under_way_at_once_and_each_is_answered() -> Result<()> {
    let world = World::start()?;
    let expected = [
        r"resp +OK\r\n",
        "error 1 retry 0 server_code \"\"",
        r"resp :2\r\n",
        r"resp :3\r\n",
        r"resp $1\r\n3\r\n",
    ];
    for (vm, style) in WAYS {
        let reply = world.ask(vm, &format!("/{style}/many?m-{style}")).await?;
        assert_eq!(reply.text().lines().collect::<Vec<_>>(), expected, "{vm:?} {style}");
        let callbacks = if style == "callback" { "4" } else { "0" };
        assert_eq!(reply.header("x-callbacks"), callbacks, "what was refused at once has none");
    }

    // With replies held for half a second, four calls one after another would take two.
    world.proxy.set(Mode::HoldReplies(Duration::from_millis(500)))?;
    let vm = Vm::Shared;
    let streams: Vec<_> = (0..4)
        .map(|stream| {
            let address = world.gateway.address();
            tokio::spawn(async move {
                let path = format!("/callback/many?held-{stream}");
                agw_tests::Client::new(address?).get_with(&path, &[("host", vm.host())]).await
            })
        })
        .collect();
    let mut most = 0;
    while !streams.iter().all(|stream| stream.is_finished()) {
        most = most.max(world.resource()?["in_flight"].as_u64().unwrap_or(0));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for stream in streams {
        let reply = stream.await??;
        assert_eq!(reply.text().lines().collect::<Vec<_>>(), expected);
    }
    assert!(most > 4, "one VM, four streams, four calls each: at most {most} were under way");
    Ok(())
}

#[tokio::test]
async fn a_paused_request_goes_on_after_its_answer_with_what_was_learnt() -> Result<()> {
    let world = World::start()?;
    for (vm, style) in WAYS {
        let echoed = world.ask(vm, &format!("/{style}/resume?k")).await?.json()?;
        assert_eq!(echoed["headers"]["x-raw-answer"], r"resp $-1\r\n", "{vm:?} {style}");
    }
    Ok(())
}
