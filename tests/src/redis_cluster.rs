//! A Redis Cluster of the test's own: three primaries, each with a replica; with TLS if a test wants that.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use redis::{Connection, FromRedisValue};

use crate::authority::Issued;
use crate::port::{free_port, on_free_ports};
use crate::redis_server::{RedisOptions, RedisServer};
use crate::redis_tls::RedisTls;

const PRIMARIES: usize = 3;
const HASH_SLOTS: u16 = 16_384;
/// A node counts as dead after this; then an election follows.
const NODE_TIMEOUT_MS: &str = "1000";
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The nodes: primaries first, then the replica of each. Dropping it kills all.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    ids: Vec<String>,
    tls: Option<RedisTls>,
    /// Of the nodes, with TLS.
    tls_ports: Vec<u16>,
}

// === impl RedisCluster ===

impl RedisCluster {
    /// Starts the nodes, joins them, and waits until all know of all.
    ///
    /// # Errors
    /// When a node does not start, or they do not find together.
    pub fn start() -> Result<Self> {
        Self::launch(None)
    }

    /// The same with TLS among them and towards the gateway.
    ///
    /// # Errors
    /// As for [`RedisCluster::start`].
    pub fn start_tls() -> Result<Self> {
        Self::launch(Some(RedisTls::new()?))
    }

    fn launch(tls: Option<RedisTls>) -> Result<Self> {
        let (mut nodes, mut buses, mut tls_ports) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..2 * PRIMARIES {
            let (node, bus, tls_port) = on_free_ports(|| start_node(tls.as_ref()))?;
            nodes.push(node);
            buses.push(bus);
            tls_ports.extend(tls_port);
        }
        let mut cluster = RedisCluster { nodes, ids: Vec::new(), tls, tls_ports };
        for place in 0..cluster.nodes.len() {
            cluster.ids.push(cluster.ask(place, &["CLUSTER", "MYID"])?);
        }
        cluster.join(&buses)?;
        Ok(cluster)
    }

