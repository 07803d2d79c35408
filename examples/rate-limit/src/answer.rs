//! What the client is told: headers and problem documents.
//!
//! Sources: draft-ietf-httpapi-ratelimit-headers and RFC 9457. The policy's name has no character that a quoted
//! string or JSON would have to escape; the configuration sees to that.

use crate::config::Config;
use crate::window::Standing;

/// The value of `RateLimit-Policy`: what holds.
pub(crate) fn policy(config: &Config) -> String {
    format!("\"{}\";q={};w={}", config.name, config.limit, config.window)
}

/// The value of `RateLimit`: where the client stands.
pub(crate) fn limit(config: &Config, standing: Standing) -> String {
    format!("\"{}\";r={};t={}", config.name, standing.remaining(config), standing.reset_seconds())
}

/// The body of a 429.
pub(crate) fn quota_exceeded(config: &Config) -> String {
    format!(
        concat!(
            r#"{{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","#,
            r#""title":"Request cannot be satisfied as assigned quota has been exceeded","#,
            r#""status":429,"violated-policies":["{}"]}}"#
        ),
        config.name
    )
}

/// The body of a 503.
pub(crate) const REDUCED_CAPACITY: &str = concat!(
    r#"{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity","#,
    r#""title":"Request cannot be satisfied due to temporary server capacity constraints","status":503}"#
);

#[cfg(test)]
mod tests {
    use tinyjson::JsonValue;

    use super::*;

    #[test]
    fn headers_follow_the_draft() {
        let config = Config::parse(br#"{"limit": 5, "window": 10}"#).unwrap();
        assert_eq!(policy(&config), r#""default";q=5;w=10"#);
        assert_eq!(limit(&config, Standing { count: 6, left_ms: 6500 }), r#""default";r=0;t=7"#);
        assert_eq!(limit(&config, Standing { count: 1, left_ms: 10_000 }), r#""default";r=4;t=10"#);
    }

    #[test]
    fn bodies_are_json() {
        let config = Config::parse(br#"{"limit": 5, "window": 10, "name": "a.b-c_1"}"#).unwrap();
        let body: JsonValue = quota_exceeded(&config).parse().unwrap();
        assert_eq!(body["status"], JsonValue::Number(429.0));
        assert_eq!(body["violated-policies"][0], JsonValue::String("a.b-c_1".into()));
        let body: JsonValue = REDUCED_CAPACITY.parse().unwrap();
        assert_eq!(body["status"], JsonValue::Number(503.0));
    }
}
