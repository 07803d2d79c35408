mod breaker;
mod faults;
mod sharing;
mod spans;

use std::sync::atomic::Ordering;
use std::time::Duration;

use agw_wire::{AGW_REDIS, Answer, RedisBatch, RedisCommand, Retry};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::breaker::BreakerState;
use crate::fake::{Fake, Shared, reply};
use crate::faults::{Fault, FaultPolicy};
use crate::rate::Rate;
use crate::resource::ResourcePolicy;

const MS: Duration = Duration::from_millis(1);

struct World {
    access: Arc<Access>,
    resource: Arc<Resource>,
    fake: Arc<Fake>,
    metrics: Arc<Metrics>,
    cancel: CancellationToken,
}

fn policy() -> ResourcePolicy {
    ResourcePolicy {
        in_flight_max: 1,
        waiters_max: 2,
        call_timeout: 50 * MS,
        call_timeout_max: 1000 * MS,
        request_bytes_max: 1000,
        breaker_failures: 3,
        breaker_probe_interval: 500 * MS,
        breaker_counts_timeout_io: true,
    }
}

fn world_of(policy: ResourcePolicy, foreign_calls_max: usize) -> World {
    let (metrics, fake) = (Arc::new(Metrics::new()), Arc::new(Fake::default()));
    let resource = Resource::new("limits", policy, &metrics);
    let access = Access::builder("limiter", foreign_calls_max, Arc::clone(&metrics))
        .grant(AGW_REDIS, Arc::clone(&resource), Arc::new(Shared(Arc::clone(&fake))))
        .build();
    World { access, resource, fake, metrics, cancel: CancellationToken::new() }
}

/// Its resource has these faults, and its backend answers at once.
fn faulty(fault: Fault, delay: Duration, share_percent: u32) -> World {
    let World { metrics, fake, cancel, .. } = world();
    *fake.at_once.lock() = Some(Ok(()));
    let faults = Some(FaultPolicy { share_percent, delay, fault });
    let resource =
        Resource::with_faults("limits", ResourcePolicy { in_flight_max: 9, ..policy() }, faults, &metrics);
    let access = Access::builder("limiter", 10, Arc::clone(&metrics))
        .grant(AGW_REDIS, Arc::clone(&resource), Arc::new(Shared(Arc::clone(&fake))))
        .build();
    World { access, resource, fake, metrics, cancel }
}

fn world() -> World {
    world_of(policy(), 10)
}

fn share(share_percent: u32) -> GrantBounds {
    GrantBounds { share_percent, rate: None }
}

fn payload(deadline_ms: u32) -> Vec<u8> {
    let commands = vec![RedisCommand::new(vec![b"INCR", b"k"])];
    let redis = Some(RedisBatch { commands, ..RedisBatch::default() });
    Request { resource: "limits", deadline_ms, redis, ..Request::default() }.encode()
}

impl World {
    fn site(&self) -> CallSite {
        CallSite {
            worker: 0,
            context: ContextKey(7),
            calls_before: 0,
            deadline: None,
            cancel: self.cancel.clone(),
            trace: None,
        }
    }

    fn dispatch(&self, payload: &[u8], site: CallSite) -> Dispatch {
        self.access.call(AGW_REDIS, payload, site)
    }

    fn future(&self) -> CallFuture {
        match self.dispatch(&payload(0), self.site()) {
            Dispatch::Call { future, .. } => future,
            other => panic!("{other:?}"),
        }
    }

    /// A call on a task of its own, polled once.
    async fn spawn(&self) -> JoinHandle<Vec<u8>> {
        let task = tokio::spawn(self.future());
        tokio::task::yield_now().await;
        task
    }

    /// Another plugin on the same resource.
    fn plugin(&self, name: &str, bounds: GrantBounds) -> Arc<Access> {
        let granted = Arc::new(Shared(Arc::clone(&self.fake)));
        Access::builder(name, 100, Arc::clone(&self.metrics))
            .grant_within(AGW_REDIS, Arc::clone(&self.resource), granted, bounds)
            .build()
    }

    async fn spawn_of(&self, access: &Access) -> JoinHandle<Vec<u8>> {
        let Dispatch::Call { future, .. } = access.call(AGW_REDIS, &payload(0), self.site()) else {
            panic!()
        };
        let task = tokio::spawn(future);
        tokio::task::yield_now().await;
        task
    }

    #[track_caller]
    fn assert_nothing_is_held(&self) {
        assert_eq!(self.resource.in_flight(), 0);
        assert_eq!(self.resource.waiting(), 0);
        assert_eq!(self.access.gate.calls.count(), 0);
        assert_eq!(self.fake.alive.load(Ordering::SeqCst), 0);
    }
}

