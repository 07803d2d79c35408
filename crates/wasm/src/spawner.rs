//! The owner of a worker's background tasks: ends of streams, callbacks whose stream has gone, pumps of VMs.
//!
//! Tasks are handed over through a queue, because a filter may be dropped where nothing can be spawned. The queue
//! is unbounded; what is put into it is bounded by the number of VMs and streams.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Hands tasks to their owner. After the owner has stopped, tasks are dropped.
#[derive(Clone)]
pub(crate) struct Spawner(Rc<mpsc::UnboundedSender<LocalFuture<()>>>);

/// The owner; to be stopped before its worker ends.
pub(crate) struct Tasks {
    stop: CancellationToken,
    owner: JoinHandle<()>,
}

impl Spawner {
    /// Starts the owner on the current worker.
    pub(crate) fn start() -> (Spawner, Tasks) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let owner = tokio::task::spawn_local(own(receiver, stop.clone()));
        (Spawner(Rc::new(sender)), Tasks { stop, owner })
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.spawn_boxed(Box::pin(task));
    }

    pub(crate) fn spawn_boxed(&self, task: LocalFuture<()>) {
        let _ = self.0.send(task);
    }
}

impl Tasks {
    /// Drops what still runs.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.owner.await;
    }
}

async fn own(mut queue: mpsc::UnboundedReceiver<LocalFuture<()>>, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            task = queue.recv() => match task {
                Some(task) => drop(tasks.spawn_local(task)),
                None => return,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}
