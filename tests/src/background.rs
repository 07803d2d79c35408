//! A thread with an event loop of its own, so that a helper goes on while a test blocks.

use std::future::Future;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Runs tasks until it is dropped; then every task is dropped where it stands.
#[derive(Debug)]
pub(crate) struct Background {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

// === impl Background ===

impl Background {
    pub(crate) fn start(name: &str) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Either way, message or dropped sender, it is time to end.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Background { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Leaves `task` running on the thread.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(task));
    }

    /// Runs `task` on the thread and waits for it, from a blocking caller.
    pub(crate) fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let (give, take) = std::sync::mpsc::channel();
        self.spawn(async move {
            // A receiver that is gone has lost interest.
            let _ = give.send(task.await);
        });
        take.recv().context("the helper's thread has ended")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already.
            let _ = thread.join();
        }
    }
}
