//! Command names in grants, checked against the table of Redis commands.

use agw_redis_commands::{Safety, lookup};

use crate::problem::quoted;
use crate::reader::Item;

/// Whether a grant may name this command, in lower case; if not, what is wrong and what to do.
pub(super) fn check(item: &Item<'_>, name: &str, read_only: bool) -> Result<(), (String, String)> {
    let Some(command) = lookup(name.as_bytes()) else {
        let names = agw_redis_commands::all().iter().map(|command| command.name);
        return Err((
            format!("{} is no Redis command that is known here", quoted(name)),
            item.suggest(name, names),
        ));
    };
    if let Safety::Refused(reason) = command.safety {
        return Err((format!("{} is never granted: {reason}", quoted(name)), "Remove it".to_owned()));
    }
    if read_only && (command.writes || command.publishes()) {
        let message = format!("{} writes or publishes, and the grant is read-only", quoted(name));
        return Err((message, "Remove it, or write read_only: false".to_owned()));
    }
    Ok(())
}
