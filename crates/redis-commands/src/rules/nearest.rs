//! Finds the command that a misspelt name may have meant. Only for configuration: it walks the whole table.

use crate::command::Command;
use crate::table;

const NAME_BYTES_MAX: usize = 32;

/// The grantable command whose name takes the fewest edits, if they are few for a name of this length.
pub(super) fn to(name: &str) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let most = (name.len() / 3).clamp(1, 3);
    table::all()
        .iter()
        .filter(|command| command.grantable())
        .map(|command: &Command| (edits(name.as_bytes(), command.name.as_bytes()), command.name))
        .min()
        .filter(|(edits, _)| *edits <= most)
        .map(|(_, name)| name)
}

/// Levenshtein's distance.
fn edits(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}
