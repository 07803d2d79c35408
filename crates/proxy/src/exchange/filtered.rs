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

mod response;

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use agw_wasm::{Opened, RequestHead, ResponseHead, Stream, StreamInfo, Verdict};
use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use self::response::Answer;
use super::dispatch::{body_halt, upstream_request};
use super::{Exchange, Halt, Reset};
use crate::body::{Direction, First, RequestBody, RequestSource, ResponseBody, ResponseSource, drive};
use crate::chain::Chain;
use crate::head::{self, Arrived, Client};
use crate::reply::{self, Problem};
use crate::router::Asked;
use crate::runtime::Generation;

pub(super) async fn run(
    mut exchange: Box<Exchange>,
    generation: Rc<Generation>,
    arrived: Arrived,
    incoming: Incoming,
) -> Result<Response<ResponseBody>, Reset> {
    let (request, version) = match request_head(arrived, &exchange.client) {
        Ok(taken) => taken,
        Err(problem) => return Ok(exchange.answer(problem)),
    };
    let stream = Stream::new(request, exchange.stream_info(version));
    exchange.chain = Some(Chain { stream: Arc::clone(&stream), filters: Vec::new() });

    let answer = match exchange.ask(&generation, &stream, incoming).await {
        Ok((head, source)) => {
            stream.state().response = Some(head);
            let upper = exchange.filters();
            let details = Cow::Borrowed(exchange.answered_by());
            Answer { source, upper, details, flags: "", close: false }
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
fn request_head(arrived: Arrived, client: &Client) -> Result<(RequestHead, http::Version), Problem> {
    let Arrived { method, path, version, mut headers, .. } = arrived;
    let host = headers.remove(HOST).unwrap_or_else(|| HeaderValue::from_static(""));
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "host_not_valid", "the Host header is not a host and port")
    })?;
    let scheme = if client.scheme == "https" { Scheme::HTTPS } else { Scheme::HTTP };
    Ok((RequestHead { method, scheme, authority: Some(authority), path, headers }, version))
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
        let clock = Rc::clone(&self.clock);
        let deadline = self.deadline;
        let heads = {
            let heads = pin!(self.request_headers(generation, stream, incoming.is_end_stream()));
            clock.before(deadline, heads).await
        };
        heads.unwrap_or_else(|| Err(reply::PLUGIN_PAUSE_TIMEOUT.into()))?;
        self.choose_again(generation, stream)?;
        check_head(stream)?;

        let deadline = self.deadline;
        let body = {
            let body = pin!(self.request_body(stream, incoming));
            clock.before(deadline, body).await
        };
        let body = body.unwrap_or_else(|| Err(self.late(reply::PLUGIN_PAUSE_TIMEOUT).into()))?;
        let request = send_head(stream, body);
        let mut answering = pin!(self.dispatch(request));
        poll_fn(|cx| {
            // A filter's answer wins over one that has just come.
            if stream.poll_interrupted(cx).is_ready() {
                return Poll::Ready(Err(Halt::Interrupted));
            }
            answering.as_mut().poll(cx)
        })
        .await
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
        let RequestHead { method, path, headers, .. } = &state.request;
        let Some(route) = generation.find(Asked { authority, method, path, headers }) else {
            return Err(reply::ROUTE_NOT_FOUND.into());
        };
        if !self.route.as_ref().is_some_and(|current| Rc::ptr_eq(current, route)) {
            self.take_route(route);
            state.info.route = Arc::clone(&route.name);
            state.info.cluster = self.cluster();
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
        match drive(Direction::Request, source, filters, buffer_max, stream).await {
            Ok(First::Whole(bytes)) => Ok(RequestBody::whole(bytes)),
            Ok(First::Part(driven)) => Ok(RequestBody::driven(driven, meter)),
            Err(error) => Err(body_halt(error.fault())),
        }
    }

    fn stream_info(&self, version: http::Version) -> StreamInfo {
        let connection = &self.connection;
        let none = || Arc::from("none");
        StreamInfo {
            connection_id: connection.id,
            source: self.client.address,
            destination: connection.local,
            tls: connection.tls.clone(),
            version,
            request_id: self.request_id.to_str().unwrap_or_default().to_owned(),
            started: self.started,
            started_at: self.started_at,
            deadline: self.deadline,
            listener: Arc::clone(&connection.entrance.name),
            route: self.route.as_ref().map_or_else(none, |route| Arc::clone(&route.name)),
            cluster: self.cluster(),
            upstream: None,
            request_bytes: 0,
            response_bytes: 0,
            code_details: Cow::Borrowed(""),
            response_flags: "",
            trace: self.recorded.as_ref().map(|recorded| recorded.span()),
        }
    }

    /// Name of the cluster that was drawn; `none` if the gateway answers itself.
    fn cluster(&self) -> Arc<str> {
        let target = self.route.as_ref().and_then(|route| route.targets.get(self.share));
        target.map_or_else(|| Arc::from("none"), |target| Arc::clone(&target.cluster))
    }

    fn filters(&self) -> usize {
        self.chain.as_ref().map_or(0, |chain| chain.filters.len())
    }
}

/// Refuses a head that filters made into one that no upstream should see.
fn check_head(stream: &Stream) -> Result<(), Halt> {
    let state = stream.state();
    let RequestHead { method, path, authority, .. } = &state.request;
    let authority = authority.as_ref().map_or("", Authority::as_str).as_bytes();
    if head::may_go_out(method, path, authority) {
        Ok(())
    } else {
        Err(reply::PLUGIN_REQUEST_NOT_VALID.into())
    }
}

/// The head that goes upstream. Filters go on reading theirs.
fn send_head(stream: &Stream, body: RequestBody) -> Box<Request<RequestBody>> {
    let RequestHead { method, authority, path, mut headers, .. } = stream.state().send_request();
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
