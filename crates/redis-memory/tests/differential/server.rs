//! A `redis-server` of the test's own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agw_wire::resp;
use tempfile::TempDir;

/// Stops with the test.
pub(crate) struct Server {
    process: Child,
    stream: TcpStream,
    unread: Vec<u8>,
    _folder: TempDir,
}

impl Server {
    /// A port can be lost between finding it and binding it, so a few are tried.
    pub(crate) fn start() -> Self {
        (0..5)
            .find_map(|_| Self::try_start())
            .expect("redis-server did not come up on any of five free ports")
    }

    fn try_start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--databases",
                "1",
            ])
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("this test needs the program redis-server on the PATH");
        let give_up = Instant::now() + Duration::from_secs(10);
        while Instant::now() < give_up && process.try_wait().unwrap().is_none() {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                let mut server = Server { process, stream, unread: Vec::new(), _folder: folder };
                assert_eq!(server.call(&[b"PING"]), b"+PONG\r\n");
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = process.kill();
        let _ = process.wait();
        None
    }

    /// Sends one command and returns its reply's bytes.
    pub(crate) fn call(&mut self, args: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        resp::put_command(&mut out, args);
        self.stream.write_all(&out).unwrap();
        self.reply()
    }

    /// Returns the reply to EXEC.
    pub(crate) fn call_atomic(&mut self, commands: &[Vec<&[u8]>]) -> Vec<u8> {
        let mut out = Vec::new();
        resp::put_command(&mut out, &[b"MULTI"]);
        commands.iter().for_each(|args| resp::put_command(&mut out, args));
        resp::put_command(&mut out, &[b"EXEC"]);
        self.stream.write_all(&out).unwrap();
        for _ in 0..=commands.len() {
            self.reply();
        }
        self.reply()
    }

    fn reply(&mut self) -> Vec<u8> {
        loop {
            match resp::parse(&self.unread) {
                Ok((_, len)) => return self.unread.drain(..len).collect(),
                Err(resp::ParseError::Incomplete) => {}
                Err(error) => panic!("redis-server: {error}"),
            }
            let mut chunk = [0; 65536];
            let len = self.stream.read(&mut chunk).expect("redis-server does not answer");
            assert!(len > 0, "redis-server closed the connection");
            self.unread.extend_from_slice(&chunk[..len]);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
