//! A server that speaks RESP and says what a test wants to hear.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use agw_wire::resp::{ParseError, Value, parse};
use anyhow::Result;
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::background::Background;

/// Commands that are remembered.
const RECORDED_MAX: usize = 10_000;

/// A command's name and arguments.
pub type Args = Vec<Vec<u8>>;

/// The running server. Dropping it ends every connection.
#[derive(Debug)]
pub struct FakeRedis {
    address: SocketAddr,
    recorded: Arc<Mutex<Vec<Args>>>,
    _background: Background,
}

type Answer = dyn Fn(&[Vec<u8>]) -> Vec<u8> + Send + Sync;

impl FakeRedis {
    /// A server on a free port that sends what `answer` gives for each command, as it is. It answers the commands of
    /// a login (`AUTH`, `SELECT`, `CLIENT`, `PING`) with `OK` itself.
    ///
    /// # Errors
    /// When no port or thread can be had.
    pub fn start(answer: impl Fn(&[Vec<u8>]) -> Vec<u8> + Send + Sync + 'static) -> Result<Self> {
        let background = Background::start("fake-redis")?;
        let listener = background.run(TcpListener::bind(("127.0.0.1", 0)))??;
        let address = listener.local_addr()?;
        let recorded = Arc::new(Mutex::new(Vec::new()));
        background.spawn(run(listener, Arc::new(answer), Arc::clone(&recorded)));
        Ok(FakeRedis { address, recorded, _background: background })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The commands so far, those of logins left out.
    pub fn recorded(&self) -> Vec<Args> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn run(listener: TcpListener, answer: Arc<Answer>, recorded: Arc<Mutex<Vec<Args>>>) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let (answer, recorded) = (Arc::clone(&answer), Arc::clone(&recorded));
            drop(tokio::spawn(async move {
                // The client closing is how a connection ends.
                let _ = serve(stream, answer, recorded).await;
            }));
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<Answer>,
    recorded: Arc<Mutex<Vec<Args>>>,
) -> io::Result<()> {
    let mut received = Vec::new();
    while stream.read_buf(&mut received).await? > 0 {
        let mut replies = Vec::new();
        let mut at = 0;
        loop {
            match parse(&received[at..]) {
                Ok((command, read)) => {
                    at += read;
                    replies.extend(reply(&command, &answer, &recorded));
                }
                Err(ParseError::Incomplete) => break,
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        received.drain(..at);
        stream.write_all(&replies).await?;
    }
    Ok(())
}

fn reply(command: &Value<'_>, answer: &Arc<Answer>, recorded: &Mutex<Vec<Args>>) -> Vec<u8> {
    let Value::Array(items) = command else { return b"-ERR not a command\r\n".to_vec() };
    let bytes = |item: &Value<'_>| if let Value::Bulk(bytes) = item { bytes.to_vec() } else { Vec::new() };
    let args: Args = items.iter().map(bytes).collect();
    let name = args.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
    if matches!(&name[..], b"AUTH" | b"SELECT" | b"CLIENT" | b"PING") {
        return b"+OK\r\n".to_vec();
    }
    let reply = answer(&args);
    let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
    if recorded.len() < RECORDED_MAX {
        recorded.push(args);
    }
    reply
}
