//! A backend with one grant, and calls as the gateway makes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agw_config::{
    BreakerPolicy, Grant, GrantedCommands, PoolPolicy, RedisAddress, RedisEndpoint, Resource, ResourceLimits,
};
use agw_foreign::{BackendFuture, CallError, CallSite, ContextKey, GrantedResource, Reply};
use agw_foreign_redis::RedisBackend;
use agw_telemetry::Metrics;
use agw_wire::{Code, Lease, RedisBatch, RedisCommand, Request};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) struct World {
    pub(crate) backend: Arc<RedisBackend>,
    pub(crate) granted: Arc<dyn GrantedResource>,
    pub(crate) metrics: Arc<Metrics>,
}

pub(crate) type Outcome = Result<Reply, CallError>;

pub(crate) fn resource(port: u16) -> Resource {
    Resource {
        name: "limits".into(),
        redis: RedisEndpoint {
            address: RedisAddress::Tcp { host: "127.0.0.1".into(), port },
            database: 0,
            username: None,
            password: None,
            tls: None,
        },
        pool: PoolPolicy {
            max: 4,
            leased_max: 2,
            connect_timeout: 500 * MS,
            acquire_timeout: 100 * MS,
            idle_timeout: Duration::from_secs(60),
        },
        limits: ResourceLimits {
            call_timeout: 500 * MS,
            call_timeout_max: Duration::from_secs(10),
            request_bytes_max: 1 << 20,
            response_bytes_max: 1 << 20,
            batch_max: 1000,
            in_flight_max: 1000,
            waiters_max: 1000,
        },
        breaker: BreakerPolicy { failures: 5, probe_interval: 500 * MS },
        faults: None,
        scripts: BTreeMap::from([
            ("double".to_owned(), "return tonumber(ARGV[1]) * 2".to_owned()),
            ("touch".to_owned(), "return redis.call('INCR', KEYS[1])".to_owned()),
        ]),
        grants: BTreeMap::new(),
    }
}

pub(crate) fn grant() -> Grant {
    Grant {
        commands: GrantedCommands::AllSafe,
        key_prefix: "p:".into(),
        read_only: false,
        scripts: vec!["double".into(), "touch".into()],
        key_bytes_max: 1024,
        share_percent: 100,
        rate: None,
    }
}

pub(crate) fn plain<'a>(args: &[&'a str]) -> RedisCommand<'a> {
    RedisCommand::new(args.iter().map(|arg| arg.as_bytes()).collect())
}

pub(crate) fn script<'a>(name: &'a str, keys: u32, args: &[&'a str]) -> RedisCommand<'a> {
    RedisCommand { script: name, script_keys: keys, ..plain(args) }
}

pub(crate) fn batch<'a>(commands: &[RedisCommand<'a>]) -> RedisBatch<'a> {
    RedisBatch { commands: commands.to_vec(), ..RedisBatch::default() }
}

pub(crate) fn atomic<'a>(commands: &[RedisCommand<'a>]) -> RedisBatch<'a> {
    RedisBatch { atomic: true, ..batch(commands) }
}

pub(crate) fn leased(batch: RedisBatch<'_>, id: u32, keep: bool) -> RedisBatch<'_> {
    RedisBatch { lease: Some(Lease { id, keep }), ..batch }
}

impl World {
    pub(crate) fn new(port: u16) -> Self {
        World::of(&resource(port))
    }

    pub(crate) fn of(resource: &Resource) -> Self {
        World::with_grant(resource, &grant())
    }

    pub(crate) fn with_grant(resource: &Resource, grant: &Grant) -> Self {
        let metrics = Arc::new(Metrics::new());
        let backend = RedisBackend::new(resource, 2, &metrics).unwrap();
        let granted = backend.grant(grant).unwrap();
        World { backend, granted, metrics }
    }

    pub(crate) fn start(
        &self,
        batch: RedisBatch<'_>,
        context: u64,
        within: Duration,
    ) -> Result<BackendFuture, CallError> {
        let cancel = CancellationToken::new();
        let site = CallSite {
            worker: 0,
            context: ContextKey(context),
            calls_before: 0,
            deadline: None,
            cancel,
            trace: None,
        };
        let request = Request { resource: "limits", redis: Some(batch), ..Request::default() };
        self.granted.start(&request, &site, Instant::now() + within)
    }

    pub(crate) async fn call_within(&self, batch: RedisBatch<'_>, within: Duration) -> Outcome {
        self.start(batch, 1, within)?.await
    }

    pub(crate) async fn call(&self, batch: RedisBatch<'_>) -> Outcome {
        self.call_within(batch, 2000 * MS).await
    }

    /// One plain command; its reply as text.
    pub(crate) async fn run(&self, args: &[&str]) -> Result<String, CallError> {
        self.call(batch(&[plain(args)])).await.map(|reply| text(&reply))
    }

    pub(crate) async fn code(&self, args: &[&str]) -> Code {
        self.run(args).await.unwrap_err().code
    }

    /// Calls until one succeeds, and says how long that took.
    pub(crate) async fn back_within(&self, bound: Duration) -> Duration {
        let begun = Instant::now();
        while self.run(&["GET", "k"]).await.is_err() {
            assert!(begun.elapsed() < bound, "not back within {bound:?}");
            tokio::time::sleep(5 * MS).await;
        }
        begun.elapsed()
    }
}

pub(crate) fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(reply.bytes()).into_owned()
}
