//! The 80-bit floating point of x86, in which Redis adds INCRBYFLOAT and HINCRBYFLOAT.
//!
//! With plain doubles 0.1 + 0.2 would print as 0.30000000000000004; Redis answers 0.3.

use std::cmp::Ordering;

use super::scan::{Number, scan};

mod big;

use big::Big;

/// Text of this length or longer is not a number.
const TEXT_BYTES_MAX: usize = 5 * 1024;
/// Values reach to just below two to this power.
const EXPONENT_MAX: i64 = 16384;
/// Values at or below two to this power round to zero.
const EXPONENT_MIN: i64 = -16446;

/// A number of the 80-bit format, with an exponent that has no lower bound: numbers below the format's range
/// print as zero either way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Extended {
    Infinite,
    Finite { negative: bool, bits: Bits },
}

/// `mantissa` times two to the `exponent`. The top bit of a mantissa other than zero is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bits {
    mantissa: u64,
    exponent: i64,
}

impl Extended {
    pub(crate) const ZERO: Self = Extended::Finite { negative: false, bits: Bits::ZERO };

    /// Reads what Redis reads. Too large a number is refused, and one too small to differ from zero.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= TEXT_BYTES_MAX {
            return None;
        }
        let number = scan(text)?;
        let (negative, bits) = match number {
            Number::Infinite { .. } => return Some(Extended::Infinite),
            Number::Decimal { negative, digits, exponent, .. } => {
                (negative, Bits::from_decimal(digits, exponent)?)
            }
            Number::Hex { negative, digits, exponent } => (negative, Bits::from_hex(digits, exponent)),
        };
        if !number.is_zero() && (bits.is_too_large() || bits.rounds_to_zero()) {
            return None;
        }
        Some(Extended::Finite { negative, bits })
    }

    pub(crate) fn is_infinite(self) -> bool {
        self == Extended::Infinite
    }

    /// The sum, rounded to the nearest, to even when half-way.
    pub(crate) fn plus(self, other: Self) -> Self {
        let (Extended::Finite { negative, bits: a }, Extended::Finite { negative: other_negative, bits: b }) =
            (self, other)
        else {
            return Extended::Infinite;
        };
        let ((negative, large), (small_negative, small)) = if a.cmp_magnitude(b).is_ge() {
            ((negative, a), (other_negative, b))
        } else {
            ((other_negative, b), (negative, a))
        };
        let bits = large.combine(small, negative != small_negative);
        if bits.is_too_large() { Extended::Infinite } else { Extended::Finite { negative, bits } }
    }

    /// As C's `%.17Lf` without the zeros at the end.
    pub(crate) fn format(self) -> String {
        let Extended::Finite { negative, bits } = self else { return "inf".into() };
        let magnitude = bits.format();
        if negative && magnitude != "0" { format!("-{magnitude}") } else { magnitude }
    }
}

impl Bits {
    const ZERO: Self = Bits { mantissa: 0, exponent: 0 };

    /// Rounds to 64 bits. `sticky` says that there is more below the last bit.
    fn round(value: u128, exponent: i64, sticky: bool) -> Self {
        if value == 0 {
            return Bits::ZERO;
        }
        let len = 128 - value.leading_zeros();
        if len <= 64 {
            let shift = 64 - len;
            return Bits { mantissa: (value as u64) << shift, exponent: exponent - i64::from(shift) };
        }
        let drop = len - 64;
        let (rounded, _) = shift_right_rounding(value, drop, sticky);
        // Rounding up can carry into a 65th bit.
        match u64::try_from(rounded) {
            Ok(mantissa) => Bits { mantissa, exponent: exponent + i64::from(drop) },
            Err(_) => Bits { mantissa: 1 << 63, exponent: exponent + i64::from(drop) + 1 },
        }
    }

    /// `None` when the value is out of range by so much that it need not be computed.
    fn from_decimal(digits: &str, exponent: i64) -> Option<Self> {
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let significant: Vec<u8> = whole
            .bytes()
            .chain(fraction.bytes())
            .skip_while(|byte| *byte == b'0')
            .map(|byte| byte - b'0')
            .collect();
        if significant.is_empty() {
            return Some(Bits::ZERO);
        }
        let exponent = exponent - fraction.len() as i64;
        let size = exponent + significant.len() as i64;
        if !(-5000..=5000).contains(&size) {
            return None;
        }
        let value = Big::from_digits(&significant);
        let power = Big::power_of_ten(exponent.unsigned_abs());
        Some(if exponent >= 0 {
            let (top, shift, sticky) = value.times(&power).top_bits();
            Bits::round(top, shift, sticky)
        } else {
            let (quotient, shift, sticky) = value.divided_by(&power);
            Bits::round(quotient, shift, sticky)
        })
    }

    pub(crate) fn from_hex(digits: &str, exponent: i64) -> Self {
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mut exponent = exponent - 4 * fraction.len() as i64;
        let (mut value, mut sticky) = (0u128, false);
        for digit in whole.chars().chain(fraction.chars()).filter_map(|digit| digit.to_digit(16)) {
            if value >> 120 == 0 {
                value = value << 4 | u128::from(digit);
            } else {
                exponent += 4;
                sticky |= digit != 0;
            }
        }
        Bits::round(value, exponent, sticky)
    }

