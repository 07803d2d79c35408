//! `listeners`: addresses that take connections.

pub(crate) mod forwarded;
mod tls;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::reader::{Fields, Item};
use crate::schema::name::Unique;
use crate::snapshot::{Http2Limits, Listener, Protocols};
use crate::units::{Bounds, GIB, HOUR, KIB, MIB, MINUTE, MS, SECOND};

const FIELDS: [&str; 7] = ["name", "address", "tls", "protocols", "forwarded", "limits", "http2"];
const LIMITS: [&str; 5] = ["header_bytes", "headers", "header_timeout", "idle_timeout", "connections"];
const HTTP2: [&str; 5] = ["streams", "resets", "stream_window", "connection_window", "keepalive"];

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
        let protocols = protocols(&fields);
        listeners.push(Arc::new(Listener {
            header_bytes_max: limits.usize("header_bytes", HEADER_BYTES),
            headers_max: limits.usize("headers", HEADERS),
            header_timeout: limits.duration("header_timeout", HEADER_TIMEOUT),
            idle_timeout: limits.duration("idle_timeout", IDLE_TIMEOUT),
            connections_max: limits.usize("connections", CONNECTIONS),
            tls: fields.optional("tls").and_then(|item| tls::lower(&item)),
            protocols,
            forwarded: forwarded::lower(&fields, address.ip().is_loopback()),
            http2: http2(&fields, protocols),
            ..Listener::new(&name, address)
        }));
    }
    listeners
}

fn protocols(fields: &Fields<'_>) -> Protocols {
    let Some(item) = fields.optional("protocols") else { return Protocols { http1: true, http2: true } };
    let mut protocols = Protocols { http1: false, http2: false };
    for item in item.list_of("protocols", 2, ": http1 and http2") {
        let Some(http2) = item.choice(&[("http1", false), ("http2", true)]) else { continue };
        let protocol = if http2 { &mut protocols.http2 } else { &mut protocols.http1 };
        if *protocol {
            item.problem("the protocol is listed twice", "Remove one of the two");
        }
        *protocol = true;
    }
    protocols
}

fn http2(fields: &Fields<'_>, protocols: Protocols) -> Http2Limits {
    if let Some(item) = fields.optional("http2").filter(|_| protocols.http1 && !protocols.http2) {
        item.warning("HTTP/2 is off, so this has no effect", "Add http2 to protocols, or remove the field");
    }
    let http2 = fields.group("http2", &HTTP2);
    Http2Limits {
        streams_max: http2.u32("streams", HTTP2_STREAMS),
        resets_max: http2.usize("resets", HTTP2_RESETS),
        stream_window: http2.u32("stream_window", HTTP2_STREAM_WINDOW),
        connection_window: http2.u32("connection_window", HTTP2_CONNECTION_WINDOW),
        keepalive: http2.duration("keepalive", HTTP2_KEEPALIVE),
    }
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
