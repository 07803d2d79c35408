//! A request with filters.
//!
//! Request: each filter in turn is opened, sees the head, and may hold it; then the body goes through those that want
//! it. If one does, nothing is sent upstream before the chain lets out the body's beginning, so that a filter that
//! reads the whole body still decides about the head, a refused body never reaches the upstream, and a body that is
//! complete by then goes out with its true length. Otherwise it is chunked, since nobody knows what it will become.
//!
//! Response: the same in reverse order. The head goes to the client with the beginning of the body.
//!
//! The route is chosen once more if a filter changed the request's head; its cluster, timeout and limits hold from
//! then on. The filters that run are those of the first route: a chain does not start over.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use agw_wasm::{Opened, RequestHead, ResponseHead, Stream, StreamInfo, Verdict};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{Exchange, Halt, Reset, assemble, body_halt, upstream_request};
use crate::body::{
    BodyError, Direction, Driven, Fault, First, RequestBody, RequestSource, ResponseBody, ResponseSource,
    drive,
};
use crate::chain::Chain;
use crate::head::{self, Arrived};
use crate::limits::REPLY_GRACE;
use crate::reply::{self, Problem, Reply};
use crate::runtime::Generation;

/// A response on its way through the filters; its head is in the stream.
struct Answer {
    source: ResponseSource,
    /// The filters before this index see it.
    upper: usize,
    details: Cow<'static, str>,
    flags: &'static str,
    /// The connection ends with it.
    close: bool,
}

/// The body as it leaves the filters.
enum Outgoing {
    Source(ResponseSource),
    Driven(Driven),
}

pub(super) async fn run(
    mut exchange: Box<Exchange>,
    generation: Rc<Generation>,
    arrived: Arrived,
    incoming: Incoming,
) -> Result<Response<ResponseBody>, Reset> {
    let (request, version) = match request_head(arrived) {
        Ok(taken) => taken,
        Err(problem) => return Ok(exchange.answer(problem)),
    };
    let stream = Stream::new(request, exchange.stream_info(version));
    exchange.chain = Some(Chain { stream: Arc::clone(&stream), filters: Vec::new() });

    let answer = match exchange.ask(&generation, &stream, incoming).await {
        Ok((head, source)) => {
            stream.state().response = Some(head);
            let upper = exchange.filters();
            Answer { source, upper, details: Cow::Borrowed("via_upstream"), flags: "", close: false }
        }
        Err(Halt::Problem(problem)) => exchange.reply(&stream, problem.into(), exchange.filters()),
        Err(Halt::Interrupted) => match exchange.interruption(&stream) {
            Ok(reply) => exchange.reply(&stream, reply, exchange.filters()),
            Err(reset) => return Err(exchange.reset(reset)),
        },
    };
    exchange.tell(&stream, answer).await
}

/// The head as filters see it: `Host` becomes the authority.
fn request_head(arrived: Arrived) -> Result<(RequestHead, http::Version), Problem> {
    let Arrived { method, path, version, mut headers } = arrived;
    let host = headers.remove(HOST).unwrap_or_else(|| HeaderValue::from_static(""));
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "host_not_valid", "the Host header is not a host and port")
    })?;
    Ok((RequestHead { method, scheme: Scheme::HTTP, authority: Some(authority), path, headers }, version))
}

// === the request ===

impl Exchange {
    /// Takes the request through the filters and upstream, up to the response's head.
    async fn ask(
        &mut self,
        generation: &Generation,
        stream: &Arc<Stream>,
        incoming: Incoming,
    ) -> Result<(ResponseHead, ResponseSource), Halt> {
        let connection = Rc::clone(&self.connection);
        let deadline = self.deadline;
        let heads = self.request_headers(generation, stream, incoming.is_end_stream());
        let heads = connection.before(deadline, heads).await;
        heads.unwrap_or_else(|| Err(reply::PLUGIN_PAUSE_TIMEOUT.into()))?;
        self.choose_again(generation, stream)?;

        let deadline = self.deadline;
        let body = connection.before(deadline, self.request_body(stream, incoming)).await;
        let body = body.unwrap_or_else(|| Err(reply::PLUGIN_PAUSE_TIMEOUT.into()))?;
        let request = send_head(stream, body);
        tokio::select! {
            biased;
            // A filter's answer wins over one that has just come.
            () = stream.interrupted() => Err(Halt::Interrupted),
            answered = self.dispatch(request) => answered,
        }
    }

