//! What an engine implements: connections that run work, stop when told, and prove themselves clean.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use agw_sql_statements::Kind;
use agw_wire::CallError;
use agw_wire::sql::ReplyWriter;
use tokio::time::Instant;

use crate::error::{ConnectError, Refused};

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One kind of server. Everything here runs on the resource runtime, shared connections on a worker, and must not block.
pub(crate) trait Engine: Send + Sync {
    /// Opens a connection, logged in and with its session set up: what statements rely on (time zone, text encoding,
    /// the settings that the gate takes for granted) is fixed here.
    ///
    /// # Cancel safety
    /// Dropped at `until` (`connect_timeout`, or the call's deadline): what was begun is closed. Of several hosts each has a
    /// share of the time until then.
    fn connect(&self, until: Instant) -> BoxFuture<'_, Result<Box<dyn Connection>, ConnectError>>;

    /// Opens a connection for the pipelined lane, on which a statement ends after the resource's `call_timeout`. The
    /// configuration marks statements `pipelined` only where an engine has this.
    ///
    /// # Cancel safety
    /// As [`Engine::connect`].
    fn connect_shared(
        &self,
        _until: Instant,
    ) -> BoxFuture<'_, Result<Arc<dyn SharedConnection>, ConnectError>> {
        let message = "this kind of database has no pipelined connections";
        Box::pin(std::future::ready(Err(ConnectError::Open(message.into()))))
    }
}

/// A connection on which calls follow each other without waiting. Dropped, it ends once nobody uses it any more.
pub(crate) trait SharedConnection: Send + Sync {
    /// Runs a single statement that only reads, in no transaction.
    ///
    /// It must be polled to its end, whoever still wants the result: what is not read holds up all behind it.
    fn run(self: Arc<Self>, work: Work) -> BoxFuture<'static, Result<Ran, CallError>>;

    /// Without a round trip.
    fn is_open(&self) -> bool;

    /// Ends it for everybody; what is under way gets `unavailable`.
    fn close(&self);

    /// Returns once it is closed.
    fn closed(&self) -> BoxFuture<'_, ()>;
}

/// A connection that one call uses at a time.
pub(crate) trait Connection: Send {
    /// Runs the work to its end and gives the reply, written under the work's caps.
    ///
    /// After an error nothing of the work remains: a transaction is rolled back before this returns, or the error says
    /// that the connection is broken. The work's deadline and what stops it are kept by the caller, who polls this
    /// until its end, or for some time after [`Stopper::stop`] and then drops it and the connection with it. An engine
    /// also tells the server the deadline, so that a statement ends there even if the gateway is gone.
    fn run<'a>(&'a mut self, work: &'a Arc<Work>) -> BoxFuture<'a, Result<Ran, Failure>>;

    /// The next rows of the result that [`Ran::more`] spoke of; `rows` of them at most.
    fn fetch(&mut self, page: Page) -> BoxFuture<'_, Result<Ran, Failure>>;

    /// Whatever can stop what runs, while it runs.
    fn stopper(&self) -> Arc<dyn Stopper>;

    /// Ends an open cursor, and says whether the connection is as it was when it was opened: nothing runs, no
    /// transaction is open, and nothing that was sent to stop a statement can reach a later one.
    fn prove_clean(&mut self) -> BoxFuture<'_, bool>;

    /// Without a round trip: false if the server is known to have closed it.
    fn is_open(&self) -> bool;

    /// Prepares a named statement, when the gateway starts.
    fn prepare<'a>(&'a mut self, text: &'a str) -> BoxFuture<'a, Result<(), Refused>>;
}

/// Stops the statement that runs on a connection.
pub(crate) trait Stopper: Send + Sync {
    /// Returns once nothing of it is under way any more: what it sends must not reach a later statement.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// What a call shall do.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) mode: RunMode,
    /// One, or with [`RunMode::Batch`] one or more.
    pub(crate) statements: Vec<Bound>,
    /// The session must not be able to write.
    pub(crate) read_only: bool,
    /// It goes through the pipelined lane.
    pub(crate) pipelined: bool,
    pub(crate) caps: Caps,
    pub(crate) deadline: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunMode {
    Rows(Expect),
    Execute,
    /// In one transaction.
    Batch,
    /// So many rows; the connection keeps the rest.
    Page(usize),
}

/// How many rows a result should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Any,
    One,
    Optional,
}

/// A statement with its parameters.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) text: Arc<str>,
    /// Cells, checked.
    pub(crate) params: Vec<u8>,
    pub(crate) kind: Kind,
    /// The guest's own words, not the operator's.
    pub(crate) ad_hoc: bool,
}

/// Bounds on what comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    /// Of one result.
    pub(crate) rows: usize,
    /// Of all results.
    pub(crate) response_bytes: usize,
    pub(crate) cell_bytes: usize,
}

/// The next rows of a cursor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) rows: usize,
    pub(crate) caps: Caps,
    pub(crate) deadline: Instant,
}

/// What came of work.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) reply: ReplyWriter,
    /// With [`RunMode::Page`]: the connection holds more rows.
    pub(crate) more: bool,
}

/// Why work failed, and what that means for the connection.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: CallError,
    /// It must not be used again.
    pub(crate) broken: bool,
}

// === impl Work ===

impl Work {
    /// Whether the statements need a transaction around them: several do, and so does one that writes and whose rows
    /// may be refused afterwards.
    pub(crate) fn needs_transaction(&self) -> bool {
        match self.mode {
            RunMode::Batch => true,
            RunMode::Rows(_) => self.writes(),
            RunMode::Execute | RunMode::Page(_) => false,
        }
    }

    pub(crate) fn writes(&self) -> bool {
        self.statements.iter().any(|statement| statement.kind != Kind::Reads)
    }
}

// === impl Failure ===

impl From<CallError> for Failure {
    /// The connection is fine.
    fn from(error: CallError) -> Self {
        Failure { error, broken: false }
    }
}
