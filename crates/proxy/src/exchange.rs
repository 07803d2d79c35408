//! One request, from its head to its log line.
//!
//! [`serve`] checks the head and finds the route. A route without plugins takes [`plain`]: head and body go straight
//! through. One with plugins takes [`filtered`]. Both end in a response whose body owns the [`Exchange`]; when that is
//! dropped, for whatever reason, the exchange ends: the filters finish, the log line is written, the metrics counted.

mod dispatch;
mod end;
mod filtered;
mod local;
mod plain;
mod span;
mod upgrade;

use std::borrow::Cow;
use std::pin::Pin;
use std::rc::Rc;
use std::time::SystemTime;

use agw_wasm::ResponseHead;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use self::span::Recorded;
use self::upgrade::{Agreed, Wish};
pub(crate) use self::upgrade::{Tunnel, TunnelEnd, Writer};
use crate::action::Forwarding;
use crate::body::{Meter, RequestBody, ResponseBody, ResponseSource};
use crate::chain::Chain;
use crate::connection::{Clock, Connection, after};
use crate::head::{self, Arrived, Client, TraceId};
use crate::limits::REPLY_GRACE;
use crate::reply::{self, Problem, Reply};
use crate::router::Asked;
use crate::runtime::{Generation, RouteState};
use crate::stop::Stop;
use crate::upstream::Tries;

/// The stream is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the stream was reset")]
pub(crate) struct Reset;

/// What is known of a request while it is served, and logged when it ends.
pub(crate) struct Exchange {
    connection: Rc<Connection>,
    /// The connection's with HTTP/1.1, the stream's with HTTP/2.
    clock: Rc<Clock>,
    /// The number of the revision that it is served with.
    revision: u64,
    route: Option<Rc<RouteState>>,
    /// Which of the route's clusters was drawn.
    share: usize,
    chain: Option<Chain>,
    method: Method,
    /// As the client sent it, if it could be read.
    path: Option<PathAndQuery>,
    request_id: HeaderValue,
    trace: TraceId,
    /// Its spans, if it is recorded.
    recorded: Option<Box<Recorded>>,
    client: Client,
    started: SystemTime,
    started_at: Instant,
    deadline: Instant,
    meter: Option<Rc<Meter>>,
    /// What the client wants to upgrade to.
    wish: Option<Wish>,
    /// The upstream has switched to it.
    agreed: Option<Box<Agreed>>,
    status: u16,
    details: Cow<'static, str>,
    flags: &'static str,
    response_bytes: u64,
    tries: Tries,
    /// Whether the response went out whole, or why it did not is known.
    settled: bool,
}

/// Why a request gets no response from upstream.
pub(crate) enum Halt {
    /// The gateway answers.
    Problem(Problem),
    /// A filter answered, or reset the stream.
    Interrupted,
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        Halt::Problem(problem)
    }
}

/// Answers one request.
///
/// # Cancel safety
/// Dropping the future ends the exchange: its filters finish, its upstream connection is closed, and its log line has
/// the flag `DC`.
pub(crate) fn serve(
    request: Request<Incoming>,
    connection: Rc<Connection>,
    clock: Rc<Clock>,
) -> impl Future<Output = Result<Response<ResponseBody>, Reset>> {
    // What needs no waiting is done before there is a future, which so has less to carry.
    let course = take(request, connection, clock);
    async move {
        match course {
            Course::Answered(response) => Ok(response),
            Course::Doubtful => Err(Reset),
            Course::Plain(exchange, request) => plain::run(exchange, request).await,
            Course::Filtered(running) => running.await,
        }
    }
}

/// How a request goes on once its head was looked at.
enum Course {
    Answered(Response<ResponseBody>),
    /// It may be no request at all.
    Doubtful,
    Plain(Box<Exchange>, Box<Request<RequestBody>>),
    Filtered(Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Reset>>>>),
}

fn take(mut request: Request<Incoming>, connection: Rc<Connection>, clock: Rc<Clock>) -> Course {
    if !clock.is_end_certain() {
        return Course::Doubtful;
    }
    let extended = if request.method() == Method::CONNECT { upgrade::extended(&mut request) } else { None };
    let (mut parts, incoming) = request.into_parts();
    let path = parts.uri.path_and_query().cloned();
    let mut exchange = Exchange::begin(connection, clock, parts.method.clone(), path);
    exchange.wish = extended;
    if !incoming.is_end_stream() {
        let chunked = parts.version <= Version::HTTP_11 && incoming.size_hint().exact().is_none();
        exchange.clock.request_is_unread(chunked);
    }
    if parts.version == Version::HTTP_2
        && let Err(problem) =
            head::settle_http2(&mut parts, exchange.connection.entrance.listener.headers_max)
    {
        return Course::Answered(exchange.answer(problem));
    }
    // Of hyper's extensions only the one for upgrades is ever there, also with a CONNECT of HTTP/2.
    if !parts.extensions.is_empty() && exchange.wish.is_none() {
        exchange.wish = upgrade::wish(&parts, &incoming);
    }
    let mut arrived = match head::arrive(parts, exchange.connection.local) {
        Ok(arrived) => arrived,
        Err(turned) => return Course::Answered(exchange.answer(turned)),
    };
    let generation = exchange.connection.worker.generation();
    exchange.introduce(&mut arrived, &generation);

    let host = arrived.headers.get(HOST).and_then(|host| host.to_str().ok());
    let (method, path, headers) = (&arrived.method, &arrived.path, &arrived.headers);
    let Some(route) = generation.find(Asked { authority: host, method, path, headers }) else {
        return Course::Answered(exchange.answer(reply::ROUTE_NOT_FOUND));
    };
    exchange.take_route(route);
    if head::content_length(&arrived.headers)
        .is_some_and(|length| length > route.route.request_body_bytes_max)
    {
        return Course::Answered(exchange.answer(reply::REQUEST_TOO_LARGE));
    }
    if route.plugins.is_empty() {
        let request = plain::request(&mut exchange, arrived, incoming);
        Course::Plain(exchange, request)
    } else {
        let generation = Rc::clone(&generation);
        Course::Filtered(Box::pin(filtered::run(exchange, generation, arrived, incoming)))
    }
}

