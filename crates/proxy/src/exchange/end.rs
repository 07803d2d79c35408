//! How an exchange ends: what its log line and the metrics say, and what its filters learn.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use tokio::time::Instant;

use super::Exchange;
use crate::access_log::Entry;
use crate::connection::Cut;

impl Exchange {
    /// So many bytes of the response's body have gone out.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.response_bytes += bytes as u64;
        self.clock.moved();
    }

    /// The response has gone out whole.
    pub(crate) fn completed(&mut self) {
        self.settled = true;
    }

    /// The response breaks off, and why.
    pub(crate) fn failed(&mut self, details: &'static str, flags: &'static str) {
        if !self.settled {
            self.settled = true;
            self.details = Cow::Borrowed(details);
            self.flags = flags;
        }
    }

    /// The client left, or the gateway closed the connection.
    fn broke_off(&mut self) {
        let (details, flags) = match self.clock.cut().or_else(|| self.connection.cut()) {
            Some(Cut::ResponseTimeout) => ("response_timeout", "UT"),
            Some(Cut::Silent) => ("body_idle_timeout", "SI"),
            Some(Cut::Drained) => ("drain_timeout", ""),
            _ => ("downstream_remote_disconnect", "DC"),
        };
        self.details = Cow::Borrowed(details);
        self.flags = flags;
    }

    /// Filters read what became of the exchange in their log callback, so they learn it before they are dropped.
    fn finish_filters(&mut self, request_bytes: u64) {
        let Some(chain) = self.chain.take() else { return };
        let info = &mut chain.stream.state().info;
        info.request_bytes = request_bytes;
        info.response_bytes = self.response_bytes;
        info.code_details = self.details.clone();
        info.response_flags = self.flags;
        info.upstream = self.tries.peer();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.settled {
            self.broke_off();
        }
        let request_bytes = self.meter.as_ref().map_or(0, |meter| meter.bytes.get());
        self.finish_filters(request_bytes);
        if self.recorded.is_some() {
            self.end_trace();
        }
        let now = Instant::now();
        let duration = now - self.started_at;
        let worker = &self.connection.worker;
        let stats = self.route.as_ref().map_or(&worker.unmatched, |route| &route.stats);
        stats.ended(&self.method, self.status, duration);
        worker.log(&Entry {
            time: self.started,
            listener: &self.connection.entrance.name,
            route: self.route.as_ref().map_or("none", |route| &route.name),
            method: self.method.as_str(),
            path: self.path.as_ref().map_or("-", PathAndQuery::as_str),
            status: self.status,
            details: &self.details,
            flags: self.flags,
            duration_ms: duration,
            request_bytes,
            response_bytes: self.response_bytes,
            upstream: self.tries.peer(),
            attempts: self.tries.count(),
            request_id: self.request_id.to_str().unwrap_or_default(),
            trace_id: self.trace.as_str(),
            source: self.client.address,
            revision: self.revision,
        });
        self.clock.exchange_ends(now);
    }
}
