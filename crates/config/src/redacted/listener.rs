//! `listeners`, shown.

use serde_json::{Value, json};

use super::{HIDDEN, pem, size};
use crate::snapshot::{Http2Limits, IpNetwork, Listener, ListenerTls, Protocols, TlsVersion};
use crate::units::{Unit, show_duration};

pub(super) fn show(listener: &Listener) -> Value {
    let mut shown = json!({
        "name": listener.name,
        "address": listener.address.to_string(),
        "protocols": protocols(listener.protocols),
        "forwarded": {
            "trusted_hops": listener.forwarded.trusted_hops,
            "rfc7239": listener.forwarded.rfc7239,
        },
        "limits": {
            "header_bytes": size(listener.header_bytes_max),
            "headers": listener.headers_max,
            "header_timeout": show_duration(listener.header_timeout),
            "idle_timeout": show_duration(listener.idle_timeout),
            "connections": listener.connections_max,
        },
        "http2": http2(&listener.http2),
    });
    let network = |network: &IpNetwork| format!("{}/{}", network.address, network.prefix);
    if !listener.forwarded.trusted_networks.is_empty() {
        shown["forwarded"]["trusted_networks"] =
            listener.forwarded.trusted_networks.iter().map(network).collect();
    }
    if let Some(served) = &listener.tls {
        shown["tls"] = tls(served);
    }
    shown
}

fn protocols(protocols: Protocols) -> Value {
    let all = [("http1", protocols.http1), ("http2", protocols.http2)];
    all.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect()
}

fn http2(limits: &Http2Limits) -> Value {
    json!({
        "streams": limits.streams_max,
        "resets": limits.resets_max,
        "stream_window": Unit::Bytes.show(limits.stream_window.into()),
        "connection_window": Unit::Bytes.show(limits.connection_window.into()),
        "keepalive": show_duration(limits.keepalive),
    })
}

fn tls(tls: &ListenerTls) -> Value {
    let certificates = tls.certificates.iter();
    let certificates =
        certificates.map(|one| json!({ "certificate": pem(one.chain.text.expose()), "key": HIDDEN }));
    let min_version = match tls.min_version {
        TlsVersion::V1_2 => "1.2",
        TlsVersion::V1_3 => "1.3",
    };
    let mut shown = json!({ "certificates": certificates.collect::<Vec<_>>(), "min_version": min_version });
    if let Some(auth) = &tls.client_auth {
        shown["client_ca"] = json!(pem(auth.ca.text.expose()));
        shown["client_certificate"] = json!(if auth.required { "required" } else { "optional" });
    }
    shown
}
