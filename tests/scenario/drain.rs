//! Two gateways behind a balancer are restarted in turn, each by SIGTERM and at its own address, while clients ask.
//!
//! Every other restart is announced: the balancer opens no connection to a gateway before it gets the signal. Then not
//! one connection may go unanswered, those included that wait in the kernel's queue because the gateway has no place
//! for them. The others come as a surprise: clients learn from `connection: close` and GOAWAY, and a connection that
//! the kernel completed between the last accept and the close may be reset before a byte of an answer (`docs/end.md`);
//! its request goes to the other gateway, as any balancer would send it, and is counted.

mod balancer;
mod clients;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use agw_tests::{Gateway, Upstream};
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use self::balancer::Balancer;
use self::clients::{Clients, Tally};
use crate::Verdict;

const REQUESTS: usize = 100_000;
/// Not 127.0.0.1, where the other ends of connections are: one of them could have the port between two processes.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
/// Of each worker: fewer than there are clients, so that some always wait in the kernel's queue.
const PLACES: usize = 16;
/// The load is at its full strength again when it has sent so many since the last drain.
const REQUESTS_BETWEEN: usize = 500;
/// For one drain; the gateway itself gives up after 30 seconds.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// What one signal met.
struct Drained {
    announced: bool,
    /// Connections of the clients, whether accepted or not.
    open: usize,
    /// Connections that nobody had accepted.
    queued: usize,
    took: Duration,
    /// The process ended with code 0 and cut nobody off.
    clean: bool,
}

pub(crate) fn run(verdict: &mut Verdict) -> Result<()> {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let upstream = Upstream::start(move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        clients::answer(request)
    })?;
    let mut gateways = Vec::new();
    for address in ADDRESSES {
        gateways.push(start((address, 0).into(), &upstream)?);
    }
    let addresses = [gateways[0].address()?, gateways[1].address()?];
    let balancer = Arc::new(Balancer::new(addresses));
    let clients = Arc::new(Clients::new(Arc::clone(&balancer), REQUESTS));
    let start_of_load = Instant::now();
    let load = thread::spawn({
        let clients = Arc::clone(&clients);
        move || clients.run()
    });
    let mut drains = Vec::new();
    loop {
        let enough = clients.sent() + REQUESTS_BETWEEN;
        while clients.sent() < enough && !load.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        if load.is_finished() {
            break;
        }
        let (at, announced) = (drains.len() % 2, (drains.len() / 2) % 2 == 0);
        drains.push(drain(&mut gateways[at], &balancer, at, announced)?);
        gateways[at] = start(addresses[at], &upstream)?;
        balancer.enter(at);
    }
    let tally = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
    tally.failed.iter().take(10).for_each(|failure| println!("     {failure}"));
    judge(verdict, &tally, &drains, start_of_load.elapsed());
    let reached = reached.load(Ordering::Relaxed);
    verdict.check("the upstream was asked once for each answer", reached == tally.answered, reached);
    Ok(())
}

fn start(address: SocketAddr, upstream: &Upstream) -> Result<Gateway> {
    let document = format!(
        "version: 1
listeners: [{{ name: http, address: \"{address}\", limits: {{ connections: {PLACES} }} }}]
routes: [{{ name: all, match: {{ prefix: / }}, cluster: up }}]
clusters: [{{ name: up, endpoints: [\"{}\"] }}]
",
        upstream.address()
    );
    let options = ["--admin", "127.0.0.1:0", "--workers", "2", "--access-log", "off"];
    Gateway::start_with(&document, &[], &options)
}

/// Ends one gateway with its clients on it.
fn drain(gateway: &mut Gateway, balancer: &Balancer, at: usize, announced: bool) -> Result<Drained> {
    let before = balancer.leave(at, announced)?;
    let queued = queued(gateway.address()?)?;
    let signalled = Instant::now();
    gateway.process().signal(Signal::TERM)?;
    let status = gateway.process().wait(DRAIN_WITHIN)?;
    let took = signalled.elapsed();
    let output = gateway.output();
    let clean = status.success() && !output.contains("outlived") && !output.contains("panicked");
    if !clean {
        println!("     {status}:\n{output}");
    }
    Ok(Drained { announced, open: before, queued, took, clean })
}

/// Connections that the kernel has completed for listening sockets of this address and that wait to be accepted.
fn queued(address: SocketAddr) -> Result<usize> {
    const LISTENS: &str = "0A";
    let SocketAddr::V4(address) = address else { anyhow::bail!("{address} is not IPv4") };
    let local = format!("{:08X}:{:04X}", u32::from(*address.ip()).swap_bytes(), address.port());
    let table = fs::read_to_string("/proc/net/tcp").context("read /proc/net/tcp")?;
    let (mut sockets, mut waiting) = (0, 0);
    for line in table.lines() {
        let columns: Vec<_> = line.split_whitespace().collect();
        if let [_, own, _, state, queues, ..] = columns.as_slice()
            && *own == local
            && *state == LISTENS
        {
            let (_, received) = queues.split_once(':').context("queues of /proc/net/tcp")?;
            waiting += usize::from_str_radix(received, 16)?;
            sockets += 1;
        }
    }
    ensure!(sockets > 0, "nobody listens on {address} in /proc/net/tcp");
    Ok(waiting)
}

fn judge(verdict: &mut Verdict, tally: &Tally, drains: &[Drained], elapsed: Duration) {
    let requests = tally.answered + tally.failed.len();
    let rate = requests as f64 / elapsed.as_secs_f64();
    println!(
        "     {requests} requests in {elapsed:.1?}, {rate:.0}/s, over {} connections of HTTP/1.1 and {} of HTTP/2",
        tally.http1, tally.http2
    );
    let announced = drains.iter().filter(|drain| drain.announced).count();
    let figure = format!("{}, {announced} of them announced", drains.len());
    verdict.check("processes drained under load, at least 8", drains.len() >= 8, figure);
    let unclean = drains.iter().filter(|drain| !drain.clean).count();
    verdict.check("of which ended unclean", unclean == 0, unclean);
    verdict.check("requests, at least 100,000", requests >= REQUESTS, requests);
    verdict.check("of which none failed", tally.failed.is_empty(), tally.failed.len());

    let least = drains.iter().map(|drain| drain.open).min().unwrap_or_default();
    let open: usize = drains.iter().map(|drain| drain.open).sum();
    let figure = format!("{open}, at least {least} at each");
    verdict.check("connections that the signals met, each in a request", least > 0, figure);
    let met_queue = drains.iter().filter(|drain| drain.queued > 0).count();
    let queued: usize = drains.iter().map(|drain| drain.queued).sum();
    let figure = format!("{queued} connections at {met_queue} signals");
    verdict.check("the kernel's queue was answered", met_queue > 0, figure);
    let longest = drains.iter().map(|drain| drain.took).max().unwrap_or_default();
    println!("     {} answers told a client to leave; the longest drain took {longest:.1?}", tally.told);
    println!(
        "     surprised: {} connections refused, {} reset before an answer; their requests went to the other gateway",
        tally.refused, tally.untaken
    );
}
