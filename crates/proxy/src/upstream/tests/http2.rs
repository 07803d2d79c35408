use std::cell::Cell;

use agw_config::UpstreamProtocol;
use bytes::Bytes;
use h2::Reason;
use h2::server::{Connection, SendResponse};
use http::Response;
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

/// Answers every request with `ok`.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, count: Rc<Cell<usize>>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((_, respond))) = connection.accept().await {
        count.set(count.get() + 1);
        answer_ok(respond);
    }
}

fn answer_ok(mut respond: SendResponse<Bytes>) {
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    body.send_data(Bytes::from_static(b"ok"), true).unwrap();
}

fn http2(address: &str) -> Upstream {
    start(Cluster { protocol: UpstreamProtocol::Http2, ..cluster(&[address]) })
}

async fn accept(listener: &TcpListener) -> Connection<TcpStream, Bytes> {
    h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap()
}

/// Drives a connection without taking requests, so that what was sent goes out.
async fn drive(mut connection: Connection<TcpStream, Bytes>) {
    while let Some(Ok(_)) = connection.accept().await {}
}

#[tokio::test]
async fn requests_at_once_share_one_connection() {
    local(async {
        let (listener, address) = listen().await;
        let seen = Rc::new(Cell::new(0));
        let count = Rc::clone(&seen);
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(serve(stream, count));
            let _ = listener.accept().await;
            panic!("a second connection");
        });
        let upstream = http2(&address);
        let (a, b, c) = tokio::join!(ask(&upstream, None), ask(&upstream, None), ask(&upstream, None));
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        assert_eq!(ask(&upstream, None).await.unwrap().1, "ok");
        assert_eq!((seen.get(), upstream.idle()), (4, 1));
    })
    .await;
}

