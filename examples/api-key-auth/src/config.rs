//! The plugin's configuration: JSON in, a checked [`Config`] out.

use agw_sdk::json::{Fields, Mistake};

/// What the operator wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The request header with the key, in lower case.
    pub(crate) header: String,
    /// The SQL resource.
    pub(crate) resource: String,
    /// The resource's statement that finds a key by its hash.
    pub(crate) statement: String,
    /// The request header that tells the upstream who it is.
    pub(crate) user_header: String,
    /// The request header that tells the upstream the user's tier.
    pub(crate) tier_header: String,
    /// What happens when the database gives no answer.
    pub(crate) on_error: OnError,
}

/// What happens to a request whose key cannot be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    /// It goes on without a user.
    Open,
    /// It is answered with 503.
    Closed,
}

impl Config {
    /// Reads the configuration; an empty one is all defaults.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Config, Mistake> {
        let mut fields = Fields::parse(bytes, "{\"header\": \"x-api-key\"}")?;
        let config = Config {
            header: fields.header_or("header", "x-api-key")?,
            resource: fields.text_or("resource", "users")?,
            statement: fields.text_or("statement", "find_api_key")?,
            user_header: fields.header_or("user_header", "x-user-id")?,
            tier_header: fields.header_or("tier_header", "x-user-tier")?,
            on_error: fields.choice_or("on_error", &OnError::WORDS, OnError::Closed)?,
        };
        config.with_headers_apart(&fields)?;
        fields.finish()?;
        Ok(config)
    }

    /// One header cannot say two things.
    fn with_headers_apart(&self, fields: &Fields) -> Result<(), Mistake> {
        if self.user_header == self.header {
            return Err(fields.mistake("user_header", "this is the header with the key"));
        }
        if self.tier_header == self.header || self.tier_header == self.user_header {
            return Err(fields.mistake("tier_header", "this header says something else already"));
        }
        Ok(())
    }
}

impl OnError {
    const WORDS: [(&str, OnError); 2] = [("open", OnError::Open), ("closed", OnError::Closed)];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_is_named_with_its_field() {
        let cases = [
            ("{", "configuration: not JSON"),
            ("5", "configuration: write an object"),
            (r#"{"header": "x y"}"#, "configuration: header: this is not a name"),
            (r#"{"header": ":path"}"#, "configuration: header: this is not a name"),
            (r#"{"user_header": ""}"#, "configuration: user_header: write a text"),
            (
                r#"{"user_header": "X-Api-Key"}"#,
                "configuration: user_header: this is the header with the key",
            ),
            (
                r#"{"tier_header": "x-user-id"}"#,
                "configuration: tier_header: this header says something else",
            ),
            (r#"{"statement": 5}"#, "configuration: statement: write a text"),
            (r#"{"on_error": "maybe"}"#, "configuration: on_error: write open or closed"),
            (r#"{"heder": "a"}"#, "configuration: heder: there is no such field"),
        ];
        for (json, expected) in cases {
            let problem = Config::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(problem.starts_with(expected), "{json}: {problem}");
        }
        assert!(Config::parse(b"\xff").is_err());
    }

    #[test]
    fn nothing_means_the_defaults_and_every_field_is_read() {
        let defaults = Config::parse(b" ").unwrap();
        assert_eq!((defaults.header.as_str(), defaults.on_error), ("x-api-key", OnError::Closed));
        let json = br#"{"header": "X-Key", "resource": "r", "statement": "s", "user_header": "X-User",
            "tier_header": "X-Tier", "on_error": "open"}"#;
        let expected = Config {
            header: "x-key".into(),
            resource: "r".into(),
            statement: "s".into(),
            user_header: "x-user".into(),
            tier_header: "x-tier".into(),
            on_error: OnError::Open,
        };
        assert_eq!(Config::parse(json), Ok(expected));
    }
}
