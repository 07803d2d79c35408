//! An upstream that keeps every byte, and reads them as strictly as HTTP can be read.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::background::Background;
use crate::strict_http::{Reading, StrictRequest, read_request};

/// Bytes kept of one connection; it is closed beyond that.
const BYTES_MAX: usize = 1 << 20;
/// A body says nothing that a test of framing wants to know, and none can be taken for the next answer.
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A server that answers the first request of each connection with 204 and `Connection: close`, and then goes on
/// reading: whoever sends more on that connection meant it to belong to the first request.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Received>>>,
    _background: Background,
}

/// What came on one connection.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Every byte.
    pub bytes: Vec<u8>,
    /// The other side has closed it.
    pub closed: bool,
}

/// What one connection comes to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Whole requests, in their order.
    pub requests: Vec<StrictRequest>,
    /// Why the bytes after them are no clean request, if they are none.
    pub defect: Option<String>,
    /// Bytes after the last whole request that may be the beginning of another.
    pub part: usize,
}

// === impl Recorder ===

impl Recorder {
    /// A server on a free port of loopback.
    ///
    /// # Errors
    /// When no port or thread can be had.
    pub fn start() -> Result<Self> {
        let background = Background::start("recorder")?;
        let listener = background.run(TcpListener::bind(("127.0.0.1", 0)))??;
        let address = listener.local_addr()?;
        let connections = Arc::new(Mutex::new(Vec::new()));
        background.spawn(run(listener, Arc::clone(&connections)));
        Ok(Recorder { address, connections, _background: background })
    }

    /// Where a proxy connects.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything so far, one entry per connection.
    pub fn received(&self) -> Vec<Received> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// === impl Received ===

impl Received {
    /// Whether `text` is anywhere in it.
    pub fn mentions(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// What a strict reader makes of it.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        let mut rest = self.bytes.as_slice();
        while !rest.is_empty() {
            match read_request(rest) {
                Reading::Whole(request, used) => {
                    verdict.requests.push(*request);
                    rest = &rest[used..];
                }
                Reading::Part => {
                    verdict.part = rest.len();
                    break;
                }
                Reading::Defect(defect) => {
                    verdict.defect = Some(defect.to_string());
                    break;
                }
            }
        }
        verdict
    }
}

async fn run(listener: TcpListener, connections: Arc<Mutex<Vec<Received>>>) {
    loop {
        // An error of accept concerns the connection that was to be taken.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let index = {
            let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
            connections.push(Received::default());
            connections.len() - 1
        };
        drop(tokio::spawn(serve(stream, index, Arc::clone(&connections))));
    }
}

async fn serve(mut stream: TcpStream, index: usize, connections: Arc<Mutex<Vec<Received>>>) {
    let mut chunk = vec![0; 16 * 1024];
    let mut answered = false;
    loop {
        let read = stream.read(&mut chunk).await.unwrap_or(0);
        let reading = {
            let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(received) = connections.get_mut(index) else { return };
            received.bytes.extend_from_slice(&chunk[..read]);
            received.closed = read == 0;
            if received.closed || received.bytes.len() > BYTES_MAX {
                return;
            }
            if answered { Reading::Part } else { read_request(&received.bytes) }
        };
        let answer = match reading {
            Reading::Part => continue,
            Reading::Whole(..) => ANSWER,
            Reading::Defect(_) => REFUSAL,
        };
        answered = true;
        // Whoever does not want the answer may still send.
        let _ = stream.write_all(answer).await;
    }
}
