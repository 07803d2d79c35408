//! Whom a key belongs to, and the call that finds out.

use agw_sdk::Error;
use agw_sdk::sql::{Cell, FromRow, Row, SqlCall, Uuid};

use crate::config::Config;

/// Whom a key belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) tier: Option<String>,
}

impl FromRow for User {
    fn from_row(row: &Row<'_>) -> Result<Self, Error> {
        let id = match row.get("user_id")? {
            Cell::Int(id) => id.to_string(),
            Cell::Uint(id) => id.to_string(),
            Cell::Uuid(id) => Uuid(id).to_string(),
            _ => row.get("user_id")?,
        };
        Ok(User { id, tier: row.get("tier")? })
    }
}

impl User {
    /// Asks for the owner of the key with this hash, and does not wait: while the database answers, the VM serves other
    /// requests. A key that nobody has is `None`.
    pub(crate) fn find(config: &Config, key_hash: &str) -> Result<SqlCall<Option<User>>, Error> {
        agw_sdk::sql(&config.resource)?.named(&config.statement).bind(key_hash).start_query_optional()
    }

    /// Whether headers can say it. Others may have written it into the database.
    pub(crate) fn fits_headers(&self) -> bool {
        is_header_value(&self.id) && self.tier.as_deref().is_none_or(is_header_value)
    }
}

/// Visible ASCII with spaces inside; what lies beyond means different things to different upstreams.
fn is_header_value(value: &str) -> bool {
    !value.is_empty() && value.trim() == value && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_header_cannot_say_does_not_fit() {
        for value in ["", " ", "a ", "a\r\nx-admin: 1", "a\0", "\u{7f}", "é"] {
            let id = User { id: value.into(), tier: None };
            let tier = User { id: "1".into(), tier: Some(value.into()) };
            assert!(!id.fits_headers() && !tier.fits_headers(), "{value:?}");
        }
        assert!(User { id: "42".into(), tier: None }.fits_headers());
        assert!(User { id: "a b".into(), tier: Some("pro".into()) }.fits_headers());
    }
}
