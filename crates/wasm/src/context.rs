//! What the host knows of one stream context: a filter's own part of a stream.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use agw_foreign::ContextKey;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::stream::Stream;

/// One of the two ways through a filter chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Request,
    Response,
}

/// A filter's part of a stream, shared between the filter and its VM.
#[derive(Debug)]
pub(crate) struct StreamContext {
    pub(crate) stream: Arc<Stream>,
    pub(crate) key: ContextKey,
    state: Mutex<StreamContextState>,
    request: Resumption,
    response: Resumption,
    failed: AtomicBool,
    /// Made when the first foreign call needs it.
    cancel: OnceLock<CancellationToken>,
    ended: AtomicBool,
    /// Foreign calls that it has made.
    calls: AtomicU32,
}

#[derive(Debug, Default)]
pub(crate) struct StreamContextState {
    pub(crate) request: DirectionState,
    pub(crate) response: DirectionState,
}

/// Whether a direction may go on, and who waits for that.
#[derive(Debug)]
struct Resumption {
    /// `continue_stream` was called since the direction's last callback began.
    resumed: AtomicBool,
    changed: Notify,
}

/// What a filter holds of one direction.
#[derive(Debug, Default)]
pub(crate) struct DirectionState {
    /// Readable while a body callback runs or the filter pauses in one.
    pub(crate) body: Body,
    pub(crate) body_visible: bool,
}

impl StreamContextState {
    pub(crate) fn direction(&mut self, direction: Direction) -> &mut DirectionState {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}

impl StreamContext {
    pub(crate) fn new(stream: Arc<Stream>) -> Arc<Self> {
        Arc::new(StreamContext {
            stream,
            key: next_key(),
            state: Mutex::default(),
            request: Resumption::new(),
            response: Resumption::new(),
            failed: AtomicBool::new(false),
            cancel: OnceLock::new(),
            ended: AtomicBool::new(false),
            calls: AtomicU32::new(0),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, StreamContextState> {
        self.state.lock()
    }

    /// Fires when the stream ends: its foreign calls return `cancelled`, those that it makes later too.
    pub(crate) fn cancel(&self) -> &CancellationToken {
        self.cancel.get_or_init(|| {
            let token = CancellationToken::new();
            if self.ended.load(Ordering::Relaxed) {
                token.cancel();
            }
            token
        })
    }

    /// The stream has ended, and its calls with it.
    pub(crate) fn cancel_calls(&self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(token) = self.cancel.get() {
            token.cancel();
        }
    }

    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn count_call(&self) {
        // All of this is on one thread, so that two steps are as good as one.
        self.calls.store(self.calls().saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn resume(&self, direction: Direction) {
        let resumption = self.resumption(direction);
        resumption.resumed.store(true, Ordering::Relaxed);
        resumption.changed.notify_one();
    }

    /// Forgets a resume from before; called when a callback of this direction begins.
    pub(crate) fn begin_callback(&self, direction: Direction) {
        self.resumption(direction).resumed.store(false, Ordering::Relaxed);
    }

    /// Whether the guest has resumed the direction since its last callback began. Taken once.
    pub(crate) fn take_resumed(&self, direction: Direction) -> bool {
        // All of this is on one thread, so that two steps are as good as one.
        let resumed = &self.resumption(direction).resumed;
        let taken = resumed.load(Ordering::Relaxed);
        resumed.store(false, Ordering::Relaxed);
        taken
    }

    /// Returns once the guest has resumed the direction, or the filter failed.
    pub(crate) async fn resumed(&self, direction: Direction) {
        loop {
            let notified = self.resumption(direction).changed.notified();
            if self.take_resumed(direction) || self.is_failed() {
                return;
            }
            notified.await;
        }
    }

    /// The VM is lost: nobody will resume this filter.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.request.changed.notify_one();
        self.response.changed.notify_one();
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    fn resumption(&self, direction: Direction) -> &Resumption {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }
}

impl Resumption {
    fn new() -> Self {
        Resumption { resumed: AtomicBool::new(false), changed: Notify::new() }
    }
}

/// A key that no other context of the process has or had.
pub(crate) fn next_key() -> ContextKey {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    ContextKey(NEXT.fetch_add(1, Ordering::Relaxed))
}
