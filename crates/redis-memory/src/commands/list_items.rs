//! Items inside lists: by index, by value.

use super::arguments::{at_least, clamped, integer, is, signed_count};
use super::{Grows, Spec, range, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::Keyspace;
use crate::reply::Reply;
use crate::value::{End, List};

pub(super) const COMMANDS: &[Spec] = &[
    spec("lindex", 3, Grows::No, lindex),
    spec("linsert", 5, Grows::Key(1), linsert),
    spec("lpos", -3, Grows::No, lpos),
    spec("lrange", 4, Grows::No, lrange),
    spec("lrem", 4, Grows::No, lrem),
    spec("lset", 4, Grows::Key(1), lset),
    spec("ltrim", 4, Grows::No, ltrim),
];

fn lrange(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let (start, end) = (integer(args[2])?, integer(args[3])?);
    let list = db.read::<List>(args[1])?;
    match list.and_then(|list| Some((list, range::resolve(start, end, list.len())?))) {
        Some((list, (from, len))) => reply.bulks(list.range(from, len)),
        None => reply.array(0),
    }
    Ok(())
}

fn lindex(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let Some(list) = db.read::<List>(args[1])? else {
        reply.null();
        return Ok(());
    };
    let place = range::place(integer(args[2])?, list.len());
    reply.bulk_or_null(place.and_then(|place| list.get(place)));
    Ok(())
}

fn lset(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    db.change(args[1], |list: &mut List| {
        let place = range::place(integer(args[2])?, list.len()).ok_or(Failure::OUT_OF_RANGE)?;
        if list.set(place, args[3]) { Ok(()) } else { Err(Failure::OUT_OF_RANGE) }
    })?
    .ok_or(Failure::NO_SUCH_KEY)?;
    reply.ok();
    Ok(())
}

fn lrem(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let count = integer(args[2])?;
    let end = if count < 0 { End::Last } else { End::First };
    let max = if count == 0 { usize::MAX } else { clamped(count.saturating_abs()) };
    let removed = db.change(args[1], |list: &mut List| Ok(list.remove_equal(end, args[3], max)))?;
    reply.count(removed.unwrap_or(0));
    Ok(())
}

fn ltrim(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let (start, end) = (integer(args[2])?, integer(args[3])?);
    db.change(args[1], |list: &mut List| {
        let (from, len) = range::resolve(start, end, list.len()).unwrap_or((0, 0));
        list.trim(from, len);
        Ok(())
    })?;
    reply.ok();
    Ok(())
}

fn linsert(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let distance = match args[2] {
        arg if is(arg, "before") => 0,
        arg if is(arg, "after") => 1,
        _ => return Err(Failure::SYNTAX),
    };
    let len = db.change(args[1], |list: &mut List| {
        let Some(pivot) = list.iter().position(|item| item == args[3]) else { return Ok(-1) };
        list.insert(pivot + distance, args[4]);
        Ok(i64::try_from(list.len()).unwrap_or(i64::MAX))
    })?;
    reply.int(len.unwrap_or(0));
    Ok(())
}

/// What LPOS was asked for.
struct Search {
    rank: i64,
    /// `None`: the first match alone; zero: all of them.
    count: Option<usize>,
    /// How many items to look at; zero: all of them.
    max: usize,
}

impl Search {
    fn parse(options: &[&[u8]]) -> Result<Self, Failure> {
        const NO_RANK: Failure = Failure::fixed(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
             or use negative to start from the end of the list",
        );
        const NEGATIVE_COUNT: Failure = Failure::fixed("ERR COUNT can't be negative");
        const NEGATIVE_MAX: Failure = Failure::fixed("ERR MAXLEN can't be negative");
        let mut search = Search { rank: 1, count: None, max: 0 };
        for option in options.chunks(2) {
            match option {
                [name, value] if is(name, "rank") => {
                    search.rank = signed_count(value)?;
                    if search.rank == 0 {
                        return Err(NO_RANK);
                    }
                }
                [name, value] if is(name, "count") => {
                    search.count = Some(at_least(0, value, NEGATIVE_COUNT)?);
                }
                [name, value] if is(name, "maxlen") => search.max = at_least(0, value, NEGATIVE_MAX)?,
                _ => return Err(Failure::SYNTAX),
            }
        }
        Ok(search)
    }

    fn run(&self, list: &List, item: &[u8]) -> Vec<usize> {
        let all = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        let found = |(place, other): (usize, &[u8])| (other == item).then_some(place);
        let (looked_at, wanted) = (all(self.max), self.count.map_or(1, all));
        let skipped = clamped(self.rank.abs()).saturating_sub(1);
        let items = list.iter().enumerate();
        if self.rank > 0 {
            items.take(looked_at).filter_map(found).skip(skipped).take(wanted).collect()
        } else {
            items.rev().take(looked_at).filter_map(found).skip(skipped).take(wanted).collect()
        }
    }
}

fn lpos(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let search = Search::parse(&args[3..])?;
    let list = db.read::<List>(args[1])?;
    let places = list.map(|list| search.run(list, args[2])).unwrap_or_default();
    match (search.count, places.first()) {
        (Some(_), _) => {
            reply.array(places.len());
            places.into_iter().for_each(|place| reply.count(place));
        }
        (None, Some(place)) => reply.count(*place),
        (None, None) => reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn items_are_found_changed_and_removed() {
        Shell::new().expect(&[
            ("LSET l 0 x", "-ERR no such key"),
            ("RPUSH l a b a c a", "5"),
            ("LSET l 5 x", "-ERR index out of range"),
            ("LSET l -6 x", "-ERR index out of range"),
            ("LINDEX l -5", "a"),
            ("LINDEX l -6", "nil"),
            ("LINDEX l 9223372036854775807", "nil"),
            ("LPOS l a RANK -1", "4"),
            ("LPOS l a RANK 2 COUNT 0", "[2 4]"),
            ("LPOS l a COUNT 2 MAXLEN 2", "[0]"),
            ("LPOS l z", "nil"),
            ("LPOS l z COUNT 0", "[]"),
            (
                "LPOS l a RANK -9223372036854775808",
                "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
            ("LREM l -2 a", "2"),
            ("LRANGE l 0 -1", "[a b c]"),
            ("LINSERT l AFTER b x", "4"),
            ("LINSERT l BEFORE z x", "-1"),
            ("LINSERT l NEAR b x", "-ERR syntax error"),
            ("LRANGE l -100 100", "[a b x c]"),
            ("LTRIM l 1 -2", "+OK"),
            ("LRANGE l 0 -1", "[b x]"),
            ("LTRIM l 5 1", "+OK"),
            ("EXISTS l", "0"),
        ]);
    }
}
