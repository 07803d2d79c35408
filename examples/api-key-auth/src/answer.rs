//! What the client is told: problem documents (RFC 9457).

/// The value of `www-authenticate`, which a 401 must have (RFC 9110, 15.5.2).
pub(crate) const CHALLENGE: &str = "ApiKey";

/// The body of a 401 without a key.
pub(crate) const NO_KEY: &str =
    r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"the request has no API key"}"#;

/// The body of a 401 with a key.
pub(crate) const UNKNOWN_KEY: &str =
    r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"the API key is not known"}"#;

/// The body of a 503.
pub(crate) const UNAVAILABLE: &str = concat!(
    r#"{"type":"about:blank","title":"Service Unavailable","status":503,"#,
    r#""detail":"API keys cannot be looked up just now"}"#
);

#[cfg(test)]
mod tests {
    use agw_sdk::json::{Json, parse};

    use super::*;

    #[test]
    fn bodies_are_json_with_their_status() {
        for (body, status) in [(NO_KEY, 401), (UNKNOWN_KEY, 401), (UNAVAILABLE, 503)] {
            let Ok(Json::Object(fields)) = parse(body.as_bytes()) else { panic!("{body}") };
            let found = fields.iter().find(|(name, _)| name == "status").and_then(|(_, value)| value.whole());
            assert_eq!(found, Some(status), "{body}");
        }
    }
}
