//! What is measured. Each subject forwards to the same upstream; each pair differs in one thing.

mod agw;
mod envoy;
mod nginx;

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};

use crate::peers::Peer;
use crate::server::Server;

pub(crate) use agw::rate_limit_document;
pub(crate) use nginx::{BODY, upstream};

/// The header filter's configuration, the same in every host.
const HEADER_RULES: &str = "request-set x-team edge
request-remove x-debug
response-set x-served-by filter
response-remove server
";
/// How many filters the long chain has.
pub(crate) const CHAIN: usize = 16;
/// Far more than any run can send per key.
const LIMIT: u64 = 1_000_000_000;
const WINDOW_SECONDS: u32 = 3600;
const KEY_PREFIX: &str = "limits:";

/// What a subject needs around it.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) upstream: SocketAddr,
    /// `host:port`, for subjects that need one.
    pub(crate) redis: Option<String>,
}

/// One way to serve the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// The program it needs besides AGW.
    pub(crate) peer: Option<Peer>,
    pub(crate) redis: bool,
    /// Headers of every answer, which show that the work was done.
    shows: &'static [&'static str],
    start: fn(&Surroundings) -> Result<Server>,
}

const LIMIT_HEADERS: &[&str] = &["ratelimit-policy", "ratelimit"];
const FILTER_HEADERS: &[&str] = &["x-served-by"];

/// All of them, in the order of the table.
pub(crate) const SUBJECTS: &[Subject] = &[
    Subject {
        name: "nginx",
        about: "nginx, plain proxy",
        peer: Some(Peer::Nginx),
        redis: false,
        shows: &[],
        start: nginx::plain,
    },
    Subject {
        name: "agw",
        about: "AGW, plain proxy",
        peer: None,
        redis: false,
        shows: &[],
        start: agw::plain,
    },
    Subject {
        name: "envoy",
        about: "Envoy, no filter",
        peer: Some(Peer::Envoy),
        redis: false,
        shows: &[],
        start: envoy::plain,
    },
    Subject {
        name: "agw-filter",
        about: "AGW, the stock header filter once",
        peer: None,
        redis: false,
        shows: FILTER_HEADERS,
        start: |around| agw::filtered(around, 1),
    },
    Subject {
        name: "envoy-filter",
        about: "Envoy, the same module once",
        peer: Some(Peer::Envoy),
        redis: false,
        shows: FILTER_HEADERS,
        start: |around| envoy::filtered(around, 1),
    },
    Subject {
        name: "agw-filter-16",
        about: "AGW, the stock header filter sixteen times",
        peer: None,
        redis: false,
        shows: FILTER_HEADERS,
        start: |around| agw::filtered(around, CHAIN),
    },
    Subject {
        name: "envoy-filter-16",
        about: "Envoy, the same module sixteen times",
        peer: Some(Peer::Envoy),
        redis: false,
        shows: FILTER_HEADERS,
        start: |around| envoy::filtered(around, CHAIN),
    },
    Subject {
        name: "nginx-lua-redis",
        about: "nginx + Lua + lua-nginx-redis, rate limit",
        peer: Some(Peer::NginxLua),
        redis: true,
        shows: LIMIT_HEADERS,
        start: nginx::rate_limit,
    },
    Subject {
        name: "agw-rate-limit",
        about: "AGW, the rate-limit plugin on Redis",
        peer: None,
        redis: true,
        shows: LIMIT_HEADERS,
        start: agw::rate_limit,
    },
];

// === impl Subject ===

impl Subject {
    /// # Errors
    /// Names those there are.
    pub(crate) fn named(name: &str) -> Result<Subject> {
        let found = SUBJECTS.iter().find(|subject| subject.name == name).copied();
        let names: Vec<_> = SUBJECTS.iter().map(|subject| subject.name).collect();
        found.with_context(|| format!("there is no subject {name:?}; there are {}", names.join(", ")))
    }

    /// Starts it and asks once, to see that it does what it is measured for.
    ///
    /// # Errors
    /// When it does not start, or its answer is not the upstream's or lacks what its plugin adds.
    pub(crate) fn start(&self, around: &Surroundings) -> Result<Server> {
        let server = (self.start)(around).with_context(|| format!("start {}", self.name))?;
        self.probe(&server).with_context(|| format!("{} said:\n{}", self.name, server.output()))?;
        Ok(server)
    }

    fn probe(&self, server: &Server) -> Result<()> {
        let reply = server.ask("/")?;
        if reply.status != 200 || reply.text() != nginx::BODY {
            bail!("{}: a first request was answered {}: {:?}", self.name, reply.status, reply.text());
        }
        match self.shows.iter().find(|name| !reply.headers.contains_key(**name)) {
            Some(missing) => {
                bail!("{}: the answer lacks the header {missing}: {:?}", self.name, reply.headers)
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
