//! A backend that answers when it is told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agw_foreign::{
    Access, BackendFuture, CallError, CallSite, Code, ContextKey, GrantedResource, Reply, Resource,
    ResourcePolicy, Style,
};
use agw_telemetry::Metrics;
use agw_wire::{AGW_REDIS, RedisBatch, RedisCommand, Request, Response};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A call that waits for its answer.
struct Held {
    key: String,
    answer: oneshot::Sender<Result<Reply, CallError>>,
}

#[derive(Default)]
struct State {
    held: Vec<Held>,
    /// Answers each call at once with these bytes.
    at_once: Option<Bytes>,
    ended: Vec<ContextKey>,
    started: usize,
    alive: usize,
}

/// Stands behind resource `r`.
#[derive(Clone)]
pub(crate) struct Backend {
    state: Arc<Mutex<State>>,
    metrics: Arc<Metrics>,
    pub(crate) resource: Arc<Resource>,
}

struct Alive(Arc<Mutex<State>>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.lock().unwrap().alive -= 1;
    }
}

impl Backend {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Backend {
        let policy = ResourcePolicy {
            in_flight_max: 10_000,
            waiters_max: 10,
            call_timeout: Duration::from_secs(30),
            call_timeout_max: Duration::from_secs(30),
            request_bytes_max: 1 << 20,
            breaker_failures: 1_000_000,
            breaker_probe_interval: Duration::from_secs(1),
            breaker_counts_timeout_io: true,
        };
        let resource = Resource::new("r", policy, &metrics);
        Backend { state: Arc::default(), metrics, resource }
    }

    pub(crate) fn access(&self, plugin: &str, calls_max: usize, request_calls_max: u32) -> Arc<Access> {
        Access::builder(plugin, calls_max, self.metrics.clone())
            .calls_per_request(request_calls_max)
            .grant(AGW_REDIS, self.resource.clone(), Arc::new(self.clone()))
            .build()
    }

    /// Keys of the calls that wait, in order.
    pub(crate) fn held(&self) -> Vec<String> {
        self.state.lock().unwrap().held.iter().map(|held| held.key.clone()).collect()
    }

    /// Calls whose future lives.
    pub(crate) fn alive(&self) -> usize {
        self.state.lock().unwrap().alive
    }

    /// Calls so far.
    pub(crate) fn started(&self) -> usize {
        self.state.lock().unwrap().started
    }

    /// Contexts that were reported as gone.
    pub(crate) fn ended(&self) -> usize {
        self.state.lock().unwrap().ended.len()
    }

    /// From now on every call is answered at once.
    pub(crate) fn answer_at_once(&self, resp: impl Into<Bytes>) {
        self.state.lock().unwrap().at_once = Some(resp.into());
    }

    /// Answers the first call of this key.
    pub(crate) fn answer(&self, key: &str, resp: impl Into<Bytes>) {
        self.end(key, Ok(Reply::resp(resp, 0)));
    }

    /// Answers the call that came last.
    pub(crate) fn answer_last(&self, resp: impl Into<Bytes>) {
        let held = self.state.lock().unwrap().held.pop().expect("a call");
        let _ = held.answer.send(Ok(Reply::resp(resp, 0)));
    }

    /// Fails the first call of this key.
    pub(crate) fn fail(&self, key: &str, code: Code) {
        self.end(key, Err(CallError::new(code, "as the test wants it")));
    }

    fn end(&self, key: &str, outcome: Result<Reply, CallError>) {
        let mut state = self.state.lock().unwrap();
        let at = state.held.iter().position(|held| held.key == key).expect("a call of this key");
        // The caller may have gone.
        let _ = state.held.remove(at).answer.send(outcome);
    }
}

impl GrantedResource for Backend {
    fn start(
        &self,
        request: &Request<'_>,
        _: &CallSite,
        deadline: Instant,
    ) -> Result<BackendFuture, CallError> {
        let command = request.redis.as_ref().and_then(|batch| batch.commands.first());
        let key = command.and_then(|command| command.args.last()).map(|key| String::from_utf8_lossy(key));
        let Some(key) = key.map(String::from) else {
            return Err(CallError::new(Code::Invalid, "no command"));
        };
        let state = self.state.clone();
        {
            let mut state = state.lock().unwrap();
            state.started += 1;
            state.alive += 1;
        }
        let alive = Alive(state.clone());
        Ok(Box::pin(async move {
            let _alive = alive;
            let answered = {
                let mut state = state.lock().unwrap();
                if let Some(resp) = &state.at_once {
                    return Ok(Reply::resp(resp.clone(), 0));
                }
                let (answer, answered) = oneshot::channel();
                state.held.push(Held { key, answer });
                answered
            };
            match tokio::time::timeout_at(deadline, answered).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(CallError::new(Code::Unavailable, "the test has ended")),
                Err(_) => Err(CallError::new(Code::TimeoutIo, "")),
            }
        }))
    }

    fn context_ended(&self, context: ContextKey) {
        self.state.lock().unwrap().ended.push(context);
    }
}

/// The payload of a blocking `GET key`.
pub(crate) fn call(key: &str) -> Vec<u8> {
    request(key, Style::Blocking)
}

/// The payload of a callback-style `GET key`.
pub(crate) fn call_back(key: &str) -> Vec<u8> {
    request(key, Style::Callback)
}

fn request(key: &str, style: Style) -> Vec<u8> {
    let commands = vec![RedisCommand::new(vec![b"GET", key.as_bytes()])];
    let redis = Some(RedisBatch { commands, ..RedisBatch::default() });
    Request { resource: "r", style, redis, ..Request::default() }.encode()
}

/// Reads an answer.
pub(crate) fn decode(bytes: &[u8]) -> Response<'_> {
    Response::decode(bytes).expect("a response")
}
