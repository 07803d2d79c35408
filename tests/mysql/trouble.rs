use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use agw_wire::Code;
use agw_wire::sql::{Cell, Mode};
use tokio::time::{Instant, sleep};

use crate::world::{AD_HOC, World};

const KILL_ALL: &str = "KILL CONNECTION USER agw";
const CONNECTIONS: &str = "SELECT count(*) FROM information_schema.PROCESSLIST WHERE USER = 'agw'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_under_load_and_comes_back_loses_no_connection_and_no_place() {
    let fields =
        format!("{AD_HOC}\npool: {{ max: 4, acquire_timeout: 5s }}\nbreaker: {{ failures: 1000000 }}");
    let world = World::new(&fields).await;
    let plugin = world.plugin("p");
    let over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for task in 0..8i64 {
        let (plugin, over, answered) = (plugin.clone(), Arc::clone(&over), Arc::clone(&answered));
        tasks.push(tokio::spawn(async move {
            let mut at = task;
            while !over.load(Ordering::Relaxed) {
                at += 8;
                match plugin.query("SELECT ?", &[Cell::Int(at)]).await {
                    Ok(shown) => assert_eq!(shown.rows, [[format!("Int({at})")]]),
                    Err(error) => {
                        let coded = matches!(
                            error.code,
                            Code::Unavailable | Code::TimeoutIo | Code::TimeoutConnect | Code::TimeoutQueue
                        );
                        assert!(coded, "{error}");
                        sleep(Duration::from_millis(5)).await;
                    }
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    sleep(Duration::from_millis(200)).await;
    world.server.lock().unwrap().kill();
    sleep(Duration::from_millis(300)).await;
    world.server.lock().unwrap().restart().unwrap();
    let back = Instant::now();
    while plugin.query("SELECT 1", &[]).await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(10), "it does not come back");
        sleep(Duration::from_millis(5)).await;
    }
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    world.all_given_back().await;
    let open: usize = world.direct(CONNECTIONS).parse().unwrap();
    assert_eq!(open, world.backend.status().idle, "{} calls", answered.load(Ordering::Relaxed));
    assert!(open <= 4, "{open}");
}

#[tokio::test]
async fn a_connection_that_the_server_ends_is_replaced_before_its_next_call() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1 }}")).await;
    let plugin = world.plugin("p");
    for _ in 0..2 {
        assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)");
        world.direct(KILL_ALL);
        while world.direct(CONNECTIONS) != "0" {
            sleep(Duration::from_millis(5)).await;
        }
        // Long enough for the connection to be asked whether it is there.
        sleep(Duration::from_millis(1100)).await;
    }
    assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)");
    let running = plugin.query("SELECT SLEEP(30)", &[]);
    let (ended, ()) = tokio::join!(running, async {
        while !world.running().contains("SLEEP") {
            sleep(Duration::from_millis(5)).await;
        }
        world.direct(KILL_ALL);
    });
    assert_eq!(ended.unwrap_err().code, Code::Unavailable);
    assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)");
}

#[tokio::test]
async fn a_kill_for_a_connection_of_an_earlier_server_meets_none_of_this_one() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 2 }}")).await;
    let plugin = world.plugin("p");
    // Ids begin anew with the server: whoever has the first one's now must not be killed.
    let first = plugin.clone();
    let first = tokio::spawn(async move { first.with_deadline(4000).query("SELECT SLEEP(60)", &[]).await });
    while !world.running().contains("SLEEP") {
        sleep(Duration::from_millis(5)).await;
    }
    world.server.lock().unwrap().restart().unwrap();
    assert_eq!(first.await.unwrap().unwrap_err().code, Code::Unavailable);
    let long = plugin.query("SELECT SLEEP(1)", &[]).await.unwrap();
    assert_eq!(long.rows, [["Int(0)"]]);
}

#[tokio::test]
async fn a_server_that_takes_connections_and_says_nothing_is_a_timeout() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 2, connect_timeout: 300ms }}")).await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (a int)", &[]).await.unwrap();
    let busy = plugin.clone();
    let busy = tokio::spawn(async move { busy.query("SELECT SLEEP(1)", &[]).await });
    while !world.running().contains("SLEEP") {
        sleep(Duration::from_millis(5)).await;
    }
    world.server.lock().unwrap().stop().unwrap();
    let error = plugin.query("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable, "{error}");
    let error = plugin.clone().with_deadline(100).query("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(error.code, Code::TimeoutConnect, "{error}");
    world.server.lock().unwrap().cont().unwrap();
    busy.await.unwrap().unwrap();
    assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)");
}

#[tokio::test]
async fn a_server_that_stalls_or_dies_in_mid_row_holds_nobody_longer_than_its_deadline() {
    let fields = format!(
        "{AD_HOC}\npool: {{ max: 1, acquire_timeout: 10s, connect_timeout: 5s }}\n\
         limits: {{ rows: 10000000, response: 256MiB, call_timeout: 20s }}\nbreaker: {{ failures: 1000000 }}"
    );
    let world = World::new(&fields).await;
    let plugin = world.plugin("p");
    let text = "SELECT seq, REPEAT('x', 10) FROM seq_1_to_1000000000";
    for dies in [false, true] {
        let slow = plugin.clone().with_deadline(1500);
        let slow = tokio::spawn(async move { slow.query(text, &[]).await });
        while !world.running().contains("REPEAT") {
            sleep(Duration::from_millis(5)).await;
        }
        if dies {
            world.server.lock().unwrap().kill();
        } else {
            world.server.lock().unwrap().stop().unwrap();
        }
        let error = slow.await.unwrap().unwrap_err();
        assert!(matches!(error.code, Code::TimeoutIo | Code::Unavailable | Code::TooLarge), "{error}");
        if dies {
            world.server.lock().unwrap().restart().unwrap();
        } else {
            world.server.lock().unwrap().cont().unwrap();
        }
        let end = Instant::now() + Duration::from_secs(15);
        while plugin.query("SELECT 1", &[]).await.is_err() {
            assert!(Instant::now() < end, "it does not come back");
        }
    }
}
