//! MySQL and MariaDB: the driver's connections, each for one call at a time, with transactions and decoders of our own.

mod clean;
mod cursor;
mod decode;
mod encode;
mod failure;
mod open;
mod role;
mod rows;
mod session;
mod statements;
mod stop;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use agw_config::{SqlHost, SqlResource, SqlServer};
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::engine::{BoxFuture, Connection, Engine, Failure, Page, Ran, Stopper, Work};
use crate::error::{BuildError, ConnectError, Refused, lost};
use crate::hosts::Hosts;
pub(crate) use failure::refused;
pub(crate) use open::{Opened, Opener, role_of};
pub(crate) use role::check as check_account;
use session::Session;
use stop::Stop;

/// One database of a server.
pub(crate) struct MysqlEngine {
    hosts: Arc<Hosts<Opener>>,
    statements_max: usize,
}

/// A connection to it.
pub(crate) struct MysqlConnection {
    stop: Arc<Stop>,
    /// `None` only while it is dropped.
    session: Option<Session>,
}

// === impl MysqlEngine ===

impl MysqlEngine {
    /// No I/O.
    ///
    /// # Errors
    /// [`BuildError::Tls`], also for a password that is no text.
    pub(crate) fn new(resource: &SqlResource, server: &SqlServer) -> Result<Self, BuildError> {
        let host = |at: &SqlHost| Ok((at.to_string(), Opener::new(resource, server, at)?));
        let hosts = server.hosts.iter().map(host).collect::<Result<_, _>>()?;
        let hosts = Arc::new(Hosts::new(&resource.name, hosts, server.target));
        Ok(MysqlEngine { hosts, statements_max: resource.pool.statements_max })
    }
}

impl Engine for MysqlEngine {
    fn connect(&self, until: Instant) -> BoxFuture<'_, Result<Box<dyn Connection>, ConnectError>> {
        Box::pin(async move {
            let (opened, link) = self.hosts.open(until).await?;
            let session = Session::new(opened, link, &self.hosts, self.statements_max);
            let stop = Arc::clone(&session.stop);
            Ok(Box::new(MysqlConnection { stop, session: Some(session) }) as Box<dyn Connection>)
        })
    }
}

// === impl MysqlConnection ===

impl Connection for MysqlConnection {
    fn run<'a>(&'a mut self, work: &'a Arc<Work>) -> BoxFuture<'a, Result<Ran, Failure>> {
        // Before the first poll: whatever stops the work comes after this.
        self.stop.begin();
        Box::pin(async move {
            let session = self.session.as_mut().ok_or_else(gone)?;
            session.is_busy = true;
            let ran = unbroken(session.run(work)).await;
            session.ended(ran)
        })
    }

    fn fetch(&mut self, page: Page) -> BoxFuture<'_, Result<Ran, Failure>> {
        self.stop.begin();
        Box::pin(async move {
            let session = self.session.as_mut().ok_or_else(gone)?;
            session.is_busy = true;
            let ran = unbroken(session.fetch(page)).await;
            session.ended(ran)
        })
    }

    fn stopper(&self) -> Arc<dyn Stopper> {
        Arc::clone(&self.stop) as Arc<dyn Stopper>
    }

    fn prove_clean(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let Some(session) = self.session.as_mut() else { return false };
            session.is_busy = true;
            let clean = unbroken(session.prove_clean()).await.unwrap_or(false);
            session.is_busy = !clean;
            clean
        })
    }

    fn is_open(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_open)
    }

    fn prepare<'a>(&'a mut self, text: &'a str) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(async move {
            let garbled = || Refused { message: GARBLED.to_owned(), position: None };
            let session = self.session.as_mut().ok_or_else(garbled)?;
            unbroken(session.prepare(text)).await.unwrap_or_else(|| Err(garbled()))
        })
    }
}

impl Drop for MysqlConnection {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.close();
        }
    }
}

fn gone() -> Failure {
    Failure { error: lost(), broken: true }
}

const GARBLED: &str = "the server says what the driver cannot understand";

/// `None` if the driver panicked: it trusts the server in places, and a server must not end the resource's tasks.
pub(crate) async fn unbroken<T>(future: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(future).catch_unwind().await.ok()
}
