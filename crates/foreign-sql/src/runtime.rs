//! The resource runtime: one thread with an event loop, where connections of every SQL resource live, but those of the
//! lanes.
//!
//! A worker never touches such a connection: it sends a call here and waits for the answer. So a connection that many
//! workers share in turn needs no lock and no moving of sockets, and a driver may keep its tasks on one runtime.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// The running thread. It ends when the last backend that keeps it is dropped.
pub struct SqlRuntime {
    handle: Handle,
    stop: CancellationToken,
}

impl SqlRuntime {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no thread or no event queue.
    pub fn start() -> io::Result<Arc<Self>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        thread::Builder::new().name("agw-sql".to_owned()).spawn(move || {
            runtime.block_on(stopped.cancelled());
        })?;
        Ok(Arc::new(SqlRuntime { handle, stop }))
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for SqlRuntime {
    /// The thread is not waited for: whoever drops this may be an event loop. Pools have been shut down before.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
