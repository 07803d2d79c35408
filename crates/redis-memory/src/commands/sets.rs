//! Sets, one at a time.

use super::arguments::{at_least, clamped, signed_count};
use super::{Grows, Spec, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::Keyspace;
use crate::reply::Reply;
use crate::value::Set;

pub(super) const COMMANDS: &[Spec] = &[
    spec("sadd", -3, Grows::Key(1), sadd),
    spec("scard", 2, Grows::No, scard),
    spec("sismember", 3, Grows::No, sismember),
    spec("smismember", -3, Grows::No, smismember),
    spec("smove", 4, Grows::Key(2), smove),
    spec("spop", -2, Grows::No, spop),
    spec("srandmember", -2, Grows::No, srandmember),
    spec("srem", -3, Grows::No, srem),
];

fn sadd(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let added = db.change_or_create(args[1], |set: &mut Set| {
        Ok(args[2..].iter().filter(|member| set.insert(member, ()).is_none()).count())
    })?;
    reply.count(added);
    Ok(())
}

fn srem(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let removed = db.change(args[1], |set: &mut Set| {
        Ok(args[2..].iter().filter(|member| set.remove(member).is_some()).count())
    })?;
    reply.count(removed.unwrap_or(0));
    Ok(())
}

fn scard(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.count(db.read::<Set>(args[1])?.map_or(0, Set::len));
    Ok(())
}

fn sismember(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.bool(db.read::<Set>(args[1])?.is_some_and(|set| set.contains(args[2])));
    Ok(())
}

fn smismember(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let set = db.read::<Set>(args[1])?;
    reply.array(args.len() - 2);
    for member in &args[2..] {
        reply.bool(set.is_some_and(|set| set.contains(member)));
    }
    Ok(())
}

fn smove(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let (from, to, member) = (args[1], args[2], args[3]);
    let Some(source) = db.read::<Set>(from)? else {
        reply.bool(false);
        return Ok(());
    };
    let found = source.contains(member);
    db.read::<Set>(to)?;
    if found && from != to {
        db.change(from, |set: &mut Set| Ok(set.remove(member)))?;
        db.change_or_create(to, |set: &mut Set| Ok(set.insert(member, ())))?;
    }
    reply.bool(found);
    Ok(())
}

fn spop(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let count = match args {
        [_, _] => None,
        [_, _, count] => Some(at_least(0, count, Failure::NOT_POSITIVE)?),
        _ => return Err(Failure::SYNTAX),
    };
    let len = db.read::<Set>(args[1])?.map_or(0, Set::len);
    let popped = count.unwrap_or(1).min(len);
    if count.is_some() {
        reply.array(popped);
    } else if popped == 0 {
        reply.null();
    }
    for left in (0..len).rev().take(popped) {
        let place = db.random().usize(0..=left);
        let member = db.change(args[1], |set: &mut Set| {
            let name = set.at(place).map(|(name, ())| name.clone());
            Ok(name.and_then(|name| set.remove(&name)))
        })?;
        if let Some((member, ())) = member.flatten() {
            reply.bulk(&member);
        }
    }
    Ok(())
}

fn srandmember(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let count = match args {
        [_, _] => None,
        [_, _, count] => Some(signed_count(count)?),
        _ => return Err(Failure::SYNTAX),
    };
    let mut random = db.random().fork();
    let Some(set) = db.read::<Set>(args[1])? else {
        if count.is_some() {
            reply.array(0)
        } else {
            reply.null()
        }
        return Ok(());
    };
    let mut place = || random.usize(0..set.len());
    let tell = |place: usize, reply: &mut Reply<'_>| {
        reply.bulk_or_null(set.at(place).map(|(name, ())| &**name));
    };
    match count {
        None => tell(place(), reply),
        Some(count @ ..0) => {
            let count = clamped(-count);
            reply.array(count);
            // The reply's bound ends a count without end.
            for _ in 0..count {
                if reply.is_over() {
                    break;
                }
                tell(place(), reply);
            }
        }
        Some(count) => {
            let mut places: Vec<usize> = (0..set.len()).collect();
            random.shuffle(&mut places);
            places.truncate(clamped(count));
            reply.array(places.len());
            places.into_iter().for_each(|place| tell(place, reply));
        }
    }
    Ok(())
}
