//! Hosts that servers announce and that the operator does not allow.

use std::collections::HashSet;

use parking_lot::Mutex;

/// Said in the log; a server that makes up more is not worth the lines.
const SAID_MAX: usize = 100;

/// Those that were said already.
#[derive(Default)]
pub(crate) struct Refused(Mutex<HashSet<String>>);

// === impl Refused ===

impl Refused {
    /// Says so in the log, once for each host, and gives false.
    pub(crate) fn refuse(&self, resource: &str, host: &str) -> bool {
        let mut said = self.0.lock();
        if said.len() < SAID_MAX && said.insert(host.to_owned()) {
            tracing::warn!(
                resource.name = resource,
                host,
                "a server is announced where the resource's `announced` does not allow one; add its host or network there"
            );
        }
        false
    }
}
