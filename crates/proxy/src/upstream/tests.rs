mod circuit;
mod health;
mod http2;
mod names;
mod retry;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use agw_config::{Cluster, RetryPolicy};
use http::Method;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// An address that nobody listens on.
async fn dead() -> String {
    listen().await.1
}

fn upstream(endpoints: &[&str]) -> Upstream {
    let target = ClusterTarget::Endpoints(endpoints.iter().map(|text| (*text).to_owned()).collect());
    let cluster = Cluster {
        connect_timeout: Duration::from_millis(500),
        idle_timeout: Duration::from_secs(5),
        idle_max: 2,
        ..Cluster::new("c", target)
    };
    start(cluster)
}

fn start(cluster: Cluster) -> Upstream {
    let state = Arc::new(ClusterState::new(&Arc::new(cluster)).unwrap());
    Upstream::new(&state, &Arc::new(Metrics::new()), &TaskTracker::new(), true)
}

fn cluster(endpoints: &[&str]) -> Cluster {
    let list = endpoints.iter().map(|text| (*text).to_owned()).collect();
    Cluster {
        connect_timeout: Duration::from_millis(500),
        ..Cluster::new("c", ClusterTarget::Endpoints(list))
    }
}

fn get() -> Box<Request<RequestBody>> {
    let mut request = request(RequestBody::empty());
    *request.method_mut() = Method::GET;
    request
}

/// Sends one GET and reads its response to the end: its status, body, and how often it was tried.
async fn ask(upstream: &Upstream, retry: Option<&RetryPolicy>) -> Result<(u16, String, u32), SendError> {
    let tries = Tries::default();
    let Sent { response, lease } = upstream.send(get(), SendPlan { retry, ..plan(&tries) }).await?;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.map_err(SendError::Exchange)?.to_bytes();
    lease.keep();
    Ok((status, String::from_utf8(bytes.to_vec()).unwrap(), tries.count()))
}

