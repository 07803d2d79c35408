//! The words in which the families' rows are written.

use super::grammars::Grammar;
use crate::command::{Command, Keys, Safety, Timeout};
use crate::reply::ReplyRule;

/// The first argument is the key.
pub(super) const ONE: Keys = range(1, 1, 1);
/// The first two arguments are keys.
pub(super) const TWO: Keys = range(1, 2, 1);
/// Every argument is a key.
pub(super) const ALL: Keys = range(1, -1, 1);
/// The key follows a subcommand.
pub(super) const SECOND: Keys = range(2, 2, 1);

pub(super) const fn range(first: u8, last: i8, step: u8) -> Keys {
    Keys::Range { first, last, step }
}

pub(super) const fn counted(count: u8) -> Keys {
    Keys::Counted { count, step: 1, destination: false }
}

pub(super) const fn counted_store() -> Keys {
    Keys::Counted { count: 2, step: 1, destination: true }
}

pub(super) const fn options(leading: u8, grammar: &'static Grammar) -> Keys {
    Keys::Options { leading, grammar }
}

pub(super) const fn read(name: &'static str, arity: i8, keys: Keys) -> Command {
    Command {
        name,
        arity,
        keys,
        writes: false,
        safety: Safety::Safe,
        timeout: Timeout::None,
        reply: ReplyRule::AsIs,
    }
}

pub(super) const fn write(name: &'static str, arity: i8, keys: Keys) -> Command {
    read(name, arity, keys).writing()
}

pub(super) const fn refused(name: &'static str, arity: i8, why: &'static str) -> Command {
    let mut command = read(name, arity, Keys::None);
    command.safety = Safety::Refused(why);
    command
}

impl Command {
    pub(super) const fn writing(mut self) -> Self {
        self.writes = true;
        self
    }

    pub(super) const fn leased(mut self) -> Self {
        self.safety = Safety::Leased;
        self
    }

    pub(super) const fn blocks(mut self, timeout: Timeout) -> Self {
        self.timeout = timeout;
        self.leased()
    }

    /// Blocks, and so needs a lease, only when the timeout is given.
    pub(super) const fn may_block(mut self, timeout: Timeout) -> Self {
        self.timeout = timeout;
        self
    }

    pub(super) const fn answers(mut self, reply: ReplyRule) -> Self {
        self.reply = reply;
        self
    }
}
