//! A primary with a replica, and three sentinels that watch them; with TLS if a test wants that.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::port::{free_port, on_free_ports};
use crate::process::Process;
use crate::redis_cluster::until;
use crate::redis_server::{RedisOptions, RedisServer, server_binary};
use crate::redis_tls::RedisTls;

/// What the sentinels call the primary.
pub const NAME: &str = "mymaster";
const SENTINELS: usize = 3;
const READY_WITHIN: Duration = Duration::from_secs(10);

/// The servers and their sentinels. Dropping it kills all.
#[derive(Debug)]
pub struct RedisSentinels {
    /// The first is the primary in the beginning.
    pub servers: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
    tls: Option<RedisTls>,
    /// Of the servers, with TLS.
    tls_ports: Vec<u16>,
}

#[derive(Debug)]
struct Sentinel {
    /// For us.
    port: u16,
    /// For the gateway: the same, or the one for TLS.
    shown: u16,
    process: Option<Process>,
    /// Its configuration, which it rewrites.
    folder: TempDir,
}

// === impl RedisSentinels ===

impl RedisSentinels {
    /// Starts all, and waits until the sentinels know of each other and of the replica. They want `password` if there
    /// is one.
    ///
    /// # Errors
    /// When one does not start, or they do not find each other.
    pub fn start(password: Option<&str>) -> Result<Self> {
        Self::launch(password, None)
    }

    /// The same without a password, and with TLS among all of them and towards the gateway.
    ///
    /// # Errors
    /// As for [`RedisSentinels::start`].
    pub fn start_tls() -> Result<Self> {
        Self::launch(None, Some(RedisTls::new()?))
    }

    fn launch(password: Option<&str>, tls: Option<RedisTls>) -> Result<Self> {
        let (primary, own) = on_free_ports(|| server(tls.as_ref(), None))?;
        let at = match own {
            Some(port) => format!("127.0.0.1:{port}"),
            None => primary.address(),
        };
        let (host, port) = at.rsplit_once(':').context("host:port")?;
        let (replica, other) = on_free_ports(|| server(tls.as_ref(), Some((host, port))))?;
        let start = |_| on_free_ports(|| Sentinel::start(host, port, password, tls.as_ref()));
        let sentinels = (0..SENTINELS).map(start).collect::<Result<_>>()?;
        let tls_ports = own.into_iter().chain(other).collect();
        let all = RedisSentinels { servers: vec![primary, replica], sentinels, tls, tls_ports };
        until("the sentinels know of each other", || {
            for place in 0..SENTINELS {
                let facts = all.facts(place, password)?;
                let has = |name: &str, value: &str| {
                    facts.chunks_exact(2).any(|pair| pair[0] == name && pair[1] == value)
                };
                if !has("num-slaves", "1") || !has("num-other-sentinels", "2") || !has("flags", "master") {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        Ok(all)
    }

    /// What the servers need to speak TLS.
    ///
    /// # Errors
    /// When they do not.
    pub fn tls(&self) -> Result<&RedisTls> {
        self.tls.as_ref().context("they do not speak TLS")
    }

    /// Where a server is for the gateway, as `host:port`.
    ///
    /// # Errors
    /// When there is none at this place.
    pub fn address(&self, server: usize) -> Result<String> {
        match self.tls_ports.get(server) {
            Some(port) => Ok(format!("127.0.0.1:{port}")),
            None => Ok(self.servers.get(server).context("a server")?.address()),
        }
    }

    /// Whom a sentinel names, as `host:port`.
    ///
    /// # Errors
    /// When it does not answer, or wants a password.
    pub fn named(&self, sentinel: usize) -> Result<String> {
        let facts = self.facts(sentinel, None)?;
        let field =
            |name: &str| facts.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
        Ok(format!("{}:{}", field("ip").context("ip")?, field("port").context("port")?))
    }

    /// All sentinels end and start again, with the certificate that there is now.
    ///
    /// # Errors
    /// When one does not start.
    pub fn restart_sentinels(&mut self) -> Result<()> {
        self.sentinels.iter_mut().try_for_each(Sentinel::launch)
    }

    fn facts(&self, place: usize, password: Option<&str>) -> Result<Vec<String>> {
        let port = self.sentinels.get(place).context("a sentinel")?.port;
        let mut connection = redis::Client::open(format!("redis://127.0.0.1:{port}"))?
            .get_connection_with_timeout(READY_WITHIN)?;
        if let Some(password) = password {
            redis::cmd("AUTH").arg(password).query::<String>(&mut connection)?;
        }
        Ok(redis::cmd("SENTINEL").arg("MASTER").arg(NAME).query(&mut connection)?)
    }

    /// The fields of a resource that say where it is; `more` goes into `sentinel`.
    pub fn place(&self, more: &str) -> String {
        let endpoints: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("\"127.0.0.1:{}\"", sentinel.shown)).collect();
        let endpoints = endpoints.join(", ");
        format!("mode: sentinel\n    endpoints: [{endpoints}]\n    sentinel: {{ name: {NAME}{more} }}")
    }

    /// SIGKILL for one sentinel.
    pub fn kill_sentinel(&mut self, place: usize) {
        if let Some(sentinel) = self.sentinels.get_mut(place) {
            sentinel.process = None;
        }
    }

    /// SIGSTOP for one sentinel: it neither answers nor refuses.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stop_sentinel(&self, place: usize) -> Result<()> {
        let sentinel = self.sentinels.get(place).and_then(|sentinel| sentinel.process.as_ref());
        sentinel.context("it has been killed")?.signal(Signal::STOP)
    }
}

// === impl Sentinel ===

impl Sentinel {
    fn start(host: &str, primary: &str, password: Option<&str>, tls: Option<&RedisTls>) -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        let mut text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} {host} {primary} 2\n\
             sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 3000\n",
            folder.path().display()
        );
        if let Some(password) = password {
            // They speak to each other with it as well.
            text.push_str(&format!("requirepass {password}\nsentinel sentinel-pass {password}\n"));
        }
        let mut shown = port;
        if let Some(tls) = tls {
            shown = free_port()?;
            tls.options(shown).iter().for_each(|(name, value)| text.push_str(&format!("{name} {value}\n")));
        }
        fs::write(folder.path().join("sentinel.conf"), text)?;
        let mut sentinel = Sentinel { port, shown, process: None, folder };
        sentinel.launch()?;
        Ok(sentinel)
    }

    fn launch(&mut self) -> Result<()> {
        self.process = None;
        let mut command = Command::new(server_binary()?);
        command.arg(self.folder.path().join("sentinel.conf")).arg("--sentinel");
        let mut process = Process::spawn("sentinel", &mut command)?;
        process.wait_for_line(READY_WITHIN, |line| line.contains("+monitor master").then_some(()))?;
        self.process = Some(process);
        Ok(())
    }
}

/// A server, of this primary if there is one, and its port for TLS.
fn server(tls: Option<&RedisTls>, primary: Option<(&str, &str)>) -> Result<(RedisServer, Option<u16>)> {
    let mut args = Vec::new();
    if let Some((host, port)) = primary {
        let of = ["--replicaof", host, port, "--repl-diskless-sync-delay", "0"];
        args.extend(of.map(str::to_owned));
    }
    let port = tls.map(|_| free_port()).transpose()?;
    if let (Some(tls), Some(port)) = (tls, port) {
        args.extend(tls.args(port));
    }
    let server = RedisServer::start_with(RedisOptions { args, ..RedisOptions::default() })?;
    Ok((server, port))
}
