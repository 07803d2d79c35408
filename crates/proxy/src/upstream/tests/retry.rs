use super::*;

const POLICY: RetryPolicy = RetryPolicy {
    retries: 2,
    on_reset: true,
    on_timeout: true,
    on_statuses: Vec::new(),
    per_try_timeout: None,
    backoff: Duration::from_millis(1),
    backoff_max: Duration::from_millis(2),
    unsafe_methods: false,
    body_bytes_max: 4,
};

fn on_503() -> RetryPolicy {
    RetryPolicy { on_statuses: vec![503], ..POLICY }
}

#[tokio::test]
async fn a_status_that_is_retried_goes_to_the_other_endpoint() {
    local(async {
        let (bad, good) = (serve(|_| answer(503, "no")).await, serve(|_| answer(200, "ok")).await);
        let upstream = upstream(&[&bad, &good]);
        for _ in 0..4 {
            let (status, body, tries) = ask(&upstream, Some(&on_503())).await.unwrap();
            assert_eq!((status, body.as_str()), (200, "ok"));
            assert!(tries <= 2, "never on the same endpoint again");
        }
        assert!(!metric(&upstream, r#"agw_upstream_retries_total{cluster="c"} 0"#));
    })
    .await;
}

#[tokio::test]
async fn the_last_answer_stands_when_all_tries_are_used() {
    local(async {
        let upstream = upstream(&[&serve(|n| answer(503, &n.to_string())).await]);
        let (status, body, tries) = ask(&upstream, Some(&on_503())).await.unwrap();
        assert_eq!((status, body.as_str(), tries), (503, "2", 3));
        assert!(metric(&upstream, r#"agw_upstream_retries_total{cluster="c"} 2"#));
    })
    .await;
}

#[tokio::test]
async fn a_reset_is_retried_for_safe_methods_only() {
    local(async {
        let first_breaks = |n| if n == 0 { String::new() } else { answer(200, "ok") };
        let one = upstream(&[&serve(first_breaks).await]);
        let (status, _, tries) = ask(&one, Some(&POLICY)).await.unwrap();
        assert_eq!((status, tries), (200, 2));

        let one = upstream(&[&serve(first_breaks).await]);
        let tries = Tries::default();
        let post = || {
            let mut request = get();
            *request.method_mut() = Method::POST;
            request
        };
        let plan = |policy| SendPlan { retry: Some(policy), ..plan(&tries) };
        let policy = POLICY;
        let error = one.send(post(), plan(&policy)).await.unwrap_err();
        assert!(matches!(error, SendError::Exchange(_)), "{error:?}");

        let one = upstream(&[&serve(first_breaks).await]);
        let unsafe_too = RetryPolicy { unsafe_methods: true, ..POLICY };
        assert_eq!(one.send(post(), plan(&unsafe_too)).await.unwrap().response.status(), 200);
    })
    .await;
}

/// Reads requests with a body; closes the connection instead of answering the first.
async fn breaks_once() -> (String, Rc<std::cell::RefCell<Vec<String>>>) {
    let (listener, address) = listen().await;
    let seen = Rc::new(std::cell::RefCell::new(Vec::new()));
    let bodies = Rc::clone(&seen);
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let text = read_request(&mut stream).await;
            bodies.borrow_mut().push(text);
            if bodies.borrow().len() > 1 {
                stream.write_all(OK).await.unwrap();
            }
        }
    });
    (address, seen)
}

async fn put(upstream: &Upstream, policy: &RetryPolicy) -> Result<Sent, SendError> {
    let mut request = request(RequestBody::whole(bytes::Bytes::from_static(b"body")));
    *request.method_mut() = Method::PUT;
    let tries = Tries::default();
    upstream.send(request, SendPlan { retry: Some(policy), ..plan(&tries) }).await
}

#[tokio::test]
async fn a_body_that_is_still_at_hand_is_sent_again_whole() {
    local(async {
        let (address, seen) = breaks_once().await;
        assert_eq!(put(&upstream(&[&address]), &POLICY).await.unwrap().response.status(), 200);
        let seen = seen.borrow();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], seen[1]);
    })
    .await;
}

