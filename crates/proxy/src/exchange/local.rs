//! Requests that the gateway answers itself, and what of a route's action is rarely asked for.

use agw_wasm::ResponseHead;
use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body_util::BodyExt;

use super::dispatch::body_halt;
use super::{Exchange, Halt};
use crate::action::{Action, Forwarding};
use crate::body::{BodyError, RequestBody, ResponseSource};
use crate::reply;
use crate::upstream::hash_of;

impl Exchange {
    /// The answer of a route that does not forward. A body that filters want is driven through them first, so that
    /// they have the same say as before an upstream; one that none wants is not read.
    ///
    /// # Cancel safety
    /// Dropping the future ends the reading of the body.
    pub(super) async fn answer_here(
        &mut self,
        action: &Action,
        request: Box<Request<RequestBody>>,
    ) -> Result<(ResponseHead, ResponseSource), Halt> {
        let (parts, body) = request.into_parts();
        if body.is_driven() {
            let clock = std::rc::Rc::clone(&self.clock);
            let read = clock.before(self.deadline, Box::pin(read_to_end(body))).await;
            read.ok_or_else(|| self.late(reply::PLUGIN_PAUSE_TIMEOUT))?
                .map_err(|error| body_halt(error.fault()))?;
        }
        let (head, body) = match action {
            Action::Respond(fixed) => fixed.answer(),
            Action::Redirect(redirection) => {
                let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
                let path = parts.uri.path_and_query().ok_or(reply::ROUTE_NOT_FOUND)?;
                (redirection.answer(self.client.scheme, host, path)?, Bytes::new())
            }
            // A route that forwards has a cluster.
            Action::Forward(_) => return Err(reply::ROUTE_NOT_FOUND.into()),
        };
        Ok((head, self.reply_source(body)))
    }

    /// What the request is spread by, as a number.
    #[cold]
    pub(super) fn hash<B>(&self, forwarding: &Forwarding, request: &Request<B>) -> Option<u64> {
        forwarding.key(request, self.client.address.ip()).map(|key| hash_of(&key))
    }
}

async fn read_to_end(mut body: RequestBody) -> Result<(), BodyError> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}
