//! From RESP to Rust types, without anything in between.

use agw_wire::resp::{self, Cursor, Head, Value};

use crate::Error;

mod types;

/// Replies yet to be read. What [`FromReply`] is given.
///
/// ```no_run
/// use agw_sdk::{Error, FromReply, Head, Reply};
///
/// struct Length(usize);
///
/// impl FromReply for Length {
///     fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error> {
///         match reply.head()? {
///             Head::Bulk(bytes) => Ok(Length(bytes.len())),
///             other => Err(Reply::wrong_type("a bulk string", &other)),
///         }
///     }
/// }
///
/// # fn f() -> Result<(), Error> {
/// let length: Length = agw_sdk::redis("sessions")?.command(&[b"GET", b"key"])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Reply<'a> {
    cursor: Cursor<'a>,
    /// The replies of a pipeline stand side by side; they are read as one array of this length.
    sequence: Option<usize>,
}

/// A type that a reply can be read as.
///
/// | type | from |
/// |---|---|
/// | `()` | anything but an error |
/// | `i64` | an integer, or text that is one |
/// | `bool` | 1 or 0, true or false, `OK` or null |
/// | `f64` | a number, or text that is one |
/// | `String` | text in UTF-8 |
/// | `Vec<u8>` | any bytes |
/// | `Option<T>` | null, or a `T` |
/// | `Vec<T>` | a list or a set |
/// | `Vec<(A, B)>` | a map, a list of pairs, or a flat list of twice the length |
/// | `(A, B, ...)` | a list of exactly that length: a pipeline's replies, for one |
/// | `Result<T, Error>` | a `T`, or this reply's own error |
/// | [`RawReply`] | anything |
///
/// ```no_run
/// # fn f() -> Result<(), agw_sdk::Error> {
/// let sessions = agw_sdk::redis("sessions")?;
/// let scores: Vec<(String, f64)> =
///     sessions.command(&[b"ZRANGE", b"board", b"0", b"9", b"WITHSCORES"])?;
/// # Ok(())
/// # }
/// ```
pub trait FromReply: Sized {
    /// Reads one reply.
    ///
    /// # Errors
    /// [`Error::Server`] for the server's error, [`Error::WrongType`] for a reply of another type.
    ///
    /// ```no_run
    /// use agw_sdk::{Error, FromReply, Reply};
    ///
    /// fn read(reply: &mut Reply<'_>) -> Result<(String, i64), Error> {
    ///     Ok((String::from_reply(reply)?, i64::from_reply(reply)?))
    /// }
    /// ```
    fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error>;

    /// Reads a list whose head was read and announced `len` replies. Only pairs do that in a way of their own.
    ///
    /// # Errors
    /// As [`FromReply::from_reply`].
    ///
    /// ```no_run
    /// use agw_sdk::{Error, FromReply, Reply};
    ///
    /// fn three_numbers(reply: &mut Reply<'_>) -> Result<Vec<i64>, Error> {
    ///     i64::list_from_reply(reply, 3)
    /// }
    /// ```
    fn list_from_reply(reply: &mut Reply<'_>, len: usize) -> Result<Vec<Self>, Error> {
        let mut list = Vec::with_capacity(reply.plausible(len));
        for _ in 0..len {
            list.push(Self::from_reply(reply)?);
        }
        Ok(list)
    }
}

impl<'a> Reply<'a> {
    /// One reply.
    pub(crate) fn one(bytes: &'a [u8]) -> Self {
        Reply { cursor: Cursor::new(bytes), sequence: None }
    }

    /// `len` replies side by side.
    pub(crate) fn sequence(bytes: &'a [u8], len: usize) -> Self {
        Reply { cursor: Cursor::new(bytes), sequence: Some(len) }
    }

    /// Reads all of it as `T`.
    pub(crate) fn finish<T: FromReply>(mut self) -> Result<T, Error> {
        let value = T::from_reply(&mut self)?;
        if !self.cursor.rest().is_empty() {
            return Err(Error::Host("there are more replies than commands"));
        }
        Ok(value)
    }

