//! The types that a reply can be read as.

use agw_wire::resp::Head;

use crate::{Error, FromReply, Reply};

impl FromReply for () {
    fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error> {
        // The head shows an error; the rest is passed over.
        let mut taken = reply.take()?;
        taken.head().map(|_| ())
    }
}

impl FromReply for i64 {
    fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error> {
        const EXPECTED: &str = "an integer";
        match reply.head()? {
            Head::Int(value) => Ok(value),
            head @ (Head::Bulk(text) | Head::Simple(text) | Head::BigNumber(text)) => {
                number(text).ok_or_else(|| Reply::wrong_type(EXPECTED, &head))
            }
            other => Err(Reply::wrong_type(EXPECTED, &other)),
        }
    }
}

impl FromReply for f64 {
    fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error> {
        const EXPECTED: &str = "a number";
        match reply.head()? {
            Head::Int(value) => Ok(value as f64),
            head @ (Head::Double(text) | Head::Bulk(text) | Head::Simple(text)) => {
                number(text).ok_or_else(|| Reply::wrong_type(EXPECTED, &head))
            }
            other => Err(Reply::wrong_type(EXPECTED, &other)),
        }
    }
}

impl FromReply for bool {
    fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error> {
        match reply.head()? {
            Head::Bool(value) => Ok(value),
            Head::Int(1) | Head::Simple(b"OK") => Ok(true),
            Head::Int(0) | Head::Null => Ok(false),
            other => Err(Reply::wrong_type("a yes or no", &other)),
        }
    }
}

impl FromReply for Vec<u8> {
    fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error> {
        reply.bytes("a string").map(<[u8]>::to_vec)
    }
}

impl FromReply for String {
    fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error> {
        const EXPECTED: &str = "text in UTF-8";
        let bytes = reply.bytes(EXPECTED)?;
        let text = std::str::from_utf8(bytes);
        text.map(String::from).map_err(|_| Error::WrongType { expected: EXPECTED, found: "other bytes" })
    }
}

impl<T: FromReply> FromReply for Option<T> {
    fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error> {
        let mut ahead = reply.clone();
        if ahead.head()? == Head::Null {
            *reply = ahead;
            return Ok(None);
        }
        T::from_reply(reply).map(Some)
    }
}

impl<T: FromReply> FromReply for Vec<T> {
    fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error> {
        let len = reply.list("a list")?;
        T::list_from_reply(reply, len)
    }
}

impl<T: FromReply> FromReply for Result<T, Error> {
    fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error> {
        // Taken whole, so that a reply that fails halfway does not spoil the next.
        let mut taken = reply.take()?;
        Ok(T::from_reply(&mut taken))
    }
}

macro_rules! tuple {
    ($len:literal: $($name:ident)+) => {
        impl<$($name: FromReply),+> FromReply for ($($name,)+) {
            fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error> {
                exactly(reply, $len)?;
                Ok(($($name::from_reply(reply)?,)+))
            }
        }
    };
}

tuple!(1: A);
tuple!(3: A B C);
tuple!(4: A B C D);
tuple!(5: A B C D E);
tuple!(6: A B C D E F);
tuple!(7: A B C D E F G);
tuple!(8: A B C D E F G H);

impl<A: FromReply, B: FromReply> FromReply for (A, B) {
    fn from_reply(reply: &mut Reply<'_>) -> Result<Self, Error> {
        exactly(reply, 2)?;
        Ok((A::from_reply(reply)?, B::from_reply(reply)?))
    }

    /// RESP3 sends maps and lists of pairs where RESP2 sends a flat list.
    fn list_from_reply(reply: &mut Reply<'_>, len: usize) -> Result<Vec<Self>, Error> {
        let nested = reply.at_pair();
        if !nested && !len.is_multiple_of(2) {
            return Err(Error::WrongType { expected: "pairs", found: "a list of odd length" });
        }
        let pairs = if nested { len } else { len / 2 };
        let mut list = Vec::with_capacity(reply.plausible(pairs));
        for _ in 0..pairs {
            list.push(if nested {
                Self::from_reply(reply)?
            } else {
                (A::from_reply(reply)?, B::from_reply(reply)?)
            });
        }
        Ok(list)
    }
}

fn exactly(reply: &mut Reply<'_>, len: usize) -> Result<(), Error> {
    const EXPECTED: &str = "as many replies as the tuple has places";
    if reply.list(EXPECTED)? != len {
        return Err(Error::WrongType { expected: EXPECTED, found: "another number of replies" });
    }
    Ok(())
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
