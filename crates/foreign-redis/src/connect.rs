//! Opens connections: TCP, TLS, login.
//!
//! Connections speak RESP2. Plugins of every language meet the same replies whatever the server's version, and
//! nothing comes unasked, so that anything unasked is a reason to drop the connection.

use std::sync::Arc;
use std::time::Duration;

use agw_config::{RedisHost, Secret, Tls};
use agw_foreign::PeerTls;
use agw_wire::resp::{self, Value};
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::{BuildError, ConnectError};
use crate::pipe::{Io, Pipe};
use crate::resolve::{self, Lookup};
use crate::sentinel::Sentinels;
use crate::session::Session;
use crate::tls::TlsSetup;

/// A silent peer is asked for a sign of life this often.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Of a DNS name.
const HOST_BYTES_MAX: usize = 253;
/// Replies to a login are a line each.
const LOGIN_BYTES_MAX: usize = 64 * 1024;

/// How to get in, at every server of one resource. Holds the credentials, and therefore has no `Debug`.
pub(crate) struct Access {
    tls: Option<TlsSetup>,
    timeout: Duration,
    lookup: Lookup,
    /// The login's commands, encoded, and what each is for.
    login: Vec<u8>,
    steps: Vec<Step>,
}

/// Who logs in, and where.
#[derive(Clone, Copy)]
pub(crate) struct Login<'a> {
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a Secret>,
    pub(crate) database: u32,
    /// At a replica in a cluster: it answers reads itself.
    pub(crate) reads_only: bool,
}

/// One server: where it is and how to get in.
pub(crate) struct Connector {
    at: RedisHost,
    /// What its certificate must say; `None` without TLS.
    server_name: Option<ServerName<'static>>,
    access: Arc<Access>,
}

/// Where the connections of one pool go.
pub(crate) enum Destination {
    /// To this server.
    Server(Connector),
    /// To the primary, wherever it is.
    Sentinels(Arc<Sentinels>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its refusal is `auth`.
    Auth,
    Select,
    /// Servers that do not know it, or users who may not, do without.
    BestEffort,
}

// === impl Destination ===

impl Destination {
    /// A connection that is logged in, within the connect timeout.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub(crate) async fn connect(&self) -> Result<Session, ConnectError> {
        match self {
            Destination::Server(connector) => connector.connect().await,
            Destination::Sentinels(sentinels) => sentinels.connect().await,
        }
    }
}

// === impl Access ===

impl Access {
    /// `timeout` is for one connection, TLS and login included.
    ///
    /// # Errors
    /// [`BuildError`] for TLS material that cannot be used.
    pub(crate) fn new(
        tls: Option<&Tls>,
        login: Login<'_>,
        timeout: Duration,
    ) -> Result<Arc<Self>, BuildError> {
        Self::resolving(tls, login, timeout, resolve::system())
    }

    /// The same with another resolver than the system's.
    fn resolving(
        tls: Option<&Tls>,
        login: Login<'_>,
        timeout: Duration,
        lookup: Lookup,
    ) -> Result<Arc<Self>, BuildError> {
        let tls = tls.map(TlsSetup::new).transpose()?;
        let (mut bytes, mut steps) = (Vec::new(), Vec::new());
        let mut put = |step, args: &[&[u8]]| {
            resp::put_command(&mut bytes, args);
            steps.push(step);
        };
        match (login.username, login.password.map(Secret::expose)) {
            (None, None) => {}
            (None, Some(password)) => put(Step::Auth, &[b"AUTH", password]),
            (Some(user), password) => {
                put(Step::Auth, &[b"AUTH", user.as_bytes(), password.unwrap_or_default()])
            }
        }
        if login.database != 0 {
            put(Step::Select, &[b"SELECT", login.database.to_string().as_bytes()]);
        }
        if login.reads_only {
            // Where it is refused, reads are sent on to the primary.
            put(Step::BestEffort, &[b"READONLY"]);
        }
        put(Step::BestEffort, &[b"CLIENT", b"SETNAME", b"agw"]);
        put(Step::BestEffort, &[b"CLIENT", b"SETINFO", b"lib-name", b"agw"]);
        Ok(Arc::new(Access { tls, timeout, lookup, login: bytes, steps }))
    }

    /// For a connection, TLS and login included.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }
}

// === impl Connector ===

impl Connector {
    /// No I/O: names are resolved at each connect.
    ///
    /// # Errors
    /// [`BuildError::ServerName`] for a host that no certificate can be checked against.
    pub(crate) fn new(access: &Arc<Access>, at: RedisHost) -> Result<Self, BuildError> {
        let server_name = access.tls.as_ref().map(|tls| tls.server_name(&at.host)).transpose()?;
        Ok(Connector { at, server_name, access: Arc::clone(access) })
    }

