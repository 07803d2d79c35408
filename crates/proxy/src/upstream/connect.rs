//! A connection to an endpoint: TCP, TLS if the cluster has it, and HTTP of one version or the other.

use std::io;
use std::rc::Rc;

use agw_config::UpstreamProtocol;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use super::circuit::OpenConnection;
use super::http2::Http2Connection;
use super::pool::{Http1, Link};
use super::state::{ClusterState, EndpointState};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the cluster has no endpoint: its names resolve to no address")]
    NoEndpoint,
    #[error("timed out")]
    Timeout,
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    #[error("the endpoint's host cannot be the name of a certificate; write tls.server_name")]
    ServerName,
    #[error("the connection cannot be used")]
    Handshake(#[source] hyper::Error),
    #[error("the connection that others were making failed")]
    Joined,
}

/// Connects. `open` stands for the connection until its socket is closed.
///
/// # Cancel safety
/// Dropping the future closes what was under way.
pub(super) async fn connect(
    cluster: &ClusterState,
    endpoint: &EndpointState,
    upgrade: bool,
    open: Option<OpenConnection>,
    tasks: &TaskTracker,
) -> Result<Link, ConnectError> {
    let stream = TcpStream::connect(endpoint.address).await?;
    stream.set_nodelay(true)?;
    let protocol = cluster.cluster.protocol;
    let open = Rc::new(open);
    let Some(tls) = &cluster.tls else {
        return match protocol {
            UpstreamProtocol::Http2 => Http2Connection::establish(stream, false, open, tasks).await,
            _ => Http1::establish(stream, upgrade, open, tasks).await,
        };
    };
    let stream = tls.connect(endpoint.server_name.as_ref(), stream, upgrade).await?;
    let http2 = match stream.get_ref().1.alpn_protocol() {
        Some(chosen) => chosen == b"h2",
        None => protocol == UpstreamProtocol::Http2,
    };
    if http2 {
        Http2Connection::establish(stream, true, open, tasks).await
    } else {
        Http1::establish(stream, upgrade, open, tasks).await
    }
}
