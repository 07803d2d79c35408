//! Types commands and reads replies, for tests.

use agw_wire::resp::{self, Value};

use crate::{Limits, Store, UnixMillis};

/// A store and its clock.
pub(crate) struct Shell {
    pub(crate) store: Store,
    pub(crate) now: u64,
}

impl Shell {
    pub(crate) fn new() -> Self {
        Shell::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        Shell { store: Store::new(limits), now: 1_800_000_000_000 }
    }

    /// Words are separated by spaces; `''` is an empty one. The reply is shown on one line.
    pub(crate) fn run(&self, line: &str) -> String {
        let args: Vec<&[u8]> = line.split(' ').map(word).collect();
        let mut out = Vec::new();
        self.store.execute(UnixMillis(self.now), &args, &mut out);
        show(&out)
    }

    pub(crate) fn atomic(&self, lines: &[&str]) -> String {
        let commands: Vec<Vec<&[u8]>> =
            lines.iter().map(|line| line.split(' ').map(word).collect()).collect();
        let mut out = Vec::new();
        self.store.execute_atomic(UnixMillis(self.now), &commands, &mut out);
        show(&out)
    }

    /// Runs each line and compares its reply.
    pub(crate) fn expect(&self, script: &[(&str, &str)]) {
        for (line, expected) in script {
            assert_eq!(self.run(line), *expected, "{line}");
        }
    }
}

fn word(text: &str) -> &[u8] {
    if text == "''" { b"" } else { text.as_bytes() }
}

/// Panics unless the bytes are exactly one reply.
pub(crate) fn show(reply: &[u8]) -> String {
    show_value(&resp::parse_all(reply, 1).unwrap()[0])
}

fn show_value(value: &Value<'_>) -> String {
    match value {
        Value::Null => "nil".into(),
        Value::Int(value) => value.to_string(),
        Value::Error(text) => format!("-{}", plain(text)),
        Value::Simple(text) => format!("+{}", plain(text)),
        Value::Bulk(bytes) => plain(bytes),
        Value::Array(values) => format!("[{}]", values.iter().map(show_value).collect::<Vec<_>>().join(" ")),
        other => panic!("{other:?} is not RESP2"),
    }
}

/// Quotes stay as they are.
fn plain(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\'", "'")
}
