//! The callback-style calls of one VM.

use std::collections::BTreeMap;

use thiserror::Error;
use tokio::sync::oneshot;

/// As many calls are under way as the VM may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the VM has {max} calls under way, and may not have more")]
pub struct TableFull {
    /// The bound.
    pub max: usize,
}

/// The callback-style calls of one VM, by id. Ids are never 0 and never those of a call that has not finished.
///
/// Dropping the table takes back every call in it.
#[derive(Debug)]
pub struct CallTable {
    /// Without a sender, a call was taken back and has not answered yet.
    calls: BTreeMap<u32, Option<oneshot::Sender<()>>>,
    last: u32,
    max: usize,
}

// === impl CallTable ===

impl CallTable {
    /// At most `max` calls at once.
    pub fn new(max: usize) -> Self {
        CallTable { calls: BTreeMap::new(), last: 0, max }
    }

    /// A new call: its id, and what resolves once it is taken back, or the table is gone. That its context has ended
    /// is not the table's to tell: the call's `CallSite` has a token for it.
    ///
    /// # Errors
    /// [`TableFull`] at the bound; the guest gets `overloaded`.
    pub fn begin(&mut self) -> Result<(u32, oneshot::Receiver<()>), TableFull> {
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
        let (take_back, taken_back) = oneshot::channel();
        self.calls.insert(self.last, Some(take_back));
        Ok((self.last, taken_back))
    }

    /// Takes a call back: it ends with `cancelled`, unless its answer was on its way already. False if no such call
    /// is under way. The id stays taken until the call has finished.
    pub fn cancel(&mut self, id: u32) -> bool {
        // Dropping the sender is what tells.
        self.calls.get_mut(&id).and_then(Option::take).is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_back(call: &mut oneshot::Receiver<()>) -> bool {
        call.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn at_the_bound_a_call_is_refused_until_one_finishes() {
        let mut table = CallTable::new(2);
        let (first, _call) = table.begin().unwrap();
        table.begin().unwrap();
        assert_eq!(table.begin().unwrap_err(), TableFull { max: 2 });
        assert!(table.finish(first));
        assert!(table.begin().is_ok());
    }

    #[test]
    fn an_id_is_never_zero_and_never_that_of_a_live_call() {
        let mut table = CallTable::new(3);
        let (first, _call) = table.begin().unwrap();
        table.last = u32::MAX - 1;
        assert_eq!(table.begin().unwrap().0, u32::MAX);
        let (third, _call) = table.begin().unwrap();
        assert_eq!((first, third), (1, 2), "0 is left out and 1 still lives");
    }

    #[test]
    fn a_cancelled_call_keeps_its_id_until_it_has_answered() {
        let mut table = CallTable::new(2);
        let (id, mut call) = table.begin().unwrap();
        assert!(!taken_back(&mut call));
        assert!(table.cancel(id));
        assert!(taken_back(&mut call));
        assert!(!table.cancel(id), "twice is once");
        assert_eq!(table.len(), 1);
        assert!(table.finish(id));
        assert!(table.is_empty());
        assert!(!table.finish(id), "unknown by now");
    }

    #[test]
    fn a_call_ends_with_its_vm() {
        let mut table = CallTable::new(2);
        let (_, mut call) = table.begin().unwrap();
        drop(table);
        assert!(taken_back(&mut call));
    }
}
