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

use agw_config::{SqlResource, SqlServer};
use agw_sql_statements::{Dialect, Kind, check};

use crate::engine::{BoxFuture, Connection, Engine, Failure, Page, Ran, SharedConnection, Stopper, Work};
use crate::error::{BuildError, ConnectError, Refused};
use failure::refused;
use open::Opener;
use session::Session;
use shared::PostgresShared;
use statements::{NotPrepared, Prepared};
use stop::Stop;

/// One database of a server.
pub(crate) struct PostgresEngine {
    opener: Arc<Opener>,
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
        let opener = Arc::new(Opener::new(resource, server)?);
        Ok(PostgresEngine { opener, statements_max: resource.pool.statements_max })
    }
}

impl Engine for PostgresEngine {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Connection>, ConnectError>> {
        Box::pin(async move {
            let opened = self.opener.open().await?;
            let stop = Arc::new(Stop::new(Arc::clone(&self.opener), opened.client.cancel_token()));
            let session = Session::new(opened.client, opened.seen, stop, self.statements_max, opened.goodbye);
            Ok(Box::new(PostgresConnection(session)) as Box<dyn Connection>)
        })
    }

    fn connect_shared(&self) -> BoxFuture<'_, Result<Arc<dyn SharedConnection>, ConnectError>> {
        Box::pin(async move {
            let opened = self.opener.open_shared().await?;
            Ok(Arc::new(PostgresShared::new(opened, self.statements_max)) as Arc<dyn SharedConnection>)
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
        !self.0.spent && !self.0.client.is_closed()
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
