//! What a plain (unquoted) scalar means: the YAML 1.2 core schema.

use super::Value;

/// Null, boolean, integer, number, or else text.
pub(super) fn resolve(text: &str) -> Result<Value, &'static str> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Boolean(true),
        "false" | "False" | "FALSE" => Value::Boolean(false),
        _ => number(text)?.unwrap_or_else(|| Value::Text(text.to_owned())),
    })
}

fn number(text: &str) -> Result<Option<Value>, &'static str> {
    const RANGE: &str = "a number is out of range; quote it to make it a string";
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let radix =
        |digits: &str, radix| i128::from_str_radix(digits, radix).map(Value::Integer).map_err(|_| RANGE);
    if let Some(digits) =
        text.strip_prefix("0x").filter(|digits| all(digits, |byte| byte.is_ascii_hexdigit()))
    {
        return radix(digits, 16).map(Some);
    }
    if let Some(digits) =
        text.strip_prefix("0o").filter(|digits| all(digits, |byte| (b'0'..=b'7').contains(&byte)))
    {
        return radix(digits, 8).map(Some);
    }
    if all(unsigned, |byte| byte.is_ascii_digit()) {
        return radix(text, 10).map(Some);
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err("a number is not finite; quote it to make it a string");
    }
    let fractional = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    let begins = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    match text.parse::<f64>() {
        Ok(value) if begins && all(unsigned, fractional) && value.is_finite() => {
            Ok(Some(Value::Float(value)))
        }
        Ok(_) if begins && all(unsigned, fractional) => Err(RANGE),
        _ => Ok(None),
    }
}

fn all(text: &str, belongs: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(belongs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_does_not_fit_is_refused() {
        for text in
            ["9".repeat(60), format!("0x{}", "f".repeat(60)), "1e999".into(), ".inf".into(), ".nan".into()]
        {
            assert!(resolve(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn text_that_only_looks_like_a_number_stays_text() {
        for text in
            ["127.0.0.1", "127.0.0.1:80", "-", "+", ".", "1-2", "e5", "0x", "1_000", "50ms", "inf", "0b1"]
        {
            assert_eq!(resolve(text), Ok(Value::Text(text.to_owned())));
        }
    }

    #[test]
    fn the_core_schema_holds() {
        assert_eq!(resolve("~"), Ok(Value::Null));
        assert_eq!(resolve("yes"), Ok(Value::Text("yes".to_owned())));
        assert_eq!(resolve("True"), Ok(Value::Boolean(true)));
        assert_eq!(resolve("-017"), Ok(Value::Integer(-17)));
        assert_eq!(resolve("0o17"), Ok(Value::Integer(15)));
        assert_eq!(resolve("0xfF"), Ok(Value::Integer(255)));
        assert_eq!(resolve("-1.5e3"), Ok(Value::Float(-1500.0)));
        assert_eq!(resolve(".5"), Ok(Value::Float(0.5)));
    }
}
