use std::time::Duration;

use parking_lot::Mutex;

use super::*;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Span>>>);

impl SpanSink for Kept {
    fn take(&self, span: Span) {
        self.0.lock().push(span);
    }
}

fn tracer(per_million: u32, trusts_clients: bool) -> (Arc<Tracer>, Kept) {
    let kept = Kept::default();
    (Tracer::new(Sampling { per_million, trusts_clients }, kept.clone()), kept)
}

const SAMPLED: Parent = Parent { trace: 7, span: 8, sampled: true };

#[test]
fn a_client_that_is_not_trusted_decides_nothing() {
    let (none, _) = tracer(0, false);
    assert!(none.begin(Some(SAMPLED)).span.is_none());
    let (all, kept) = tracer(1_000_000, false);
    let begun = all.begin(Some(Parent { sampled: false, ..SAMPLED }));
    assert_ne!(begun.trace, SAMPLED.trace);
    begun.span.expect("a span").end(|_| {});
    assert_eq!(kept.0.lock()[0].parent, None);
}

#[test]
fn a_client_that_is_trusted_decides_whatever_the_share_is() {
    let (none, kept) = tracer(0, true);
    let begun = none.begin(Some(SAMPLED));
    assert_eq!(begun.trace, SAMPLED.trace);
    begun.span.expect("a span").end(|_| {});
    let span = kept.0.lock().pop().expect("a span");
    assert_eq!((span.trace, span.id, span.parent), (7, begun.id, Some(8)));
    let (all, _) = tracer(1_000_000, true);
    assert!(all.begin(Some(Parent { sampled: false, ..SAMPLED })).span.is_none());
    assert!(all.begin(None).span.is_some() && none.begin(None).span.is_none());
}

#[test]
fn the_share_holds_in_the_long_run() {
    let (tenth, _) = tracer(100_000, false);
    let sampled = (0..20_000).filter(|_| tenth.begin(None).span.is_some()).count();
    assert!((1700..2300).contains(&sampled), "{sampled}");
    let (all, _) = tracer(1_000_000, false);
    assert!(all.samples(u128::MAX) && all.samples(1) && !tenth.samples(u128::MAX));
}

#[test]
fn a_call_is_a_child_with_the_times_of_its_stages() {
    let (all, kept) = tracer(1_000_000, false);
    let request = all.begin(None).span.expect("a span");
    let call = CallTrace::begin(&request);
    call.add(Stage::Queue, Duration::from_millis(2));
    call.clone().add(Stage::Queue, Duration::from_millis(3));
    drop(call.time(Stage::Io));
    call.end(Duration::from_millis(9), |span| span.fail("timeout_io"));
    let span = kept.0.lock().pop().expect("a span");
    assert_eq!((span.trace, span.parent, span.kind), (request.trace(), Some(request.id()), SpanKind::Client));
    assert_eq!(span.attributes.get("agw.queue_seconds"), Some(&Value::Seconds(0.005)));
    assert_eq!(span.attributes.get("agw.connect_seconds"), Some(&Value::Seconds(0.0)));
    assert_eq!(span.attributes.get("error.type"), Some(&"timeout_io".into()));
    assert!(span.failed && span.duration == Duration::from_millis(9));
}

#[test]
fn a_long_text_is_cut_at_a_whole_character() {
    let Value::Text(text) = Value::from("é".repeat(TEXT_BYTES_MAX)) else { panic!("a text") };
    assert_eq!(text.len(), TEXT_BYTES_MAX);
    let Value::Text(text) = Value::from(format!("a{}", "é".repeat(TEXT_BYTES_MAX))) else {
        panic!("a text")
    };
    assert_eq!(text.len(), TEXT_BYTES_MAX - 1);
}
