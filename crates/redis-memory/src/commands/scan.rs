//! HSCAN, SSCAN, ZSCAN: always the whole answer at once, with the cursor 0 that says so.

use super::arguments::{integer, is};
use super::{Grows, Spec, spec};
use crate::failure::{Done, Failure};
use crate::glob;
use crate::keyspace::Keyspace;
use crate::number;
use crate::reply::Reply;
use crate::value::{Hash, Kind, Set, SortedSet};

pub(super) const COMMANDS: &[Spec] = &[
    spec("hscan", -3, Grows::No, hscan),
    spec("sscan", -3, Grows::No, sscan),
    spec("zscan", -3, Grows::No, zscan),
];

/// Checks the arguments in Redis' order; `None` when there is no such key.
fn begin<'a, 'b, K: Kind>(
    db: &'a Keyspace,
    args: &[&'b [u8]],
) -> Result<Option<(&'a K, Option<&'b [u8]>)>, Failure> {
    const CURSOR: Failure = Failure::fixed("ERR invalid cursor");
    let cursor = std::str::from_utf8(args[2]).ok().and_then(|cursor| cursor.parse::<u64>().ok());
    cursor.ok_or(CURSOR)?;
    let Some(value) = db.read::<K>(args[1])? else { return Ok(None) };
    let mut pattern = None;
    for option in args[3..].chunks(2) {
        match option {
            [name, count] if is(name, "count") => {
                if integer(count)? < 1 {
                    return Err(Failure::SYNTAX);
                }
            }
            [name, value] if is(name, "match") => pattern = Some(*value),
            _ => return Err(Failure::SYNTAX),
        }
    }
    Ok(Some((value, pattern)))
}

fn is_wanted(pattern: Option<&[u8]>, name: &[u8]) -> bool {
    pattern.is_none_or(|pattern| glob::matches(pattern, name))
}

fn header(reply: &mut Reply<'_>, items: usize) {
    reply.array(2);
    reply.bulk(b"0");
    reply.array(items);
}

fn hscan(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let found: Vec<_> = match begin::<Hash>(db, args)? {
        Some((hash, pattern)) => hash.iter().filter(|(name, _)| is_wanted(pattern, name)).collect(),
        None => Vec::new(),
    };
    header(reply, found.len() * 2);
    for (name, value) in found {
        reply.bulk(name);
        reply.bulk(value);
    }
    Ok(())
}

fn sscan(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let found: Vec<_> = match begin::<Set>(db, args)? {
        Some((set, pattern)) => set.names().filter(|name| is_wanted(pattern, name)).collect(),
        None => Vec::new(),
    };
    header(reply, found.len());
    found.into_iter().for_each(|name| reply.bulk(name));
    Ok(())
}

fn zscan(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let found: Vec<_> = match begin::<SortedSet>(db, args)? {
        Some((set, pattern)) => set.iter().filter(|(name, _)| is_wanted(pattern, name)).collect(),
        None => Vec::new(),
    };
    header(reply, found.len() * 2);
    for (name, score) in found {
        reply.bulk(name);
        reply.bulk(number::format_stored_score(score).as_bytes());
    }
    Ok(())
}
