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
    // Built first and written at once, for each write looks whether there is room.
    let mut head = [b'\r'; DIGITS_MAX + 3];
    head[DIGITS_MAX + 2] = b'\n';
    let at = decimal_before(&mut head, DIGITS_MAX + 1, len as u64) - 1;
    head[at] = kind;
    out.extend_from_slice(&head[at..]);
}

/// Appends a number in decimal. In a guest `core::fmt` costs many times this.
pub fn put_decimal(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; DIGITS_MAX];
    let at = decimal_before(&mut digits, DIGITS_MAX, value);
    out.extend_from_slice(&digits[at..]);
}

/// Decimal digits of the largest number.
const DIGITS_MAX: usize = 20;

/// Writes a number that ends before `end`, and says where it begins.
fn decimal_before(text: &mut [u8], end: usize, mut value: u64) -> usize {
    let mut at = end;
    loop {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return at;
        }
    }
}

/// Reads a number as RESP writes it: decimal digits, perhaps behind a sign. `None` for anything else, and for what a
/// signed number of 64 bits does not hold.
pub fn decimal(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    // Below zero there is one number more.
    let mut value = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // A checked multiplication is one of 128 bits in a guest.
        if value < i64::MIN / 10 {
            return None;
        }
        value = (value * 10).checked_sub(digit.into())?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// Reads the first reply and says how many bytes it took. Attributes (RESP3's `|`) are skipped.
///
/// # Errors
/// [`ParseError::Incomplete`] when the bytes end before the reply does; the others are final.
pub fn parse(bytes: &[u8]) -> Result<(Value<'_>, usize), ParseError> {
    let mut parser = Parser::new(bytes);
    let value = parser.value(0)?;
    Ok((value, parser.cursor.position()))
}

/// Reads exactly `count` replies that fill `bytes`.
///
/// # Errors
/// As [`parse`]; [`ParseError::Malformed`] also when bytes are left over.
pub fn parse_all(bytes: &[u8], count: usize) -> Result<Vec<Value<'_>>, ParseError> {
    let mut parser = Parser::new(bytes);
    // A reply takes at least three bytes, which bounds what a wrong count can allocate.
    let mut values = Vec::with_capacity(count.min(bytes.len() / 3));
    for _ in 0..count {
        values.push(parser.value(0)?);
    }
    if parser.cursor.rest().is_empty() { Ok(values) } else { Err(ParseError::Malformed) }
}

