//! The callback-style calls of one VM.

use std::collections::HashMap;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// As many calls are under way as the VM may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the VM has {max} calls under way, and may not have more")]
pub struct TableFull {
    /// The bound.
    pub max: usize,
}

/// The callback-style calls of one VM, by id. Ids are never 0 and never those of a call that has not finished.
///
/// Dropping the table cancels every call in it.
#[derive(Debug)]
pub struct CallTable {
    calls: HashMap<u32, CancellationToken>,
    last: u32,
    max: usize,
}

// === impl CallTable ===

impl CallTable {
    /// At most `max` calls at once.
    pub fn new(max: usize) -> Self {
        CallTable { calls: HashMap::new(), last: 0, max }
    }

    /// A new call: its id, and the token to put into its `CallSite`. The token also fires with `parent`, the
    /// token of the calling context.
    ///
    /// # Errors
    /// [`TableFull`] at the bound; the guest gets `overloaded`.
    pub fn begin(&mut self, parent: &CancellationToken) -> Result<(u32, CancellationToken), TableFull> {
        if self.calls.len() >= self.max.min(u32::MAX as usize - 1) {
            return Err(TableFull { max: self.max });
        }
        // Ends: fewer ids are taken than there are.
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.calls.contains_key(&self.last) {
                break;
            }
        }
        let token = parent.child_token();
        self.calls.insert(self.last, token.clone());
        Ok((self.last, token))
    }

    /// Takes a call back: it ends with `cancelled`, unless its answer was on its way already. False if no such call
    /// is under way. The id stays taken until the call has finished.
    pub fn cancel(&mut self, id: u32) -> bool {
        match self.calls.get(&id) {
            Some(token) if !token.is_cancelled() => {
                token.cancel();
                true
            }
            _ => false,
        }
    }

    /// The call has ended. True if it was under way, so that its answer is to be delivered, be it `cancelled`.
    pub fn finish(&mut self, id: u32) -> bool {
        self.calls.remove(&id).is_some()
    }

    /// Calls that have not finished.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether no call is under way.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

impl Drop for CallTable {
    fn drop(&mut self) {
        for token in self.calls.values() {
            token.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_bound_a_call_is_refused_until_one_finishes() {
        let (mut table, parent) = (CallTable::new(2), CancellationToken::new());
        let (first, _) = table.begin(&parent).unwrap();
        table.begin(&parent).unwrap();
        assert_eq!(table.begin(&parent).unwrap_err(), TableFull { max: 2 });
        assert!(table.finish(first));
        assert!(table.begin(&parent).is_ok());
    }

    #[test]
    fn an_id_is_never_zero_and_never_that_of_a_live_call() {
        let (mut table, parent) = (CallTable::new(3), CancellationToken::new());
        let (first, _) = table.begin(&parent).unwrap();
        table.last = u32::MAX - 1;
        assert_eq!(table.begin(&parent).unwrap().0, u32::MAX);
        let (third, _) = table.begin(&parent).unwrap();
        assert_eq!((first, third), (1, 2), "0 is left out and 1 still lives");
    }

    #[test]
    fn a_cancelled_call_keeps_its_id_until_it_has_answered() {
        let (mut table, parent) = (CallTable::new(2), CancellationToken::new());
        let (id, token) = table.begin(&parent).unwrap();
        assert!(table.cancel(id));
        assert!(token.is_cancelled());
        assert!(!table.cancel(id), "twice is once");
        assert_eq!(table.len(), 1);
        assert!(table.finish(id));
        assert!(table.is_empty());
        assert!(!table.finish(id), "unknown by now");
    }

    #[test]
    fn a_call_ends_with_its_context_or_its_vm() {
        let (mut table, parent) = (CallTable::new(2), CancellationToken::new());
        let other = CancellationToken::new();
        let (id, with_context) = table.begin(&parent).unwrap();
        let (_, with_vm) = table.begin(&other).unwrap();
        parent.cancel();
        assert!(with_context.is_cancelled() && !with_vm.is_cancelled());
        assert!(table.finish(id), "the context's end is its host's to heed");
        drop(table);
        assert!(with_vm.is_cancelled());
    }
}
