use std::time::Duration;

use agw_wire::sql::{Cell, Mode};
use agw_wire::{Code, Retry};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::world::{AD_HOC, World};

async fn nothing_runs(world: &World) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let running = world.running();
        if running.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "still runs: {running}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_ends_on_the_server_and_the_next_ones_get_their_own_rows() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 4, acquire_timeout: 20s }}")).await;
    let plugin = world.plugin("p");
    for mode in [Mode::Query, Mode::Execute, Mode::Page] {
        let error =
            plugin.clone().with_deadline(200).sql(mode, "SELECT pg_sleep(60)", &[]).await.unwrap_err();
        assert_eq!((error.code, error.retry), (Code::TimeoutIo, Retry::IfIdempotent), "{mode:?}");
    }
    let error =
        plugin.clone().with_deadline(200).batch(&["SELECT 1", "SELECT pg_sleep(60)"]).await.unwrap_err();
    assert_eq!(error.code, Code::TimeoutIo);
    nothing_runs(&world).await;
    world.all_given_back().await;
    assert!(world.backend.status().idle > 0, "a connection that was stopped serves on");
    let mut tasks = Vec::new();
    for task in 0..8i64 {
        let plugin = plugin.clone();
        tasks.push(tokio::spawn(async move {
            for at in 0..500 {
                // Some are cancelled in between, so that a late signal would find a victim.
                if at % 50 == 25 {
                    let late = plugin.clone().with_deadline(10).query("SELECT pg_sleep(60)", &[]).await;
                    let code = late.unwrap_err().code;
                    assert!(matches!(code, Code::TimeoutIo | Code::TimeoutQueue), "{code}");
                }
                let number = task * 1000 + at;
                let found = plugin.value("SELECT $1::int8", &[Cell::Int(number)]).await;
                assert_eq!(found, format!("Int({number})"));
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    nothing_runs(&world).await;
}

#[tokio::test]
async fn a_call_that_is_taken_back_ends_on_the_server() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1 }}")).await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (a int4)", &[]).await.unwrap();
    let cancel = CancellationToken::new();
    let params = crate::world::cells(&[]);
    let slow = "INSERT INTO t SELECT 1 FROM pg_sleep(60)";
    let statements = vec![agw_wire::sql::Statement::ad_hoc(slow, agw_wire::sql::Cells::new(&params))];
    let call = agw_wire::sql::Call { mode: Mode::Execute, statements, ..Default::default() };
    let (ended, ()) = tokio::join!(plugin.call_until(call, &cancel), async {
        while !world.running().contains("pg_sleep") {
            sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
    });
    assert_eq!(ended.unwrap_err().code, Code::Cancelled);
    world.all_given_back().await;
    nothing_runs(&world).await;
    assert_eq!(plugin.value("SELECT count(*) FROM t", &[]).await, "Int(0)");
}

#[tokio::test]
async fn the_server_ends_a_statement_whose_gateway_says_nothing_any_more() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p").with_deadline(500);
    let shown = plugin.query("SELECT current_setting('statement_timeout')", &[]).await.unwrap();
    let text = shown.rows[0][0].trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
    let ms: u64 = text.parse().unwrap();
    assert!((100..=600).contains(&ms), "{shown:?}");
    let later = world.plugin("p").query("SELECT current_setting('statement_timeout')", &[]).await.unwrap();
    assert_ne!(later.rows, shown.rows, "each call has its own");
}

#[tokio::test]
async fn a_lock_is_waited_for_until_the_deadline_and_no_longer() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (a int4)", &[]).await.unwrap();
    plugin.sql(Mode::Execute, "INSERT INTO t VALUES (1)", &[]).await.unwrap();
    let holder = plugin.clone();
    let holding = tokio::spawn(async move {
        holder.with_deadline(3000).batch(&["UPDATE t SET a = 2", "SELECT pg_sleep(60)"]).await
    });
    while !world.running().contains("pg_sleep") {
        sleep(Duration::from_millis(5)).await;
    }
    let error =
        plugin.clone().with_deadline(100).sql(Mode::Execute, "UPDATE t SET a = 3", &[]).await.unwrap_err();
    assert_eq!(error.code, Code::TimeoutIo);
    assert_eq!(holding.await.unwrap().unwrap_err().code, Code::TimeoutIo);
    world.all_given_back().await;
    assert_eq!(plugin.value("SELECT a FROM t", &[]).await, "Int(1)");
}
