//! A real `redis-server`, on a port of its own, in a temporary folder.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agw_wire::resp;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct RedisServer {
    child: Child,
    pub(crate) port: u16,
    args: Vec<String>,
    folder: TempDir,
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl RedisServer {
    pub(crate) async fn start(args: &[&str]) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let child = spawn(port, &folder, &args);
        let server = RedisServer { child, port, args, folder };
        server.wait_until_up().await;
        server
    }

    async fn wait_until_up(&self) {
        for _ in 0..500 {
            if let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port)).await {
                let _ = socket.write_all(b"PING\r\n").await;
                let mut reply = [0; 1];
                if socket.read_exact(&mut reply).await.is_ok() {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("redis-server does not answer on port {}", self.port);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(self.port, &self.folder, &self.args);
        self.wait_until_up().await;
    }

    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// One command on a connection of its own; the raw reply.
    pub(crate) async fn command(&self, args: &[&str]) -> String {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (mut out, mut reply) = (Vec::new(), Vec::new());
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        resp::put_command(&mut out, &args);
        socket.write_all(&out).await.unwrap();
        while resp::parse(&reply).is_err() {
            assert_ne!(socket.read_buf(&mut reply).await.unwrap(), 0, "the server closed the connection");
        }
        String::from_utf8_lossy(&reply).into_owned()
    }

    /// Connections of the gateway, by the name that it gives them.
    pub(crate) async fn gateway_connections(&self) -> usize {
        self.command(&["CLIENT", "LIST"]).await.matches(" name=agw ").count()
    }
}

fn spawn(port: u16, folder: &TempDir, args: &Vec<String>) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--loglevel", "warning", "--dir"])
        .arg(folder.path())
        .args(args)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server must be on the PATH")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
