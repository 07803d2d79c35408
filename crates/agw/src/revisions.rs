//! What this process has served with, and what it has refused: the page `/v1/revisions`.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Entries that are kept; the oldest gives way. What serves is always among them.
const ENTRIES_MAX: usize = 64;

/// The newest first.
#[derive(Debug, Default)]
pub(crate) struct Revisions {
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Of the document; nothing if it could not be read.
    digest: Option<String>,
    at: SystemTime,
    what: What,
}

#[derive(Debug)]
enum What {
    Applied { revision: u64, changes: Vec<String> },
    Refused { reasons: Vec<String>, times: u64 },
}

// === impl Revisions ===

impl Revisions {
    /// The revision serves from now on.
    pub(crate) fn applied(&mut self, revision: u64, digest: &str, changes: Vec<String>) {
        self.push(Some(digest.to_owned()), What::Applied { revision, changes });
    }

    /// A document was refused, and what served goes on. The same refusal again is counted, not listed. Returns whether
    /// it is another than the last.
    pub(crate) fn refused(&mut self, digest: Option<String>, reasons: Vec<String>) -> bool {
        if let Some(Entry { digest: theirs, at, what: What::Refused { reasons: known, times } }) =
            self.entries.front_mut()
            && *theirs == digest
            && *known == reasons
        {
            *times = times.saturating_add(1);
            *at = SystemTime::now();
            return false;
        }
        self.push(digest, What::Refused { reasons, times: 1 });
        true
    }

    fn push(&mut self, digest: Option<String>, what: What) {
        self.entries.push_front(Entry { digest, at: SystemTime::now(), what });
        if self.entries.len() > ENTRIES_MAX {
            // What serves stays, however much was refused since.
            let live = self.live_at();
            let oldest = self.entries.len() - 1;
            self.entries.remove(if live == Some(oldest) { oldest - 1 } else { oldest });
        }
    }

    fn live_at(&self) -> Option<usize> {
        self.entries.iter().position(|entry| matches!(entry.what, What::Applied { .. }))
    }

    /// The page.
    pub(crate) fn show(&self) -> Value {
        let live = self.live_at();
        let revision = live.and_then(|at| self.entries.get(at)).and_then(|entry| match &entry.what {
            What::Applied { revision, .. } => Some(*revision),
            What::Refused { .. } => None,
        });
        let entries = self.entries.iter().enumerate();
        let entries: Vec<_> = entries.map(|(at, entry)| entry.show(live == Some(at))).collect();
        json!({ "live": revision, "revisions": entries })
    }
}

// === impl Entry ===

impl Entry {
    fn show(&self, live: bool) -> Value {
        let at = self.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        match &self.what {
            What::Applied { revision, changes } => json!({
                "state": if live { "live" } else { "superseded" },
                "revision": revision,
                "digest": self.digest,
                "at": at,
                "changes": changes,
            }),
            What::Refused { reasons, times } => json!({
                "state": "refused",
                "digest": self.digest,
                "at": at,
                "reasons": reasons,
                "times": times,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_was_applied_is_live_whatever_was_refused_since() {
        let mut revisions = Revisions::default();
        revisions.applied(1, "a", Vec::new());
        revisions.applied(2, "b", vec!["route x: added".to_owned()]);
        assert!(revisions.refused(Some("c".to_owned()), vec!["no".to_owned()]));
        assert!(!revisions.refused(Some("c".to_owned()), vec!["no".to_owned()]));
        assert!(revisions.refused(Some("c".to_owned()), vec!["no longer".to_owned()]));
        let page = revisions.show();
        assert_eq!(page["live"], 2);
        let states: Vec<_> =
            page["revisions"].as_array().unwrap().iter().map(|entry| &entry["state"]).collect();
        assert_eq!(states, ["refused", "refused", "live", "superseded"]);
        assert_eq!(page["revisions"][1]["times"], 2);
    }

    #[test]
    fn the_list_is_bounded_and_never_forgets_what_serves() {
        let mut revisions = Revisions::default();
        revisions.applied(1, "a", Vec::new());
        for at in 0..ENTRIES_MAX * 2 {
            revisions.refused(None, vec![at.to_string()]);
        }
        let page = revisions.show();
        assert_eq!(page["revisions"].as_array().unwrap().len(), ENTRIES_MAX);
        assert_eq!(page["live"], 1);
    }
}
