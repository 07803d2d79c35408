//! TLS before anything else.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use agw_wasm::ConnectionTls;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::clock::{Clock, Cut};
use super::stream::ClientStream;
use super::{Entrance, Version};
use crate::stop::{Stop, StopWatch};
use crate::tls::{ServerTls, connection_tls};

/// What a handshake came to.
pub(super) struct Secured {
    pub(super) stream: ClientStream,
    pub(super) tls: Arc<ConnectionTls>,
    /// What ALPN says; HTTP/1.1 if it says nothing.
    pub(super) version: Version,
}

/// Shakes hands within the listener's header time-out. Nothing if there is no connection afterwards; why is logged.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub(super) async fn handshake(
    entrance: &Rc<Entrance>,
    server: &ServerTls,
    clock: &Clock,
    stop: &mut StopWatch<'_>,
    stream: TcpStream,
) -> Option<Secured> {
    clock.head_begins();
    let mut accepting = pin!(TlsAcceptor::from(server.config()).accept(stream));
    let outcome = poll_fn(|cx| {
        if let Poll::Ready(outcome) = accepting.as_mut().poll(cx) {
            return Poll::Ready(Ok(outcome));
        }
        while let Some(step) = stop.next(cx) {
            if step == Stop::Killed {
                return Poll::Ready(Err(Cut::Drained));
            }
        }
        clock.poll_deadline(cx, &entrance.listener).map(Err)
    })
    .await;
    match outcome {
        Ok(Ok(stream)) => {
            entrance.handshakes.ok.inc();
            clock.exchange_ends(Instant::now());
            let session = stream.get_ref().1;
            let http2 = match session.alpn_protocol() {
                Some(protocol) => protocol == b"h2",
                None => !entrance.listener.protocols.http1,
            };
            let version = if http2 { Version::Http2 } else { Version::Http1 };
            let tls = connection_tls(session);
            Some(Secured { stream: ClientStream::tls(stream), tls, version })
        }
        Ok(Err(error)) => {
            entrance.handshakes.failed.inc();
            tracing::debug!(listener.name = %entrance.name, %error, "no TLS handshake");
            None
        }
        Err(cut) => {
            entrance.handshakes.timeout.inc();
            tracing::debug!(listener.name = %entrance.name, ?cut, "TLS handshake broken off");
            None
        }
    }
}
