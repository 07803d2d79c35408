//! The owner of the workers: binds their sockets, starts their threads, ends them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use agw_config::Snapshot;
use agw_telemetry::Metrics;
use parking_lot::Mutex;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};

use crate::access_log::{self, AccessLogWriter};
use crate::bind::Inherited;
use crate::doors::{self, Changes, Door, Next};
use crate::error::{BindError, SpawnError};
use crate::limits::{CLOSE_GRACE, TURN_TIMEOUT};
use crate::runtime::Runtime;
use crate::stop::Stop;
use crate::tls::CertificateWatch;
use crate::worker::{self, Setting, Turn, WorkerPlan};

/// What is set when the process starts.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// Threads that serve requests; 0 counts as 1.
    pub workers: usize,
    /// Whether each request is logged to standard output.
    pub access_log: bool,
    /// How long requests that are under way may take after the end was asked for.
    pub drain_timeout: Duration,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
}

/// Listening sockets that nobody serves yet. Connections wait in the kernel's queue.
#[derive(Debug)]
pub struct Bound {
    doors: Vec<Next>,
    options: ProxyOptions,
}

/// Listeners of another snapshot: what they need is there, and nobody serves it yet.
#[derive(Debug)]
pub struct Prepared(Vec<Next>);

/// The running workers. Dropping it closes every connection at once; [`Proxy::drain`] lets requests finish.
#[derive(Debug)]
pub struct Proxy {
    stop: watch::Sender<Stop>,
    doors: OpenDoors,
    workers: Vec<WorkerThread>,
    access_log: Option<AccessLogWriter>,
    certificates: CertificateWatch,
    options: ProxyOptions,
}

/// A look at the sockets of a running proxy, for a successor.
#[derive(Clone, Debug)]
pub struct OpenDoors(Arc<Mutex<Vec<Door>>>);

/// A revision that every worker has been told of.
#[derive(Debug)]
pub struct Turning {
    revision: u64,
    workers: Vec<oneshot::Receiver<()>>,
}

#[derive(Debug)]
struct WorkerThread {
    thread: JoinHandle<()>,
    /// One or two may be on their way: whoever sends the next has waited for the last, up to a bound.
    turns: mpsc::UnboundedSender<Turn>,
    /// Resolves when the thread is about to end, however it ends.
    ended: oneshot::Receiver<()>,
}

// === impl Proxy ===

impl Proxy {
    /// Binds every listener of the snapshot, one socket per worker.
    ///
    /// # Errors
    /// A port that another process (or another listener) holds, an address that cannot be listened on, or a
    /// certificate that cannot be served.
    pub fn bind(snapshot: &Snapshot, options: ProxyOptions) -> Result<Bound, BindError> {
        Self::take_over(snapshot, options, Inherited::default())
    }

    /// The same with the sockets of a predecessor, for the listeners whose addresses they have.
    ///
    /// # Errors
    /// As for [`Proxy::bind`].
    pub fn take_over(
        snapshot: &Snapshot,
        options: ProxyOptions,
        mut inherited: Inherited,
    ) -> Result<Bound, BindError> {
        let options = ProxyOptions { workers: options.workers.max(1), ..options };
        let doors = doors::prepare(&[], &snapshot.listeners, options.workers, &mut inherited)?;
        Ok(Bound { doors, options })
    }

    /// Binds what the snapshot's listeners need beyond those that are open. Nothing serves yet, and dropping it closes
    /// what was bound.
    ///
    /// # Errors
    /// As for [`Proxy::bind`].
    pub fn prepare(&self, snapshot: &Snapshot) -> Result<Prepared, BindError> {
        let mut none = Inherited::default();
        doors::prepare(&self.doors.0.lock(), &snapshot.listeners, self.options.workers, &mut none)
            .map(Prepared)
    }

    /// Serves with another revision, whose listeners were prepared: every worker is told, and [`Turning::done`] waits for
    /// them. Requests under way keep their revision. Connections of listeners that are gone or have changed finish as in
    /// a drain.
    ///
    /// # Errors
    /// When the process has no file descriptors left. Nothing has changed then.
    pub fn turn(&mut self, prepared: Prepared, runtime: &Arc<Runtime>) -> io::Result<Turning> {
        let mut open = self.doors.0.lock();
        let Changes { doors, watched } = doors::turn(&mut open, prepared.0, self.options.workers)?;
        self.certificates.keep(|tls| open.iter().any(|door| door.serves_with(tls)));
        self.certificates.add(watched);
        let mut workers = Vec::with_capacity(self.workers.len());
        for (worker, doors) in self.workers.iter().zip(doors) {
            let (done, ended) = oneshot::channel();
            // A worker that is gone has panicked, which its end tells.
            let _ = worker.turns.send(Turn { runtime: Arc::clone(runtime), doors, done });
            workers.push(ended);
        }
        Ok(Turning { revision: runtime.revision(), workers })
    }

