//! The plugin's configuration: JSON in, a checked [`Config`] out.

use std::time::Duration;

use agw_sdk::json::{Fields, Mistake};

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

impl Config {
    /// Reads the configuration; an empty one is all defaults.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Config, Mistake> {
        let mut fields = Fields::parse(bytes, "{\"batch\": 50}")?;
        let config = Config {
            resource: fields.text_or("resource", "audit")?,
            statement: fields.text_or("statement", "add_row")?,
            user_header: fields.header_or("user_header", "x-user-id")?,
            interval: Duration::from_millis(fields.whole_or("interval_ms", 10..=60_000, 1000)?),
            // Both bounds fit.
            batch: fields.whole_or("batch", 1..=1000, 50)? as usize,
            buffer: fields.whole_or("buffer", 1..=100_000, 10_000)? as usize,
        };
        if config.buffer < config.batch {
            return Err(fields.mistake("buffer", "write at least as many rows as a batch has"));
        }
        fields.finish()?;
        Ok(config)
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
