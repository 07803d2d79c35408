//! A real `redis-server` of one test's own, and a plain connection to it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agw_wire::resp::{self, ParseError, Value};

const LOG: &str = "redis-server.log";

/// Killed when dropped; its folder goes with it.
pub(crate) struct Server {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

pub(crate) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    read: usize,
}

impl Server {
    pub(crate) fn start() -> Server {
        for _ in 0..10 {
            if let Some(server) = Server::try_start() {
                return server;
            }
        }
        panic!("redis-server did not come up on ten free ports");
    }

    fn try_start() -> Option<Server> {
        // The port may be taken again before the server binds it; then it exits and another is tried.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .current_dir(folder.path())
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            // Blocked clients are looked after as often as the server's timer ticks.
            .args(["--hz", "500", "--logfile", LOG])
            .args(["--proto-max-bulk-len", "1048576", "--enable-debug-command", "local"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("these tests need the program redis-server on PATH");
        let mut server = Server { child, port, folder };
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && server.child.try_wait().unwrap().is_none() {
            if let Ok(mut connection) = server.try_connect()
                && server.is_behind(&mut connection)
            {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Another process may have got the port first; its server must not be taken for ours.
    fn is_behind(&self, connection: &mut Connection) -> bool {
        let info = connection.call(&[b"INFO", b"server"]);
        let own = format!("process_id:{}\r", self.child.id());
        String::from_utf8_lossy(&info).contains(&own)
    }

    fn try_connect(&self) -> std::io::Result<Connection> {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Connection { socket, buffer: Vec::new(), read: 0 })
    }

    pub(crate) fn connect(&self) -> Connection {
        self.try_connect().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        let log = std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default();
        if std::thread::panicking() || log.contains("BUG REPORT") {
            println!("log of redis-server on port {}:\n{log}", self.port);
        }
    }
}

impl Connection {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// The raw bytes of the next reply.
    pub(crate) fn reply(&mut self) -> Vec<u8> {
        loop {
            match resp::parse(&self.buffer[self.read..]) {
                Ok((_, len)) => {
                    let reply = self.buffer[self.read..self.read + len].to_vec();
                    self.read += len;
                    return reply;
                }
                Err(ParseError::Incomplete) => self.fill(),
                Err(error) => panic!("the server answered with bytes that are no reply: {error}"),
            }
        }
    }

    fn fill(&mut self) {
        self.buffer.drain(..self.read);
        self.read = 0;
        let mut chunk = [0; 65536];
        match self.socket.read(&mut chunk) {
            Ok(0) => panic!("the server closed the connection"),
            Ok(len) => self.buffer.extend_from_slice(&chunk[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("reading a reply: {error}"),
        }
    }

    pub(crate) fn call(&mut self, args: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        resp::put_command(&mut out, args);
        self.send(&out);
        self.reply()
    }

    /// A reply that must not be an error.
    pub(crate) fn ask(&mut self, args: &[&[u8]]) -> Vec<u8> {
        let reply = self.call(args);
        let shown = String::from_utf8_lossy(&reply[..reply.len().min(200)]);
        assert_ne!(reply[0], b'-', "{:?}: {shown}", String::from_utf8_lossy(args[0]));
        reply
    }

    /// A list of bulk strings; an error is `Err` with its text.
    pub(crate) fn strings(&mut self, args: &[&[u8]]) -> Result<Vec<Vec<u8>>, String> {
        let reply = self.call(args);
        match resp::parse(&reply).unwrap().0 {
            Value::Array(items) => Ok(items.iter().map(|item| bytes(item).to_vec()).collect()),
            Value::Error(text) => Err(String::from_utf8_lossy(text).into_owned()),
            other => panic!("a list was expected, not {other:?}"),
        }
    }
}

pub(crate) fn bytes<'a>(value: &Value<'a>) -> &'a [u8] {
    match value {
        Value::Bulk(bytes) | Value::Simple(bytes) => bytes,
        other => panic!("a string was expected, not {other:?}"),
    }
}
