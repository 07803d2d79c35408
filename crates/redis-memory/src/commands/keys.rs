//! Keys whatever they hold.

use super::arguments::{integer, is};
use super::{Grows, Spec, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::Keyspace;
use crate::reply::Reply;

pub(super) const COMMANDS: &[Spec] = &[
    spec("copy", -3, Grows::Key(2), copy),
    spec("dbsize", 1, Grows::No, dbsize),
    spec("del", -2, Grows::No, del),
    spec("exists", -2, Grows::No, exists),
    spec("rename", 3, Grows::Rename, rename),
    spec("renamenx", 3, Grows::Rename, renamenx),
    spec("touch", -2, Grows::No, exists),
    spec("type", 2, Grows::No, type_name),
    spec("unlink", -2, Grows::No, del),
];

fn dbsize(db: &mut Keyspace, _: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.count(db.len());
    Ok(())
}

fn del(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.count(args[1..].iter().filter(|key| db.take(key).is_some()).count());
    Ok(())
}

/// A key that is named twice counts twice.
fn exists(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.count(args[1..].iter().filter(|key| db.contains(key)).count());
    Ok(())
}

fn type_name(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.simple(db.get(args[1]).map_or("none", |entry| entry.value.type_name()));
    Ok(())
}

fn rename(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    if !db.contains(args[1]) {
        return Err(Failure::NO_SUCH_KEY);
    }
    move_key(db, args[1], args[2]);
    reply.ok();
    Ok(())
}

fn renamenx(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    if !db.contains(args[1]) {
        return Err(Failure::NO_SUCH_KEY);
    }
    let free = !db.contains(args[2]);
    if free {
        move_key(db, args[1], args[2]);
    }
    reply.bool(free);
    Ok(())
}

/// The deadline moves along.
fn move_key(db: &mut Keyspace, from: &[u8], to: &[u8]) {
    if let Some(entry) = db.take(from) {
        db.put(to, entry.value, entry.deadline);
    }
}

fn copy(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    const NO_DATABASE: Failure = Failure::fixed("ERR DB index is out of range");
    const NOT_INT: Failure =
        Failure::fixed("ERR value is out of range, value must between -2147483648 and 2147483647");
    const SAME: Failure = Failure::fixed("ERR source and destination objects are the same");
    let mut replace = false;
    let mut options = args[3..].iter();
    while let Some(option) = options.next() {
        if is(option, "replace") {
            replace = true;
            continue;
        }
        match options.next() {
            Some(index) if is(option, "db") => {
                let index = i32::try_from(integer(index)?).map_err(|_| NOT_INT)?;
                if index != 0 {
                    return Err(NO_DATABASE);
                }
            }
            _ => return Err(Failure::SYNTAX),
        }
    }
    if args[1] == args[2] {
        return Err(SAME);
    }
    let Some(source) = db.get(args[1]) else {
        reply.bool(false);
        return Ok(());
    };
    if db.contains(args[2]) && !replace {
        reply.bool(false);
        return Ok(());
    }
    let (value, deadline) = (source.value.clone(), source.deadline);
    db.room_for(value.bytes(), 0)?;
    db.put(args[2], value, deadline);
    reply.bool(true);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn keys_move_with_their_deadlines() {
        Shell::new().expect(&[
            ("RENAME a b", "-ERR no such key"),
            ("SET a 1 EX 10", "+OK"),
            ("SET b 2", "+OK"),
            ("RENAMENX a b", "0"),
            ("RENAME a b", "+OK"),
            ("GET b", "1"),
            ("TTL b", "10"),
            ("COPY b b", "-ERR source and destination objects are the same"),
            ("COPY b c", "1"),
            ("TTL c", "10"),
            ("COPY b c", "0"),
            ("COPY b c REPLACE", "1"),
            ("COPY b c DB 1", "-ERR DB index is out of range"),
            ("COPY b c DB", "-ERR syntax error"),
            ("EXISTS b b c x", "3"),
            ("TYPE b", "+string"),
            ("TYPE x", "+none"),
            ("DEL b c x", "2"),
            ("DBSIZE", "0"),
        ]);
    }

    #[test]
    fn what_is_not_here_says_so() {
        Shell::new().expect(&[
            ("KEYS *", "-ERR unknown command 'KEYS' in memory://, the embedded store, which has a part of Redis only; use a real Redis server for this command"),
            ("RENAME a", "-ERR wrong number of arguments for 'rename' command"),
        ]);
    }
}
