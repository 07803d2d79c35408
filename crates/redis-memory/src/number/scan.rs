//! The grammar of C's `strtod`.

use super::extended::Bits;

/// A number as it is written. NaN is nowhere accepted and therefore not a number here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number<'a> {
    Infinite {
        negative: bool,
    },
    /// Digits with at most one point, times ten to the exponent; `text` is all of it without the sign.
    Decimal {
        negative: bool,
        text: &'a str,
        digits: &'a str,
        exponent: i64,
    },
    /// Hexadecimal digits with at most one point, times two to the exponent.
    Hex {
        negative: bool,
        digits: &'a str,
        exponent: i64,
    },
}

/// Reads the whole text as one number.
pub(crate) fn scan(text: &[u8]) -> Option<Number<'_>> {
    let text = std::str::from_utf8(text).ok()?;
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
        return Some(Number::Infinite { negative });
    }
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let (digits, exponent) = parts(hex, ['p', 'P'], |c| c.is_ascii_hexdigit())?;
        return Some(Number::Hex { negative, digits, exponent });
    }
    let (digits, exponent) = parts(unsigned, ['e', 'E'], |c| c.is_ascii_digit())?;
    Some(Number::Decimal { negative, text: unsigned, digits, exponent })
}

/// Reads a score or an increment of one; overflow and underflow to zero are refused as Redis refuses them.
pub(crate) fn double(text: &[u8]) -> Option<f64> {
    let number = scan(text)?;
    let value = number.to_double();
    let written_infinite = matches!(number, Number::Infinite { .. });
    let out_of_range = value.is_infinite() && !written_infinite || value == 0.0 && !number.is_zero();
    (!out_of_range).then_some(value)
}

impl Number<'_> {
    /// The nearest double; infinite or zero when out of range.
    pub(crate) fn to_double(self) -> f64 {
        let (negative, magnitude) = match self {
            Number::Infinite { negative } => (negative, f64::INFINITY),
            Number::Decimal { negative, text, .. } => (negative, text.parse().unwrap_or(0.0)),
            Number::Hex { negative, digits, exponent } => {
                (negative, Bits::from_hex(digits, exponent).to_double())
            }
        };
        if negative { -magnitude } else { magnitude }
    }

    /// All digits are zeros.
    pub(crate) fn is_zero(self) -> bool {
        match self {
            Number::Infinite { .. } => false,
            Number::Decimal { digits, .. } | Number::Hex { digits, .. } => {
                digits.bytes().all(|byte| matches!(byte, b'0' | b'.'))
            }
        }
    }
}

/// Splits at the exponent's letter and checks both sides.
fn parts(text: &str, letters: [char; 2], is_digit: fn(char) -> bool) -> Option<(&str, i64)> {
    let (digits, exponent) = match text.find(letters) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let points = digits.matches('.').count();
    let valid = points <= 1 && digits.len() > points && digits.chars().all(|c| c == '.' || is_digit(c));
    valid.then_some((digits, exponent))
}

/// Exponents far beyond any range are all the same.
fn exponent(text: &str) -> Option<i64> {
    const FAR: i64 = 1_000_000_000;
    let negative = text.starts_with('-');
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = digits.bytes().fold(0i64, |sum, byte| (sum * 10 + i64::from(byte - b'0')).min(FAR));
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_is_refused() {
        for bad in [
            "", "-", ".", "e5", "1e", "1e+", "--1", "1.2.3", "nan", "0x", "0x.", "0xg", " 1", "1 ", "1_0",
            "infi",
        ] {
            assert_eq!(scan(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn scores_beyond_the_range_are_refused() {
        for (text, value) in [
            ("1e400", None),
            ("1e-400", None),
            ("0e400", Some(0.0)),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("0x10", Some(16.0)),
            ("0x1p-2", Some(0.25)),
            ("0x1.8p1", Some(3.0)),
            ("0x1p5000", None),
            ("+.5", Some(0.5)),
            ("5.", Some(5.0)),
        ] {
            assert_eq!(double(text.as_bytes()), value, "{text}");
        }
    }
}
