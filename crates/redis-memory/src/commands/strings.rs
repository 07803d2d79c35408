//! Strings as a whole: SET, GET and their relatives.

use super::arguments::{integer, is};
use super::{Grows, Spec, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::Keyspace;
use crate::reply::Reply;
use crate::value::{Text, Value};

pub(super) const COMMANDS: &[Spec] = &[
    spec("get", 2, Grows::No, get),
    spec("getdel", 2, Grows::No, getdel),
    spec("getex", -2, Grows::No, getex),
    spec("getset", 3, Grows::Key(1), getset),
    spec("mget", -2, Grows::No, mget),
    spec("mset", -3, Grows::Pairs, mset),
    spec("msetnx", -3, Grows::Pairs, msetnx),
    spec("psetex", 4, Grows::Key(1), psetex),
    spec("set", -3, Grows::Key(1), set),
    spec("setex", 4, Grows::Key(1), setex),
    spec("setnx", 3, Grows::Key(1), setnx),
];

fn put(db: &mut Keyspace, key: &[u8], value: &[u8], deadline: Option<i64>) {
    db.put(key, Value::Text(Text(value.to_vec())), deadline);
}

fn get(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let text = db.read::<Text>(args[1])?;
    reply.bulk_or_null(text.map(|text| &*text.0));
    Ok(())
}

fn mget(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.array(args.len() - 1);
    for key in &args[1..] {
        // Another type reads as nothing.
        let text = db.read::<Text>(key).ok().flatten();
        reply.bulk_or_null(text.map(|text| &*text.0));
    }
    Ok(())
}

fn getdel(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    get(db, args, reply)?;
    db.take(args[1]);
    Ok(())
}

fn getset(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    get(db, args, reply)?;
    put(db, args[1], args[2], None);
    Ok(())
}

fn setnx(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let free = !db.contains(args[1]);
    if free {
        put(db, args[1], args[2], None);
    }
    reply.bool(free);
    Ok(())
}

fn setex(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let deadline = Lifetime::Seconds.deadline(args[2], db.now(), "setex")?;
    put(db, args[1], args[3], Some(deadline));
    reply.ok();
    Ok(())
}

fn psetex(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let deadline = Lifetime::Millis.deadline(args[2], db.now(), "psetex")?;
    put(db, args[1], args[3], Some(deadline));
    reply.ok();
    Ok(())
}

fn mset(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    put_pairs(db, &args[1..], "mset")?;
    reply.ok();
    Ok(())
}

fn msetnx(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let pairs = &args[1..];
    let free = pairs.len() % 2 == 1 || !pairs.iter().step_by(2).any(|key| db.contains(key));
    if free {
        put_pairs(db, pairs, "msetnx")?;
    }
    reply.bool(free);
    Ok(())
}

fn put_pairs(db: &mut Keyspace, pairs: &[&[u8]], name: &str) -> Done {
    let (pairs, rest) = pairs.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Failure::arity(name));
    }
    for [key, value] in pairs {
        put(db, key, value, None);
    }
    Ok(())
}

/// How the time of an option counts.
#[derive(Clone, Copy)]
enum Lifetime {
    Seconds,
    Millis,
    UnixSeconds,
    UnixMillis,
}

impl Lifetime {
    fn parse(option: &[u8]) -> Option<Self> {
        match option {
            option if is(option, "ex") => Some(Lifetime::Seconds),
            option if is(option, "px") => Some(Lifetime::Millis),
            option if is(option, "exat") => Some(Lifetime::UnixSeconds),
            option if is(option, "pxat") => Some(Lifetime::UnixMillis),
            _ => None,
        }
    }

    fn is_absolute(self) -> bool {
        matches!(self, Lifetime::UnixSeconds | Lifetime::UnixMillis)
    }

    /// Milliseconds since 1970.
    fn deadline(self, time: &[u8], now: i64, name: &str) -> Result<i64, Failure> {
        let time = integer(time)?;
        let unit = if matches!(self, Lifetime::Seconds | Lifetime::UnixSeconds) { 1000 } else { 1 };
        let base = if self.is_absolute() { 0 } else { now };
        let deadline = time.checked_mul(unit).and_then(|time| time.checked_add(base));
        deadline.filter(|_| time > 0).ok_or_else(|| Failure::expire_time(name))
    }
}

/// What the options of SET and GETEX ask for.
#[derive(Default)]
struct Options<'a> {
    absent: bool,
    present: bool,
    get: bool,
    keep: bool,
    persist: bool,
    lifetime: Option<(Lifetime, &'a [u8])>,
}

