//! Deadlines of keys: EXPIRE, TTL, PERSIST and their relatives.

use super::arguments::{integer, is};
use super::{Grows, Spec, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::Keyspace;
use crate::reply::Reply;

pub(super) const COMMANDS: &[Spec] = &[
    spec("expire", -3, Grows::No, expire),
    spec("expireat", -3, Grows::No, expireat),
    spec("expiretime", 2, Grows::No, expiretime),
    spec("persist", 2, Grows::No, persist),
    spec("pexpire", -3, Grows::No, pexpire),
    spec("pexpireat", -3, Grows::No, pexpireat),
    spec("pexpiretime", 2, Grows::No, pexpiretime),
    spec("pttl", 2, Grows::No, pttl),
    spec("ttl", 2, Grows::No, ttl),
];

fn expire(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    set_deadline(db, args, "expire", 1000, db.now(), reply)
}

fn pexpire(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    set_deadline(db, args, "pexpire", 1, db.now(), reply)
}

fn expireat(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    set_deadline(db, args, "expireat", 1000, 0, reply)
}

fn pexpireat(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    set_deadline(db, args, "pexpireat", 1, 0, reply)
}

/// `unit` is in milliseconds, `base` is what the time counts from.
fn set_deadline(
    db: &mut Keyspace,
    args: &[&[u8]],
    name: &str,
    unit: i64,
    base: i64,
    reply: &mut Reply<'_>,
) -> Done {
    let condition = Condition::parse(&args[3..])?;
    let deadline = integer(args[2])?.checked_mul(unit).and_then(|time| time.checked_add(base));
    let deadline = deadline.ok_or_else(|| Failure::expire_time(name))?;
    let allowed = db.get(args[1]).is_some_and(|entry| condition.allows(entry.deadline, deadline));
    if allowed && deadline <= db.now() {
        db.take(args[1]);
    } else if allowed {
        db.set_deadline(args[1], Some(deadline));
    }
    reply.bool(allowed);
    Ok(())
}

/// NX, XX, GT, LT.
#[derive(Default)]
struct Condition {
    without: bool,
    with: bool,
    later: bool,
    sooner: bool,
}

impl Condition {
    fn parse(options: &[&[u8]]) -> Result<Self, Failure> {
        const EXCLUSIVE: Failure =
            Failure::fixed("ERR NX and XX, GT or LT options at the same time are not compatible");
        const OPPOSITE: Failure = Failure::fixed("ERR GT and LT options at the same time are not compatible");
        let mut condition = Condition::default();
        for option in options {
            match option {
                option if is(option, "nx") => condition.without = true,
                option if is(option, "xx") => condition.with = true,
                option if is(option, "gt") => condition.later = true,
                option if is(option, "lt") => condition.sooner = true,
                option => return Err(Failure::unsupported_option(option)),
            }
        }
        if condition.without && (condition.with || condition.later || condition.sooner) {
            return Err(EXCLUSIVE);
        }
        if condition.later && condition.sooner {
            return Err(OPPOSITE);
        }
        Ok(condition)
    }

    /// A key without a deadline lives for ever: nothing is later than that.
    fn allows(&self, old: Option<i64>, new: i64) -> bool {
        match old {
            Some(old) => !(self.without || self.later && new <= old || self.sooner && new >= old),
            None => !(self.with || self.later),
        }
    }
}

fn ttl(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let now = db.now();
    tell_deadline(db, args, reply, |deadline| deadline.saturating_sub(now).saturating_add(500) / 1000)
}

fn pttl(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let now = db.now();
    tell_deadline(db, args, reply, |deadline| deadline.saturating_sub(now))
}

fn expiretime(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    tell_deadline(db, args, reply, |deadline| deadline.saturating_add(500) / 1000)
}

fn pexpiretime(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    tell_deadline(db, args, reply, |deadline| deadline)
}

/// -2: no such key; -1: no deadline.
fn tell_deadline(db: &Keyspace, args: &[&[u8]], reply: &mut Reply<'_>, convert: impl Fn(i64) -> i64) -> Done {
    reply.int(match db.get(args[1]) {
        None => -2,
        Some(entry) => entry.deadline.map_or(-1, convert),
    });
    Ok(())
}

fn persist(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let had = db.get(args[1]).is_some_and(|entry| entry.deadline.is_some());
    if had {
        db.set_deadline(args[1], None);
    }
    reply.bool(had);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn impossible_times_are_refused_and_past_ones_delete() {
        Shell::new().expect(&[
            ("SET a 1", "+OK"),
            ("EXPIRE a 9223372036854775807", "-ERR invalid expire time in 'expire' command"),
            ("PEXPIRE a 9223372036854775807", "-ERR invalid expire time in 'pexpire' command"),
            ("EXPIRE a x", "-ERR value is not an integer or out of range"),
            ("EXPIRE a 10 NX GT", "-ERR NX and XX, GT or LT options at the same time are not compatible"),
            ("EXPIRE a 10 GT LT", "-ERR GT and LT options at the same time are not compatible"),
            ("EXPIRE a 10 FOO", "-ERR Unsupported option FOO"),
            ("TTL a", "-1"),
            ("EXPIRE a -1", "1"),
            ("TTL a", "-2"),
        ]);
    }

    #[test]
    fn conditions_compare_with_the_deadline_there_is() {
        Shell::new().expect(&[
            ("SET a 1", "+OK"),
            ("EXPIRE a 10 XX", "0"),
            ("EXPIRE a 10 GT", "0"),
            ("EXPIRE a 10 LT", "1"),
            ("EXPIRE a 20 NX", "0"),
            ("EXPIRE a 5 GT", "0"),
            ("EXPIRE a 20 GT", "1"),
            ("EXPIRE a 30 LT", "0"),
            ("PTTL a", "20000"),
            ("EXPIRETIME a", "1800000020"),
            ("PEXPIREAT a 1800000050123 XX", "1"),
            ("PEXPIRETIME a", "1800000050123"),
            ("PERSIST a", "1"),
            ("PERSIST a", "0"),
            ("EXPIRE nosuch 1", "0"),
        ]);
    }

    #[test]
    fn a_key_ends_after_its_last_millisecond() {
        let mut shell = Shell::new();
        shell.expect(&[("SET a 1 PX 100", "+OK"), ("HSET h f v", "1"), ("PEXPIRE h 100", "1")]);
        shell.now += 100;
        shell.expect(&[("GET a", "1"), ("PTTL a", "0"), ("HGET h f", "v"), ("DBSIZE", "2")]);
        shell.now += 1;
        shell.expect(&[
            ("GET a", "nil"),
            ("PTTL a", "-2"),
            ("HGETALL h", "[]"),
            ("DBSIZE", "0"),
            ("INCR a", "1"),
        ]);
        shell.expect(&[("TTL a", "-1"), ("RPUSH h x", "1")]);
    }
}
