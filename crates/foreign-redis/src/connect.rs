//! Opens connections: TCP, TLS, login.
//!
//! Connections speak RESP2. Plugins of every language meet the same replies whatever the server's version, and
//! nothing comes unasked, so that anything unasked is a reason to drop the connection.

use std::time::Duration;

use agw_config::{RedisEndpoint, Secret};
use agw_foreign::PeerTls;
use agw_wire::resp::{self, Value};
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::{BuildError, ConnectError};
use crate::pipe::{Io, Pipe};
use crate::session::Session;
use crate::tls::TlsSetup;

/// A silent peer is asked for a sign of life this often.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Replies to a login are a line each.
const LOGIN_BYTES_MAX: usize = 64 * 1024;

/// Where a server is and how to get in. Holds the credentials, and therefore has no `Debug`.
pub(crate) struct Connector {
    host: String,
    port: u16,
    tls: Option<TlsSetup>,
    timeout: Duration,
    /// The login's commands, encoded, and what each is for.
    login: Vec<u8>,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its refusal is `auth`.
    Auth,
    Select,
    /// Servers that do not know it, or users who may not, do without.
    BestEffort,
}

// === impl Connector ===

impl Connector {
    /// No I/O: names are resolved at each connect.
    pub(crate) fn new(
        endpoint: &RedisEndpoint,
        host: &str,
        port: u16,
        timeout: Duration,
    ) -> Result<Self, BuildError> {
        let tls = endpoint.tls.as_ref().map(|tls| TlsSetup::new(tls, host)).transpose()?;
        let (mut login, mut steps) = (Vec::new(), Vec::new());
        let mut put = |step, args: &[&[u8]]| {
            resp::put_command(&mut login, args);
            steps.push(step);
        };
        match (endpoint.username.as_deref(), endpoint.password.as_ref().map(Secret::expose)) {
            (None, None) => {}
            (None, Some(password)) => put(Step::Auth, &[b"AUTH", password]),
            (Some(user), password) => {
                put(Step::Auth, &[b"AUTH", user.as_bytes(), password.unwrap_or_default()])
            }
        }
        if endpoint.database != 0 {
            put(Step::Select, &[b"SELECT", endpoint.database.to_string().as_bytes()]);
        }
        put(Step::BestEffort, &[b"CLIENT", b"SETNAME", b"agw"]);
        put(Step::BestEffort, &[b"CLIENT", b"SETINFO", b"lib-name", b"agw"]);
        Ok(Connector { host: host.to_owned(), port, tls, timeout, login, steps })
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
        tokio::time::timeout(self.timeout, opening).await.unwrap_or(Err(ConnectError::Timeout))
    }

    async fn open(&self) -> Result<Box<dyn Io>, ConnectError> {
        let socket = self.reach().await?;
        // Both are best effort: a connection without them works as well.
        let _ = socket.set_nodelay(true);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        let _ = SockRef::from(&socket).set_tcp_keepalive(&keepalive);
        match &self.tls {
            None => Ok(Box::new(socket)),
            Some(TlsSetup { connector, server_name }) => encrypt(connector, server_name, socket).await,
        }
    }

    /// What the server shows in a handshake, on a connection of its own, within the connect timeout. `None` without TLS.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub(crate) async fn peer_tls(&self) -> Result<Option<PeerTls>, ConnectError> {
        let Some(TlsSetup { connector, server_name }) = &self.tls else { return Ok(None) };
        let opening = async {
            let socket = self.reach().await?;
            connector.connect(server_name.clone(), socket).await.map_err(ConnectError::Tls)
        };
        let stream =
            tokio::time::timeout(self.timeout, opening).await.unwrap_or(Err(ConnectError::Timeout))?;
        let session = stream.get_ref().1;
        let version = session.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default();
        let chain = session.peer_certificates().unwrap_or_default();
        Ok(Some(PeerTls { version, chain: chain.iter().map(|one| one.to_vec()).collect() }))
    }

    /// The first of the host's addresses that takes a connection.
    async fn reach(&self) -> Result<TcpStream, ConnectError> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
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
        // One exchange: a login costs one round trip.
        let replies = session.exchange(&self.login, self.steps.len(), LOGIN_BYTES_MAX).await;
        let replies = replies.map_err(ConnectError::Login)?;
        let values = resp::parse_all(&replies, self.steps.len()).unwrap_or_default();
        for (step, value) in self.steps.iter().zip(&values) {
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
