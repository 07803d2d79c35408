//! The TLS handshake of MySQL's protocol by itself: the driver does not tell what the server showed.

use agw_config::{SqlHost, SqlServer};
use agw_foreign::PeerTls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::ConnectError;
use crate::tls::{TlsSetup, peer};

/// A greeting has a version, a few numbers and names.
const GREETING_BYTES_MAX: usize = 4096;

/// `CLIENT_PROTOCOL_41`, `CLIENT_SSL`, `CLIENT_SECURE_CONNECTION` and `CLIENT_PLUGIN_AUTH`.
const FLAGS: u32 = 0x0008_8a00;
const PACKET_BYTES_MAX: u32 = 1 << 24;
/// `utf8mb4_general_ci`
const CHARACTER_SET: u8 = 45;

/// Reads the server's greeting, asks for TLS and shakes hands; there is no login. `None` without TLS.
///
/// # Cancel safety
/// Dropped, it closes the socket.
pub(super) async fn peer_tls(server: &SqlServer, at: &SqlHost) -> Result<Option<PeerTls>, ConnectError> {
    let Some(tls) = &server.tls else { return Ok(None) };
    let tls = TlsSetup::new(tls, &at.host).map_err(|error| ConnectError::Open(Box::new(error)))?;
    let mut socket = TcpStream::connect((at.host.as_str(), at.port)).await.map_err(ConnectError::Reach)?;
    let mut header = [0; 4];
    socket.read_exact(&mut header).await.map_err(ConnectError::Reach)?;
    let [a, b, c, _] = header;
    let length = u32::from_le_bytes([a, b, c, 0]) as usize;
    if length > GREETING_BYTES_MAX {
        return Err(ConnectError::Login("this is no greeting of MySQL".into()));
    }
    let mut greeting = vec![0; length];
    socket.read_exact(&mut greeting).await.map_err(ConnectError::Reach)?;
    // 10 is the protocol's version; 255 an error, such as too many connections.
    if greeting.first() != Some(&10) {
        return Err(ConnectError::Refused("the server greets with an error".into()));
    }
    socket.write_all(&request()).await.map_err(ConnectError::Reach)?;
    let encrypted = tls.connector.connect(tls.server_name, socket).await.map_err(ConnectError::Tls)?;
    Ok(Some(peer(&encrypted)))
}

/// The packet that asks for TLS: the beginning of a login.
fn request() -> Vec<u8> {
    let mut packet = vec![32, 0, 0, 1];
    packet.extend(FLAGS.to_le_bytes());
    packet.extend(PACKET_BYTES_MAX.to_le_bytes());
    packet.push(CHARACTER_SET);
    packet.extend([0; 23]);
    packet
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_request_is_as_long_as_it_says() {
        let request = super::request();
        assert_eq!(request.len(), 4 + usize::from(request[0]));
    }
}