    /// Shows the head to each filter of the route, in order; a filter that pauses holds it.
    async fn request_headers(
        &mut self,
        generation: &Generation,
        stream: &Arc<Stream>,
        end: bool,
    ) -> Result<(), Halt> {
        let Some(route) = self.route.clone() else { return Ok(()) };
        for plugin in &route.plugins {
            let filter = match generation.vms.open(plugin, stream).await {
                Opened::Filter(filter) => Rc::new(filter),
                Opened::Skip => continue,
                Opened::Refused => return Err(Halt::Interrupted),
            };
            if let Some(chain) = &mut self.chain {
                chain.filters.push(Rc::clone(&filter));
            }
            let verdict = if filter.wants().request_headers {
                filter.request_headers(end).await
            } else {
                Verdict::Continue
            };
            match verdict {
                Verdict::Continue => {}
                Verdict::Interrupted => return Err(Halt::Interrupted),
                Verdict::Pause => tokio::select! {
                    biased;
                    () = stream.interrupted() => return Err(Halt::Interrupted),
                    () = filter.request_resumed() => {}
                },
            }
        }
        if stream.is_interrupted() { Err(Halt::Interrupted) } else { Ok(()) }
    }

    /// Chooses the route anew if a filter changed the head.
    fn choose_again(&mut self, generation: &Generation, stream: &Stream) -> Result<(), Halt> {
        let mut state = stream.state();
        if !std::mem::take(&mut state.route_stale) {
            return Ok(());
        }
        let authority = state.request.authority.as_ref().map(Authority::as_str);
        let Some(route) = generation.find(authority, state.request.path.path()) else {
            return Err(reply::ROUTE_NOT_FOUND.into());
        };
        if !self.route.as_ref().is_some_and(|current| Rc::ptr_eq(current, route)) {
            self.take_route(route);
            state.info.route = Arc::clone(&route.name);
            state.info.cluster = Arc::clone(&route.cluster);
            state.info.deadline = self.deadline;
        }
        Ok(())
    }

    /// The body for upstream: untouched, or as the filters make it.
    async fn request_body(&mut self, stream: &Arc<Stream>, incoming: Incoming) -> Result<RequestBody, Halt> {
        let Some(route) = self.route.clone() else { return Ok(RequestBody::empty()) };
        let limit = route.route.request_body_bytes_max;
        let filters = self.chain.as_ref().map(Chain::request_side).unwrap_or_default();
        if incoming.is_end_stream() || filters.is_empty() {
            return Ok(self.plain_body(incoming, limit));
        }
        let meter = self.meter();
        let source = RequestSource { incoming, limit, meter: Rc::clone(&meter) };
        let buffer_max = route.route.buffer_bytes_max;
        let mut driven = drive(Direction::Request, source, filters, buffer_max, Arc::clone(stream));
        match driven.first().await {
            Ok(First::Whole(bytes)) => Ok(RequestBody::whole(bytes)),
            Ok(First::Part) => Ok(RequestBody::driven(driven, meter)),
            Err(error) => Err(body_halt(error.fault())),
        }
    }

    fn stream_info(&self, version: http::Version) -> StreamInfo {
        let connection = &self.connection;
        let none = || Arc::from("none");
        StreamInfo {
            connection_id: connection.id,
            source: connection.peer,
            destination: connection.local,
            version,
            request_id: self.request_id.to_str().unwrap_or_default().to_owned(),
            started: self.started,
            started_at: self.started_at,
            deadline: self.deadline,
            listener: Arc::clone(&connection.entrance.name),
            route: self.route.as_ref().map_or_else(none, |route| Arc::clone(&route.name)),
            cluster: self.route.as_ref().map_or_else(none, |route| Arc::clone(&route.cluster)),
            upstream: None,
            request_bytes: 0,
            response_bytes: 0,
            code_details: String::new(),
            response_flags: "",
        }
    }

