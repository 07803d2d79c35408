//! Pulls a body through the filters of one direction.
//!
//! Each filter has a buffer of its own: a chunk is appended to it, and the filter's callback sees all of it. Continue
//! moves what the buffer holds to the next filter, Pause leaves it there until more comes or the filter resumes. So
//! several filters may hold parts of one body, and the order of bytes is kept: what is behind never overtakes.
//!
//! A body is driven by whoever pulls it. [`Driven`] holds the future, and a slot for one frame: while the frame has
//! not been taken, the future does not go on. Most bodies are small, though, and there at once: those pass the filters
//! before there is a future.

mod driven;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use agw_wasm::{Stream, Verdict};
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

pub(crate) use self::driven::Driven;
use self::driven::Slot;
use super::BodyError;
use crate::chain::BodyFilter;

/// One step of a source.
#[derive(Debug)]
pub(crate) enum Piece {
    /// A chunk, and whether it is the last thing of the body.
    Data(Bytes, bool),
    /// The trailers, which are always the last.
    Trailers(HeaderMap),
}

/// Where a driven body comes from. Nothing is asked of it after its last piece.
pub(crate) trait Pieces {
    /// The next piece.
    ///
    /// # Cancel safety
    /// Safe: no piece is lost.
    async fn next(&mut self) -> Result<Piece, BodyError>;
}

/// Which way the body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Request,
    Response,
}

/// What the chain lets out first.
#[derive(Debug)]
pub(crate) enum First {
    /// The whole body, which has no trailers.
    Whole(Bytes),
    /// Its beginning is there: all of it is to be streamed.
    Part(Driven),
}

/// Drives `source` through `filters`, in their order, until they let something out, or the body ends. A filter may hold
/// up to `buffer_max` bytes.
///
/// # Cancel safety
/// None: what was read of the body is lost.
pub(crate) async fn drive<F, S>(
    direction: Direction,
    source: S,
    filters: Vec<F>,
    buffer_max: usize,
    stream: &Arc<Stream>,
) -> Result<First, BodyError>
where
    F: BodyFilter + 'static,
    S: Pieces + 'static,
{
    let mut drive = Drive::new(direction, source, filters, buffer_max, Arc::clone(stream));
    match drive.at_once().await? {
        Some(bytes) => Ok(First::Whole(bytes)),
        None => drive.boxed().first().await,
    }
}

/// One filter's place.
struct Stage<F> {
    filter: F,
    /// It said Pause and holds what is in its buffer.
    paused: bool,
    /// It has seen the end of the body.
    ended: bool,
}

/// The driver's state.
struct Drive<F, S> {
    direction: Direction,
    source: S,
    stages: Vec<Stage<F>>,
    buffer_max: usize,
    stream: Arc<Stream>,
    slot: Rc<Slot>,
    /// What was read, and is still to be shown.
    ahead: Option<Piece>,
    /// The stage in front of which the trailers wait for it to resume.
    trailers_at: Option<usize>,
    source_ended: bool,
    bytes: u64,
}

/// What the driver waits for.
enum Event {
    Piece(Piece),
    Resumed(usize),
}

// === impl Drive ===

impl<F: BodyFilter, S: Pieces> Drive<F, S> {
    fn new(direction: Direction, source: S, filters: Vec<F>, buffer_max: usize, stream: Arc<Stream>) -> Self {
        let stage = |filter| Stage { filter, paused: false, ended: false };
        Drive {
            direction,
            source,
            stages: filters.into_iter().map(stage).collect(),
            buffer_max,
            stream,
            slot: Rc::default(),
            ahead: None,
            trailers_at: None,
            source_ended: false,
            bytes: 0,
        }
    }

    /// The body, if all of it is there now and no filter holds it back. Otherwise [`run`](Drive::run) goes on.
    async fn at_once(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.stream.is_interrupted() {
            return Err(BodyError::Interrupted);
        }
        let piece = {
            let mut next = pin!(self.source.next());
            poll_fn(|cx| match next.as_mut().poll(cx) {
                Poll::Ready(piece) => Poll::Ready(Some(piece)),
                Poll::Pending => Poll::Ready(None),
            })
            .await
        };
        match piece.transpose()? {
            Some(Piece::Data(bytes, true)) => {
                self.source_ended = true;
                self.count(bytes.len());
                self.pass(0, bytes, true).await
            }
            piece => {
                self.ahead = piece;
                Ok(None)
            }
        }
    }

    async fn run(mut self) -> Result<(), BodyError> {
        while !self.source_ended || self.stages.iter().any(|stage| stage.paused) {
            match self.event().await? {
                Event::Piece(Piece::Data(bytes, end)) => {
                    self.source_ended = end;
                    self.count(bytes.len());
                    self.flow(0, bytes, end).await?;
                }
                Event::Piece(Piece::Trailers(trailers)) => {
                    self.source_ended = true;
                    self.show_trailers(trailers);
                    self.flow_trailers(0).await?;
                }
                Event::Resumed(index) => self.resume(index).await?,
            }
        }
        Ok(())
    }

