//! Opens connections: TCP, TLS, login, session, role.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agw_config::{SqlHost, SqlResource, SqlServer};
use agw_foreign::PeerTls;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::failure::connect_error;
use super::wire::{Io, Seen, Wire};
use crate::error::{BuildError, ConnectError};
use crate::hosts::{Host, Role};
use crate::tls::{TlsSetup, peer};

/// A silent peer is asked for a sign of life this often.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// A connection that is given up has this long to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// Of a message beside a row's values: 1600 columns, each with a length; errors with their texts.
const FRAME_EXTRA: usize = 64 * 1024;
/// The message that asks for TLS, and the byte that grants it.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const SSL_GRANTED: u8 = b'S';

/// What statements rely on. Everything is read-only unless its transaction says otherwise.
const SESSION: &str = "SET TimeZone = 'UTC'; SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; \
                       SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; \
                       SET client_min_messages = 'error'; SET default_transaction_read_only = on; \
                       SET default_transaction_isolation = 'read committed'; \
                       SET idle_in_transaction_session_timeout = '60s'; ";

/// `t` for a role that may leave a read-only transaction behind: by files or programs of the server.
const ROLE: &str = "SELECT rolsuper, pg_has_role(r.oid, 'pg_execute_server_program', 'MEMBER'), \
                    pg_has_role(r.oid, 'pg_write_server_files', 'MEMBER'), \
                    pg_has_role(r.oid, 'pg_read_server_files', 'MEMBER') \
                    FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";

/// Where one host is and how to get in. Holds the password, and therefore has no `Debug`.
pub(crate) struct Opener {
    host: String,
    port: u16,
    tls: Option<TlsSetup>,
    config: Config,
    /// Ends a statement of the pipelined lane.
    shared_timeout: String,
    session: String,
    frame_max: usize,
    /// Some grant is read-only, so that the role must not be able to cheat.
    checks_role: bool,
}

/// A connection that is logged in.
pub(crate) struct Opened {
    pub(crate) client: Client,
    /// Of the server.
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    /// Dropped, the connection says goodbye and ends.
    pub(crate) goodbye: DropGuard,
    /// Fires when it has ended.
    pub(crate) ended: CancellationToken,
}

// === impl Opener ===

impl Opener {
    /// No I/O: names are resolved at each connect.
    ///
    /// # Errors
    /// [`BuildError::Tls`].
    pub(crate) fn new(resource: &SqlResource, server: &SqlServer, at: &SqlHost) -> Result<Self, BuildError> {
        let tls = server.tls.as_ref().map(|tls| TlsSetup::new(tls, &at.host)).transpose()?;
        let mut config = Config::new();
        // TLS is spoken below the driver, which sees a plain stream.
        config.ssl_mode(SslMode::Disable).application_name("agw").dbname(&server.database);
        if let Some(user) = &server.username {
            config.user(user);
        }
        if let Some(password) = &server.password {
            config.password(password.expose());
        }
        // A statement that is being prepared waits for locks as well. Calls set their own.
        let ms = |timeout: Duration| timeout.as_millis().clamp(1, i32::MAX as u128);
        let timeout = ms(resource.limits.call_timeout_max);
        let shared_timeout = ms(resource.limits.call_timeout);
        Ok(Opener {
            host: at.host.clone(),
            port: at.port,
            tls,
            config,
            shared_timeout: format!("SET statement_timeout = {shared_timeout}"),
            session: format!("{SESSION}SET statement_timeout = {timeout}"),
            frame_max: resource.limits.response_bytes_max.saturating_mul(2).saturating_add(FRAME_EXTRA),
            checks_role: resource.grants.values().any(|grant| grant.read_only),
        })
    }

    /// The same, whatever the role may do.
    pub(crate) fn any_role(self) -> Self {
        Opener { checks_role: false, ..self }
    }

