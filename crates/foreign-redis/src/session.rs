//! A connection that one user has to itself: it sends, and reads the replies to what it sent.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::error::Fault;
use crate::frame::Framer;
use crate::pipe::Pipe;

/// A logged-in connection, used by one exchange at a time.
pub(crate) struct Session {
    pipe: Pipe,
    /// An exchange has begun and not ended: nobody knows what comes next on the socket.
    mid_exchange: bool,
    /// Cancelled when its server is not the one to be used any more.
    over: Option<CancellationToken>,
}

// === impl Session ===

impl Session {
    pub(crate) fn new(pipe: Pipe) -> Self {
        Session { pipe, mid_exchange: false, over: None }
    }

    /// The same, of no use once `over` is cancelled.
    pub(crate) fn until(mut self, over: CancellationToken) -> Self {
        self.over = Some(over);
        self
    }

    /// What is cancelled when its server is not the one to be used any more.
    pub(crate) fn over(&self) -> Option<CancellationToken> {
        self.over.clone()
    }

    /// The connection, to be shared.
    pub(crate) fn into_pipe(self) -> Pipe {
        self.pipe
    }

    /// Whether the next exchange would read its own replies, from the server that it should come from.
    pub(crate) fn is_usable(&self) -> bool {
        let over = self.over.as_ref().is_some_and(CancellationToken::is_cancelled);
        !over && !self.mid_exchange && self.pipe.input.is_empty()
    }

    /// Sends `commands` and reads `replies` replies of together at most `bytes_max` bytes.
    ///
    /// It writes and reads at the same time: with both sides' buffers full, neither waits for the other.
    ///
    /// # Errors
    /// [`Fault`]; the session is of no use then.
    ///
    /// # Cancel safety
    /// Dropped before its end, it leaves a session that is not usable, to be thrown away.
    pub(crate) async fn exchange(
        &mut self,
        commands: &[u8],
        replies: usize,
        bytes_max: usize,
    ) -> Result<Bytes, Fault> {
        if !self.is_usable() {
            return Err(Fault::Unasked);
        }
        self.mid_exchange = true;
        let mut framer = Framer::new(replies, bytes_max);
        self.pipe.put(commands);
        let end = poll_fn(|cx| {
            loop {
                if let Some(end) = framer.advance(&self.pipe.input).map_err(Fault::Frame)? {
                    return Poll::Ready(Ok::<_, Fault>(end));
                }
                let written = self.pipe.poll_write(cx)?;
                let missing = framer.missing(self.pipe.input.len());
                match self.pipe.poll_read(cx, missing)? {
                    Poll::Ready(()) => {}
                    Poll::Pending => {
                        // Written or not, reading has asked to be woken; so has writing, if it is not done.
                        let _ = written;
                        return Poll::Pending;
                    }
                }
            }
        })
        .await?;
        let reply = self.pipe.input.split_to(end).freeze();
        if self.pipe.unwritten() > 0 || !self.pipe.input.is_empty() {
            return Err(Fault::Unasked);
        }
        self.mid_exchange = false;
        Ok(reply)
    }

    /// Whether an idle session still stands: nothing has come, not even its end. Does not wait.
    pub(crate) async fn is_alive(&mut self) -> bool {
        self.is_usable() && poll_fn(|cx| Poll::Ready(self.pipe.poll_read(cx, 0).is_pending())).await
    }
}