    /// An end that was asked for comes first, then what is held, then what is new.
    async fn event(&mut self) -> Result<Event, BodyError> {
        if let Some(piece) = self.ahead.take() {
            return Ok(Event::Piece(piece));
        }
        let (stream, stages, source) = (&self.stream, &self.stages, &mut self.source);
        let paused = stages.iter().any(|stage| stage.paused);
        tokio::select! {
            biased;
            () = stream.interrupted() => Err(BodyError::Interrupted),
            index = any_resumed(stages), if paused => Ok(Event::Resumed(index)),
            piece = source.next(), if !self.source_ended => piece.map(Event::Piece),
        }
    }

    /// Passes `data` through the filters from `from` on, and lets out what is left.
    async fn flow(&mut self, from: usize, data: Bytes, end: bool) -> Result<(), BodyError> {
        if let Some(data) = self.pass(from, data, end).await? {
            self.emit(data, end).await;
        }
        Ok(())
    }

    /// What the filters from `from` on make of `data`; `None` if one of them holds it.
    async fn pass(&mut self, from: usize, mut data: Bytes, end: bool) -> Result<Option<Bytes>, BodyError> {
        for stage in self.stages.iter_mut().skip(from) {
            if !stage.filter.wants_body() {
                continue;
            }
            if data.is_empty() && !end {
                return Ok(None);
            }
            if stage.filter.held().saturating_add(data.len()) > self.buffer_max {
                return Err(BodyError::BufferFull);
            }
            stage.ended = end;
            match stage.filter.body(data, end).await {
                Verdict::Continue => {
                    stage.paused = false;
                    data = stage.filter.take();
                }
                Verdict::Pause => {
                    stage.paused = true;
                    return Ok(None);
                }
                Verdict::Interrupted => return Err(BodyError::Interrupted),
            }
        }
        Ok(Some(data))
    }

    /// Passes the trailers through the filters from `from` on, each filter's held bytes before them.
    async fn flow_trailers(&mut self, from: usize) -> Result<(), BodyError> {
        for index in from..self.stages.len() {
            let Some(stage) = self.stages.get_mut(index) else { break };
            if stage.filter.wants_trailers() {
                match stage.filter.trailers().await {
                    Verdict::Continue => stage.paused = false,
                    Verdict::Pause => stage.paused = true,
                    Verdict::Interrupted => return Err(BodyError::Interrupted),
                }
            }
            if stage.paused {
                self.trailers_at = Some(index);
                return Ok(());
            }
            let held = stage.filter.take();
            self.flow(index + 1, held, false).await?;
        }
        self.emit_trailers().await;
        Ok(())
    }

    /// The filter at `index` lets go what it held.
    async fn resume(&mut self, index: usize) -> Result<(), BodyError> {
        let Some(stage) = self.stages.get_mut(index) else { return Ok(()) };
        stage.paused = false;
        let (held, ended) = (stage.filter.take(), stage.ended);
        self.flow(index + 1, held, ended).await?;
        if self.trailers_at == Some(index) {
            self.trailers_at = None;
            self.flow_trailers(index + 1).await?;
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        let info = &mut self.stream.state().info;
        match self.direction {
            Direction::Request => info.request_bytes = self.bytes,
            Direction::Response => info.response_bytes = self.bytes,
        }
    }

    fn show_trailers(&self, trailers: HeaderMap) {
        let mut state = self.stream.state();
        match self.direction {
            Direction::Request => state.request_trailers = Some(trailers),
            Direction::Response => state.response_trailers = Some(trailers),
        }
    }

    async fn emit_trailers(&self) {
        let trailers = {
            let state = self.stream.state();
            match self.direction {
                Direction::Request => state.request_trailers.clone(),
                Direction::Response => state.response_trailers.clone(),
            }
        };
        self.slot.put(Frame::trailers(trailers.unwrap_or_default()), true).await;
    }

    async fn emit(&self, data: Bytes, end: bool) {
        if !data.is_empty() {
            self.slot.put(Frame::data(data), end).await;
        }
    }
}

impl<F: BodyFilter + 'static, S: Pieces + 'static> Drive<F, S> {
    /// To be pulled.
    fn boxed(self) -> Driven {
        Driven::new(Rc::clone(&self.slot), Box::pin(self.run()))
    }
}

/// The first of the paused filters that resumes.
///
/// # Cancel safety
/// Safe, as [`BodyFilter::resumed`] is.
async fn any_resumed<F: BodyFilter>(stages: &[Stage<F>]) -> usize {
    let paused = stages.iter().enumerate().filter(|(_, stage)| stage.paused);
    let mut waits: Vec<_> = paused.map(|(index, stage)| (index, Box::pin(stage.filter.resumed()))).collect();
    poll_fn(|cx| {
        let done =
            waits.iter_mut().find_map(|(index, wait)| wait.as_mut().poll(cx).is_ready().then_some(*index));
        done.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

#[cfg(test)]
mod tests;
