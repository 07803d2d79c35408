//! A listener as its connections need it.

use std::sync::Arc;

use agw_config::Listener;
use agw_telemetry::{Counter, HandshakeLabels, Metrics};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use super::http2::StreamExecutor;
use crate::limits::{BODY_BUFFER_BYTES, HEADERS_DEFAULT, READ_BUFFER_BYTES_MIN};
use crate::stop::Ending;
use crate::tls::ServerTls;

/// TLS handshakes by how they ended.
pub(super) struct Handshakes {
    pub(super) ok: Counter,
    pub(super) failed: Counter,
    pub(super) timeout: Counter,
}

/// See the module.
pub(crate) struct Entrance {
    pub(crate) name: Arc<str>,
    pub(crate) listener: Arc<Listener>,
    /// What clients speak to it.
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) handshakes: Handshakes,
    /// Of its connections: the worker stops, or the listener is gone or has become another.
    pub(crate) ending: Ending,
    http1: http1::Builder,
}

impl Entrance {
    pub(crate) fn new(listener: Arc<Listener>, tls: Option<Arc<ServerTls>>, metrics: &Metrics) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .half_close(false)
            .header_read_timeout(None)
            .max_header_size(listener.header_bytes_max)
            .max_buf_size(
                READ_BUFFER_BYTES_MIN.max(listener.header_bytes_max.saturating_add(BODY_BUFFER_BYTES)),
            );
        if listener.headers_max != HEADERS_DEFAULT {
            http1.max_headers(listener.headers_max);
        }
        let handshakes = Handshakes::new(&listener.name, metrics);
        let ending = Ending::new();
        Entrance { name: listener.name.as_str().into(), listener, tls, handshakes, ending, http1 }
    }

    pub(super) fn http1(&self) -> &http1::Builder {
        &self.http1
    }

    /// Of the floods that are known, h2 by itself bounds CONTINUATION frames (by the size of a head), small DATA
    /// frames, streams that are reset before they are taken, and resets that a client provokes; `flood.rs` bounds the
    /// others.
    pub(super) fn http2(&self, executor: StreamExecutor) -> http2::Builder<StreamExecutor> {
        let limits = &self.listener.http2;
        let mut http2 = http2::Builder::new(executor);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .initial_stream_window_size(limits.stream_window)
            .initial_connection_window_size(limits.connection_window)
            .max_header_list_size(u32::try_from(self.listener.header_bytes_max).unwrap_or(u32::MAX))
            .max_send_buf_size(BODY_BUFFER_BYTES)
            .max_pending_accept_reset_streams(limits.resets_max)
            .max_local_error_reset_streams(limits.resets_max)
            .keep_alive_interval(limits.keepalive)
            .keep_alive_timeout(limits.keepalive)
            .enable_connect_protocol();
        http2
    }
}

impl Handshakes {
    fn new(listener: &str, metrics: &Metrics) -> Self {
        let of = |outcome| {
            let labels = HandshakeLabels { listener: listener.to_owned(), outcome };
            metrics.tls_handshakes.get_or_create(&labels).clone()
        };
        Handshakes { ok: of("ok"), failed: of("failed"), timeout: of("timeout") }
    }
}
