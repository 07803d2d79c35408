//! Several sets at once: SINTER, SUNION, SDIFF, their STORE forms, SINTERCARD, and SMEMBERS as the union of one.

use std::collections::HashSet;

use super::arguments::{at_least, is};
use super::{Grows, Spec, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::{self, Keyspace};
use crate::reply::Reply;
use crate::value::{Set, Value};

pub(super) const COMMANDS: &[Spec] = &[
    spec("sdiff", -2, Grows::No, sdiff),
    spec("sdiffstore", -3, Grows::Key(1), sdiffstore),
    spec("sinter", -2, Grows::No, sinter),
    spec("sintercard", -3, Grows::No, sintercard),
    spec("sinterstore", -3, Grows::Key(1), sinterstore),
    spec("smembers", 2, Grows::No, sunion),
    spec("sunion", -2, Grows::No, sunion),
    spec("sunionstore", -3, Grows::Key(1), sunionstore),
];

/// Missing keys are empty sets.
fn read<'a>(db: &'a Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<&'a Set>>, Failure> {
    keys.iter().map(|key| db.read::<Set>(key)).collect()
}

fn union<'a>(sets: &[Option<&'a Set>]) -> Vec<&'a [u8]> {
    let mut seen = HashSet::new();
    let members = sets.iter().flatten().flat_map(|set| set.names());
    if sets.len() == 1 { members.collect() } else { members.filter(|member| seen.insert(*member)).collect() }
}

/// Walks the smallest set; stops after `max` members.
fn intersection<'a>(sets: &[Option<&'a Set>], max: usize) -> Vec<&'a [u8]> {
    let Some(sets) = sets.iter().copied().collect::<Option<Vec<&Set>>>() else { return Vec::new() };
    let Some(smallest) = sets.iter().min_by_key(|set| set.len()) else { return Vec::new() };
    smallest.names().filter(|member| sets.iter().all(|set| set.contains(member))).take(max).collect()
}

fn difference<'a>(sets: &[Option<&'a Set>]) -> Vec<&'a [u8]> {
    let Some((Some(first), others)) = sets.split_first() else { return Vec::new() };
    first.names().filter(|member| !others.iter().flatten().any(|set| set.contains(member))).collect()
}

fn sunion(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.bulks(union(&read(db, &args[1..])?).into_iter());
    Ok(())
}

fn sinter(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.bulks(intersection(&read(db, &args[1..])?, usize::MAX).into_iter());
    Ok(())
}

fn sdiff(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.bulks(difference(&read(db, &args[1..])?).into_iter());
    Ok(())
}

fn sunionstore(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let result = collect(&union(&read(db, &args[2..])?));
    store(db, args[1], result, reply)
}

fn sinterstore(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let result = collect(&intersection(&read(db, &args[2..])?, usize::MAX));
    store(db, args[1], result, reply)
}

fn sdiffstore(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let result = collect(&difference(&read(db, &args[2..])?));
    store(db, args[1], result, reply)
}

fn collect(members: &[&[u8]]) -> Set {
    let mut set = Set::default();
    for member in members {
        set.insert(member, ());
    }
    set
}

/// Whatever the destination held is gone; an empty result leaves no key.
fn store(db: &mut Keyspace, key: &[u8], result: Set, reply: &mut Reply<'_>) -> Done {
    let len = result.len();
    if len > 0 {
        db.room_for(result.bytes().saturating_add(keyspace::KEY_OVERHEAD), 0)?;
        db.put(key, Value::Set(result), None);
    } else {
        db.take(key);
    }
    reply.count(len);
    Ok(())
}

fn sintercard(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    const NO_KEYS: Failure = Failure::fixed("ERR numkeys should be greater than 0");
    const TOO_MANY: Failure = Failure::fixed("ERR Number of keys can't be greater than number of args");
    const NEGATIVE: Failure = Failure::fixed("ERR LIMIT can't be negative");
    let keys = at_least(1, args[1], NO_KEYS)?;
    let (keys, options) = args[2..].split_at_checked(keys).ok_or(TOO_MANY)?;
    let mut limit = 0;
    for option in options.chunks(2) {
        match option {
            [name, value] if is(name, "limit") => limit = at_least(0, value, NEGATIVE)?,
            _ => return Err(Failure::SYNTAX),
        }
    }
    let max = if limit == 0 { usize::MAX } else { limit };
    reply.count(intersection(&read(db, keys)?, max).len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn sets_are_combined_and_stored() {
        Shell::new().expect(&[
            ("SADD a 1 2 3", "3"),
            ("SADD b 2 3 4", "3"),
            ("SINTER a b", "[2 3]"),
            ("SDIFF a b", "[1]"),
            ("SUNION a b", "[1 2 3 4]"),
            ("SINTER a nosuch", "[]"),
            ("SINTERCARD 2 a b LIMIT 1", "1"),
            ("SINTERCARD 0 a", "-ERR numkeys should be greater than 0"),
            ("SINTERCARD 9223372036854775807 a", "-ERR Number of keys can't be greater than number of args"),
            ("SINTERCARD 2 a b LIMIT -1", "-ERR LIMIT can't be negative"),
            ("SET s x EX 10", "+OK"),
            ("SUNION a s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("SUNIONSTORE s a b", "4"),
            ("TTL s", "-1"),
            ("SINTERSTORE s a nosuch", "0"),
            ("EXISTS s", "0"),
            ("SDIFFSTORE a a b", "1"),
            ("SMEMBERS a", "[1]"),
        ]);
    }
}
