//! Properties: what a filter can ask about its stream beyond the headers. Values are encoded as Envoy does:
//! strings as they are, numbers as 8 bytes and booleans as 1, little-endian; times in nanoseconds.

use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use http::Version;
use wasmtime::{Caller, Linker, Result};

use super::log::unix_nanoseconds;
use super::{ENV, Sized, keep, sized};
use crate::guest_memory::{Guest, slice};
use crate::limits::PROPERTIES_BYTES_MAX;
use crate::sent::Fields;
use crate::shim;
use crate::status::Status;
use crate::stream::{StreamInfo, StreamState};
use crate::vm_data::VmData;

pub(crate) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(shim::HOST, "proxy_get_property", get)?;
    linker.func_wrap(ENV, "proxy_set_property", set)?;
    Ok(())
}

fn get(
    mut caller: Caller<'_, VmData>,
    path: u32,
    path_len: u32,
    data_cell: u32,
    size_cell: u32,
) -> Result<Sized> {
    let mut guest = Guest::of(&mut caller)?;
    let path = slice(guest.memory, path, path_len, "proxy_get_property: path")?;
    match lookup(guest.data, path) {
        Some(value) => keep(&mut guest, value, data_cell, size_cell),
        None => sized(Status::NotFound),
    }
}

/// Stored for the later filters of the same stream and for the log, under the path as given.
fn set(mut caller: Caller<'_, VmData>, path: u32, path_len: u32, value: u32, value_len: u32) -> Result<u32> {
    let guest = Guest::of(&mut caller)?;
    let path = slice(guest.memory, path, path_len, "proxy_set_property: path")?;
    let value = slice(guest.memory, value, value_len, "proxy_set_property: value")?;
    let Some(context) = guest.data.stream() else { return Ok(Status::NotFound.into()) };
    let mut state = context.stream.state();
    let others = state.properties.iter().filter(|(k, _)| *k != path);
    let held: usize = others.map(|(k, v)| k.len() + v.len()).sum();
    if held + path.len() + value.len() > PROPERTIES_BYTES_MAX {
        tracing::error!(
            plugin.name = &*guest.data.plugin.name,
            "the stream's properties are full: {PROPERTIES_BYTES_MAX} bytes"
        );
        return Ok(Status::InternalFailure.into());
    }
    state.properties.insert(path.to_vec(), Bytes::copy_from_slice(value));
    Ok(Status::Ok.into())
}

/// C++ guests close the path with a NUL, others do not; both are meant alike.
fn segments(path: &[u8]) -> Vec<&str> {
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    path.split(|byte| *byte == 0).map(|segment| std::str::from_utf8(segment).unwrap_or_default()).collect()
}

fn lookup(data: &VmData, path: &[u8]) -> Option<Bytes> {
    let segments = segments(path);
    let plugin = &data.plugin;
    match segments[..] {
        ["plugin_name"] => return Some(text(&plugin.name)),
        ["plugin_root_id"] => return Some(text(&plugin.config.root_id)),
        ["plugin_vm_id"] => return Some(Bytes::new()),
        _ => {}
    }
    let context = data.stream()?;
    let state = context.stream.state();
    of_stream(&state, &segments).or_else(|| state.properties.get(path).cloned())
}

fn of_stream(state: &StreamState, segments: &[&str]) -> Option<Bytes> {
    let info = &state.info;
    match *segments {
        ["request", ref rest @ ..] => of_request(state, rest),
        ["response", ref rest @ ..] => of_response(state, rest),
        ["source", what] => of_address(info.source, what),
        ["destination", what] => of_address(info.destination, what),
        ["upstream", what] => of_address(info.upstream?, what),
        ["connection", "id"] | ["connection_id"] => Some(number(info.connection_id)),
        ["connection", what] => of_connection(info, what),
        // Bare names are those of Envoy before 1.33; filters still use them.
        ["xds", "cluster_name"] | ["cluster_name"] => Some(text(&info.cluster)),
        ["xds", "route_name"] | ["route_name"] => Some(text(&info.route)),
        ["xds", "listener_direction"] | ["listener_direction"] => Some(number(1)),
        ["listener_name"] => Some(text(&info.listener)),
        _ => None,
    }
}

