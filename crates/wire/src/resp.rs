//! RESP, the protocol of Redis: commands out, replies in. RESP2 and every RESP3 type.
//!
//! Parsing borrows from the reply; a bulk string is a slice of it.
//! Source: the Redis serialization protocol specification.

use alloc::vec::Vec;
use core::fmt;

/// Replies nest at most this deep; deeper ones are refused, so that a hostile reply cannot exhaust a stack.
pub const DEPTH_MAX: usize = 32;

/// One reply.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Nothing: RESP3's null, RESP2's null bulk string and null array.
    Null,
    /// A short text, such as `OK`.
    Simple(&'a [u8]),
    /// The server's refusal, whole: `WRONGTYPE Operation against …`.
    Error(&'a [u8]),
    /// A 64-bit signed integer.
    Int(i64),
    /// Any bytes.
    Bulk(&'a [u8]),
    /// A list of replies.
    Array(Vec<Value<'a>>),
    /// RESP3: true or false.
    Bool(bool),
    /// RESP3: a floating-point number, infinities and NaN included.
    Double(f64),
    /// RESP3: an integer of any size, as decimal digits.
    BigNumber(&'a [u8]),
    /// RESP3: text with a three-letter format, such as `txt`.
    Verbatim {
        /// The three letters.
        format: &'a [u8],
        /// The text.
        text: &'a [u8],
    },
    /// RESP3: keys and values, in the server's order.
    Map(Vec<(Value<'a>, Value<'a>)>),
    /// RESP3: a list whose order means nothing.
    Set(Vec<Value<'a>>),
    /// RESP3: something the server sent unasked.
    Push(Vec<Value<'a>>),
}

/// Why bytes are not a whole reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// More bytes are needed.
    Incomplete,
    /// Not RESP.
    Malformed,
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseError::Incomplete => "the reply is cut off",
            ParseError::Malformed => "the reply is not RESP",
            ParseError::TooDeep => "the reply is nested too deep",
        })
    }
}

impl core::error::Error for ParseError {}

/// Appends one command as an array of bulk strings.
pub fn put_command(out: &mut Vec<u8>, args: &[&[u8]]) {
    put_header(out, b'*', args.len());
    for arg in args {
        put_bulk(out, arg);
    }
}

/// Appends one bulk string.
pub fn put_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    put_header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends a type byte, a length and the line end, such as `*3\r\n`.
pub fn put_header(out: &mut Vec<u8>, kind: u8, len: usize) {
    out.push(kind);
    put_decimal(out, len as u64);
    out.extend_from_slice(b"\r\n");
}

fn put_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Reads the first reply and says how many bytes it took. Attributes (RESP3's `|`) are skipped.
///
/// # Errors
/// [`ParseError::Incomplete`] when the bytes end before the reply does; the others are final.
pub fn parse(bytes: &[u8]) -> Result<(Value<'_>, usize), ParseError> {
    let mut parser = Parser { bytes, at: 0 };
    let value = parser.value(0)?;
    Ok((value, parser.at))
}

/// Reads exactly `count` replies that fill `bytes`.
///
/// # Errors
/// As [`parse`]; [`ParseError::Malformed`] also when bytes are left over.
pub fn parse_all(bytes: &[u8], count: usize) -> Result<Vec<Value<'_>>, ParseError> {
    let mut parser = Parser { bytes, at: 0 };
    // A reply takes at least three bytes, which bounds what a wrong count can allocate.
    let mut values = Vec::with_capacity(count.min(bytes.len() / 3));
    for _ in 0..count {
        values.push(parser.value(0)?);
    }
    if parser.at == bytes.len() { Ok(values) } else { Err(ParseError::Malformed) }
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: usize) -> Result<Value<'a>, ParseError> {
        if depth > DEPTH_MAX {
            return Err(ParseError::TooDeep);
        }
        let kind = *self.bytes.get(self.at).ok_or(ParseError::Incomplete)?;
        self.at += 1;
        let line = self.line()?;
        match kind {
            b'+' => Ok(Value::Simple(line)),
            b'-' => Ok(Value::Error(line)),
            b':' => Ok(Value::Int(int(line)?)),
            b'$' => Ok(self.bulk(line)?.map_or(Value::Null, Value::Bulk)),
            b'!' => Ok(self.bulk(line)?.map_or(Value::Null, Value::Error)),
            b'=' => self.verbatim(line),
            b'*' => Ok(self.list(line, depth)?.map_or(Value::Null, Value::Array)),
            b'~' => Ok(self.list(line, depth)?.map_or(Value::Null, Value::Set)),
            b'>' => Ok(self.list(line, depth)?.map_or(Value::Null, Value::Push)),
            b'%' => Ok(Value::Map(self.pairs(line, depth)?)),
            b'|' => {
                self.pairs(line, depth)?;
                self.value(depth + 1)
            }
            b'_' if line.is_empty() => Ok(Value::Null),
            b'#' if line == b"t" => Ok(Value::Bool(true)),
            b'#' if line == b"f" => Ok(Value::Bool(false)),
            b',' => Ok(Value::Double(double(line)?)),
            b'(' => Ok(Value::BigNumber(line)),
            _ => Err(ParseError::Malformed),
        }
    }

    fn line(&mut self) -> Result<&'a [u8], ParseError> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\r').ok_or(ParseError::Incomplete)?;
        match rest.get(end + 1) {
            Some(b'\n') => {
                self.at += end + 2;
                Ok(&rest[..end])
            }
            Some(_) => Err(ParseError::Malformed),
            None => Err(ParseError::Incomplete),
        }
    }

    fn bulk(&mut self, line: &[u8]) -> Result<Option<&'a [u8]>, ParseError> {
        let Some(len) = length(line)? else { return Ok(None) };
        let end = self.at.checked_add(len).ok_or(ParseError::Malformed)?;
        let after = end.checked_add(2).ok_or(ParseError::Malformed)?;
        let tail = self.bytes.get(end..after).ok_or(ParseError::Incomplete)?;
        if tail != b"\r\n" {
            return Err(ParseError::Malformed);
        }
        let bulk = &self.bytes[self.at..end];
        self.at = after;
        Ok(Some(bulk))
    }

    fn verbatim(&mut self, line: &[u8]) -> Result<Value<'a>, ParseError> {
        let bulk = self.bulk(line)?.ok_or(ParseError::Malformed)?;
        match bulk.split_at_checked(4) {
            Some((format, text)) if format[3] == b':' => Ok(Value::Verbatim { format: &format[..3], text }),
            _ => Err(ParseError::Malformed),
        }
    }

    fn list(&mut self, line: &[u8], depth: usize) -> Result<Option<Vec<Value<'a>>>, ParseError> {
        let Some(len) = length(line)? else { return Ok(None) };
        let mut values = Vec::with_capacity(self.plausible(len));
        for _ in 0..len {
            values.push(self.value(depth + 1)?);
        }
        Ok(Some(values))
    }

    fn pairs(&mut self, line: &[u8], depth: usize) -> Result<Vec<(Value<'a>, Value<'a>)>, ParseError> {
        let len = length(line)?.ok_or(ParseError::Malformed)?;
        let mut pairs = Vec::with_capacity(self.plausible(len));
        for _ in 0..len {
            pairs.push((self.value(depth + 1)?, self.value(depth + 1)?));
        }
        Ok(pairs)
    }

    /// An announced length is only believed as far as the bytes at hand could hold it.
    fn plausible(&self, len: usize) -> usize {
        len.min((self.bytes.len() - self.at) / 3)
    }
}

/// `None` is RESP2's `-1`, a null.
fn length(line: &[u8]) -> Result<Option<usize>, ParseError> {
    match int(line)? {
        -1 => Ok(None),
        len => usize::try_from(len).map(Some).map_err(|_| ParseError::Malformed),
    }
}

fn int(line: &[u8]) -> Result<i64, ParseError> {
    let text = core::str::from_utf8(line).map_err(|_| ParseError::Malformed)?;
    text.parse().map_err(|_| ParseError::Malformed)
}

fn double(line: &[u8]) -> Result<f64, ParseError> {
    let text = core::str::from_utf8(line).map_err(|_| ParseError::Malformed)?;
    text.parse().map_err(|_| ParseError::Malformed)
}
