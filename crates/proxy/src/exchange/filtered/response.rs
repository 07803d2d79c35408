//! The response's way back through the filters, last first.

use std::borrow::Cow;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use agw_wasm::{ResponseHead, Stream, Verdict};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use tokio::time::Instant;

use super::super::{Exchange, Reset, assemble};
use crate::body::{BodyError, Direction, Driven, Fault, First, ResponseBody, ResponseSource, Watched, drive};
use crate::head;
use crate::limits::REPLY_GRACE;
use crate::reply::{self, Reply};

/// A response on its way through the filters; its head is in the stream.
pub(super) struct Answer {
    pub(super) source: ResponseSource,
    /// The filters before this index see it.
    pub(super) upper: usize,
    pub(super) details: Cow<'static, str>,
    pub(super) flags: &'static str,
    /// The connection ends with it.
    pub(super) close: bool,
}

/// The body as it leaves the filters.
enum Outgoing {
    Source(ResponseSource),
    Driven(Driven),
}

impl Exchange {
    /// Takes the response through the filters and gives it to the client.
    pub(super) async fn tell(
        mut self: Box<Self>,
        stream: &Arc<Stream>,
        mut answer: Answer,
    ) -> Result<Response<ResponseBody>, Reset> {
        let clock = Rc::clone(&self.clock);
        // A reply made at the deadline still passes the filters.
        let deadline = self.deadline.max(Instant::now() + REPLY_GRACE);
        self.show(stream, &answer);
        let shown = {
            let showing = pin!(self.response_headers(stream, &mut answer));
            clock.before(deadline, showing).await
        };
        match shown {
            Some(Ok(())) => {}
            Some(Err(reset)) => return Err(self.reset(reset)),
            None => return Ok(self.answer(reply::PLUGIN_PAUSE_TIMEOUT)),
        }
        let Answer { source, upper, details, flags, close } = answer;
        (self.details, self.flags) = (details, flags);
        let outgoing = {
            let filling = pin!(self.response_body(stream, source, upper));
            clock.before(deadline, filling).await
        };
        let outgoing = match outgoing {
            Some(Ok(outgoing)) => outgoing,
            Some(Err(error)) => return self.response_failed(stream, &error),
            None => return Ok(self.answer(reply::PLUGIN_PAUSE_TIMEOUT)),
        };
        let mut head = self.take_head(stream, &outgoing);
        if close {
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(match outgoing {
            Outgoing::Source(source) => self.respond(head, source),
            Outgoing::Driven(driven) => {
                self.response_begins(&mut head);
                assemble(head, ResponseBody::driven(driven, self))
            }
        })
    }

    /// Shows the head to the filters before `answer.upper`, last first. One that answers locally replaces the
    /// response; the filters that have not seen a head yet see the new one.
    async fn response_headers(&mut self, stream: &Arc<Stream>, answer: &mut Answer) -> Result<(), Reset> {
        for index in (0..answer.upper).rev() {
            let filter = self.chain.as_ref().and_then(|chain| chain.filters.get(index)).cloned();
            let Some(filter) = filter.filter(|filter| filter.wants().response_headers) else { continue };
            let verdict = match filter.response_headers(answer.source.is_end()).await {
                Verdict::Pause => tokio::select! {
                    biased;
                    () = stream.interrupted() => Verdict::Interrupted,
                    () = filter.response_resumed() => Verdict::Continue,
                },
                verdict => verdict,
            };
            if verdict == Verdict::Interrupted {
                let reply = self.interruption(stream)?;
                let failure = reply.failure;
                *answer = self.reply(stream, reply, index);
                self.show(stream, answer);
                if failure {
                    return Ok(());
                }
            }
        }
        if stream.is_interrupted() {
            let reply = self.interruption(stream)?;
            *answer = self.reply(stream, reply, 0);
        }
        Ok(())
    }

    /// The body for the client: untouched, or as the filters make it.
    async fn response_body(
        &self,
        stream: &Arc<Stream>,
        source: ResponseSource,
        upper: usize,
    ) -> Result<Outgoing, BodyError> {
        let filters = self.chain.as_ref().map(|chain| chain.response_side(upper)).unwrap_or_default();
        if source.is_end() || filters.is_empty() {
            return Ok(Outgoing::Source(source));
        }
        let buffer_max = self.route.as_ref().map_or(0, |route| route.route.buffer_bytes_max);
        let source = Watched { source, clock: Rc::clone(&self.clock) };
        Ok(match drive(Direction::Response, source, filters, buffer_max, stream).await? {
            First::Whole(bytes) => Outgoing::Source(ResponseSource::Whole(bytes)),
            First::Part(driven) => Outgoing::Driven(driven),
        })
    }

    /// The response's body failed before its head went out: there is still a way to say so.
    fn response_failed(
        self: Box<Self>,
        stream: &Stream,
        error: &BodyError,
    ) -> Result<Response<ResponseBody>, Reset> {
        match error.fault() {
            Fault::Interrupted => match self.interruption(stream) {
                Ok(reply) => Ok(self.answer(reply)),
                Err(reset) => Err(self.reset(reset)),
            },
            Fault::Source => Ok(self.answer(reply::UPSTREAM_RESET)),
            Fault::BufferFull | Fault::TooLarge => Ok(self.answer(reply::RESPONSE_BUFFER_FULL)),
        }
    }

    /// A reply on its way through the filters before `upper`; a failure's reply passes none.
    pub(super) fn reply(&self, stream: &Stream, reply: Reply, upper: usize) -> Answer {
        let upper = if reply.failure { 0 } else { upper };
        stream.state().response = Some(reply.head);
        let source = self.reply_source(reply.body);
        // Nobody will read the rest of the body, so nobody will know where the next request begins.
        let close = reply.close || !self.clock.is_end_certain();
        Answer { source, upper, details: reply.details, flags: reply.flags, close }
    }

    /// Takes what a filter answered, so that it counts once.
    pub(super) fn interruption(&self, stream: &Stream) -> Result<Reply, Reset> {
        let mut state = stream.state();
        if state.reset {
            return Err(Reset);
        }
        state.local_reply.take().map(Reply::from).ok_or(Reset)
    }

    pub(super) fn reset(mut self: Box<Self>, reset: Reset) -> Reset {
        self.failed("reset_by_plugin", "");
        self.clock.reset_begins();
        reset
    }

    /// Properties tell of the response while its filters run.
    fn show(&self, stream: &Stream, answer: &Answer) {
        let info = &mut stream.state().info;
        info.upstream = self.tries.peer();
        info.code_details = answer.details.clone();
        info.response_flags = answer.flags;
    }

    /// The head as the filters left it, framed as the body is. From now on it cannot be changed.
    fn take_head(&self, stream: &Stream, outgoing: &Outgoing) -> ResponseHead {
        let empty = || ResponseHead { status: StatusCode::INTERNAL_SERVER_ERROR, headers: HeaderMap::new() };
        let mut head = stream.state().send_response().unwrap_or_else(empty);
        let upgraded = head.status == StatusCode::SWITCHING_PROTOCOLS && self.agreed.is_some();
        if head.status.is_informational() && !upgraded {
            head.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        head::strip_hop_by_hop(&mut head.headers);
        let bodiless = self.method == Method::HEAD || head.status == StatusCode::NOT_MODIFIED || upgraded;
        match outgoing {
            // The length that the body would have had is the upstream's to tell.
            Outgoing::Source(source) if source.is_end() && bodiless => keep_one_length(&mut head.headers),
            Outgoing::Source(source) => frame(&mut head.headers, source.known_length()),
            Outgoing::Driven(_) => frame(&mut head.headers, None),
        }
        head
    }
}

/// Of a length that frames nothing, only what the client could also read as one stays.
fn keep_one_length(headers: &mut HeaderMap) {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let digits = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        (1..=19).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit)
    };
    let fine = values.next().is_none_or(digits) && values.next().is_none();
    if !fine {
        headers.remove(CONTENT_LENGTH);
    }
}

/// A filter's word about the length counts for nothing; the body knows.
fn frame(headers: &mut HeaderMap, length: Option<u64>) {
    match length {
        Some(length) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {
            headers.remove(CONTENT_LENGTH);
        }
    }
}
