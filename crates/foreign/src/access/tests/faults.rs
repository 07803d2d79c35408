//! Faults on purpose.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_injected_error_asks_no_server_and_opens_the_breaker_as_a_real_one_does() {
    let world = faulty(Fault::Error(Code::Unavailable), Duration::ZERO, 100);
    for _ in 0..3 {
        assert_eq!(code(&world.future().await), Code::Unavailable);
    }
    assert_eq!(code(&world.future().await), Code::CircuitOpen);
    assert_eq!(world.fake.polled.load(Ordering::SeqCst), 0);
    world.assert_nothing_is_held();
    let metrics = world.metrics.encode().unwrap();
    assert!(metrics.contains("agw_resource_faults_injected_total{resource=\"limits\",fault=\"error\"} 3"));
}

#[tokio::test(start_paused = true)]
async fn an_injected_timeout_comes_at_the_deadline() {
    for timeout in [Code::TimeoutQueue, Code::TimeoutConnect, Code::TimeoutIo] {
        let world = faulty(Fault::Error(timeout), Duration::ZERO, 100);
        let begun = Instant::now();
        assert_eq!(code(&world.future().await), timeout);
        assert_eq!(begun.elapsed(), 50 * MS);
    }
}

#[tokio::test(start_paused = true)]
async fn an_injected_delay_holds_a_call_until_its_deadline_at_most() {
    let world = faulty(Fault::None, 30 * MS, 100);
    let begun = Instant::now();
    assert_eq!(outcome(&world.future().await).unwrap(), b":1\r\n");
    assert_eq!(begun.elapsed(), 30 * MS);
    let Dispatch::Call { future, .. } = world.dispatch(&payload(20), world.site()) else { panic!() };
    assert_eq!(code(&future.await), Code::TimeoutIo);
    assert_eq!(begun.elapsed(), 50 * MS);
    assert_eq!(world.fake.polled.load(Ordering::SeqCst), 1, "the second was never sent");
}

#[tokio::test(start_paused = true)]
async fn a_cut_call_has_run_and_its_answer_is_lost_with_what_it_held() {
    let world = faulty(Fault::Cut, Duration::ZERO, 100);
    let error = outcome(&world.future().await).unwrap_err();
    assert_eq!((error.code, error.retry), (Code::Unavailable, Retry::IfIdempotent));
    assert_eq!(world.fake.polled.load(Ordering::SeqCst), 1);
    assert!(world.fake.ended.lock().is_empty(), "it held nothing");
    assert_eq!(world.resource.breaker_state(), BreakerState::Closed);
    *world.fake.at_once.lock() = None;
    let call = world.spawn().await;
    world.fake.answer(Ok(Reply { lease: 5, ..reply() }));
    assert_eq!(code(&call.await.unwrap()), Code::Unavailable);
    assert_eq!(*world.fake.ended.lock(), [ContextKey(7)]);
    *world.fake.at_once.lock() = Some(Err(Code::Server));
    assert_eq!(code(&world.future().await), Code::Server, "what failed anyhow is told as it is");
}

#[tokio::test(start_paused = true)]
async fn a_fault_befalls_its_share_of_the_calls_and_ends_with_a_cancelled_one() {
    let world = faulty(Fault::Error(Code::Auth), Duration::ZERO, 30);
    let mut failed = 0;
    for _ in 0..2000 {
        failed += usize::from(outcome(&world.future().await).is_err());
    }
    assert!((450..750).contains(&failed), "{failed} of 2000");
    let world = faulty(Fault::Error(Code::TimeoutIo), Duration::ZERO, 100);
    let call = world.spawn().await;
    world.cancel.cancel();
    assert_eq!(code(&call.await.unwrap()), Code::Cancelled);
    world.assert_nothing_is_held();
}
