//! Every fault of every kind of server: what a call comes to meanwhile, and how soon calls are answered again after its
//! cure. What each cell may come to stands in [`Fault::comes_to`], and in `docs/faults.md`.

mod backend;
mod caller;
mod certificates;
mod failover;

use std::time::Duration;

use agw_tests::{FaultProxy, Mode};
use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::Value;

use self::backend::{Backend, KINDS, Kind};
use self::caller::Caller;
use self::certificates::Authority;
use crate::verdict::Verdict;

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
    caller: Caller,
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
        runtime.block_on(failover::meet(kind, verdict))?;
    }
    Ok(())
}

impl World {
    fn start(kind: Kind, tls: bool) -> Result<Self> {
        let authority = Authority::new()?;
        let backend = Backend::start(kind, &authority)?;
        let proxy = FaultProxy::start(backend.address(tls))?;
        let address = proxy.address();
        let place = match kind {
            Kind::Redis if tls => format!("url: rediss://{address}"),
            Kind::Redis => format!("url: redis://{address}"),
            Kind::Postgres => format!("url: postgres://{address}/postgres"),
            Kind::Mariadb => format!("url: mysql://{address}/app"),
        };
        let tls = if tls { "\n  tls: { ca: { file: ca.pem } }" } else { "" };
        let caller = Caller::start(kind, &format!("{place}{tls}"), backend.password(), &authority)?;
        Ok(World { kind, authority, backend, proxy, caller })
    }

    async fn meet(&mut self, fault: Fault, verdict: &mut Verdict) -> Result<()> {
        let cell = format!("{:?}, {fault:?}", self.kind);
        self.caller.recover().await.with_context(|| format!("{cell}: before"))?;
        self.inject(fault)?;
        let outcomes = self.caller.ask().await?;
        self.cure(fault)?;
        let back = self.caller.recover().await.with_context(|| format!("{cell}: after its cure"))?;
        caller::judge(verdict, &cell, &fault.comes_to(self.kind), &outcomes, back);
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

    /// Nothing is held when nobody asks.
    fn nothing_is_lost(&self, verdict: &mut Verdict) -> Result<()> {
        let resource = self.caller.nothing_is_held(&format!("{:?}", self.kind), verdict)?;
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
