//! A TCP connection to an endpoint.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};

/// Where an endpoint is.
#[derive(Debug)]
pub(crate) enum Address {
    /// Known from the configuration.
    Ip(SocketAddr),
    /// Resolved at each connect, so that a change in DNS needs no reload.
    Name(String),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the cluster has no endpoint")]
    NoEndpoint,
    #[error("the name resolves to no address")]
    NoAddress,
    #[error("timed out")]
    Timeout,
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the connection cannot be used")]
    Handshake(#[source] hyper::Error),
}

impl Address {
    /// `host:port`.
    pub(crate) fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Address::Name(text.to_owned()), Address::Ip)
    }
}

/// Connects to the first of the name's addresses that answers. Each gets an equal share of `timeout`, so that one
/// that swallows packets does not hide the next.
///
/// # Cancel safety
/// Safe: what was under way is closed.
pub(crate) async fn connect(
    address: &Address,
    timeout: Duration,
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let addresses = match address {
        Address::Ip(ip) => return connect_to(*ip).await,
        Address::Name(name) => lookup_host(name.as_str()).await?.collect::<Vec<_>>(),
    };
    let share = timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = ConnectError::NoAddress;
    for address in addresses {
        match tokio::time::timeout(share, connect_to(address)).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => last = error,
            Err(_) => last = ConnectError::Timeout,
        }
    }
    Err(last)
}

async fn connect_to(address: SocketAddr) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok((stream, address))
}
