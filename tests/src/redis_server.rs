//! A Redis or Valkey server of the test's own.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use redis::{Client, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::port::free_port;
use crate::process::Process;

const READY_WITHIN: Duration = Duration::from_secs(10);

/// What the server shall be like.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// `requirepass`.
    pub password: Option<String>,
    /// Contents of an ACL file; the user `default` needs a line in it.
    pub acl: Option<String>,
    /// Further options as on the command line, such as `--maxmemory 10mb`.
    pub args: Vec<String>,
}

/// A server on a free port of loopback, with its files in a temporary folder. Dropping it kills it.
#[derive(Debug)]
pub struct RedisServer {
    /// `None`: a server given by URL, which is not ours to end.
    own: Option<Own>,
    info: ConnectionInfo,
}

#[derive(Debug)]
struct Own {
    options: RedisOptions,
    folder: TempDir,
    port: u16,
    /// `None` after a kill.
    process: Option<Process>,
}

// === impl RedisServer ===

impl RedisServer {
    /// A server of the test's own, without a password.
    ///
    /// # Errors
    /// When the server's binary is missing, or the server does not get ready.
    pub fn start() -> Result<Self> {
        Self::start_with(RedisOptions::default())
    }

    /// A server of the test's own.
    ///
    /// # Errors
    /// As for [`RedisServer::start`].
    pub fn start_with(options: RedisOptions) -> Result<Self> {
        let mut own = Own { options, folder: tempfile::tempdir()?, port: free_port()?, process: None };
        let mut attempts = 5;
        while let Err(error) = own.launch() {
            attempts -= 1;
            if attempts == 0 || !format!("{error:#}").contains("already in use") {
                return Err(error);
            }
            // Somebody else took the port in between.
            own.port = free_port()?;
        }
        let info = own.connection_info()?;
        Ok(RedisServer { own: Some(own), info })
    }

    /// The server that `AGW_TEST_REDIS_URL` names, else one of the test's own. For tests that never kill or stop
    /// it and that keep to keys of their own.
    ///
    /// # Errors
    /// When the URL is wrong, or as for [`RedisServer::start`].
    pub fn given_or_start() -> Result<Self> {
        match env::var("AGW_TEST_REDIS_URL") {
            Ok(url) => {
                let info = url.as_str().into_connection_info().context("AGW_TEST_REDIS_URL")?;
                Ok(RedisServer { own: None, info })
            }
            Err(_) => Self::start(),
        }
    }

    /// Host and port.
    pub fn address(&self) -> String {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                format!("{host}:{port}")
            }
            other => other.to_string(),
        }
    }

    /// `redis://host:port`, without credentials.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The process id of the running server; `None` if it is not the test's own or has been killed.
    pub fn id(&self) -> Option<u32> {
        self.own.as_ref()?.process.as_ref().map(Process::id)
    }

    /// A client of redis-rs, with the password if there is one.
    ///
    /// # Errors
    /// When the URL is wrong.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::open(self.info.clone())?)
    }

    /// A blocking connection of redis-rs.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn connection(&self) -> Result<Connection> {
        Ok(self.client()?.get_connection_with_timeout(READY_WITHIN)?)
    }

    /// SIGKILL: connections break at once, and the port is closed afterwards.
    ///
    /// # Errors
    /// When the server is not the test's own.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.own()?.process.take() {
            process.kill();
        }
        Ok(())
    }

    /// SIGSTOP: connections stay open and nothing answers.
    ///
    /// # Errors
    /// When the server is not the test's own or not running.
    pub fn stop(&mut self) -> Result<()> {
        self.own()?.running()?.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on where it was.
    ///
    /// # Errors
    /// As for [`RedisServer::stop`].
    pub fn cont(&mut self) -> Result<()> {
        self.own()?.running()?.signal(Signal::CONT)
    }

    /// Starts it again on the same port, empty, after a kill or instead of the running one.
    ///
    /// # Errors
    /// When it does not get ready, for example because another process has the port now.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.own()?.launch()
    }

    /// What the running server has printed.
    pub fn log(&self) -> String {
        let process = self.own.as_ref().and_then(|own| own.process.as_ref());
        process.map(Process::output).unwrap_or_default()
    }

    fn own(&mut self) -> Result<&mut Own> {
        self.own.as_mut().context("this test needs a server of its own, not the one of AGW_TEST_REDIS_URL")
    }
}

// === impl Own ===

impl Own {
    fn running(&self) -> Result<&Process> {
        self.process.as_ref().context("the server has been killed")
    }

    fn connection_info(&self) -> Result<ConnectionInfo> {
        let mut redis = RedisConnectionInfo::default();
        if let Some(password) = &self.options.password {
            redis = redis.set_password(password);
        }
        Ok(("127.0.0.1", self.port).into_connection_info()?.set_redis_settings(redis))
    }

    fn launch(&mut self) -> Result<()> {
        let binary = server_binary()?;
        let mut command = Command::new(&binary);
        command.arg("--port").arg(self.port.to_string());
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.arg("--dir").arg(self.folder.path());
        if let Some(password) = &self.options.password {
            command.args(["--requirepass", password]);
        }
        if let Some(acl) = &self.options.acl {
            let file = self.folder.path().join("users.acl");
            fs::write(&file, acl)?;
            command.arg("--aclfile").arg(file);
        }
        command.args(&self.options.args);
        let mut process = Process::spawn(&binary, &mut command)?;
        wait_until_ready(&mut process, self.port)?;
        self.process = Some(process);
        Ok(())
    }
}

fn wait_until_ready(process: &mut Process, port: u16) -> Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    process.wait_for_line(READY_WITHIN, |line| line.contains("eady to accept connections").then_some(()))?;
    let end = Instant::now() + READY_WITHIN;
    while let Err(error) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        if Instant::now() >= end {
            bail!("the server says that it is ready, but {address} refuses: {error}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The binary that tests start.
pub(crate) fn server_binary() -> Result<String> {
    if let Ok(named) = env::var("AGW_TEST_REDIS_SERVER") {
        return Ok(named);
    }
    for binary in ["redis-server", "valkey-server"] {
        match Command::new(binary).arg("--version").stdout(Stdio::null()).status() {
            Ok(_) => return Ok(binary.to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("run {binary}")),
        }
    }
    bail!("neither redis-server nor valkey-server is on the PATH: apt-get install redis-server")
}