fn outcome(bytes: &[u8]) -> Result<Vec<u8>, CallError> {
    match Response::decode(bytes).unwrap().answer {
        Answer::Resp(resp) => Ok(resp.to_vec()),
        Answer::Error(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn code(bytes: &[u8]) -> Code {
    outcome(bytes).unwrap_err().code
}

fn refusal(dispatch: Dispatch) -> Code {
    match dispatch {
        Dispatch::Answer { bytes, .. } => code(&bytes),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_function_is_not_found() {
    let world = world();
    assert!(matches!(world.access.call("agw_sql", &payload(0), world.site()), Dispatch::NotFound));
    let empty = Access::empty("limiter");
    assert!(matches!(empty.call(AGW_REDIS, &payload(0), world.site()), Dispatch::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_known_function_without_a_grant_knows_no_resource() {
    let world = world();
    let access = Access::builder("other", 1, Arc::clone(&world.metrics)).function(AGW_REDIS).build();
    assert!(!access.has_grants());
    assert_eq!(refusal(access.call(AGW_REDIS, &payload(0), world.site())), Code::UnknownResource);
}

#[tokio::test(start_paused = true)]
async fn a_payload_cut_at_any_byte_is_undecodable_or_refused_and_never_started() {
    let world = world();
    *world.fake.refuse.lock() = Some(CallError::new(Code::Invalid, ""));
    let whole = payload(0);
    for end in 0..whole.len() {
        match world.dispatch(&whole[..end], world.site()) {
            Dispatch::Undecodable(_) | Dispatch::Answer { .. } => {}
            other => panic!("cut at {end}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_is_handed_to_the_vm() {
    let world = world();
    assert!(matches!(world.dispatch(&Request::cancel(9).encode(), world.site()), Dispatch::Cancel(9)));
}

#[tokio::test(start_paused = true)]
async fn a_payload_over_the_limit_is_too_large_and_never_reaches_the_backend() {
    let world = world_of(ResourcePolicy { request_bytes_max: 10, ..policy() }, 10);
    assert_eq!(refusal(world.dispatch(&payload(0), world.site())), Code::TooLarge);
    assert_eq!(world.fake.started.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_grant_refuses_is_answered_at_once() {
    let world = world();
    *world.fake.refuse.lock() = Some(CallError::new(Code::Denied, "DEL is not granted"));
    assert_eq!(refusal(world.dispatch(&payload(0), world.site())), Code::Denied);
    world.assert_nothing_is_held();
    assert!(world.metrics.encode().unwrap().contains("outcome=\"denied\""));
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_back_and_everything_is_given_back() {
    let world = world();
    let task = world.spawn().await;
    assert_eq!(world.resource.in_flight(), 1);
    world.fake.answer(Ok(reply()));
    assert_eq!(outcome(&task.await.unwrap()).unwrap(), b":1\r\n");
    world.assert_nothing_is_held();
    assert!(world.metrics.encode().unwrap().contains(
        "agw_resource_operation_duration_seconds_count{resource=\"limits\",plugin=\"limiter\",outcome=\"ok\"} 1"
    ));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_future_is_polled() {
    let world = world();
    let future = world.future();
    assert_eq!(world.fake.polled.load(Ordering::SeqCst), 0);
    assert_eq!(world.resource.in_flight(), 0);
    drop(future);
    world.assert_nothing_is_held();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_past_its_deadline_times_out_in_the_queue() {
    let world = world();
    let _first = world.spawn().await;
    let begun = Instant::now();
    // The second call asks for less than the first, so that the first does not make room.
    let Dispatch::Call { future, .. } = world.dispatch(&payload(20), world.site()) else { panic!() };
    let error = outcome(&future.await).unwrap_err();
    assert_eq!((error.code, error.retry), (Code::TimeoutQueue, Retry::Safe));
    assert_eq!(begun.elapsed(), 20 * MS);
    assert_eq!(world.resource.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_the_smallest_of_the_calls_the_resources_and_the_requests() {
    let world = world_of(ResourcePolicy { in_flight_max: 10, ..policy() }, 10);
    let seen = |deadline_ms, request: Option<Duration>| {
        let deadline = request.map(|span| Instant::now() + span);
        let site = CallSite { deadline, ..world.site() };
        let fake = Arc::clone(&world.fake);
        let Dispatch::Call { future, .. } = world.dispatch(&payload(deadline_ms), site) else { panic!() };
        async move {
            let task = tokio::spawn(future);
            tokio::task::yield_now().await;
            let (span, answer) = fake.waiting.lock().pop().unwrap();
            answer.send(Ok(reply())).unwrap();
            task.await.unwrap();
            span
        }
    };
    assert_eq!(seen(0, None).await, 50 * MS);
    assert_eq!(seen(200, None).await, 200 * MS);
    assert_eq!(seen(5000, None).await, 1000 * MS, "capped by call_timeout_max");
    assert_eq!(seen(u32::MAX, None).await, 1000 * MS);
    assert_eq!(seen(0, Some(7 * MS)).await, 7 * MS);
    assert_eq!(seen(3, Some(7 * MS)).await, 3 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_call_after_its_requests_deadline_is_refused_at_once() {
    let world = world();
    let site = CallSite { deadline: Some(Instant::now()), ..world.site() };
    assert_eq!(refusal(world.dispatch(&payload(0), site)), Code::TimeoutQueue);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_backend_times_out_and_frees_its_place() {
    let world = world();
    let begun = Instant::now();
    assert_eq!(code(&world.future().await), Code::TimeoutIo);
    assert_eq!(begun.elapsed(), 50 * MS);
    world.assert_nothing_is_held();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_leaves_the_queue_and_a_dropped_call_makes_room() {
    let world = world();
    let first = world.spawn().await;
    let second = world.spawn().await;
    let third = world.spawn().await;
    second.abort();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled() && second.await.unwrap_err().is_cancelled());
    tokio::task::yield_now().await;
    // The first call's answer channel is dead; the third's is the last.
    world.fake.waiting.lock().remove(0);
    world.fake.answer(Ok(reply()));
    assert!(outcome(&third.await.unwrap()).is_ok());
    world.assert_nothing_is_held();
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_token_ends_the_call_at_every_stage() {
    let world = world();
    let running = world.spawn().await;
    let queued = world.spawn().await;
    let unpolled = world.future();
    world.cancel.cancel();
    for bytes in [running.await.unwrap(), queued.await.unwrap(), unpolled.await] {
        assert_eq!(code(&bytes), Code::Cancelled);
    }
    world.assert_nothing_is_held();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_context_reaches_every_grant() {
    let world = world();
    world.access.context_ended(ContextKey(7));
    assert_eq!(*world.fake.ended.lock(), [ContextKey(7)]);
}
