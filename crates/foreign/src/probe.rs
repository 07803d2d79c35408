//! What a backend finds out about one server, for an operator who asks. Plain data: whoever shows it decides how.
//!
//! Texts are for operators: they may name users, databases, tables and hosts, and repeat what a server says. They never
//! hold a credential.

use std::error::Error;
use std::time::Duration;

/// One server as the gateway meets it.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// What it is: `Redis 7.2.4`.
    pub server: String,
    /// `primary`, `replica`, or what else it says of itself.
    pub role: String,
    /// As whom the gateway is logged in.
    pub user: String,
    /// How long things took.
    pub latency: Latency,
    /// `None` without TLS.
    pub tls: Option<PeerTls>,
    /// Named statements that the server refuses, with its reason.
    pub refused: Vec<String>,
    /// What the user may do beyond what the grants need.
    pub excess: Vec<String>,
    /// What the grants need and the user may not do.
    pub missing: Vec<String>,
    /// Statements for the server that make a user with what the grants need and no more. `PASSWORD` stands for one.
    pub least: Vec<String>,
    /// What could not be found out, and what to know about the lines above.
    pub notes: Vec<String>,
}

/// How long a connection and calls took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The connection, TLS and login included.
    pub connect: Duration,
    /// The first call on it.
    pub first_call: Duration,
    /// The median of [`PROBE_CALLS`] more.
    pub median: Duration,
}

/// Calls whose median is reported.
pub const PROBE_CALLS: usize = 20;

/// What the server showed in its TLS handshake, after it was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTls {
    /// `TLSv1_3`
    pub version: String,
    /// Its certificates in DER, its own first.
    pub chain: Vec<Vec<u8>>,
}

/// Why a server could not be asked. The causes say more.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ProbeError {
    message: String,
    #[source]
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl ProbeError {
    /// With what was tried, and why it failed.
    pub fn new(message: impl Into<String>, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        ProbeError { message: message.into(), cause: Some(cause.into()) }
    }

    /// By itself.
    pub fn from_message(message: impl Into<String>) -> Self {
        ProbeError { message: message.into(), cause: None }
    }
}

impl Latency {
    /// `calls` are the first and all others, of which there is one at least.
    pub fn new(connect: Duration, mut calls: Vec<Duration>) -> Self {
        let first_call = if calls.is_empty() { Duration::ZERO } else { calls.remove(0) };
        calls.sort_unstable();
        let median = calls.get(calls.len() / 2).copied().unwrap_or(first_call);
        Latency { connect, first_call, median }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_call_is_not_among_those_of_the_median() {
        let ms = Duration::from_millis;
        let latency = Latency::new(ms(9), vec![ms(100), ms(3), ms(1), ms(2)]);
        assert_eq!((latency.first_call, latency.median), (ms(100), ms(2)));
        assert_eq!(Latency::new(ms(9), vec![ms(5)]).median, ms(5));
    }
}
