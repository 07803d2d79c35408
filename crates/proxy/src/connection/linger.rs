//! The last moments of a connection whose client is still sending.
//!
//! Closing a socket with unread bytes resets it, and a reset takes away what the client has not read yet: it would not
//! see the answer that explains why nobody reads on (RFC 9112, 9.6). So the gateway says that it is done, and throws
//! away what comes for a while.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::clock::Clock;
use super::stream::ClientStream;
use crate::limits::{LINGER_BYTES_MAX, LINGER_READ_BYTES, LINGER_TIME};
use crate::stop::{Stop, StopWatch};

/// Reads until the client has ended too, or had its time, or has sent too much. The writing side is shut down already.
///
/// # Cancel safety
/// Dropping the future closes the connection at once.
pub(super) async fn linger(clock: &Clock, stop: &mut StopWatch<'_>, stream: ClientStream) {
    let mut socket = stream.into_socket();
    let since = Instant::now();
    let mut left = LINGER_BYTES_MAX;
    poll_fn(|cx| {
        let mut bytes = [0; LINGER_READ_BYTES];
        let mut buf = ReadBuf::new(&mut bytes);
        while let Poll::Ready(read) = Pin::new(&mut socket).poll_read(cx, &mut buf) {
            left = left.saturating_sub(buf.filled().len());
            if read.is_err() || buf.filled().is_empty() || left == 0 {
                return Poll::Ready(());
            }
            buf.clear();
        }
        while let Some(step) = stop.next(cx) {
            if step == Stop::Killed {
                return Poll::Ready(());
            }
        }
        clock.poll_grace(cx, since, LINGER_TIME)
    })
    .await;
}
