//! Postgres: the driver's connections, each for one call at a time, with decoders and transactions of our own.

mod cursor;
mod decode;
mod encode;
mod failure;
mod numeric;
mod open;
mod session;
mod shared;
mod statements;
mod stop;
mod wire;

use std::sync::Arc;

use agw_config::{SqlHost, SqlResource, SqlServer};
use agw_sql_statements::{Dialect, Kind, check};
use tokio::time::Instant;

use crate::engine::{BoxFuture, Connection, Engine, Failure, Page, Ran, SharedConnection, Stopper, Work};
use crate::error::{BuildError, ConnectError, Refused};
use crate::hosts::Hosts;
pub(crate) use failure::refused;
pub(crate) use open::{Opener, check_role, role};
use session::Session;
use shared::PostgresShared;
use statements::{NotPrepared, Prepared};

/// One database of a server.
pub(crate) struct PostgresEngine {
    hosts: Hosts<Opener>,
    statements_max: usize,
}

/// A connection to it.
pub(crate) struct PostgresConnection(Session);

// === impl PostgresEngine ===

impl PostgresEngine {
    /// No I/O.
    ///
    /// # Errors
    /// [`BuildError::Tls`].
    pub(crate) fn new(resource: &SqlResource, server: &SqlServer) -> Result<Self, BuildError> {
        let host = |at: &SqlHost| Ok((at.to_string(), Opener::new(resource, server, at)?));
        let hosts = server.hosts.iter().map(host).collect::<Result<_, _>>()?;
        let hosts = Hosts::new(&resource.name, hosts, server.target);
        Ok(PostgresEngine { hosts, statements_max: resource.pool.statements_max })
    }
}

impl Engine for PostgresEngine {
    fn connect(&self, until: Instant) -> BoxFuture<'_, Result<Box<dyn Connection>, ConnectError>> {
        Box::pin(async move {
            let (opened, link) = self.hosts.open(until).await?;
            let session = Session::new(opened, link, self.statements_max);
            Ok(Box::new(PostgresConnection(session)) as Box<dyn Connection>)
        })
    }

    fn connect_shared(
        &self,
        until: Instant,
    ) -> BoxFuture<'_, Result<Arc<dyn SharedConnection>, ConnectError>> {
        Box::pin(async move {
            let (opened, link) = self.hosts.open(until).await?;
            link.host().share(&opened).await?;
            if !opened.seen.is_read_only() {
                let message =
                    "pipelined statements need a server that tells its settings: Postgres 14 or later";
                return Err(ConnectError::Open(message.into()));
            }
            Ok(Arc::new(PostgresShared::new(opened, link, self.statements_max)) as Arc<dyn SharedConnection>)
        })
    }
}

// === impl PostgresConnection ===

impl Connection for PostgresConnection {
    fn run<'a>(&'a mut self, work: &'a Arc<Work>) -> BoxFuture<'a, Result<Ran, Failure>> {
        // Before the first poll: whatever stops the work comes after this.
        self.0.stop.begin();
        Box::pin(async move { self.0.run(work).await.map_err(Failure::from) })
    }

    fn fetch(&mut self, page: Page) -> BoxFuture<'_, Result<Ran, Failure>> {
        self.0.stop.begin();
        Box::pin(async move { self.0.fetch(page).await.map_err(Failure::from) })
    }

    fn stopper(&self) -> Arc<dyn Stopper> {
        Arc::clone(&self.0.stop) as Arc<dyn Stopper>
    }

    fn prove_clean(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(self.0.prove_clean())
    }

    fn is_open(&self) -> bool {
        !self.0.spent && !self.0.client.is_closed() && !self.0.link.is_retired()
    }

    fn prepare<'a>(&'a mut self, text: &'a str) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(async move {
            let reads = check(text, Dialect::Postgres).is_ok_and(|kind| kind == Kind::Reads);
            match Prepared::new(&self.0.client, &text.into(), reads).await {
                Ok(_) => Ok(()),
                Err(NotPrepared::Server(error)) => Err(refused(&error, text)),
                Err(NotPrepared::Call(error)) => Err(Refused { message: error.message, position: None }),
            }
        })
    }
}
