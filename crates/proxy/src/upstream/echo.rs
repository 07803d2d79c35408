//! The built-in upstream: it answers with what it received.

use std::collections::BTreeMap;

use agw_wasm::ResponseHead;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde::Serialize;

use crate::body::{BodyError, RequestBody};

#[derive(Serialize)]
struct Echo<'a> {
    method: &'a str,
    path: &'a str,
    headers: BTreeMap<&'a str, String>,
    body_bytes: u64,
}

/// Reads the request's body to its end and answers with JSON: method, path, headers, and how long the body was.
/// A header with several values has them joined by `, `.
///
/// # Errors
/// If the body broke off, was too large, or a filter ended the exchange.
pub(crate) async fn echo(request: Box<Request<RequestBody>>) -> Result<(ResponseHead, Bytes), BodyError> {
    let (parts, mut body) = request.into_parts();
    let mut body_bytes = 0;
    while let Some(frame) = body.frame().await {
        body_bytes += frame?.data_ref().map_or(0, Bytes::len) as u64;
    }
    let mut headers = BTreeMap::<&str, String>::new();
    for (name, value) in &parts.headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str())
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(&text);
            })
            .or_insert_with(|| text.to_string());
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let echo = Echo { method: parts.method.as_str(), path, headers, body_bytes };
    // Strings and numbers always become JSON.
    let mut json = serde_json::to_vec(&echo).unwrap_or_default();
    json.push(b'\n');
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(json.len()));
    Ok((ResponseHead { status: StatusCode::OK, headers }, json.into()))
}