#[tokio::test]
async fn a_body_over_the_bound_is_sent_once() {
    local(async {
        let (address, seen) = breaks_once().await;
        let policy = RetryPolicy { body_bytes_max: 3, ..POLICY };
        let error = put(&upstream(&[&address]), &policy).await.unwrap_err();
        assert!(matches!(error, SendError::Exchange(_)), "{error:?}");
        assert_eq!(seen.borrow().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_body_over_the_bound_still_goes_on_after_a_failed_connection() {
    local(async {
        let (listener, address) = listen().await;
        let server = tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            stream.write_all(OK).await.unwrap();
        });
        let policy = RetryPolicy { body_bytes_max: 0, ..POLICY };
        let upstream = upstream(&[&dead().await, &address]);
        assert_eq!(put(&upstream, &policy).await.unwrap().response.status(), 200);
        server.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_try_that_hangs_is_given_up_for_another_endpoint() {
    local(async {
        let (silent, good) = (hang().await, serve(|_| answer(200, "ok")).await);
        let upstream = upstream(&[&silent, &good]);
        let policy = RetryPolicy { per_try_timeout: Some(Duration::from_millis(100)), ..POLICY };
        for _ in 0..3 {
            assert_eq!(ask(&upstream, Some(&policy)).await.unwrap().1, "ok");
        }
    })
    .await;
}

#[tokio::test]
async fn tries_that_all_hang_are_a_timeout() {
    local(async {
        let upstream = upstream(&[&hang().await]);
        let per_try_timeout = Some(Duration::from_millis(20));
        let policy = RetryPolicy { per_try_timeout, ..POLICY };
        let error = ask(&upstream, Some(&policy)).await.unwrap_err();
        assert!(matches!(error, SendError::TryTimeout), "{error:?}");
        assert!(metric(&upstream, r#"agw_upstream_retries_total{cluster="c"} 2"#));
        let not_then = RetryPolicy { on_timeout: false, per_try_timeout, ..POLICY };
        assert!(ask(&upstream, Some(&not_then)).await.is_err());
        assert!(metric(&upstream, r#"agw_upstream_retries_total{cluster="c"} 2"#), "no more than before");
    })
    .await;
}

#[tokio::test]
async fn no_retry_begins_after_the_deadline() {
    local(async {
        let upstream = upstream(&[&serve(|_| answer(503, "no")).await]);
        let hour = Duration::from_secs(3600);
        let policy = RetryPolicy { backoff: hour, backoff_max: hour, ..on_503() };
        assert_eq!(ask(&upstream, Some(&policy)).await.unwrap().0, 503);
        assert!(metric(&upstream, r#"agw_upstream_retries_total{cluster="c"} 0"#));
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_not_asked_for_again() {
    local(async {
        let upstream = upstream(&[&serve(|_| "SSH-2.0-OpenSSH\r\n\r\n".to_owned()).await]);
        let error = ask(&upstream, Some(&POLICY)).await.unwrap_err();
        assert!(matches!(&error, SendError::Exchange(error) if error.is_parse()), "{error:?}");
        assert!(metric(&upstream, r#"agw_upstream_retries_total{cluster="c"} 0"#));
    })
    .await;
}

#[tokio::test]
async fn retries_over_the_budget_are_left_out() {
    local(async {
        let upstream = upstream(&[&serve(|_| answer(503, "no")).await]);
        let places: Vec<_> = (0..3).map(|_| upstream.state.circuit.retry().unwrap()).collect();
        let (status, _, tries) = ask(&upstream, Some(&on_503())).await.unwrap();
        assert_eq!((status, tries), (503, 1));
        assert!(metric(&upstream, r#"agw_upstream_overflows_total{cluster="c",limit="retries"} 1"#));
        drop(places);
        assert_eq!(ask(&upstream, Some(&on_503())).await.unwrap().2, 3);
    })
    .await;
}
