//! A gateway whose configuration changes all the time, and clients who check that each answer is of one revision.
//!
//! Every good document has another number in four places: a header that the first plugin sets, another of the last one,
//! the limit that the rate limit tells, and the body. Besides, each changes something that is harder to change: the
//! module's file, the passwords of Redis and Postgres, the sizes of pools, a listener. A third of the documents is bad.
//!
//! Memory is the resident set of the gateway as the kernel counts it, with all that is the gateway's: heap, code of
//! modules, VMs, pages of its binary. It is taken under the same load both times, [`SETTLE`] after the first reload and
//! after the last: by then requests of the revision before have ended, and with them its VMs, and the allocator has given
//! back what nobody uses. The figures between, at every tenth reload, have not settled; they show a leak as a slope.

mod clients;
mod document;
mod servers;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use agw_tests::port::free_port;
use agw_tests::{Gateway, guest};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use self::clients::{Clients, Tally};
use self::document::Document;
use self::servers::Servers;
use crate::Verdict;

const RELOADS: usize = 100;
/// The whole load.
const LONG: Duration = Duration::from_secs(300);
/// For one reload: the gateway looks at its files every half a second.
const RELOAD_WITHIN: Duration = Duration::from_secs(30);
const RATE_LEAST: f64 = 10_000.0;
/// From a reload to a look at the memory: longer than the allocator takes to give back what nobody uses.
const SETTLE: Duration = Duration::from_secs(15);
/// Reloads between two looks at the memory on the way.
const LOOK_EVERY: usize = 10;

/// What a good document changes beside its number.
#[derive(Clone, Copy, Debug)]
enum Good {
    Number,
    Module,
    RedisPassword,
    SqlPassword,
    Pools,
    Listener,
}

/// What is wrong with a bad one.
#[derive(Clone, Copy, Debug)]
enum Bad {
    Syntax,
    Field,
    Port,
    Module,
    Password,
}

const GOOD: [Good; 6] =
    [Good::Number, Good::Module, Good::RedisPassword, Good::SqlPassword, Good::Pools, Good::Listener];
const BAD: [Bad; 5] = [Bad::Syntax, Bad::Field, Bad::Port, Bad::Module, Bad::Password];

/// The gateway, its files and what they are about.
struct World {
    servers: Servers,
    gateway: Gateway,
    document: Document,
    module: Vec<u8>,
    /// As `/v1/revisions` has it.
    live: u64,
    extra: SocketAddr,
    /// Holds a port that a bad document wants.
    taken: std::net::TcpListener,
}

pub(crate) fn run(verdict: &mut Verdict) -> Result<()> {
    let mut world = World::start()?;
    let address = world.gateway.listener("main")?;
    let clients = Clients::start(address)?;
    let start = Instant::now();
    let mut memory = Vec::new();
    let (mut good, mut bad) = (0, 0);
    let mut took = Vec::new();
    for reload in 0..RELOADS {
        let due = start + LONG / (RELOADS as u32 + 1) * (reload as u32 + 1);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if reload % 3 == 2 {
            world.refuse(BAD[bad % BAD.len()])?;
            bad += 1;
        } else {
            took.push(world.change(GOOD[good % GOOD.len()], &clients)?);
            good += 1;
        }
        if reload == 0 {
            thread::sleep(SETTLE);
        }
        if reload % LOOK_EVERY == 0 {
            memory.push(world.gateway.process().resident_bytes()?);
        }
    }
    thread::sleep(SETTLE);
    memory.push(world.gateway.process().resident_bytes()?);
    let tally = clients.stop()?;
    tally.failed.iter().take(10).for_each(|failure| println!("     {failure}"));
    took.sort_unstable();
    let p50 = took.get(took.len() / 2).copied().unwrap_or_default();
    println!(
        "     {good} documents taken, {bad} refused; p50 {p50:.1?} and at most {:.1?} from the file to its service",
        took.last().copied().unwrap_or_default()
    );
    judge(verdict, &tally, start.elapsed());
    judge_memory(verdict, &memory);
    let vms = world.gateway.metrics()?.value("agw_plugin_vms", &[]).unwrap_or_default();
    verdict.check("VMs at the end, at most one for each of 4 plugins and 2 workers", vms <= 8.0, vms);
    Ok(())
}

fn judge(verdict: &mut Verdict, tally: &Tally, elapsed: Duration) {
    let requests = tally.answered + tally.failed.len();
    let rate = requests as f64 / elapsed.as_secs_f64();
    verdict.timed("requests/s, at least 10,000", rate >= RATE_LEAST, format!("{rate:.0}, {requests} in all"));
    verdict.check("requests that failed", tally.failed.is_empty(), tally.failed.len());
    verdict.check("answers of two revisions", tally.mixed == 0, tally.mixed);
    let revisions = tally.revisions.len();
    verdict.check("every revision was seen", revisions > RELOADS * 2 / 3, revisions);
}

