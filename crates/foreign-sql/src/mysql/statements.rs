//! Prepared statements. The driver keeps those of a connection, the one that was not used for longest giving way.

use agw_wire::CallError;
use mysql_common::named_params::ParsedNamedParams;

use crate::error::invalid;

/// The driver takes `:name` for a parameter of its own and rewrites the text, which the gate has not seen then.
///
/// # Errors
/// `invalid`.
pub(crate) fn check_names(text: &str) -> Result<(), CallError> {
    if !text.contains(':') {
        return Ok(());
    }
    match ParsedNamedParams::parse(text.as_bytes()) {
        Ok(parsed) if parsed.params().is_empty() => Ok(()),
        _ => Err(invalid("a colon with a name behind it stands in the statement; placeholders are `?`")),
    }
}

/// Functions whose effect stays with the session, and which the server does not report as a change of it. `@` begins a
/// variable.
const TRACES: [&str; 3] = ["@", "get_lock", "release_"];

/// Whether what a statement does may stay with the session.
pub(crate) fn leaves_traces(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    TRACES.iter().any(|trace| lower.contains(trace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_drivers_own_are_refused_and_colons_elsewhere_are_not() {
        for text in ["SELECT :a", "SELECT ? + :a", "SELECT a FROM t WHERE b=:b_1"] {
            assert!(check_names(text).is_err(), "{text}");
        }
        for text in ["SELECT ':a', \":b\", `:c`", "SELECT @x := 1", "SELECT 1 /* :a */", "SELECT ?"] {
            assert!(check_names(text).is_ok(), "{text}");
        }
    }
}
