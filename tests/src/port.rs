//! Free ports on loopback.

use std::io;
use std::net::TcpListener;

/// A port that nobody held a moment ago. Another process may take it first, so a caller that starts a server on it
/// tries again with another one. Only for servers that cannot take port 0.
///
/// # Errors
/// When the system has no port left.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
