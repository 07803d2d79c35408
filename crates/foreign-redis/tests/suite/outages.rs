//! A server that dies or stops under calls, seen through the breaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agw_foreign::BreakerState;
use agw_wire::{Answer, Code, Request, Response};
use tokio::time::Instant;

use crate::gated::Gated;
use crate::server::RedisServer;
use crate::world::{MS, batch, leased, plain, resource};

/// How a server goes away and returns.
#[derive(Clone, Copy, Debug)]
enum Outage {
    Killed,
    Stopped,
}

impl Outage {
    fn begin(self, server: &mut RedisServer) {
        match self {
            Outage::Killed => server.kill(),
            Outage::Stopped => server.pause(),
        }
    }

    async fn end(self, server: &mut RedisServer) {
        match self {
            Outage::Killed => server.start_again().await,
            Outage::Stopped => server.resume(),
        }
    }
}

/// Calls from this many tasks without a pause.
const CALLERS: usize = 16;
const DEADLINE: Duration = Duration::from_millis(50);

#[expect(clippy::print_stdout, reason = "a figure worth seeing when it changes")]
async fn goes_through(outage: Outage) {
    let mut server = RedisServer::start(&[]).await;
    let mut configured = resource(server.port);
    configured.limits.call_timeout = DEADLINE;
    let gated = Arc::new(Gated::new(&configured));
    gated.run(&["INCR", "n"]).await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> =
        (0..CALLERS).map(|_| tokio::spawn(call_on(Arc::clone(&gated), Arc::clone(&stop)))).collect();
    tokio::time::sleep(100 * MS).await;
    assert_eq!(gated.resource.breaker_state(), BreakerState::Closed);

    outage.begin(&mut server);
    until(&gated, BreakerState::Open, 1000 * MS).await;
    // Time for several probes, and for thousands of calls: nothing but the probes reaches the backend.
    let passed = gated.passed.load(Ordering::SeqCst);
    tokio::time::sleep(1200 * MS).await;
    let probes = gated.passed.load(Ordering::SeqCst) - passed;
    assert!((2..=3).contains(&probes), "{outage:?}: {probes} calls reached the backend");
    assert_eq!(gated.resource.breaker_state(), BreakerState::Open, "{outage:?}");
    let median = refusal(&gated).await;
    assert!(median < Duration::from_micros(500), "{outage:?}: a refusal takes {median:?}");

    outage.end(&mut server).await;
    let back = until(&gated, BreakerState::Closed, 2000 * MS).await;
    println!("{outage:?}: a refusal takes {median:?}, closed {back:?} after the return");
    let settled = Instant::now();
    while gated.run(&["INCR", "n"]).await.is_err() {
        assert!(settled.elapsed() < 500 * MS, "{outage:?}: closed, but not served");
    }
    stop.store(true, Ordering::Relaxed);
    let mut longest = Duration::ZERO;
    for caller in callers {
        longest = longest.max(caller.await.unwrap());
    }
    assert!(longest < DEADLINE + 100 * MS, "{outage:?}: a call took {longest:?}");
}

/// Calls until told to stop, and says how long the longest call took.
async fn call_on(gated: Arc<Gated>, stop: Arc<AtomicBool>) -> Duration {
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let _ = gated.run(&["INCR", "n"]).await;
        longest = longest.max(begun.elapsed());
        tokio::time::sleep(2 * MS).await;
    }
    longest
}

/// The median time of a call that the open breaker refuses.
async fn refusal(gated: &Gated) -> Duration {
    let mut spans = Vec::new();
    while spans.len() < 200 {
        let begun = std::time::Instant::now();
        let error = gated.run(&["INCR", "n"]).await.unwrap_err();
        // Now and then one is the probe.
        if error.code == Code::CircuitOpen {
            spans.push(begun.elapsed());
        }
    }
    spans.sort();
    spans[spans.len() / 2]
}

async fn until(gated: &Gated, state: BreakerState, bound: Duration) -> Duration {
    let begun = Instant::now();
    while gated.resource.breaker_state() != state {
        assert!(begun.elapsed() < bound, "the breaker is not {state:?} within {bound:?}");
        tokio::time::sleep(MS).await;
    }
    begun.elapsed()
}

#[tokio::test]
async fn a_killed_server_opens_the_breaker_and_its_return_closes_it() {
    goes_through(Outage::Killed).await;
}

#[tokio::test]
async fn a_stopped_server_opens_the_breaker_and_its_return_closes_it() {
    goes_through(Outage::Stopped).await;
}

#[tokio::test]
async fn a_lease_is_given_back_by_the_bytes_of_the_wire_document_though_the_breaker_is_open() {
    let mut server = RedisServer::start(&[]).await;
    let mut configured = resource(server.port);
    configured.breaker.failures = 1;
    let gated = Gated::new(&configured);
    let taken = |id| leased(batch(&[]), id, true);
    let (resp, lease) = gated.call(taken(0)).await.unwrap();
    assert!(resp.is_empty() && lease != 0);
    let redis = Some(leased(batch(&[]), lease, false));
    let give_back = Request { resource: "limits", redis, ..Request::default() }.encode();
    let bytes = gated.exchange(&give_back).await;
    assert_eq!(bytes, [0x0a, 0], "resp, and it is empty");
    let bytes = gated.exchange(&give_back).await;
    let Answer::Error(again) = Response::decode(&bytes).unwrap().answer else { panic!() };
    assert_eq!(again.code, Code::Invalid);

    let (_, lease) = gated.call(taken(0)).await.unwrap();
    assert_eq!(gated.call(leased(batch(&[plain(&["GET", "k"])]), lease, true)).await.unwrap().1, lease);
    server.kill();
    assert_eq!(gated.run(&["GET", "k"]).await.unwrap_err().code, Code::Unavailable);
    assert_eq!(gated.resource.breaker_state(), BreakerState::Open);
    let refused = gated.call(leased(batch(&[]), lease, false)).await.unwrap_err();
    assert_eq!(refused.code, Code::CircuitOpen);
    assert_eq!(gated.backend.status().leased, 0, "it is back all the same");
}
