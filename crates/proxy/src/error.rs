//! What can go wrong before the first request.

use std::io;
use std::net::SocketAddr;

use agw_config::Route;

use crate::tls::ServerTlsError;

/// A listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket has the port, of this gateway or of another process.
    #[error("listener `{listener}`: {address} is taken by another process; stop it or choose another port")]
    InUse {
        /// Name of the listener.
        listener: String,
        /// What it wanted.
        address: SocketAddr,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be served with what the listener was given.
    #[error("listener `{listener}`: cannot serve TLS")]
    Tls {
        /// Name of the listener.
        listener: String,
        /// Which file, and what is wrong with it.
        #[source]
        source: Box<ServerTlsError>,
    },
    /// The system refused for another reason.
    #[error("listener `{listener}`: cannot listen on {address}")]
    Refused {
        /// Name of the listener.
        listener: String,
        /// What it wanted.
        address: SocketAddr,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

/// A worker could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start worker {worker}")]
pub struct SpawnError {
    /// Its index.
    pub worker: usize,
    /// The system's word.
    #[source]
    pub source: io::Error,
}

/// A snapshot and the plugins that came with it do not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The certificates or keys of a cluster cannot be used.
    #[error("cluster `{cluster}`: its TLS cannot be set up")]
    Tls {
        /// Name of the cluster.
        cluster: String,
        /// What is wrong.
        #[source]
        source: crate::upstream::TlsError,
    },
    /// No such plugin was loaded.
    #[error("route `{route}` names the plugin `{plugin}`, which is not loaded")]
    PluginNotLoaded {
        /// Name of the route.
        route: String,
        /// Name of the plugin.
        plugin: String,
    },
    /// No such cluster is in the snapshot.
    #[error("route `{route}` names the cluster `{cluster}`, which does not exist")]
    NoSuchCluster {
        /// Name of the route.
        route: String,
        /// Name of the cluster.
        cluster: String,
    },
    /// A pattern of the route is no regular expression, or too large.
    #[error("route `{route}` has a pattern that does not compile")]
    Pattern {
        /// Name of the route.
        route: String,
        /// What is wrong with it.
        #[source]
        source: regex::Error,
    },
    /// The route names a method, header or host that none can have.
    #[error("route `{route}` names `{name}`, which is not valid there")]
    NameNotValid {
        /// Name of the route.
        route: String,
        /// What it says.
        name: String,
    },
}

impl RuntimeError {
    pub(crate) fn pattern(route: &Route, source: regex::Error) -> Self {
        RuntimeError::Pattern { route: route.name.clone(), source }
    }

    pub(crate) fn name_not_valid(route: &Route, name: &str) -> Self {
        RuntimeError::NameNotValid { route: route.name.clone(), name: name.to_owned() }
    }
}
