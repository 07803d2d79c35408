//! A request without filters: nothing is looked at, nothing is held.

use http::{Request, Response};
use hyper::body::Incoming;

use super::dispatch::upstream_request;
use super::{Exchange, Halt, Reset};
use crate::body::{RequestBody, ResponseBody};
use crate::head::Arrived;

/// What goes upstream.
pub(super) fn request(
    exchange: &mut Exchange,
    arrived: Arrived,
    incoming: Incoming,
) -> Box<Request<RequestBody>> {
    let limit = exchange.route.as_ref().map_or(0, |route| route.route.request_body_bytes_max);
    let body = exchange.plain_body(incoming, limit);
    upstream_request(arrived.method, arrived.path, arrived.headers, body)
}

pub(super) async fn run(
    mut exchange: Box<Exchange>,
    request: Box<Request<RequestBody>>,
) -> Result<Response<ResponseBody>, Reset> {
    match exchange.dispatch(request).await {
        Ok((head, source)) => {
            exchange.details = exchange.answered_by().into();
            Ok(exchange.respond(head, source))
        }
        Err(Halt::Problem(problem)) => Ok(exchange.answer(problem)),
        // Without filters nobody interrupts.
        Err(Halt::Interrupted) => Err(Reset),
    }
}
