//! Index ranges in which negative numbers count from the end.

/// Where the range starts and how many items it has; `None` when it is empty.
pub(super) fn resolve(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_end = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let start = from_end(start).max(0);
    let end = from_end(end).min(len - 1);
    if start > end {
        return None;
    }
    Some((usize::try_from(start).ok()?, usize::try_from(end - start + 1).ok()?))
}

/// The place that an index names, if it is in the list.
pub(super) fn place(index: i64, len: usize) -> Option<usize> {
    resolve(index, index, len).filter(|_| index >= 0 || index.unsigned_abs() <= len as u64).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extreme_indexes_neither_overflow_nor_leave_the_range() {
        for (start, end, len, expected) in [
            (0, -1, 3, Some((0, 3))),
            (i64::MIN, i64::MAX, 3, Some((0, 3))),
            (i64::MAX, i64::MIN, 3, None),
            (-2, -1, 3, Some((1, 2))),
            (0, -4, 3, None),
            (0, 0, 0, None),
            (2, 1, 3, None),
        ] {
            assert_eq!(resolve(start, end, len), expected, "{start} {end} {len}");
        }
        assert_eq!([place(-3, 3), place(-4, 3), place(2, 3), place(3, 3)], [Some(0), None, Some(2), None]);
    }
}
