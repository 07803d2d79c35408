//! The life of a process that serves: start, say where, wait for the end, drain.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use agw_config::Snapshot;
use agw_proxy::{Inherited, OpenDoors};
use agw_telemetry::Metrics;
use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::Admin;
use crate::cli::ServeArgs;
use crate::gateway::{Gateway, GatewayOptions};
use crate::hand_over::{Offer, Passed, Predecessor};
use crate::live::Live;
use crate::open_files;
use crate::reload::{Trigger, Watch, WatchStart};

/// What to serve.
pub(crate) struct Service {
    pub(crate) snapshot: Snapshot,
    pub(crate) serve: ServeArgs,
    pub(crate) cache_dir: Option<PathBuf>,
    /// Where a predecessor may be, and a successor will look for this process.
    pub(crate) hand_over: Option<PathBuf>,
    /// Where the snapshot came from, if it may change there.
    pub(crate) watch: Option<WatchStart>,
}

/// Why a process that serves ends.
enum End {
    Signal,
    HandedOver,
}

impl Service {
    /// Runs until SIGTERM, SIGINT or a hand-over. `started` is told the listeners' names and addresses once they serve.
    ///
    /// The main thread's runtime has the admin port, the hand-over and the signals; workers have threads of their own.
    ///
    /// # Errors
    /// Whatever keeps the gateway from starting.
    pub(crate) fn run(self, started: impl FnOnce(&[(String, SocketAddr)]) -> Result<()>) -> Result<ExitCode> {
        open_files::raise_limit();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("start the main runtime")?.block_on(self.serve(started))
    }

    async fn serve(self, started: impl FnOnce(&[(String, SocketAddr)]) -> Result<()>) -> Result<ExitCode> {
        let mut signals = Signals::new()?;
        let started_gateway = tokio::select! {
            gateway = Started::start(self) => gateway?,
            // Compilation may take seconds; nobody should have to wait for it to give up.
            () = signals.next() => return Ok(ExitCode::SUCCESS),
        };
        let Started { mut live, mut admin, offer } = started_gateway;
        started(&live.gateway.addresses())?;
        let end = {
            let doors = live.gateway.open_doors();
            let mut handed_over = pin!(handed_over(offer.as_ref(), &doors, &admin));
            loop {
                let trigger = tokio::select! {
                    () = signals.next() => break End::Signal,
                    () = &mut handed_over => break End::HandedOver,
                    trigger = due(&mut live.watch) => trigger,
                };
                // The successor reads the same files. Should it fail, the next look finds them changed again.
                if offer.as_ref().is_some_and(Offer::is_under_way) {
                    continue;
                }
                tokio::select! {
                    () = live.reload(trigger, &admin) => {}
                    // What it was about to change has changed wholly or not at all.
                    () = signals.next() => break End::Signal,
                    () = &mut handed_over => break End::HandedOver,
                }
            }
        };
        if let End::HandedOver = end {
            tracing::info!("handed over: the successor serves");
            admin.release();
        }
        drop(offer);
        tracing::info!("draining: no new connections, requests under way finish");
        admin.set_draining();
        tokio::select! {
            () = live.gateway.drain() => tracing::info!("drained"),
            () = signals.next() => tracing::warn!("second signal: stopped without draining"),
        }
        admin.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// What ends the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).context("wait for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("wait for SIGINT")?,
        })
    }

    /// Returns at the next. Cancel safe.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn due(watch: &mut Option<Watch>) -> Trigger {
    match watch {
        Some(watch) => watch.due().await,
        None => std::future::pending().await,
    }
}

/// A gateway that serves, and says so.
struct Started {
    live: Live,
    admin: Admin,
    offer: Option<Offer>,
}

impl Started {
    async fn start(service: Service) -> Result<Self> {
        let Service { snapshot, serve, cache_dir, hand_over, watch } = service;
        let metrics = Arc::new(Metrics::new());
        let found = hand_over.as_deref().map(Predecessor::find).transpose()?.flatten();
        let (predecessor, passed) = found.unzip();
        let Passed { listeners, admin } = passed.unwrap_or_default();
        let socket = Admin::bind(serve.admin, admin).await?;
        let mut inherited = Inherited::default();
        for (name, listener) in listeners {
            inherited.add(listener).with_context(|| format!("take over the listener {name:?}"))?;
        }
        let options = GatewayOptions {
            workers: serve.workers().get(),
            access_log: serve.access_log.is_on(),
            cache_dir,
            metrics: metrics.clone(),
            inherited,
        };
        // The admin port answers while plugins are still being compiled: alive, not ready. A predecessor's port says
        // what the predecessor is, until this process can say that it is ready.
        let (gateway, admin) = match predecessor {
            None => {
                let admin = Admin::start(socket, Arc::clone(&metrics))?;
                (Gateway::start(snapshot, options).await?, admin)
            }
            Some(_) => {
                (Gateway::start(snapshot, options).await?, Admin::start(socket, Arc::clone(&metrics))?)
            }
        };
        let mut offer = hand_over.as_deref().map(Offer::prepare).transpose()?;
        announce(&gateway.addresses(), admin.address())?;
        let live = Live::new(gateway, watch.map(WatchStart::watch).transpose()?, metrics, &admin);
        if let (Some(offer), Some(path)) = (&mut offer, &hand_over) {
            offer.publish(path)?;
        }
        // Last: from here on nothing keeps this process from serving.
        if let Some(predecessor) = predecessor {
            predecessor.serving();
        }
        Ok(Started { live, admin, offer })
    }
}

/// Returns when a successor serves; never without a place to meet one.
async fn handed_over(offer: Option<&Offer>, doors: &OpenDoors, admin: &Admin) {
    let Some(offer) = offer else { return std::future::pending().await };
    let sockets = || Ok(Passed { listeners: doors.sockets()?, admin: admin.socket()? });
    offer.handed_over(sockets).await;
}

/// One line per address, for people and for scripts that asked for port 0.
fn announce(listeners: &[(String, SocketAddr)], admin: SocketAddr) -> Result<()> {
    let mut out = io::stderr().lock();
    for (name, address) in listeners {
        writeln!(out, "listening name={name} address={address}").context("announce the listeners")?;
    }
    writeln!(out, "admin address={admin}").context("announce the admin port")
}
