//! Names that come to point elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use agw_config::{
    BreakerPolicy, PoolPolicy, RedisAddress, RedisEndpoint, RedisHost, Resource, ResourceLimits,
};
use agw_telemetry::Metrics;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::blueprint::Blueprint;

const WITHIN: Duration = Duration::from_secs(10);

/// What the name points to.
type Addresses = Arc<Mutex<Result<Vec<SocketAddr>, io::ErrorKind>>>;

/// A server that takes logins and says nothing else.
struct Server {
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                open.spawn(async move {
                    let mut input = vec![0; 4096];
                    // CLIENT SETNAME and CLIENT SETINFO, in one write.
                    while matches!(socket.read(&mut input).await, Ok(1..)) {
                        let _ = socket.write_all(b"+OK\r\n+OK\r\n").await;
                    }
                });
            }
        });
        Server { address, tasks }
    }

    async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

fn named(addresses: &Addresses) -> Connector {
    let addresses = Arc::clone(addresses);
    let lookup: Lookup = Arc::new(move |at| {
        assert_eq!(at.to_string(), "cache.example:6379");
        let answer = addresses.lock().clone().map_err(io::Error::from);
        Box::pin(async move { answer })
    });
    let login = Login { username: None, password: None, database: 0, reads_only: false };
    let access = Access::resolving(None, login, WITHIN, lookup).unwrap();
    Connector::new(&access, RedisHost { host: "cache.example".into(), port: 6379 }).unwrap()
}

fn pointing_at(servers: &[&Server]) -> Result<Vec<SocketAddr>, io::ErrorKind> {
    Ok(servers.iter().map(|server| server.address).collect())
}

#[tokio::test]
async fn every_connection_asks_anew_and_an_address_that_refuses_is_passed_over() {
    let (first, second) = (Server::start().await, Server::start().await);
    let addresses: Addresses = Arc::new(Mutex::new(Err(io::ErrorKind::NotFound)));
    let connector = named(&addresses);
    assert!(matches!(connector.connect().await, Err(ConnectError::Lookup(_))));
    *addresses.lock() = Ok(Vec::new());
    assert!(matches!(connector.connect().await, Err(ConnectError::Reach(_))), "a name without addresses");
    *addresses.lock() = pointing_at(&[&first]);
    let mut session = connector.connect().await.unwrap();
    assert!(session.is_alive().await);
    first.end().await;
    assert!(matches!(connector.connect().await, Err(ConnectError::Reach(_))));
    *addresses.lock() = pointing_at(&[&second]);
    connector.connect().await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    *addresses.lock() = Ok(vec![gone, second.address]);
    connector.connect().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_lost_comes_back_where_the_name_points_to_then() {
    let (first, second) = (Server::start().await, Server::start().await);
    let addresses: Addresses = Arc::new(Mutex::new(pointing_at(&[&first])));
    let blueprint = Blueprint::new(&resource(), 1, &Metrics::new()).unwrap();
    let server = blueprint.server(Destination::Server(named(&addresses)), CancellationToken::new());
    let link = server.slots[0].link(Instant::now() + WITHIN).await.unwrap();
    first.end().await;
    *addresses.lock() = pointing_at(&[&second]);
    let begun = Instant::now();
    while !link.has_ended() || server.slots[0].open_link().is_none() {
        assert!(begun.elapsed() < WITHIN, "{:?}", server.shared.last_error.lock());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    blueprint.stop.cancel();
}

fn resource() -> Resource {
    let second = Duration::from_secs(1);
    let address = RedisAddress::Tcp { host: "cache.example".into(), port: 6379 };
    Resource {
        name: "limits".into(),
        redis: RedisEndpoint { address, database: 0, username: None, password: None, tls: None },
        pool: PoolPolicy {
            max: 2,
            leased_max: 1,
            connect_timeout: second,
            acquire_timeout: second,
            idle_timeout: second,
        },
        limits: ResourceLimits {
            call_timeout: second,
            call_timeout_max: second,
            request_bytes_max: 1000,
            response_bytes_max: 1000,
            batch_max: 10,
            in_flight_max: 10,
            waiters_max: 10,
        },
        breaker: BreakerPolicy { failures: 5, probe_interval: second },
        faults: None,
        scripts: BTreeMap::new(),
        grants: BTreeMap::new(),
    }
}
