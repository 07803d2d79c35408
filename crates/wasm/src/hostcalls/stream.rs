//! What a guest does to its stream as a whole: answer it, resume it, close it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use wasmtime::{Caller, Error, Linker, Result};

use super::ENV;
use crate::context::Direction;
use crate::guest_memory::Guest;
use crate::pairs;
use crate::sent::Fields;
use crate::status::Status;
use crate::stream::LocalReply;
use crate::vm_data::VmData;

pub(crate) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(ENV, "proxy_send_local_response", proxy_send_local_response)?;
    linker.func_wrap(ENV, "proxy_continue_stream", proxy_continue_stream)?;
    linker.func_wrap(ENV, "proxy_close_stream", proxy_close_stream)?;
    Ok(())
}

/// The answer is sent after the callback; the first one wins.
#[expect(clippy::too_many_arguments, reason = "the ABI's own signature")]
fn proxy_send_local_response(
    mut caller: Caller<'_, VmData>,
    code: u32,
    details: u32,
    details_len: u32,
    body: u32,
    body_len: u32,
    headers: u32,
    headers_len: u32,
    grpc_status: u32,
) -> Result<u32> {
    let guest = Guest::of(&mut caller)?;
    let details = guest.bytes(details, details_len, "proxy_send_local_response: details")?;
    let body = guest.bytes(body, body_len, "proxy_send_local_response: body")?;
    let headers = guest.bytes(headers, headers_len, "proxy_send_local_response: headers")?;
    let mut reply = LocalReply {
        status: status(code)?,
        details: reply_details(details),
        headers: header_map(headers)?,
        body: Bytes::copy_from_slice(body),
    };
    let Some(context) = guest.data.stream() else {
        tracing::warn!(plugin.name = &*guest.data.plugin.name, "local response without a stream in effect");
        return Ok(Status::Ok.into());
    };
    if let Ok(grpc_status) = i32::try_from(grpc_status)
        && is_grpc(context.stream.state().request_fields())
    {
        reply = grpc_reply(reply, grpc_status);
    }
    if !context.stream.reply_locally(reply) {
        tracing::warn!(
            plugin.name = &*guest.data.plugin.name,
            "local response ignored: the stream is answered already"
        );
    }
    Ok(Status::Ok.into())
}

/// One word for the access log.
fn reply_details(details: &[u8]) -> String {
    let details = String::from_utf8_lossy(details);
    let words: Vec<&str> = details.split_whitespace().collect();
    if words.is_empty() { "wasm_local_reply".to_owned() } else { words.join("_") }
}

fn status(code: u32) -> Result<StatusCode> {
    let status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
    status
        .filter(|status| (200..600).contains(&status.as_u16()))
        .ok_or_else(|| Error::msg(format!("proxy_send_local_response: {code} is no status from 200 to 599")))
}

fn header_map(bytes: &[u8]) -> Result<HeaderMap> {
    let bad = |what| Error::msg(format!("proxy_send_local_response: {what}"));
    let pairs = pairs::decode(bytes).ok_or_else(|| bad("the headers are not serialized pairs"))?;
    let mut headers = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name).map_err(|_| bad("a header's name is not a token"))?;
        let value =
            HeaderValue::from_bytes(value).map_err(|_| bad("a header's value has a control character"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn is_grpc(headers: Fields<'_>) -> bool {
    headers.get("content-type").is_some_and(|value| {
        value.starts_with(b"application/grpc") && matches!(value.get(16), None | Some(b'+' | b';'))
    })
}

/// A gRPC answer without a message: status and text stand in the head.
fn grpc_reply(reply: LocalReply, grpc_status: i32) -> LocalReply {
    let mut headers = reply.headers;
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(grpc_status));
    let message: String = reply.body.iter().map(|byte| percent(*byte)).collect();
    if let Ok(message) = HeaderValue::from_str(&message) {
        headers.insert("grpc-message", message);
    }
    LocalReply { status: StatusCode::OK, details: reply.details, headers, body: Bytes::new() }
}

/// gRPC's percent encoding of a status message.
fn percent(byte: u8) -> String {
    match byte {
        b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

fn proxy_continue_stream(caller: Caller<'_, VmData>, stream_type: u32) -> Result<u32> {
    let direction = match stream_type {
        0 => Direction::Request,
        1 => Direction::Response,
        // TCP streams come with a later ABI step; the SDK traps on any status but OK.
        2 | 3 => return Ok(Status::Ok.into()),
        _ => return Ok(Status::BadArgument.into()),
    };
    if let Some(context) = caller.data().stream() {
        context.resume(direction);
    }
    Ok(Status::Ok.into())
}

fn proxy_close_stream(caller: Caller<'_, VmData>, stream_type: u32) -> Result<u32> {
    if stream_type > 3 {
        return Ok(Status::BadArgument.into());
    }
    if let Some(context) = caller.data().stream() {
        context.stream.reset();
    }
    Ok(Status::Ok.into())
}
