//! A small JSON reader, for a plugin's configuration (RFC 8259).
//!
//! A general JSON crate costs a filter several times the 10 KB of this one; a filter that does not use it pays nothing.
//! [`parse`] gives the values as they stand; [`Fields`] takes a configuration apart and names every mistake by its path.

mod fields;

use std::fmt;

pub use self::fields::{Field, Fields, Mistake};

/// Values nest at most this deep.
const DEPTH_MAX: usize = 32;

/// A JSON value.
///
/// ```
/// use agw_sdk::json::{Json, parse};
///
/// # fn f() -> Result<(), agw_sdk::json::Problem> {
/// let Json::Object(fields) = parse(br#"{"limit": 5}"#)? else { return Ok(()) };
/// assert_eq!(fields[0].0, "limit");
/// assert_eq!(fields[0].1.whole(), Some(5));
/// # Ok(())
/// # }
/// # f().unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it was written. Reading it as what it shall be is up to its reader.
    Number(String),
    /// A string without its escapes.
    String(String),
    /// A list.
    Array(Vec<Json>),
    /// Fields in the order of the text; no two have the same name.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The number, if it is a whole one that fits and is written without point and exponent.
    ///
    /// ```
    /// use agw_sdk::json::Json;
    ///
    /// assert_eq!(Json::Number("5".into()).whole(), Some(5));
    /// assert_eq!(Json::Number("5.0".into()).whole(), None);
    /// assert_eq!(Json::String("5".into()).whole(), None);
    /// ```
    pub fn whole(&self) -> Option<i64> {
        match self {
            Json::Number(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// Why a text is not JSON, and where.
///
/// ```
/// use agw_sdk::json::parse;
///
/// let problem = parse(b"{\n  limit: 5\n}").unwrap_err();
/// assert_eq!(problem.to_string(), "line 2, column 3: a field begins with a quote");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    line: usize,
    column: usize,
    what: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)
    }
}

impl std::error::Error for Problem {}

/// Reads one JSON value and nothing after it.
///
/// # Errors
/// [`Problem`] for anything else, for a field that stands twice, and for values nested deeper than 32.
///
/// ```
/// use agw_sdk::json::{Json, parse};
///
/// assert_eq!(parse(b"[true, null]"), Ok(Json::Array(vec![Json::Bool(true), Json::Null])));
/// assert!(parse(b"[true,]").is_err());
/// ```
pub fn parse(bytes: &[u8]) -> Result<Json, Problem> {
    let mut reader = Reader { bytes, at: 0 };
    let whole = reader.value(0).and_then(|value| match reader.peek() {
        None => Ok(value),
        Some(_) => Err("there is more after the value"),
    });
    whole.map_err(|what| reader.problem(what))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn problem(&self, what: &'static str) -> Problem {
        let read = &self.bytes[..self.at.min(self.bytes.len())];
        let line = read.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = read.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        Problem { line, column, what }
    }

    /// The next byte that is not white space; it stays the next.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// Passes over this byte if it is the next that is not white space.
    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Result<Json, &'static str> {
        if depth > DEPTH_MAX {
            return Err("this is nested too deep");
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true", Json::Bool(true)),
            Some(b'f') => self.word(b"false", Json::Bool(false)),
            Some(b'n') => self.word(b"null", Json::Null),
            Some(_) => Err("no value begins like this"),
            None => Err("a value is missing"),
        }
    }

    fn word(&mut self, word: &[u8], value: Json) -> Result<Json, &'static str> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err("no value begins like this");
        }
        self.at += word.len();
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Json, &'static str> {
        self.at += 1;
        let mut fields: Vec<(String, Json)> = Vec::new();
        if self.eat(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err("a field begins with a quote");
            }
            let name = self.string()?;
            if fields.iter().any(|(known, _)| *known == name) {
                return Err("this field stands twice");
            }
            if !self.eat(b':') {
                return Err("a colon is missing");
            }
            fields.push((name, self.value(depth + 1)?));
            if self.eat(b'}') {
                return Ok(Json::Object(fields));
            }
            if !self.eat(b',') {
                return Err("a comma or a closing brace is missing");
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, &'static str> {
        self.at += 1;
        let mut values = Vec::new();
        if self.eat(b']') {
            return Ok(Json::Array(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            if self.eat(b']') {
                return Ok(Json::Array(values));
            }
            if !self.eat(b',') {
                return Err("a comma or a closing bracket is missing");
            }
        }
    }

    fn number(&mut self) -> Result<Json, &'static str> {
        let start = self.at;
        self.at += usize::from(self.is_next(b"-"));
        if self.is_next(b"0") {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.is_next(b".") {
            self.at += 1;
            self.digits()?;
        }
        if self.is_next(b"eE") {
            self.at += 1;
            self.at += usize::from(self.is_next(b"+-"));
            self.digits()?;
        }
        Ok(Json::Number(String::from_utf8_lossy(&self.bytes[start..self.at]).into()))
    }

    fn is_next(&self, any: &[u8]) -> bool {
        self.bytes.get(self.at).is_some_and(|byte| any.contains(byte))
    }

    fn digits(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        while self.is_next(b"0123456789") {
            self.at += 1;
        }
        if self.at == start { Err("a digit is missing") } else { Ok(()) }
    }

    fn string(&mut self) -> Result<String, &'static str> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let byte = *self.bytes.get(self.at).ok_or("the string does not end")?;
            self.at += 1;
            match byte {
                b'"' => return String::from_utf8(text).map_err(|_| "the string is not UTF-8"),
                b'\\' => self.escape(&mut text)?,
                0..=0x1f => return Err("a control character must be escaped"),
                byte => text.push(byte),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), &'static str> {
        const UNKNOWN: &str = "there is no such escape";
        let byte = *self.bytes.get(self.at).ok_or(UNKNOWN)?;
        self.at += 1;
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.unicode(text),
            _ => return Err(UNKNOWN),
        };
        text.push(plain);
        Ok(())
    }

    /// `\uXXXX`, or two of them that are halves of one character.
    fn unicode(&mut self, text: &mut Vec<u8>) -> Result<(), &'static str> {
        let mut code = self.hex()?;
        if (0xd800..0xdc00).contains(&code) && self.bytes[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let low = self.hex()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err("half a character is missing");
            }
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
        let char = char::from_u32(code).ok_or("half a character is missing")?;
        text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, &'static str> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.bytes.get(self.at).and_then(|byte| char::from(*byte).to_digit(16));
            code = code * 16 + digit.ok_or("four hexadecimal digits are missing")?;
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests;
