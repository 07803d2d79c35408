//! A user's tier, and the call that finds it out.

use agw_sdk::Error;
use agw_sdk::sql::SqlCall;

use crate::config::Config;

/// Columns of the answer: the tier, NULL for a user who has none.
pub(crate) type Answer = Option<(Option<String>,)>;

/// Asks for the user's tier, and does not wait: while the database answers, the VM serves other requests.
pub(crate) fn find(config: &Config, user: &str) -> Result<SqlCall<Answer>, Error> {
    agw_sdk::sql(&config.resource)?.named(&config.statement).bind(user).start_query_optional()
}

/// The tier that routes are asked for: nobody's, and one that no route could name, is the default.
pub(crate) fn of(answer: Answer, default: &str) -> String {
    let tier = answer.and_then(|(tier,)| tier);
    tier.filter(|tier| is_tier(tier)).unwrap_or_else(|| default.into())
}

/// What a header can say and a route's condition name.
pub(crate) fn is_tier(tier: &str) -> bool {
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&tier.len()) && tier.bytes().all(belongs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_no_tier_has_the_default() {
        let long = "x".repeat(65);
        for tier in
            [None, Some(""), Some("pro "), Some("pro,free"), Some("a\r\nb"), Some("größe"), Some(&*long)]
        {
            assert_eq!(of(Some((tier.map(str::to_owned),)), "free"), "free", "{tier:?}");
        }
        assert_eq!(of(None, "free"), "free");
        assert_eq!(of(Some((Some("pro-2.1_x".into()),)), "free"), "pro-2.1_x");
    }
}
