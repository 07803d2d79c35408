//! What a route asks for beside host and path.

use std::borrow::Cow;

use agw_config::{FieldMatch, Route, ValueMatch, whole_pattern};
use http::header::{HOST, HeaderName};
use http::{HeaderMap, Method};
use regex::bytes::Regex;

use super::Asked;
use crate::error::RuntimeError;

/// All of it must hold.
#[derive(Debug)]
pub(super) struct Conditions {
    /// One of these, if there are any.
    methods: Vec<Method>,
    headers: Vec<(HeaderName, Value)>,
    query: Vec<(Box<[u8]>, Value)>,
}

/// What a value has to be.
#[derive(Debug)]
enum Value {
    Present,
    Absent,
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Pattern(Regex),
}

impl Conditions {
    /// What `route` asks for; nothing if that is host and path only.
    pub(super) fn compile(route: &Route) -> Result<Option<Self>, RuntimeError> {
        let matching = &route.matching;
        if matching.methods.is_empty() && matching.headers.is_empty() && matching.query.is_empty() {
            return Ok(None);
        }
        let method = |text: &String| {
            Method::from_bytes(text.as_bytes()).map_err(|_| RuntimeError::name_not_valid(route, text))
        };
        let header = |field: &FieldMatch| {
            let name = HeaderName::from_bytes(field.name.as_bytes())
                .map_err(|_| RuntimeError::name_not_valid(route, &field.name))?;
            Ok((name, Value::compile(&field.value, route)?))
        };
        let parameter =
            |field: &FieldMatch| Ok((field.name.as_bytes().into(), Value::compile(&field.value, route)?));
        Ok(Some(Conditions {
            methods: matching.methods.iter().map(method).collect::<Result<_, _>>()?,
            headers: matching.headers.iter().map(header).collect::<Result<_, _>>()?,
            query: matching.query.iter().map(parameter).collect::<Result<_, RuntimeError>>()?,
        }))
    }

    pub(super) fn hold(&self, asked: Asked<'_>) -> bool {
        (self.methods.is_empty() || self.methods.contains(asked.method))
            && self.headers.iter().all(|(name, value)| value.fits(header(asked, name).as_deref()))
            && self.query.iter().all(|(name, value)| {
                value.fits(asked.path.query().and_then(|query| query_parameter(query, name)).as_deref())
            })
    }

    /// The less, the earlier it is asked: methods first, then more headers, then more parameters.
    pub(super) fn rank(&self) -> (bool, isize, isize) {
        let count = |list: usize| -isize::try_from(list).unwrap_or(isize::MAX);
        (self.methods.is_empty(), count(self.headers.len()), count(self.query.len()))
    }
}

impl Value {
    fn compile(value: &ValueMatch, route: &Route) -> Result<Self, RuntimeError> {
        Ok(match value {
            ValueMatch::Present => Value::Present,
            ValueMatch::Absent => Value::Absent,
            ValueMatch::Exact(text) => Value::Exact(text.as_bytes().into()),
            ValueMatch::Prefix(text) => Value::Prefix(text.as_bytes().into()),
            ValueMatch::Regex(text) => {
                Value::Pattern(whole_pattern(text).map_err(|source| RuntimeError::pattern(route, source))?)
            }
        })
    }

    fn fits(&self, found: Option<&[u8]>) -> bool {
        match (self, found) {
            (Value::Absent, found) => found.is_none(),
            (_, None) => false,
            (Value::Present, Some(_)) => true,
            (Value::Exact(text), Some(found)) => **text == *found,
            (Value::Prefix(text), Some(found)) => found.starts_with(text),
            (Value::Pattern(regex), Some(found)) => regex.is_match(found),
        }
    }
}

/// A header's value; several are joined by `, `.
fn header<'a>(asked: Asked<'a>, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    // Filters see the host as authority, and it is not among the headers then.
    if *name == HOST {
        return asked.authority.map(|host| Cow::Borrowed(host.as_bytes()));
    }
    joined(asked.headers, name)
}

fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.as_bytes();
    let mut joined = Cow::Borrowed(first);
    for value in values {
        let joined = joined.to_mut();
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(value.as_bytes());
    }
    Some(joined)
}

/// The first parameter of that name, percent-decoded; empty if it has no `=`. A `+` stays one.
pub(crate) fn query_parameter<'q>(query: &'q str, name: &[u8]) -> Option<Cow<'q, [u8]>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*percent_decoded(key) == *name).then(|| percent_decoded(value))
    })
}

/// A `%` that two hex digits do not follow stands for itself.
fn percent_decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) if digit(high).is_some() && digit(low).is_some() => {
                decoded.push(digit(high).unwrap_or(0) << 4 | digit(low).unwrap_or(0));
                rest = after;
            }
            _ => decoded.push(*first),
        }
    }
    Cow::Owned(decoded)
}