    /// The next head: a scalar as a whole, or the length of what follows.
    ///
    /// # Errors
    /// [`Error::Server`] if it is the server's error.
    ///
    /// ```no_run
    /// use agw_sdk::{Error, Head, Reply};
    ///
    /// fn is_list(reply: &mut Reply<'_>) -> Result<bool, Error> {
    ///     Ok(matches!(reply.head()?, Head::Array(_) | Head::Set(_)))
    /// }
    /// ```
    pub fn head(&mut self) -> Result<Head<'a>, Error> {
        if let Some(len) = self.sequence.take() {
            return Ok(Head::Array(len));
        }
        loop {
            match self.cursor.head()? {
                Head::Error(line) => return Err(Error::server(line)),
                // An attribute describes the reply after it, and no type here can hold it.
                Head::Attribute(pairs) => {
                    for _ in 0..pairs {
                        self.cursor.skip()?;
                        self.cursor.skip()?;
                    }
                }
                head => return Ok(head),
            }
        }
    }

    /// The next reply by itself; this one goes on after it.
    ///
    /// # Errors
    /// [`Error::Host`] if there is no whole reply.
    ///
    /// ```no_run
    /// use agw_sdk::{Error, FromReply, Reply};
    ///
    /// /// A number if it is one; whatever it is, the next reply can be read after it.
    /// fn number(reply: &mut Reply<'_>) -> Result<Option<i64>, Error> {
    ///     Ok(i64::from_reply(&mut reply.take()?).ok())
    /// }
    /// ```
    pub fn take(&mut self) -> Result<Reply<'a>, Error> {
        if let Some(len) = self.sequence.take() {
            let rest = self.cursor.rest();
            for _ in 0..len {
                self.cursor.skip()?;
            }
            let taken = rest.len() - self.cursor.rest().len();
            return Ok(Reply::sequence(&rest[..taken], len));
        }
        let rest = self.cursor.rest();
        self.cursor.skip()?;
        Ok(Reply::one(&rest[..rest.len() - self.cursor.rest().len()]))
    }

    /// The error for a reply that is not what the type needs.
    ///
    /// ```no_run
    /// use agw_sdk::{Error, Head, Reply};
    ///
    /// fn text<'a>(reply: &mut Reply<'a>) -> Result<&'a [u8], Error> {
    ///     match reply.head()? {
    ///         Head::Simple(text) => Ok(text),
    ///         other => Err(Reply::wrong_type("a simple string", &other)),
    ///     }
    /// }
    /// ```
    pub fn wrong_type(expected: &'static str, found: &Head<'_>) -> Error {
        let found = match found {
            Head::Null => "null",
            Head::Simple(_) => "a simple string",
            Head::Error(_) => "an error",
            Head::Int(_) => "an integer",
            Head::Bulk(_) => "a bulk string",
            Head::Bool(_) => "a boolean",
            Head::Double(_) => "a double",
            Head::BigNumber(_) => "a big number",
            Head::Verbatim { .. } => "verbatim text",
            Head::Array(_) => "a list",
            Head::Map(_) => "a map",
            Head::Set(_) => "a set",
            Head::Push(_) => "a push",
            _ => "something else",
        };
        Error::WrongType { expected, found }
    }

    /// Reads a list's head.
    fn list(&mut self, expected: &'static str) -> Result<usize, Error> {
        match self.head()? {
            Head::Array(len) | Head::Set(len) | Head::Push(len) => Ok(len),
            Head::Map(len) => len.checked_mul(2).ok_or(Error::Host("the reply is not RESP")),
            other => Err(Reply::wrong_type(expected, &other)),
        }
    }

    /// Whether the next reply is a list of exactly two.
    fn at_pair(&self) -> bool {
        matches!(self.cursor.clone().head(), Ok(Head::Array(2)))
    }

    /// An announced length is only believed as far as the bytes at hand could hold it.
    fn plausible(&self, len: usize) -> usize {
        len.min(self.cursor.rest().len() / 3)
    }

    fn bytes(&mut self, expected: &'static str) -> Result<&'a [u8], Error> {
        match self.head()? {
            Head::Bulk(bytes) | Head::Simple(bytes) | Head::BigNumber(bytes) => Ok(bytes),
            Head::Verbatim { text, .. } => Ok(text),
            other => Err(Reply::wrong_type(expected, &other)),
        }
    }
}

/// One reply as the server sent it, for what no Rust type here fits.
///
/// ```no_run
/// use agw_sdk::{RawReply, Value};
///
/// # fn f() -> Result<(), agw_sdk::Error> {
/// let reply: RawReply = agw_sdk::redis("limits")?.command(&[b"OBJECT", b"ENCODING", b"key"])?;
/// if let Value::Bulk(name) = reply.value()? {
///     // ...
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawReply(Vec<u8>);

impl RawReply {
    /// The RESP bytes.
    ///
    /// ```no_run
    /// # fn f(reply: agw_sdk::RawReply) {
    /// let size = reply.as_bytes().len();
    /// # }
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The reply as a tree that borrows from it.
    ///
    /// # Errors
    /// [`Error::Server`] if it is the server's error, [`Error::Host`] if it is nested too deep.
    ///
    /// ```no_run
    /// # fn f(reply: agw_sdk::RawReply) -> Result<(), agw_sdk::Error> {
    /// let value = reply.value()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn value(&self) -> Result<Value<'_>, Error> {
        match resp::parse(&self.0)?.0 {
            Value::Error(line) => Err(Error::server(line)),
            value => Ok(value),
        }
    }
}

impl FromReply for RawReply {
    fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error> {
        let taken = reply.take()?;
        Ok(RawReply(taken.cursor.rest().to_vec()))
    }
}

#[cfg(test)]
mod tests;
