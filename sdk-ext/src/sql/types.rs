//! SQL types that Rust has no type of its own for, as the contract represents them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// An exact decimal as text: `-12.50`, `NaN`, `Infinity`, `-Infinity`. The scale is kept. Around a `String`, or to bind
/// or read in place around a `&str`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decimal<T = String>(pub T);

/// JSON as text. Around a `String`, or to bind or read in place around a `&str`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T = String>(pub T);

/// An array: `Array(vec![1, 2])`, or to bind `Array(&list[..])`. A type of its own because `&[u8]` and `Vec<u8>` are
/// byte strings. Elements may be `Option`, and arrays themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Array<T>(pub T);

/// Days since 1970-01-01 in the proleptic Gregorian calendar. `i32::MAX` and `i32::MIN` are infinities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub i32);

/// Microseconds since midnight; of MySQL also negative and over a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

/// Microseconds since 1970-01-01 00:00:00 of a clock without zone. `i64::MAX` and `i64::MIN` are infinities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// Microseconds since 1970-01-01 00:00:00 UTC. `i64::MAX` and `i64::MIN` are infinities.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use agw_sdk::sql::TimestampTz;
///
/// assert_eq!(TimestampTz::from(UNIX_EPOCH + Duration::from_secs(2)), TimestampTz(2_000_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimestampTz(pub i64);

/// An interval's parts, none of which can be converted into another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Months, years included.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

/// 16 bytes in the order in which the text shows them.
///
/// ```
/// let uuid = agw_sdk::sql::Uuid(*b"abcdefghijklmnop");
/// assert_eq!(uuid.to_string(), "61626364-6566-6768-696a-6b6c6d6e6f70");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

// === impl Date ===

/// Days from 0000-03-01, where the years of this reckoning begin, to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;
/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;

impl Date {
    /// The date of a year, a month (1 to 12) and a day (from 1 on); `None` if the calendar has no such day.
    ///
    /// ```
    /// use agw_sdk::sql::Date;
    ///
    /// assert_eq!(Date::from_ymd(2000, 2, 29), Some(Date(11_016)));
    /// assert_eq!(Date::from_ymd(1900, 2, 29), None);
    /// ```
    pub fn from_ymd(year: i32, month: u32, day: u32) -> Option<Date> {
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        // Years that begin in March: the leap day is their last.
        let year = i64::from(year) - i64::from(month <= 2);
        let from_march = i64::from((month + 9) % 12);
        let day_of_year = (153 * from_march + 2) / 5 + i64::from(day) - 1;
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let days = era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - EPOCH_DAYS;
        let date = Date(i32::try_from(days).ok()?);
        // The 31st of a shorter month came out as a day of the next.
        (date.ymd().1 == month).then_some(date)
    }

    /// Year, month and day. Of an infinity they mean nothing.
    ///
    /// ```
    /// assert_eq!(agw_sdk::sql::Date(-1).ymd(), (1969, 12, 31));
    /// ```
    pub fn ymd(self) -> (i32, u32, u32) {
        let days = i64::from(self.0) + EPOCH_DAYS;
        let (era, of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        // Days of 32 bits are fewer than six million years.
        (year as i32, month as u32, day as u32)
    }
}

// === impl TimestampTz ===

impl From<SystemTime> for TimestampTz {
    /// Parts of a microsecond are dropped; what does not fit is the nearest that does.
    fn from(time: SystemTime) -> TimestampTz {
        let micros = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX - 1),
            Err(before) => {
                let micros = before.duration().as_nanos().div_ceil(1000);
                i64::try_from(micros).map_or(i64::MIN + 1, |micros| -micros)
            }
        };
        TimestampTz(micros)
    }
}

// === impl Uuid ===

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_that_the_calendar_does_not_have_are_none() {
        for (year, month, day) in [
            (2001, 2, 29),
            (2001, 4, 31),
            (2001, 0, 1),
            (2001, 13, 1),
            (2001, 1, 0),
            (2001, 1, 32),
            (i32::MAX, 1, 1),
        ] {
            assert_eq!(Date::from_ymd(year, month, day), None, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn every_day_of_nine_hundred_years_comes_back_and_follows_the_one_before() {
        let first = Date::from_ymd(1599, 1, 1).unwrap().0;
        let last = Date::from_ymd(2499, 12, 31).unwrap().0;
        assert_eq!(last - first + 1, 901 * 365 + 219);
        for days in first..=last {
            let (year, month, day) = Date(days).ymd();
            assert_eq!(Date::from_ymd(year, month, day), Some(Date(days)));
        }
        assert_eq!(Date(0).ymd(), (1970, 1, 1));
        for days in [i32::MIN, i32::MAX] {
            let (year, month, day) = Date(days).ymd();
            assert_eq!(Date::from_ymd(year, month, day), Some(Date(days)));
        }
    }

    #[test]
    fn times_before_the_epoch_are_negative_and_never_round_towards_it() {
        let before = |nanos| TimestampTz::from(UNIX_EPOCH - Duration::from_nanos(nanos));
        assert_eq!(before(1000), TimestampTz(-1));
        assert_eq!(before(1001), TimestampTz(-2));
        assert_eq!(TimestampTz::from(UNIX_EPOCH + Duration::from_nanos(1999)), TimestampTz(1));
    }
}
