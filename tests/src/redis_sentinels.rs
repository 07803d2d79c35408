//! A primary with a replica, and three sentinels that watch them.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::port::free_port;
use crate::process::Process;
use crate::redis_cluster::until;
use crate::redis_server::{RedisOptions, RedisServer, server_binary};

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
}

#[derive(Debug)]
struct Sentinel {
    port: u16,
    process: Option<Process>,
    /// Its configuration, which it rewrites.
    _folder: TempDir,
}

// === impl RedisSentinels ===

impl RedisSentinels {
    /// Starts all, and waits until the sentinels know of each other and of the replica. They want `password` if there
    /// is one.
    ///
    /// # Errors
    /// When one does not start, or they do not find each other.
    pub fn start(password: Option<&str>) -> Result<Self> {
        let primary = RedisServer::start()?;
        let address = primary.address();
        let (host, port) = address.rsplit_once(':').context("host:port")?;
        let args = ["--replicaof", host, port, "--repl-diskless-sync-delay", "0"].map(str::to_owned).to_vec();
        let replica = RedisServer::start_with(RedisOptions { args, ..RedisOptions::default() })?;
        let started = (0..SENTINELS).map(|_| Sentinel::start(host, port, password)).collect::<Result<_>>()?;
        let all = RedisSentinels { servers: vec![primary, replica], sentinels: started };
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
            self.sentinels.iter().map(|sentinel| format!("\"127.0.0.1:{}\"", sentinel.port)).collect();
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
    fn start(host: &str, primary: &str, password: Option<&str>) -> Result<Self> {
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
        let file = folder.path().join("sentinel.conf");
        fs::write(&file, text)?;
        let mut command = Command::new(server_binary()?);
        command.arg(&file).arg("--sentinel");
        let mut process = Process::spawn("sentinel", &mut command)?;
        process.wait_for_line(READY_WITHIN, |line| line.contains("+monitor master").then_some(()))?;
        Ok(Sentinel { port, process: Some(process), _folder: folder })
    }
}