    /// Name and address of each listener; a port that was 0 is the one that the system chose.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.doors.0.lock().iter().map(Door::address).collect()
    }

    /// The listening sockets, whatever becomes of them.
    pub fn open_doors(&self) -> OpenDoors {
        self.doors.clone()
    }

    /// Ends the proxy gracefully: no new connections but those that the kernel has completed already, `connection:
    /// close` on what is answered from now on, a moment for requests on their way on idle connections, at most the
    /// drain timeout for exchanges under way; then the rest is closed, the plugins' root contexts finish, and the
    /// threads end.
    ///
    /// # Cancel safety
    /// Dropping the future closes what is left at once.
    pub async fn drain(mut self) {
        // The workers' handles are to be the last, so that the port closes with them.
        self.doors.0.lock().clear();
        self.stop.send_replace(Stop::Draining);
        for worker in std::mem::take(&mut self.workers) {
            // The sender is dropped at the thread's end, so there is always an answer.
            let _ = worker.ended.await;
            if worker.thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        if let Some(writer) = self.access_log.take() {
            // What is left is at most one buffer; an output that blocks must not hold up the caller's runtime.
            let closed = tokio::task::spawn_blocking(move || writer.close()).await;
            if closed.is_err() {
                tracing::error!("the access log's writer could not be closed");
            }
        }
    }
}

// === impl OpenDoors ===

impl OpenDoors {
    /// Handles of every listening socket, by the listener's name: closing ours closes none of the successor's.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub fn sockets(&self) -> io::Result<Vec<(String, TcpListener)>> {
        let doors = self.0.lock();
        let all = doors.iter().flat_map(Door::sockets);
        all.map(|(name, socket)| Ok((name.to_owned(), socket.try_clone()?))).collect()
    }
}

// === impl Turning ===

impl Turning {
    /// Returns when every worker serves with the revision: a request that begins from then on has it. A worker that
    /// needs longer than ten seconds is told as an error, and not waited for.
    ///
    /// # Cancel safety
    /// The future only waits.
    pub async fn done(self) {
        let all = async {
            for ended in self.workers {
                let _ = ended.await;
            }
        };
        if tokio::time::timeout(TURN_TIMEOUT, all).await.is_err() {
            tracing::error!(revision = self.revision, "a worker has not taken the revision yet");
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.send_replace(Stop::Killed);
    }
}

// === impl Bound ===

impl Bound {
    /// Name and address of each listener; a port that was 0 is the one that the system chose.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.doors.iter().filter_map(Next::opened).collect()
    }

    /// Starts the workers, and returns when they serve.
    ///
    /// # Errors
    /// If the system refuses a thread or a runtime. Workers that had started end again.
    pub fn spawn(self, runtime: Arc<Runtime>) -> Result<Proxy, SpawnError> {
        self.spawn_logging_to(runtime, io::stdout())
    }

    fn spawn_logging_to(
        self,
        runtime: Arc<Runtime>,
        output: impl io::Write + Send + 'static,
    ) -> Result<Proxy, SpawnError> {
        let Bound { doors: bound, options } = self;
        let failed = |worker, source| SpawnError { worker, source };
        let (access_log, writer) = match options.access_log {
            true => access_log::spawn(output).map(|(log, writer)| (Some(log), Some(writer))),
            false => Ok((None, None)),
        }
        .map_err(|source| failed(0, source))?;
        let mut doors = Vec::new();
        let changes = doors::turn(&mut doors, bound, options.workers).map_err(|source| failed(0, source))?;
        let certificates = CertificateWatch::spawn(changes.watched, Arc::clone(&options.metrics))
            .map_err(|source| failed(0, source))?;
        let stop = watch::Sender::new(Stop::Running);
        let (workers, doors) = (Vec::new(), OpenDoors(Arc::new(Mutex::new(doors))));
        let mut proxy = Proxy { stop, doors, workers, access_log: writer, certificates, options };
        for (index, doors) in changes.doors.into_iter().enumerate() {
            let (turns, their_turns) = mpsc::unbounded_channel();
            let plan = WorkerPlan {
                index,
                doors,
                setting: Setting {
                    runtime: Arc::clone(&runtime),
                    metrics: Arc::clone(&proxy.options.metrics),
                    access_log: access_log.clone(),
                    drain_timeout: proxy.options.drain_timeout,
                },
                turns: their_turns,
                stop: proxy.stop.subscribe(),
            };
            let worker = spawn_worker(plan, turns).map_err(|source| failed(index, source))?;
            proxy.workers.push(worker);
        }
        Ok(proxy)
    }
}

/// Starts a worker's thread and waits until it serves.
fn spawn_worker(plan: WorkerPlan, turns: mpsc::UnboundedSender<Turn>) -> io::Result<WorkerThread> {
    let (ended_sender, ended) = oneshot::channel();
    let (ready_sender, ready) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(format!("worker-{}", plan.index)).spawn(move || {
        let _ended: oneshot::Sender<()> = ended_sender;
        match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => {
                runtime.block_on(worker::run(plan, move |result| {
                    // The other side waits for exactly one word.
                    let _ = ready_sender.send(result);
                }));
                // A resolver that hangs must not hold up the end.
                runtime.shutdown_timeout(CLOSE_GRACE);
            }
            Err(error) => {
                let _ = ready_sender.send(Err(error));
            }
        }
    })?;
    match ready.recv() {
        Ok(Ok(())) => Ok(WorkerThread { thread, turns, ended }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("the worker panicked while it started")),
    }
}

#[cfg(test)]
mod tests;