impl<'a> Options<'a> {
    /// Takes one of NX, XX, GET, KEEPTTL (for SET) and says whether it was one.
    fn take_set_option(&mut self, option: &[u8]) -> bool {
        match option {
            option if is(option, "nx") && !self.present => self.absent = true,
            option if is(option, "xx") && !self.absent => self.present = true,
            option if is(option, "get") => self.get = true,
            option if is(option, "keepttl") && self.lifetime.is_none() => self.keep = true,
            _ => return false,
        }
        true
    }

    /// Takes PERSIST (for GETEX) and says whether it was that.
    fn take_getex_option(&mut self, option: &[u8]) -> bool {
        let persist = is(option, "persist") && self.lifetime.is_none();
        self.persist |= persist;
        persist
    }

    /// Takes a time. The same option may come again, another may not.
    fn take_lifetime(&mut self, option: &[u8], time: Option<&&'a [u8]>) -> Done {
        let lifetime = Lifetime::parse(option).ok_or(Failure::SYNTAX)?;
        let other = self.lifetime.is_some_and(|(old, _)| old as u8 != lifetime as u8);
        match time {
            Some(time) if !other && !self.keep && !self.persist => self.lifetime = Some((lifetime, time)),
            _ => return Err(Failure::SYNTAX),
        }
        Ok(())
    }

    fn parse(args: &[&'a [u8]], take: fn(&mut Self, &[u8]) -> bool) -> Result<Self, Failure> {
        let mut options = Options::default();
        let mut rest = args.iter();
        while let Some(option) = rest.next() {
            if !take(&mut options, option) {
                options.take_lifetime(option, rest.next())?;
            }
        }
        Ok(options)
    }

    fn deadline(&self, now: i64, name: &str) -> Result<Option<i64>, Failure> {
        self.lifetime.map(|(lifetime, time)| lifetime.deadline(time, now, name)).transpose()
    }
}

fn set(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let options = Options::parse(&args[3..], Options::take_set_option)?;
    let mut deadline = options.deadline(db.now(), "set")?;
    if options.get {
        get(db, args, reply)?;
    }
    let old = db.get(args[1]);
    let refused = if old.is_some() { options.absent } else { options.present };
    if refused {
        if !options.get {
            reply.null();
        }
        return Ok(());
    }
    if options.keep {
        deadline = old.and_then(|entry| entry.deadline);
    }
    put(db, args[1], args[2], deadline);
    if !options.get {
        reply.ok();
    }
    Ok(())
}

fn getex(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let options = Options::parse(&args[2..], Options::take_getex_option)?;
    if db.read::<Text>(args[1])?.is_none() {
        reply.null();
        return Ok(());
    }
    let deadline = options.deadline(db.now(), "getex")?;
    get(db, args, reply)?;
    match deadline {
        Some(deadline) if deadline <= db.now() => drop(db.take(args[1])),
        Some(deadline) => db.set_deadline(args[1], Some(deadline)),
        None if options.persist => db.set_deadline(args[1], None),
        None => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        Shell::new().expect(&[
            ("SET a 1 NX XX", "-ERR syntax error"),
            ("SET a 1 EX 1 PX 1", "-ERR syntax error"),
            ("SET a 1 EX 1 KEEPTTL", "-ERR syntax error"),
            ("SET a 1 EX", "-ERR syntax error"),
            ("SET a 1 PERSIST", "-ERR syntax error"),
            ("SET a 1 EX 0", "-ERR invalid expire time in 'set' command"),
            ("SET a 1 PX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
            ("SETEX a -1 v", "-ERR invalid expire time in 'setex' command"),
            ("EXISTS a", "0"),
            ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command"),
            ("GETEX a EX 1 PERSIST", "-ERR syntax error"),
        ]);
    }

    #[test]
    fn strings_are_set_and_read() {
        Shell::new().expect(&[
            ("SET a 1 XX", "nil"),
            ("SET a 1 NX EX 10", "+OK"),
            ("SET a 2 NX", "nil"),
            ("SET a 2 NX GET", "1"),
            ("SET a 2 KEEPTTL", "+OK"),
            ("TTL a", "10"),
            ("SET a 3 GET", "2"),
            ("TTL a", "-1"),
            ("GETEX a EX 5", "3"),
            ("TTL a", "5"),
            ("GETEX a PERSIST", "3"),
            ("TTL a", "-1"),
            ("GETSET a 4", "3"),
            ("MSET a 1 b 2", "+OK"),
            ("MSETNX b 1 c 1", "0"),
            ("RPUSH l x", "1"),
            ("MGET a b c l", "[1 2 nil nil]"),
            ("SET l 1 GET", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("SET l 1", "+OK"),
            ("GETDEL l", "1"),
            ("GETDEL l", "nil"),
            ("SETNX a 1", "0"),
            ("SETNX z 1", "1"),
        ]);
    }
}
