//! Dates and times as numbers and as text, for engines that keep them as text. Proleptic Gregorian calendar, years 0 to
//! 9999, which is what fits into `YYYY-MM-DD`.

use std::fmt::Write;

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const DAY: i64 = 86_400 * SECOND;

/// A timestamp, and whether its text had a zone; then it is in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timestamp {
    pub(crate) micros: i64,
    pub(crate) zoned: bool,
}

// === text to numbers ===

/// `2024-02-29`: days since 1970-01-01.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    let [_, _, _, _, b'-', _, _, b'-', _, _] = bytes else { return None };
    let (year, month, day) = (digits(bytes, 0, 4)?, digits(bytes, 5, 2)?, digits(bytes, 8, 2)?);
    let valid = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    valid.then(|| days(year, month, day)).and_then(|days| i32::try_from(days).ok())
}

/// `23:59`, `23:59:59` or `23:59:59.999999`: microseconds since midnight. `24:00:00` is the day's end.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (hour, minute) = (digits(bytes, 0, 2)?, digits(bytes, 3, 2)?);
    if bytes.get(2) != Some(&b':') {
        return None;
    }
    let (second, fraction) = match bytes.get(5) {
        None => (0, 0),
        Some(b':') => (digits(bytes, 6, 2)?, fraction(bytes.get(8..)?)?),
        Some(_) => return None,
    };
    let micros = ((hour * 60 + minute) * 60 + second) * SECOND + fraction;
    let valid = minute < 60 && second < 60 && (hour < 24 || micros == DAY);
    valid.then_some(micros)
}

/// A date, a `T` or a blank, a time, and perhaps a zone: `Z`, `+01:00` or `+0100`. A date alone is its midnight.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let midnight = i64::from(parse_date(date)?) * DAY;
    if rest.is_empty() {
        return Some(Timestamp { micros: midnight, zoned: false });
    }
    let rest = rest.strip_prefix(['T', ' '])?;
    let zone = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at_checked(zone)?;
    let local = midnight + parse_time(time.trim_end())?;
    let offset = match zone {
        "" => return Some(Timestamp { micros: local, zoned: false }),
        "Z" => 0,
        zone => parse_offset(zone)?,
    };
    Some(Timestamp { micros: local - offset, zoned: true })
}

/// Microseconds to the east of UTC.
fn parse_offset(zone: &str) -> Option<i64> {
    let bytes = zone.as_bytes();
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let minutes = match bytes.len() {
        3 => 0,
        5 => digits(bytes, 3, 2)?,
        6 if bytes.get(3) == Some(&b':') => digits(bytes, 4, 2)?,
        _ => return None,
    };
    let hours = digits(bytes, 1, 2)?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60 * SECOND)
}

/// Nothing, or a point and one to six digits, further ones cut off.
fn fraction(bytes: &[u8]) -> Option<i64> {
    let [b'.', digits @ ..] = bytes else { return bytes.is_empty().then_some(0) };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(6);
    Some(padded.fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}

fn digits(bytes: &[u8], at: usize, count: usize) -> Option<i64> {
    let digits = bytes.get(at..at + count)?;
    let number =
        |value: i64, digit: &u8| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0'));
    digits.iter().try_fold(0, number)
}

// === numbers to text ===

/// `YYYY-MM-DD`; `None` for a year that does not fit.
pub(crate) fn write_date(days: i32) -> Option<String> {
    let (year, month, day) = civil(days.into());
    (0..=9999).contains(&year).then(|| format!("{year:04}-{month:02}-{day:02}"))
}

/// `HH:MM:SS`, with microseconds if there are any; `None` for more or less than a day.
pub(crate) fn write_time(micros: i64) -> Option<String> {
    if !(0..=DAY).contains(&micros) {
        return None;
    }
    let (seconds, fraction) = (micros / SECOND, micros % SECOND);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, ".{fraction:06}");
    }
    Some(text)
}

/// A date, a blank, a time; `None` for a year that does not fit.
pub(crate) fn write_timestamp(micros: i64) -> Option<String> {
    let date = write_date(i32::try_from(micros.div_euclid(DAY)).ok()?)?;
    let time = write_time(micros.rem_euclid(DAY))?;
    Some(format!("{date} {time}"))
}

// === the calendar ===

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. Years begin in March here, so that the leap day is the last.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day since 1970-01-01.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_days_are_where_they_are() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2000-03-01", 11_017),
            ("2023-01-01", 19_358),
            ("0000-01-01", -719_528),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!(parse_date(text), Some(days), "{text}");
            assert_eq!(write_date(days).as_deref(), Some(text));
        }
        assert_eq!((write_date(-719_529), write_date(2_932_897), write_date(i32::MAX)), (None, None, None));
    }

    #[test]
    fn times_and_zones_are_counted() {
        let stamp = |micros, zoned| Some(Timestamp { micros, zoned });
        assert_eq!(parse_timestamp("1970-01-02"), stamp(DAY, false));
        assert_eq!(parse_timestamp("1970-01-01 00:00:01.5"), stamp(1_500_000, false));
        assert_eq!(parse_timestamp("1970-01-01T01:00:00+01:00"), stamp(0, true));
        assert_eq!(parse_timestamp("1970-01-01T00:00Z"), stamp(0, true));
        assert_eq!(parse_timestamp("1969-12-31 19:00:00.000001-0500"), stamp(1, true));
        assert_eq!(parse_timestamp("1969-12-31 23:59:59.999999"), stamp(-1, false));
        assert_eq!(parse_time("24:00:00"), Some(DAY));
        assert_eq!(write_timestamp(-1).as_deref(), Some("1969-12-31 23:59:59.999999"));
        assert_eq!(write_time(DAY).as_deref(), Some("24:00:00"));
    }

    #[test]
    fn what_is_no_date_or_time_is_none() {
        for text in [
            "",
            "1970-1-1",
            "1970-13-01",
            "1970-00-01",
            "1970-02-29",
            "1900-02-29",
            "1970-04-31",
            "+970-01-01",
            "1970/01/01",
            "۱970-01-01",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
        for text in [
            "",
            "1:00",
            "25:00",
            "24:00:01",
            "00:60",
            "00:00:60",
            "00:00:00.",
            "00:00:00.x",
            "00-00",
            "-1:00",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
        for text in [
            "now",
            "1970-01-01x00:00",
            "1970-01-01 00:00:00+1",
            "1970-01-01 00:00:00+99:00",
            "1970-01-01 00:00 CET",
            "1970-01-0é 00:00",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
        assert_eq!((write_time(-1), write_time(DAY + 1)), (None, None));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(micros in -62_167_219_200_000_000i64..253_402_300_800_000_000) {
            let text = write_timestamp(micros).unwrap();
            prop_assert_eq!(parse_timestamp(&text), Some(Timestamp { micros, zoned: false }));
        }

        #[test]
        fn no_text_makes_it_stumble(text in ".{0,30}") {
            let _ = (parse_date(&text), parse_time(&text), parse_timestamp(&text));
        }
    }
}
