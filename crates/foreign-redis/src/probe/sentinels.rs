//! Sentinels, the primary that they name, and its replicas.

use agw_config::{RedisHost, RedisSentinels, Resource};
use agw_foreign::{ProbeError, ProbeReport};
use agw_wire::resp::{self, Value};

use super::server::{self, Asker, Facts, text};
use super::{Looked, look_at_announced};
use crate::blueprint::Blueprint;
use crate::connect::{Connector, address_of};
use crate::error::{BuildError, ConnectError};
use crate::sentinel::{Sentinels, named};

/// Replicas that are looked at.
const REPLICAS_MAX: usize = 100;
const ASKS: &str = "sentinel|get-master-addr-by-name";

/// What the sentinels tell.
#[derive(Default)]
struct Told {
    replicas: Vec<RedisHost>,
}

/// The sentinels first, then whom they name, then all replicas that they know of.
pub(super) async fn look_at(
    resource: &Resource,
    blueprint: &Blueprint,
    config: &RedisSentinels,
) -> Vec<Looked> {
    let mut told = Told::default();
    let mut looked = Vec::new();
    for at in &config.endpoints {
        looked.push((at.to_string(), told.ask(blueprint, config, at).await));
    }
    let primary = primary(blueprint, config).await;
    match &primary {
        Ok(at) => looked.push(look_at_announced(resource, blueprint, at.clone(), true).await),
        Err(error) => {
            let error = ProbeError::new("no connection", error.to_string());
            looked.push((format!("the primary {:?} of sentinels", config.name), Err(error)));
        }
    }
    for at in told.replicas {
        if primary.as_ref().is_ok_and(|primary| *primary == at) {
            continue;
        }
        let allowed = config.topology.admits(&config.endpoints, &at.host);
        looked.push(look_at_announced(resource, blueprint, at, allowed).await);
    }
    looked
}

/// Where the gateway would find it.
async fn primary(blueprint: &Blueprint, config: &RedisSentinels) -> Result<RedisHost, Unfound> {
    let sentinels = Sentinels::new(config, blueprint)?;
    let found = sentinels.connect().await;
    // The task that would look for another one.
    blueprint.stop.cancel();
    found?;
    sentinels.primary().ok_or(Unfound::Nobody)
}

/// Why there is no primary.
#[derive(Debug, thiserror::Error)]
enum Unfound {
    #[error(transparent)]
    Setup(#[from] BuildError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no sentinel names a primary")]
    Nobody,
}

// === impl Told ===

impl Told {
    async fn ask(
        &mut self,
        blueprint: &Blueprint,
        config: &RedisSentinels,
        at: &RedisHost,
    ) -> Result<ProbeReport, ProbeError> {
        let refused = |error| ProbeError::new("no connection", error);
        let access = Sentinels::access(config, blueprint.access.timeout()).map_err(refused)?;
        let connector = Connector::new(&access, at.clone()).map_err(refused)?;
        let (mut asker, connect) = server::connected(&connector).await?;
        let tls = server::peer_tls(&connector).await?;
        server::in_time(async {
            let facts = server::facts(&mut asker, connect, config.username.as_deref()).await?;
            let report = self.hear(&mut asker, &config.name, facts).await?;
            Ok(ProbeReport { tls, ..report })
        })
        .await
    }

    async fn hear(&mut self, asker: &mut Asker, name: &str, facts: Facts) -> Result<ProbeReport, ProbeError> {
        let Facts { server, role, user, latency, mut notes } = facts;
        let mut missing = Vec::new();
        let address = asker.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]).await?;
        let more = asker.ask(&["SENTINEL", "MASTER", name]).await?;
        match named(&[address, more].concat()) {
            Ok(Some(named)) => notes.push(format!("the primary that it names: {}", named.at)),
            Ok(None) => {
                return Err(ProbeError::from_message(format!("the sentinel knows no primary {name:?}")));
            }
            Err(ConnectError::Auth(code)) if code == "NOPERM" => missing.push(format!("commands: {ASKS}")),
            Err(error) => return Err(ProbeError::new("no primary", error)),
        }
        let replicas = asker.ask(&["SENTINEL", "REPLICAS", name]).await?;
        match replicas_of(&replicas) {
            Some(replicas) => replicas.into_iter().for_each(|at| self.add(at)),
            None => notes.push(
                "the user may not run SENTINEL REPLICAS; replicas that no other sentinel tells of are not looked at"
                    .to_owned(),
            ),
        }
        Ok(ProbeReport {
            server,
            role,
            user,
            latency,
            tls: None,
            refused: Vec::new(),
            excess: Vec::new(),
            missing,
            least: Vec::new(),
            notes,
        })
    }

    fn add(&mut self, at: RedisHost) {
        if !self.replicas.contains(&at) && self.replicas.len() < REPLICAS_MAX {
            self.replicas.push(at);
        }
    }
}

/// A list of names and values for each. `None`: the sentinel does not tell.
fn replicas_of(reply: &[u8]) -> Option<Vec<RedisHost>> {
    let values = resp::parse_all(reply, 1).ok()?;
    let Some(Value::Array(replicas)) = values.first() else { return None };
    let place = |fields: &Value<'_>| {
        let Value::Array(fields) = fields else { return None };
        let field = |name: &str| {
            let pair =
                fields.chunks_exact(2).find(|pair| pair.first().and_then(text).as_deref() == Some(name));
            pair?.get(1).and_then(text)
        };
        address_of(field("ip")?.as_bytes(), field("port")?.as_bytes())
    };
    Some(replicas.iter().filter_map(place).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_where_their_fields_say_and_a_refusal_is_no_list() {
        let replica = |port: &str| {
            format!(
                "*6\r\n$4\r\nname\r\n$1\r\nx\r\n$2\r\nip\r\n$8\r\n10.0.0.1\r\n$4\r\nport\r\n${}\r\n{port}\r\n",
                port.len()
            )
        };
        let reply = format!("*3\r\n{}{}{}", replica("6379"), replica("0"), replica("6380"));
        let at = |port| RedisHost { host: "10.0.0.1".into(), port };
        assert_eq!(replicas_of(reply.as_bytes()), Some(vec![at(6379), at(6380)]));
        assert_eq!(replicas_of(b"*0\r\n"), Some(Vec::new()));
        assert_eq!(replicas_of(b"-NOPERM x\r\n"), None);
    }
}
