//! `listeners`: addresses that take connections.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::reader::{Fields, Item};
use crate::schema::name::Unique;
use crate::snapshot::Listener;
use crate::units::{Bounds, GIB, HOUR, KIB, MIB, MINUTE, MS, SECOND};

const FIELDS: [&str; 3] = ["name", "address", "limits"];
const LIMITS: [&str; 5] = ["header_bytes", "headers", "header_timeout", "idle_timeout", "connections"];

/// The HTTP library's own buffer is at least 8 KiB.
pub(crate) const HEADER_BYTES: Bounds = Bounds::bytes(8 * KIB, 64 * KIB, MIB);
pub(crate) const HEADERS: Bounds = Bounds::count(1, 100, 1000);
pub(crate) const HEADER_TIMEOUT: Bounds = Bounds::time(100 * MS, 10 * SECOND, 5 * MINUTE);
pub(crate) const IDLE_TIMEOUT: Bounds = Bounds::time(100 * MS, MINUTE, HOUR);
pub(crate) const CONNECTIONS: Bounds = Bounds::count(1, 10_000, 1_000_000);

/// Streams of one HTTP/2 connection.
pub(crate) const HTTP2_STREAMS: Bounds = Bounds::count(1, 100, 100_000);
pub(crate) const HTTP2_RESETS: Bounds = Bounds::count(1, 50, 100_000);
pub(crate) const HTTP2_STREAM_WINDOW: Bounds = Bounds::bytes(64 * KIB - 1, 256 * KIB, 2 * GIB - 1);
pub(crate) const HTTP2_CONNECTION_WINDOW: Bounds = Bounds::bytes(64 * KIB - 1, MIB, 2 * GIB - 1);
pub(crate) const HTTP2_KEEPALIVE: Bounds = Bounds::time(100 * MS, 20 * SECOND, HOUR);

pub(super) fn lower(items: &[Item<'_>]) -> Vec<Arc<Listener>> {
    let mut unique = Unique::default();
    let mut addresses = HashMap::new();
    let mut listeners = Vec::new();
    for item in items {
        let Some(fields) = item.fields(&FIELDS) else { continue };
        let name = unique.name(&fields);
        let address = address(&fields, &mut addresses);
        let limits = fields.group("limits", &LIMITS);
        listeners.push(Arc::new(Listener {
            header_bytes_max: limits.usize("header_bytes", HEADER_BYTES),
            headers_max: limits.usize("headers", HEADERS),
            header_timeout: limits.duration("header_timeout", HEADER_TIMEOUT),
            idle_timeout: limits.duration("idle_timeout", IDLE_TIMEOUT),
            connections_max: limits.usize("connections", CONNECTIONS),
            ..Listener::new(&name, address)
        }));
    }
    listeners
}

fn address(fields: &Fields<'_>, seen: &mut HashMap<SocketAddr, String>) -> SocketAddr {
    let stand_in = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let Some(item) = fields.required("address", "\"127.0.0.1:8080\"") else { return stand_in };
    let Some(text) = item.text() else { return stand_in };
    let Ok(address) = text.parse::<SocketAddr>() else {
        item.problem(
            format!("{} is not an IP address with a port", crate::problem::quoted(text)),
            "Write one such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080",
        );
        return stand_in;
    };
    if address.port() != 0 {
        if let Some(first) = seen.get(&address) {
            item.problem(format!("the address is used twice, first at {first}"), "Choose another port");
        } else {
            seen.insert(address, item.path.clone());
        }
    }
    address
}
