use std::time::Duration;

use agw_wire::sql::{Call, Cell, Cells, Mode, Statement};
use agw_wire::{Code, Retry};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::world::{AD_HOC, World, cells};

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
        let error = plugin.clone().with_deadline(200).sql(mode, "SELECT SLEEP(60)", &[]).await.unwrap_err();
        assert_eq!((error.code, error.retry), (Code::TimeoutIo, Retry::IfIdempotent), "{mode:?}");
    }
    let error = plugin.clone().with_deadline(200).batch(&["SELECT 1", "SELECT SLEEP(60)"]).await.unwrap_err();
    assert_eq!(error.code, Code::TimeoutIo);
    nothing_runs(&world).await;
    world.all_given_back().await;
    assert!(world.backend.status().idle > 0, "a connection that was stopped serves on");
    let mut tasks = Vec::new();
    for task in 0..8i64 {
        let plugin = plugin.clone();
        tasks.push(tokio::spawn(async move {
            for at in 0..300 {
                // Some are cancelled in between, so that a late kill would find a victim.
                if at % 30 == 15 {
                    let late = plugin.clone().with_deadline(10).query("SELECT SLEEP(60)", &[]).await;
                    let code = late.unwrap_err().code;
                    assert!(
                        matches!(code, Code::TimeoutIo | Code::TimeoutQueue | Code::TimeoutConnect),
                        "{code}"
                    );
                }
                let number = task * 1000 + at;
                let found = plugin.value("SELECT ?", &[Cell::Int(number)]).await;
                assert_eq!(found, format!("Int({number})"));
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    nothing_runs(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_are_stopped_at_the_same_time_all_stop_and_their_connections_serve_on() {
    const CONNECTIONS: usize = 16;
    let fields = format!("{AD_HOC}\npool: {{ max: {CONNECTIONS}, acquire_timeout: 20s }}");
    let world = World::new(&fields).await;
    let plugin = world.plugin("p");
    let all_at_once = async |deadline: u32, nap: &'static str| {
        let call = |_| {
            let plugin = plugin.clone().with_deadline(deadline);
            tokio::spawn(async move { plugin.query(nap, &[]).await.map_err(|error| error.code) })
        };
        let calls: Vec<_> = (0..CONNECTIONS).map(call).collect();
        let mut outcomes = Vec::new();
        for call in calls {
            outcomes.push(call.await.unwrap().err());
        }
        world.all_given_back().await;
        outcomes
    };
    assert_eq!(all_at_once(20_000, "SELECT SLEEP(0.5)").await, [None; CONNECTIONS]);
    for round in 0..5 {
        let expected = [Some(Code::TimeoutIo); CONNECTIONS];
        assert_eq!(all_at_once(500, "SELECT SLEEP(60)").await, expected, "{round}");
        nothing_runs(&world).await;
        assert_eq!(world.backend.status().idle, CONNECTIONS, "none was thrown away in round {round}");
    }
}

#[tokio::test]
async fn a_statement_that_is_quick_and_stopped_now_and_then_is_stopped_alone() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 2, acquire_timeout: 20s }}")).await;
    let plugin = world.plugin("p");
    // Ends about when its kill comes: before it, with it, or after it.
    for at in 0..150u32 {
        let deadline = 1 + at % 8;
        let nap = format!("SELECT SLEEP({})", f64::from(at % 7) / 1000.0);
        let late = plugin.clone().with_deadline(deadline).query(&nap, &[]).await;
        if let Err(error) = late {
            let expected = matches!(
                error.code,
                Code::TimeoutIo | Code::TimeoutQueue | Code::TimeoutConnect | Code::Unavailable
            );
            assert!(expected, "{error}");
        }
        assert_eq!(plugin.value("SELECT ?", &[Cell::Int(at.into())]).await, format!("Int({at})"));
    }
    world.all_given_back().await;
}

#[tokio::test]
async fn a_call_that_is_taken_back_ends_on_the_server_and_is_undone() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1 }}")).await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (a int)", &[]).await.unwrap();
    let cancel = CancellationToken::new();
    let params = cells(&[]);
    let slow = "INSERT INTO t SELECT SLEEP(0.01) FROM seq_1_to_100000";
    let statements = vec![Statement::ad_hoc(slow, Cells::new(&params))];
    let call = Call { mode: Mode::Execute, statements, ..Default::default() };
    let (ended, ()) = tokio::join!(plugin.call_until(call, &cancel), async {
        while !world.running().contains("SLEEP") {
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
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1 }}")).await;
    for deadline in [500, 15_000, 500] {
        let plugin = world.plugin("p").with_deadline(deadline);
        let limit = plugin.value("SELECT @@max_statement_time", &[]).await;
        let seconds: f64 = limit.trim_start_matches("Float(").trim_end_matches(')').parse().unwrap();
        let least = f64::from(deadline) / 1000.0;
        assert!((least..=least * 50.0).contains(&seconds), "{deadline} ms: {seconds} s");
    }
}

#[tokio::test]
async fn a_lock_is_waited_for_until_the_deadline_and_no_longer() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (a int)", &[]).await.unwrap();
    plugin.sql(Mode::Execute, "INSERT INTO t VALUES (1)", &[]).await.unwrap();
    let holder = plugin.clone();
    let holding = tokio::spawn(async move {
        holder.with_deadline(3000).batch(&["UPDATE t SET a = 2", "SELECT SLEEP(60)"]).await
    });
    while !world.running().contains("SLEEP") {
        sleep(Duration::from_millis(5)).await;
    }
    // A row's lock, and a table's.
    for text in ["UPDATE t SET a = 3", "ALTER TABLE t ADD COLUMN b int"] {
        let error = plugin.clone().with_deadline(100).sql(Mode::Execute, text, &[]).await.unwrap_err();
        assert_eq!(error.code, Code::TimeoutIo, "{text}");
    }
    assert_eq!(holding.await.unwrap().unwrap_err().code, Code::TimeoutIo);
    world.all_given_back().await;
    assert_eq!(plugin.query("SELECT * FROM t", &[]).await.unwrap().rows, [["Int(1)"]]);
}
