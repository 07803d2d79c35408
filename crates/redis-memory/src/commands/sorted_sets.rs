//! Sorted sets, member by member.

use super::arguments::at_least;
use super::{Grows, Spec, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::Keyspace;
use crate::reply::Reply;
use crate::value::{End, SortedSet};

pub(super) const COMMANDS: &[Spec] = &[
    spec("zcard", 2, Grows::No, zcard),
    spec("zmscore", -3, Grows::No, zmscore),
    spec("zpopmax", -2, Grows::No, zpopmax),
    spec("zpopmin", -2, Grows::No, zpopmin),
    spec("zrank", 3, Grows::No, zrank),
    spec("zrem", -3, Grows::No, zrem),
    spec("zrevrank", 3, Grows::No, zrevrank),
    spec("zscore", 3, Grows::No, zscore),
];

fn zcard(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.count(db.read::<SortedSet>(args[1])?.map_or(0, SortedSet::len));
    Ok(())
}

fn tell_score(score: Option<f64>, reply: &mut Reply<'_>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

fn zscore(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    tell_score(db.read::<SortedSet>(args[1])?.and_then(|set| set.score(args[2])), reply);
    Ok(())
}

fn zmscore(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let set = db.read::<SortedSet>(args[1])?;
    reply.array(args.len() - 2);
    for member in &args[2..] {
        tell_score(set.and_then(|set| set.score(member)), reply);
    }
    Ok(())
}

fn zrem(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let removed = db.change(args[1], |set: &mut SortedSet| {
        Ok(args[2..].iter().filter(|member| set.remove(member).is_some()).count())
    })?;
    reply.count(removed.unwrap_or(0));
    Ok(())
}

fn zrank(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let rank = rank(db, args)?.map(|(rank, _)| rank);
    tell_rank(rank, reply);
    Ok(())
}

fn zrevrank(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let rank = rank(db, args)?.map(|(rank, len)| len - 1 - rank);
    tell_rank(rank, reply);
    Ok(())
}

/// Counts from the lowest score, which takes time with the rank.
fn rank(db: &Keyspace, args: &[&[u8]]) -> Result<Option<(usize, usize)>, Failure> {
    let Some(set) = db.read::<SortedSet>(args[1])? else { return Ok(None) };
    if set.score(args[2]).is_none() {
        return Ok(None);
    }
    Ok(set.iter().position(|(member, _)| &**member == args[2]).map(|rank| (rank, set.len())))
}

fn tell_rank(rank: Option<usize>, reply: &mut Reply<'_>) {
    match rank {
        Some(rank) => reply.count(rank),
        None => reply.null(),
    }
}

fn zpopmin(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    pop(db, args, End::First, reply)
}

fn zpopmax(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    pop(db, args, End::Last, reply)
}

fn pop(db: &mut Keyspace, args: &[&[u8]], end: End, reply: &mut Reply<'_>) -> Done {
    let count = match args {
        [_, _] => 1,
        [_, _, count] => at_least(0, count, Failure::NOT_POSITIVE)?,
        _ => return Err(Failure::SYNTAX),
    };
    let popped = db.change(args[1], |set: &mut SortedSet| {
        let count = count.min(set.len());
        Ok((0..count).filter_map(|_| set.pop(end)).collect::<Vec<_>>())
    })?;
    let popped = popped.unwrap_or_default();
    reply.array(popped.len() * 2);
    for (member, score) in popped {
        reply.bulk(&member);
        reply.double(score);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn members_are_ranked_and_popped() {
        Shell::new().expect(&[
            ("ZADD z 1 b 1 a 2 c", "3"),
            ("ZRANK z a", "0"),
            ("ZREVRANK z a", "2"),
            ("ZRANK z x", "nil"),
            ("ZMSCORE z a x", "[1 nil]"),
            ("ZPOPMIN z -1", "-ERR value is out of range, must be positive"),
            ("ZPOPMIN z 1 1", "-ERR syntax error"),
            ("ZPOPMAX z", "[c 2]"),
            ("ZREM z a x", "1"),
            ("ZCARD z", "1"),
            ("ZPOPMIN z 9223372036854775807", "[b 1]"),
            ("EXISTS z", "0"),
            ("ZPOPMIN z", "[]"),
            ("SET s x", "+OK"),
            ("ZSCORE s a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ]);
    }
}
