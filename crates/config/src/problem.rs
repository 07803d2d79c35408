//! What is wrong with a document, said so that its author can put it right.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;

/// One thing that is wrong, or unwise, in a document.
///
/// Neither text ever holds a secret, or a value that may carry one, such as a URL with userinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the document, as its caller gave it.
    pub origin: String,
    /// Where in the document, such as `routes[2].match.prefix`; `document` for the whole of it. Never empty.
    pub path: String,
    /// Line of the document, counted from 1, where it is known.
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// `FILE:12: routes[2].cluster: no cluster is named "ech". Did you mean "echo"?`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {}. {}", self.path, self.message, self.hint)
    }
}

/// Problems of one document that are kept, and as many warnings: nobody reads more, and each may take a search for the
/// nearest name.
const FINDINGS_MAX: usize = 1000;
/// Names that are compared with a word for which there is none.
const COMPARED_NAMES_MAX: usize = 1000;

/// Collects what is found on the way through one document.
pub(crate) struct Report {
    origin: String,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Report {
    pub(crate) fn new(origin: &str) -> Self {
        Report { origin: origin.to_owned(), problems: RefCell::default(), warnings: RefCell::default() }
    }

    /// Records something that refuses the document.
    pub(crate) fn problem(&self, path: &str, line: Option<u32>, message: String, hint: String) {
        self.add(&self.problems, self.build(path, line, message, hint));
    }

    /// Records something legal but unwise.
    pub(crate) fn warning(&self, path: &str, line: Option<u32>, message: String, hint: String) {
        self.add(&self.warnings, self.build(path, line, message, hint));
    }

    /// What is beyond the bound is dropped, and the first such finding says so in its place.
    fn add(&self, found: &RefCell<Vec<Problem>>, problem: Problem) {
        let mut found = found.borrow_mut();
        match found.len() {
            FINDINGS_MAX => {
                let message = format!("there is more than these {FINDINGS_MAX}");
                found.push(self.build("", None, message, "Correct these first".to_owned()));
            }
            count if count < FINDINGS_MAX => found.push(problem),
            _ => {}
        }
    }

    /// Whether another problem would be dropped.
    pub(crate) fn is_full(&self) -> bool {
        self.problems.borrow().len() >= FINDINGS_MAX
    }

    fn build(&self, path: &str, line: Option<u32>, message: String, hint: String) -> Problem {
        let path = if path.is_empty() { "document" } else { path }.to_owned();
        Problem { origin: self.origin.clone(), path, line, message, hint }
    }

    /// Problems and warnings, each in the order of the document.
    pub(crate) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |found: RefCell<Vec<Problem>>| {
            let mut found = found.into_inner();
            found.sort_by_key(|problem| problem.line);
            found
        };
        (sorted(self.problems), sorted(self.warnings))
    }
}

/// A word of the document in quotes, fit for a terminal and a log: escaped, shortened, and hidden if it may carry
/// credentials (`user:password@host`).
pub(crate) fn quoted(text: &str) -> String {
    if text.contains('@') {
        return "the value (not shown, it has an \"@\")".to_owned();
    }
    shortened(text, 60)
}

/// A path in quotes, fit for a terminal and a log.
pub(crate) fn quoted_path(path: &Path) -> String {
    shortened(&path.to_string_lossy(), 1000)
}

fn shortened(text: &str, chars_max: usize) -> String {
    let mut shown: String = text.chars().take(chars_max).flat_map(char::escape_debug).collect();
    if text.chars().nth(chars_max).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}

/// `Did you mean "echo"?`, or else the names there are.
pub(crate) fn did_you_mean<'n>(word: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    const LISTED_MAX: usize = 20;
    let near = names.clone().take(COMPARED_NAMES_MAX).map(|name| (distance(word, name), name)).min();
    match near {
        Some((edits, name)) if edits <= 1 + name.chars().count() / 4 => {
            format!("Did you mean {}?", quoted(name))
        }
        Some(_) => {
            let mut listed: Vec<String> = names.clone().take(LISTED_MAX).map(quoted).collect();
            if names.count() > LISTED_MAX {
                listed.push("...".to_owned());
            }
            format!("There are: {}", listed.join(", "))
        }
        None => "There are none".to_owned(),
    }
}

/// Edits between two words: insert, delete, replace, or swap two neighbours. Words longer than any field or name
/// are not compared, which bounds the work.
fn distance(left: &str, right: &str) -> usize {
    const COMPARED_CHARS_MAX: usize = 128;
    let left: Vec<char> = left.chars().take(COMPARED_CHARS_MAX + 1).collect();
    let right: Vec<char> = right.chars().take(COMPARED_CHARS_MAX + 1).collect();
    if left.len() > COMPARED_CHARS_MAX || right.len() > COMPARED_CHARS_MAX {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, from) in left.iter().enumerate() {
        let mut here = vec![row + 1];
        for (column, to) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(from != to);
            let mut least = replaced.min(above[column + 1] + 1).min(here[column] + 1);
            if row > 0 && column > 0 && *from == right[column - 1] && left[row - 1] == *to {
                least = least.min(before[column - 1] + 1);
            }
            here.push(least);
        }
        before = std::mem::replace(&mut above, here);
    }
    above.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_may_carry_credentials_is_not_quoted() {
        assert!(!quoted("redis://user:hunter2@host").contains("hunter2"));
    }

    #[test]
    fn control_characters_of_a_value_do_not_reach_the_terminal() {
        assert_eq!(quoted("a\u{1b}[31m\n"), "\"a\\u{1b}[31m\\n\"");
    }

    #[test]
    fn a_long_value_is_shortened() {
        assert!(quoted(&"x".repeat(100_000)).len() < 80);
        assert!(quoted_path(Path::new(&"x".repeat(100_000))).len() < 1100);
    }

    #[test]
    fn distance_counts_each_kind_of_edit_once() {
        assert_eq!(distance("cluster", "cluster"), 0);
        assert_eq!(distance("clusetr", "cluster"), 1);
        assert_eq!(distance("luster", "cluster"), 1);
        assert_eq!(distance("clusters", "cluster"), 1);
        assert_eq!(distance("clxster", "cluster"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let names = ["echo", "backend"];
        assert_eq!(did_you_mean("ech", names.into_iter()), "Did you mean \"echo\"?");
        assert_eq!(did_you_mean("other", names.into_iter()), "There are: \"echo\", \"backend\"");
        assert_eq!(did_you_mean("x", [].into_iter()), "There are none");
    }
}
