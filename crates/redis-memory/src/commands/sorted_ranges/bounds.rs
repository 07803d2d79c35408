//! The two ends of a range by score or by member.

use super::Pair;
use crate::failure::Failure;
use crate::number;
use crate::value::SortedSet;

/// Scores from `low` on, up to but without `end`.
pub(super) struct ScoreRange {
    low: f64,
    end: Option<f64>,
}

impl ScoreRange {
    pub(super) fn parse(low: &[u8], high: &[u8]) -> Result<Self, Failure> {
        let (low, low_open) = score(low)?;
        let (high, high_open) = score(high)?;
        if low_open && low == f64::INFINITY {
            return Ok(ScoreRange { low, end: Some(low) });
        }
        let low = if low_open { low.next_up() } else { low };
        let end = match high {
            f64::INFINITY if !high_open => None,
            high => Some(if high_open { high } else { high.next_up() }),
        };
        Ok(ScoreRange { low, end })
    }

    pub(super) fn of<'a>(&self, set: &'a SortedSet) -> impl DoubleEndedIterator<Item = Pair<'a>> + use<'a> {
        set.between(self.low, self.end)
    }
}

fn score(arg: &[u8]) -> Result<(f64, bool), Failure> {
    const NOT_FLOAT: Failure = Failure::fixed("ERR min or max is not a float");
    let (text, open) = match arg.strip_prefix(b"(") {
        Some(text) => (text, true),
        None => (arg, false),
    };
    Ok((number::score_bound(text).ok_or(NOT_FLOAT)?, open))
}

/// One end of a range by member.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum MemberBound<'a> {
    Lowest,
    At(&'a [u8]),
    Highest,
}

/// A range over members, which means something when all scores are equal.
pub(super) struct MemberRange<'a> {
    low: MemberBound<'a>,
    low_open: bool,
    high: MemberBound<'a>,
    high_open: bool,
}

impl<'a> MemberRange<'a> {
    pub(super) fn parse(low: &'a [u8], high: &'a [u8]) -> Result<Self, Failure> {
        let (low, low_open) = member(low)?;
        let (high, high_open) = member(high)?;
        Ok(MemberRange { low, low_open, high, high_open })
    }

    fn is_above(&self, name: &[u8]) -> bool {
        let name = MemberBound::At(name);
        name > self.low || name == self.low && !self.low_open
    }

    fn is_below(&self, name: &[u8]) -> bool {
        let name = MemberBound::At(name);
        name < self.high || name == self.high && !self.high_open
    }

    /// Walks from the first member inside to the first one outside, as Redis does, so that the answer is the same
    /// also where scores differ.
    pub(super) fn of<'s>(&self, set: &'s SortedSet, reverse: bool) -> Vec<Pair<'s>> {
        let empty = self.low > self.high || self.low == self.high && (self.low_open || self.high_open);
        let last_is_above = set.iter().next_back().is_some_and(|(name, _)| self.is_above(name));
        let first_is_below = set.iter().next().is_some_and(|(name, _)| self.is_below(name));
        if empty || !last_is_above || !first_is_below {
            return Vec::new();
        }
        if reverse {
            let below = set.iter().rev().skip_while(|(name, _)| !self.is_below(name));
            below.take_while(|(name, _)| self.is_above(name)).collect()
        } else {
            let above = set.iter().skip_while(|(name, _)| !self.is_above(name));
            above.take_while(|(name, _)| self.is_below(name)).collect()
        }
    }
}

fn member(arg: &[u8]) -> Result<(MemberBound<'_>, bool), Failure> {
    const INVALID: Failure = Failure::fixed("ERR min or max not valid string range item");
    match arg {
        b"-" => Ok((MemberBound::Lowest, true)),
        b"+" => Ok((MemberBound::Highest, true)),
        [b'(', rest @ ..] => Ok((MemberBound::At(rest), true)),
        [b'[', rest @ ..] => Ok((MemberBound::At(rest), false)),
        _ => Err(INVALID),
    }
}