    pub(crate) fn to_double(self) -> f64 {
        if self.mantissa == 0 || self.exponent < -1200 {
            return 0.0;
        }
        if self.exponent > 1024 {
            return f64::INFINITY;
        }
        // The conversion rounds to 53 bits. Scaling is exact unless the result is tiny, and goes in two steps
        // so that the factor stays in range.
        let half = (self.exponent / 2) as i32;
        let rest = self.exponent as i32 - half;
        self.mantissa as f64 * 2f64.powi(half) * 2f64.powi(rest)
    }

    fn is_too_large(self) -> bool {
        self.mantissa != 0 && self.exponent + 64 > EXPONENT_MAX
    }

    fn rounds_to_zero(self) -> bool {
        let power = self.exponent + 63;
        self.mantissa == 0 || power < EXPONENT_MIN || power == EXPONENT_MIN && self.mantissa == 1 << 63
    }

    fn cmp_magnitude(self, other: Self) -> Ordering {
        match (self.mantissa, other.mantissa) {
            (0, _) | (_, 0) => self.mantissa.cmp(&other.mantissa),
            _ => self.exponent.cmp(&other.exponent).then(self.mantissa.cmp(&other.mantissa)),
        }
    }

    /// Adds or subtracts a number that is not larger.
    fn combine(self, small: Self, subtract: bool) -> Self {
        if small.mantissa == 0 {
            return self;
        }
        // 63 bits below the larger mantissa, one above it for the carry.
        let large = u128::from(self.mantissa) << 63;
        let aligned = u128::from(small.mantissa) << 63;
        let distance = u32::try_from(self.exponent - small.exponent).unwrap_or(u32::MAX);
        let shifted = aligned.checked_shr(distance).unwrap_or(0);
        let sticky = shifted.checked_shl(distance).unwrap_or(0) != aligned;
        let exponent = self.exponent - 63;
        match (subtract, sticky) {
            (false, _) => Bits::round(large + shifted, exponent, sticky),
            (true, false) => Bits::round(large - shifted, exponent, false),
            // What was cut off makes the difference smaller: one less, and some more below.
            (true, true) => Bits::round(large - shifted - 1, exponent, true),
        }
    }

    fn format(self) -> String {
        if self.mantissa == 0 {
            return "0".into();
        }
        if let Ok(shift) = usize::try_from(self.exponent) {
            return Big::shifted(self.mantissa, shift).to_string();
        }
        const SCALE: u128 = 100_000_000_000_000_000;
        let shift = u32::try_from(-self.exponent).unwrap_or(u32::MAX);
        let (scaled, _) = shift_right_rounding(u128::from(self.mantissa) * SCALE, shift, false);
        let text = format!("{}.{:017}", scaled / SCALE, scaled % SCALE);
        text.trim_end_matches('0').trim_end_matches('.').into()
    }
}

/// Drops bits, rounding to the nearest, to even when half-way; also says whether anything was lost.
fn shift_right_rounding(value: u128, drop: u32, sticky: bool) -> (u128, bool) {
    let Some(kept) = value.checked_shr(drop) else { return (0, true) };
    if drop == 0 {
        return (kept, sticky);
    }
    let lost = value & (u128::MAX >> (128 - drop));
    let half = 1u128 << (drop - 1);
    let up = match lost.cmp(&half) {
        Ordering::Less => false,
        Ordering::Equal => sticky || kept & 1 == 1,
        Ordering::Greater => true,
    };
    (kept + u128::from(up), sticky || lost != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        let parse = |text: &str| Extended::parse(text.as_bytes()).unwrap();
        parse(a).plus(parse(b)).format()
    }

    #[test]
    fn sums_are_those_of_redis() {
        for (a, b, expected) in [
            ("0.1", "0.2", "0.3"),
            ("3.0e3", "200", "3200"),
            ("5", "-5", "0"),
            ("-0", "-0", "0"),
            ("1e-18", "0", "0"),
            ("1", "1e-17", "1.00000000000000001"),
            ("-1.5", "1", "-0.5"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("18446744073709551616", "1", "18446744073709551616"),
            ("10.5", "0.1", "10.6"),
            ("0x1p-2", "0", "0.25"),
            ("1e-4940", "0", "0"),
        ] {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
        }
        assert!(sum("1e4932", "0").starts_with("100000000000000000000601894938796389132383777425453311"));
        assert_eq!(sum("1e4932", "0").len(), 4933);
    }

    #[test]
    fn what_is_out_of_range_is_refused_or_infinite() {
        for bad in ["1e4933", "1e-4952", "1e999999999999999999", "nan", "", "1 "] {
            assert_eq!(Extended::parse(bad.as_bytes()), None, "{bad}");
        }
        let max = Extended::parse(b"1.18973149535723176502e4932").unwrap();
        assert!(max.plus(max).is_infinite());
        assert!(Extended::parse(b"-inf").unwrap().is_infinite());
        assert!(Extended::parse(&[b'1'; TEXT_BYTES_MAX]).is_none());
    }
}
