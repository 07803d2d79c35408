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

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn a_counter_refuses_what_is_no_number_and_never_wraps() {
        Shell::new().expect(&[
            ("SET t text", "+OK"),
            ("INCR t", "-ERR value is not an integer or out of range"),
            ("INCRBYFLOAT t 1", "-ERR value is not a valid float"),
            ("SET m 9223372036854775807", "+OK"),
            ("INCR m", "-ERR increment or decrement would overflow"),
            ("DECRBY m -9223372036854775808", "-ERR decrement would overflow"),
            ("GET m", "9223372036854775807"),
            ("RPUSH l x", "1"),
            ("INCR l", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("INCRBYFLOAT l 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ]);
    }

    #[test]
    fn counters_count() {
        Shell::new().expect(&[
            ("INCR n", "1"),
            ("INCRBY n 10", "11"),
            ("DECR n", "10"),
            ("DECRBY n 20", "-10"),
            ("INCRBYFLOAT f 0.1", "0.1"),
            ("INCRBYFLOAT f 0.2", "0.3"),
        ]);
    }

    #[test]
    fn a_counter_keeps_its_deadline() {
        let shell = Shell::new();
        shell.expect(&[
            ("SET n 1 EX 10", "+OK"),
            ("INCR n", "2"),
            ("INCRBYFLOAT n 0.5", "2.5"),
            ("TTL n", "10"),
        ]);
    }
}
