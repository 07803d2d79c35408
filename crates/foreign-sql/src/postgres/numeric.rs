//! `numeric`: the server's digits to the base 10000, and exact text.

use std::fmt::Write;

use super::decode::Reader;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// What a `numeric` holds before and behind the point.
const WHOLE_MAX: usize = 131_072;
const FRACTION_MAX: usize = 16_383;

/// `None` for bytes that are no numeric.
pub(crate) fn to_text(raw: &[u8]) -> Option<String> {
    let mut reader = Reader::new(raw);
    let count = usize::from(reader.u16()?);
    let weight = i32::from(reader.i16()?);
    let (sign, scale) = (reader.u16()?, usize::from(reader.u16()?));
    match sign {
        NAN => return Some("NaN".to_owned()),
        INFINITY => return Some("Infinity".to_owned()),
        MINUS_INFINITY => return Some("-Infinity".to_owned()),
        POSITIVE | NEGATIVE => {}
        _ => return None,
    }
    let digits =
        (0..count).map(|_| reader.u16().filter(|digit| *digit < 10_000)).collect::<Option<Vec<_>>>()?;
    let digit = |place: i32| usize::try_from(place).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
    let mut text = String::with_capacity(scale + 8);
    if sign == NEGATIVE {
        text.push('-');
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", if weight < 0 { 0 } else { digit(0) });
    for place in 1..=weight {
        let _ = write!(text, "{:04}", digit(place));
    }
    if scale > 0 {
        text.push('.');
        let end = text.len() + scale;
        let mut place = weight + 1;
        // Of 0.00001234 the first digit's place is negative: those before it are zeros.
        let mut zeros = if weight < 0 { -1 - weight } else { 0 };
        if weight < 0 {
            place = 0;
        }
        while text.len() < end {
            let value = if zeros > 0 { 0 } else { digit(place) };
            if zeros > 0 {
                zeros -= 1
            } else {
                place += 1
            }
            let _ = write!(text, "{value:04}");
        }
        text.truncate(end);
    }
    Some(text)
}

/// Appends the binary form of a decimal cell's text, which the wire has checked.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn put(text: &str, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let special = match text {
        "NaN" => Some(NAN),
        "Infinity" => Some(INFINITY),
        "-Infinity" => Some(MINUS_INFINITY),
        _ => None,
    };
    if let Some(sign) = special {
        put_header(out, 0, 0, sign, 0);
        return Ok(());
    }
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (POSITIVE, text),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let whole = whole.trim_start_matches('0');
    if whole.len() > WHOLE_MAX || fraction.len() > FRACTION_MAX {
        return Err("a numeric has at most 131072 digits before the point and 16383 behind it");
    }
    let lead = (4 - whole.len() % 4) % 4;
    let decimal = std::iter::repeat_n(b'0', lead).chain(whole.bytes()).chain(fraction.bytes());
    let tail = (4 - fraction.len() % 4) % 4;
    let decimal: Vec<u8> = decimal.chain(std::iter::repeat_n(b'0', tail)).collect();
    let group = |group: &[u8]| group.iter().fold(0u16, |value, digit| value * 10 + u16::from(digit - b'0'));
    let mut digits: Vec<u16> = decimal.chunks(4).map(group).collect();
    let mut weight = i16::try_from(whole.len().div_ceil(4)).unwrap_or(i16::MAX) - 1;
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros);
    weight = weight.saturating_sub(i16::try_from(zeros).unwrap_or(i16::MAX));
    if digits.is_empty() {
        weight = 0;
    }
    let sign = if digits.is_empty() { POSITIVE } else { sign };
    let count = u16::try_from(digits.len()).unwrap_or(u16::MAX);
    put_header(out, count, weight, sign, u16::try_from(fraction.len()).unwrap_or(u16::MAX));
    digits.iter().for_each(|digit| out.extend_from_slice(&digit.to_be_bytes()));
    Ok(())
}

fn put_header(out: &mut Vec<u8>, count: u16, weight: i16, sign: u16, scale: u16) {
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(text: &str) -> String {
        let mut raw = Vec::new();
        put(text, &mut raw).unwrap();
        to_text(&raw).unwrap()
    }

    #[test]
    fn digits_scale_and_words_are_kept() {
        for text in [
            "0",
            "1",
            "-1",
            "10",
            "10000",
            "9999",
            "100000000",
            "1.50",
            "-0.5",
            "0.0001",
            "0.00001",
            "0.00010000",
            "12345.67890",
            "0.00000000000000000001",
            "1000000.0000001",
            "NaN",
            "Infinity",
            "-Infinity",
            "0.00",
        ] {
            assert_eq!(there_and_back(text), text);
        }
        assert_eq!(there_and_back("007.10"), "7.10");
        assert_eq!(there_and_back("-0.0"), "0.0");
        assert!(put(&"1".repeat(131_073), &mut Vec::new()).is_err());
        assert!(put(&format!("0.{}", "1".repeat(16_384)), &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn any_decimal_reads_back(negative: bool, whole in "[1-9][0-9]{0,40}|0", fraction in "[0-9]{0,40}") {
            let sign = if negative && (whole != "0" || fraction.bytes().any(|digit| digit != b'0')) { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            let text = format!("{sign}{whole}{point}{fraction}");
            prop_assert_eq!(there_and_back(&text), text);
        }

        #[test]
        fn no_bytes_make_it_stumble(raw: Vec<u8>) {
            let _ = to_text(&raw);
        }
    }
}
