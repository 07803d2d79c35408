//! The span of a call whose request is recorded.

use agw_telemetry::{CallTrace, RequestSpan, Sampling, Span, SpanSink, Tracer, Value};
use parking_lot::Mutex;

use super::*;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Span>>>);

impl SpanSink for Kept {
    fn take(&self, span: Span) {
        self.0.lock().push(span);
    }
}

fn recorded() -> (Arc<RequestSpan>, Kept) {
    let kept = Kept::default();
    let tracer = Tracer::new(Sampling { per_million: 1_000_000, trusts_clients: false }, kept.clone());
    (tracer.begin(None).span.expect("recorded"), kept)
}

/// Makes a call to its end, and gives its one span.
async fn span_of(world: &World, payload: &[u8]) -> Span {
    let (request, kept) = recorded();
    let site = CallSite { trace: Some(CallTrace::begin(&request)), ..world.site() };
    if let Dispatch::Call { future, .. } = world.dispatch(payload, site) {
        future.await;
    }
    let mut spans = std::mem::take(&mut *kept.0.lock());
    assert_eq!(spans.len(), 1, "{spans:?}");
    let span = spans.remove(0);
    assert_eq!((span.trace, span.parent), (request.trace(), Some(request.id())));
    span
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_refused_or_failed_says_by_its_code_why() {
    let world = world();
    *world.fake.refuse.lock() = Some(CallError::new(Code::Denied, "the secret key"));
    let span = span_of(&world, &payload(0)).await;
    assert_eq!(span.attributes.get("error.type"), Some(&"denied".into()));
    assert!(span.failed && !format!("{span:?}").contains("secret"), "{span:?}");
    *world.fake.refuse.lock() = None;
    let small = world_of(ResourcePolicy { request_bytes_max: 10, ..policy() }, 10);
    let span = span_of(&small, &payload(0)).await;
    assert_eq!(span.attributes.get("error.type"), Some(&"too_large".into()));
    let span = span_of(&world, &payload(0)).await;
    assert_eq!(span.attributes.get("error.type"), Some(&"timeout_io".into()), "nobody answers");
    assert!(span.duration >= 50 * MS || span.failed);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_went_well_has_names_and_times() {
    let world = world();
    *world.fake.at_once.lock() = Some(Ok(()));
    let span = span_of(&world, &payload(0)).await;
    assert_eq!(span.attributes.get("agw.resource"), Some(&"limits".to_owned().into()));
    assert_eq!(span.attributes.get("agw.plugin"), Some(&"limiter".to_owned().into()));
    assert_eq!(span.attributes.get("agw.queue_seconds"), Some(&Value::Seconds(0.0)));
    assert!(span.attributes.get("error.type").is_none() && !span.failed);
    *world.fake.known.lock() = Some(Ok(reply()));
    assert!(!span_of(&world, &payload(0)).await.failed, "what is known has a span, too");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_place_is_time_in_the_queue() {
    let world = world();
    let holder = world.spawn().await;
    let (request, kept) = recorded();
    let site = CallSite { trace: Some(CallTrace::begin(&request)), ..world.site() };
    let Dispatch::Call { future, .. } = world.dispatch(&payload(0), site) else { panic!("a call") };
    let waiter = tokio::spawn(future);
    tokio::time::sleep(20 * MS).await;
    world.fake.answer(Ok(reply()));
    tokio::time::sleep(MS).await;
    world.fake.answer(Ok(reply()));
    holder.await.expect("it ends");
    waiter.await.expect("it ends");
    let span = kept.0.lock().pop().expect("a span");
    let Some(Value::Seconds(waited)) = span.attributes.get("agw.queue_seconds") else { panic!("{span:?}") };
    assert!(*waited >= 0.02, "{span:?}");
}
