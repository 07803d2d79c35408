//! The owner of the workers: binds their sockets, starts their threads, ends them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use agw_config::{Listener, Snapshot};
use agw_telemetry::Metrics;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{oneshot, watch};

use crate::access_log::{self, AccessLog, AccessLogWriter};
use crate::bind::{self, Inherited, Sockets};
use crate::error::{BindError, SpawnError};
use crate::limits::CLOSE_GRACE;
use crate::runtime::Runtime;
use crate::tls::{CertificateWatch, ServerTls, WatchedListener};
use crate::worker::{self, Stop, WorkerListener, WorkerPlan};

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
    listeners: Vec<BoundListener>,
    options: ProxyOptions,
}

#[derive(Debug)]
struct BoundListener {
    listener: Arc<Listener>,
    sockets: Sockets,
    tls: Option<(Arc<ServerTls>, WatchedListener)>,
}

/// The running workers. Dropping it closes every connection at once; [`Proxy::drain`] lets requests finish.
#[derive(Debug)]
pub struct Proxy {
    stop: watch::Sender<Stop>,
    /// Second handles of the workers' sockets, by the listener's name, for a successor.
    sockets: Vec<(String, TcpListener)>,
    workers: Vec<WorkerThread>,
    access_log: Option<AccessLogWriter>,
    _certificates: CertificateWatch,
}

#[derive(Debug)]
struct WorkerThread {
    thread: JoinHandle<()>,
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
        let mut bind = |listener: &Arc<Listener>| {
            let tls = ServerTls::new(listener).map_err(|source| BindError::Tls {
                listener: listener.name.clone(),
                source: Box::new(source),
            })?;
            let sockets = bind::bind(listener, options.workers, &mut inherited)?;
            Ok(BoundListener { listener: Arc::clone(listener), sockets, tls })
        };
        let listeners = snapshot.listeners.iter().map(&mut bind).collect::<Result<_, _>>()?;
        Ok(Bound { listeners, options })
    }

    /// Handles of every listening socket, by the listener's name, for a successor: closing ours closes none of its.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub fn sockets(&self) -> io::Result<Vec<(String, TcpListener)>> {
        self.sockets.iter().map(|(name, socket)| Ok((name.clone(), socket.try_clone()?))).collect()
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
        self.sockets.clear();
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

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.send_replace(Stop::Killed);
    }
}

// === impl Bound ===

impl Bound {
    /// Name and address of each listener; a port that was 0 is the one that the system chose.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.listeners.iter().map(|bound| (bound.listener.name.clone(), bound.sockets.address)).collect()
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
        let Bound { listeners, options } = self;
        let failed = |worker, source| SpawnError { worker, source };
        let (access_log, writer) = match options.access_log {
            true => access_log::spawn(output).map(|(log, writer)| (Some(log), Some(writer))),
            false => Ok((None, None)),
        }
        .map_err(|source| failed(0, source))?;
        let sockets = second_handles(&listeners).map_err(|source| failed(0, source))?;
        let (listeners, watched) = by_worker(listeners, options.workers);
        let certificates = CertificateWatch::spawn(watched, Arc::clone(&options.metrics))
            .map_err(|source| failed(0, source))?;
        let mut proxy = Proxy {
            stop: watch::Sender::new(Stop::Running),
            sockets,
            workers: Vec::new(),
            access_log: writer,
            _certificates: certificates,
        };
        for (index, listeners) in listeners.into_iter().enumerate() {
            let plan = proxy.plan(index, listeners, &runtime, &options, access_log.clone());
            proxy.workers.push(spawn_worker(plan).map_err(|source| failed(index, source))?);
        }
        Ok(proxy)
    }
}

impl Proxy {
    fn plan(
        &self,
        index: usize,
        listeners: Vec<WorkerListener>,
        runtime: &Arc<Runtime>,
        options: &ProxyOptions,
        access_log: Option<AccessLog>,
    ) -> WorkerPlan {
        WorkerPlan {
            index,
            listeners,
            access_log,
            runtime: Arc::clone(runtime),
            metrics: Arc::clone(&options.metrics),
            drain_timeout: options.drain_timeout,
            stop: self.stop.subscribe(),
        }
    }
}

/// Turns sockets by listener into sockets by worker; and the certificates to watch. Every socket gets a worker: one that
/// nobody accepts from would keep its share of the connections waiting for ever.
fn by_worker(
    listeners: Vec<BoundListener>,
    workers: usize,
) -> (Vec<Vec<WorkerListener>>, Vec<WatchedListener>) {
    let mut plans: Vec<Vec<WorkerListener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut watched = Vec::new();
    for BoundListener { listener, sockets, tls } in listeners {
        let (tls, watch) = tls.unzip();
        watched.extend(watch);
        for plan in &mut plans {
            let (listener, tls) = (Arc::clone(&listener), tls.clone());
            plan.push(WorkerListener { listener, tls, sockets: Vec::new() });
        }
        for (at, socket) in sockets.sockets.into_iter().enumerate() {
            if let Some(theirs) = plans.get_mut(at % workers).and_then(|plan| plan.last_mut()) {
                theirs.sockets.push(socket);
            }
        }
    }
    (plans, watched)
}

fn second_handles(listeners: &[BoundListener]) -> io::Result<Vec<(String, TcpListener)>> {
    let all = listeners
        .iter()
        .flat_map(|bound| bound.sockets.sockets.iter().map(move |socket| (&bound.listener.name, socket)));
    all.map(|(name, socket)| Ok((name.clone(), socket.try_clone()?))).collect()
}

/// Starts a worker's thread and waits until it serves.
fn spawn_worker(plan: WorkerPlan) -> io::Result<WorkerThread> {
    let (ended_sender, ended) = oneshot::channel();
    let (ready_sender, ready) = mpsc::sync_channel(1);
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
        Ok(Ok(())) => Ok(WorkerThread { thread, ended }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("the worker panicked while it started")),
    }
}

#[cfg(test)]
mod tests;