    /// What the server shows in a handshake, on a connection of its own. `None` without TLS.
    ///
    /// # Cancel safety
    /// Dropped, it closes the socket.
    pub(crate) async fn peer_tls(&self) -> Result<Option<PeerTls>, ConnectError> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let (socket, _) = self.socket().await?;
        Ok(Some(peer(&encrypt(tls, socket).await?)))
    }

    /// For a connection of the pipelined lane.
    pub(crate) async fn share(&self, opened: &Opened) -> Result<(), ConnectError> {
        opened.client.batch_execute(&self.shared_timeout).await.map_err(connect_error)
    }

    /// A stream to the very server of a connection, encrypted if it shall be.
    ///
    /// # Cancel safety
    /// Dropped, it closes the socket.
    pub(crate) async fn reach(&self, address: SocketAddr, seen: Arc<Seen>) -> Result<Wire, ConnectError> {
        self.wire(TcpStream::connect(address).await.map_err(ConnectError::Reach)?, seen).await
    }

    async fn wire(&self, socket: TcpStream, seen: Arc<Seen>) -> Result<Wire, ConnectError> {
        // Both are best effort: a connection without them works as well.
        let _ = socket.set_nodelay(true);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        let _ = SockRef::from(&socket).set_tcp_keepalive(&keepalive);
        let io: Box<dyn Io> = match &self.tls {
            None => Box::new(socket),
            Some(tls) => Box::new(encrypt(tls, socket).await?),
        };
        Ok(Wire::new(io, self.frame_max, seen))
    }

    /// The first of the host's addresses that takes a connection.
    async fn socket(&self) -> Result<(TcpStream, SocketAddr), ConnectError> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let mut last = std::io::ErrorKind::NotFound.into();
        for address in addresses.map_err(ConnectError::Lookup)? {
            match TcpStream::connect(address).await {
                Ok(socket) => return Ok((socket, address)),
                Err(error) => last = error,
            }
        }
        Err(ConnectError::Reach(last))
    }
}

impl Host for Opener {
    type Opened = Opened;

    async fn open(&self) -> Result<Opened, ConnectError> {
        let seen = Arc::new(Seen::default());
        let (socket, address) = self.socket().await?;
        let wire = self.wire(socket, Arc::clone(&seen)).await?;
        let (client, connection) = self.config.connect_raw(wire, NoTls).await.map_err(connect_error)?;
        let gone = CancellationToken::new();
        let goodbye = gone.clone().drop_guard();
        let ended = CancellationToken::new();
        tokio::spawn(drive(connection, gone, ended.clone().drop_guard()));
        client.batch_execute(&self.session).await.map_err(connect_error)?;
        if self.checks_role {
            check_role(&client).await?;
        }
        Ok(Opened { client, address, seen, goodbye, ended })
    }

    async fn role(opened: &mut Opened) -> Result<Role, ConnectError> {
        role(&opened.client).await
    }

    /// Its task says goodbye.
    fn close(_opened: Opened) {}
}

/// What the server of a connection is. That the session is read-only by default says nothing of it.
pub(crate) async fn role(client: &Client) -> Result<Role, ConnectError> {
    let row = client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await.map_err(connect_error)?;
    let recovers = row.try_get::<_, bool>(0).map_err(connect_error)?;
    Ok(if recovers { Role::Replica } else { Role::Primary })
}

async fn encrypt(tls: &TlsSetup, mut socket: TcpStream) -> Result<TlsStream<TcpStream>, ConnectError> {
    socket.write_all(&SSL_REQUEST).await.map_err(ConnectError::Reach)?;
    // One byte and no more: what follows in plaintext must not be taken for what is said under TLS.
    let answer = socket.read_u8().await.map_err(ConnectError::Reach)?;
    if answer != SSL_GRANTED {
        return Err(ConnectError::Tls(std::io::Error::other("the server does not speak TLS")));
    }
    let encrypted = tls.connector.connect(tls.server_name.clone(), socket).await;
    encrypted.map_err(ConnectError::Tls)
}

/// Owned by its connection: it ends when the server closes, or soon after the connection is dropped. What the server
/// says unasked may quote values, and is passed over.
async fn drive(
    mut connection: tokio_postgres::Connection<Wire, tokio_postgres::tls::NoTlsStream>,
    gone: CancellationToken,
    _ended: DropGuard,
) {
    let driving = async {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => {
                    tracing::trace!(sqlstate = notice.code().code(), "Postgres gives notice");
                }
                Ok(_) => {}
                Err(error) => {
                    let sqlstate = error.code().map(|code| code.code().to_owned());
                    tracing::debug!(sqlstate, "a connection to Postgres has ended: {error}");
                    break;
                }
            }
        }
    };
    tokio::select! {
        () = driving => {}
        () = async { gone.cancelled().await; tokio::time::sleep(GOODBYE).await } => {}
    }
}

/// # Errors
/// [`ConnectError::Open`] for a role that could escape a read-only grant; waiting does not help.
pub(crate) async fn check_role(client: &Client) -> Result<(), ConnectError> {
    let row = client.query_one(ROLE, &[]).await.map_err(connect_error)?;
    let rights = [
        "a superuser",
        "a member of pg_execute_server_program",
        "a member of pg_write_server_files",
        "a member of pg_read_server_files",
    ];
    for (at, right) in rights.into_iter().enumerate() {
        if row.try_get::<_, bool>(at).map_err(connect_error)? {
            let message = format!(
                "the role of this resource is {right}, and a read-only grant could be escaped with it: use a role \
                 without such rights (CREATE ROLE ... LOGIN, and GRANT what is needed)"
            );
            return Err(ConnectError::Open(message.into()));
        }
    }
    Ok(())
}
