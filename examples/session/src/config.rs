//! The plugin's configuration: JSON in, a checked [`Config`] out.

use std::fmt;

use agw_sdk::json::{self, Json};

/// What the operator wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where the client's session id stands.
    pub(crate) source: Source,
    /// Seconds that a session lives after its last request.
    pub(crate) ttl: u32,
    /// The Redis resource.
    pub(crate) resource: String,
    /// The request header that tells the upstream who it is.
    pub(crate) user_header: String,
    /// The response header by which the upstream starts a session.
    pub(crate) start_header: String,
    /// What happens when Redis gives no answer.
    pub(crate) on_error: OnError,
}

/// Where a client's session id stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In this cookie; new sessions are told by `set-cookie`.
    Cookie(String),
    /// In this header, in lower case; new sessions are told by the same header of the response.
    Header(String),
}

/// What happens to a request whose session cannot be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    /// It goes on without a user.
    Open,
    /// It is answered with 503.
    Closed,
}

/// What is wrong with the configuration, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    field: String,
    what: String,
}

/// A year.
const TTL_MAX: u32 = 366 * 86_400;

impl Config {
    /// Reads the configuration; an empty one is all defaults.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Config, Problem> {
        let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
        let json = json::parse(bytes).map_err(|error| problem("", format!("not JSON: {error}")))?;
        let Json::Object(fields) = json else {
            return Err(problem("", "write an object, such as {\"ttl\": 1800}"));
        };
        let mut fields = Fields(fields);
        let config = Config {
            source: source(&mut fields)?,
            ttl: ttl(fields.take("ttl"))?,
            resource: text_or("resource", fields.take("resource"), "sessions")?,
            user_header: header("user_header", fields.take("user_header"), "x-session-user")?,
            start_header: header("start_header", fields.take("start_header"), "x-session-start")?,
            on_error: match text_or("on_error", fields.take("on_error"), "closed")?.as_str() {
                "open" => OnError::Open,
                "closed" => OnError::Closed,
                _ => return Err(problem("on_error", "write open or closed")),
            },
        };
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
}

fn source(fields: &mut Fields) -> Result<Source, Problem> {
    match (fields.take("cookie"), fields.take("header")) {
        (Some(_), Some(_)) => Err(problem("header", "write a cookie or a header, not both")),
        (None, Some(value)) => header("header", Some(value), "").map(Source::Header),
        (cookie, None) => {
            let name = text_or("cookie", cookie, "sid")?;
            if is_token(&name) { Ok(Source::Cookie(name)) } else { Err(problem("cookie", NAME)) }
        }
    }
}

fn ttl(value: Option<Json>) -> Result<u32, Problem> {
    let Some(value) = value else { return Ok(1800) };
    let seconds = value.whole().and_then(|seconds| u32::try_from(seconds).ok());
    seconds
        .filter(|seconds| (1..=TTL_MAX).contains(seconds))
        .ok_or_else(|| problem("ttl", "write a whole number of seconds, from 1 to a year"))
}

fn text_or(field: &str, value: Option<Json>, default: &str) -> Result<String, Problem> {
    match value {
        None => Ok(default.into()),
        Some(Json::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(problem(field, "write a text that is not empty")),
    }
}

fn header(field: &str, value: Option<Json>, default: &str) -> Result<String, Problem> {
    let name = text_or(field, value, default)?;
    if is_token(&name) { Ok(name.to_ascii_lowercase()) } else { Err(problem(field, NAME)) }
}

const NAME: &str = "this is not a name that a header or cookie can have";

/// The characters of a header's or cookie's name (RFC 9110, 5.6.2).
fn is_token(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
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
            (r#"{"cookie": "a", "header": "b"}"#, "configuration: header: write a cookie or a header"),
            (r#"{"cookie": "a b"}"#, "configuration: cookie: this is not a name"),
            (r#"{"header": ""}"#, "configuration: header: write a text"),
            (r#"{"ttl": 0}"#, "configuration: ttl: write a whole number"),
            (r#"{"ttl": 1.5}"#, "configuration: ttl: write a whole number"),
            (r#"{"user_header": "a:b"}"#, "configuration: user_header: this is not a name"),
            (r#"{"on_error": "maybe"}"#, "configuration: on_error: write open or closed"),
            (r#"{"tll": 5}"#, "configuration: tll: there is no such field"),
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
        assert_eq!(defaults.source, Source::Cookie("sid".into()));
        assert_eq!((defaults.ttl, defaults.on_error), (1800, OnError::Closed));
        let json = br#"{"header": "X-Session", "ttl": 60, "resource": "r", "user_header": "X-User",
            "start_header": "X-Start", "on_error": "open"}"#;
        let expected = Config {
            source: Source::Header("x-session".into()),
            ttl: 60,
            resource: "r".into(),
            user_header: "x-user".into(),
            start_header: "x-start".into(),
            on_error: OnError::Open,
        };
        assert_eq!(Config::parse(json), Ok(expected));
    }
}