    fn filters(&self) -> usize {
        self.chain.as_ref().map_or(0, |chain| chain.filters.len())
    }
}

/// The head that goes upstream. Filters go on reading theirs.
fn send_head(stream: &Stream, body: RequestBody) -> Request<RequestBody> {
    let mut state = stream.state();
    state.request_sent = true;
    let RequestHead { method, authority, path, headers, .. } = state.request.clone();
    drop(state);
    let mut headers = headers;
    head::strip_request(&mut headers);
    let host = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    headers.insert(HOST, host.unwrap_or_else(|| HeaderValue::from_static("")));
    // A filter's word about the length counts for nothing; the body knows.
    match body.known_length() {
        Some(0) if !headers.contains_key(CONTENT_LENGTH) => {}
        Some(length) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {}
    }
    upstream_request(method, path, headers, body)
}

// === the response ===

impl Exchange {
    /// Takes the response through the filters and gives it to the client.
    async fn tell(
        mut self: Box<Self>,
        stream: &Arc<Stream>,
        mut answer: Answer,
    ) -> Result<Response<ResponseBody>, Reset> {
        let connection = Rc::clone(&self.connection);
        // A reply made at the deadline still passes the filters.
        let deadline = self.deadline.max(Instant::now() + REPLY_GRACE);
        self.show(stream, &answer);
        match connection.before(deadline, self.response_headers(stream, &mut answer)).await {
            Some(Ok(())) => {}
            Some(Err(reset)) => return Err(self.reset(reset)),
            None => return Ok(self.answer(reply::PLUGIN_PAUSE_TIMEOUT)),
        }
        let Answer { source, upper, details, flags, close } = answer;
        (self.details, self.flags) = (details, flags);
        let outgoing = match connection.before(deadline, self.response_body(stream, source, upper)).await {
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
                self.response_begins(head.status);
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
        let mut driven = drive(Direction::Response, source, filters, buffer_max, Arc::clone(stream));
        Ok(match driven.first().await? {
            First::Whole(bytes) => Outgoing::Source(ResponseSource::Whole(bytes)),
            First::Part => Outgoing::Driven(driven),
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
    fn reply(&self, stream: &Stream, reply: Reply, upper: usize) -> Answer {
        let upper = if reply.failure { 0 } else { upper };
        stream.state().response = Some(reply.head);
        let source = self.reply_source(reply.body);
        Answer { source, upper, details: reply.details, flags: reply.flags, close: reply.close }
    }

    /// Takes what a filter answered, so that it counts once.
    fn interruption(&self, stream: &Stream) -> Result<Reply, Reset> {
        let mut state = stream.state();
        if state.reset {
            return Err(Reset);
        }
        state.local_reply.take().map(Reply::from).ok_or(Reset)
    }

    fn reset(mut self: Box<Self>, reset: Reset) -> Reset {
        self.failed("reset_by_plugin", "");
        reset
    }

    /// Properties tell of the response while its filters run.
    fn show(&self, stream: &Stream, answer: &Answer) {
        let info = &mut stream.state().info;
        info.upstream = self.upstream;
        info.code_details.clear();
        info.code_details.push_str(&answer.details);
        info.response_flags = answer.flags;
    }

    /// The head as the filters left it, framed as the body is. From now on it cannot be changed.
    fn take_head(&self, stream: &Stream, outgoing: &Outgoing) -> ResponseHead {
        let mut state = stream.state();
        state.response_sent = true;
        let empty = || ResponseHead { status: StatusCode::INTERNAL_SERVER_ERROR, headers: HeaderMap::new() };
        let mut head = state.response.clone().unwrap_or_else(empty);
        if head.status.is_informational() {
            head.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        head::strip_hop_by_hop(&mut head.headers);
        let bodiless = self.method == Method::HEAD || head.status == StatusCode::NOT_MODIFIED;
        match outgoing {
            // The length that the body would have had is the upstream's to tell.
            Outgoing::Source(source) if source.is_end() && bodiless => {}
            Outgoing::Source(source) => frame(&mut head.headers, source.known_length()),
            Outgoing::Driven(_) => frame(&mut head.headers, None),
        }
        head
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
