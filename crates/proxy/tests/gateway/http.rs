//! What the gateway makes of HTTP on the wire, byte by byte: the rows of `docs/http.md`.

mod framing;
mod heads;
mod plugins;
mod responses;

use tokio::io::AsyncReadExt;

use crate::guests::{Guest, load};
use crate::support::{Gateway, PATIENCE, Setup, ok, upstream};

/// An upstream that answers with the head and the body it received.
async fn mirror() -> Gateway {
    Setup::to(upstream(|request| ok(&format!("{}{}", request.head, request.body))).await).start()
}

/// The status that `bytes` are answered with; 0 if the connection is just closed.
async fn status(gateway: &Gateway, bytes: &str) -> u16 {
    let mut client = gateway.client().await;
    client.send(bytes).await;
    let mut line = Vec::new();
    let read =
        async { while line.len() < 12 && client.0.read_buf(&mut line).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(PATIENCE, read).await.expect("neither answered nor closed");
    let line = String::from_utf8_lossy(&line);
    line.get(9..12).map_or(0, |status| status.parse().unwrap())
}

/// What the upstream sees of these bytes.
async fn seen(gateway: &Gateway, bytes: &str) -> String {
    let mut client = gateway.client().await;
    client.send(bytes).await;
    let response = client.response().await;
    assert_eq!(response.status(), 200, "{bytes:?}: {response:?}");
    response.body
}

async fn seen_with(gateway: &Gateway, headers: &str) -> String {
    seen(gateway, &format!("GET /p HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await
}

async fn with_guest(guest: Guest) -> Setup {
    let mut setup = Setup::to(upstream(|request| ok(&format!("{}{}", request.head, request.body))).await);
    for plugin in load(vec![guest]).await {
        setup.routes[0].plugins.push(plugin.name().to_owned());
        setup.plugins.insert(plugin.name().to_owned(), plugin);
    }
    setup
}
