//! The commands: what each is called, what it needs, and the function that runs it.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::failure::{Done, Failure};
use crate::keyspace::{self, Keyspace};
use crate::reply::Reply;

mod arguments;
mod connection;
mod counters;
mod expiry;
mod hashes;
mod keys;
mod list_items;
mod lists;
mod range;
mod scan;
mod set_algebra;
mod sets;
mod sorted_ranges;
mod sorted_sets;
mod strings;
mod substrings;
mod zadd;

/// Writes the reply, or fails, in which case what it has written is taken back.
type Run = fn(&mut Keyspace, &[&[u8]], &mut Reply<'_>) -> Done;

/// A command that the store has.
pub(crate) struct Spec {
    /// In lower case.
    name: &'static str,
    /// As Redis counts, name included; negative means at least that many.
    arity: i32,
    grows: Grows,
    run: Run,
}

/// What a command can add to the keyspace.
#[derive(Clone, Copy)]
enum Grows {
    /// Nothing.
    No,
    /// Its arguments, under the key at this place.
    Key(usize),
    /// As `Key(1)`, and a number may come out much longer than it went in.
    Number,
    /// Keys at 1, 3, 5 and so on.
    Pairs,
    /// An item that is there already goes under the key at 2.
    Move,
    /// The key at 1 gets the name at 2.
    Rename,
}

/// Room that must be there before a command runs.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) bytes: usize,
    pub(crate) keys: usize,
}

/// The longest number that a float increment can print.
const NUMBER_BYTES_MAX: usize = 5 * 1024;
/// Longer than any name in the table.
const NAME_BYTES_MAX: usize = 32;

const fn spec(name: &'static str, arity: i32, grows: Grows, run: Run) -> Spec {
    Spec { name, arity, grows, run }
}

static TABLE: LazyLock<HashMap<&'static str, &'static Spec>> = LazyLock::new(|| {
    let families: [&'static [Spec]; 15] = [
        connection::COMMANDS,
        counters::COMMANDS,
        expiry::COMMANDS,
        hashes::COMMANDS,
        keys::COMMANDS,
        list_items::COMMANDS,
        lists::COMMANDS,
        scan::COMMANDS,
        set_algebra::COMMANDS,
        sets::COMMANDS,
        sorted_ranges::COMMANDS,
        sorted_sets::COMMANDS,
        strings::COMMANDS,
        substrings::COMMANDS,
        zadd::COMMANDS,
    ];
    families.into_iter().flatten().map(|spec| (spec.name, spec)).collect()
});

/// A command that exists, with a number of arguments that it takes.
pub(crate) struct Command<'a> {
    spec: &'static Spec,
    args: &'a [&'a [u8]],
}

impl<'a> Command<'a> {
    pub(crate) fn parse(args: &'a [&'a [u8]]) -> Result<Self, Failure> {
        let name = args.first().copied().unwrap_or_default();
        let spec = find(name).ok_or_else(|| Failure::unknown_command(name))?;
        let len = i32::try_from(args.len()).unwrap_or(i32::MAX);
        let fits = if spec.arity < 0 { len >= -spec.arity } else { len == spec.arity };
        if fits { Ok(Command { spec, args }) } else { Err(Failure::arity(spec.name)) }
    }

    pub(crate) fn need(&self, db: &Keyspace) -> Need {
        let new = |key: Option<&&[u8]>| usize::from(key.is_some_and(|key| !db.contains(key)));
        let (extra, keys) = match self.spec.grows {
            Grows::No => return Need::default(),
            Grows::Key(place) => (0, new(self.args.get(place))),
            Grows::Move => (0, new(self.args.get(2))),
            Grows::Rename => (0, 0),
            Grows::Number => (NUMBER_BYTES_MAX, new(self.args.get(1))),
            Grows::Pairs => {
                let keys = self.args.iter().skip(1).step_by(2);
                (self.args.len().saturating_mul(keyspace::KEY_OVERHEAD), keys.map(|key| new(Some(key))).sum())
            }
        };
        Need { bytes: keyspace::cost_of(self.args).saturating_add(extra), keys }
    }

    pub(crate) fn run(self, db: &mut Keyspace, reply: &mut Reply<'_>) {
        let start = reply.mark();
        let outcome = (self.spec.run)(db, self.args, reply);
        let outcome = if reply.is_over() { outcome.and(Err(Failure::REPLY_TOO_LONG)) } else { outcome };
        if let Err(failure) = outcome {
            reply.rewind(start);
            reply.error(&failure);
        }
    }
}

/// Every command there is.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.keys().copied()
}

fn find(name: &[u8]) -> Option<&'static Spec> {
    let mut buffer = [0u8; NAME_BYTES_MAX];
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    TABLE.get(std::str::from_utf8(lower).ok()?).copied()
}
