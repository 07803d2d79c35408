//! What follows a request through every system: `x-request-id`, and `traceparent` with `tracestate` (W3C Trace Context).
//!
//! Usable ones are kept, whoever sent them: they identify nobody and decide nothing. Where the gateway makes no spans of its
//! own, a `traceparent` passes unchanged; where it does, its tracer decides ([`begin_trace`]). The trace id is in the access
//! log either way.

use std::fmt;
use std::sync::Arc;

use agw_telemetry::{Parent, RequestSpan, Tracer};
use http::HeaderMap;
use http::header::{Entry, HeaderName, HeaderValue};

use super::hop::Found;
use crate::limits::REQUEST_ID_BYTES_MAX;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Bytes of `00-TRACE_ID-PARENT_ID-FLAGS`.
const TRACEPARENT_BYTES: usize = 55;

/// The trace that a request belongs to, in lower-case hex; empty before that is known.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TraceId(Option<[u8; 32]>);

impl TraceId {
    fn of(trace: u128) -> Self {
        let mut id = [0; 32];
        write_hex(&mut id, trace);
        TraceId(Some(id))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_ref().and_then(|hex| std::str::from_utf8(hex).ok()).unwrap_or_default()
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The request's id: the client's if it is usable, a new one otherwise. Afterwards the headers hold it.
pub(crate) fn settle_request_id(headers: &mut HeaderMap) -> HeaderValue {
    match headers.entry(REQUEST_ID) {
        Entry::Occupied(mut slot) => {
            let kept = slot.get();
            if slot.iter().count() == 1 && is_request_id(kept.as_bytes()) {
                return kept.clone();
            }
            let made = new_request_id();
            slot.insert(made.clone());
            made
        }
        Entry::Vacant(slot) => slot.insert(new_request_id()).clone(),
    }
}

fn is_request_id(bytes: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// A random UUID, version 4.
fn new_request_id() -> HeaderValue {
    let random = fastrand::u128(..) & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
    let mut digits = [0; 32];
    write_hex(&mut digits, random);
    let mut digits = digits.into_iter();
    let mut text = [b'-'; 36];
    for (index, byte) in text.iter_mut().enumerate() {
        if !matches!(index, 8 | 13 | 18 | 23) {
            *byte = digits.next().unwrap_or(b'0');
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// The request's trace: the client's if its `traceparent` is valid, a new one otherwise. Afterwards the headers hold
/// it. A `tracestate` belongs to its `traceparent`, and goes where that goes.
pub(crate) fn settle_trace(headers: &mut HeaderMap, found: Found) -> TraceId {
    if found.has(Found::TRACEPARENT)
        && let Some(kept) = kept_trace(headers)
    {
        return kept;
    }
    if found.has(Found::TRACESTATE) {
        headers.remove(TRACESTATE);
    }
    // Zero is no id. Nobody here decides whether the trace is recorded. The trace counts as sampled: it is in the access log, and a 0 would make most tracing libraries
    // drop what happens behind the gateway.
    let trace = fastrand::u128(1..);
    let parent = fastrand::u64(1..);
    headers.insert(TRACEPARENT, traceparent(trace, parent, true));
    TraceId::of(trace)
}

/// The same where the gateway makes spans. Afterwards the headers name the request's own span, recorded or not; if the
/// client has decided that nothing is recorded, they stay as they were.
#[cold]
pub(crate) fn begin_trace(
    headers: &mut HeaderMap,
    found: Found,
    tracer: &Arc<Tracer>,
) -> (TraceId, Option<Arc<RequestSpan>>) {
    let trusted = found.has(Found::TRACEPARENT) && tracer.trusts_clients();
    let client = if trusted { client_trace(headers) } else { None };
    let begun = tracer.begin(client);
    if client.is_none_or(|client| client.sampled) {
        headers.insert(TRACEPARENT, traceparent(begun.trace, begun.id, begun.span.is_some()));
    }
    if client.is_none() && found.has(Found::TRACESTATE) {
        headers.remove(TRACESTATE);
    }
    (TraceId::of(begun.trace), begun.span)
}

/// Names another span of the same trace as where the request comes from, unless a filter has written a `traceparent` of
/// its own.
#[cold]
pub(crate) fn hand_on_trace(headers: &mut HeaderMap, request: &RequestSpan, span: u64) {
    let ours = traceparent(request.trace(), request.id(), true);
    if headers.get(TRACEPARENT) == Some(&ours) {
        headers.insert(TRACEPARENT, traceparent(request.trace(), span, true));
    }
}

/// What a valid `traceparent` says.
fn client_trace(headers: &HeaderMap) -> Option<Parent> {
    kept_trace(headers)?;
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let number = |from, to| u128::from_str_radix(text.get(from..to)?, 16).ok();
    let (trace, span) = (number(3, 35)?, u64::try_from(number(36, 52)?).ok()?);
    Some(Parent { trace, span, sampled: number(53, 55)? & 1 == 1 })
}

fn traceparent(trace: u128, span: u64, sampled: bool) -> HeaderValue {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(&mut text[3..35], trace);
    write_hex(&mut text[36..52], u128::from(span));
    text[54] += u8::from(sampled);
    // Digits and dashes are a valid value.
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cold]
fn kept_trace(headers: &HeaderMap) -> Option<TraceId> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    trace_id(value.as_bytes())
}

/// The trace id of a valid `traceparent`. Later versions may have more after another dash.
fn trace_id(text: &[u8]) -> Option<TraceId> {
    let (known, more) = text.split_at_checked(TRACEPARENT_BYTES)?;
    let [v0, v1, b'-', rest @ ..] = known else { return None };
    let (id, rest) = rest.split_first_chunk::<32>()?;
    let [b'-', rest @ ..] = rest else { return None };
    let (parent, rest) = rest.split_first_chunk::<16>()?;
    let [b'-', f0, f1] = rest else { return None };
    let hex = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let set = |bytes: &[u8]| bytes.iter().any(|byte| *byte != b'0');
    let version = [*v0, *v1];
    let ends = match version {
        [b'f', b'f'] => false,
        [b'0', b'0'] => more.is_empty(),
        _ => more.is_empty() || more.first() == Some(&b'-'),
    };
    let valid = ends && hex(&version) && hex(id) && hex(parent) && hex(&[*f0, *f1]) && set(id) && set(parent);
    valid.then_some(TraceId(Some(*id)))
}

/// The lowest digits of `number`, as many as there is room for.
fn write_hex(digits: &mut [u8], number: u128) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        *digit = HEX[(number >> (4 * place)) as usize & 0xf];
    }
}

#[cfg(test)]
mod tests {
    use agw_telemetry::{Sampling, Span, SpanSink};

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn settle(headers: &[(HeaderName, &'static str)]) -> (TraceId, HeaderMap) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        let found = Found::search(&map);
        (settle_trace(&mut map, found), map)
    }

    #[test]
    fn a_valid_trace_is_kept_with_its_state() {
        let (id, map) = settle(&[(TRACEPARENT, VALID), (TRACESTATE, "a=b"), (TRACESTATE, "c=d")]);
        assert_eq!(id.as_str(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(map[TRACEPARENT], VALID);
        assert_eq!(map.get_all(TRACESTATE).iter().count(), 2);
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what-comes";
        assert_eq!(settle(&[(TRACEPARENT, later)]).1[TRACEPARENT], later);
    }

    #[test]
    fn what_is_not_a_trace_is_replaced_and_its_state_dropped() {
        for broken in [
            "",
            "00",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
        ] {
            let (id, map) = settle(&[(TRACEPARENT, broken), (TRACESTATE, "a=b")]);
            let made = map[TRACEPARENT].as_bytes();
            assert_eq!(trace_id(made), Some(id), "{broken}");
            assert!(!id.as_str().starts_with("0af765") && !map.contains_key(TRACESTATE), "{broken}");
        }
        let twice = settle(&[(TRACEPARENT, VALID), (TRACEPARENT, VALID)]).1;
        assert_ne!(twice[TRACEPARENT], VALID);
        assert_eq!(twice.get_all(TRACEPARENT).iter().count(), 1);
    }

    #[test]
    fn a_made_trace_is_valid_and_new() {
        let (first, map) = settle(&[(TRACESTATE, "a=b")]);
        assert_eq!(trace_id(map[TRACEPARENT].as_bytes()), Some(first));
        assert!(map[TRACEPARENT].as_bytes().ends_with(b"-01") && !map.contains_key(TRACESTATE));
        assert_ne!(settle(&[]).0, first);
    }

    struct Nowhere;

    impl SpanSink for Nowhere {
        fn take(&self, _: Span) {}
    }

    fn begin(per_million: u32, trusts_clients: bool, sent: &'static str) -> (TraceId, bool, HeaderMap) {
        let tracer = Tracer::new(Sampling { per_million, trusts_clients }, Nowhere);
        let mut map = HeaderMap::new();
        map.insert(TRACEPARENT, HeaderValue::from_static(sent));
        map.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        let found = Found::search(&map);
        let (id, span) = begin_trace(&mut map, found, &tracer);
        if let Some(span) = &span {
            let own = format!("{:032x}-{:016x}", span.trace(), span.id());
            assert_eq!(map[TRACEPARENT], format!("00-{own}-01"));
            let mut upstream = map.clone();
            hand_on_trace(&mut upstream, span, 0xab);
            assert_eq!(upstream[TRACEPARENT], format!("00-{}-00000000000000ab-01", id.as_str()));
            upstream.insert(TRACEPARENT, HeaderValue::from_static(VALID));
            hand_on_trace(&mut upstream, span, 0xab);
            assert_eq!(upstream[TRACEPARENT], VALID, "a filter's own stays");
        }
        (id, span.is_some(), map)
    }

    #[test]
    fn a_client_that_is_not_trusted_gets_a_new_trace_that_says_whether_it_is_recorded() {
        for (share, flag) in [(0, "-00"), (1_000_000, "-01")] {
            let (id, recorded, map) = begin(share, false, SAMPLED);
            assert!(!SAMPLED.contains(id.as_str()) && recorded == (share > 0));
            assert!(map[TRACEPARENT].to_str().unwrap().ends_with(flag) && !map.contains_key(TRACESTATE));
        }
    }

    #[test]
    fn a_client_that_is_trusted_is_followed() {
        let (id, recorded, map) = begin(0, true, SAMPLED);
        assert!(SAMPLED.contains(id.as_str()) && recorded);
        assert!(map[TRACEPARENT] != SAMPLED && map.contains_key(TRACESTATE));
        // It is not recorded, so the gateway leaves no mark.
        let (id, recorded, map) = begin(1_000_000, true, VALID);
        assert!(VALID.contains(id.as_str()) && !recorded);
        assert!(map[TRACEPARENT] == VALID && map.contains_key(TRACESTATE));
        let (id, recorded, map) = begin(1_000_000, true, "nonsense");
        assert_eq!(trace_id(map[TRACEPARENT].as_bytes()), Some(id));
        assert!(recorded && !map.contains_key(TRACESTATE));
    }

    #[test]
    fn a_usable_request_id_is_kept_and_any_other_replaced() {
        let settle = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            }
            let id = settle_request_id(&mut headers);
            assert_eq!(headers.get_all(REQUEST_ID).iter().collect::<Vec<_>>(), [&id]);
            id
        };
        assert_eq!(settle(&[b"abc-1"]), "abc-1");
        for bad in [&b""[..], b"a b", b"\xff", &[b'a'; 129]] {
            assert_eq!(settle(&[bad]).len(), 36);
        }
        assert_eq!(settle(&[b"a", b"b"]).len(), 36);
    }

    #[test]
    fn a_made_request_id_is_a_random_uuid() {
        let made = new_request_id();
        let text = made.to_str().unwrap();
        let groups: Vec<_> = text.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert_eq!(&text[14..15], "4");
        assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"), "{text}");
        assert_ne!(made, new_request_id());
    }
}
