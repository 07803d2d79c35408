//! Upstreams that misbehave, and what clients see of it. `docs/upstreams.md` has the table.

use std::time::Duration;

use agw_config::{ClusterLimits, ClusterTarget, OutlierPolicy, RetryPolicy, RouteAction, UpstreamProtocol};
use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Setup, accept, manual_upstream, ok, upstream};

const RETRY: RetryPolicy = RetryPolicy {
    retries: 1,
    on_reset: true,
    on_timeout: true,
    on_statuses: Vec::new(),
    per_try_timeout: None,
    backoff: Duration::from_millis(1),
    backoff_max: Duration::from_millis(1),
    unsafe_methods: false,
    body_bytes_max: 1024,
};

fn retrying(setup: &mut Setup, policy: RetryPolicy) {
    if let RouteAction::Forward(forward) = &mut setup.routes[0].action {
        forward.retry = Some(policy);
    }
}

/// Answers the n-th connection with the n-th text, then closes it.
async fn scripted(answers: &'static [&'static str]) -> std::net::SocketAddr {
    let (address, listener) = manual_upstream().await;
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = accept(&listener).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn an_upstream_that_closes_in_mid_body_cuts_the_client_off() {
    let answers = &[
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ];
    let gateway = Setup::to(scripted(answers).await).start();
    for _ in 0..answers.len() {
        let mut client = gateway.client().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        // Closed without the rest: nobody can take it for a whole answer.
        let seen = client.rest().await;
        assert!(seen.starts_with("HTTP/1.1 200") && seen.contains("half"), "{seen}");
        assert!(!seen.ends_with("0\r\n\r\n"), "{seen}");
    }
}

#[tokio::test]
async fn what_an_upstream_sends_beyond_its_length_reaches_nobody() {
    let (address, listener) = manual_upstream().await;
    let gateway = Setup::to(address).start();
    tokio::spawn(async move {
        let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
        let (mut first, _) = accept(&listener).await;
        first.write_all(format!("{}{evil}", ok("one")).as_bytes()).await.unwrap();
        let (mut second, _) = accept(&listener).await;
        second.write_all(ok("two").as_bytes()).await.unwrap();
        (first, second)
    });
    assert_eq!(gateway.get("/").await.body, "one");
    assert_eq!(gateway.get("/").await.body, "two", "the next request goes out on a new connection");
}

#[tokio::test]
async fn a_head_that_leaves_the_length_in_doubt_is_a_502() {
    let answers = &[
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nfours",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nfour",
        "HTTP/1.1 200 OK\r\nx: a\r\n folded\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/3.7 200 OK\r\ncontent-length: 0\r\n\r\n",
    ];
    let gateway = Setup::to(scripted(answers).await).start();
    for answer in answers {
        let response = gateway.get("/").await;
        assert_eq!(response.status(), 502, "{answer}");
        response.assert(502, "upstream_protocol_error");
    }
}

#[tokio::test]
async fn a_head_with_too_many_headers_is_a_502() {
    let (address, listener) = manual_upstream().await;
    let gateway = Setup::to(address).start();
    tokio::spawn(async move {
        for count in [99, 101] {
            let (mut stream, _) = accept(&listener).await;
            let headers = "x: y\r\n".repeat(count - 1);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{headers}\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
        }
    });
    assert_eq!(gateway.get("/").await.status(), 200);
    gateway.get("/").await.assert(502, "upstream_protocol_error");
}

#[tokio::test]
async fn a_name_is_resolved_for_every_worker() {
    let server = upstream(|_| ok("ok")).await;
    let mut setup = Setup::to(server);
    setup.clusters[0].target = ClusterTarget::Endpoints(vec![format!("localhost:{}", server.port())]);
    setup.workers = 3;
    let gateway = setup.start();
    // The system spreads connections over the workers.
    for _ in 0..30 {
        assert_eq!(gateway.get("/").await.body, "ok");
    }
    gateway.wait_for_metric(r#"agw_upstream_dns_failures_total{cluster="upstream"} 0"#).await;
}

#[tokio::test]
async fn what_one_worker_learns_of_an_endpoint_all_know() {
    let (dead, listener) = manual_upstream().await;
    drop(listener);
    let good = upstream(|_| ok("ok")).await;
    let mut setup = Setup::to(good);
    setup.clusters[0].target = ClusterTarget::Endpoints(vec![dead.to_string(), good.to_string()]);
    setup.clusters[0].outlier = Some(OutlierPolicy {
        consecutive_failures: 2,
        ejection_time: Duration::from_secs(60),
        ejection_time_max: Duration::from_secs(60),
        ejected_percent_max: 50,
    });
    setup.workers = 3;
    let gateway = setup.start();
    for _ in 0..60 {
        assert_eq!(gateway.get("/").await.body, "ok");
    }
    // Two in all, and not two for each worker.
    gateway.wait_for_metric(r#"agw_upstream_connect_failures_total{cluster="upstream"} 2"#).await;
    gateway.wait_for_metric(r#"agw_upstream_ejections_total{cluster="upstream"} 1"#).await;
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_was_read_reaches_the_client() {
    let (address, listener) = manual_upstream().await;
    let gateway = Setup::to(address).start();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"part") {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
        }
        stream.write_all(ok("early").as_bytes()).await.unwrap();
        // A connection in mid-request serves nobody else.
        let (mut other, _) = accept(&listener).await;
        other.write_all(ok("later").as_bytes()).await.unwrap();
        (stream, other)
    });
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\npart").await;
    assert_eq!(client.response().await.body, "early");
    assert_eq!(gateway.get("/").await.body, "later");
}

#[tokio::test]
async fn a_cluster_at_its_limit_answers_503_at_once() {
    let (address, listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    setup.clusters[0].limits = ClusterLimits { requests_max: 1, ..ClusterLimits::default() };
    let gateway = setup.start();
    let mut first = gateway.client().await;
    first.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut stream, _) = accept(&listener).await;
    gateway.get("/").await.assert(503, "upstream_overflow");
    stream.write_all(ok("ok").as_bytes()).await.unwrap();
    assert_eq!(first.response().await.body, "ok");
    gateway.wait_for_metric(r#"agw_upstream_overflows_total{cluster="upstream",limit="requests"} 1"#).await;
}

#[tokio::test]
async fn a_retry_is_not_seen_by_the_client() {
    let bad = upstream(|_| "HTTP/1.1 503 Unavailable\r\ncontent-length: 2\r\n\r\nno".to_owned()).await;
    let good = upstream(|_| ok("ok")).await;
    let mut setup = Setup::to(good);
    setup.clusters[0].target = ClusterTarget::Endpoints(vec![bad.to_string(), good.to_string()]);
    retrying(&mut setup, RetryPolicy { on_statuses: vec![503], ..RETRY });
    let gateway = setup.start();
    for _ in 0..4 {
        assert_eq!(gateway.get("/").await.body, "ok");
    }
}

#[tokio::test]
async fn tries_that_all_take_too_long_are_a_504() {
    let (address, _listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    retrying(&mut setup, RetryPolicy { per_try_timeout: Some(Duration::from_millis(50)), ..RETRY });
    let gateway = setup.start();
    gateway.get("/").await.assert(504, "upstream_per_try_timeout");
    gateway.wait_for_metric(r#"agw_upstream_retries_total{cluster="upstream"} 1"#).await;
}

async fn http2(setup: impl FnOnce(&mut Setup)) -> (crate::support::Gateway, TcpListener) {
    let (address, listener) = manual_upstream().await;
    let mut made = Setup::to(address);
    made.clusters[0].protocol = UpstreamProtocol::Http2;
    setup(&mut made);
    (made.start(), listener)
}

#[tokio::test]
async fn bodies_and_trailers_pass_to_and_from_an_http2_upstream() {
    let (gateway, listener) = http2(|_| {}).await;
    let served = tokio::spawn(async move {
        let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        let (head, mut body) = request.into_parts();
        let mut received = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            received.extend_from_slice(&data);
        }
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        answer.send_data(Bytes::from_static(b"answer"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        answer.send_trailers(trailers).unwrap();
        (head, received)
    });
    let mut client = gateway.client().await;
    let chunked =
        "POST /a?b=c HTTP/1.1\r\nhost: a.example\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send(&format!("{chunked}4\r\nbody\r\n0\r\n\r\n")).await;
    let response = client.response().await;
    assert_eq!(response.status(), 200);
    assert!(response.body.starts_with("answer"), "{response:?}");
    let (head, received) = served.await.unwrap();
    assert_eq!(head.uri, "http://a.example/a?b=c");
    assert!(!head.headers.contains_key("transfer-encoding"), "{:?}", head.headers);
    assert_eq!(received, b"body");
}

#[tokio::test]
async fn a_stream_reset_in_mid_body_cuts_the_client_off() {
    let (gateway, listener) = http2(|_| {}).await;
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        answer.send_data(Bytes::from_static(b"half"), false).unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer.send_reset(h2::Reason::INTERNAL_ERROR);
        });
        while connection.accept().await.is_some() {}
    });
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let seen = client.rest().await;
    assert!(seen.contains("half") && !seen.ends_with("0\r\n\r\n"), "{seen}");
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_stream_and_no_other() {
    let (gateway, listener) = http2(|_| {}).await;
    let served = tokio::spawn(async move {
        let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        let (_, mut first) = connection.accept().await.unwrap().unwrap();
        let reset = tokio::spawn(async move { std::future::poll_fn(|cx| first.poll_reset(cx)).await });
        let (_, mut second) = connection.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        assert_eq!(reset.await.unwrap().unwrap(), h2::Reason::CANCEL);
        let mut answer = second.send_response(Response::new(()), false).unwrap();
        answer.send_data(Bytes::from_static(b"ok"), true).unwrap();
    });
    let mut leaves = gateway.client().await;
    leaves.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut stays = gateway.client().await;
    stays.send("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(leaves);
    assert!(stays.response().await.body.contains("ok"));
    served.await.unwrap();
}
