//! Reads arguments, with Redis' errors.

use crate::failure::Failure;
use crate::number;

/// Compares an option's name; case means nothing.
pub(super) fn is(arg: &[u8], option: &str) -> bool {
    arg.eq_ignore_ascii_case(option.as_bytes())
}

pub(super) fn integer(arg: &[u8]) -> Result<i64, Failure> {
    number::integer(arg).ok_or(Failure::NOT_INTEGER)
}

/// An integer of at least `min`; anything else is `failure`.
pub(super) fn at_least(min: i64, arg: &[u8], failure: Failure) -> Result<usize, Failure> {
    let value = number::integer(arg).filter(|value| *value >= min).ok_or(failure)?;
    Ok(usize::try_from(value).unwrap_or(usize::MAX))
}

/// A count whose sign means something. The lowest integer is refused, since it has no opposite.
pub(super) fn signed_count(arg: &[u8]) -> Result<i64, Failure> {
    match integer(arg)? {
        i64::MIN => Err(Failure::NOT_SYMMETRIC),
        count => Ok(count),
    }
}

pub(super) fn double(arg: &[u8]) -> Result<f64, Failure> {
    number::double(arg).ok_or(Failure::NOT_FLOAT)
}

/// As a `usize`, for a number that may be negative: then zero.
pub(super) fn clamped(value: i64) -> usize {
    usize::try_from(value.max(0)).unwrap_or(usize::MAX)
}
