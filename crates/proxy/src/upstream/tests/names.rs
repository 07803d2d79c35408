use std::cell::RefCell;
use std::io;

use super::super::resolve::Lookup;
use super::*;

/// What the resolver says next.
type Answers = Rc<RefCell<io::Result<Vec<SocketAddr>>>>;

fn scripted(answers: &Answers) -> Lookup {
    let answers = Rc::clone(answers);
    Rc::new(move |_| {
        let answer = match &*answers.borrow() {
            Ok(addresses) => Ok(addresses.clone()),
            Err(error) => Err(io::Error::from(error.kind())),
        };
        Box::pin(async move { answer })
    })
}

fn named(answers: &Answers) -> Upstream {
    let cluster = Cluster { dns_refresh: Duration::from_millis(10), ..cluster(&["backend.example:80"]) };
    let state = Arc::new(ClusterState::new(&Arc::new(cluster)).unwrap());
    Upstream::resolving(&state, &Arc::new(Metrics::new()), &TaskTracker::new(), Some(scripted(answers)))
}

fn answers(addresses: &[&str]) -> Answers {
    Rc::new(RefCell::new(Ok(addresses.iter().map(|address| address.parse().unwrap()).collect())))
}

#[tokio::test]
async fn the_first_request_waits_for_the_first_answer() {
    local(async {
        let upstream = named(&answers(&[&serve(|_| answer(200, "ok")).await]));
        assert_eq!(ask(&upstream, None).await.unwrap().1, "ok");
    })
    .await;
}

#[tokio::test]
async fn every_address_of_a_name_is_an_endpoint() {
    local(async {
        let (a, b) = (serve(|_| answer(200, "a")).await, serve(|_| answer(200, "b")).await);
        let upstream = named(&answers(&[&a, &b]));
        let bodies = [ask(&upstream, None).await.unwrap().1, ask(&upstream, None).await.unwrap().1];
        assert!(bodies.contains(&"a".to_owned()) && bodies.contains(&"b".to_owned()), "{bodies:?}");
    })
    .await;
}

#[tokio::test]
async fn a_resolver_that_fails_at_first_is_an_error_until_it_answers() {
    local(async {
        let script: Answers = Rc::new(RefCell::new(Err(io::ErrorKind::NotFound.into())));
        let upstream = named(&script);
        let error = ask(&upstream, None).await.unwrap_err();
        assert!(matches!(error, SendError::Connect { last: ConnectError::NoEndpoint, .. }), "{error:?}");
        assert!(!metric(&upstream, r#"agw_upstream_dns_failures_total{cluster="c"} 0"#));
        *script.borrow_mut() = Ok(vec![serve(|_| answer(200, "ok")).await.parse().unwrap()]);
        while ask(&upstream, None).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_never_answers_costs_the_connect_timeout() {
    local(async {
        let cluster = cluster(&["backend.example:80"]);
        let timeout = cluster.connect_timeout;
        let state = Arc::new(ClusterState::new(&Arc::new(cluster)).unwrap());
        let silent: Lookup = Rc::new(|_| Box::pin(std::future::pending()));
        let upstream =
            Upstream::resolving(&state, &Arc::new(Metrics::new()), &TaskTracker::new(), Some(silent));
        let before = Instant::now();
        let error = ask(&upstream, None).await.unwrap_err();
        assert!(matches!(error, SendError::Connect { last: ConnectError::Timeout, .. }), "{error:?}");
        assert_eq!(
            before.elapsed().as_millis(),
            timeout.as_millis() + u128::from(before.elapsed() > timeout)
        );
    })
    .await;
}

#[tokio::test]
async fn a_failure_keeps_the_last_good_addresses() {
    local(async {
        let script = answers(&[&serve(|_| answer(200, "ok")).await]);
        let upstream = named(&script);
        ask(&upstream, None).await.unwrap();
        *script.borrow_mut() = Err(io::ErrorKind::NotFound.into());
        while metric(&upstream, r#"agw_upstream_dns_failures_total{cluster="c"} 0"#) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(ask(&upstream, None).await.unwrap().1, "ok");
    })
    .await;
}

#[tokio::test]
async fn a_change_closes_idle_connections_and_lets_busy_ones_finish() {
    local(async {
        let (old, new) = (serve(|_| answer(200, "old")).await, serve(|_| answer(200, "new")).await);
        let script = answers(&[&old]);
        let upstream = named(&script);
        ask(&upstream, None).await.unwrap();
        let tries = Tries::default();
        let Sent { response, lease } = upstream.send(get(), plan(&tries)).await.unwrap();
        let second = upstream.send(get(), plan(&tries)).await.unwrap();
        drop(second);
        *script.borrow_mut() = Ok(vec![new.parse().unwrap()]);
        while ask(&upstream, None).await.unwrap().1 != "new" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "old");
        lease.keep();
        let mut open = 0;
        for _ in 0..100 {
            tokio::task::yield_now().await;
            open = upstream.idle();
        }
        assert_eq!(open, 1, "only the new endpoint keeps a connection");
        assert!(metric(&upstream, r#"agw_upstream_connections{cluster="c"} 1"#));
    })
    .await;
}
