//! What the client is told: headers and problem documents.
//!
//! Sources: draft-ietf-httpapi-ratelimit-headers and RFC 9457. The policy's name has no character that a quoted
//! string or JSON would have to escape; the configuration sees to that.

use agw_sdk::put_decimal;

use crate::config::Config;
use crate::window::Standing;

/// The value of `RateLimit-Policy`: what holds.
pub(crate) fn policy(config: &Config) -> String {
    format!("\"{}\";q={};w={}", config.name, config.limit, config.window)
}

/// The value of `RateLimit`: where the client stands.
pub(crate) fn limit(config: &Config, standing: Standing) -> Vec<u8> {
    // Two numbers of at most 20 digits.
    let mut value = Vec::with_capacity(config.name.len() + 48);
    value.push(b'"');
    value.extend_from_slice(config.name.as_bytes());
    value.extend_from_slice(b"\";r=");
    put_decimal(&mut value, standing.remaining(config));
    value.extend_from_slice(b";t=");
    put_decimal(&mut value, standing.reset_seconds());
    value
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
    use agw_sdk::json::{Json, parse};

    use super::*;

    #[test]
    fn headers_follow_the_draft() {
        let config = Config::parse(br#"{"limit": 5, "window": 10}"#).unwrap();
        assert_eq!(policy(&config), r#""default";q=5;w=10"#);
        assert_eq!(limit(&config, Standing { count: 6, left_ms: 6500 }), br#""default";r=0;t=7"#);
        assert_eq!(limit(&config, Standing { count: 1, left_ms: 10_000 }), br#""default";r=4;t=10"#);
    }

    fn field(body: &str, name: &str) -> Json {
        let Ok(Json::Object(fields)) = parse(body.as_bytes()) else { panic!("{body}") };
        fields.into_iter().find(|(found, _)| found == name).unwrap().1
    }

    #[test]
    fn bodies_are_json() {
        let config = Config::parse(br#"{"limit": 5, "window": 10, "name": "a.b-c_1"}"#).unwrap();
        let body = quota_exceeded(&config);
        assert_eq!(field(&body, "status").whole(), Some(429));
        assert_eq!(field(&body, "violated-policies"), Json::Array(vec![Json::String("a.b-c_1".into())]));
        assert_eq!(field(REDUCED_CAPACITY, "status").whole(), Some(503));
    }
}