/// TLS of the client's connection; without TLS only that there is no certificate.
fn of_connection(info: &StreamInfo, what: &str) -> Option<Bytes> {
    let tls = info.tls.as_deref();
    let peer = tls.and_then(|tls| tls.peer.as_ref());
    Some(match what {
        "mtls" => Bytes::copy_from_slice(&[u8::from(peer.is_some())]),
        "tls_version" => text(tls?.version),
        "requested_server_name" => text(tls?.server_name.as_ref()?),
        "subject_peer_certificate" => text(&peer?.subject),
        "dns_san_peer_certificate" => text(peer?.dns_name.as_ref()?),
        "uri_san_peer_certificate" => text(peer?.uri.as_ref()?),
        "sha256_peer_certificate_digest" => text(&peer?.sha256),
        _ => return None,
    })
}

fn of_request(state: &StreamState, segments: &[&str]) -> Option<Bytes> {
    let (head, fields, info) = (&state.request, state.request_fields(), &state.info);
    Some(match *segments {
        ["path"] => text(head.path.as_str()),
        ["url_path"] => text(head.path.path()),
        ["query"] => text(head.path.query().unwrap_or_default()),
        ["host"] => text(head.authority.as_ref()?.as_str()),
        ["scheme"] => text(head.scheme.as_str()),
        ["method"] => text(head.method.as_str()),
        ["protocol"] => text(protocol(info.version)),
        ["id"] => text(&info.request_id),
        ["referer"] => joined(fields, "referer")?,
        ["useragent"] => joined(fields, "user-agent")?,
        ["headers", "host" | ":authority"] => text(head.authority.as_ref()?.as_str()),
        ["headers", ":path"] => text(head.path.as_str()),
        ["headers", ":method"] => text(head.method.as_str()),
        ["headers", ":scheme"] => text(head.scheme.as_str()),
        ["headers", name] => joined(fields, name)?,
        ["time"] => number(unix_nanoseconds(info.started)),
        ["duration"] => nanoseconds_since(info.started),
        ["size"] => number(content_length(fields).unwrap_or(info.request_bytes)),
        ["total_size"] => number(info.request_bytes + headers_bytes(fields)),
        ["headers_bytes"] => number(headers_bytes(fields)),
        _ => return None,
    })
}

fn of_response(state: &StreamState, segments: &[&str]) -> Option<Bytes> {
    let (head, fields, info) = (state.response.as_ref()?, state.response_fields()?, &state.info);
    Some(match *segments {
        ["code"] => number(head.status.as_u16().into()),
        ["code_details"] => text(&info.code_details),
        ["flags"] => number(u64::from(!info.response_flags.is_empty())),
        ["headers", name] => joined(fields, name)?,
        ["trailers", name] => joined(Fields::Map(state.response_trailers.as_ref()?), name)?,
        ["size"] => number(info.response_bytes),
        ["total_size"] => number(info.response_bytes + headers_bytes(fields)),
        ["headers_bytes"] => number(headers_bytes(fields)),
        ["grpc_status"] => number(grpc_status(state)?),
        _ => return None,
    })
}

fn of_address(address: SocketAddr, what: &str) -> Option<Bytes> {
    match what {
        "address" => Some(text(&address.to_string())),
        "port" => Some(number(address.port().into())),
        _ => None,
    }
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

fn nanoseconds_since(start: SystemTime) -> Bytes {
    let elapsed = SystemTime::now().duration_since(start).unwrap_or_default();
    number(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

/// All values of a header, joined by commas.
fn joined(fields: Fields<'_>, name: &str) -> Option<Bytes> {
    let values = fields.all(name);
    (!values.is_empty()).then(|| values.join(&b","[..]).into())
}

fn headers_bytes(fields: Fields<'_>) -> u64 {
    let mut bytes = 0;
    fields.each(|name, value| bytes += (name.len() + value.len()) as u64);
    bytes
}

fn content_length(fields: Fields<'_>) -> Option<u64> {
    decimal(fields, "content-length")
}

fn grpc_status(state: &StreamState) -> Option<u64> {
    let trailers = state.response_trailers.as_ref().map(Fields::Map);
    let of = |fields| decimal(fields, "grpc-status");
    trailers.and_then(of).or_else(|| state.response_fields().and_then(of))
}

fn decimal(fields: Fields<'_>, name: &str) -> Option<u64> {
    std::str::from_utf8(fields.get(name)?).ok()?.parse().ok()
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::segments;

    #[test]
    fn a_path_with_and_without_its_final_nul_is_the_same() {
        assert_eq!(segments(b"request\0path"), ["request", "path"]);
        assert_eq!(segments(b"request\0path\0"), ["request", "path"]);
        assert_eq!(segments(b"plugin_root_id"), ["plugin_root_id"]);
        assert_eq!(segments(b""), [""]);
        assert_eq!(segments(b"\xff\0x"), ["", "x"]);
    }
}
