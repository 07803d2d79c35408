//! What is promised, and whether it held.

use std::fmt::Display;
use std::time::Duration;

/// Prints promises with their figures, and counts those that did not hold.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// A promise about time is printed and not judged: for small runs on any machine.
    pub(crate) untimed: bool,
    pub(crate) failed: usize,
}

impl Verdict {
    /// Prints a promise with its figure.
    pub(crate) fn check(&mut self, promise: &str, holds: bool, figure: impl Display) {
        println!("{} {promise}: {figure}", if holds { "PASS" } else { "FAIL" });
        self.failed += usize::from(!holds);
    }

    /// Prints a promise about time with its figure.
    pub(crate) fn timed(&mut self, promise: &str, holds: bool, figure: impl Display) {
        if self.untimed {
            println!("     {promise}: {figure}");
        } else {
            self.check(promise, holds, figure);
        }
    }

    /// Promises that something takes `most` at most.
    pub(crate) fn within(&mut self, promise: &str, most: Duration, figure: Duration) {
        self.timed(&format!("{promise}, at most {most:?}"), figure <= most, format!("{figure:.1?}"));
    }
}
