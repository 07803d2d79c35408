use std::cell::Cell;

use agw_config::{HealthCheck, OutlierPolicy};

use super::*;

const POLICY: OutlierPolicy = OutlierPolicy {
    consecutive_failures: 2,
    ejection_time: Duration::from_millis(200),
    ejection_time_max: Duration::from_secs(10),
    ejected_percent_max: 50,
};

fn watched(endpoints: &[&str], policy: OutlierPolicy) -> Upstream {
    start(Cluster { outlier: Some(policy), ..cluster(endpoints) })
}

async fn wait_for(upstream: &Upstream, line: &str) {
    for _ in 0..1000 {
        if metric(upstream, line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no {line} in {}", upstream.stats.text());
}

#[tokio::test]
async fn an_endpoint_that_fails_in_a_row_is_left_out_and_comes_back() {
    local(async {
        let fails = Rc::new(Cell::new(true));
        let failing = Rc::clone(&fails);
        let bad = serve(move |_| if failing.get() { answer(500, "bad") } else { answer(200, "bad") }).await;
        let good = serve(|_| answer(200, "good")).await;
        let upstream = watched(&[&bad, &good], POLICY);
        while !metric(&upstream, r#"agw_upstream_ejections_total{cluster="c"} 1"#) {
            ask(&upstream, None).await.unwrap();
        }
        assert!(metric(&upstream, r#"agw_upstream_endpoints{cluster="c",state="ejected"} 1"#));
        for _ in 0..5 {
            assert_eq!(ask(&upstream, None).await.unwrap().1, "good");
        }
        fails.set(false);
        wait_for(&upstream, r#"agw_upstream_endpoints{cluster="c",state="healthy"} 2"#).await;
        let bodies = [ask(&upstream, None).await.unwrap().1, ask(&upstream, None).await.unwrap().1];
        assert!(bodies.contains(&"bad".to_owned()), "{bodies:?}");
    })
    .await;
}

#[tokio::test]
async fn a_dead_endpoint_of_two_is_left_out_and_costs_no_request() {
    local(async {
        let upstream = watched(&[&dead().await, &serve(|_| answer(200, "ok")).await], POLICY);
        for _ in 0..10 {
            assert_eq!(ask(&upstream, None).await.unwrap().0, 200);
        }
        assert!(metric(&upstream, r#"agw_upstream_connect_failures_total{cluster="c"} 2"#));
    })
    .await;
}

#[tokio::test]
async fn the_only_endpoint_stays_whatever_it_does() {
    local(async {
        let upstream = watched(&[&serve(|_| answer(500, "")).await], POLICY);
        for _ in 0..10 {
            assert_eq!(ask(&upstream, None).await.unwrap().0, 500);
        }
        assert!(metric(&upstream, r#"agw_upstream_ejections_total{cluster="c"} 0"#));
    })
    .await;
}

#[tokio::test]
async fn if_all_endpoints_are_out_all_are_used() {
    local(async {
        let (a, b) = (serve(|_| answer(500, "a")).await, serve(|_| answer(500, "b")).await);
        let upstream = watched(&[&a, &b], OutlierPolicy { ejected_percent_max: 100, ..POLICY });
        while !metric(&upstream, r#"agw_upstream_ejections_total{cluster="c"} 2"#) {
            ask(&upstream, None).await.unwrap();
        }
        let bodies = [ask(&upstream, None).await.unwrap().1, ask(&upstream, None).await.unwrap().1];
        assert!(bodies.contains(&"a".to_owned()) && bodies.contains(&"b".to_owned()), "{bodies:?}");
    })
    .await;
}

#[tokio::test]
async fn each_further_ejection_lasts_longer_until_a_success() {
    let text = ["127.0.0.1:1", "127.0.0.1:2"];
    let state = ClusterState::new(&Arc::new(cluster(&text))).unwrap();
    let endpoint = Arc::clone(&state.members().endpoints[0]);
    let policy = OutlierPolicy { ejection_time_max: Duration::from_millis(500), ..POLICY };
    let eject = || {
        assert_eq!(state.failed(&endpoint, &policy), None);
        let time = state.failed(&endpoint, &policy);
        endpoint.restore();
        time.unwrap().as_millis()
    };
    assert_eq!([eject(), eject(), eject()], [200, 400, 500]);
    endpoint.succeeded();
    assert_eq!(eject(), 200);
}

#[tokio::test]
async fn an_endpoint_that_lets_the_deadline_pass_has_failed() {
    local(async {
        let upstream = watched(&[&hang().await, &serve(|_| answer(200, "ok")).await], POLICY);
        for _ in 0..4 {
            let tries = Tries::default();
            let deadline = Instant::now() + Duration::from_millis(30);
            let sent = upstream.send(get(), SendPlan { deadline, ..plan(&tries) });
            let _ = tokio::time::timeout_at(deadline, sent).await;
        }
        assert!(metric(&upstream, r#"agw_upstream_ejections_total{cluster="c"} 1"#));
    })
    .await;
}

#[tokio::test]
async fn probes_take_an_endpoint_out_and_bring_it_back() {
    local(async {
        let well = Rc::new(Cell::new(false));
        let probed = Rc::clone(&well);
        let address = serve(move |_| answer(if probed.get() { 204 } else { 500 }, "")).await;
        let health = HealthCheck {
            path: "/health".to_owned(),
            host: None,
            statuses: (200, 299),
            interval: Duration::from_millis(10),
            timeout: Duration::from_secs(2),
            healthy_after: 2,
            unhealthy_after: 2,
        };
        let good = serve(|_| "HTTP/1.1 204 No Content\r\n\r\n".to_owned()).await;
        let upstream = start(Cluster { health: Some(health), ..cluster(&[&address, &good]) });
        wait_for(&upstream, r#"agw_upstream_endpoints{cluster="c",state="sick"} 1"#).await;
        for _ in 0..4 {
            assert_eq!(ask(&upstream, None).await.unwrap().0, 204);
        }
        well.set(true);
        wait_for(&upstream, r#"agw_upstream_endpoints{cluster="c",state="healthy"} 2"#).await;
    })
    .await;
}
