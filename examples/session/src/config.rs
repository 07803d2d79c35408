//! The plugin's configuration: JSON in, a checked [`Config`] out.

use agw_sdk::json::{Field, Fields, Mistake};

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

/// A year.
const TTL_MAX: u64 = 366 * 86_400;

impl Config {
    /// Reads the configuration; an empty one is all defaults.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Config, Mistake> {
        let mut fields = Fields::parse(bytes, "{\"ttl\": 1800}")?;
        let config = Config {
            source: source(&mut fields)?,
            // The bound fits.
            ttl: fields.whole_or("ttl", 1..=TTL_MAX, 1800)? as u32,
            resource: fields.text_or("resource", "sessions")?,
            user_header: fields.header_or("user_header", "x-session-user")?,
            start_header: fields.header_or("start_header", "x-session-start")?,
            on_error: fields.choice_or("on_error", &OnError::WORDS, OnError::Closed)?,
        };
        fields.finish()?;
        Ok(config)
    }
}

impl OnError {
    const WORDS: [(&str, OnError); 2] = [("open", OnError::Open), ("closed", OnError::Closed)];
}

fn source(fields: &mut Fields) -> Result<Source, Mistake> {
    match (fields.optional("cookie"), fields.optional("header")) {
        (Some(_), Some(header)) => Err(header.mistake("write a cookie or a header, not both")),
        (None, Some(header)) => header.header().map(Source::Header),
        (cookie, None) => cookie.map_or_else(|| Ok("sid".into()), Field::token).map(Source::Cookie),
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
