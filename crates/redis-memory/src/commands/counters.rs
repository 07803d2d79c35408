//! Strings as numbers: INCR and its relatives.

use super::arguments::integer;
use super::{Grows, Spec, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::Keyspace;
use crate::number::extended::Extended;
use crate::reply::Reply;
use crate::value::Text;

pub(super) const COMMANDS: &[Spec] = &[
    spec("decr", 2, Grows::Key(1), decr),
    spec("decrby", 3, Grows::Key(1), decrby),
    spec("incr", 2, Grows::Key(1), incr),
    spec("incrby", 3, Grows::Key(1), incrby),
    spec("incrbyfloat", 3, Grows::Number, incrbyfloat),
];

fn incr(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    add(db, args[1], 1, reply)
}

fn decr(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    add(db, args[1], -1, reply)
}

fn incrby(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    add(db, args[1], integer(args[2])?, reply)
}

fn decrby(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    const OVERFLOW: Failure = Failure::fixed("ERR decrement would overflow");
    add(db, args[1], integer(args[2])?.checked_neg().ok_or(OVERFLOW)?, reply)
}

/// The deadline stays.
fn add(db: &mut Keyspace, key: &[u8], increment: i64, reply: &mut Reply<'_>) -> Done {
    let old = match db.read::<Text>(key)? {
        Some(text) => integer(&text.0)?,
        None => 0,
    };
    let sum = old.checked_add(increment).ok_or(Failure::SUM_OVERFLOW)?;
    db.change_or_create(key, |text: &mut Text| {
        text.0 = sum.to_string().into_bytes();
        Ok(())
    })?;
    reply.int(sum);
    Ok(())
}

fn incrbyfloat(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let old = match db.read::<Text>(args[1])? {
        Some(text) => Extended::parse(&text.0).ok_or(Failure::NOT_FLOAT)?,
        None => Extended::ZERO,
    };
    let sum = old.plus(Extended::parse(args[2]).ok_or(Failure::NOT_FLOAT)?);
    if sum.is_infinite() {
        return Err(Failure::INFINITE_SUM);
    }
    let printed = sum.format();
    reply.bulk(printed.as_bytes());
    db.change_or_create(args[1], |text: &mut Text| {
        text.0 = printed.into_bytes();
        Ok(())
    })
}
