//! Free ports on loopback.

use std::io;
use std::net::TcpListener;

use anyhow::Result;

/// A port that nobody held a moment ago. Another process may take it first, so a caller that starts a server on it
/// tries again with another one. Only for servers that cannot take port 0.
///
/// # Errors
/// When the system has no port left.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Starts something on ports that it draws itself, and again with others if somebody took one in between.
///
/// # Errors
/// When it does not start for another reason, or not after a few attempts.
pub fn on_free_ports<T>(mut start: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..4 {
        match start() {
            Err(error) if format!("{error:#}").contains("Address already in use") => {}
            started => return started,
        }
    }
    start()
}
