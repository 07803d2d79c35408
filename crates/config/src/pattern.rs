//! Regular expressions of documents: one way to compile them, for the check here and for whoever matches with them.
//!
//! They work on bytes without Unicode classes: `\w`, `\d` and `(?i)` mean ASCII, and `.` is any byte but a newline.
//! Paths and headers are bytes, and such an expression stays small. There is no backtracking: a match takes time
//! linear in the text, whatever the pattern.

use regex::Error;
use regex::bytes::{Regex, RegexBuilder};

/// Memory of a compiled expression; a counted repetition can ask for any amount.
const COMPILED_BYTES_MAX: usize = 256 * 1024;
/// Memory of the states that a search keeps, per thread; it starts over beyond.
const CACHE_BYTES_MAX: usize = 512 * 1024;

/// Compiles a pattern of [`PathMatch::Regex`] or [`ValueMatch::Regex`]: it has to match the whole text.
///
/// [`PathMatch::Regex`]: crate::PathMatch::Regex
/// [`ValueMatch::Regex`]: crate::ValueMatch::Regex
///
/// # Errors
///
/// It is no expression, or too large. Patterns of a snapshot give none.
pub fn whole_pattern(pattern: &str) -> Result<Regex, Error> {
    // Alone first: `a)|(b` is an expression only inside the parentheses.
    search_pattern(pattern)?;
    compile(&format!(r"\A(?:{pattern})\z"))
}

/// Compiles a pattern of [`PathRewrite::Regex`]: it may match anywhere, and more than once.
///
/// [`PathRewrite::Regex`]: crate::PathRewrite::Regex
///
/// # Errors
///
/// As for [`whole_pattern`].
pub fn search_pattern(pattern: &str) -> Result<Regex, Error> {
    compile(pattern)
}

fn compile(pattern: &str) -> Result<Regex, Error> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(CACHE_BYTES_MAX)
        .build()
}

/// What is wrong with a pattern, in one line and without the pattern.
pub(crate) fn reason(error: &Error) -> String {
    match error {
        Error::CompiledTooBig(_) => "it is too large when compiled".to_owned(),
        _ => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim().trim_start_matches("error: ").to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_would_escape_its_anchors_is_refused() {
        for pattern in ["a)|(b", "a)|(?:b", "(", "[", "*", "(?x) a # b", r"\p{Greek}", "a{1000}{1000}"] {
            assert!(whole_pattern(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_whole_pattern_matches_nothing_around_it() {
        let pattern = whole_pattern("/a|/b/[0-9]+").expect("it compiles");
        for text in ["/a", "/b/12"] {
            assert!(pattern.is_match(text.as_bytes()), "{text}");
        }
        for text in ["/ab", "x/a", "/b/12x", "/a\n", "/a/b/1"] {
            assert!(!pattern.is_match(text.as_bytes()), "{text}");
        }
        let multiline = whole_pattern("(?m)^/a$").expect("it compiles");
        assert!(!multiline.is_match(b"/x\n/a"));
    }

    #[test]
    fn bytes_that_are_no_text_match_as_bytes() {
        assert!(whole_pattern("[^/]+").expect("it compiles").is_match(b"\xff\xfe"));
        assert!(!whole_pattern(r"\w").expect("it compiles").is_match("é".as_bytes()));
    }

    #[test]
    fn the_reason_is_one_line_without_the_pattern() {
        assert_eq!(reason(&search_pattern("secret(").expect_err("unclosed")), "unclosed group");
        assert_eq!(
            reason(&search_pattern("a{1000}{1000}").expect_err("large")),
            "it is too large when compiled"
        );
    }
}
