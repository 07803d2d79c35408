//! One callback of a stream context, whichever way its guest is entered.

use tokio::time::Instant;

use crate::exports::Callback;
use crate::plugin::LoadedPlugin;
use crate::vm::Trapped;

/// Which callback, and what the guest is told.
#[derive(Clone, Copy)]
pub(super) struct Call {
    /// Of the stream context.
    pub(super) id: u32,
    pub(super) callback: Callback,
    /// Headers or trailers by number, or bytes of a body.
    pub(super) argument: u32,
    pub(super) end_of_stream: bool,
}

impl Call {
    /// Trailers are always the end, so their callbacks are not told it.
    pub(super) fn is_of_trailers(self) -> bool {
        matches!(self.callback, Callback::RequestTrailers | Callback::ResponseTrailers)
    }

    /// The parameters of a callback for trailers.
    pub(super) fn trailers(self) -> (u32, u32) {
        (self.id, self.argument)
    }

    /// The parameters of any other.
    pub(super) fn message(self) -> (u32, u32, u32) {
        (self.id, self.argument, u32::from(self.end_of_stream))
    }

    /// Counts the time since `started`; the guest's action, which is 0 without the export, or `None` after a trap.
    pub(super) fn settle(
        self,
        plugin: &LoadedPlugin,
        started: Instant,
        outcome: Result<Option<u32>, Trapped>,
    ) -> Option<u32> {
        if let Some(histogram) = plugin.phase(self.callback) {
            histogram.observe(started.elapsed().as_secs_f64());
        }
        outcome.ok().map(Option::unwrap_or_default)
    }
}
