//! The handle of one resource, and how a call is made of it.

use std::time::Duration;

use agw_wire::{Answer, Response, Style};

use crate::arguments::Commands;
use crate::{Batch, Error, FromReply, Lease, Reply, Script, transport};

/// One Redis resource, by the name that the operator gave it.
///
/// It is only a name and a deadline: making and copying it costs nothing, and no connection belongs to it.
/// Every command is a method here; each makes one call, and the stream waits for its reply while the
/// gateway goes on with others.
///
/// ```no_run
/// # fn f() -> Result<(), agw_sdk::Error> {
/// let sessions = agw_sdk::redis("sessions")?;
/// let user: Option<Vec<u8>> = sessions.get("session:42")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redis<'a> {
    resource: &'a str,
    deadline_ms: u32,
}

/// The Redis resource `name`. It asks nobody: an unknown name, or a host that is not AGW, shows at the first
/// call.
///
/// # Errors
/// [`Error::Invalid`] when the name is empty.
///
/// ```no_run
/// # fn f() -> Result<(), agw_sdk::Error> {
/// let limits = agw_sdk::redis("limits")?;
/// let count = limits.incr("visits")?;
/// # Ok(())
/// # }
/// ```
pub fn redis(name: &str) -> Result<Redis<'_>, Error> {
    if name.is_empty() {
        return Err(Error::invalid("the resource's name is empty"));
    }
    Ok(Redis { resource: name, deadline_ms: 0 })
}

impl<'a> Redis<'a> {
    /// The same resource with another deadline for each call: waiting, connecting, writing and reading
    /// together. The operator's own bounds hold as well. Whole milliseconds, rounded up, at least one.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let limits = agw_sdk::redis("limits")?.deadline(Duration::from_millis(20));
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        let ms = deadline.as_nanos().div_ceil(1_000_000).max(1);
        self.deadline_ms = u32::try_from(ms).unwrap_or(u32::MAX);
        self
    }

    /// Any command: its name and its arguments as bytes. For those that have no method here.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let limits = agw_sdk::redis("limits")?;
    /// let old: Option<Vec<u8>> = limits.command(&[b"GETDEL", b"token"])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn command<T: FromReply>(&self, args: &[&[u8]]) -> Result<T, Error> {
        let mut commands = Commands::default();
        commands.whole(args);
        self.run(&commands)
    }

    /// Commands that go out together, in one call and one round trip. Others' commands may run between them;
    /// one that fails does not stop the next.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let sessions = agw_sdk::redis("sessions")?;
    /// let (user, prolonged): (Option<String>, bool) =
    ///     sessions.pipeline().get("session:42").expire("session:42", 600).run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn pipeline(&self) -> Batch<'a> {
        Batch::new(*self, false, None)
    }

    /// Commands between `MULTI` and `EXEC`, in one call and one round trip: nothing runs between them.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let limits = agw_sdk::redis("limits")?;
    /// let (count, left_ms): (i64, i64) = limits.atomic().incr("visits").pttl("visits").run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn atomic(&self) -> Batch<'a> {
        Batch::new(*self, true, None)
    }

    /// A script that the operator has named in the resource.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let limits = agw_sdk::redis("limits")?;
    /// let left: i64 = limits.script("take_tokens").key("bucket:42").arg("3").run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn script(&self, name: &'a str) -> Script<'a> {
        Script::new(*self, name)
    }

    /// A connection of the plugin's own, for `WATCH` and for commands that block. It is taken at the first
    /// command and given back when the lease is dropped or the stream ends.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let mut lease = agw_sdk::redis("stock")?.lease();
    /// lease.command::<()>(&[b"WATCH", b"left"])?;
    /// let left: Option<i64> = lease.command(&[b"GET", b"left"])?;
    /// if left.unwrap_or(0) > 0 {
    ///     // None: another client changed it meanwhile.
    ///     let sold: Option<(i64,)> = lease.atomic().decr("left").run()?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn lease(&self) -> Lease<'a> {
        Lease::new(*self)
    }

    /// One command, already written down.
    pub(crate) fn run<T: FromReply>(&self, commands: &Commands) -> Result<T, Error> {
        let bytes = self.exchange(commands, false, Style::Blocking, None)?;
        let response = Response::decode(&bytes)?;
        Reply::one(resp(&response)?).finish()
    }

    /// Sends one request; the answer is a response still to be decoded.
    pub(crate) fn exchange(
        &self,
        commands: &Commands,
        atomic: bool,
        style: Style,
        lease: Option<agw_wire::Lease>,
    ) -> Result<Vec<u8>, Error> {
        let request = commands.as_wire().encode(self.resource, style, self.deadline_ms, atomic, lease);
        transport::call(agw_wire::AGW_REDIS, &request)
    }
}

/// The RESP bytes of a response, or its error.
pub(crate) fn resp<'a>(response: &Response<'a>) -> Result<&'a [u8], Error> {
    match &response.answer {
        Answer::Resp(resp) => Ok(resp),
        Answer::Error(error) => Err(error.clone().into()),
        Answer::CallId(_) => Err(Error::Host("the host answered with a call id instead of a reply")),
        Answer::Sql(_) => Err(Error::Host("the host answered agw_redis as agw_sql")),
    }
}

#[cfg(test)]
mod tests;
