//! The ends of lists: pushing, popping, moving.

use super::arguments::{at_least, is};
use super::{Grows, Spec, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::Keyspace;
use crate::reply::Reply;
use crate::value::{End, List};

pub(super) const COMMANDS: &[Spec] = &[
    spec("llen", 2, Grows::No, llen),
    spec("lmove", 5, Grows::Move, lmove),
    spec("lpop", -2, Grows::No, lpop),
    spec("lpush", -3, Grows::Key(1), lpush),
    spec("lpushx", -3, Grows::Key(1), lpushx),
    spec("rpop", -2, Grows::No, rpop),
    spec("rpoplpush", 3, Grows::Move, rpoplpush),
    spec("rpush", -3, Grows::Key(1), rpush),
    spec("rpushx", -3, Grows::Key(1), rpushx),
];

fn llen(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.count(db.read::<List>(args[1])?.map_or(0, List::len));
    Ok(())
}

fn lpush(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    push(db, args, End::First, reply)
}

fn rpush(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    push(db, args, End::Last, reply)
}

fn push(db: &mut Keyspace, args: &[&[u8]], end: End, reply: &mut Reply<'_>) -> Done {
    let len = db.change_or_create(args[1], |list: &mut List| {
        args[2..].iter().for_each(|item| list.push(end, item));
        Ok(list.len())
    })?;
    reply.count(len);
    Ok(())
}

fn lpushx(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    push_to_existing(db, args, End::First, reply)
}

fn rpushx(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    push_to_existing(db, args, End::Last, reply)
}

fn push_to_existing(db: &mut Keyspace, args: &[&[u8]], end: End, reply: &mut Reply<'_>) -> Done {
    if db.read::<List>(args[1])?.is_some() {
        return push(db, args, end, reply);
    }
    reply.int(0);
    Ok(())
}

fn lpop(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    pop(db, args, End::First, "lpop", reply)
}

fn rpop(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    pop(db, args, End::Last, "rpop", reply)
}

fn pop(db: &mut Keyspace, args: &[&[u8]], end: End, name: &str, reply: &mut Reply<'_>) -> Done {
    match args {
        [_, key] => {
            let item = db.change(key, |list: &mut List| Ok(list.pop(end)))?.flatten();
            reply.bulk_or_null(item.as_deref());
        }
        [_, key, count] => {
            let count = at_least(0, count, Failure::NOT_POSITIVE)?;
            let items = db.change(key, |list: &mut List| {
                let count = count.min(list.len());
                Ok((0..count).filter_map(|_| list.pop(end)).collect::<Vec<_>>())
            })?;
            match items {
                Some(items) => reply.bulks(items.iter().map(Vec::as_slice)),
                None => reply.null_array(),
            }
        }
        _ => return Err(Failure::arity(name)),
    }
    Ok(())
}

fn end(arg: &[u8]) -> Result<End, Failure> {
    match arg {
        arg if is(arg, "left") => Ok(End::First),
        arg if is(arg, "right") => Ok(End::Last),
        _ => Err(Failure::SYNTAX),
    }
}

fn lmove(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    move_item(db, (args[1], end(args[3])?), (args[2], end(args[4])?), reply)
}

fn rpoplpush(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    move_item(db, (args[1], End::Last), (args[2], End::First), reply)
}

fn move_item(db: &mut Keyspace, from: (&[u8], End), to: (&[u8], End), reply: &mut Reply<'_>) -> Done {
    if db.read::<List>(from.0)?.is_none() {
        reply.null();
        return Ok(());
    }
    db.read::<List>(to.0)?;
    if from.0 == to.0 {
        let item = db.change(from.0, |list: &mut List| {
            let item = list.pop(from.1);
            if let Some(item) = &item {
                list.push(to.1, item);
            }
            Ok(item)
        })?;
        reply.bulk_or_null(item.flatten().as_deref());
        return Ok(());
    }
    let item = db.change(from.0, |list: &mut List| Ok(list.pop(from.1)))?.flatten();
    if let Some(item) = &item {
        db.change_or_create(to.0, |list: &mut List| {
            list.push(to.1, item);
            Ok(())
        })?;
    }
    reply.bulk_or_null(item.as_deref());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn items_go_in_and_out_at_both_ends() {
        Shell::new().expect(&[
            ("LPUSHX l a", "0"),
            ("LPOP l", "nil"),
            ("LPOP l 1", "nil"),
            ("RPUSH l a b", "2"),
            ("LPUSH l c d", "4"),
            ("LRANGE l 0 -1", "[d c a b]"),
            ("LPOP l 2 3", "-ERR wrong number of arguments for 'lpop' command"),
            ("RPOP l -1", "-ERR value is out of range, must be positive"),
            ("RPOP l 0", "[]"),
            ("RPOP l 2", "[b a]"),
            ("LMOVE l m LEFT RIGHT", "d"),
            ("LMOVE l m UP RIGHT", "-ERR syntax error"),
            ("RPOPLPUSH l m", "c"),
            ("EXISTS l", "0"),
            ("LRANGE m 0 -1", "[c d]"),
            ("LMOVE m m LEFT RIGHT", "c"),
            ("LRANGE m 0 -1", "[d c]"),
            ("SET s x", "+OK"),
            ("LMOVE m s LEFT LEFT", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("LLEN m", "2"),
            ("LPOP m 9223372036854775807", "[d c]"),
        ]);
    }
}
