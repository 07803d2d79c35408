//! Ranges of sorted sets: by rank, by score, by member.

use super::arguments::{clamped, integer, is};
use super::{Grows, Spec, range, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::Keyspace;
use crate::members::Name;
use crate::reply::Reply;
use crate::value::SortedSet;

mod bounds;

use bounds::{MemberRange, ScoreRange};

pub(super) const COMMANDS: &[Spec] = &[
    spec("zcount", 4, Grows::No, zcount),
    spec("zrange", -4, Grows::No, zrange),
    spec("zrangebyscore", -4, Grows::No, zrangebyscore),
    spec("zremrangebyrank", 4, Grows::No, zremrangebyrank),
    spec("zremrangebyscore", 4, Grows::No, zremrangebyscore),
    spec("zrevrange", -4, Grows::No, zrevrange),
    spec("zrevrangebyscore", -4, Grows::No, zrevrangebyscore),
];

type Pair<'a> = (&'a Name, f64);

fn zcount(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let bounds = ScoreRange::parse(args[2], args[3])?;
    let set = db.read::<SortedSet>(args[1])?;
    reply.count(set.map_or(0, |set| bounds.of(set).count()));
    Ok(())
}

fn zremrangebyscore(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let bounds = ScoreRange::parse(args[2], args[3])?;
    remove(db, args[1], reply, |set| bounds.of(set).map(|(name, _)| Name::clone(name)).collect())
}

fn zremrangebyrank(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let (start, end) = (integer(args[2])?, integer(args[3])?);
    remove(db, args[1], reply, |set| {
        let (from, len) = range::resolve(start, end, set.len()).unwrap_or((0, 0));
        set.iter().skip(from).take(len).map(|(name, _)| Name::clone(name)).collect()
    })
}

fn remove(
    db: &mut Keyspace,
    key: &[u8],
    reply: &mut Reply<'_>,
    choose: impl FnOnce(&SortedSet) -> Vec<Name>,
) -> Done {
    let removed = db.change(key, |set: &mut SortedSet| {
        let chosen = choose(set);
        chosen.iter().for_each(|name| drop(set.remove(name)));
        Ok(chosen.len())
    })?;
    reply.count(removed.unwrap_or(0));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Member,
}

/// What a range command asks for. `None` is what an option may still say.
struct Query {
    by: Option<By>,
    reverse: Option<bool>,
    with_scores: bool,
    offset: i64,
    /// Negative: no limit.
    limit: i64,
}

fn zrange(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    answer(db, args, None, None, reply)
}

fn zrevrange(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    answer(db, args, Some(By::Rank), Some(true), reply)
}

fn zrangebyscore(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    answer(db, args, Some(By::Score), Some(false), reply)
}

fn zrevrangebyscore(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    answer(db, args, Some(By::Score), Some(true), reply)
}

impl Query {
    fn parse(options: &[&[u8]], by: Option<By>, reverse: Option<bool>) -> Result<Self, Failure> {
        let mut query = Query { by, reverse, with_scores: false, offset: 0, limit: -1 };
        let mut rest = options;
        while let [option, tail @ ..] = rest {
            rest = tail;
            match (*option, tail) {
                (option, _) if is(option, "withscores") => query.with_scores = true,
                (option, [offset, limit, tail @ ..]) if is(option, "limit") => {
                    (query.offset, query.limit) = (integer(offset)?, integer(limit)?);
                    rest = tail;
                }
                (option, _) if query.reverse.is_none() && is(option, "rev") => query.reverse = Some(true),
                (option, _) if query.by.is_none() && is(option, "bylex") => query.by = Some(By::Member),
                (option, _) if query.by.is_none() && is(option, "byscore") => query.by = Some(By::Score),
                _ => return Err(Failure::SYNTAX),
            }
        }
        query.check()?;
        Ok(query)
    }

    fn check(&self) -> Done {
        const LIMIT: Failure = Failure::fixed(
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        );
        const SCORES: Failure =
            Failure::fixed("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
        match self.by.unwrap_or(By::Rank) {
            By::Rank if self.limit != -1 => Err(LIMIT),
            By::Member if self.with_scores => Err(SCORES),
            _ => Ok(()),
        }
    }

    fn is_reverse(&self) -> bool {
        self.reverse.unwrap_or(false)
    }

    /// Applies LIMIT. A negative offset leaves nothing.
    fn cut<'a>(&self, pairs: impl Iterator<Item = Pair<'a>>) -> Vec<Pair<'a>> {
        let limit = if self.limit < 0 { usize::MAX } else { clamped(self.limit) };
        let limit = if self.offset < 0 { 0 } else { limit };
        pairs.skip(clamped(self.offset)).take(limit).collect()
    }

    fn cut_directed<'a>(&self, pairs: impl DoubleEndedIterator<Item = Pair<'a>>) -> Vec<Pair<'a>> {
        if self.is_reverse() { self.cut(pairs.rev()) } else { self.cut(pairs) }
    }
}

