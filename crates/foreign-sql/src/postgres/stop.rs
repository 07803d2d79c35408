//! Stops a statement: a cancel request on a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::AsyncReadExt;
use tokio_postgres::{CancelToken, NoTls};

use super::open::Opener;
use super::wire::Seen;
use crate::engine::{BoxFuture, Stopper};
use crate::error::ConnectError;

/// What stops what runs on one connection.
pub(crate) struct Stop {
    opener: Arc<Opener>,
    /// Of the connection's server: another one would know nothing of it.
    address: SocketAddr,
    token: CancelToken,
    /// Nothing further is sent for the work that runs. Cleared when the next begins.
    stopped: AtomicBool,
}

// === impl Stop ===

impl Stop {
    pub(crate) fn new(opener: Arc<Opener>, address: SocketAddr, token: CancelToken) -> Self {
        Stop { opener, address, token, stopped: AtomicBool::new(false) }
    }

    pub(crate) fn begin(&self) {
        self.stopped.store(false, Ordering::Release);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Ends whatever statement runs.
    ///
    /// The server reads the request, signals the connection's process, and only then closes. Once that end is seen,
    /// the signal has been sent: it meets the statement, or nothing, or the round trip of the proof that follows.
    ///
    /// # Errors
    /// When the request may be under way still: the connection must not be used again.
    pub(crate) async fn cancel(&self) -> Result<(), ConnectError> {
        let mut wire = self.opener.reach(self.address, Arc::new(Seen::default())).await?;
        let sent = self.token.cancel_query_raw(&mut wire, NoTls).await;
        sent.map_err(super::failure::connect_error)?;
        let mut rest = [0; 64];
        loop {
            match wire.read(&mut rest).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // Closed without a goodbye: closed all the same.
                Err(error) if error.kind() != std::io::ErrorKind::TimedOut => return Ok(()),
                Err(error) => return Err(ConnectError::Reach(error)),
            }
        }
    }
}

impl Stopper for Stop {
    fn stop(&self) -> BoxFuture<'_, ()> {
        // Before the first poll: what runs may be between two statements.
        self.stopped.store(true, Ordering::Release);
        Box::pin(async move {
            if let Err(error) = self.cancel().await {
                // The statement ends by its own timeout; its connection is thrown away before that.
                tracing::debug!(class = error.class(), "a statement could not be cancelled: {error}");
            }
        })
    }
}
