//! The store as its users see it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::commands::{self, Command};
use crate::failure::Failure;
use crate::keyspace::Keyspace;
use crate::reply::Reply;

/// Milliseconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

/// Bounds of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// About how much memory keys and values may take, in bytes, overhead included. A write that could go beyond
    /// is answered `-OOM …` and changes nothing.
    pub bytes: usize,
    /// How many keys there may be. A write that would make one more is answered `-OOM …`.
    pub keys: usize,
    /// How many bytes one call may answer with. A longer reply is replaced by an error; what the command wrote
    /// stays written.
    pub reply_bytes: usize,
}

impl Default for Limits {
    /// 64 MiB, a million keys, replies of 8 MiB.
    fn default() -> Self {
        Limits { bytes: 64 << 20, keys: 1_000_000, reply_bytes: 8 << 20 }
    }
}

/// One keyspace. Clones share it.
///
/// A call holds the store's lock while its commands run and never longer: it waits for nothing else. The time is
/// that of the work, so it grows with what a command touches (SINTER of two large sets, LREM in a long list),
/// which [`Limits`] bounds.
///
/// Time is what the caller says it is. It may jump; a key is gone once the time is past its deadline, and a key
/// that has been removed for that does not come back.
#[derive(Clone)]
pub struct Store {
    keyspace: Arc<Mutex<Keyspace>>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Store { keyspace: Arc::new(Mutex::new(Keyspace::new(limits))) }
    }

    /// Executes one command, its name first, and appends exactly one RESP2 reply to `out`.
    ///
    /// Whatever is wrong with the command is an error reply, with Redis' text where Redis has one.
    pub fn execute(&self, now: UnixMillis, args: &[&[u8]], out: &mut Vec<u8>) {
        self.with(now, |keyspace| {
            let mut reply = Reply::new(out, keyspace.limits().reply_bytes);
            match Command::parse(args).and_then(|command| admitted(keyspace, command)) {
                Ok(command) => command.run(keyspace, &mut reply),
                Err(failure) => reply.error(&failure),
            }
        });
    }

    /// Executes commands with nothing between them, as MULTI and EXEC do, and appends one array with a reply for
    /// each.
    ///
    /// An unknown command, a wrong number of arguments or no room for all of it is one `-EXECABORT …` instead, and
    /// nothing runs. An error that shows only at run time stands in the array; the other commands run. The bound on
    /// the reply is for the whole batch.
    pub fn execute_atomic(&self, now: UnixMillis, commands: &[Vec<&[u8]>], out: &mut Vec<u8>) {
        self.with(now, |keyspace| {
            let mut reply = Reply::new(out, keyspace.limits().reply_bytes);
            let parsed: Result<Vec<_>, _> = commands.iter().map(|args| Command::parse(args)).collect();
            let Ok(parsed) = parsed else { return reply.error(&Failure::ABORTED) };
            let (bytes, keys) = parsed.iter().fold((0usize, 0usize), |(bytes, keys), command| {
                let need = command.need(keyspace);
                (bytes.saturating_add(need.bytes), keys.saturating_add(need.keys))
            });
            if bytes > 0 && keyspace.room_for(bytes, keys).is_err() {
                return reply.error(&Failure::ABORTED_OUT_OF_MEMORY);
            }
            reply.array(parsed.len());
            for command in parsed {
                // A copy made earlier in the batch may have taken the room.
                match admitted(keyspace, command) {
                    Ok(command) => command.run(keyspace, &mut reply),
                    Err(failure) => reply.error(&failure),
                }
            }
        });
    }

    fn with(&self, now: UnixMillis, work: impl FnOnce(&mut Keyspace)) {
        let now = i64::try_from(now.0).unwrap_or(i64::MAX);
        // No code under the lock panics; should it once, the keyspace is still a keyspace.
        let mut keyspace = self.keyspace.lock().unwrap_or_else(PoisonError::into_inner);
        keyspace.begin(now);
        work(&mut keyspace);
    }
}

fn admitted<'a>(keyspace: &mut Keyspace, command: Command<'a>) -> Result<Command<'a>, Failure> {
    let need = command.need(keyspace);
    if need != commands::Need::default() {
        keyspace.room_for(need.bytes, need.keys)?;
    }
    Ok(command)
}

#[cfg(test)]
mod tests;
