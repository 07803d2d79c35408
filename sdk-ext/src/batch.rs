//! Several commands in one call.

use agw_wire::{Answer, Response, Style};

use crate::arguments::Commands;
use crate::lease::LeaseState;
use crate::redis::resp;
use crate::{CallId, Error, FromReply, Redis, Reply};

/// Commands collected for one call: [`Redis::pipeline`] or [`Redis::atomic`].
///
/// Every command of [`Redis`] is a method here too; it adds to the batch instead of calling. The replies come
/// as a tuple, one type per command, or as a `Vec` of one type. The first error among them is the error of
/// the whole; ask for `Result<T, Error>` in a place to see that reply's own error.
///
/// ```no_run
/// use agw_sdk::Error;
///
/// # fn f() -> Result<(), Error> {
/// let limits = agw_sdk::redis("limits")?;
/// let (a, b): (i64, Result<i64, Error>) = limits.pipeline().incr("a").incr("not a number").run()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a batch does nothing until `run` or `start`"]
pub struct Batch<'a> {
    redis: Redis<'a>,
    pub(crate) commands: Commands,
    atomic: bool,
    lease: Option<&'a mut LeaseState>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(redis: Redis<'a>, atomic: bool, lease: Option<&'a mut LeaseState>) -> Self {
        Batch { redis, commands: Commands::with_room(), atomic, lease }
    }

    /// Adds any command: its name and its arguments as bytes.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let replies: Vec<Option<Vec<u8>>> =
    ///     agw_sdk::redis("limits")?.pipeline().command(&[b"GETDEL", b"a"]).command(&[b"GETDEL", b"b"]).run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn command(mut self, args: &[&[u8]]) -> Self {
        self.commands.whole(args);
        self
    }

    /// Adds a script that the operator has named, with its keys and its other arguments.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let (left,): (i64,) =
    ///     agw_sdk::redis("limits")?.pipeline().script("take_tokens", &["bucket:42"], &["3"]).run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn script(mut self, name: &str, keys: &[impl AsRef<[u8]>], args: &[impl AsRef<[u8]>]) -> Self {
        self.commands.begin_script(name, keys.len());
        self.commands.list(keys);
        self.commands.list(args);
        self
    }

    /// Sends the batch and waits for its replies. On a lease after `WATCH`, `Option` of the tuple is `None`
    /// when a watched key was changed and nothing ran.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the batch is empty.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let limits = agw_sdk::redis("limits")?;
    /// let (count, left_ms): (i64, i64) = limits.atomic().incr("visits").pttl("visits").run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<T: FromReply>(self) -> Result<T, Error> {
        self.check()?;
        let Some(lease) = self.lease else {
            let bytes = self.redis.exchange(&self.commands, self.atomic, Style::Blocking, None)?;
            return read(&bytes, self.commands.as_wire().len(), self.atomic);
        };
        let bytes = lease.exchange(&self.redis, &self.commands, self.atomic)?;
        read(&bytes, self.commands.as_wire().len(), self.atomic)
    }

    /// Sends the batch and does not wait: the reply comes to `on_foreign_function`, where [`answer`] reads it.
    /// The way for plugins that share a VM, and for several calls at once.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the batch is empty or belongs to a lease.
    ///
    /// [`answer`]: crate::answer()
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let call = agw_sdk::redis("limits")?.pipeline().incr("visits").start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(self) -> Result<CallId, Error> {
        self.check()?;
        if self.lease.is_some() {
            return Err(Error::invalid("a leased connection is used by blocking calls only"));
        }
        let bytes = self.redis.exchange(&self.commands, self.atomic, Style::Callback, None)?;
        match Response::decode(&bytes)?.answer {
            Answer::CallId(id) => {
                Ok(CallId { id, commands: self.commands.as_wire().len(), atomic: self.atomic })
            }
            Answer::Error(error) => Err(error.into()),
            Answer::Resp(_) | Answer::Sql(_) => Err(Error::Host("the host answered a callback call at once")),
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.commands.as_wire().is_empty() {
            return Err(Error::invalid("the batch is empty"));
        }
        Ok(())
    }
}

/// Reads the replies of a batch: one per command, or one array for an atomic one.
pub(crate) fn read<T: FromReply>(bytes: &[u8], commands: usize, atomic: bool) -> Result<T, Error> {
    let response = Response::decode(bytes)?;
    let resp = resp(&response)?;
    let reply = if atomic { Reply::one(resp) } else { Reply::sequence(resp, commands) };
    reply.finish()
}

#[cfg(test)]
mod tests;
