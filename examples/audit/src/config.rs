//! The plugin's configuration: JSON in, a checked [`Config`] out.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use agw_sdk::json::{self, Json};

/// What the operator wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The SQL resource.
    pub(crate) resource: String,
    /// The resource's statement that writes a row.
    pub(crate) statement: String,
    /// The request header that says who it is, in lower case.
    pub(crate) user_header: String,
    /// Rows wait at most for so long, as long as the database takes them.
    pub(crate) interval: Duration,
    /// Rows that are written together, at most.
    pub(crate) batch: usize,
    /// Rows that may wait, of each VM.
    pub(crate) buffer: usize,
}

/// What is wrong with the configuration, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    field: String,
    what: String,
}

impl Config {
    /// Reads the configuration; an empty one is all defaults.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Config, Problem> {
        let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
        let json = json::parse(bytes).map_err(|error| problem("", format!("not JSON: {error}")))?;
        let Json::Object(fields) = json else {
            return Err(problem("", "write an object, such as {\"batch\": 50}"));
        };
        let mut fields = Fields(fields);
        let config = Config {
            resource: fields.text("resource", "audit")?,
            statement: fields.text("statement", "add_row")?,
            user_header: fields.header("user_header", "x-user-id")?,
            interval: fields
                .whole("interval_ms", 1000, 10..=60_000)
                .map(|ms| Duration::from_millis(ms.into()))?,
            batch: fields.whole("batch", 50, 1..=1000)? as usize,
            buffer: fields.whole("buffer", 10_000, 1..=100_000)? as usize,
        };
        if config.buffer < config.batch {
            return Err(problem("buffer", "write at least as many rows as a batch has"));
        }
        match fields.0.first() {
            Some((unknown, _)) => Err(problem(unknown, "there is no such field")),
            None => Ok(config),
        }
    }
}

/// The fields that nobody has asked for yet.
struct Fields(Vec<(String, Json)>);

impl Fields {
    fn take(&mut self, name: &str) -> Option<Json> {
        let at = self.0.iter().position(|(found, _)| found == name)?;
        Some(self.0.remove(at).1)
    }

    fn text(&mut self, name: &str, default: &str) -> Result<String, Problem> {
        match self.take(name) {
            None => Ok(default.into()),
            Some(Json::String(text)) if !text.is_empty() => Ok(text),
            Some(_) => Err(problem(name, "write a text that is not empty")),
        }
    }

    fn whole(&mut self, name: &str, default: u32, bounds: RangeInclusive<u32>) -> Result<u32, Problem> {
        let Some(value) = self.take(name) else { return Ok(default) };
        let number = value.whole().and_then(|number| u32::try_from(number).ok());
        number.filter(|number| bounds.contains(number)).ok_or_else(|| {
            problem(name, format!("write a whole number from {} to {}", bounds.start(), bounds.end()))
        })
    }

    /// The characters of a header's name (RFC 9110, 5.6.2), in lower case.
    fn header(&mut self, name: &str, default: &str) -> Result<String, Problem> {
        let header = self.text(name, default)?;
        let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if header.bytes().all(belongs) {
            Ok(header.to_ascii_lowercase())
        } else {
            Err(problem(name, "this is not a name that a header can have"))
        }
    }
}

fn problem(field: &str, what: impl Into<String>) -> Problem {
    Problem { field: field.into(), what: what.into() }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("configuration: ")?;
        if !self.field.is_empty() {
            f.write_str(&self.field)?;
            f.write_str(": ")?;
        }
        f.write_str(&self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_is_named_with_its_field() {
        let cases = [
            ("{", "configuration: not JSON"),
            ("5", "configuration: write an object"),
            (r#"{"user_header": "x y"}"#, "configuration: user_header: this is not a name"),
            (r#"{"statement": ""}"#, "configuration: statement: write a text"),
            (r#"{"interval_ms": 9}"#, "configuration: interval_ms: write a whole number from 10 to 60000"),
            (r#"{"batch": 0}"#, "configuration: batch: write a whole number from 1 to 1000"),
            (r#"{"batch": 1.5}"#, "configuration: batch: write a whole number"),
            (r#"{"buffer": 1e99}"#, "configuration: buffer: write a whole number"),
            (r#"{"batch": 50, "buffer": 49}"#, "configuration: buffer: write at least as many"),
            (r#"{"bufer": 50}"#, "configuration: bufer: there is no such field"),
        ];
        for (json, expected) in cases {
            let problem = Config::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(problem.starts_with(expected), "{json}: {problem}");
        }
        assert!(Config::parse(b"\xff").is_err());
    }

    #[test]
    fn nothing_means_the_defaults_and_every_field_is_read() {
        let defaults = Config::parse(b"").unwrap();
        assert_eq!((defaults.interval.as_millis(), defaults.batch, defaults.buffer), (1000, 50, 10_000));
        let json = br#"{"resource": "r", "statement": "s", "user_header": "X-User", "interval_ms": 60000, "batch": 1,
            "buffer": 1}"#;
        let expected = Config {
            resource: "r".into(),
            statement: "s".into(),
            user_header: "x-user".into(),
            interval: Duration::from_secs(60),
            batch: 1,
            buffer: 1,
        };
        assert_eq!(Config::parse(json), Ok(expected));
    }
}