#[tokio::test]
async fn host_becomes_the_authority() {
    local(async {
        let (listener, address) = listen().await;
        let server = tokio::task::spawn_local(async move {
            let mut connection = accept(&listener).await;
            let (request, respond) = connection.accept().await.unwrap().unwrap();
            answer_ok(respond);
            tokio::task::spawn_local(drive(connection));
            request
        });
        assert_eq!(ask(&http2(&address), None).await.unwrap().1, "ok");
        let request = server.await.unwrap();
        assert_eq!(request.uri(), "http://a/");
        assert!(!request.headers().contains_key("host"), "{:?}", request.headers());
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_reset_fails_alone() {
    local(async {
        let (listener, address) = listen().await;
        tokio::task::spawn_local(async move {
            let mut connection = accept(&listener).await;
            let (_, mut first) = connection.accept().await.unwrap().unwrap();
            let (_, second) = connection.accept().await.unwrap().unwrap();
            first.send_reset(Reason::INTERNAL_ERROR);
            answer_ok(second);
            let (_, third) = connection.accept().await.unwrap().unwrap();
            answer_ok(third);
            drive(connection).await;
        });
        let upstream = http2(&address);
        let (a, b) = tokio::join!(ask(&upstream, None), ask(&upstream, None));
        assert!(matches!(a, Err(SendError::Exchange(_))), "{a:?}");
        assert_eq!(b.unwrap().1, "ok");
        assert_eq!(ask(&upstream, None).await.unwrap().1, "ok", "on the same connection");
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_was_refused_is_sent_again_without_a_policy() {
    local(async {
        let (listener, address) = listen().await;
        tokio::task::spawn_local(async move {
            let mut connection = accept(&listener).await;
            let (_, mut first) = connection.accept().await.unwrap().unwrap();
            first.send_reset(Reason::REFUSED_STREAM);
            tokio::task::spawn_local(drive(connection));
            let mut connection = accept(&listener).await;
            answer_ok(connection.accept().await.unwrap().unwrap().1);
            drive(connection).await;
        });
        let (_, body, tries) = ask(&http2(&address), None).await.unwrap();
        assert_eq!((body.as_str(), tries), ("ok", 2));
    })
    .await;
}

#[tokio::test]
async fn after_goaway_what_runs_finishes_and_what_is_new_goes_elsewhere() {
    local(async {
        let (listener, address) = listen().await;
        let (told, tell) = tokio::sync::oneshot::channel::<()>();
        let (gone, went) = tokio::sync::oneshot::channel::<()>();
        tokio::task::spawn_local(async move {
            let mut connection = accept(&listener).await;
            let (_, first) = connection.accept().await.unwrap().unwrap();
            connection.graceful_shutdown();
            let finish = tokio::task::spawn_local(async move {
                tell.await.unwrap();
                answer_ok(first);
            });
            tokio::task::spawn_local(async move {
                // Drives GOAWAY out, and the answer of the first request.
                drive(connection).await;
                finish.await.unwrap();
            });
            gone.send(()).unwrap();
            let mut connection = accept(&listener).await;
            answer_ok(connection.accept().await.unwrap().unwrap().1);
            drive(connection).await;
        });
        let upstream = http2(&address);
        let later = async {
            went.await.unwrap();
            // GOAWAY has to arrive; whether the request finds it before or after, it is served.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let second = ask(&upstream, None).await;
            told.send(()).unwrap();
            second
        };
        let (first, second) = tokio::join!(ask(&upstream, None), later);
        assert_eq!(first.unwrap().1, "ok");
        assert_eq!(second.unwrap().1, "ok");
    })
    .await;
}

#[tokio::test]
async fn more_requests_than_the_peer_allows_streams_open_another_connection() {
    local(async {
        let (listener, address) = listen().await;
        let connections = Rc::new(Cell::new(0));
        let count = Rc::clone(&connections);
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.set(count.get() + 1);
                tokio::task::spawn_local(async move {
                    let mut builder = h2::server::Builder::new();
                    let mut connection =
                        builder.max_concurrent_streams(1).handshake::<_, Bytes>(stream).await.unwrap();
                    while let Some(Ok((_, respond))) = connection.accept().await {
                        answer_ok(respond);
                    }
                });
            }
        });
        let upstream = http2(&address);
        // The first ones learn what the peer allows.
        ask(&upstream, None).await.unwrap();
        ask(&upstream, None).await.unwrap();
        let tries = Tries::default();
        let held = upstream.send(get(), plan(&tries)).await.unwrap();
        assert_eq!(connections.get(), 1);
        assert_eq!(ask(&upstream, None).await.unwrap().1, "ok");
        assert_eq!(connections.get(), 2);
        drop(held);
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    local(async {
        let (listener, address) = listen().await;
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, Rc::default()).await;
        });
        let idle_timeout = Duration::from_secs(5);
        let upstream =
            start(Cluster { protocol: UpstreamProtocol::Http2, idle_timeout, ..cluster(&[&address]) });
        let tries = Tries::default();
        let sent = upstream.send(get(), plan(&tries)).await.unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        upstream.reap(later);
        assert_eq!(upstream.idle(), 1, "a stream is open");
        drop(sent);
        upstream.reap(Instant::now());
        assert_eq!(upstream.idle(), 1, "it is idle, but not for long");
        upstream.reap(later);
        assert_eq!(upstream.idle(), 0);
        // Its tasks notice in their next turn, and the socket is closed.
        while !metric(&upstream, r#"agw_upstream_connections{cluster="c"} 0"#) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_is_no_http2_server_is_an_error() {
    local(async {
        let (listener, address) = listen().await;
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let error = ask(&http2(&address), None).await.unwrap_err();
        assert!(matches!(error, SendError::Exchange(_) | SendError::Connect { .. }), "{error:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_given_up() {
    local(async {
        let before = Instant::now();
        let error = ask(&http2(&hang().await), None).await.unwrap_err();
        assert!(matches!(error, SendError::Exchange(_)), "{error:?}");
        assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
    })
    .await;
}
