//! The rights of a resource's account, as far as they could lead out of a read-only session.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::failure::connect_error;
use crate::error::ConnectError;

/// Rights on everything with which files of the server are read and written, or its settings changed.
const ESCAPES: [&str; 3] = ["ALL PRIVILEGES", "FILE", "SUPER"];

/// # Errors
/// [`ConnectError::Open`] for an account that could escape; waiting does not help.
pub(crate) async fn check(conn: &mut Conn) -> Result<(), ConnectError> {
    // Of the account and of the role that is active.
    let grants: Vec<Row> = conn.query("SHOW GRANTS").await.map_err(connect_error)?;
    for grant in grants {
        let text = grant.get_opt::<String, _>(0).and_then(Result::ok).unwrap_or_default();
        if let Some(right) = escape(&text) {
            let message = format!(
                "the account of this resource has {right} ON *.*, and a read-only grant could be escaped with it: use an \
                 account without it (CREATE USER, and GRANT what is needed ON its database)"
            );
            return Err(ConnectError::Open(message.into()));
        }
    }
    Ok(())
}

/// `GRANT SELECT, FILE ON *.* TO ...`
fn escape(grant: &str) -> Option<&'static str> {
    let (rights, _) = grant.strip_prefix("GRANT ")?.split_once(" ON *.* TO ")?;
    ESCAPES.into_iter().find(|escape| rights.split(',').any(|right| right.trim() == *escape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_on_everything_are_found_and_others_are_not() {
        for (grant, right) in [
            ("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION", Some("ALL PRIVILEGES")),
            ("GRANT SELECT, FILE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*0'", Some("FILE")),
            ("GRANT SUPER ON *.* TO `a`@`%`", Some("SUPER")),
            ("GRANT USAGE ON *.* TO `FILE`@`%`", None),
            ("GRANT ALL PRIVILEGES ON `app`.* TO `a`@`%`", None),
            ("GRANT SELECT (`FILE`) ON `app`.`t` TO `a`@`%`", None),
            ("GRANT `FILE` TO `a`@`%`", None),
        ] {
            assert_eq!(escape(grant), right, "{grant}");
        }
    }
}
