//! One job on one connection and what it comes to, scripts that the server does not know included.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use agw_wire::{CallError, Retry};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::connection::{Answer, Job, Link};
use crate::error::{lost, timeout_io};
use crate::lease::Lease;
use crate::plan::{Plan, ScriptUse};
use crate::reply::{self, Rejected, Shape};
use crate::scripts::{LOADED_BYTES_MAX, Script, Scripts};

/// What every exchange of one resource needs.
pub(crate) struct Exchange {
    pub(crate) scripts: Arc<Scripts>,
    pub(crate) response_bytes_max: usize,
}

/// What some commands get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) replies: usize,
    /// Bytes of replies beyond those that the guest sees.
    pub(crate) overhead_bytes: usize,
}

// === impl Expected ===

impl Expected {
    pub(crate) fn of(shape: &Shape) -> Self {
        Expected { replies: shape.replies(), overhead_bytes: shape.overhead_bytes() }
    }
}

// === impl Exchange ===

impl Exchange {
    /// Sends `commands` and waits for their replies.
    ///
    /// # Errors
    /// The commands themselves if nothing of them was written.
    ///
    /// # Cancel safety
    /// As for [`send`].
    pub(crate) async fn ask(
        &self,
        link: &Link,
        commands: Vec<u8>,
        scripts: &ScriptUse,
        expected: Expected,
        deadline: Instant,
    ) -> Answer {
        match scripts {
            ScriptUse::None => {
                let bytes_max = self.response_bytes_max + expected.overhead_bytes;
                send(link, commands, expected.replies, bytes_max, deadline).await
            }
            ScriptUse::Only(script) => self.ask_script(link, commands, script, expected, deadline).await,
            ScriptUse::Among => self.ask_with_scripts(link, commands, expected, deadline).await,
        }
    }

    /// Most servers know the script, so it is not sent along. One that does not is taught it, once.
    async fn ask_script(
        &self,
        link: &Link,
        commands: Vec<u8>,
        script: &Script,
        expected: Expected,
        deadline: Instant,
    ) -> Answer {
        let bytes_max = self.response_bytes_max + expected.overhead_bytes;
        let reply = send(link, commands.clone(), expected.replies, bytes_max, deadline).await?;
        if !is_unknown_script(&reply) {
            return Ok(reply);
        }
        let again = [&*script.load, &*commands].concat();
        let reply_bytes_max = self.response_bytes_max + LOADED_BYTES_MAX;
        let replies = send(link, again, 2, reply_bytes_max, deadline).await;
        Ok(after_loading(replies.map_err(|unanswered| unanswered.without_first(script.load.len()))?, 1)?)
    }

    /// A batch cannot be tried twice: its other commands would run twice. So the scripts go ahead of it, once for
    /// each connection.
    async fn ask_with_scripts(
        &self,
        link: &Link,
        commands: Vec<u8>,
        expected: Expected,
        deadline: Instant,
    ) -> Answer {
        let bytes_max = self.response_bytes_max + expected.overhead_bytes;
        if link.scripts_loaded.load(Ordering::Relaxed) {
            let replies = send(link, commands, expected.replies, bytes_max, deadline).await?;
            if mentions_unknown_script(&replies) {
                // Somebody has flushed them. This batch has had its answer; the next one brings them along.
                link.scripts_loaded.store(false, Ordering::Relaxed);
            }
            return Ok(replies);
        }
        let (load, count) = self.scripts.load_all();
        let all = [load, &*commands].concat();
        let bytes_max = bytes_max + count * LOADED_BYTES_MAX;
        let replies = send(link, all, count + expected.replies, bytes_max, deadline).await;
        let replies =
            after_loading(replies.map_err(|unanswered| unanswered.without_first(load.len()))?, count)?;
        link.scripts_loaded.store(true, Ordering::Relaxed);
        Ok(replies)
    }

    /// On a leased connection, which is of no more use after an error.
    pub(crate) async fn ask_leased(&self, lease: &mut Lease, plan: &Plan) -> Result<Bytes, CallError> {
        let bytes_max = self.response_bytes_max + plan.shape.overhead_bytes();
        let replies = plan.shape.replies();
        let (load, count) = match &plan.scripts {
            ScriptUse::None => (&[][..], 0),
            ScriptUse::Only(script) => (&*script.load, 1),
            ScriptUse::Among => self.scripts.load_all(),
        };
        let exchanged = if count == 0 {
            lease.exchange(&plan.commands, replies, bytes_max).await
        } else {
            // Leases are rare and short: the scripts always go along, and nothing has to be remembered.
            let all = [load, &*plan.commands].concat();
            lease.exchange(&all, count + replies, bytes_max + count * LOADED_BYTES_MAX).await
        };
        let replies = exchanged.map_err(|fault| {
            lease.discard();
            fault.call_error()
        })?;
        after_loading(replies, count)
    }
}

/// Sends a job and waits for its replies, or for the word that it was never sent.
///
/// # Cancel safety
/// Dropped, it leaves the replies to be read and thrown away; commands that are not written yet never are.
pub(crate) async fn send(
    link: &Link,
    commands: Vec<u8>,
    replies: usize,
    reply_bytes_max: usize,
    deadline: Instant,
) -> Answer {
    let (answer, answered) = oneshot::channel();
    link.send(Job { commands, replies, reply_bytes_max, deadline, answer })?;
    match timeout_at(deadline, answered).await {
        Ok(Ok(replies)) => replies,
        Ok(Err(_)) => Err(lost().into()),
        Err(_) => Err(timeout_io().into()),
    }
}

fn is_unknown_script(reply: &[u8]) -> bool {
    reply.starts_with(b"-NOSCRIPT")
}

/// Only a hint: at worst the scripts are loaded once more than need be.
fn mentions_unknown_script(replies: &[u8]) -> bool {
    replies.windows(b"-NOSCRIPT".len()).any(is_unknown_script)
}

/// The replies behind those to `count` times `SCRIPT LOAD`.
fn after_loading(replies: Bytes, count: usize) -> Result<Bytes, CallError> {
    let mut cursor = agw_wire::resp::Cursor::new(&replies);
    for _ in 0..count {
        let begin = cursor.position();
        cursor.skip().map_err(|_| lost())?;
        let reply = replies.get(begin..cursor.position()).unwrap_or_default();
        reply::check(reply, Retry::IfIdempotent).map_err(|rejected: Rejected| rejected.error)?;
    }
    let begin = cursor.position();
    Ok(replies.slice(begin..))
}