/// Logs and counts a head that hyper answered itself, because it could not be read.
pub(crate) fn refused(connection: &Rc<Connection>, clock: Rc<Clock>, error: &hyper::Error) {
    let unknown = Method::from_bytes(b"-").unwrap_or_default();
    let mut exchange = Exchange::begin(Rc::clone(connection), clock, unknown, None);
    (exchange.status, exchange.details) = hypers_answer(error);
    exchange.settled = true;
}

/// What hyper has answered to a head that it could not read.
fn hypers_answer(error: &hyper::Error) -> (u16, Cow<'static, str>) {
    if error.is_parse_version_h2() {
        // It leaves that answer to whoever speaks HTTP/2, which on this connection is nobody.
        return (0, "request_head_broken".into());
    }
    if !error.is_parse_too_large() {
        return (400, "request_head_broken".into());
    }
    // It has no other word for which of the two was too large.
    let target = error.to_string() == "URI too long";
    if target { (414, "request_target_too_large".into()) } else { (431, "request_head_too_large".into()) }
}

// === impl Exchange ===

impl Exchange {
    fn begin(
        connection: Rc<Connection>,
        clock: Rc<Clock>,
        method: Method,
        path: Option<PathAndQuery>,
    ) -> Box<Self> {
        clock.exchange_begins();
        let started_at = Instant::now();
        let client = connection.introduction.client();
        Box::new(Exchange {
            client,
            trace: TraceId::default(),
            recorded: None,
            revision: connection.worker.generation().revision(),
            connection,
            clock,
            route: None,
            share: 0,
            chain: None,
            method,
            path,
            request_id: HeaderValue::from_static(""),
            started: SystemTime::now(),
            started_at,
            deadline: started_at,
            meter: None,
            wish: None,
            agreed: None,
            status: 0,
            details: Cow::Borrowed(""),
            flags: "",
            response_bytes: 0,
            tries: Tries::default(),
            settled: false,
        })
    }

    /// Finds out who asks, and writes what upstreams are told of it.
    fn introduce(&mut self, arrived: &mut Arrived, generation: &Generation) {
        let Arrived { headers, found, .. } = arrived;
        if let Some(host) = headers.get(HOST).cloned() {
            self.client = self.connection.introduction.introduce(headers, *found, &host);
        }
        self.request_id = head::settle_request_id(headers);
        match generation.tracer() {
            None => self.trace = head::settle_trace(headers, *found),
            Some(tracer) => self.begin_trace(arrived, tracer),
        }
    }

    fn take_route(&mut self, route: &Rc<RouteState>) {
        self.deadline = after(self.started_at, route.route.timeout);
        self.share = route.action.forwarding().map_or(0, Forwarding::draw);
        self.route = Some(Rc::clone(route));
    }

    /// For the access log: who answered, if all went well.
    fn answered_by(&self) -> &'static str {
        self.route.as_ref().map_or("", |route| route.action.details())
    }

    /// The request's body, untouched.
    fn plain_body(&mut self, incoming: Incoming, limit: u64) -> RequestBody {
        if incoming.is_end_stream() {
            return RequestBody::empty();
        }
        RequestBody::plain(incoming, limit, self.meter())
    }

    fn meter(&mut self) -> Rc<Meter> {
        let silence_max = self.idle_timeout();
        Rc::clone(self.meter.get_or_insert_with(|| Rc::new(Meter::new(&self.clock, silence_max))))
    }

    /// Answers with a reply that no filter sees.
    fn answer(mut self: Box<Self>, reply: impl Into<Reply>) -> Response<ResponseBody> {
        let reply = reply.into();
        self.details = reply.details;
        self.flags = reply.flags;
        let close = reply.close || !self.clock.is_end_certain();
        let source = self.reply_source(reply.body);
        let mut response = self.respond(reply.head, source);
        if close {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// A reply's body; a HEAD request gets none.
    fn reply_source(&self, body: bytes::Bytes) -> ResponseSource {
        let wanted = self.method != Method::HEAD;
        ResponseSource::Whole(if wanted { body } else { bytes::Bytes::new() })
    }

    /// The response, with a body that no filter wants any more.
    fn respond(
        mut self: Box<Self>,
        mut head: ResponseHead,
        source: ResponseSource,
    ) -> Response<ResponseBody> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS
            && let Some(agreed) = self.agreed.take()
        {
            return self.hand_over(head, *agreed);
        }
        self.response_begins(&mut head);
        assemble(head, ResponseBody::plain(source, self))
    }

    fn response_begins(&mut self, head: &mut ResponseHead) {
        if head.status.is_success() && self.is_extended() {
            self.refuse_upgrade(head);
        }
        self.status = head.status.as_u16();
        let ending = self.connection.entrance.ending.stop() != Stop::Running;
        let last = ending || self.clock.had_trailers();
        if last && head.status != StatusCode::SWITCHING_PROTOCOLS {
            // Tells the client that it is the last on this connection; hyper then closes it.
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let now = Instant::now();
        self.clock.response_begins(now, self.deadline.max(now + REPLY_GRACE), self.idle_timeout());
    }

    /// Whether a filter has reset the stream, from whatever callback.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.chain.as_ref().is_some_and(|chain| chain.stream.is_interrupted())
    }
}

fn assemble(head: ResponseHead, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}
