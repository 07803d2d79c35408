//! Calls while the breaker is open, and answers that are known already.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_open_breaker_costs_no_backend_call_and_a_probe_closes_it() {
    let world = world();
    *world.fake.at_once.lock() = Some(Err(Code::Unavailable));
    for _ in 0..3 {
        assert_eq!(code(&world.future().await), Code::Unavailable);
    }
    assert_eq!(world.resource.breaker_state(), BreakerState::Open);
    for _ in 0..100 {
        assert_eq!(code(&world.future().await), Code::CircuitOpen);
    }
    assert_eq!(world.fake.polled.load(Ordering::SeqCst), 3);
    tokio::time::advance(500 * MS).await;
    *world.fake.at_once.lock() = Some(Ok(()));
    assert!(outcome(&world.future().await).is_ok());
    assert!(outcome(&world.future().await).is_ok());
    assert_eq!(world.resource.breaker_state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn whoever_waited_while_the_breaker_opened_is_refused_without_a_backend_call() {
    let world = world_of(ResourcePolicy { breaker_failures: 1, ..policy() }, 10);
    let first = world.spawn().await;
    let second = world.spawn().await;
    world.fake.answer(Err(CallError::new(Code::Unavailable, "").retry(Retry::Safe)));
    assert_eq!(code(&first.await.unwrap()), Code::Unavailable);
    assert_eq!(code(&second.await.unwrap()), Code::CircuitOpen);
    assert_eq!(world.fake.polled.load(Ordering::SeqCst), 1);
    world.assert_nothing_is_held();
}

#[tokio::test(start_paused = true)]
async fn what_is_known_already_passes_an_open_breaker_and_takes_no_place() {
    let world = world_of(ResourcePolicy { breaker_failures: 2, ..policy() }, 1);
    let _all_places = world.spawn().await;
    *world.fake.known.lock() = Some(Ok(reply()));
    let Dispatch::Answer { bytes, .. } = world.dispatch(&payload(0), world.site()) else { panic!() };
    assert_eq!(outcome(&bytes).unwrap(), b":1\r\n");
    *world.fake.known.lock() = None;
    world.fake.answer(Err(CallError::new(Code::Unavailable, "").retry(Retry::Safe)));
    tokio::task::yield_now().await;
    *world.fake.at_once.lock() = Some(Err(Code::Unavailable));
    world.future().await;
    assert_eq!(code(&world.future().await), Code::CircuitOpen);
    let started = world.fake.started.load(Ordering::SeqCst);
    for (known, seen) in [(Ok(reply()), None), (Err(Code::Server), Some(Code::Server))] {
        *world.fake.known.lock() = Some(known.map_err(|code| CallError::new(code, "")));
        let Dispatch::Answer { bytes, .. } = world.dispatch(&payload(0), world.site()) else { panic!() };
        assert_eq!(outcome(&bytes).err().map(|error| error.code), seen);
    }
    assert_eq!(world.resource.breaker_state(), BreakerState::Open, "nothing was learnt of the server");
    assert_eq!(world.fake.started.load(Ordering::SeqCst), started);
    world.assert_nothing_is_held();
    assert!(world.metrics.encode().unwrap().contains("outcome=\"ok\"} 2"));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_already_comes_by_callback_to_whoever_asked_for_one() {
    let world = world();
    *world.fake.known.lock() = Some(Ok(reply()));
    let commands = vec![RedisCommand::new(vec![b"INCR", b"k"])];
    let redis = Some(RedisBatch { commands, ..RedisBatch::default() });
    let request = Request { resource: "limits", style: Style::Callback, redis, ..Request::default() };
    match world.dispatch(&request.encode(), world.site()) {
        Dispatch::Call { style: Style::Callback, future } => {
            assert_eq!(outcome(&future.await).unwrap(), b":1\r\n");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_leaves_the_probe_to_the_next_call() {
    let world = world_of(ResourcePolicy { breaker_failures: 1, ..policy() }, 10);
    *world.fake.at_once.lock() = Some(Err(Code::Unavailable));
    world.future().await;
    *world.fake.at_once.lock() = None;
    tokio::time::advance(500 * MS).await;
    let probe = world.spawn().await;
    assert_eq!(code(&world.future().await), Code::CircuitOpen, "one probe at a time");
    probe.abort();
    assert!(probe.await.unwrap_err().is_cancelled());
    let next = world.spawn().await;
    world.fake.waiting.lock().remove(0);
    world.fake.answer(Ok(reply()));
    assert!(outcome(&next.await.unwrap()).is_ok());
    assert_eq!(world.resource.breaker_state(), BreakerState::Closed);
}
