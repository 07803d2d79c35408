use std::fmt;
use std::time::Duration;

use super::{HostMatch, IpNetwork, Tls};
use crate::secret::Secret;

/// Redis or Valkey servers, or the embedded store.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisEndpoint {
    /// Where it is.
    pub address: RedisAddress,
    /// Database index; 0 in a cluster.
    pub database: u32,
    /// ACL user; `None` is the default user.
    pub username: Option<String>,
    /// Already resolved.
    pub password: Option<Secret>,
    /// `None` is plaintext.
    pub tls: Option<Tls>,
}

/// Where a Redis is.
#[derive(Clone, Debug, PartialEq)]
pub enum RedisAddress {
    /// Host (IP address or name, resolved at each connect) and port.
    Tcp {
        /// IP address or DNS name.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// The embedded store, shared by every resource that names it alike.
    Memory {
        /// What stands after `memory://`.
        name: String,
    },
    /// The primary that sentinels name.
    Sentinel(Box<RedisSentinels>),
    /// The nodes of a Redis Cluster.
    Cluster(RedisCluster),
}

/// Sentinels, and what to ask them for.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisSentinels {
    /// Where they are: one or more.
    pub endpoints: Vec<RedisHost>,
    /// What they call the primary.
    pub name: String,
    /// ACL user of the sentinels; `None` is their default user.
    pub username: Option<String>,
    /// Already resolved.
    pub password: Option<Secret>,
    /// How to verify the sentinels; `None` is plaintext.
    pub tls: Option<Tls>,
    /// What they name.
    pub topology: RedisTopology,
}

/// A Redis Cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisCluster {
    /// Nodes that are asked for the others: one or more.
    pub endpoints: Vec<RedisHost>,
    /// What they name.
    pub topology: RedisTopology,
}

/// How servers are found that the document does not name.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisTopology {
    /// Where they may be, beside the hosts of the endpoints. Nothing else is connected to, whatever a server announces.
    pub announced: Vec<AnnouncedHost>,
    /// It is asked for anew after this much time, if nothing gives reason to ask before.
    pub refresh: Duration,
    /// Who answers commands that only read.
    pub read_from: RedisReadFrom,
}

/// Who answers commands that only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisReadFrom {
    /// The primary, as everything else.
    Primary,
    /// A replica, and the primary if none will do.
    PreferReplica {
        /// Their data may be this old; without it, any age.
        lag_max: Option<Duration>,
    },
}

/// Where an announced server may be, at any port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnouncedHost {
    /// An IP address in this network.
    Network(IpNetwork),
    /// This name, or one that ends so.
    Name(HostMatch),
}

/// Where one server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RedisHost {
    /// IP address or DNS name, resolved at each connect.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for RedisHost {
    /// `host:port`, with an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RedisHost { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl RedisTopology {
    /// Whether a server at this host may be connected to, if one of `endpoints` announces it.
    pub fn admits(&self, endpoints: &[RedisHost], host: &str) -> bool {
        let name = host.to_ascii_lowercase();
        endpoints.iter().any(|endpoint| endpoint.host.eq_ignore_ascii_case(&name))
            || self.announced.iter().any(|announced| announced.covers(&name))
    }
}

impl AnnouncedHost {
    /// `host` in lower case.
    fn covers(&self, host: &str) -> bool {
        match (self, host.parse()) {
            (AnnouncedHost::Network(network), Ok(address)) => network.contains(address),
            (AnnouncedHost::Name(HostMatch::Exact(name)), Err(_)) => name == host,
            (AnnouncedHost::Name(HostMatch::Suffix(end)), Err(_)) => {
                host.len() > end.len() && host.ends_with(end.as_str())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(announced: Vec<AnnouncedHost>) -> RedisTopology {
        RedisTopology { announced, refresh: Duration::from_secs(1), read_from: RedisReadFrom::Primary }
    }

    #[test]
    fn nothing_is_admitted_but_the_hosts_of_endpoints_and_what_the_operator_allows() {
        let endpoints = [RedisHost { host: "Redis-0.internal".into(), port: 1 }];
        let strict = topology(Vec::new());
        assert!(strict.admits(&endpoints, "redis-0.INTERNAL"));
        for host in ["redis-1.internal", "127.0.0.1", "169.254.169.254", "", "localhost"] {
            assert!(!strict.admits(&endpoints, host), "{host}");
        }
        let network = IpNetwork { address: "10.0.0.0".parse().unwrap(), prefix: 8 };
        let suffix = AnnouncedHost::Name(HostMatch::Suffix(".cache.internal".into()));
        let exact = AnnouncedHost::Name(HostMatch::Exact("one.internal".into()));
        let wide = topology(vec![AnnouncedHost::Network(network), suffix, exact]);
        for host in ["10.1.2.3", "a.cache.internal", "A.B.Cache.Internal", "one.internal"] {
            assert!(wide.admits(&endpoints, host), "{host}");
        }
        for host in ["11.1.2.3", ".cache.internal", "cache.internal", "two.internal", "10.0.0.1.evil.org"] {
            assert!(!wide.admits(&endpoints, host), "{host}");
        }
    }
}