    fn join(&self, buses: &[String]) -> Result<()> {
        let bus = buses.first().context("a cluster has nodes")?;
        let address = self.node(0)?.address();
        let (host, port) = address.rsplit_once(':').context("host:port")?;
        for place in 0..self.nodes.len() {
            self.told(place, &["CLUSTER", "SET-CONFIG-EPOCH", &(place + 1).to_string()])?;
            if place > 0 {
                self.told(place, &["CLUSTER", "MEET", host, port, bus])?;
            }
        }
        let share = HASH_SLOTS / PRIMARIES as u16 + 1;
        for place in 0..PRIMARIES {
            let first = place as u16 * share;
            let last = (first + share).min(HASH_SLOTS) - 1;
            self.told(place, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])?;
        }
        for replica in PRIMARIES..self.nodes.len() {
            let primary = &self.ids[replica - PRIMARIES];
            // It has to have heard of its primary first.
            until("a replica knows its primary", || {
                Ok(self.told(replica, &["CLUSTER", "REPLICATE", primary]).is_ok())
            })?;
        }
        until("all nodes are joined", || {
            for place in 0..self.nodes.len() {
                let info: String = self.ask(place, &["CLUSTER", "INFO"])?;
                let replicated: String = self.ask(place, &["INFO", "replication"])?;
                let linked = place < PRIMARIES || replicated.contains("master_link_status:up");
                if !info.contains("cluster_state:ok") || !info.contains("cluster_known_nodes:6") || !linked {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// `host:port` of every node, for the gateway.
    pub fn endpoints(&self) -> Vec<String> {
        if self.tls.is_some() {
            return self.tls_ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        }
        self.nodes.iter().map(RedisServer::address).collect()
    }

    /// What the nodes need to speak TLS.
    ///
    /// # Errors
    /// When they do not.
    pub fn tls(&self) -> Result<&RedisTls> {
        self.tls.as_ref().context("they do not speak TLS")
    }

    /// Another certificate, at every node.
    ///
    /// # Errors
    /// When a node does not take it.
    pub fn set_certificate(&self, issued: &Issued) -> Result<()> {
        let tls = self.tls()?;
        tls.show(issued)?;
        let (certificate, key) = (tls.path("server.crt"), tls.path("server.key"));
        let words = ["CONFIG", "SET", "tls-cert-file", &certificate, "tls-key-file", &key];
        (0..self.nodes.len()).try_for_each(|place| self.told(place, &words))
    }

    /// The fields of a resource that say where it is, in YAML's flow style.
    pub fn place(&self) -> String {
        let endpoints: Vec<String> =
            self.endpoints().iter().take(PRIMARIES).map(|at| format!("{at:?}")).collect();
        format!("mode: cluster\n    endpoints: [{}]", endpoints.join(", "))
    }

    /// One node.
    ///
    /// # Errors
    /// When there is none at this place.
    pub fn node(&self, place: usize) -> Result<&RedisServer> {
        self.nodes.get(place).with_context(|| format!("no node {place}"))
    }

    /// How many nodes there are, dead ones included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What one node answers.
    ///
    /// # Errors
    /// When it is gone, or answers with an error or with something of another type.
    pub fn ask<T: FromRedisValue>(&self, place: usize, words: &[&str]) -> Result<T> {
        let mut connection = self.node(place)?.connection()?;
        query(&mut connection, words)
    }

    fn told(&self, place: usize, words: &[&str]) -> Result<()> {
        let answer: String = self.ask(place, words)?;
        ensure!(answer == "OK", "{words:?}: {answer}");
        Ok(())
    }

    /// Where the key is: the primary that has it.
    ///
    /// # Errors
    /// When no node has it, or none answers.
    pub fn holder(&self, key: &str) -> Result<usize> {
        let slot: u16 = self.ask_any(&["CLUSTER", "KEYSLOT", key])?;
        for place in 0..self.nodes.len() {
            let Ok(lines) = self.ask::<String>(place, &["CLUSTER", "NODES"]) else { continue };
            let own = lines.lines().find(|line| line.contains("myself")).context("a node knows itself")?;
            if own.contains("master") && own.split(' ').skip(8).any(|range| covers(range, slot)) {
                return Ok(place);
            }
        }
        bail!("no primary has the slot {slot}")
    }

    fn ask_any<T: FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        (0..self.nodes.len()).find_map(|place| self.ask(place, words).ok()).context("no node answers")
    }

    /// Moves the key's slot, with all its keys, from one primary to another while it is in use.
    ///
    /// # Errors
    /// When a node refuses a step.
    pub fn move_slot(&self, key: &str, from: usize, to: usize) -> Result<()> {
        let (mut source, mut target) = (self.node(from)?.connection()?, self.node(to)?.connection()?);
        let slot: u16 = query(&mut source, &["CLUSTER", "KEYSLOT", key])?;
        let slot = slot.to_string();
        let (source_id, target_id) = (&self.ids[from], &self.ids[to]);
        query::<String>(&mut target, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", source_id])?;
        query::<String>(&mut source, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", target_id])?;
        let address = self.node(to)?.address();
        let (host, port) = address.rsplit_once(':').context("host:port")?;
        loop {
            let keys: Vec<String> = query(&mut source, &["CLUSTER", "GETKEYSINSLOT", &slot, "100"])?;
            if keys.is_empty() {
                break;
            }
            let mut words = vec!["MIGRATE", host, port, "", "0", "5000", "KEYS"];
            words.extend(keys.iter().map(String::as_str));
            query::<String>(&mut source, &words)?;
        }
        query::<String>(&mut target, &["CLUSTER", "SETSLOT", &slot, "NODE", target_id])?;
        query::<String>(&mut source, &["CLUSTER", "SETSLOT", &slot, "NODE", target_id])?;
        Ok(())
    }

    /// SIGKILL for one node; its replica takes its place after a while.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn kill(&mut self, place: usize) -> Result<()> {
        self.nodes.get_mut(place).with_context(|| format!("no node {place}"))?.kill()
    }

    /// SIGSTOP for one node: its replica takes its place, and it does not know.
    ///
    /// # Errors
    /// When there is no such node, or it is dead.
    pub fn stop(&mut self, place: usize) -> Result<()> {
        self.nodes.get_mut(place).with_context(|| format!("no node {place}"))?.stop()
    }

    /// SIGCONT for one node.
    ///
    /// # Errors
    /// As for [`RedisCluster::stop`].
    pub fn cont(&mut self, place: usize) -> Result<()> {
        self.nodes.get_mut(place).with_context(|| format!("no node {place}"))?.cont()
    }

    /// How often one node has run a command, such as `incr`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn calls(&self, place: usize, command: &str) -> Result<u64> {
        let stats: String = self.ask(place, &["INFO", "commandstats"])?;
        let name = format!("cmdstat_{command}:calls=");
        let found = stats.lines().find_map(|line| line.strip_prefix(&name)?.split(',').next());
        Ok(found.map_or(Ok(0), str::parse)?)
    }
}

/// A node by itself, the port of its bus, and that for TLS.
fn start_node(tls: Option<&RedisTls>) -> Result<(RedisServer, String, Option<u16>)> {
    let bus = free_port()?.to_string();
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", NODE_TIMEOUT_MS];
    let args = [&options[..], &["--cluster-port", &bus]].concat();
    let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    let tls_port = tls.map(|_| free_port()).transpose()?;
    if let (Some(tls), Some(port)) = (tls, tls_port) {
        args.extend(tls.args(port));
        args.extend(["--tls-cluster", "yes"].map(str::to_owned));
    }
    let node = RedisServer::start_with(RedisOptions { args, ..RedisOptions::default() })?;
    Ok((node, bus, tls_port))
}

fn query<T: FromRedisValue>(connection: &mut Connection, words: &[&str]) -> Result<T> {
    let (name, rest) = words.split_first().context("a command has a name")?;
    redis::cmd(name).arg(rest).query(connection).with_context(|| words.join(" "))
}

/// `0-5460`, or one slot alone.
fn covers(range: &str, slot: u16) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let bounds = (first.parse::<u16>(), last.parse::<u16>());
    matches!(bounds, (Ok(first), Ok(last)) if (first..=last).contains(&slot))
}

/// Asks until it holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + READY_WITHIN;
    while !holds()? {
        ensure!(Instant::now() < end, "not within {READY_WITHIN:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
