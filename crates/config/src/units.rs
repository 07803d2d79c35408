//! Durations and sizes as documents write them, and the bounds that every number has.

use std::time::Duration;

pub(crate) const KIB: u64 = 1024;
pub(crate) const MIB: u64 = 1024 * KIB;
pub(crate) const GIB: u64 = 1024 * MIB;

pub(crate) const MS: u64 = 1;
pub(crate) const SECOND: u64 = 1000 * MS;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// Least, default and greatest value of a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) min: u64,
    pub(crate) default: u64,
    pub(crate) max: u64,
    pub(crate) unit: Unit,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things: a plain integer.
    Count,
    /// Bytes: `64KiB`, or a plain integer.
    Bytes,
    /// Milliseconds: `50ms`.
    Time,
}

impl Bounds {
    pub(crate) const fn count(min: u64, default: u64, max: u64) -> Self {
        Bounds { min, default, max, unit: Unit::Count }
    }

    pub(crate) const fn bytes(min: u64, default: u64, max: u64) -> Self {
        Bounds { min, default, max, unit: Unit::Bytes }
    }

    pub(crate) const fn time(min: u64, default: u64, max: u64) -> Self {
        Bounds { min, default, max, unit: Unit::Time }
    }

    /// The default of a duration.
    pub(crate) const fn default_duration(self) -> Duration {
        Duration::from_millis(self.default)
    }

    /// The default of a count or size, all of which fit.
    pub(crate) const fn default_usize(self) -> usize {
        self.default as usize
    }

    /// The same for bounds within 32 bits.
    pub(crate) const fn default_u32(self) -> u32 {
        self.default as u32
    }

    /// The same bounds with another default, moved into them.
    pub(crate) fn or(self, default: u64) -> Self {
        Bounds { default: default.clamp(self.min, self.max), ..self }
    }

    /// `Write a size from 8KiB to 1MiB`.
    pub(crate) fn hint(self) -> String {
        let (kind, example) = match self.unit {
            Unit::Count => ("a number", ""),
            Unit::Bytes => ("a size", ", such as 64KiB"),
            Unit::Time => ("a duration", ", such as 50ms, 10s or 5m"),
        };
        format!("Write {kind} from {} to {}{example}", self.unit.show(self.min), self.unit.show(self.max))
    }

    /// `8KiB to 1MiB`.
    pub(crate) fn show(self) -> String {
        format!("{} to {}", self.unit.show(self.min), self.unit.show(self.max))
    }
}

impl Unit {
    /// As a document would write it.
    pub(crate) fn show(self, value: u64) -> String {
        let units: &[(&str, u64)] = match self {
            Unit::Count => &[],
            Unit::Bytes => &[("GiB", GIB), ("MiB", MIB), ("KiB", KIB)],
            Unit::Time => &[("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", MS)],
        };
        let whole = units.iter().find(|(_, size)| value >= *size && value.is_multiple_of(*size));
        match (whole, self) {
            (Some((unit, size)), _) => format!("{}{unit}", value / size),
            (None, Unit::Time) => format!("{value}ms"),
            (None, _) => value.to_string(),
        }
    }

    /// Reads `50ms` or `64KiB`: digits and a unit, nothing between. A number too large for 64 bits reads as the
    /// largest, which no bounds admit.
    pub(crate) fn parse(self, text: &str) -> Option<u64> {
        let digits = text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let size = match (self, unit) {
            (Unit::Count, "") | (Unit::Bytes, "" | "B") | (Unit::Time, "ms") => 1,
            (Unit::Bytes, "KiB") => KIB,
            (Unit::Bytes, "MiB") => MIB,
            (Unit::Bytes, "GiB") => GIB,
            (Unit::Time, "s") => SECOND,
            (Unit::Time, "m") => MINUTE,
            (Unit::Time, "h") => HOUR,
            _ => return None,
        };
        if number.is_empty() {
            return None;
        }
        Some(number.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(size))
    }
}

/// A duration as a document would write it.
pub(crate) fn show_duration(duration: Duration) -> String {
    Unit::Time.show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_digits_and_a_unit_is_refused() {
        for text in ["", "ms", "50", "50 ms", "-1s", "1.5s", "1d", "50MS", "٣s", "5ms5", "+5s"] {
            assert_eq!(Unit::Time.parse(text), None, "{text}");
        }
        for text in ["", "KiB", "64 KiB", "64K", "64KB", "64kb", "-1", "1e3"] {
            assert_eq!(Unit::Bytes.parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_too_large_is_the_largest_instead_of_wrapping() {
        assert_eq!(Unit::Bytes.parse(&format!("{}GiB", u64::MAX)), Some(u64::MAX));
        assert_eq!(Unit::Time.parse(&"9".repeat(400)), None);
        assert_eq!(Unit::Time.parse(&format!("{}h", "9".repeat(400))), Some(u64::MAX));
    }

    #[test]
    fn what_is_shown_reads_back() {
        for value in [0, 1, 999, 1000, 1024, 1500, 60_000, 90_000, 3_600_000, 65_536, GIB, GIB + 1] {
            assert_eq!(Unit::Time.parse(&Unit::Time.show(value)), Some(value));
            assert_eq!(Unit::Bytes.parse(&Unit::Bytes.show(value)), Some(value));
        }
        assert_eq!(Unit::Time.show(50), "50ms");
        assert_eq!(Unit::Bytes.show(65_536), "64KiB");
    }
}