/// What a reply begins with: the whole of a scalar, or how many replies follow.
///
/// Numbers with a point stay text, so that a guest which reads none carries no parser for them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Head<'a> {
    /// As [`Value::Null`].
    Null,
    /// As [`Value::Simple`].
    Simple(&'a [u8]),
    /// As [`Value::Error`].
    Error(&'a [u8]),
    /// As [`Value::Int`].
    Int(i64),
    /// As [`Value::Bulk`].
    Bulk(&'a [u8]),
    /// As [`Value::Bool`].
    Bool(bool),
    /// As [`Value::Double`], not yet read.
    Double(&'a [u8]),
    /// As [`Value::BigNumber`].
    BigNumber(&'a [u8]),
    /// As [`Value::Verbatim`].
    Verbatim {
        /// The three letters.
        format: &'a [u8],
        /// The text.
        text: &'a [u8],
    },
    /// That many replies follow.
    Array(usize),
    /// That many pairs of replies follow.
    Map(usize),
    /// That many replies follow.
    Set(usize),
    /// That many replies follow.
    Push(usize),
    /// RESP3: that many pairs follow, and then the reply that they describe.
    Attribute(usize),
}

/// Reads replies head by head, without building anything. [`parse`] is made of it.
///
/// An announced length is not checked against the bytes at hand: do not allocate by it alone.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes that were not read yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next head.
    ///
    /// # Errors
    /// [`ParseError::Incomplete`] at the end of the bytes, [`ParseError::Malformed`] for what is not RESP.
    pub fn head(&mut self) -> Result<Head<'a>, ParseError> {
        let kind = *self.bytes.get(self.at).ok_or(ParseError::Incomplete)?;
        self.at += 1;
        let line = self.line()?;
        match kind {
            b'+' => Ok(Head::Simple(line)),
            b'-' => Ok(Head::Error(line)),
            b':' => Ok(Head::Int(int(line)?)),
            b'$' => Ok(self.bulk(line)?.map_or(Head::Null, Head::Bulk)),
            b'!' => Ok(self.bulk(line)?.map_or(Head::Null, Head::Error)),
            b'=' => self.verbatim(line),
            b'*' => Ok(length(line)?.map_or(Head::Null, Head::Array)),
            b'~' => Ok(length(line)?.map_or(Head::Null, Head::Set)),
            b'>' => Ok(length(line)?.map_or(Head::Null, Head::Push)),
            b'%' => Ok(Head::Map(length(line)?.ok_or(ParseError::Malformed)?)),
            b'|' => Ok(Head::Attribute(length(line)?.ok_or(ParseError::Malformed)?)),
            b'_' if line.is_empty() => Ok(Head::Null),
            b'#' if line == b"t" => Ok(Head::Bool(true)),
            b'#' if line == b"f" => Ok(Head::Bool(false)),
            b',' => Ok(Head::Double(line)),
            b'(' => Ok(Head::BigNumber(line)),
            _ => Err(ParseError::Malformed),
        }
    }

    /// Passes over one whole reply, however deep, without recursion.
    ///
    /// # Errors
    /// As [`Cursor::head`].
    pub fn skip(&mut self) -> Result<(), ParseError> {
        let mut left = 1usize;
        while left > 0 {
            let more = match self.head()? {
                Head::Array(len) | Head::Set(len) | Head::Push(len) => Some(len),
                Head::Map(len) => len.checked_mul(2),
                Head::Attribute(len) => len.checked_mul(2).and_then(|len| len.checked_add(1)),
                _ => Some(0),
            };
            left = more.and_then(|more| (left - 1).checked_add(more)).ok_or(ParseError::Malformed)?;
        }
        Ok(())
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

    fn verbatim(&mut self, line: &[u8]) -> Result<Head<'a>, ParseError> {
        let bulk = self.bulk(line)?.ok_or(ParseError::Malformed)?;
        match bulk.split_at_checked(4) {
            Some((format, text)) if format[3] == b':' => Ok(Head::Verbatim { format: &format[..3], text }),
            _ => Err(ParseError::Malformed),
        }
    }
}

struct Parser<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Parser<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Parser { cursor: Cursor::new(bytes) }
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, ParseError> {
        if depth > DEPTH_MAX {
            return Err(ParseError::TooDeep);
        }
        match self.cursor.head()? {
            Head::Null => Ok(Value::Null),
            Head::Simple(text) => Ok(Value::Simple(text)),
            Head::Error(text) => Ok(Value::Error(text)),
            Head::Int(value) => Ok(Value::Int(value)),
            Head::Bulk(bytes) => Ok(Value::Bulk(bytes)),
            Head::Bool(value) => Ok(Value::Bool(value)),
            Head::Double(text) => Ok(Value::Double(double(text)?)),
            Head::BigNumber(digits) => Ok(Value::BigNumber(digits)),
            Head::Verbatim { format, text } => Ok(Value::Verbatim { format, text }),
            Head::Array(len) => Ok(Value::Array(self.list(len, depth)?)),
            Head::Set(len) => Ok(Value::Set(self.list(len, depth)?)),
            Head::Push(len) => Ok(Value::Push(self.list(len, depth)?)),
            Head::Map(len) => Ok(Value::Map(self.pairs(len, depth)?)),
            Head::Attribute(len) => {
                self.pairs(len, depth)?;
                self.value(depth + 1)
            }
        }
    }

    fn list(&mut self, len: usize, depth: usize) -> Result<Vec<Value<'a>>, ParseError> {
        let mut values = Vec::with_capacity(self.plausible(len));
        for _ in 0..len {
            values.push(self.value(depth + 1)?);
        }
        Ok(values)
    }

    fn pairs(&mut self, len: usize, depth: usize) -> Result<Vec<(Value<'a>, Value<'a>)>, ParseError> {
        let mut pairs = Vec::with_capacity(self.plausible(len));
        for _ in 0..len {
            pairs.push((self.value(depth + 1)?, self.value(depth + 1)?));
        }
        Ok(pairs)
    }

    /// An announced length is only believed as far as the bytes at hand could hold it, and never for much: lists
    /// nest, and each of them may announce all the rest.
    fn plausible(&self, len: usize) -> usize {
        len.min(self.cursor.rest().len() / 3).min(64)
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
    decimal(line).ok_or(ParseError::Malformed)
}

fn double(line: &[u8]) -> Result<f64, ParseError> {
    let text = core::str::from_utf8(line).map_err(|_| ParseError::Malformed)?;
    text.parse().map_err(|_| ParseError::Malformed)
}

#[cfg(test)]
mod cursor_tests {
    use super::*;

    #[test]
    fn skipping_passes_exactly_one_reply_of_any_shape() {
        let replies: [&[u8]; 6] = [
            b"+OK\r\n",
            b"$3\r\n\r\n:\r\n",
            b"*2\r\n*1\r\n:1\r\n_\r\n",
            b"%1\r\n+a\r\n*0\r\n",
            b"|1\r\n+ttl\r\n:3\r\n$-1\r\n",
            b">2\r\n~1\r\n#t\r\n,1.5\r\n",
        ];
        for reply in replies {
            let mut bytes = reply.to_vec();
            bytes.extend_from_slice(b":7\r\n");
            let mut cursor = Cursor::new(&bytes);
            assert_eq!(cursor.skip(), Ok(()));
            assert_eq!(cursor.position(), reply.len());
            assert_eq!(cursor.head(), Ok(Head::Int(7)));
        }
    }

    #[test]
    fn a_million_open_arrays_neither_exhaust_the_stack_nor_the_counter() {
        let deep = b"*1\r\n".repeat(1_000_000);
        assert_eq!(Cursor::new(&deep).skip(), Err(ParseError::Incomplete));
        let many = b"*9223372036854775807\r\n*9223372036854775807\r\n%9223372036854775807\r\n";
        assert_eq!(Cursor::new(many).skip(), Err(ParseError::Malformed));
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn numbers_are_decimal_to_the_last() {
        for (value, text) in
            [(0, "0"), (7, "7"), (10, "10"), (12_345, "12345"), (u64::MAX, "18446744073709551615")]
        {
            let mut out = Vec::new();
            put_decimal(&mut out, value);
            assert_eq!(out, text.as_bytes());
            out.clear();
            put_header(&mut out, b'*', value as usize);
            assert_eq!(out, format!("*{text}\r\n").as_bytes());
        }
    }

    #[test]
    fn what_is_no_number_of_64_bits_is_none() {
        for text in
            ["", "-", "+", "+-1", " 1", "1 ", "1.0", "0x1", "9223372036854775808", "-9223372036854775809"]
        {
            assert_eq!(decimal(text.as_bytes()), None, "{text:?}");
        }
        for number in [0, 1, -1, 10, -4096, i64::MAX, i64::MIN] {
            assert_eq!(decimal(number.to_string().as_bytes()), Some(number));
        }
        assert_eq!((decimal(b"+7"), decimal(b"-0"), decimal(b"007")), (Some(7), Some(0), Some(7)));
    }
}
