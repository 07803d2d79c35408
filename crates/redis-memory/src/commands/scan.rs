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

/// What to walk, and the pattern of MATCH.
type Found<'a, 'b, K> = (&'a K, Option<&'b [u8]>);

/// Checks the arguments in Redis' order; `None` when there is no such key.
fn begin<'a, 'b, K: Kind>(db: &'a Keyspace, args: &[&'b [u8]]) -> Result<Option<Found<'a, 'b, K>>, Failure> {
    const CURSOR: Failure = Failure::fixed("ERR invalid cursor");
    if !is_cursor(args[2]) {
        return Err(CURSOR);
    }
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

/// Any cursor gets the whole answer; it must still be one. A sign is taken, as C's `strtoul` takes it.
fn is_cursor(arg: &[u8]) -> bool {
    let digits = arg.strip_prefix(b"-").or_else(|| arg.strip_prefix(b"+")).unwrap_or(arg);
    let in_range = std::str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u64>().is_ok());
    arg.is_empty() || in_range && digits.first().is_some_and(u8::is_ascii_digit)
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

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn a_scan_answers_at_once() {
        Shell::new().expect(&[
            ("HSCAN h 0", "[0 []]"),
            ("HSET h ab 1 b 2", "2"),
            ("HSCAN h 0 MATCH a* COUNT 1", "[0 [ab 1]]"),
            ("HSCAN h x", "-ERR invalid cursor"),
            ("HSCAN h 0 COUNT 0", "-ERR syntax error"),
            ("SADD s a", "1"),
            ("SSCAN s 0", "[0 [a]]"),
            ("ZADD z 1.5 a 100000000000000000 b", "2"),
            ("ZSCAN z 0", "[0 [a 1.5 b 100000000000000000]]"),
            ("ZSCAN s 0", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ]);
    }
}
