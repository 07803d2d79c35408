//! A connection of the plugin's own.

use agw_wire::{Response, Style};

use crate::arguments::Commands;
use crate::redis::resp;
use crate::{Batch, Error, FromReply, Redis, Reply};

/// A leased connection: [`Redis::lease`].
///
/// Commands on it run one after another on the same connection, so that `WATCH` holds until `EXEC`, and a
/// command may block without holding others up. Leases are few: the pool bounds them. Dropping gives the
/// connection back, and so does the end of the stream.
///
/// ```no_run
/// use std::time::Duration;
///
/// # fn f() -> Result<(), agw_sdk::Error> {
/// let mut jobs = agw_sdk::redis("jobs")?.deadline(Duration::from_secs(2)).lease();
/// let job: Option<(String, Vec<u8>)> = jobs.command(&[b"BLPOP", b"queue", b"1"])?;
/// jobs.release()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Lease<'a> {
    redis: Redis<'a>,
    state: LeaseState,
}

/// Whether the host holds a connection for this lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseState {
    /// None yet: the next call takes one.
    New,
    /// Under this id.
    Held(u32),
    /// It was held and is gone. A new one would not have what was watched on the old.
    Lost,
}

impl<'a> Lease<'a> {
    pub(crate) fn new(redis: Redis<'a>) -> Self {
        Lease { redis, state: LeaseState::New }
    }

    /// Any command on the leased connection.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when an earlier call on this lease lost the connection.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let mut lease = agw_sdk::redis("stock")?.lease();
    /// lease.command::<()>(&[b"WATCH", b"left"])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn command<T: FromReply>(&mut self, args: &[&[u8]]) -> Result<T, Error> {
        let mut commands = Commands::default();
        commands.whole(args);
        let bytes = self.state.exchange(&self.redis, &commands, false)?;
        Reply::one(resp(&Response::decode(&bytes)?)?).finish()
    }

    /// As [`Redis::pipeline`], on the leased connection.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let mut lease = agw_sdk::redis("stock")?.lease();
    /// let (_, left): ((), Option<i64>) = lease.pipeline().command(&[b"WATCH", b"left"]).get("left").run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn pipeline(&mut self) -> Batch<'_> {
        Batch::new(self.redis, false, Some(&mut self.state))
    }

    /// As [`Redis::atomic`], on the leased connection. After `WATCH`, run it as `Option` of the replies.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let mut lease = agw_sdk::redis("stock")?.lease();
    /// lease.command::<()>(&[b"WATCH", b"left"])?;
    /// let sold: Option<(i64,)> = lease.atomic().decr("left").run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn atomic(&mut self) -> Batch<'_> {
        Batch::new(self.redis, true, Some(&mut self.state))
    }

    /// Gives the connection back now and says whether that worked; dropping does the same silently.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let mut lease = agw_sdk::redis("stock")?.lease();
    /// lease.command::<()>(&[b"WATCH", b"left"])?;
    /// lease.release()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn release(mut self) -> Result<(), Error> {
        self.state.release(&self.redis)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // Nobody is there to hear of an error, and the host ends the lease with the stream at the latest.
        let _ = self.state.release(&self.redis);
    }
}

impl LeaseState {
    /// Sends commands on the lease, which is kept, and notes what became of it.
    pub(crate) fn exchange(
        &mut self,
        redis: &Redis<'_>,
        commands: &Commands,
        atomic: bool,
    ) -> Result<Vec<u8>, Error> {
        let id = match *self {
            LeaseState::New => 0,
            LeaseState::Held(id) => id,
            LeaseState::Lost => return Err(Error::LeaseLost),
        };
        let lease = agw_wire::Lease { id, keep: true };
        let answer = redis.exchange(commands, atomic, Style::Blocking, Some(lease));
        let held = answer.as_ref().ok().and_then(|bytes| Response::decode(bytes).ok());
        *self = match held.map_or(0, |response| response.lease) {
            // A first call that got no connection may be made again.
            0 if id == 0 => LeaseState::New,
            0 => LeaseState::Lost,
            id => LeaseState::Held(id),
        };
        answer
    }

    fn release(&mut self, redis: &Redis<'_>) -> Result<(), Error> {
        let LeaseState::Held(id) = *self else { return Ok(()) };
        *self = LeaseState::Lost;
        let lease = agw_wire::Lease { id, keep: false };
        let bytes = redis.exchange(&Commands::default(), false, Style::Blocking, Some(lease))?;
        resp(&Response::decode(&bytes)?).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use agw_wire::{Answer, CallError, Code, Request};

    use super::*;
    use crate::transport::fake;

    fn sent() -> Vec<agw_wire::Lease> {
        let requests = fake::take_requests();
        requests.iter().filter_map(|bytes| Request::decode(bytes).unwrap().redis.unwrap().lease).collect()
    }

    fn reply(resp: &[u8], lease: u32) {
        fake::will_respond(Response { answer: Answer::Resp(resp), lease });
    }

    #[test]
    fn the_first_command_takes_a_lease_and_dropping_gives_it_back() {
        let mut lease = crate::redis("stock").unwrap().lease();
        reply(b"+OK\r\n", 5);
        lease.command::<()>(&[b"WATCH", b"left"]).unwrap();
        reply(b"*-1\r\n", 5);
        let sold: Option<(i64,)> = lease.atomic().decr("left").run().unwrap();
        assert_eq!(sold, None);
        reply(b"", 0);
        drop(lease);
        let wire = |id, keep| agw_wire::Lease { id, keep };
        assert_eq!(sent(), [wire(0, true), wire(5, true), wire(5, false)]);
    }

    #[test]
    fn a_lost_lease_is_not_replaced_behind_the_plugins_back() {
        let mut lease = crate::redis("stock").unwrap().lease();
        reply(b"+OK\r\n", 5);
        lease.command::<()>(&[b"WATCH", b"left"]).unwrap();
        fake::will_fail(CallError::new(Code::TimeoutIo, ""));
        assert!(lease.command::<()>(&[b"GET", b"left"]).is_err_and(|error| error.is_timeout()));
        let again: Result<Option<(i64,)>, Error> = lease.atomic().decr("left").run();
        assert_eq!(again, Err(Error::LeaseLost));
        assert_eq!(sent().len(), 2);
        assert_eq!(lease.release(), Ok(()));
        assert!(fake::take_requests().is_empty());
    }

    #[test]
    fn a_first_call_without_a_connection_may_be_made_again() {
        let mut lease = crate::redis("stock").unwrap().lease();
        fake::will_fail(CallError::new(Code::TimeoutQueue, ""));
        assert!(lease.command::<()>(&[b"WATCH", b"left"]).is_err());
        reply(b"+OK\r\n", 6);
        assert_eq!(lease.command::<()>(&[b"WATCH", b"left"]), Ok(()));
    }
}
