use agw_config::{Balance, ClusterLimits};

use super::*;

fn limited(address: &str, limits: ClusterLimits) -> Upstream {
    start(Cluster { limits, ..cluster(&[address]) })
}

#[tokio::test]
async fn requests_over_the_limit_are_refused_at_once() {
    local(async {
        let limits = ClusterLimits { requests_max: 1, ..ClusterLimits::default() };
        let upstream = limited(&serve(|_| answer(200, "ok")).await, limits);
        let tries = Tries::default();
        let held = upstream.send(get(), plan(&tries)).await.unwrap();
        let error = ask(&upstream, None).await.unwrap_err();
        assert!(matches!(error, SendError::Overflow { limit: Limit::Requests, .. }), "{error:?}");
        assert!(metric(&upstream, r#"agw_upstream_overflows_total{cluster="c",limit="requests"} 1"#));
        drop(held);
        assert_eq!(ask(&upstream, None).await.unwrap().1, "ok");
    })
    .await;
}

#[tokio::test]
async fn a_failed_request_gives_its_place_back() {
    local(async {
        let limits = ClusterLimits { requests_max: 1, ..ClusterLimits::default() };
        let upstream = limited(&dead().await, limits);
        for _ in 0..3 {
            let error = ask(&upstream, None).await.unwrap_err();
            assert!(matches!(error, SendError::Connect { .. }), "{error:?}");
        }
        assert!(metric(&upstream, r#"agw_upstream_connect_failures_total{cluster="c"} 3"#));
        assert!(metric(&upstream, r#"agw_upstream_connections{cluster="c"} 0"#));
    })
    .await;
}

#[tokio::test]
async fn a_request_without_connection_waits_for_the_one_in_use() {
    local(async {
        let limits = ClusterLimits { connections_max: 1, pending_max: 1, ..ClusterLimits::default() };
        let upstream = limited(&serve(|_| answer(200, "ok")).await, limits);
        let tries = Tries::default();
        let Sent { response, lease } = upstream.send(get(), plan(&tries)).await.unwrap();
        let over = async {
            tokio::task::yield_now().await;
            let error = ask(&upstream, None).await.unwrap_err();
            assert!(matches!(error, SendError::Overflow { limit: Limit::Pending, .. }), "{error:?}");
            response.into_body().collect().await.unwrap();
            lease.keep();
        };
        let (waited, ()) = tokio::join!(ask(&upstream, None), over);
        assert_eq!(waited.unwrap().1, "ok");
        assert!(metric(&upstream, r#"agw_upstream_pending{cluster="c"} 0"#));
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_dropped_in_whatever_state_gives_its_places_back() {
    local(async {
        let limits =
            ClusterLimits { connections_max: 1, pending_max: 1, requests_max: 2, ..ClusterLimits::default() };
        let upstream = limited(&serve(|_| answer(200, "ok")).await, limits);
        // Dropped after each number of polls: before a connection, while it is made, while the head is waited for.
        for polls in 0..8 {
            let tries = Tries::default();
            let mut sending = Box::pin(upstream.send(get(), plan(&tries)));
            for _ in 0..polls {
                if poll_once(sending.as_mut()).await {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let tries = Tries::default();
        let held = upstream.send(get(), plan(&tries)).await.unwrap();
        // This one waits for a connection; then it is gone, and another may wait in its place.
        let mut waits = Box::pin(ask(&upstream, None));
        assert!(!poll_once(waits.as_mut()).await);
        assert!(metric(&upstream, r#"agw_upstream_pending{cluster="c"} 1"#));
        drop(waits);
        assert!(metric(&upstream, r#"agw_upstream_pending{cluster="c"} 0"#));
        let mut waits = Box::pin(ask(&upstream, None));
        assert!(!poll_once(waits.as_mut()).await);
        drop(held);
        assert_eq!(waits.await.unwrap().1, "ok");
    })
    .await;
}

/// Polls once. Returns whether that was enough.
async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

#[tokio::test]
async fn an_idle_connection_makes_way_for_another_endpoint() {
    local(async {
        let (a, b) = (serve(|_| answer(200, "a")).await, serve(|_| answer(200, "b")).await);
        let limits = ClusterLimits { connections_max: 1, ..ClusterLimits::default() };
        let upstream = start(Cluster { limits, ..cluster(&[&a, &b]) });
        let mut seen: Vec<_> = Vec::new();
        for _ in 0..4 {
            seen.push(ask(&upstream, None).await.unwrap().1);
        }
        seen.sort();
        assert_eq!(seen, ["a", "a", "b", "b"]);
    })
    .await;
}

#[tokio::test]
async fn another_workers_idle_connection_makes_way() {
    local(async {
        let address = serve(|_| answer(200, "ok")).await;
        let limits = ClusterLimits { connections_max: 1, ..ClusterLimits::default() };
        let state =
            Arc::new(ClusterState::new(&Arc::new(Cluster { limits, ..cluster(&[&address]) })).unwrap());
        let metrics = Arc::new(Metrics::new());
        let worker = || Upstream::new(&state, &metrics, &TaskTracker::new(), false);
        let (one, two) = (worker(), worker());
        ask(&one, None).await.unwrap();
        let reaping = async {
            tokio::task::yield_now().await;
            one.reap(Instant::now());
        };
        let (answered, ()) = tokio::join!(ask(&two, None), reaping);
        assert_eq!(answered.unwrap().1, "ok");
    })
    .await;
}

#[tokio::test]
async fn the_endpoint_with_fewer_requests_is_preferred() {
    local(async {
        let (a, b) = (serve(|_| answer(200, "a")).await, serve(|_| answer(200, "b")).await);
        let upstream = start(Cluster { balance: Balance::LeastRequest, ..cluster(&[&a, &b]) });
        let tries = Tries::default();
        let held = upstream.send(get(), plan(&tries)).await.unwrap();
        for _ in 0..10 {
            let tries = Tries::default();
            let other = upstream.send(get(), plan(&tries)).await.unwrap();
            assert_ne!(other.lease.peer(), held.lease.peer());
        }
    })
    .await;
}

#[tokio::test]
async fn equal_keys_reach_one_endpoint_and_its_loss_moves_them() {
    local(async {
        let (a, b) = (serve(|_| answer(200, "a")).await, serve(|_| answer(200, "b")).await);
        let upstream = start(Cluster { balance: Balance::ConsistentHash, ..cluster(&[&a, &b]) });
        let mut owners = std::collections::BTreeSet::new();
        for key in 0..16_u8 {
            let peer = async || {
                let tries = Tries::default();
                let hash = Some(hash_of(&[key]));
                upstream.send(get(), SendPlan { hash, ..plan(&tries) }).await.unwrap().lease.peer()
            };
            let owner = peer().await;
            assert_eq!(peer().await, owner);
            owners.insert(owner);
            upstream.endpoints.each(|endpoint| {
                endpoint.state.set_sick(endpoint.state.address == owner);
            });
            assert_ne!(peer().await, owner);
            upstream.endpoints.each(|endpoint| {
                endpoint.state.set_sick(false);
            });
        }
        assert_eq!(owners.len(), 2);
    })
    .await;
}
