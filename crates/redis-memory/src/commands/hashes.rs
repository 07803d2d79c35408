//! Hashes.

use super::arguments::integer;
use super::{Grows, Spec, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::Keyspace;
use crate::number::extended::Extended;
use crate::reply::Reply;
use crate::value::Hash;

pub(super) const COMMANDS: &[Spec] = &[
    spec("hdel", -3, Grows::No, hdel),
    spec("hexists", 3, Grows::No, hexists),
    spec("hget", 3, Grows::No, hget),
    spec("hgetall", 2, Grows::No, hgetall),
    spec("hincrby", 4, Grows::Key(1), hincrby),
    spec("hincrbyfloat", 4, Grows::Number, hincrbyfloat),
    spec("hkeys", 2, Grows::No, hkeys),
    spec("hlen", 2, Grows::No, hlen),
    spec("hmget", -3, Grows::No, hmget),
    spec("hmset", -4, Grows::Key(1), hmset),
    spec("hset", -4, Grows::Key(1), hset),
    spec("hsetnx", 4, Grows::Key(1), hsetnx),
    spec("hstrlen", 3, Grows::No, hstrlen),
    spec("hvals", 2, Grows::No, hvals),
];

fn hset(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.count(set_pairs(db, args, "hset")?);
    Ok(())
}

fn hmset(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    set_pairs(db, args, "hmset")?;
    reply.ok();
    Ok(())
}

/// Returns how many fields are new.
fn set_pairs(db: &mut Keyspace, args: &[&[u8]], name: &str) -> Result<usize, Failure> {
    let (pairs, rest) = args[2..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Failure::arity(name));
    }
    db.change_or_create(args[1], |hash: &mut Hash| {
        Ok(pairs.iter().filter(|[field, value]| hash.insert(field, value.to_vec()).is_none()).count())
    })
}

fn hsetnx(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let free = db.change_or_create(args[1], |hash: &mut Hash| {
        let free = !hash.contains(args[2]);
        if free {
            hash.insert(args[2], args[3].to_vec());
        }
        Ok(free)
    })?;
    reply.bool(free);
    Ok(())
}

fn field<'a>(db: &'a Keyspace, key: &[u8], name: &[u8]) -> Result<Option<&'a [u8]>, Failure> {
    Ok(db.read::<Hash>(key)?.and_then(|hash| hash.get(name)).map(Vec::as_slice))
}

fn hget(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.bulk_or_null(field(db, args[1], args[2])?);
    Ok(())
}

fn hexists(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.bool(field(db, args[1], args[2])?.is_some());
    Ok(())
}

fn hstrlen(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.count(field(db, args[1], args[2])?.map_or(0, <[u8]>::len));
    Ok(())
}

fn hlen(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.count(db.read::<Hash>(args[1])?.map_or(0, Hash::len));
    Ok(())
}

fn hmget(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let hash = db.read::<Hash>(args[1])?;
    reply.array(args.len() - 2);
    for name in &args[2..] {
        reply.bulk_or_null(hash.and_then(|hash| hash.get(name)).map(Vec::as_slice));
    }
    Ok(())
}

fn hgetall(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let hash = db.read::<Hash>(args[1])?;
    reply.array(hash.map_or(0, Hash::len) * 2);
    for (name, value) in hash.into_iter().flat_map(Hash::iter) {
        reply.bulk(name);
        reply.bulk(value);
    }
    Ok(())
}

fn hkeys(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    match db.read::<Hash>(args[1])? {
        Some(hash) => reply.bulks(hash.names()),
        None => reply.array(0),
    }
    Ok(())
}

fn hvals(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    match db.read::<Hash>(args[1])? {
        Some(hash) => reply.bulks(hash.iter().map(|(_, value)| value.as_slice())),
        None => reply.array(0),
    }
    Ok(())
}

fn hdel(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let removed = db.change(args[1], |hash: &mut Hash| {
        Ok(args[2..].iter().filter(|name| hash.remove(name).is_some()).count())
    })?;
    reply.count(removed.unwrap_or(0));
    Ok(())
}

fn hincrby(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    const NOT_INTEGER: Failure = Failure::fixed("ERR hash value is not an integer");
    let increment = integer(args[3])?;
    let sum = db.change_or_create(args[1], |hash: &mut Hash| {
        let old = match hash.get(args[2]) {
            Some(value) => integer(value).map_err(|_| NOT_INTEGER)?,
            None => 0,
        };
        let sum = old.checked_add(increment).ok_or(Failure::SUM_OVERFLOW)?;
        hash.insert(args[2], sum.to_string().into_bytes());
        Ok(sum)
    })?;
    reply.int(sum);
    Ok(())
}

fn hincrbyfloat(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    const NOT_FLOAT: Failure = Failure::fixed("ERR hash value is not a float");
    const INFINITE: Failure = Failure::fixed("ERR value is NaN or Infinity");
    let increment = Extended::parse(args[3]).ok_or(Failure::NOT_FLOAT)?;
    if increment.is_infinite() {
        return Err(INFINITE);
    }
    let sum = db.change_or_create(args[1], |hash: &mut Hash| {
        let old = match hash.get(args[2]) {
            Some(value) => Extended::parse(value).ok_or(NOT_FLOAT)?,
            None => Extended::ZERO,
        };
        let sum = old.plus(increment);
        if sum.is_infinite() {
            return Err(Failure::INFINITE_SUM);
        }
        let sum = sum.format();
        hash.insert(args[2], sum.clone().into_bytes());
        Ok(sum)
    })?;
    reply.bulk(sum.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn fields_are_set_counted_and_removed() {
        Shell::new().expect(&[
            ("HSET h a", "-ERR wrong number of arguments for 'hset' command"),
            ("HSET h a 1 b", "-ERR wrong number of arguments for 'hset' command"),
            ("HSET h a 1 b 2", "2"),
            ("HSET h a 3 c 4", "1"),
            ("HGETALL h", "[a 3 b 2 c 4]"),
            ("HMGET h a x", "[3 nil]"),
            ("HINCRBY h a 4", "7"),
            ("HINCRBY h a 9223372036854775807", "-ERR increment or decrement would overflow"),
            ("HINCRBYFLOAT h a 0.5", "7.5"),
            ("HINCRBY h a 1", "-ERR hash value is not an integer"),
            ("HINCRBYFLOAT h a inf", "-ERR value is NaN or Infinity"),
            ("HSETNX h a 1", "0"),
            ("HSTRLEN h a", "3"),
            ("HKEYS h", "[a b c]"),
            ("HVALS h", "[7.5 2 4]"),
            ("HDEL h a b x", "2"),
            ("HLEN h", "1"),
            ("HDEL h c", "1"),
            ("EXISTS h", "0"),
            ("HMSET h a 1", "+OK"),
            ("GET h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("HEXISTS h a", "1"),
        ]);
    }
}
