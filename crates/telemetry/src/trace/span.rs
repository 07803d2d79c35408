//! A span that has ended, as exporters read it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Bytes of one text in a span; the rest is cut off. With the few attributes that there are, it bounds a span.
pub const TEXT_BYTES_MAX: usize = 512;

/// On which side of an exchange a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The gateway was asked.
    Server,
    /// The gateway asked.
    Client,
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace's id.
    pub trace: u128,
    /// Its own.
    pub id: u64,
    /// Of the span that it is part of, if there is one.
    pub parent: Option<u64>,
    /// See [`SpanKind`].
    pub kind: SpanKind,
    /// One of few, whatever requests bring.
    pub name: Cow<'static, str>,
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Whether it failed.
    pub failed: bool,
    /// What is known of it.
    pub attributes: Attributes,
}

/// Names with their values. No key, no value of a store, no SQL text, no credential is ever among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(Vec<(&'static str, Value)>);

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A word of the gateway's, or a text that was cut to [`TEXT_BYTES_MAX`].
    Text(Cow<'static, str>),
    /// A name of the configuration.
    Name(Arc<str>),
    /// A number.
    Integer(i64),
    /// A number of seconds.
    Seconds(f64),
    /// Yes or no.
    Flag(bool),
}

// === impl Span ===

impl Span {
    pub(super) fn new(trace: u128, id: u64, parent: Option<u64>, kind: SpanKind) -> Self {
        Span {
            trace,
            id,
            parent,
            kind,
            name: Cow::Borrowed(""),
            start: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            failed: false,
            attributes: Attributes::default(),
        }
    }

    /// It failed, for this reason: `error.type`, one of few words.
    pub fn fail(&mut self, reason: impl Into<Value>) {
        self.failed = true;
        self.attributes.put("error.type", reason);
    }
}

// === impl Attributes ===

impl Attributes {
    /// Adds one; its name is not there yet.
    pub fn put(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push((name, value.into()));
    }

    /// Each, in the order in which it came.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

// === impl Value ===

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(mut text: String) -> Self {
        if text.len() > TEXT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
            text.shrink_to_fit();
        }
        Value::Text(Cow::Owned(text))
    }
}

impl From<Arc<str>> for Value {
    fn from(name: Arc<str>) -> Self {
        Value::Name(name)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Integer(number)
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Value::Integer(number.into())
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Value::Seconds(time.as_secs_f64())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Flag(flag)
    }
}