/// `memory` is what there was after the first reload, at every tenth one from there, and at the end.
fn judge_memory(verdict: &mut Verdict, memory: &[u64]) {
    let mib: Vec<f64> = memory.iter().map(|bytes| *bytes as f64 / f64::from(1 << 20)).collect();
    let (first, last) = (mib.first().copied().unwrap_or_default(), mib.last().copied().unwrap_or_default());
    let series: Vec<_> = mib.iter().map(|mib| format!("{mib:.1}")).collect();
    println!("     memory in MiB, every {LOOK_EVERY} reloads and at the end: {}", series.join(" "));
    let growth = (last / first - 1.0) * 100.0;
    let figure = format!("{growth:+.1} %, {first:.1} and {last:.1} MiB");
    verdict.check(
        "memory at the end, against that after the first reload, at most 3 % more",
        growth <= 3.0,
        figure,
    );
}

impl World {
    fn start() -> Result<Self> {
        let servers = Servers::start()?;
        let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
        let extra = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let document = Document::new(&servers);
        let module = std::fs::read(guest("header-filter")?)?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("first.wasm"), &module)?;
        std::fs::write(folder.path().join("redis.secret"), Servers::FIRST_PASSWORD)?;
        std::fs::write(folder.path().join("sql.secret"), Servers::FIRST_PASSWORD)?;
        let options = ["--admin", "127.0.0.1:0", "--workers", "2", "--access-log", "off"];
        let gateway = Gateway::start_in(folder, &document.yaml(), &options)?;
        Ok(World { servers, gateway, document, module, live: 1, extra, taken })
    }

    /// Puts the next good document in place, and waits until it serves.
    fn change(&mut self, what: Good, clients: &Clients) -> Result<Duration> {
        self.document.number += 1;
        match what {
            Good::Number => {}
            Good::Module => {
                // The same code, another file.
                let section = [0, 6, 4, b'm', b'a', b'd', b'e', self.document.number as u8];
                self.gateway.replace("first.wasm", [self.module.as_slice(), &section].concat())?;
            }
            Good::RedisPassword => {
                let password = self.servers.rotate_redis()?;
                self.gateway.replace("redis.secret", password)?;
            }
            Good::SqlPassword => {
                let password = self.servers.rotate_sql()?;
                self.gateway.replace("sql.secret", password)?;
            }
            Good::Pools => self.document.pool = if self.document.pool == 4 { 6 } else { 4 },
            Good::Listener => {
                self.document.extra = if self.document.extra.is_some() { None } else { Some(self.extra) };
            }
        }
        let written = Instant::now();
        self.gateway.replace("agw.yaml", self.document.yaml())?;
        self.live += 1;
        let live = self.live;
        // A look at the files may fall between the two writes; then there are two revisions.
        let page = self.wait("the document serves", |page| {
            page["live"].as_u64() >= Some(live) && page["revisions"][0]["state"] == "live"
        })?;
        clients.wait_for(self.document.number, RELOAD_WITHIN)?;
        self.live = page["live"].as_u64().context("a number")?;
        if let Good::RedisPassword = what {
            self.servers.forget_redis()?;
        }
        if let Good::Listener = what {
            let connects = std::net::TcpStream::connect(self.extra).is_ok();
            ensure!(connects == self.document.extra.is_some(), "the listener: {connects}");
        }
        Ok(written.elapsed())
    }

    /// Puts a bad document in place, waits until it is refused, and puts the good one back.
    fn refuse(&mut self, what: Bad) -> Result<()> {
        let good = self.document.yaml();
        let (told, spoiled) = match what {
            Bad::Syntax => ("line", good.replace("routes:", "routes: [")),
            Bad::Field => ("colour", good.replace("version: 1", "version: 1\ncolour: red")),
            Bad::Port => {
                let taken =
                    format!("listeners:\n- {{ name: taken, address: \"{}\" }}", self.taken.local_addr()?);
                ("taken by another process", good.replace("listeners:", &taken))
            }
            Bad::Module => {
                self.gateway.replace("broken.wasm", &self.module[..self.module.len() / 2])?;
                ("load the plugin", good.replace("first.wasm", "broken.wasm"))
            }
            Bad::Password => {
                self.gateway.replace("wrong.secret", "planted-wrong")?;
                ("refused the login", good.replace("redis.secret", "wrong.secret"))
            }
        };
        ensure!(spoiled != good, "{what:?} spoils nothing");
        self.gateway.replace("agw.yaml", spoiled)?;
        self.wait(told, |page| {
            let newest = &page["revisions"][0];
            newest["state"] == "refused" && newest["reasons"].to_string().contains(told)
        })?;
        self.gateway.replace("agw.yaml", good)
    }

    fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = Instant::now() + RELOAD_WITHIN;
        loop {
            let page = self.gateway.ask_admin("/v1/revisions")?.json()?;
            if holds(&page) {
                return Ok(page);
            }
            if Instant::now() >= end {
                bail!(
                    "after {RELOAD_WITHIN:?} it does not hold: {what}\n{page:#}\n{}",
                    self.gateway.output()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
