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

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn members_are_added_moved_and_drawn() {
        Shell::new().expect(&[
            ("SADD s a b a", "2"),
            ("SMISMEMBER s a x", "[1 0]"),
            ("SMOVE s t a", "1"),
            ("SMOVE s t x", "0"),
            ("SMEMBERS t", "[a]"),
            ("SRANDMEMBER t", "a"),
            ("SRANDMEMBER t 5", "[a]"),
            ("SRANDMEMBER t -3", "[a a a]"),
            (
                "SRANDMEMBER t -9223372036854775808",
                "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
            (
                "SRANDMEMBER t -9223372036854775807",
                "-ERR the reply is longer than memory:// allows; ask for less at a time",
            ),
            ("SPOP t -1", "-ERR value is out of range, must be positive"),
            ("SPOP t 0", "[]"),
            ("SPOP t", "a"),
            ("SPOP t", "nil"),
            ("EXISTS t", "0"),
            ("SPOP s 100", "[b]"),
            ("SREM s b", "0"),
        ]);
    }

    #[test]
    fn drawn_members_differ_and_popped_ones_are_gone() {
        let shell = Shell::new();
        let all: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        shell.run(&format!("SADD s {}", all.join(" ")));
        let drawn = shell.run("SRANDMEMBER s 40");
        let drawn: std::collections::HashSet<_> = drawn.trim_matches(['[', ']']).split(' ').collect();
        assert_eq!(drawn.len(), 40);
        let popped = shell.run("SPOP s 20");
        for member in popped.trim_matches(['[', ']']).split(' ') {
            assert_eq!(shell.run(&format!("SISMEMBER s {member}")), "0");
        }
        assert_eq!(shell.run("SCARD s"), "30");
    }
}
