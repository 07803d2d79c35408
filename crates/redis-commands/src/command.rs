//! What the table knows of a command.

use std::fmt;

use crate::reply::ReplyRule;
use crate::table::Grammar;

/// One command, or one subcommand of a container such as `XGROUP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Lower case; a subcommand's is `container|subcommand`, as the server itself writes it.
    pub name: &'static str,
    /// How many arguments, the name included; negative: at least so many.
    pub arity: i8,
    /// Where its keys are. [`Keys::None`] for a refused command, whatever it takes.
    pub keys: Keys,
    /// Whether the server holds it for a write.
    pub writes: bool,
    /// Whether a plugin may call it.
    pub safety: Safety,
    /// Whether and how long it blocks.
    pub timeout: Timeout,
    /// What is to be done with its reply.
    pub reply: ReplyRule,
}

/// Where a command's keys are. Argument 0 is the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It takes none.
    None,
    /// From `first` to `last`, every `step`-th; a negative `last` counts from the end, -1 being the last argument.
    Range {
        /// The first key.
        first: u8,
        /// The last key.
        last: i8,
        /// From one key to the next.
        step: u8,
    },
    /// Argument `count` says how many keys follow it.
    Counted {
        /// Where the number is.
        count: u8,
        /// From one key to the next.
        step: u8,
        /// Argument 1 is a key as well: where the result goes.
        destination: bool,
    },
    /// Arguments 1 to `leading` are keys, and options may bring more.
    Options {
        /// How many lead.
        leading: u8,
        /// The options.
        grammar: &'static Grammar,
    },
    /// Options, the word `STREAMS`, keys, and as many ids.
    Streams(&'static Grammar),
    /// `SCAN`: no key, but a pattern for key names that gets the prefix.
    Scan(&'static Grammar),
    /// Argument 1 is a channel, which gets the prefix like a key.
    Channel,
    /// It is a container: the subcommand's own row tells.
    Subcommands,
}

/// Whether a plugin may call a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// On any connection.
    Safe,
    /// Only on an exclusive connection: it blocks it, or leaves state on it.
    Leased,
    /// Never: why, and the way out.
    Refused(&'static str),
}

/// Where a blocking command says how long it waits. There, 0 is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// It does not block.
    None,
    /// Argument 1, in seconds.
    FirstSeconds,
    /// The last argument, in seconds.
    LastSeconds,
    /// The last argument, in milliseconds.
    LastMillis,
    /// The option `BLOCK`, in milliseconds; without it the command does not block and needs no lease.
    BlockOption,
}

impl Command {
    /// Whether it may be granted at all.
    pub fn grantable(&self) -> bool {
        !matches!(self.safety, Safety::Refused(_))
    }

    /// Whether it reaches subscribers, which a read-only grant excludes as it does writes.
    pub fn publishes(&self) -> bool {
        self.keys == Keys::Channel
    }
}

/// As people write it: `XGROUP CREATE`.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name.to_ascii_uppercase().replace('|', " "))
    }
}
