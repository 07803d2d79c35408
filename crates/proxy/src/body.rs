//! Bodies on their way: pulled by the side that writes, so that a slow reader slows its writer.
//!
//! A body that no filter wants passes straight through. One that a filter wants is pulled through the chain by a
//! future of its own ([`Driven`]), which hyper polls in the place where it would read the body.

mod drive;
mod replay;
mod request;
mod response;

use std::cell::Cell;

pub(crate) use self::drive::{Direction, Driven, First, drive};
pub(crate) use self::replay::Replay;
pub(crate) use self::request::{RequestBody, RequestSource};
pub(crate) use self::response::{ResponseBody, ResponseSource};

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
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Bytes read so far.
    pub(crate) bytes: Cell<u64>,
    /// Why it ended early, if it did.
    pub(crate) fault: Cell<Option<Fault>>,
}

impl Meter {
    /// Adds what was read; an error if that is more than `limit` in all.
    fn add(&self, bytes: usize, limit: u64) -> Result<(), BodyError> {
        let total = self.bytes.get().saturating_add(bytes as u64);
        self.bytes.set(total);
        if total > limit { Err(BodyError::TooLarge) } else { Ok(()) }
    }
}
