//! GETs per second and client CPU per GET, on one event loop: this crate's multiplexed connection beside redis-rs'.
//!
//! `cargo run --release -p agw-foreign-redis --example mux_rate`. Starts its own `redis-server` on a free port.
//! Ratios of one run mean something; figures of different runs on a shared machine do not.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a measurement run by hand")]

use std::collections::BTreeMap;
use std::future::Future;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agw_config::{
    BreakerPolicy, Grant, GrantedCommands, PoolPolicy, RedisAddress, RedisEndpoint, Resource, ResourceLimits,
};
use agw_foreign::{Access, CallSite, ContextKey, Dispatch, ResourcePolicy};
use agw_foreign_redis::RedisBackend;
use agw_telemetry::Metrics;
use agw_wire::{AGW_REDIS, RedisBatch, RedisCommand, Request};
use tokio_util::sync::CancellationToken;

const SPAN: Duration = Duration::from_secs(2);
const KEY: &str = "some:key";

fn main() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--save", "", "--loglevel", "warning"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let access = access(port);
        let url = format!("redis://127.0.0.1:{port}/");
        let mut client = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
        let _: () = redis::cmd("SET").arg(KEY).arg("v".repeat(100)).query_async(&mut client).await.unwrap();
        println!("{:>12} {:>6} {:>12} {:>14}", "", "calls", "GET/s", "CPU us per GET");
        for calls in [1, 64, 512] {
            for _ in 0..2 {
                let (access, client) = (Arc::clone(&access), client.clone());
                report("agw_redis", calls, move || through_access(Arc::clone(&access))).await;
                report("redis-rs", calls, move || through_redis_rs(client.clone())).await;
            }
        }
    });
    server.kill().unwrap();
    server.wait().unwrap();
}

/// Payload in, response bytes out: all that a call costs but for the guest's side.
async fn through_access(access: Arc<Access>) {
    let commands = vec![RedisCommand::new(vec![b"GET", KEY.as_bytes()])];
    let redis = Some(RedisBatch { commands, ..RedisBatch::default() });
    let payload = Request { resource: "bench", redis, ..Request::default() }.encode();
    let cancel = CancellationToken::new();
    let site =
        CallSite { worker: 0, context: ContextKey(1), calls_before: 0, deadline: None, cancel, trace: None };
    let Dispatch::Call { future, .. } = access.call(AGW_REDIS, &payload, site) else { panic!("refused") };
    assert!(future.await.len() > 100);
}

async fn through_redis_rs(mut client: redis::aio::MultiplexedConnection) {
    let value: Vec<u8> = redis::cmd("GET").arg(KEY).query_async(&mut client).await.unwrap();
    assert_eq!(value.len(), 100);
}

async fn report<F, C>(name: &str, calls: usize, call: C)
where
    F: Future<Output = ()> + Send + 'static,
    C: Fn() -> F + Clone + Send + 'static,
{
    let (begun, cpu) = (Instant::now(), cpu());
    let tasks: Vec<_> = (0..calls)
        .map(|_| {
            let call = call.clone();
            tokio::spawn(async move {
                let mut count = 0u64;
                while begun.elapsed() < SPAN {
                    call().await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap();
    }
    let used = self::cpu() - cpu;
    let rate = total as f64 / begun.elapsed().as_secs_f64();
    println!("{name:>12} {calls:>6} {rate:>12.0} {:>14.2}", used.as_secs_f64() * 1e6 / total as f64);
}

/// CPU time of this process, user and system, in the kernel's ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn access(port: u16) -> Arc<Access> {
    let metrics = Arc::new(Metrics::new());
    let second = Duration::from_secs(1);
    let limits = ResourceLimits {
        call_timeout: second,
        call_timeout_max: second,
        request_bytes_max: 1 << 20,
        response_bytes_max: 1 << 20,
        batch_max: 100,
        in_flight_max: 1024,
        waiters_max: 1024,
    };
    let resource = Resource {
        name: "bench".into(),
        redis: RedisEndpoint {
            address: RedisAddress::Tcp { host: "127.0.0.1".into(), port },
            database: 0,
            username: None,
            password: None,
            tls: None,
        },
        pool: PoolPolicy {
            max: 2,
            leased_max: 1,
            connect_timeout: second,
            acquire_timeout: second,
            idle_timeout: second,
        },
        limits,
        breaker: BreakerPolicy { failures: 5, probe_interval: second },
        faults: None,
        scripts: BTreeMap::new(),
        grants: BTreeMap::new(),
    };
    let grant = Grant {
        commands: GrantedCommands::AllSafe,
        key_prefix: String::new(),
        read_only: false,
        scripts: Vec::new(),
        key_bytes_max: 1024,
        share_percent: 100,
        rate: None,
    };
    let policy = ResourcePolicy {
        in_flight_max: limits.in_flight_max,
        waiters_max: limits.waiters_max,
        call_timeout: limits.call_timeout,
        call_timeout_max: limits.call_timeout_max,
        request_bytes_max: limits.request_bytes_max,
        breaker_failures: resource.breaker.failures,
        breaker_probe_interval: resource.breaker.probe_interval,
        breaker_counts_timeout_io: true,
    };
    let backend = RedisBackend::new(&resource, 1, &metrics).unwrap();
    let granted = backend.grant(&grant).unwrap();
    let gate = agw_foreign::Resource::new("bench", policy, &metrics);
    Access::builder("bench", 1024, metrics).grant(AGW_REDIS, gate, granted).build()
}
