//! Requests of HTTP/2 that would be something else in HTTP/1.1 (PortSwigger's H2.CL, H2.TE and injections): whatever
//! comes in, the upstream gets one clean request or none.

use agw_tests::h2_client::{Frame, data, flag, headers, kind};
use agw_tests::hpack::{field, fields};
use agw_tests::{Gateway, H2Client, Recorder};
use anyhow::{Context, Result, bail};

const SMUGGLED: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// A request by its fields, and a body.
struct Attack {
    name: &'static str,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: &'static str,
    /// Whether it may go upstream: it then has just this body there.
    may_pass: bool,
}

/// What the client got.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Status(u16),
    Reset,
}

/// A POST to `/` of the usual four, but for the one that is given anew; others come after.
fn attack(name: &'static str, other: &[(&str, &str)], body: &'static str) -> Attack {
    let mut all = vec![(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    for (name, value) in other {
        match all.iter_mut().find(|(own, _)| own == name && name.starts_with(':')) {
            Some(own) => own.1 = value,
            None => all.push((name, value)),
        }
    }
    let fields = all.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    Attack { name, fields, body, may_pass: false }
}

/// The same, if it may pass.
fn harmless(name: &'static str, other: &[(&str, &str)], body: &'static str) -> Attack {
    Attack { may_pass: true, ..attack(name, other, body) }
}

fn lengths_and_codings() -> Vec<Attack> {
    vec![
        attack("H2.TE", &[("transfer-encoding", "chunked")], SMUGGLED),
        attack("H2.TE in capitals", &[("transfer-encoding", "CHUNKED")], SMUGGLED),
        attack("H2.TE identity", &[("transfer-encoding", "identity")], "x"),
        attack("H2.TE with tab", &[("transfer-encoding", "\tchunked")], SMUGGLED),
        attack("H2.TE in a capital name", &[("Transfer-Encoding", "chunked")], SMUGGLED),
        attack("H2.TE in a name with a capital", &[("transfer-Encoding", "chunked")], SMUGGLED),
        harmless("transfer_encoding", &[("transfer_encoding", "chunked")], "x"),
        attack("H2.CL too short", &[("content-length", "0")], SMUGGLED),
        attack("H2.CL shorter", &[("content-length", "5")], SMUGGLED),
        attack("H2.CL too long", &[("content-length", "100")], "x"),
        attack("H2.CL twice", &[("content-length", "1"), ("content-length", "39")], "x"),
        attack("H2.CL comma", &[("content-length", "1, 1")], "x"),
        attack("H2.CL plus", &[("content-length", "+1")], "x"),
        attack("H2.CL minus", &[("content-length", "-1")], "x"),
        attack("H2.CL empty", &[("content-length", "")], "x"),
        attack("H2.CL hex", &[("content-length", "0x1")], "x"),
        attack("H2.CL overflow", &[("content-length", "18446744073709551617")], "x"),
        harmless("H2.CL right", &[("content-length", "1")], "x"),
        harmless("body of a request", &[], SMUGGLED),
        harmless("GET with body", &[(":method", "GET")], SMUGGLED),
        harmless("HEAD with body", &[(":method", "HEAD")], SMUGGLED),
    ]
}

fn injections() -> Vec<Attack> {
    vec![
        attack("CRLF in a value", &[("x", "b\r\ntransfer-encoding: chunked")], SMUGGLED),
        attack("CRLFCRLF in a value", &[("x", "b\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")], ""),
        attack("LF in a value", &[("x", "b\ntransfer-encoding: chunked")], SMUGGLED),
        attack("CR in a value", &[("x", "b\rtransfer-encoding: chunked")], SMUGGLED),
        attack("NUL in a value", &[("x", "b\0c")], ""),
        attack("CRLF in a cookie", &[("cookie", "a=b\r\nx: y"), ("cookie", "c=d")], ""),
        attack("CRLF in a name", &[("x: y\r\ntransfer-encoding", "chunked")], SMUGGLED),
        attack("colon in a name", &[("transfer-encoding:chunked", "x")], SMUGGLED),
        attack("space in a name", &[("transfer-encoding ", "chunked")], SMUGGLED),
        attack("space before a name", &[(" transfer-encoding", "chunked")], SMUGGLED),
        attack("h2space", &[("transfer-encoding chunked ", "chunked")], SMUGGLED),
        attack("empty name", &[("", "x")], ""),
        attack("NUL in a name", &[("x\0", "y")], ""),
        attack("not ASCII in a name", &[("\u{e9}", "y")], ""),
        attack("control in a name", &[("x\u{1}", "y")], ""),
        harmless("spaces around a value", &[("x", " y ")], ""),
        harmless("not ASCII in a value", &[("x", "\u{e9}")], ""),
        attack("h2path", &[(":path", "/ HTTP/1.1\r\ntransfer-encoding: chunked\r\nx: x")], SMUGGLED),
        attack("path of two requests", &[(":path", "/ HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled")], ""),
        attack("path with version", &[(":path", "/ HTTP/1.1")], ""),
        attack("path with space", &[(":path", "/a b")], ""),
        attack("path with tab", &[(":path", "/a\tb")], ""),
        attack("path with NUL", &[(":path", "/a\0b")], ""),
        attack("path not ASCII", &[(":path", "/\u{e9}")], ""),
        attack("path without slash", &[(":path", "a")], ""),
        attack("path of another host", &[(":path", "@b/")], ""),
        attack("path with scheme", &[(":path", "http://b/")], ""),
        attack("path of *", &[(":path", "*")], ""),
        attack("h2method", &[(":method", "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\nx: x")], SMUGGLED),
        attack("method with space", &[(":method", "GET /smuggled")], ""),
        attack("method empty", &[(":method", "")], ""),
        attack("method with colon", &[(":method", "GET:")], ""),
        attack("CONNECT", &[(":method", "CONNECT")], ""),
        attack("h2auth", &[(":authority", "a\r\ntransfer-encoding: chunked\r\nx: x")], SMUGGLED),
        attack("authority with path", &[(":authority", "a/b")], ""),
        attack("authority with user", &[(":authority", "user@a")], ""),
        attack("authority with space", &[(":authority", "a b")], ""),
        attack("authority empty", &[(":authority", "")], ""),
        attack("authority not ASCII", &[(":authority", "\u{e9}")], ""),
        attack("host other than authority", &[("host", "b")], ""),
        attack("two hosts", &[("host", "a"), ("host", "b")], ""),
        attack("host with CRLF", &[("host", "a\r\nx: y")], ""),
        attack(
            "h2scheme",
            &[(":scheme", "http://b/ HTTP/1.1\r\ntransfer-encoding: chunked\r\nx: x")],
            SMUGGLED,
        ),
        attack("scheme of another host", &[(":scheme", "http://b/x?")], ""),
        attack("scheme file", &[(":scheme", "file")], ""),
        attack("scheme with space", &[(":scheme", "ht tp")], ""),
        harmless("scheme https", &[(":scheme", "https")], ""),
        attack("connection", &[("connection", "close")], ""),
        attack(
            "connection that names content-length",
            &[("connection", "content-length"), ("content-length", "1")],
            "x",
        ),
        attack("upgrade", &[("upgrade", "websocket")], ""),
        attack("upgrade to h2c", &[("upgrade", "h2c"), ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA")], ""),
        attack("keep-alive", &[("keep-alive", "timeout=5")], ""),
        attack("proxy-connection", &[("proxy-connection", "keep-alive")], ""),
        attack("te", &[("te", "gzip")], ""),
        attack("a second :method", &[("x", "y"), (":method ", "GET")], ""),
        attack("fake pseudo-header", &[(":x", "y")], ""),
        attack(":protocol", &[(":method", "CONNECT"), (":protocol", "websocket")], ""),
    ]
}

#[tokio::test]
async fn no_request_of_http2_becomes_two_of_http1() -> Result<()> {
    let recorder = Recorder::start()?;
    let gateway = crate::gateway(recorder.address(), "")?;
    let mut broken = Vec::new();
    for attack in lengths_and_codings().into_iter().chain(injections()) {
        let before = recorder.received().len();
        let got = send(&gateway, &attack).await.with_context(|| attack.name)?;
        broken.extend(
            judge(&recorder, before, &attack, &got).map(|what| format!("{} ({got:?}): {what}", attack.name)),
        );
    }
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
    assert!(!gateway.output().contains("panicked"), "{}", gateway.output());
    Ok(())
}

async fn send(gateway: &Gateway, attack: &Attack) -> Result<Got> {
    let mut client = H2Client::handshake(gateway.address()?, &[]).await?;
    let block: Vec<u8> = attack.fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    let request = if attack.body.is_empty() {
        headers(1, flag::WHOLE, &block)
    } else {
        [headers(1, flag::END_HEADERS, &block), data(1, flag::END_STREAM, attack.body.as_bytes())].concat()
    };
    // What follows would be read in the place of a smuggled request's answer.
    let next = fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/next"), (":authority", "a")]);
    client.try_send(&[request, headers(3, flag::WHOLE, &next)].concat()).await?;
    let (mut got, mut next) = (None, None);
    while got.is_none() || next.is_none() {
        let Some(frame) = client.frame().await? else { return Ok(got.unwrap_or(Got::Reset)) };
        match frame.stream {
            1 => got = got.or(outcome(&frame)),
            3 => next = next.or(outcome(&frame)),
            _ if frame.kind == kind::GOAWAY => return Ok(got.unwrap_or(Got::Reset)),
            _ => {}
        }
    }
    if next != Some(Got::Status(204)) {
        bail!("the next request got {next:?}");
    }
    got.context("nothing")
}

fn outcome(frame: &Frame) -> Option<Got> {
    match frame.kind {
        kind::RST_STREAM => Some(Got::Reset),
        _ => frame.status().map(Got::Status),
    }
}

/// Which rule is broken.
fn judge(recorder: &Recorder, before: usize, attack: &Attack, got: &Got) -> Option<String> {
    let all = recorder.received().split_off(before);
    let mut passed = 0;
    for verdict in all.iter().map(agw_tests::Received::verdict) {
        if let Some(defect) = verdict.defect {
            return Some(format!("upstream got what servers may read differently: {defect}"));
        }
        if verdict.requests.len() > 1 || (verdict.requests.len() == 1 && verdict.part > 0) {
            return Some(format!("two requests on one connection: {:?}", verdict.requests));
        }
        let request = verdict.requests.first().filter(|request| request.target != "/next");
        if let Some(request) = request {
            passed += 1;
            if request.target != "/"
                || request.body != attack.body.as_bytes()
                || request.header("host") != "a"
            {
                return Some(format!("upstream got another request: {request:?}"));
            }
        }
    }
    match (attack.may_pass, passed, got) {
        (true, 1, Got::Status(204)) => None,
        (false, 0, Got::Reset | Got::Status(400..=499 | 501)) => None,
        _ => Some(format!("{passed} upstream")),
    }
}
