//! Opens connections: TCP, TLS, login, session, account.

use std::net::IpAddr;
use std::time::Duration;

use agw_config::{SqlHost, SqlResource, SqlServer, Tls};
use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Conn, OptsBuilder, Row, SslOpts};
use rustls::crypto::CryptoProvider;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::failure::connect_error;
use super::{GARBLED, role, unbroken};
use crate::cursors::CURSOR_IDLE_MAX;
use crate::error::{BuildError, ConnectError};
use crate::hosts::{Host, Role};
use crate::tls::TlsSetup;

/// A silent peer is asked for a sign of life after this.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Of a packet beside its values: 4096 columns, each with a length; errors with their texts.
const PACKET_EXTRA: usize = 64 * 1024;
/// A parameter is sent with at most this many times the bytes that its cell has.
const PARAM_GROWTH: usize = 12;
/// The server waits for a connection that nobody uses longer than the pool does, and for one that does not read its
/// rows longer than a cursor may be idle.
const PATIENCE: Duration = Duration::from_secs(60);
/// A connection that is given up has this long to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What statements rely on, on MySQL and MariaDB alike. The gate takes it for granted that backslashes escape and that
/// `"` begins a text.
pub(crate) const FIXED: &str = "NAMES utf8mb4, \
     sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', \
     autocommit = 1, completion_type = 'NO_CHAIN', sql_auto_is_null = 0, sql_select_limit = 18446744073709551615";

/// What the server says of itself and of the connection.
const FACTS: &str = "SELECT @@version, CONNECTION_ID(), @@max_allowed_packet, \
                     (SELECT HOST FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID())";

/// Where one host is and how to get in. Holds the password, and therefore has no `Debug`.
pub(crate) struct Opener {
    host: String,
    port: u16,
    options: OptsBuilder,
    /// In seconds.
    wait_timeout: u64,
    pub(super) connect_timeout: Duration,
    pub(super) statement_ms: u64,
    /// Some grant is read-only, so that the account must not be able to cheat.
    checks_role: bool,
    /// One statement is killed at a time. Kills that meet several statements in `SLEEP` at once lock MariaDB up for more
    /// than a second, and its logins with it.
    pub(super) kills: Semaphore,
}

/// A connection that is logged in.
pub(crate) struct Opened {
    pub(crate) conn: Conn,
    pub(crate) flavour: Flavour,
    pub(crate) target: Target,
    /// Bytes of a packet that the server takes.
    pub(crate) packet_max: usize,
}

/// What has other names in the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Mysql,
    Mariadb,
}

/// A connection as the server knows it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) id: u64,
    /// Address and port of this side of it.
    pub(crate) host: String,
    /// Of the server.
    pub(crate) address: IpAddr,
}

// === impl Opener ===

impl Opener {
    /// No I/O: names are resolved at each connect.
    ///
    /// # Errors
    /// [`BuildError::Tls`], also for a password that is no text.
    pub(crate) fn new(resource: &SqlResource, server: &SqlServer, at: &SqlHost) -> Result<Self, BuildError> {
        let limits = &resource.limits;
        let frame = limits.response_bytes_max.saturating_mul(2);
        let packet = frame.max(limits.request_bytes_max.saturating_mul(PARAM_GROWTH));
        let mut options = OptsBuilder::default()
            .ip_or_hostname(&at.host)
            .tcp_port(at.port)
            .user(server.username.clone())
            .db_name(Some(&server.database))
            .tcp_keepalive(Some(KEEPALIVE))
            .prefer_socket(false)
            .stmt_cache_size(resource.pool.statements_max)
            .client_found_rows(true)
            .max_allowed_packet(Some(packet.saturating_add(PACKET_EXTRA).min(u32::MAX as usize)))
            .wait_timeout(Some(0))
            .ssl_opts(server.tls.as_ref().map(|tls| encryption(tls, &at.host)).transpose()?);
        if let Some(password) = &server.password {
            let text = std::str::from_utf8(password.expose());
            let text = text.map_err(|error| BuildError::Tls { part: "password", cause: error.into() })?;
            options = options.pass(Some(text));
        }
        let idle = resource.pool.idle_timeout.max(CURSOR_IDLE_MAX) + PATIENCE;
        Ok(Opener {
            host: at.host.clone(),
            port: at.port,
            options,
            wait_timeout: idle.as_secs(),
            connect_timeout: resource.pool.connect_timeout,
            statement_ms: u64::try_from(limits.call_timeout_max.as_millis()).unwrap_or(u64::MAX),
            checks_role: resource.grants.values().any(|grant| grant.read_only),
            kills: Semaphore::new(1),
        })
    }

    /// The same, whatever the account may do.
    pub(crate) fn any_account(self) -> Self {
        Opener { checks_role: false, ..self }
    }

    async fn log_in(&self) -> Result<Opened, ConnectError> {
        let (mut conn, address) = self.first().await?;
        let facts: Option<Row> = conn.query_first(FACTS).await.map_err(connect_error)?;
        let facts = facts.as_ref().and_then(|row| facts_of(row, address));
        let (flavour, packet_max, target) = facts.ok_or_else(|| {
            ConnectError::Login(
                "the server does not say what it is, or has no entry for the connection".into(),
            )
        })?;
        self.set_up(&mut conn, flavour).await?;
        if self.checks_role {
            role::check(&mut conn).await?;
        }
        Ok(Opened { conn, flavour, target, packet_max })
    }

