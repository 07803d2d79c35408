//! The validated, immutable form of a configuration: what every other crate reads.
//!
//! Nothing here is serde: documents have types of their own (`schema`), so that a document's shape can change
//! without the gateway's, and the other way round. Names are resolved: a route that names a plugin or cluster
//! refers to one that exists.

mod cluster;
mod faults;
mod listener;
mod matching;
mod redis;
mod route;
mod sql;
mod tracing;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::secret::Secret;

pub use cluster::*;
pub use faults::*;
pub use listener::*;
pub use matching::*;
pub use redis::*;
pub use route::*;
pub use sql::*;
pub use tracing::*;

/// One whole configuration. Requests pin the one they started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// SHA-256 of the document, in lower-case hex: what `/v1/config` shows.
    pub digest: String,
    /// In the order of the document.
    pub listeners: Vec<Arc<Listener>>,
    /// In the order of the document; matching does not depend on it (see [`Route`]).
    pub routes: Vec<Arc<Route>>,
    /// By name.
    pub clusters: BTreeMap<String, Arc<Cluster>>,
    /// By name.
    pub plugins: BTreeMap<String, Arc<Plugin>>,
    /// Redis, by name.
    pub resources: BTreeMap<String, Arc<Resource>>,
    /// SQL, by name. No name is in both.
    pub sql_resources: BTreeMap<String, Arc<SqlResource>>,
    /// Traces, if they are wanted.
    pub tracing: Option<Arc<Tracing>>,
}

/// A configured use of a module.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    /// Unique.
    pub name: String,
    /// Where the module is.
    pub module: ModuleSource,
    /// Given to the guest as `plugin_root_id`; C++ and AssemblyScript filters choose their factory by it.
    pub root_id: String,
    /// What `proxy_on_configure` reads; JSON for a document that wrote a mapping.
    pub configuration: Vec<u8>,
    /// What `proxy_on_vm_start` reads.
    pub vm_configuration: Vec<u8>,
    /// How streams share VMs.
    pub vm: VmPolicy,
    /// What one VM may use.
    pub limits: PluginLimits,
    /// What happens to a request whose plugin failed.
    pub on_failure: FailurePolicy,
    /// Least time between a trap and the next VM; it doubles with each trap, up to `reload_backoff_max`.
    pub reload_backoff: Duration,
    /// See `reload_backoff`.
    pub reload_backoff_max: Duration,
    /// Calls of foreign functions that may be under way at once, over all workers; more are `overloaded`.
    pub foreign_calls_max: usize,
    /// Calls of foreign functions that it may make for one request; more are `denied`.
    pub calls_per_request_max: u32,
}

/// Where a module's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleSource {
    /// An absolute path, or one relative to the document's folder, already joined.
    File(PathBuf),
    /// Embedded in the binary, such as `rate-limit`.
    Builtin(String),
}

/// How streams share VMs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VmPolicy {
    /// See [`VmMode`].
    pub mode: VmMode,
    /// Exclusive VMs per worker.
    pub max: usize,
    /// How long a stream waits for a VM at that bound; then the failure policy holds.
    pub wait: Duration,
}

/// Whether a stream has a VM to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmMode {
    /// One stream per VM while it lives; blocking foreign calls work.
    Exclusive,
    /// Many streams per VM; blocking foreign calls are refused.
    Shared,
}

/// What one VM may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PluginLimits {
    /// Linear memory.
    pub memory_bytes_max: usize,
    /// Elements of all its tables.
    pub table_elements_max: usize,
    /// CPU time of one callback, suspensions not counted; then it traps.
    pub cpu_time: Duration,
}

/// What happens to a request whose plugin failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    /// It is answered with 503.
    FailClosed,
    /// It goes on without the plugin.
    FailOpen,
}

/// An external Redis.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Unique; the name that plugins use.
    pub name: String,
    /// Where it is and how to get in.
    pub redis: RedisEndpoint,
    /// Its connections.
    pub pool: PoolPolicy,
    /// Bounds on one call.
    pub limits: ResourceLimits,
    /// When it counts as dead.
    pub breaker: BreakerPolicy,
    /// What is made to go wrong with a share of its calls.
    pub faults: Option<FaultPolicy>,
    /// Scripts by name.
    pub scripts: BTreeMap<String, String>,
    /// Who may use it, by plugin name. Nobody else may.
    pub grants: BTreeMap<String, Arc<Grant>>,
}

/// How to verify the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// PEM of the authorities to trust. There is no default set: an operator names them.
    pub ca_pem: Vec<u8>,
    /// Name to verify; `None` is the host of the address.
    pub server_name: Option<String>,
    /// PEM of certificate chain and key, for mutual TLS.
    pub client: Option<ClientCertificate>,
}

/// A certificate to show, with its key.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientCertificate {
    /// PEM, leaf first.
    pub chain_pem: Vec<u8>,
    /// PEM.
    pub key_pem: Secret,
}

/// A resource's connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolPolicy {
    /// Connections of this process, over all workers, multiplexed and leased together. At least 1.
    pub max: usize,
    /// Of these, how many may be leased exclusively (WATCH, blocking commands). Less than `max`.
    pub leased_max: usize,
    /// For a connection, TLS and login included.
    pub connect_timeout: Duration,
    /// A wait for a leased connection ends after this.
    pub acquire_timeout: Duration,
    /// A leased connection that nobody used for this long is closed.
    pub idle_timeout: Duration,
}

/// Bounds on one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResourceLimits {
    /// Deadline of a call that names none.
    pub call_timeout: Duration,
    /// No call may ask for more than this.
    pub call_timeout_max: Duration,
    /// Bytes of one call's commands.
    pub request_bytes_max: usize,
    /// Bytes of one call's replies.
    pub response_bytes_max: usize,
    /// Commands in one call.
    pub batch_max: usize,
    /// Calls under way at once, over all workers.
    pub in_flight_max: usize,
    /// Calls of each plugin that may wait for a place; more are `overloaded`.
    pub waiters_max: usize,
}

/// When a resource counts as dead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerPolicy {
    /// Consecutive failures that open it.
    pub failures: u32,
    /// While open, one probe goes out each time this has passed.
    pub probe_interval: Duration,
}

/// What one plugin may do with one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// Commands by lower-case name. Empty grants none.
    pub commands: GrantedCommands,
    /// Put before every key by the host; may be empty.
    pub key_prefix: String,
    /// Refuse whatever writes.
    pub read_only: bool,
    /// Names of scripts of the same resource.
    pub scripts: Vec<String>,
    /// Bytes of a key, prefix not counted.
    pub key_bytes_max: usize,
    /// Of the resource's calls under way, those that may be the plugin's: a percentage, and one at least.
    pub share_percent: u32,
    /// How fast it may ask; `None`: as it likes.
    pub rate: Option<CallRate>,
}

/// How fast a plugin may ask a resource, over all workers; more calls are `overloaded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRate {
    /// Calls, in the long run.
    pub per_second: u32,
    /// Calls at the same moment, after a while without any.
    pub burst: u32,
}

/// Which commands a grant covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantedCommands {
    /// Every command that the table holds for safe.
    AllSafe,
    /// These, by lower-case name.
    Named(Vec<String>),
}
