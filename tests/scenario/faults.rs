//! Every fault of every kind of server: what a call comes to meanwhile, and how soon calls are answered again after its
//! cure. What each cell may come to stands in [`Fault::comes_to`], and in `docs/faults.md`.

mod backend;
mod certificates;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agw_tests::{Client, FaultProxy, Gateway, Mode, guest};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::Value;

use self::backend::{Backend, KINDS, Kind};
use self::certificates::Authority;
use crate::verdict::Verdict;

const BACK_WITHIN: Duration = Duration::from_secs(2);
/// No cure takes longer, whatever the machine.
const GIVE_UP: Duration = Duration::from_secs(30);
/// Calls under each fault.
const CALLS: usize = 12;
/// Between two of them: some of them meet the probes of an open breaker.
const PACE: Duration = Duration::from_millis(60);
/// Of the resource.
const CALL_TIMEOUT: Duration = Duration::from_millis(400);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Stop,
    ShortDelay,
    LongDelay,
    Reset,
    HalfOpen,
    SlowBytes,
    BadBytes,
    WrongPassword,
    ConnectionLimit,
    ExpiredCertificate,
    WrongName,
}

const FAULTS: [Fault; 12] = [
    Fault::Kill,
    Fault::Stop,
    Fault::ShortDelay,
    Fault::LongDelay,
    Fault::Reset,
    Fault::HalfOpen,
    Fault::SlowBytes,
    Fault::BadBytes,
    Fault::WrongPassword,
    Fault::ConnectionLimit,
    Fault::ExpiredCertificate,
    Fault::WrongName,
];

/// Codes of calls that ran into their deadline, at whatever stage, and of those that a breaker spared it.
const LATE: [&str; 4] = ["timeout_io", "timeout_connect", "timeout_queue", "circuit_open"];
/// Of calls without a server.
const GONE: [&str; 2] = ["unavailable", "circuit_open"];

impl Fault {
    /// What a call may come to; the first of it at least once. The first calls may still have been on a
    /// connection from before.
    fn comes_to(self, kind: Kind) -> Vec<&'static str> {
        // A multiplexed connection that has been silent for too long is thrown away, and a new one cannot be made.
        let late = || [&LATE[..], &["unavailable"]].concat();
        match (self, kind) {
            (Fault::Kill | Fault::Reset | Fault::ExpiredCertificate | Fault::WrongName, _) => GONE.to_vec(),
            (Fault::ConnectionLimit, _) => GONE.to_vec(),
            // The processes that serve the connections that are open are not stopped.
            (Fault::Stop, Kind::Postgres) => [&["ok"], &LATE[..]].concat(),
            (Fault::Stop | Fault::LongDelay | Fault::HalfOpen, Kind::Redis) => late(),
            (Fault::Stop | Fault::LongDelay | Fault::HalfOpen, _) => LATE.to_vec(),
            (Fault::ShortDelay, Kind::Redis) => vec!["ok"],
            // Several round trips, if a connection has to be made.
            (Fault::ShortDelay, _) => vec!["ok", "timeout_io", "timeout_connect"],
            (Fault::SlowBytes, Kind::Redis) => [late(), vec!["ok"]].concat(),
            (Fault::SlowBytes, _) => LATE.to_vec(),
            (Fault::BadBytes, Kind::Redis) => [&GONE[..], &LATE[..]].concat(),
            // The first bytes may be the length of a message that nobody would take.
            (Fault::BadBytes, _) => [&GONE[..], &LATE[..], &["too_large"]].concat(),
            (Fault::WrongPassword, _) => vec!["auth", "unavailable", "circuit_open"],
        }
    }

    fn is_over_tls(self) -> bool {
        matches!(self, Fault::ExpiredCertificate | Fault::WrongName)
    }
}

/// One kind of server behind a proxy, and a gateway in front.
struct World {
    kind: Kind,
    authority: Authority,
    backend: Backend,
    proxy: FaultProxy,
    gateway: Gateway,
}

pub(crate) fn run(verdict: &mut Verdict) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for kind in KINDS {
        for tls in [false, true] {
            let mut world = World::start(kind, tls)?;
            for fault in FAULTS.into_iter().filter(|fault| fault.is_over_tls() == tls) {
                runtime.block_on(world.meet(fault, verdict))?;
            }
            world.nothing_is_lost(verdict)?;
        }
    }
    Ok(())
}

