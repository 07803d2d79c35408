//! Peers that speak bytes: clients and upstreams that do what no HTTP library would.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No peer waits longer for the other side.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

/// Connects and sends these bytes.
pub(crate) async fn send(address: SocketAddr, bytes: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    Ok(stream)
}

/// Everything until the other side closes; a reset counts as closed.
pub(crate) async fn read_all(stream: &mut TcpStream) -> Result<String> {
    let mut bytes = Vec::new();
    let read = timeout(WITHIN, stream.read_to_end(&mut bytes)).await;
    // Bytes that came before an error have been kept.
    let _closed_or_reset = read.context("the connection is still open")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads until `end` has come.
pub(crate) async fn read_until(stream: &mut TcpStream, end: &str) -> Result<String> {
    let mut text = String::new();
    while !text.contains(end) {
        let mut chunk = [0; 1024];
        let read = timeout(WITHIN, stream.read(&mut chunk)).await.context("nothing comes any more")??;
        anyhow::ensure!(read > 0, "closed before {end:?}: {text:?}");
        text.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    Ok(text)
}

/// An upstream that reads one head from each connection, sends these bytes and closes.
pub(crate) async fn upstream(answer: &'static [u8]) -> Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(tokio::spawn(async move {
                let _ = read_until(&mut stream, "\r\n\r\n").await;
                let _ = stream.write_all(answer).await;
            }));
        }
    });
    Ok((address, server))
}
