//! What an operator asks of a resource: whether the gateway gets in, how long that takes, what the server is, and whether
//! its user may do more than the grants need.

mod acl;
mod need;

use std::time::Duration;

use agw_config::{RedisAddress, RedisHost, Resource};
use agw_foreign::{Latency, PROBE_CALLS, ProbeError, ProbeReport};
use agw_telemetry::Metrics;
use agw_wire::resp::{self, Value};
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use crate::blueprint::Blueprint;
use crate::connect::Destination;
use crate::error::BuildError;
use crate::sentinel::Sentinels;
use crate::session::Session;
use acl::Permissions;
use need::Need;

/// For everything after the login.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of one reply: lists of categories and commands.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// Connects as the gateway does, and asks. Writes nothing.
///
/// # Errors
/// What keeps the gateway out.
///
/// # Cancel safety
/// Dropped, it closes its connections.
pub async fn probe(resource: &Resource) -> Result<ProbeReport, ProbeError> {
    let destination = destination(resource);
    let destination = destination.map_err(|error| ProbeError::new("the resource cannot be set up", error))?;
    let Some((destination, note)) = destination else { return Ok(embedded()) };
    let began = Instant::now();
    let session = destination.connect().await.map_err(|error| ProbeError::new("no connection", error))?;
    let connect = began.elapsed();
    let tls = match &destination {
        Destination::Server(connector) => connector.peer_tls().await,
        Destination::Sentinels(_) => Ok(None),
    };
    let tls = tls.map_err(|error| ProbeError::new("no second connection", error))?;
    let asking = ask(resource, Asker { session }, connect);
    let report = timeout(PATIENCE, asking).await;
    let report =
        report.unwrap_or_else(|_| Err(ProbeError::from_message("the server does not answer in time")));
    let mut report = report?;
    report.notes.extend(note.map(str::to_owned));
    Ok(ProbeReport { tls, ..report })
}

/// The server that is looked at: the primary that sentinels name, or the first of a cluster's endpoints. The embedded
/// store has none.
fn destination(resource: &Resource) -> Result<Option<(Destination, Option<&'static str>)>, BuildError> {
    let blueprint = Blueprint::new(resource, 1, &Metrics::new())?;
    Ok(match &resource.redis.address {
        RedisAddress::Sentinel(sentinels) => Some((
            Destination::Sentinels(Sentinels::new(sentinels, &blueprint)?),
            Some("this is the primary that the sentinels name now; its certificate is not shown"),
        )),
        RedisAddress::Cluster(cluster) => {
            let first = cluster.endpoints.first().cloned();
            let at = first.unwrap_or_else(|| RedisHost { host: String::new(), port: 0 });
            Some((
                Destination::Server(blueprint.connector(at)?),
                Some("this is one node of the cluster; each has users of its own"),
            ))
        }
        RedisAddress::Tcp { host, port } => {
            let at = RedisHost { host: host.clone(), port: *port };
            Some((Destination::Server(blueprint.connector(at)?), None))
        }
        RedisAddress::Memory { .. } => None,
    })
}

fn embedded() -> ProbeReport {
    let zero = Duration::ZERO;
    ProbeReport {
        server: "the embedded store".to_owned(),
        role: "primary".to_owned(),
        user: "nobody: it knows no users".to_owned(),
        latency: Latency { connect: zero, first_call: zero, median: zero },
        tls: None,
        refused: Vec::new(),
        excess: Vec::new(),
        missing: Vec::new(),
        least: Vec::new(),
        notes: vec!["it is in the gateway's own process and ends with it".to_owned()],
    }
}

/// One question after another.
struct Asker {
    session: Session,
}

impl Asker {
    /// The reply, which may be an error.
    async fn ask(&mut self, args: &[&str]) -> Result<Bytes, ProbeError> {
        let mut command = Vec::new();
        resp::put_command(&mut command, &args.iter().map(|arg| arg.as_bytes()).collect::<Vec<_>>());
        let reply = self.session.exchange(&command, 1, REPLY_BYTES_MAX).await;
        reply.map_err(|error| ProbeError::new(format!("no answer to {}", args.join(" ")), error))
    }
}

async fn ask(resource: &Resource, mut asker: Asker, connect: Duration) -> Result<ProbeReport, ProbeError> {
    let mut calls = Vec::with_capacity(PROBE_CALLS + 1);
    for _ in 0..=PROBE_CALLS {
        let began = Instant::now();
        asker.ask(&["PING"]).await?;
        calls.push(began.elapsed());
    }
    let mut notes = Vec::new();
    let server = server(&mut asker, &mut notes).await?;
    let role = role(&mut asker, &mut notes).await?;
    let user = match parsed(&asker.ask(&["ACL", "WHOAMI"]).await?) {
        Answer::Text(name) => name,
        _ => resource.redis.username.clone().unwrap_or_else(|| "default".to_owned()),
    };
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
        latency: Latency::new(connect, calls),
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
enum Answer {
    Text(String),
    List(Vec<String>),
    /// The server refuses, or says something else.
    Other,
}

fn parsed(reply: &[u8]) -> Answer {
    let values = resp::parse_all(reply, 1).unwrap_or_default();
    match values.first() {
        Some(Value::Array(items)) => Answer::List(items.iter().filter_map(text).collect()),
        Some(value) => text(value).map_or(Answer::Other, Answer::Text),
        None => Answer::Other,
    }
}

fn text(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Simple(bytes) | Value::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}
