//! What a call costs between the guest's payload and the backend, and back: decoding, admission, places, metrics. The backend
//! answers after one turn of the event loop, as Redis does.
//!
//! `valgrind --tool=callgrind target/release/examples/gate_cost N`, for two numbers N, gives the instructions of one call.

#![allow(missing_docs, reason = "an example")]

use std::sync::Arc;
use std::time::Duration;

use agw_foreign::{
    Access, BackendFuture, CallError, CallSite, ContextKey, Dispatch, GrantedResource, Reply, Resource,
    ResourcePolicy,
};
use agw_telemetry::Metrics;
use agw_wire::{AGW_REDIS, RedisBatch, RedisCommand, Request};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

struct Ready;

impl GrantedResource for Ready {
    fn start(
        &self,
        _: &Request<'_>,
        _: &CallSite,
        _: tokio::time::Instant,
    ) -> Result<BackendFuture, CallError> {
        Ok(Box::pin(async {
            tokio::task::yield_now().await;
            Ok(Reply::resp(Bytes::from_static(b":1\r\n"), 0))
        }))
    }

    fn context_ended(&self, _: ContextKey) {}
}

fn main() {
    let calls = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let policy = ResourcePolicy {
        in_flight_max: 1024,
        waiters_max: 1024,
        call_timeout: Duration::from_millis(50),
        call_timeout_max: Duration::from_secs(5),
        request_bytes_max: 256 << 10,
        breaker_failures: 5,
        breaker_probe_interval: Duration::from_millis(500),
        breaker_counts_timeout_io: true,
    };
    let metrics = Arc::new(Metrics::new());
    let resource = Resource::new("limits", policy, &metrics);
    let access = Access::builder("limit", 2048, metrics).grant(AGW_REDIS, resource, Arc::new(Ready)).build();
    let commands = vec![RedisCommand::new(vec![b"INCR", b"key"])];
    let redis = Some(RedisBatch { commands, ..RedisBatch::default() });
    let payload = Request { resource: "limits", redis, ..Request::default() }.encode();
    let cancel = CancellationToken::new();
    let site =
        CallSite { worker: 0, context: ContextKey(1), calls_before: 0, deadline: None, cancel, trace: None };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    runtime.block_on(async {
        for _ in 0..calls {
            if let Dispatch::Call { future, .. } = access.call(AGW_REDIS, &payload, site.clone()) {
                std::hint::black_box(future.await);
            }
        }
    });
}
