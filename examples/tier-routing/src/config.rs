//! The plugin's configuration: JSON in, a checked [`Config`] out.

use agw_sdk::json::{Fields, Mistake};

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

impl Config {
    /// Reads the configuration; an empty one is all defaults.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Config, Mistake> {
        let mut fields = Fields::parse(bytes, "{\"default_tier\": \"free\"}")?;
        let config = Config {
            user_header: fields.header_or("user_header", "x-user-id")?,
            tier_header: fields.header_or("tier_header", "x-user-tier")?,
            default_tier: fields.text_or("default_tier", "free")?,
            resource: fields.text_or("resource", "users")?,
            statement: fields.text_or("statement", "find_tier")?,
            on_error: fields.choice_or("on_error", &OnError::WORDS, OnError::Default)?,
        };
        if config.tier_header == config.user_header {
            return Err(fields.mistake("tier_header", "this header says who the user is"));
        }
        if !is_tier(&config.default_tier) {
            let what = "write at most 64 letters, digits, dashes, dots and underscores";
            return Err(fields.mistake("default_tier", what));
        }
        fields.finish()?;
        Ok(config)
    }
}

impl OnError {
    const WORDS: [(&str, OnError); 2] = [("default", OnError::Default), ("closed", OnError::Closed)];
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
