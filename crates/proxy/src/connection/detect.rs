//! Which HTTP a client speaks that nobody has asked: its first bytes say.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use agw_config::Listener;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::Version;
use super::clock::{Clock, Cut};
use super::stream::ClientStream;
use crate::limits::{DRAIN_IDLE_GRACE, FIRST_READ_BYTES};
use crate::stop::{Stop, StopWatch};

/// What an HTTP/2 client sends first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads as much as tells HTTP/2 from HTTP/1.1, and puts it back. Until the first byte the connection is idle, then its
/// head has begun: the clock holds it to the same times. Until there is a byte, the connection costs no buffer.
///
/// # Cancel safety
/// The connection cannot be used afterwards.
pub(super) async fn detect(
    listener: &Listener,
    clock: &Clock,
    stop: &mut StopWatch<'_>,
    stream: &mut ClientStream,
) -> Result<Option<Version>, Cut> {
    let mut read = BytesMut::new();
    let mut draining_since = None;
    poll_fn(|cx| {
        while let Poll::Ready(more) = poll_some(stream, cx, &mut read) {
            if !more {
                return Poll::Ready(Ok(None));
            }
            clock.bytes_arrived();
            if let Some(version) = version(&read) {
                stream.unread(Bytes::from(std::mem::take(&mut read)));
                return Poll::Ready(Ok(Some(version)));
            }
        }
        while let Some(step) = stop.next(cx) {
            if step == Stop::Killed {
                return Poll::Ready(Err(Cut::Drained));
            }
            draining_since = Some(Instant::now());
        }
        // What has begun may finish while the worker drains.
        if let Some(since) = draining_since
            && clock.is_idle()
        {
            return clock.poll_grace(cx, since, DRAIN_IDLE_GRACE).map(|()| Err(Cut::Drained));
        }
        clock.poll_deadline(cx, listener).map(Err)
    })
    .await
}

/// Reads what is there; false at the end of input, or if the connection broke.
fn poll_some(stream: &mut ClientStream, cx: &mut Context<'_>, read: &mut BytesMut) -> Poll<bool> {
    let mut bytes = [0; FIRST_READ_BYTES];
    let mut buf = ReadBuf::new(&mut bytes);
    Pin::new(stream).poll_read(cx, &mut buf).map(|result| {
        read.extend_from_slice(buf.filled());
        result.is_ok() && !buf.filled().is_empty()
    })
}

/// Nothing as long as it may be either.
fn version(first: &[u8]) -> Option<Version> {
    let common = first.len().min(PREFACE.len());
    match (first.get(..common) == PREFACE.get(..common), first.len() >= PREFACE.len()) {
        (true, true) => Some(Version::Http2),
        (true, false) => None,
        (false, _) => Some(Version::Http1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_as_soon_as_it_can_be() {
        for end in 0..PREFACE.len() {
            assert_eq!(version(&PREFACE[..end]), None);
            let mut other = PREFACE[..end].to_vec();
            other.push(b'!');
            assert_eq!(version(&other), Some(Version::Http1));
        }
        assert_eq!(version(PREFACE), Some(Version::Http2));
        assert_eq!(version(&[PREFACE, b"more"].concat()), Some(Version::Http2));
        assert_eq!(version(b"PRIVATE / HTTP/1.1\r\n"), Some(Version::Http1));
    }
}