fn answer(
    db: &Keyspace,
    args: &[&[u8]],
    by: Option<By>,
    reverse: Option<bool>,
    reply: &mut Reply<'_>,
) -> Done {
    let query = Query::parse(&args[4..], by, reverse)?;
    // By score and by member, a reverse range names its upper bound first.
    let (low, high) = if query.is_reverse() { (args[3], args[2]) } else { (args[2], args[3]) };
    let set = |key| db.read::<SortedSet>(key);
    let pairs = match query.by.unwrap_or(By::Rank) {
        By::Rank => {
            let (start, end) = (integer(args[2])?, integer(args[3])?);
            set(args[1])?.map(|set| by_rank(set, start, end, query.is_reverse()))
        }
        By::Score => {
            let bounds = ScoreRange::parse(low, high)?;
            set(args[1])?.map(|set| query.cut_directed(bounds.of(set)))
        }
        By::Member => {
            let bounds = MemberRange::parse(low, high)?;
            set(args[1])?.map(|set| query.cut(bounds.of(set, query.is_reverse()).into_iter()))
        }
    };
    tell(&pairs.unwrap_or_default(), query.with_scores, reply);
    Ok(())
}

fn by_rank(set: &SortedSet, start: i64, end: i64, reverse: bool) -> Vec<Pair<'_>> {
    let Some((from, len)) = range::resolve(start, end, set.len()) else { return Vec::new() };
    if reverse {
        set.iter().rev().skip(from).take(len).collect()
    } else {
        set.iter().skip(from).take(len).collect()
    }
}

fn tell(pairs: &[Pair<'_>], with_scores: bool, reply: &mut Reply<'_>) {
    reply.array(if with_scores { pairs.len() * 2 } else { pairs.len() });
    for (name, score) in pairs {
        reply.bulk(name);
        if with_scores {
            reply.double(*score);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn ranges_are_cut_by_rank_score_and_member() {
        Shell::new().expect(&[
            ("ZADD z 1 a 2 b 3 c 4 d", "4"),
            ("ZRANGE z 1 2", "[b c]"),
            ("ZRANGE z 0 1 REV WITHSCORES", "[d 4 c 3]"),
            ("ZRANGE z (1 3 BYSCORE", "[b c]"),
            ("ZRANGE z 3 (1 BYSCORE REV LIMIT 1 1", "[b]"),
            ("ZRANGE z -inf +inf BYSCORE LIMIT -1 5", "[]"),
            ("ZRANGE z (inf inf BYSCORE", "[]"),
            ("ZRANGE z 5 1 BYSCORE", "[]"),
            ("ZCOUNT z (1 (4", "2"),
            ("ZCOUNT z x 1", "-ERR min or max is not a float"),
            (
                "ZRANGE z 0 1 LIMIT 0 1",
                "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ),
            (
                "ZRANGE z - + BYLEX WITHSCORES",
                "-ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ),
            ("ZRANGE z a + BYLEX", "-ERR min or max not valid string range item"),
            ("ZREVRANGE z 0 0", "[d]"),
            ("ZRANGEBYSCORE z 2 3 WITHSCORES", "[b 2 c 3]"),
            ("ZREVRANGEBYSCORE z 3 2", "[c b]"),
            ("ZREMRANGEBYSCORE z -inf (2", "1"),
            ("ZREMRANGEBYRANK z -1 -1", "1"),
            ("ZRANGE z 0 -1", "[b c]"),
        ]);
    }

    #[test]
    fn members_of_equal_score_are_ranged_by_name() {
        Shell::new().expect(&[
            ("ZADD z 0 a 0 b 0 c", "3"),
            ("ZRANGE z - + BYLEX", "[a b c]"),
            ("ZRANGE z (a [c BYLEX", "[b c]"),
            ("ZRANGE z + [b BYLEX REV LIMIT 0 1", "[c]"),
            ("ZRANGE z + - BYLEX", "[]"),
        ]);
    }
}
