//! Where a run was made: without it, no figure means anything.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use crate::peers::{Peer, said};

/// Facts of the machine and of the programs, found out at the start of a run. What cannot be found out is `unknown`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Day and time, UTC.
    pub(crate) date: String,
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    /// Load averages before the run.
    pub(crate) load_before: String,
    pub(crate) versions: BTreeMap<String, String>,
}

// === impl Machine ===

impl Machine {
    pub(crate) fn look(peers: &[Peer]) -> Self {
        let mut versions: BTreeMap<String, String> =
            peers.iter().map(|peer| (peer.name().to_owned(), known(peer.version().ok()))).collect();
        let given = std::env::var_os("AGW_TEST_BIN").map(|_| "unknown (AGW_TEST_BIN)".to_owned());
        versions.insert("agw".to_owned(), known(given.or_else(revision)));
        versions.insert("rustc".to_owned(), known(said("rustc", &["--version"]).ok()));
        versions.insert("redis-server".to_owned(), known(said("redis-server", &["--version"]).ok()));
        Machine {
            date: known(said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).ok()),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            processor: known(field("/proc/cpuinfo", "model name")),
            memory: known(field("/proc/meminfo", "MemTotal")),
            kernel: known(fs::read_to_string("/proc/sys/kernel/osrelease").ok()),
            load_before: known(fs::read_to_string("/proc/loadavg").ok()),
            versions,
        }
    }
}

fn known(fact: Option<String>) -> String {
    fact.map(|fact| fact.trim().to_owned())
        .filter(|fact| !fact.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The value of the first line that begins with this name, after its colon.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.to_owned())
}

/// The commit, and whether the work tree differs from it.
fn revision() -> Option<String> {
    let root = agw_tests::cargo::workspace();
    let root = root.to_str()?;
    let commit = said("git", &["-C", root, "rev-parse", "--short=12", "HEAD"]).ok()?;
    let changed = said("git", &["-C", root, "status", "--porcelain", "--untracked-files=no"]).ok()?;
    Some(if changed.is_empty() { commit } else { format!("{commit} with changes") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_found_out_is_unknown() {
        assert_eq!(known(None), "unknown");
        assert_eq!(known(Some(" \n".to_owned())), "unknown");
        assert_eq!(field("/proc/no-such-file", "x"), None);
    }

    #[test]
    fn this_machine_has_cores_and_a_kernel() {
        let machine = Machine::look(&[]);
        assert!(machine.cores > 0);
        assert_ne!(machine.kernel, "unknown");
        assert_ne!(machine.versions["rustc"], "unknown");
    }
}
