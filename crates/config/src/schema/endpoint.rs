//! Where a resource is, how to get in, and how to verify it: `url` or `endpoint`, or `endpoints` with a `mode`;
//! credentials, `tls`.

pub(crate) mod topology;

use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::{address, secret, tls};
use crate::secret::Secret;
use crate::snapshot::{RedisAddress, RedisEndpoint, RedisHost};
use crate::units::Bounds;

pub(crate) const DATABASE: Bounds = Bounds::count(0, 0, 65_535);

const REDIS_PORT: u16 = 6379;
const PLAINTEXT: &str = "the connection leaves this machine in plaintext, password included";

/// What `url`, or `endpoint` with `database`, says.
struct Place {
    address: RedisAddress,
    /// From the URL's path.
    database: Option<u32>,
    /// What a URL's scheme says; `None` for the long form.
    tls: Option<bool>,
}

pub(super) fn lower(fields: &Fields<'_>) -> Option<RedisEndpoint> {
    let place = match topology::mode(fields) {
        Some(mode) => {
            topology::lower(fields, mode).map(|address| Place { address, database: None, tls: None })
        }
        None => standalone(fields),
    };
    let database = fields.optional("database").map(|item| (item.number(DATABASE), item));
    let username = fields.optional("username").and_then(|item| Some(item.text()?.to_owned()));
    let password = fields.optional("password").and_then(|item| secret::secret(&item)).map(Secret::new);
    let verification = fields.optional("tls");
    let tls = verification.as_ref().and_then(tls::lower);
    let place = place?;

    if let (Some((_, item)), Some(_)) = (&database, place.database) {
        item.problem("the database is in the URL as well", "Keep one of the two");
    }
    match (&place.address, place.tls, &verification) {
        (RedisAddress::Memory { .. }, ..) => check_memory(fields),
        (_, Some(true), None) => {
            let message = "rediss:// needs to know whom to trust";
            fields.item.problem(message, format!("Write tls: {}", tls::EXAMPLE));
        }
        (_, Some(false), Some(item)) => {
            item.problem("redis:// means no TLS", "Write rediss:// in the URL, or remove tls");
        }
        (RedisAddress::Tcp { host, .. }, _, None) if !address::is_loopback(host) => {
            fields.item.warning(PLAINTEXT, format!("Use rediss:// and tls: {}", tls::EXAMPLE));
        }
        (RedisAddress::Sentinel(sentinels), _, None) if !stay(&sentinels.endpoints) => {
            fields.item.warning(PLAINTEXT, format!("Use tls: {}, and sentinel.tls as well", tls::EXAMPLE));
        }
        (RedisAddress::Cluster(cluster), ..) => {
            if let Some((1.., item)) = &database {
                item.problem(
                    "a cluster has no database but 0",
                    "Remove the field; key_prefix keeps grants apart",
                );
            }
            if verification.is_none() && !stay(&cluster.endpoints) {
                fields.item.warning(PLAINTEXT, format!("Use tls: {}", tls::EXAMPLE));
            }
        }
        _ => {}
    }
    let database = database.map(|(database, _)| u32::try_from(database).unwrap_or(u32::MAX));
    Some(RedisEndpoint {
        address: place.address,
        database: database.or(place.database).unwrap_or(0),
        username,
        password,
        tls,
    })
}

fn standalone(fields: &Fields<'_>) -> Option<Place> {
    let (field, item) = fields.one_of(&["url", "endpoint"], "url: redis://127.0.0.1:6379/0")?;
    if field == "url" { from_url(&item) } else { from_endpoint(&item) }
}

/// Whether everything stays on this machine.
fn stay(endpoints: &[RedisHost]) -> bool {
    endpoints.iter().all(|endpoint| address::is_loopback(&endpoint.host))
}

fn check_memory(fields: &Fields<'_>) {
    for name in ["database", "username", "password", "tls"] {
        if let Some(item) = fields.optional(name) {
            item.problem("the embedded store has no such thing", "Remove the field");
        }
    }
}

fn from_endpoint(item: &Item<'_>) -> Option<Place> {
    let text = item.text()?;
    match address::parse(text, None) {
        Ok((host, port)) => {
            Some(Place { address: RedisAddress::Tcp { host, port }, database: None, tls: None })
        }
        Err(reason) => {
            let hint = "Write host:port, such as 127.0.0.1:6379; user and password have fields of their own";
            item.problem(format!("{} is not an endpoint: {reason}", quoted(text)), hint);
            None
        }
    }
}

/// No message shows the URL: even a malformed one may hold a password.
fn from_url(item: &Item<'_>) -> Option<Place> {
    let text = item.text()?;
    if text.contains('@') {
        item.problem(
            "the URL carries credentials",
            "Remove them; write username: NAME and password: { file: PATH } or { env: NAME } beside the url",
        );
        return None;
    }
    if text.contains(['?', '#']) {
        item.problem("the URL has a query or a fragment", "Remove it; options have fields of their own");
        return None;
    }
    let place = match text.split_once("://") {
        Some(("redis", rest)) => redis(rest, false),
        Some(("rediss", rest)) => redis(rest, true),
        Some(("memory", name)) => memory(name),
        _ => Err("the URL has none of the schemes redis, rediss and memory"),
    };
    place
        .map_err(|reason| {
            item.problem(
                reason,
                "Write redis://host:port/database, rediss://host:port/database or memory://name",
            );
        })
        .ok()
}

fn redis(rest: &str, tls: bool) -> Result<Place, &'static str> {
    let (authority, database) = match rest.split_once('/') {
        Some((authority, database)) => (authority, database),
        None => (rest, ""),
    };
    // The reasons of the parser are fixed texts: they quote nothing.
    let (host, port) = address::parse(authority, Some(REDIS_PORT))?;
    let database = match database {
        "" => None,
        digits if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            let number = digits.parse().ok().filter(|number| u64::from(*number) <= DATABASE.max);
            Some(number.ok_or("the database index is out of bounds")?)
        }
        _ => return Err("the path of the URL is not a database index"),
    };
    Ok(Place { address: RedisAddress::Tcp { host, port }, database, tls: Some(tls) })
}

fn memory(name: &str) -> Result<Place, &'static str> {
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(belongs) {
        return Err("memory:// needs a name of letters, digits, dots, dashes and underscores, 64 at most");
    }
    Ok(Place { address: RedisAddress::Memory { name: name.to_owned() }, database: None, tls: None })
}
