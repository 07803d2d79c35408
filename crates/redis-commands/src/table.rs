//! The table: every command of Redis 7.0, and those of Redis 7.4 and 8 and of Valkey 8 and 9 that have a place here.
//!
//! One file per family; a hash table over all names is computed by the compiler.

mod connection;
mod grammars;
mod hashes;
mod keyspace;
mod lists;
mod reasons;
mod rows;
mod scripting;
mod server;
mod sets;
mod sorted_sets;
mod streams;
mod strings;
mod vectors;

pub use grammars::Grammar;
pub(crate) use grammars::OptValue;

use crate::command::Command;

const FAMILIES: &[&[Command]] = &[
    strings::ROWS,
    hashes::ROWS,
    lists::ROWS,
    sets::ROWS,
    sorted_sets::ROWS,
    streams::ROWS,
    vectors::ROWS,
    keyspace::ROWS,
    connection::ROWS,
    scripting::ROWS,
    server::ROWS,
];

/// How many commands and subcommands the table holds.
pub(crate) const COUNT: usize = count();

static TABLE: [Command; COUNT] = gather();
static INDEX: [u16; SLOTS] = index(&TABLE);

/// A power of two, several times [`COUNT`], so that most names are found at the first look.
const SLOTS: usize = 2048;
const EMPTY: u16 = u16::MAX;
const NAME_BYTES_MAX: usize = 32;

/// The command of that name in any case; a subcommand's name is `container|subcommand`.
///
/// Does not allocate. `None`: the table does not hold it, so it is refused.
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    find(name).map(command)
}

/// Every command and subcommand, family by family.
pub fn all() -> &'static [Command] {
    &TABLE
}

pub(crate) fn command(place: usize) -> &'static Command {
    &TABLE[place]
}

/// The command's place in [`all`].
pub(crate) fn find(name: &[u8]) -> Option<usize> {
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    find_lower(lower)
}

/// The place of `container|subcommand`.
pub(crate) fn find_subcommand(container: &'static Command, subcommand: &[u8]) -> Option<usize> {
    let mut name = [0; NAME_BYTES_MAX];
    let at = container.name.len();
    let len = at + 1 + subcommand.len();
    let lower = name.get_mut(..len)?;
    lower[..at].copy_from_slice(container.name.as_bytes());
    lower[at] = b'|';
    lower[at + 1..].copy_from_slice(subcommand);
    lower.make_ascii_lowercase();
    find_lower(lower)
}

fn find_lower(name: &[u8]) -> Option<usize> {
    let mut slot = hash(name);
    loop {
        match INDEX[slot] {
            EMPTY => return None,
            place if TABLE[usize::from(place)].name.as_bytes() == name => return Some(place.into()),
            _ => slot = (slot + 1) % SLOTS,
        }
    }
}

/// FNV-1a, folded to a slot.
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ name[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    (hash ^ (hash >> 16)) as usize % SLOTS
}

const fn count() -> usize {
    let mut total = 0;
    let mut family = 0;
    while family < FAMILIES.len() {
        total += FAMILIES[family].len();
        family += 1;
    }
    total
}

const fn gather() -> [Command; COUNT] {
    let mut rows = [FAMILIES[0][0]; COUNT];
    let mut at = 0;
    let mut family = 0;
    while family < FAMILIES.len() {
        let mut row = 0;
        while row < FAMILIES[family].len() {
            rows[at] = FAMILIES[family][row];
            at += 1;
            row += 1;
        }
        family += 1;
    }
    rows
}

const fn index(rows: &[Command; COUNT]) -> [u16; SLOTS] {
    let mut slots = [EMPTY; SLOTS];
    let mut at = 0;
    while at < COUNT {
        let name = rows[at].name.as_bytes();
        assert!(name.len() <= NAME_BYTES_MAX);
        let mut slot = hash(name);
        while slots[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = at as u16;
        at += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Safety;
    use crate::command::Keys;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_is_found_by_its_name_and_names_are_unique() {
        let names: BTreeSet<_> = all().iter().map(|command| command.name).collect();
        assert_eq!(names.len(), COUNT);
        for (place, command) in all().iter().enumerate() {
            assert_eq!(find(command.name.as_bytes()), Some(place), "{}", command.name);
            assert_eq!(find(command.name.to_uppercase().as_bytes()), Some(place), "{}", command.name);
            assert_eq!(command.name, command.name.to_lowercase());
        }
    }

    #[test]
    fn names_that_only_resemble_a_command_are_not_found() {
        for name in
            [&b""[..], b"get ", b" get", b"get\0", b"g\xc3\xa9t", b"GE", b"gett", &[b'a'; 33], &[0xff; 9]]
        {
            assert_eq!(lookup(name), None, "{name:?}");
        }
    }

    #[test]
    fn every_subcommand_has_its_container_and_no_safe_one_hides_in_a_refused_container() {
        for command in all() {
            let Some((container, _)) = command.name.split_once('|') else { continue };
            let container = lookup(container.as_bytes()).expect(command.name);
            match container.keys {
                Keys::Subcommands => assert_eq!(container.safety, Safety::Safe),
                _ => {
                    assert!(matches!(container.safety, Safety::Refused(_)), "{}", container.name);
                    assert_eq!(container.safety, command.safety, "{}", command.name);
                }
            }
        }
    }
}
