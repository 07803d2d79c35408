//! Rows that are not in the database yet, and which of them go next.

use std::collections::VecDeque;

/// A bounded queue. A batch stays at its front until the database has it.
#[derive(Debug)]
pub(crate) struct Buffer<T> {
    rows: VecDeque<T>,
    rows_max: usize,
    batch_max: usize,
    /// Rows at the front that are on their way.
    under_way: usize,
    /// Rows at the front that go one by one, because the database refused them together.
    apart: usize,
}

impl<T> Buffer<T> {
    pub(crate) fn new(rows_max: usize, batch_max: usize) -> Buffer<T> {
        Buffer { rows: VecDeque::new(), rows_max, batch_max, under_way: 0, apart: 0 }
    }

    /// Takes a row, if there is room for it.
    #[must_use]
    pub(crate) fn push(&mut self, row: T) -> bool {
        let room = self.rows.len() < self.rows_max;
        if room {
            self.rows.push_back(row);
        }
        room
    }

    /// The rows that go next, which are on their way from now on. None are left, or some are on their way already: then
    /// there are none.
    pub(crate) fn send(&mut self) -> Vec<&T> {
        if self.under_way > 0 {
            return Vec::new();
        }
        let batch = if self.apart > 0 { 1 } else { self.batch_max };
        self.under_way = batch.min(self.rows.len());
        self.rows.iter().take(self.under_way).collect()
    }

    /// Whether rows should go before the next tick: enough for a batch, or some that have been held up.
    pub(crate) fn is_due(&self) -> bool {
        self.under_way == 0 && (self.rows.len() >= self.batch_max || self.apart > 0)
    }

    /// The database has what was on its way. So many rows.
    pub(crate) fn written(&mut self) -> usize {
        self.apart = self.apart.saturating_sub(self.under_way);
        self.leave()
    }

    /// Nobody knows whether the database has what was on its way: it goes again.
    pub(crate) fn failed(&mut self) {
        self.under_way = 0;
    }

    /// The database will never take what was on its way: one of these rows, or the only one. The only one is dropped; of
    /// several each goes by itself. So many rows are dropped.
    pub(crate) fn refused(&mut self) -> usize {
        if self.under_way > 1 {
            self.apart = self.under_way;
            self.under_way = 0;
            return 0;
        }
        self.written()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    fn leave(&mut self) -> usize {
        self.rows.drain(..self.under_way);
        std::mem::take(&mut self.under_way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(rows: u32) -> Buffer<u32> {
        let mut buffer = Buffer::new(10, 4);
        assert!((0..rows).all(|row| buffer.push(row)));
        buffer
    }

    #[test]
    fn a_full_buffer_takes_no_more_until_rows_are_written() {
        let mut buffer = filled(10);
        assert!(!buffer.push(10));
        assert_eq!(buffer.send(), [&0, &1, &2, &3]);
        assert!(!buffer.push(10), "rows on their way count");
        assert_eq!((buffer.written(), buffer.len()), (4, 6));
        assert!(buffer.push(10));
    }

    #[test]
    fn one_batch_is_on_its_way_at_a_time_and_a_failed_one_goes_again() {
        let mut buffer = filled(6);
        assert!(buffer.is_due());
        assert_eq!(buffer.send().len(), 4);
        assert!(!buffer.is_due() && buffer.send().is_empty());
        buffer.failed();
        assert_eq!(buffer.send(), [&0, &1, &2, &3]);
        buffer.written();
        assert!(!buffer.is_due(), "two rows can wait for a tick");
        assert_eq!(buffer.send(), [&4, &5]);
        assert_eq!((buffer.written(), buffer.len()), (2, 0));
        assert!(buffer.send().is_empty());
    }

    #[test]
    fn of_a_refused_batch_only_the_row_that_is_to_blame_is_dropped() {
        let mut buffer = filled(6);
        buffer.send();
        assert_eq!(buffer.refused(), 0);
        let mut dropped = Vec::new();
        for row in 0..4 {
            assert!(buffer.is_due());
            assert_eq!(buffer.send(), [&row]);
            if row == 2 {
                dropped.push(buffer.refused());
            } else {
                // A failure in between changes nothing.
                buffer.failed();
                assert_eq!(buffer.send(), [&row]);
                buffer.written();
            }
        }
        assert_eq!((dropped, buffer.len()), (vec![1], 2));
        assert_eq!(buffer.send(), [&4, &5], "together again");
    }
}
