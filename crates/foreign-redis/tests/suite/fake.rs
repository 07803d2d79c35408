//! A server that misbehaves as it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agw_wire::resp::{self, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What to do on a command.
pub(crate) enum Act {
    Reply(Vec<u8>),
    ReplyAndClose(Vec<u8>),
    Silence,
    /// No reply to this command nor to any later one on its connection.
    Stall,
}

pub(crate) fn reply(bytes: &[u8]) -> Act {
    Act::Reply(bytes.to_vec())
}

pub(crate) struct Fake {
    pub(crate) port: u16,
    /// Connections ever accepted.
    pub(crate) accepted: Arc<AtomicUsize>,
    /// Most that were open at once.
    pub(crate) open_max: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

type Acts = Arc<dyn Fn(&[Vec<u8>]) -> Act + Send + Sync>;

impl Fake {
    /// Answers every command by `act`, but for the login's, which get `+OK`.
    pub(crate) async fn start(act: impl Fn(&[Vec<u8>]) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counters: [Arc<AtomicUsize>; 3] = Default::default();
        let [accepted, _, open_max] = counters.clone();
        let act: Acts = Arc::new(act);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let [accepted, open, open_max] = counters.clone();
                accepted.fetch_add(1, Ordering::SeqCst);
                open_max.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let act = Arc::clone(&act);
                tokio::spawn(async move {
                    serve(socket, act).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Fake { port, accepted, open_max, task }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut socket: TcpStream, act: Acts) {
    let mut input = Vec::new();
    loop {
        while let Some((command, end)) = whole_command(&input) {
            input.drain(..end);
            let login = command[0].eq_ignore_ascii_case(b"CLIENT");
            let (bytes, close) = match if login { reply(b"+OK\r\n") } else { act(&command) } {
                Act::Reply(bytes) => (bytes, false),
                Act::ReplyAndClose(bytes) => (bytes, true),
                Act::Silence => continue,
                Act::Stall => return stall(socket).await,
            };
            if socket.write_all(&bytes).await.is_err() || close {
                return;
            }
        }
        match socket.read_buf(&mut input).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

async fn stall(mut socket: TcpStream) {
    let mut ignored = vec![0; 4096];
    while matches!(socket.read(&mut ignored).await, Ok(1..)) {}
}

fn whole_command(input: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (Value::Array(args), end) = resp::parse(input).ok()? else { panic!("not a command") };
    let args = args.iter().map(|arg| if let Value::Bulk(arg) = arg { arg.to_vec() } else { panic!() });
    Some((args.collect(), end))
}
