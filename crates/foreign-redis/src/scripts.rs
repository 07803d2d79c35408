//! The operator's scripts: called by name, run by the SHA-1 of their text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use agw_wire::resp;
use ring::digest;

/// Replies to `SCRIPT LOAD` are 40 digits each.
pub(crate) const LOADED_BYTES_MAX: usize = 1024;

/// One script.
pub(crate) struct Script {
    /// 40 lower-case hex digits.
    pub(crate) sha1: String,
    /// `SCRIPT LOAD` with its text, encoded.
    pub(crate) load: Vec<u8>,
}

/// All scripts of one resource.
pub(crate) struct Scripts {
    by_name: BTreeMap<String, Arc<Script>>,
    /// All of them loaded at once.
    load_all: Vec<u8>,
}

// === impl Scripts ===

impl Scripts {
    pub(crate) fn new(scripts: &BTreeMap<String, String>) -> Self {
        let by_name: BTreeMap<_, _> =
            scripts.iter().map(|(name, text)| (name.clone(), Arc::new(Script::new(text)))).collect();
        let load_all = by_name.values().flat_map(|script| script.load.iter().copied()).collect();
        Scripts { by_name, load_all }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Script>> {
        self.by_name.get(name)
    }

    /// `SCRIPT LOAD` for every script, and how many replies that gets.
    pub(crate) fn load_all(&self) -> (&[u8], usize) {
        (&self.load_all, self.by_name.len())
    }
}

// === impl Script ===

impl Script {
    fn new(text: &str) -> Self {
        let mut load = Vec::new();
        resp::put_command(&mut load, &[b"SCRIPT", b"LOAD", text.as_bytes()]);
        // Not a matter of secrecy: Redis names scripts so.
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let mut sha1 = String::with_capacity(40);
        for byte in digest.as_ref() {
            let _ = write!(sha1, "{byte:02x}");
        }
        Script { sha1, load }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_named_by_the_sha_1_of_its_text() {
        assert_eq!(Script::new("return 1").sha1, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
