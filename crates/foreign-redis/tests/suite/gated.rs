//! Calls as a plugin makes them: its payload's bytes, through the grants, the bounds and the breaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agw_config::Resource as Configured;
use agw_foreign::{
    Access, BackendFuture, CallSite, ContextKey, Dispatch, GrantedResource, Resource, ResourcePolicy,
};
use agw_foreign_redis::RedisBackend;
use agw_telemetry::Metrics;
use agw_wire::{AGW_REDIS, Answer, CallError, RedisBatch, Request, Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::world::{batch, grant, plain};

/// One plugin with one grant.
pub(crate) struct Gated {
    access: Arc<Access>,
    pub(crate) resource: Arc<Resource>,
    pub(crate) backend: Arc<RedisBackend>,
    /// Calls that the breaker and the bounds let through to the backend.
    pub(crate) passed: Arc<AtomicUsize>,
}

struct Counting {
    granted: Arc<dyn GrantedResource>,
    passed: Arc<AtomicUsize>,
}

impl GrantedResource for Counting {
    fn start(
        &self,
        request: &Request<'_>,
        site: &CallSite,
        deadline: Instant,
    ) -> Result<BackendFuture, CallError> {
        let (call, passed) = (self.granted.start(request, site, deadline)?, Arc::clone(&self.passed));
        Ok(Box::pin(async move {
            passed.fetch_add(1, Ordering::SeqCst);
            call.await
        }))
    }

    fn context_ended(&self, context: ContextKey) {
        self.granted.context_ended(context);
    }
}

impl Gated {
    pub(crate) fn new(configured: &Configured) -> Self {
        let metrics = Arc::new(Metrics::new());
        let limits = &configured.limits;
        let policy = ResourcePolicy {
            in_flight_max: limits.in_flight_max,
            waiters_max: limits.waiters_max,
            call_timeout: limits.call_timeout,
            call_timeout_max: limits.call_timeout_max,
            request_bytes_max: limits.request_bytes_max,
            breaker_failures: configured.breaker.failures,
            breaker_probe_interval: configured.breaker.probe_interval,
            breaker_counts_timeout_io: true,
        };
        let resource = Resource::new(configured.name.clone(), policy, &metrics);
        let backend = RedisBackend::new(configured, 1, &metrics).unwrap();
        let passed = Arc::new(AtomicUsize::new(0));
        let granted = backend.grant(&grant()).unwrap();
        let granted = Arc::new(Counting { granted, passed: Arc::clone(&passed) });
        let access = Access::builder("limiter", 1000, metrics)
            .grant(AGW_REDIS, Arc::clone(&resource), granted)
            .build();
        Gated { access, resource, backend, passed }
    }

    /// The bytes of a request; those of its response.
    pub(crate) async fn exchange(&self, payload: &[u8]) -> Vec<u8> {
        let cancel = CancellationToken::new();
        let site = CallSite {
            worker: 0,
            context: ContextKey(1),
            calls_before: 0,
            deadline: None,
            cancel,
            trace: None,
        };
        match self.access.call(AGW_REDIS, payload, site) {
            Dispatch::Answer { bytes, .. } => bytes,
            Dispatch::Call { future, .. } => future.await,
            other => panic!("{other:?}"),
        }
    }

    /// The reply and the lease.
    pub(crate) async fn call(&self, batch: RedisBatch<'_>) -> Result<(String, u32), CallError> {
        let request = Request { resource: "limits", redis: Some(batch), ..Request::default() };
        let bytes = self.exchange(&request.encode()).await;
        let response = Response::decode(&bytes).unwrap();
        match response.answer {
            Answer::Resp(resp) => Ok((String::from_utf8_lossy(resp).into_owned(), response.lease)),
            Answer::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Result<String, CallError> {
        self.call(batch(&[plain(args)])).await.map(|(resp, _)| resp)
    }
}