    /// A connection that is logged in, within the connect timeout.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub(crate) async fn connect(&self) -> Result<Session, ConnectError> {
        let opening = async {
            let mut session = Session::new(Pipe::new(self.open().await?));
            self.log_in(&mut session).await?;
            Ok(session)
        };
        tokio::time::timeout(self.access.timeout, opening).await.unwrap_or(Err(ConnectError::Timeout))
    }

    async fn open(&self) -> Result<Box<dyn Io>, ConnectError> {
        let socket = self.reach().await?;
        // Both are best effort: a connection without them works as well.
        let _ = socket.set_nodelay(true);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        let _ = SockRef::from(&socket).set_tcp_keepalive(&keepalive);
        match (&self.access.tls, &self.server_name) {
            (Some(tls), Some(name)) => encrypt(&tls.connector, name, socket).await,
            _ => Ok(Box::new(socket)),
        }
    }

    /// What the server shows in a handshake, on a connection of its own, within the connect timeout. `None` without TLS.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub(crate) async fn peer_tls(&self) -> Result<Option<PeerTls>, ConnectError> {
        let (Some(tls), Some(name)) = (&self.access.tls, &self.server_name) else { return Ok(None) };
        let opening = async {
            let socket = self.reach().await?;
            tls.connector.connect(name.clone(), socket).await.map_err(ConnectError::Tls)
        };
        let stream =
            tokio::time::timeout(self.access.timeout, opening).await.unwrap_or(Err(ConnectError::Timeout))?;
        let session = stream.get_ref().1;
        let version = session.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default();
        let chain = session.peer_certificates().unwrap_or_default();
        Ok(Some(PeerTls { version, chain: chain.iter().map(|one| one.to_vec()).collect() }))
    }

    /// The first of the host's addresses that takes a connection.
    async fn reach(&self) -> Result<TcpStream, ConnectError> {
        let addresses = (self.access.lookup)(self.at.clone()).await;
        let mut last = std::io::ErrorKind::NotFound.into();
        for address in addresses.map_err(ConnectError::Lookup)? {
            match TcpStream::connect(address).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(ConnectError::Reach(last))
    }

    async fn log_in(&self, session: &mut Session) -> Result<(), ConnectError> {
        let access = &self.access;
        // One exchange: a login costs one round trip.
        let replies = session.exchange(&access.login, access.steps.len(), LOGIN_BYTES_MAX).await;
        let replies = replies.map_err(ConnectError::Login)?;
        let values = resp::parse_all(&replies, access.steps.len()).unwrap_or_default();
        for (step, value) in access.steps.iter().zip(&values) {
            if let Value::Error(text) = value {
                check_refusal(*step, crate::reply::error_code(text))?;
            }
        }
        Ok(())
    }
}

async fn encrypt(
    connector: &TlsConnector,
    server_name: &ServerName<'static>,
    socket: TcpStream,
) -> Result<Box<dyn Io>, ConnectError> {
    let socket = connector.connect(server_name.clone(), socket).await.map_err(ConnectError::Tls)?;
    Ok(Box::new(socket))
}

/// A server as another one announces it: `None` if that is no host with a port.
pub(crate) fn address_of(host: &[u8], port: &[u8]) -> Option<RedisHost> {
    let host = std::str::from_utf8(host).ok()?;
    let port = std::str::from_utf8(port).ok()?.parse::<u16>().ok().filter(|port| *port != 0)?;
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    let is_host = (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(belongs);
    is_host.then(|| RedisHost { host: host.to_owned(), port })
}

fn check_refusal(step: Step, code: String) -> Result<(), ConnectError> {
    match (step, code.as_str()) {
        // Protected mode: the server answers whatever comes first with this, and closes.
        (_, "NOAUTH" | "WRONGPASS" | "DENIED") => Err(ConnectError::Auth(code)),
        (Step::Auth, "LOADING" | "MASTERDOWN") => Err(ConnectError::Refused(code)),
        (Step::Auth, _) => Err(ConnectError::Auth(code)),
        // A server that is loading its data takes connections; its calls are answered with LOADING.
        (Step::Select, "LOADING" | "MASTERDOWN" | "BUSY") => Err(ConnectError::Refused(code)),
        (Step::Select, _) => Err(ConnectError::Database(code)),
        (Step::BestEffort, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
