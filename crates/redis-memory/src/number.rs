//! Numbers as Redis 7.0 reads and prints them.

pub(crate) mod extended;
mod scan;

pub(crate) use scan::double;
use scan::{Number, scan};

/// Reads a 64-bit integer in its one canonical form: no plus, no leading zeros, no spaces.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        b"0" => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Prints a score as C's `%.17g` does, which is what Redis 7.0 replies.
pub(crate) fn format_double(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return if value.is_nan() {
            "nan".into()
        } else if value == 0.0 {
            if value.is_sign_negative() { "-0".into() } else { "0".into() }
        } else {
            if value > 0.0 { "inf".into() } else { "-inf".into() }
        };
    }
    let scientific = format!("{:.16e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_end_matches('0');
    let sign = if value < 0.0 { "-" } else { "" };
    if (-4..17).contains(&exponent) {
        format!("{sign}{}", with_point(digits, exponent))
    } else {
        let mantissa = with_point(digits, 0);
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        format!("{sign}{mantissa}e{exponent_sign}{:02}", exponent.abs())
    }
}

/// Prints a score as Redis keeps it in a small sorted set, where whole numbers are integers.
pub(crate) fn format_stored_score(value: f64) -> String {
    const WHOLE_MAX: f64 = (i64::MAX / 2) as f64;
    if value.abs() <= WHOLE_MAX && value.fract() == 0.0 {
        return (value as i64).to_string();
    }
    format_double(value)
}

/// `digits` have the value 1 to 10 times ten to the exponent.
fn with_point(digits: &str, exponent: i32) -> String {
    let Ok(before) = usize::try_from(exponent + 1) else {
        let zeros = usize::try_from(-1 - exponent).unwrap_or(0);
        return format!("0.{}{digits}", "0".repeat(zeros));
    };
    match digits.split_at_checked(before) {
        Some((whole, "")) => whole.into(),
        Some(("", fraction)) => format!("0.{fraction}"),
        Some((whole, fraction)) => format!("{whole}.{fraction}"),
        None => format!("{digits}{}", "0".repeat(before - digits.len())),
    }
}

/// Reads a bound of a score range, without its parenthesis: spaces may lead, the text ends at a zero byte, and
/// what is too large or too small becomes infinite or zero.
pub(crate) fn score_bound(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r'))?;
    scan(&text[start..]).map(Number::to_double)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_form() {
        for bad in ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "-01", "a"] {
            assert_eq!(integer(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer(b"0"), Some(0));
    }

    #[test]
    fn doubles_print_with_seventeen_digits() {
        for (value, text) in [
            (0.1, "0.10000000000000001"),
            (-1.5, "-1.5"),
            (1e17, "1e+17"),
            (12345678901234567.0, "12345678901234568"),
            (1e16, "10000000000000000"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::NEG_INFINITY, "-inf"),
            (-0.0, "-0"),
            // Half-way between two of 17 digits: to the even one.
            (2f64.powi(-25), "2.9802322387695312e-08"),
        ] {
            assert_eq!(format_double(value), text);
        }
    }

    #[test]
    fn bounds_are_read_as_the_c_library_reads_them() {
        assert_eq!(score_bound(b""), Some(0.0));
        assert_eq!(score_bound(b" 5"), Some(5.0));
        assert_eq!(score_bound(b"5 "), None);
        assert_eq!(score_bound(b" "), None);
        assert_eq!(score_bound(b"5\0x"), Some(5.0));
        assert_eq!(score_bound(b"1e999"), Some(f64::INFINITY));
        assert_eq!(score_bound(b"-1e-999"), Some(-0.0));
        assert_eq!(score_bound(b"nan"), None);
    }
}
