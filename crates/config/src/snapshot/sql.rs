use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{BreakerPolicy, CallRate, FaultPolicy, Tls};
use crate::secret::Secret;

/// An external SQL database.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlResource {
    /// Unique among all resources; the name that plugins use.
    pub name: String,
    /// Where it is and how to get in.
    pub endpoint: SqlEndpoint,
    /// Its connections.
    pub pool: SqlPool,
    /// Bounds on one call.
    pub limits: SqlLimits,
    /// When it counts as dead.
    pub breaker: BreakerPolicy,
    /// What is made to go wrong with a share of its calls.
    pub faults: Option<FaultPolicy>,
    /// Named statements.
    pub statements: BTreeMap<String, SqlStatement>,
    /// Who may use it, by plugin name. Nobody else may.
    pub grants: BTreeMap<String, Arc<SqlGrant>>,
}

/// Where a database is and how to get in.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlEndpoint {
    /// A server.
    Server(SqlServer),
    /// A file, or a database in memory.
    Sqlite(Sqlite),
}

/// A database server.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlServer {
    /// What it speaks.
    pub engine: SqlServerEngine,
    /// Where it is: one or more, all with the same database behind them.
    pub hosts: Vec<SqlHost>,
    /// Which of them connections go to.
    pub target: SqlTarget,
    /// The database's name.
    pub database: String,
    /// `None` is the server's default.
    pub username: Option<String>,
    /// Already resolved.
    pub password: Option<Secret>,
    /// The certificate is verified, name included. `None` is plaintext, which the document says or which stays on
    /// this machine.
    pub tls: Option<Tls>,
}

/// One of the places where a database server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlHost {
    /// IP address or DNS name, resolved at each connect.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for SqlHost {
    /// `host:port`, with an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SqlHost { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Which hosts of a server a connection may go to, by what they are when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlTarget {
    /// The first that takes a connection.
    Any,
    /// The first that takes writes.
    Primary,
    /// One that takes none; the first is drawn for each connection.
    Replica,
    /// As [`SqlTarget::Replica`], and the primary if there is none.
    PreferReplica,
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlServerEngine {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
}

/// A SQLite database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sqlite {
    /// `None` is a database in memory, which belongs to its resource and ends with it.
    pub path: Option<PathBuf>,
    /// Statements that run when the database is opened first; more than one, separated by semicolons. With it a file
    /// that is missing is made.
    pub schema: Option<String>,
}

/// A resource's connections, each of which serves one call at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SqlPool {
    /// Connections of this process, over all workers.
    pub max: usize,
    /// So many stay open even if nobody uses them. At most `max`.
    pub min: usize,
    /// For a connection, TLS and login included.
    pub connect_timeout: Duration,
    /// A wait for a connection ends after this.
    pub acquire_timeout: Duration,
    /// A connection that nobody used for this long is closed.
    pub idle_timeout: Duration,
    /// A connection is closed after about this long: up to a tenth less, so that not all end at once.
    pub lifetime: Duration,
    /// Prepared statements that one connection keeps.
    pub statements_max: usize,
    /// Connections beside these that calls of pipelined statements share.
    pub pipelined: usize,
}

/// Bounds on one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SqlLimits {
    /// Deadline of a call that names none.
    pub call_timeout: Duration,
    /// No call may ask for more than this.
    pub call_timeout_max: Duration,
    /// Bytes of one call's statements and parameters.
    pub request_bytes_max: usize,
    /// Bytes of one call's results, as they are encoded.
    pub response_bytes_max: usize,
    /// Rows of one result.
    pub rows_max: usize,
    /// Bytes of one value.
    pub cell_bytes_max: usize,
    /// Statements in one call.
    pub batch_max: usize,
    /// Calls under way at once, over all workers.
    pub in_flight_max: usize,
    /// Calls of each plugin that may wait for a place; more are `overloaded`.
    pub waiters_max: usize,
}

/// A statement that the operator has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlStatement {
    /// One statement, with the server's own placeholders; the gate has admitted it.
    pub text: String,
    /// It runs where nothing can be written. Without a word of the operator: whether it reads by its words.
    pub read_only: bool,
    /// By itself, its calls share connections and follow each other without waiting. Postgres only, and it reads only.
    pub pipelined: bool,
    /// Its results are kept for a while.
    pub cache: Option<SqlCache>,
}

/// How results of one statement are kept, for each grant by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqlCache {
    /// A result serves so long.
    pub ttl: Duration,
    /// One without rows so long. Zero: it is not kept.
    pub negative_ttl: Duration,
    /// After its time a result still serves so long, while it is fetched anew.
    pub stale_while_revalidate: Duration,
    /// Results, by parameters.
    pub entries_max: usize,
    /// Bytes of all of them, parameters included.
    pub bytes_max: usize,
}

/// What one plugin may do with one database.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlGrant {
    /// Named statements of the same resource.
    pub statements: Vec<String>,
    /// Any statement that passes the gate.
    pub ad_hoc: bool,
    /// Nothing may be written.
    pub read_only: bool,
    /// Of the pool's connections, and of the resource's calls under way, those that may be the plugin's: a percentage, and
    /// one at least.
    pub share_percent: u32,
    /// How fast it may ask; `None`: as it likes.
    pub rate: Option<CallRate>,
    /// Rows of one result; never more than the resource's.
    pub rows_max: usize,
    /// Bytes of one call's results; never more than the resource's.
    pub response_bytes_max: usize,
}
