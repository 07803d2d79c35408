//! One server: what it is, how fast, and what its user may do there.

use std::future::Future;
use std::time::Duration;

use agw_config::Resource;
use agw_foreign::{Latency, PROBE_CALLS, PeerTls, ProbeError, ProbeReport};
use agw_wire::resp::{self, Value};
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::acl::{self, Permissions};
use super::need::{self, Need};
use crate::connect::Connector;
use crate::session::Session;

/// For everything after the login.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of one reply: lists of categories and commands, of nodes and slots.
const REPLY_BYTES_MAX: usize = crate::cluster::REPLY_BYTES_MAX;

/// One question after another.
pub(super) struct Asker {
    session: Session,
}

impl Asker {
    /// The reply, which may be an error.
    pub(super) async fn ask(&mut self, args: &[&str]) -> Result<Bytes, ProbeError> {
        let mut command = Vec::new();
        resp::put_command(&mut command, &args.iter().map(|arg| arg.as_bytes()).collect::<Vec<_>>());
        let reply = self.session.exchange(&command, 1, REPLY_BYTES_MAX).await;
        reply.map_err(|error| ProbeError::new(format!("no answer to {}", args.join(" ")), error))
    }
}

/// What is the same of a server and of a sentinel.
pub(super) struct Facts {
    pub(super) server: String,
    pub(super) role: String,
    pub(super) user: String,
    pub(super) latency: Latency,
    pub(super) notes: Vec<String>,
}

/// Connects to a server as the gateway does, and asks.
///
/// # Cancel safety
/// Dropped, it closes its connections.
pub(super) async fn look_at(resource: &Resource, connector: &Connector) -> Result<ProbeReport, ProbeError> {
    let (asker, connect) = connected(connector).await?;
    let tls = peer_tls(connector).await?;
    let report = in_time(ask(resource, asker, connect)).await?;
    Ok(ProbeReport { tls, ..report })
}

/// A connection that is logged in, and how long it took.
pub(super) async fn connected(connector: &Connector) -> Result<(Asker, Duration), ProbeError> {
    let began = Instant::now();
    let session = connector.connect().await.map_err(|error| ProbeError::new("no connection", error))?;
    Ok((Asker { session }, began.elapsed()))
}

/// What the server shows in a handshake.
pub(super) async fn peer_tls(connector: &Connector) -> Result<Option<PeerTls>, ProbeError> {
    connector.peer_tls().await.map_err(|error| ProbeError::new("no second connection", error))
}

/// Questions after the login, within bounds.
pub(super) async fn in_time<T>(asking: impl Future<Output = Result<T, ProbeError>>) -> Result<T, ProbeError> {
    let answer = timeout(PATIENCE, asking).await;
    answer.unwrap_or_else(|_| Err(ProbeError::from_message("the server does not answer in time")))
}

/// Asks what any server is asked. `username` is of the configuration.
pub(super) async fn facts(
    asker: &mut Asker,
    connect: Duration,
    username: Option<&str>,
) -> Result<Facts, ProbeError> {
    let mut calls = Vec::with_capacity(PROBE_CALLS + 1);
    for _ in 0..=PROBE_CALLS {
        let began = Instant::now();
        asker.ask(&["PING"]).await?;
        calls.push(began.elapsed());
    }
    let mut notes = Vec::new();
    let server = server(asker, &mut notes).await?;
    let role = role(asker, &mut notes).await?;
    let user = match parsed(&asker.ask(&["ACL", "WHOAMI"]).await?) {
        Answer::Text(name) => name,
        _ => username.unwrap_or("default").to_owned(),
    };
    Ok(Facts { server, role, user, latency: Latency::new(connect, calls), notes })
}

async fn ask(resource: &Resource, mut asker: Asker, connect: Duration) -> Result<ProbeReport, ProbeError> {
    let username = resource.redis.username.as_deref();
    let Facts { server, role, user, latency, mut notes } = facts(&mut asker, connect, username).await?;
    let known = acl::known(&mut asker).await?;
    let mut need = Need::of(resource);
    need.keep(known.as_ref(), acl::knows(need::LATEST, &mut asker).await?);
    notes.extend(need.notes());
    let (excess, missing) = match Permissions::of(&user, known.as_ref(), &mut asker).await? {
        Some(permissions) => (need.excess(&permissions), need.missing(&permissions)),
        None => {
            notes.push(
                "the user may not run ACL GETUSER, so what more it may do is not known; that is as it should be"
                    .to_owned(),
            );
            (Vec::new(), Vec::new())
        }
    };
    let name = resource.redis.username.as_deref().unwrap_or("agw");
    if resource.redis.username.is_none() {
        notes.push(format!(
            "the gateway logs in as the default user; write username: {name} with the line above"
        ));
    }
    Ok(ProbeReport {
        server,
        role,
        user,
        latency,
        tls: None,
        refused: Vec::new(),
        excess,
        missing,
        least: vec![need.set_user(name)],
        notes,
    })
}

/// `Redis 7.2.4`
async fn server(asker: &mut Asker, notes: &mut Vec<String>) -> Result<String, ProbeError> {
    let Answer::Text(info) = parsed(&asker.ask(&["INFO", "server"]).await?) else {
        notes.push("the user may not run INFO, so the server's version is not known".to_owned());
        return Ok("Redis or Valkey".to_owned());
    };
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(match (field("valkey_version"), field("redis_version")) {
        (Some(version), _) => format!("Valkey {}", version.trim()),
        (None, Some(version)) => format!("Redis {}", version.trim()),
        (None, None) => "a server that does not say its version".to_owned(),
    })
}

async fn role(asker: &mut Asker, notes: &mut Vec<String>) -> Result<String, ProbeError> {
    let reply = asker.ask(&["ROLE"]).await?;
    let values = resp::parse_all(&reply, 1).unwrap_or_default();
    let word = match values.first() {
        Some(Value::Array(parts)) => parts.first().and_then(text),
        _ => None,
    };
    Ok(match word.as_deref() {
        Some("master") => "primary".to_owned(),
        Some("slave") => "replica".to_owned(),
        Some(other) => other.to_owned(),
        None => {
            notes.push("the user may not run ROLE, so the server's role is not known".to_owned());
            "not known".to_owned()
        }
    })
}

/// A reply as far as it matters here.
pub(super) enum Answer {
    Text(String),
    List(Vec<String>),
    /// The server refuses, or says something else.
    Other,
}

pub(super) fn parsed(reply: &[u8]) -> Answer {
    let values = resp::parse_all(reply, 1).unwrap_or_default();
    match values.first() {
        Some(Value::Array(items)) => Answer::List(items.iter().filter_map(text).collect()),
        Some(value) => text(value).map_or(Answer::Other, Answer::Text),
        None => Answer::Other,
    }
}

pub(super) fn text(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Simple(bytes) | Value::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}
