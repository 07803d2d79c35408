//! The plugin's configuration: JSON in, a checked [`Config`] out.

use std::fmt;

use agw_sdk::json::{self, Json};

use crate::tier::is_tier;

/// What the operator wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The request header that says who it is, in lower case; a filter before this one has set it.
    pub(crate) user_header: String,
    /// The request header that routes match on.
    pub(crate) tier_header: String,
    /// The tier of whoever has none.
    pub(crate) default_tier: String,
    /// The SQL resource.
    pub(crate) resource: String,
    /// The resource's statement that finds a user's tier.
    pub(crate) statement: String,
    /// What happens when the database gives no answer.
    pub(crate) on_error: OnError,
}

/// What happens to a request whose tier cannot be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    /// It has the default tier.
    Default,
    /// It is answered with 503.
    Closed,
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
            return Err(problem("", "write an object, such as {\"default_tier\": \"free\"}"));
        };
        let mut fields = Fields(fields);
        let config = Config {
            user_header: fields.header("user_header", "x-user-id")?,
            tier_header: fields.header("tier_header", "x-user-tier")?,
            default_tier: fields.text("default_tier", "free")?,
            resource: fields.text("resource", "users")?,
            statement: fields.text("statement", "find_tier")?,
            on_error: match fields.text("on_error", "default")?.as_str() {
                "default" => OnError::Default,
                "closed" => OnError::Closed,
                _ => return Err(problem("on_error", "write default or closed")),
            },
        };
        if config.tier_header == config.user_header {
            return Err(problem("tier_header", "this header says who the user is"));
        }
        if !is_tier(&config.default_tier) {
            return Err(problem(
                "default_tier",
                "write at most 64 letters, digits, dashes, dots and underscores",
            ));
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
    fn text(&mut self, name: &str, default: &str) -> Result<String, Problem> {
        let Some(at) = self.0.iter().position(|(found, _)| found == name) else { return Ok(default.into()) };
        match self.0.remove(at).1 {
            Json::String(text) if !text.is_empty() => Ok(text),
            _ => Err(problem(name, "write a text that is not empty")),
        }
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
            (r#"{"tier_header": "X-User-Id"}"#, "configuration: tier_header: this header says who"),
            (r#"{"default_tier": "a b"}"#, "configuration: default_tier: write at most 64"),
            (r#"{"statement": 5}"#, "configuration: statement: write a text"),
            (r#"{"on_error": "open"}"#, "configuration: on_error: write default or closed"),
            (r#"{"tier": "a"}"#, "configuration: tier: there is no such field"),
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
        assert_eq!((defaults.default_tier.as_str(), defaults.on_error), ("free", OnError::Default));
        let json =
            br#"{"user_header": "X-User", "tier_header": "X-Tier", "default_tier": "basic", "resource": "r",
            "statement": "s", "on_error": "closed"}"#;
        let expected = Config {
            user_header: "x-user".into(),
            tier_header: "x-tier".into(),
            default_tier: "basic".into(),
            resource: "r".into(),
            statement: "s".into(),
            on_error: OnError::Closed,
        };
        assert_eq!(Config::parse(json), Ok(expected));
    }
}