impl World {
    fn start(kind: Kind, tls: bool) -> Result<Self> {
        let authority = Authority::new()?;
        let backend = Backend::start(kind, &authority)?;
        let proxy = FaultProxy::start(backend.address(tls))?;
        let files = [("password", backend.password().as_bytes()), ("ca.pem", &authority.pem().into_bytes())];
        let options = ["--admin", "127.0.0.1:0", "--workers", "1", "--access-log", "off"];
        let gateway = Gateway::start_with(&document(kind, tls, &proxy)?, &files, &options)?;
        Ok(World { kind, authority, backend, proxy, gateway })
    }

    async fn meet(&mut self, fault: Fault, verdict: &mut Verdict) -> Result<()> {
        let cell = format!("{:?}, {fault:?}", self.kind);
        self.recover().await.with_context(|| format!("{cell}: before"))?;
        self.inject(fault)?;
        let mut outcomes = BTreeMap::new();
        for _ in 0..CALLS {
            *outcomes.entry(self.call().await?).or_insert(0) += 1;
            tokio::time::sleep(PACE).await;
        }
        self.cure(fault)?;
        let back = self.recover().await.with_context(|| format!("{cell}: after its cure"))?;
        let allowed = fault.comes_to(self.kind);
        let known = outcomes.keys().all(|outcome| allowed.contains(&outcome.as_str()))
            && allowed.first().is_some_and(|first| outcomes.contains_key(*first));
        verdict.check(&cell, known, format!("{outcomes:?}"));
        verdict.within(&format!("{cell}: answered again after its cure"), BACK_WITHIN, back);
        Ok(())
    }

