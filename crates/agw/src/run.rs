//! The life of a process that serves: start, say where, wait for the end, drain.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use agw_config::Snapshot;
use agw_telemetry::Metrics;
use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::{Admin, View};
use crate::cli::ServeArgs;
use crate::gateway::{Gateway, GatewayOptions};

/// What to serve.
pub(crate) struct Service {
    pub(crate) snapshot: Snapshot,
    pub(crate) serve: ServeArgs,
    pub(crate) cache_dir: Option<PathBuf>,
}

impl Service {
    /// Runs until SIGTERM or SIGINT. `started` is told the listeners' names and addresses once they serve.
    ///
    /// The main thread's runtime has the admin port and the signals; workers have threads of their own.
    ///
    /// # Errors
    /// Whatever keeps the gateway from starting.
    pub(crate) fn run(self, started: impl FnOnce(&[(String, SocketAddr)]) -> Result<()>) -> Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("start the main runtime")?.block_on(self.serve(started))
    }

    async fn serve(self, started: impl FnOnce(&[(String, SocketAddr)]) -> Result<()>) -> Result<ExitCode> {
        let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
        let metrics = Arc::new(Metrics::new());
        // The admin port answers while plugins are still being compiled: alive, not ready.
        let admin = Admin::start(self.serve.admin, metrics.clone()).await?;
        let options = GatewayOptions {
            workers: self.serve.workers().get(),
            access_log: self.serve.access_log.is_on(),
            cache_dir: self.cache_dir,
            metrics,
        };
        let gateway = tokio::select! {
            gateway = Gateway::start(self.snapshot, options) => gateway?,
            // Compilation may take seconds; nobody should have to wait for it to give up.
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
        };
        announce(&gateway.addresses, admin.address())?;
        admin.show(View::of(&gateway));
        started(&gateway.addresses)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("draining: no new connections, requests under way finish");
        admin.set_draining();
        tokio::select! {
            () = gateway.drain() => tracing::info!("drained"),
            _ = terminate.recv() => tracing::warn!("second signal: stopped without draining"),
            _ = interrupt.recv() => tracing::warn!("second signal: stopped without draining"),
        }
        admin.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// One line per address, for people and for scripts that asked for port 0.
fn announce(listeners: &[(String, SocketAddr)], admin: SocketAddr) -> Result<()> {
    let mut out = io::stderr().lock();
    for (name, address) in listeners {
        writeln!(out, "listening name={name} address={address}").context("announce the listeners")?;
    }
    writeln!(out, "admin address={admin}").context("announce the admin port")
}
