//! `listeners`: addresses that take connections.

pub(crate) mod forwarded;
mod tls;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::field::{Field, Kind};
use crate::reader::{Fields, Item};
use crate::schema::name::{NAME, Unique};
use crate::snapshot::{Http2Limits, Listener, Protocols};
use crate::units::{Bounds, GIB, HOUR, KIB, MIB, MINUTE, MS, SECOND};

pub(super) const FIELDS: &[Field] = &[
    NAME,
    Field::text("address", "IP address and port; port 0 lets the system choose").required(),
    Field::group(
        "tls",
        tls::FIELDS,
        "Its certificates, and whether clients show theirs. With it the listener serves TLS only",
    )
    .or("plaintext"),
    Field::new(
        "protocols",
        Kind::List(&Kind::Choice(&["http1", "http2"]), 1, 2),
        "Versions of HTTP: chosen by ALPN with TLS, by the client's first bytes without",
    )
    .or("`[http1, http2]`")
    .within("`http1`, `http2`"),
    Field::group("forwarded", forwarded::FIELDS, "Whose word about the client is believed"),
    Field::group("limits", LIMITS, "Bounds on one connection, and on their number"),
    Field::group("http2", HTTP2, "Bounds on one HTTP/2 connection"),
];
const LIMITS: &[Field] = &[
    Field::number(
        "header_bytes",
        HEADER_BYTES,
        "Size of a request's line and headers together; more is a 431",
    ),
    Field::number("headers", HEADERS, "Number of headers; more is a 431"),
    Field::number(
        "header_timeout",
        HEADER_TIMEOUT,
        "Time for a TLS handshake, and then for a whole head to arrive; later the connection is closed",
    ),
    Field::number("idle_timeout", IDLE_TIMEOUT, "A connection without a request is closed after this"),
    Field::number("connections", CONNECTIONS, "Open connections per worker; more wait in the kernel's queue"),
];
const HTTP2: &[Field] = &[
    Field::number(
        "streams",
        HTTP2_STREAMS,
        "Streams of one connection that are open at once; more are refused",
    ),
    Field::number(
        "resets",
        HTTP2_RESETS,
        "Streams that a client reset before their answer and whose work goes on; more close the connection \
         (rapid reset)",
    ),
    Field::number("stream_window", HTTP2_STREAM_WINDOW, "Bytes of a stream that may be under way unread"),
    Field::number("connection_window", HTTP2_CONNECTION_WINDOW, "The same for all streams of a connection"),
    Field::number(
        "keepalive",
        HTTP2_KEEPALIVE,
        "A PING goes out after this much silence; without an answer in as much time the connection is closed",
    ),
];

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
        let Some(fields) = item.fields(FIELDS) else { continue };
        let name = unique.name(&fields);
        let address = address(&fields, &mut addresses);
        let limits = fields.group("limits", LIMITS);
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
    let http2 = fields.group("http2", HTTP2);
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