    fn inject(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill => self.backend.kill(),
            Fault::Stop => self.backend.stop(),
            Fault::ShortDelay => self.proxy.set(Mode::HoldReplies(Duration::from_millis(100))),
            Fault::LongDelay => self.proxy.set(Mode::HoldReplies(Duration::from_secs(5))),
            Fault::Reset => self.proxy.set(Mode::Reset),
            Fault::HalfOpen => self.proxy.set(Mode::Stall),
            Fault::SlowBytes => self.proxy.set(Mode::SlowBytes(Duration::from_millis(50))),
            Fault::BadBytes => self.proxy.set(Mode::Garbage(Bytes::from_static(b"\xff\x00\xffgarbage\r\n"))),
            Fault::WrongPassword => {
                self.backend.set_password(false)?;
                self.break_connections()?;
                // The gateway's own attempts to connect find out, after their back-off.
                std::thread::sleep(Duration::from_millis(1500));
                Ok(())
            }
            Fault::ConnectionLimit => self.break_connections().and_then(|()| self.backend.set_room(false)),
            Fault::ExpiredCertificate => {
                self.backend.set_certificate(&self.authority.expired()?)?;
                self.break_connections()
            }
            Fault::WrongName => {
                self.backend.set_certificate(&self.authority.of_another_name()?)?;
                self.break_connections()
            }
        }
    }

    fn cure(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill => self.backend.restart(),
            Fault::Stop => self.backend.cont(),
            Fault::WrongPassword => self.backend.set_password(true),
            Fault::ConnectionLimit => self.backend.set_room(true),
            Fault::ExpiredCertificate | Fault::WrongName => {
                self.backend.set_certificate(&self.authority.right()?)
            }
            _ => self.proxy.set(Mode::Pass),
        }
    }

    /// Those that are open are reset; new ones get through.
    fn break_connections(&self) -> Result<()> {
        self.proxy.set(Mode::Reset)?;
        std::thread::sleep(Duration::from_millis(100));
        self.proxy.set(Mode::Pass)
    }

    /// Asks until a call is answered.
    async fn recover(&self) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let outcome = self.call().await?;
            if outcome == "ok" {
                return Ok(start.elapsed());
            }
            if start.elapsed() > GIVE_UP {
                bail!("still {outcome} after {GIVE_UP:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The outcome of one call, as the metrics have it.
    async fn call(&self) -> Result<String> {
        let before = self.outcomes().await?;
        let asked = Client::new(self.gateway.address()?).get("/a/echo/1").await;
        asked.context("a request has to be answered, whatever its call comes to")?;
        let after = self.outcomes().await?;
        let more =
            after.into_iter().find(|(outcome, count)| before.get(outcome).is_none_or(|old| old < count));
        Ok(more.context("the request made no call")?.0)
    }

    async fn outcomes(&self) -> Result<BTreeMap<String, u64>> {
        let page = Client::new(self.gateway.admin()).get("/metrics").await?.text();
        let counts = page.lines().filter_map(|line| {
            let rest = line.strip_prefix("agw_resource_operation_duration_seconds_count{")?;
            let (labels, count) = rest.split_once("} ")?;
            let (_, outcome) = labels.split_once("outcome=\"")?;
            Some((outcome.split('"').next()?.to_owned(), count.trim().parse().ok()?))
        });
        Ok(counts.collect())
    }

    /// Nothing is held when nobody asks.
    fn nothing_is_lost(&self, verdict: &mut Verdict) -> Result<()> {
        let end = Instant::now() + GIVE_UP;
        let (resource, plugin) = loop {
            let page = |path| anyhow::Ok(self.gateway.ask_admin(path)?.json()?[0].clone());
            let (resource, plugin) = (page("/v1/resources")?, page("/v1/plugins")?);
            let connections = &resource["connections"];
            let held = [&resource["in_flight"], &resource["waiting"], &connections["leased"]];
            if held.iter().all(|count| **count == 0) || Instant::now() >= end {
                break (resource, plugin);
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let counts = [&resource["in_flight"], &resource["waiting"], &resource["connections"]["leased"]];
        let cell = format!("{:?}: calls under way, waiting, connections leased in the end", self.kind);
        verdict.check(&cell, counts.iter().all(|count| **count == 0), format!("{counts:?}"));
        let traps = self.gateway.metrics()?.value("agw_plugin_traps_total", &[]).unwrap_or_default();
        let vms = plugin["vms"].as_u64().unwrap_or_default();
        let figure = format!("{traps} and {vms}");
        verdict.check(&format!("{:?}: traps, and VMs", self.kind), traps == 0.0 && vms == 1, figure);
        let open = self.proxy.open();
        let shown = |value: &Value| value.as_u64().unwrap_or_default() as usize;
        let known = shown(&resource["connections"]["multiplexed"]) + shown(&resource["connections"]["idle"]);
        let figure = format!("{open} and {known}");
        verdict.check(
            &format!("{:?}: connections, as the proxy and the gateway count", self.kind),
            open == known,
            figure,
        );
        Ok(())
    }
}

fn document(kind: Kind, tls: bool, proxy: &FaultProxy) -> Result<String> {
    let tls = if tls { "\n  tls: { ca: { file: ca.pem } }" } else { "" };
    let address = proxy.address();
    let scheme = if kind == Kind::Redis && !tls.is_empty() { "rediss" } else { "redis" };
    let (plugin, kind) = match kind {
        Kind::Redis => (
            "module: { builtin: rate-limit }, vm: { mode: shared }, \
             configuration: { limit: 1000000, window: 3600, resource: db, on_error: closed }"
                .to_owned(),
            format!(
                "type: redis\n  url: {scheme}://{address}\n  grants: [{{ plugin: a, commands: [set, incr, pttl], key_prefix: \"a:\" }}]"
            ),
        ),
        Kind::Postgres | Kind::Mariadb => {
            let (name, url, text) = match kind {
                Kind::Postgres => ("postgres", format!("postgres://{address}/postgres"), "SELECT $1::bigint"),
                _ => ("mysql", format!("mysql://{address}/app"), "SELECT CAST(? AS SIGNED)"),
            };
            let module = guest("sql-probe")?;
            (
                format!("module: {{ file: \"{}\" }}, configuration: db", module.display()),
                format!(
                    "type: {name}\n  url: {url}\n  statements: {{ echo: \"{text}\" }}\n  \
                     grants: [{{ plugin: a, statements: [echo] }}]"
                ),
            )
        }
    };
    let timeout = CALL_TIMEOUT.as_millis();
    Ok(format!(
        "version: 1
listeners: [{{ name: http, address: \"127.0.0.1:0\" }}]
routes: [{{ name: a, match: {{ prefix: /a/ }}, cluster: echo, plugins: [a] }}]
clusters: [{{ name: echo, builtin: echo }}]
plugins: [{{ name: a, {plugin} }}]
resources:
- name: db
  {kind}
  username: agw
  password: {{ file: password }}
  limits: {{ call_timeout: {timeout}ms }}
  pool: {{ acquire_timeout: 1s }}{tls}
"
    ))
}
