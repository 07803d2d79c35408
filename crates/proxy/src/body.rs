//! Bodies on their way: pulled by the side that writes, so that a slow reader slows its writer.
//!
//! A body that no filter wants passes straight through. One that a filter wants is pulled through the chain by a
//! future of its own ([`Driven`]), which hyper polls in the place where it would read the body.

mod drive;
mod replay;
mod request;
mod response;

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

pub(crate) use self::drive::{Direction, Driven, First, drive};
pub(crate) use self::replay::Replay;
pub(crate) use self::request::{RequestBody, RequestSource};
pub(crate) use self::response::{ResponseBody, ResponseSource, Watched};
use crate::connection::{Clock, Watch};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// More than the route takes.
    #[error("the request's body is over the route's limit")]
    TooLarge,
    /// More than a filter may hold.
    #[error("a plugin held back more than the route allows")]
    BufferFull,
    /// A filter answered the stream or reset it.
    #[error("a plugin ended the stream")]
    Interrupted,
    /// Another try of the request has taken over its body.
    #[error("another try reads the body")]
    Superseded,
    /// The side that the body comes from broke off or sent nonsense.
    #[error("the body broke off or is not valid")]
    Source(#[source] hyper::Error),
}

/// A [`BodyError`] without its cause: what the exchange needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    TooLarge,
    BufferFull,
    Interrupted,
    Source,
}

impl BodyError {
    pub(crate) fn fault(&self) -> Fault {
        match self {
            BodyError::TooLarge => Fault::TooLarge,
            BodyError::BufferFull => Fault::BufferFull,
            BodyError::Interrupted | BodyError::Superseded => Fault::Interrupted,
            BodyError::Source(_) => Fault::Source,
        }
    }
}

/// What became of a request's body, for the exchange that no longer holds it.
pub(crate) struct Meter {
    /// Bytes read so far.
    pub(crate) bytes: Cell<u64>,
    /// Why it ended early, if it did.
    pub(crate) fault: Cell<Option<Fault>>,
    /// The next of it was asked for, and has not come.
    pub(crate) is_awaited: Cell<bool>,
    /// Where it says that it moves.
    clock: Rc<Clock>,
    watch: Watch,
}

impl Meter {
    /// Of a body that may be silent for `silence_max`.
    pub(crate) fn new(clock: &Rc<Clock>, silence_max: Duration) -> Self {
        Meter {
            bytes: Cell::new(0),
            fault: Cell::new(None),
            is_awaited: Cell::new(false),
            watch: clock.body_begins(silence_max),
            clock: Rc::clone(clock),
        }
    }

    /// Some of it has come.
    fn came(&self) {
        self.is_awaited.set(false);
        self.clock.moved();
    }

    /// Something came after the last chunk.
    fn trailers_came(&self) {
        self.clock.trailers_came();
    }

    /// The client owes no more of it.
    fn ended(&self) {
        self.is_awaited.set(false);
        self.clock.body_ended(self.watch);
    }

    /// Adds what was read; an error if that is more than `limit` in all.
    fn add(&self, bytes: usize, limit: u64) -> Result<(), BodyError> {
        let total = self.bytes.get().saturating_add(bytes as u64);
        self.bytes.set(total);
        if total > limit { Err(BodyError::TooLarge) } else { Ok(()) }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("bytes", &self.bytes)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