    /// The session as every statement expects it: also after a reset.
    pub(crate) async fn set_up(&self, conn: &mut Conn, flavour: Flavour) -> Result<(), ConnectError> {
        let (wait, write) = (self.wait_timeout, (CURSOR_IDLE_MAX + PATIENCE).as_secs());
        let (access, limit) = (flavour.access(false), flavour.limit(self.statement_ms));
        let text =
            format!("SET {FIXED}, wait_timeout = {wait}, net_write_timeout = {write}, {access}, {limit}");
        conn.query_drop(text).await.map_err(connect_error)
    }

    /// A connection to the very server of another that is logged in and nothing else.
    ///
    /// # Cancel safety
    /// Dropped, it closes the socket.
    pub(crate) async fn reach(&self, address: IpAddr) -> Result<Conn, ConnectError> {
        let options = self.options.clone().resolved_ips(Some(vec![address]));
        Conn::new(options).await.map_err(connect_error)
    }

    /// The first of the host's addresses that takes a connection.
    async fn first(&self) -> Result<(Conn, IpAddr), ConnectError> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let mut last = ConnectError::Reach(std::io::ErrorKind::NotFound.into());
        for address in addresses.map_err(ConnectError::Lookup)? {
            match self.reach(address.ip()).await {
                Ok(conn) => return Ok((conn, address.ip())),
                Err(error @ ConnectError::Reach(_)) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

impl Host for Opener {
    type Opened = Opened;

    async fn open(&self) -> Result<Opened, ConnectError> {
        unbroken(self.log_in()).await.unwrap_or_else(|| Err(ConnectError::Login(GARBLED.into())))
    }

    async fn role(opened: &mut Opened) -> Result<Role, ConnectError> {
        let role = unbroken(role_of(&mut opened.conn)).await;
        role.unwrap_or_else(|| Err(ConnectError::Login(GARBLED.into())))
    }

    fn close(opened: Opened) {
        say_goodbye(opened.conn);
    }
}

/// In the background, within bounds.
pub(super) fn say_goodbye(conn: Conn) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(timeout(GOODBYE, conn.disconnect()));
    }
}

/// What the server of a connection is: a replica takes no writes. A word, where `read_only` has more than two values.
pub(crate) async fn role_of(conn: &mut Conn) -> Result<Role, ConnectError> {
    let row: Option<Row> = conn.query_first("SELECT @@global.read_only").await.map_err(connect_error)?;
    match row.and_then(|row| row.get_opt::<String, _>(0)).and_then(Result::ok).as_deref() {
        Some("0" | "OFF") => Ok(Role::Primary),
        Some(_) => Ok(Role::Replica),
        None => Err(ConnectError::Login("the server does not say whether it takes writes".into())),
    }
}

fn facts_of(row: &Row, address: IpAddr) -> Option<(Flavour, usize, Target)> {
    let version = row.get_opt::<String, _>(0)?.ok()?;
    let id = row.get_opt::<u64, _>(1)?.ok()?;
    let packet_max = row.get_opt::<usize, _>(2)?.ok()?;
    let host = row.get_opt::<String, _>(3)?.ok()?;
    let flavour = if version.contains("MariaDB") { Flavour::Mariadb } else { Flavour::Mysql };
    Some((flavour, packet_max, Target { id, host, address }))
}

/// Only the authorities that the operator names are trusted, and the name is verified.
fn encryption(tls: &Tls, host: &str) -> Result<SslOpts, BuildError> {
    // Whatever is wrong with the certificates is said now, and not by the first connection.
    TlsSetup::new(tls, host)?;
    if CryptoProvider::get_default().is_none() {
        // The driver takes the process' default. Somebody else may have set it in between: with the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let identity = tls.client.as_ref().map(|client| {
        ClientIdentity::new(client.chain_pem.clone().into(), client.key_pem.expose().to_vec().into())
    });
    Ok(SslOpts::default()
        .with_root_certs(vec![tls.ca_pem.clone().into()])
        .with_disable_built_in_roots(true)
        .with_danger_tls_hostname_override(tls.server_name.clone())
        .with_client_identity(identity))
}

// === impl Flavour ===

impl Flavour {
    /// The assignment that says whether transactions of the session may write.
    pub(crate) fn access(self, may_write: bool) -> String {
        let name = match self {
            Flavour::Mysql => "transaction_read_only",
            Flavour::Mariadb => "tx_read_only",
        };
        format!("{name} = {}", u8::from(!may_write))
    }

    /// The assignment that bounds a statement's time. MySQL bounds only those that read.
    pub(crate) fn limit(self, ms: u64) -> String {
        match self {
            Flavour::Mysql => format!("max_execution_time = {}", ms.min(u32::MAX.into())),
            Flavour::Mariadb => format!("max_statement_time = {}.{:03}", ms / 1000, ms % 1000),
        }
    }
}
