//! ZADD and ZINCRBY.

use super::arguments::{double, is};
use super::{Grows, Spec, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::Keyspace;
use crate::reply::Reply;
use crate::value::SortedSet;

pub(super) const COMMANDS: &[Spec] =
    &[spec("zadd", -4, Grows::Key(1), zadd), spec("zincrby", 4, Grows::Key(1), zincrby)];

#[derive(Clone, Copy, Default)]
struct Options {
    absent: bool,
    present: bool,
    greater: bool,
    less: bool,
    changed: bool,
    increment: bool,
}

impl Options {
    fn take(&mut self, option: &[u8]) -> bool {
        match option {
            option if is(option, "nx") => self.absent = true,
            option if is(option, "xx") => self.present = true,
            option if is(option, "gt") => self.greater = true,
            option if is(option, "lt") => self.less = true,
            option if is(option, "ch") => self.changed = true,
            option if is(option, "incr") => self.increment = true,
            _ => return false,
        }
        true
    }

    fn check(&self, pairs: usize) -> Done {
        const PRESENCE: Failure = Failure::fixed("ERR XX and NX options at the same time are not compatible");
        const COMPARISON: Failure =
            Failure::fixed("ERR GT, LT, and/or NX options at the same time are not compatible");
        const SINGLE: Failure = Failure::fixed("ERR INCR option supports a single increment-element pair");
        if self.absent && self.present {
            return Err(PRESENCE);
        }
        if self.absent && (self.greater || self.less) || self.greater && self.less {
            return Err(COMPARISON);
        }
        if self.increment && pairs > 1 {
            return Err(SINGLE);
        }
        Ok(())
    }

    /// The score to store, or `None` if the member stays as it is.
    fn decide(&self, old: Option<f64>, given: f64) -> Result<Option<f64>, Failure> {
        const NAN: Failure = Failure::fixed("ERR resulting score is not a number (NaN)");
        let Some(old) = old else { return Ok((!self.present).then_some(given)) };
        if self.absent {
            return Ok(None);
        }
        let new = if self.increment { old + given } else { given };
        if new.is_nan() {
            return Err(NAN);
        }
        let refused = self.less && new >= old || self.greater && new <= old;
        Ok((!refused).then_some(new))
    }
}

/// What happened to the members.
#[derive(Default)]
struct Outcome {
    added: usize,
    updated: usize,
    /// The last score stored.
    score: Option<f64>,
}

fn zadd(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    run(db, args, Options::default(), reply)
}

fn zincrby(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    run(db, args, Options { increment: true, ..Options::default() }, reply)
}

fn run(db: &mut Keyspace, args: &[&[u8]], mut options: Options, reply: &mut Reply<'_>) -> Done {
    let flags = args[2..].iter().take_while(|arg| options.take(arg)).count();
    let (pairs, rest) = args[2 + flags..].as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return Err(Failure::SYNTAX);
    }
    options.check(pairs.len())?;
    let scores = pairs.iter().map(|[score, _]| double(score)).collect::<Result<Vec<_>, _>>()?;
    let outcome = db.change_or_create(args[1], |set: &mut SortedSet| {
        let mut outcome = Outcome::default();
        for ([_, member], score) in pairs.iter().zip(scores) {
            let old = set.score(member);
            let Some(new) = options.decide(old, score)? else { continue };
            outcome.added += usize::from(old.is_none());
            outcome.updated += usize::from(old.is_some_and(|old| old != new));
            outcome.score = Some(new);
            set.set(member, new);
        }
        Ok(outcome)
    })?;
    match (options.increment, outcome.score) {
        (true, Some(score)) => reply.double(score),
        (true, None) => reply.null(),
        (false, _) => reply.count(outcome.added + if options.changed { outcome.updated } else { 0 }),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        Shell::new().expect(&[
            ("ZADD z NX XX 1 a", "-ERR XX and NX options at the same time are not compatible"),
            ("ZADD z GT LT 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
            ("ZADD z INCR 1 a 2 b", "-ERR INCR option supports a single increment-element pair"),
            ("ZADD z 1 a 2", "-ERR syntax error"),
            ("ZADD z nan a", "-ERR value is not a valid float"),
            ("ZADD z 1 a x b", "-ERR value is not a valid float"),
            ("EXISTS z", "0"),
        ]);
    }

    #[test]
    fn scores_change_as_the_options_say() {
        Shell::new().expect(&[
            ("ZADD z XX 1 a", "0"),
            ("ZADD z 1 a 2 b", "2"),
            ("ZADD z GT CH 0 a 3 b", "1"),
            ("ZADD z LT CH 0 a 5 b", "1"),
            ("ZADD z NX 9 a 9 c", "1"),
            ("ZADD z XX INCR 1 d", "nil"),
            ("ZINCRBY z 0.1 a", "0.10000000000000001"),
            ("ZADD z inf i", "1"),
            ("ZINCRBY z -inf i", "-ERR resulting score is not a number (NaN)"),
            ("ZSCORE z i", "inf"),
            ("ZRANGE z 0 -1", "[a b c i]"),
        ]);
    }
}
