use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use agw_wire::Code;
use agw_wire::sql::{Cell, Mode};
use tokio::time::{Instant, sleep};

use crate::world::{AD_HOC, World};

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
                match plugin.query("SELECT $1::int8", &[Cell::Int(at)]).await {
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
    let open: usize =
        world.direct("SELECT count(*) FROM pg_stat_activity WHERE usename = 'agw'").parse().unwrap();
    assert_eq!(open, world.backend.status().idle, "{} calls", answered.load(Ordering::Relaxed));
    assert!(open <= 4, "{open}");
}

#[tokio::test]
async fn a_connection_that_the_server_ends_is_replaced() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 1 }}")).await;
    let plugin = world.plugin("p");
    for _ in 0..5 {
        assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)");
        world.direct("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'agw'");
        while world.direct("SELECT count(*) FROM pg_stat_activity WHERE usename = 'agw'") != "0" {
            sleep(Duration::from_millis(5)).await;
        }
        sleep(Duration::from_millis(20)).await;
    }
    let running = plugin.query("SELECT pg_sleep(30)", &[]);
    let (ended, ()) = tokio::join!(running, async {
        while !world.running().contains("pg_sleep") {
            sleep(Duration::from_millis(5)).await;
        }
        world.direct("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'agw'");
    });
    assert_eq!(ended.unwrap_err().code, Code::Unavailable);
    assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)");
}

#[tokio::test]
async fn a_server_that_takes_connections_and_says_nothing_is_a_timeout() {
    let world = World::new(&format!("{AD_HOC}\npool: {{ max: 2, connect_timeout: 200ms }}")).await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (a int4)", &[]).await.unwrap();
    let busy = plugin.clone();
    let busy = tokio::spawn(async move { busy.query("SELECT pg_sleep(1)", &[]).await });
    while !world.running().contains("pg_sleep") {
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
async fn a_call_that_has_no_time_left_to_connect_after_its_wait_says_that_it_waited() {
    let world = World::unstarted(&format!("{AD_HOC}\npool: {{ max: 1, acquire_timeout: 20s }}"));
    // Takes connections and does not answer.
    world.server.lock().unwrap().stop().unwrap();
    let (first, second) = (world.plugin("p").with_deadline(400), world.plugin("p").with_deadline(500));
    let (first, second) = tokio::join!(first.query("SELECT 1", &[]), second.query("SELECT 1", &[]));
    assert_eq!(first.unwrap_err().code, Code::TimeoutConnect);
    // The breaker takes the other code for the server's failure, and this one for what it is: a pool too small.
    assert_eq!(second.unwrap_err().code, Code::TimeoutQueue);
    world.server.lock().unwrap().cont().unwrap();
}