/// Reads a head without body.
async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
    }
    String::from_utf8(text).ok()
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A server whose n-th request (of all its connections) is answered by `answer(n)`; what that returns empty is not
/// answered, but the connection closed.
async fn serve(answer: impl FnMut(usize) -> String + 'static) -> String {
    let (listener, address) = listen().await;
    let count = Rc::new(std::cell::Cell::new(0));
    let answer = Rc::new(std::cell::RefCell::new(answer));
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (count, answer) = (Rc::clone(&count), Rc::clone(&answer));
            tokio::task::spawn_local(async move {
                while read_head(&mut stream).await.is_some() {
                    let text = (answer.borrow_mut())(count.replace(count.get() + 1));
                    if text.is_empty() || stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Accepts connections and never says a word.
async fn hang() -> String {
    let (listener, address) = listen().await;
    tokio::task::spawn_local(async move {
        let mut streams = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            streams.push(stream);
        }
    });
    address
}

fn metric(upstream: &Upstream, line: &str) -> bool {
    upstream.stats.text().lines().any(|found| found == line)
}

impl Upstream {
    fn end_idle(&self) {
        self.endpoints.each(|endpoint| endpoint.end_idle());
    }

    fn idle(&self) -> usize {
        let mut idle = 0;
        self.endpoints.each(|endpoint| idle += endpoint.idle() + endpoint.http2.len());
        idle
    }
}

fn request(body: RequestBody) -> Box<Request<RequestBody>> {
    let mut request = Box::new(Request::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/".parse().unwrap();
    request.headers_mut().insert("host", "a".parse().unwrap());
    request
}

fn plan(tries: &Tries) -> SendPlan<'_> {
    let deadline = Instant::now() + Duration::from_secs(10);
    SendPlan { retry: None, hash: None, deadline, endpoint_host: false, upgrade: false, tries }
}

/// Sends one request and reads its response to the end.
async fn exchange(upstream: &Upstream) -> Result<(String, SocketAddr), SendError> {
    let body = RequestBody::whole(bytes::Bytes::from_static(b"body"));
    let tries = Tries::default();
    let Sent { response, lease } = upstream.send(request(body), plan(&tries)).await?;
    let peer = lease.peer();
    let bytes = response.into_body().collect().await.map_err(SendError::Exchange)?.to_bytes();
    lease.keep();
    Ok((String::from_utf8(bytes.to_vec()).unwrap(), peer))
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"body") {
        assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "closed after {text:?}");
    }
    String::from_utf8(text).unwrap()
}

async fn local<F: Future<Output = ()>>(test: F) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn no_endpoint_that_answers_is_an_error_with_its_cause() {
    local(async {
        let error = exchange(&upstream(&[&dead().await, &dead().await])).await.unwrap_err();
        assert!(matches!(&error, SendError::Connect { last: ConnectError::Io(_), .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_an_error() {
    local(async {
        let error = exchange(&upstream(&["no-such-host.invalid:80"])).await.unwrap_err();
        assert!(matches!(&error, SendError::Connect { .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_dead_endpoint_passes_its_turn_to_the_next() {
    local(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[&dead().await, &address]);
        tokio::task::spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                read_request(&mut stream).await;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
                    .await
                    .unwrap();
            }
        });
        for _ in 0..4 {
            assert_eq!(exchange(&upstream).await.unwrap().1.to_string(), address);
        }
        assert_eq!(upstream.idle(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_connection_is_used_again() {
    local(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[&address]);
        let server = tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..3 {
                read_request(&mut stream).await;
                stream.write_all(OK).await.unwrap();
            }
            let _ = stream.read_u8().await;
        });
        for _ in 0..3 {
            assert_eq!(exchange(&upstream).await.unwrap().0, "ok");
            assert_eq!(upstream.idle(), 1);
        }
        drop(upstream);
        server.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_no_request_and_no_body() {
    local(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[&address]);
        let server = tokio::task::spawn_local(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                assert!(read_request(&mut stream).await.ends_with("body"));
                stream.write_all(OK).await.unwrap();
                assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
            }
        });
        exchange(&upstream).await.unwrap();
        assert_eq!(upstream.idle(), 1);
        // It still looks alive when the request is handed to it, and is gone before the request is written.
        upstream.end_idle();
        assert_eq!(exchange(&upstream).await.unwrap().0, "ok");
        drop(upstream);
        server.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_kept_connection_that_is_known_to_be_closed_is_not_used() {
    local(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[&address]);
        let server = tokio::task::spawn_local(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                read_request(&mut stream).await;
                stream.write_all(OK).await.unwrap();
            }
        });
        exchange(&upstream).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(exchange(&upstream).await.unwrap().0, "ok");
        server.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_request_that_was_written_is_not_sent_twice() {
    local(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[&address]);
        let server = tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            drop(stream);
            let again = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
            assert!(again.is_err(), "sent again");
        });
        let error = exchange(&upstream).await.unwrap_err();
        assert!(matches!(&error, SendError::Exchange(_)), "{error:?}");
        server.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_is_dropped_closes_its_connection() {
    local(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[&address]);
        let server = tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegin").await.unwrap();
            let mut rest = Vec::new();
            // Closed, or reset because of what was not read.
            let _ = stream.read_to_end(&mut rest).await;
        });
        let body = RequestBody::whole(bytes::Bytes::from_static(b"body"));
        let tries = Tries::default();
        let Sent { response, lease } = upstream.send(request(body), plan(&tries)).await.unwrap();
        drop(lease);
        drop(response);
        server.await.unwrap();
        assert_eq!(upstream.idle(), 0);
    })
    .await;
}

#[tokio::test]
async fn idle_connections_are_bounded_and_reaped() {
    local(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[&address]);
        tokio::task::spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::task::spawn_local(async move {
                    read_request(&mut stream).await;
                    stream.write_all(OK).await.unwrap();
                    let _ = stream.read_u8().await;
                });
            }
        });
        let (a, b, c) = tokio::join!(exchange(&upstream), exchange(&upstream), exchange(&upstream));
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        assert_eq!(upstream.idle(), 2, "idle_max is 2");
        let now = Instant::now();
        upstream.reap(now + Duration::from_secs(4));
        assert_eq!(upstream.idle(), 2);
        upstream.reap(now + Duration::from_secs(6));
        assert_eq!(upstream.idle(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_parse_error() {
    local(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[&address]);
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").await.unwrap();
        });
        match exchange(&upstream).await.unwrap_err() {
            SendError::Exchange(error) => assert!(error.is_parse(), "{error:?}"),
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn an_upgraded_connection_gives_its_bytes_and_keeps_its_place() {
    local(async {
        let (listener, address) = listen().await;
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = read_head(&mut stream).await.unwrap();
            assert!(head.contains("upgrade: echo"), "{head}");
            let switching =
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nfirst";
            stream.write_all(switching).await.unwrap();
            let mut buffer = [0; 4];
            stream.read_exact(&mut buffer).await.unwrap();
            stream.write_all(&buffer).await.unwrap();
            let _ = stream.read_u8().await;
        });
        let upstream = upstream(&[&address]);
        assert!(upstream.can_upgrade());
        let tries = Tries::default();
        let mut request = get();
        request.headers_mut().insert("connection", "upgrade".parse().unwrap());
        request.headers_mut().insert("upgrade", "echo".parse().unwrap());
        let plan = SendPlan { upgrade: true, ..plan(&tries) };
        let Sent { response, lease } = upstream.send(request, plan).await.unwrap();
        assert_eq!(response.status(), 101);
        let mut tunnel = hyper_util::rt::TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        let mut buffer = [0; 5];
        tunnel.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"first");
        tunnel.write_all(b"ping").await.unwrap();
        tunnel.read_exact(&mut buffer[..4]).await.unwrap();
        assert_eq!(&buffer[..4], b"ping");
        assert!(metric(&upstream, r#"agw_upstream_connections{cluster="c"} 1"#));
        drop((tunnel, lease));
        tokio::task::yield_now().await;
        assert!(metric(&upstream, r#"agw_upstream_connections{cluster="c"} 0"#));
    })
    .await;
}

#[tokio::test]
async fn the_echo_tells_what_it_received() {
    let mut request = request(RequestBody::whole(bytes::Bytes::from_static(b"four")));
    *request.uri_mut() = "/a?b=c".parse().unwrap();
    request.headers_mut().append("x-two", "1".parse().unwrap());
    request.headers_mut().append("x-two", "2".parse().unwrap());
    let (head, body) = echo(request).await.unwrap();
    assert_eq!(head.status, 200);
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = serde_json::json!({
        "method": "POST",
        "path": "/a?b=c",
        "headers": {"host": "a", "x-two": "1, 2"},
        "body_bytes": 4,
    });
    assert_eq!(told, expected);
}
