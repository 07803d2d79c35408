//! Sizes of files and functions.

use super::Findings;
use super::files::TextFile;
use super::rules::{FILE_LINES_ASK, FILE_LINES_MAX, FUNCTION_LINES_ASK};

pub(super) fn check(files: &[TextFile], findings: &mut Findings) {
    for file in files.iter().filter(|file| file.path.ends_with(".rs") && !is_test(&file.path)) {
        let lines: Vec<&str> = production(&file.text).collect();
        let (path, count) = (&file.path, lines.len());
        if count > FILE_LINES_MAX {
            findings.violation(format!(
                "{path} has {count} lines without its tests; {FILE_LINES_MAX} are the limit"
            ));
        } else if count > FILE_LINES_ASK {
            findings.warning(format!("{path} has {count} lines without its tests: is it two files?"));
        }
        for (at, name, length) in functions(&lines) {
            if length > FUNCTION_LINES_ASK {
                findings
                    .warning(format!("{path}:{at}: fn {name} has {length} lines: does it do two things?"));
            }
        }
    }
}

/// Suites, and test modules in files of their own.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|folder| folder == "tests")
}

/// The lines before a test module at the file's end.
fn production(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| *line != "#[cfg(test)]")
}

/// Functions with a body: first line (from 1), name, number of lines. Relies on the formatting that rustfmt gives:
/// a body ends with a brace as far in as its `fn`.
fn functions<'a>(lines: &[&'a str]) -> Vec<(usize, &'a str, usize)> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let ends = |line: &&str| line.len() > indent && line.split_at(indent).1 == "}";
        // Without such a line it is a one-liner or has no body.
        let body = lines[at + 1..].iter().take_while(|line| line.trim().is_empty() || !before(line, indent));
        if let Some(length) = body.clone().position(ends) {
            found.push((at + 1, name, length + 2));
        }
    }
    found
}

/// Whether the line stands less far in than `indent`, which ends the search for a brace.
fn before(line: &str, indent: usize) -> bool {
    line.len() - line.trim_start().len() < indent
}

fn function_name(line: &str) -> Option<&str> {
    let code = line.trim_start();
    if code.starts_with("//") || code.ends_with(';') || code.ends_with('}') {
        return None;
    }
    let (modifiers, rest) = code.split_once("fn ")?;
    let plain = |word: &str| {
        matches!(word, "pub" | "async" | "const" | "unsafe" | "extern") || word.starts_with("pub(")
    };
    if !modifiers.split_whitespace().all(plain) {
        return None;
    }
    rest.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, lines: usize) -> TextFile {
        TextFile { path: path.to_owned(), text: "// x\n".repeat(lines) }
    }

    fn found(file: TextFile) -> (usize, usize) {
        let mut findings = Findings::default();
        check(&[file], &mut findings);
        (findings.violations.len(), findings.warnings.len())
    }

    #[test]
    fn a_long_file_is_asked_about_and_a_longer_one_refused() {
        assert_eq!(found(file("crates/x/src/a.rs", FILE_LINES_ASK)), (0, 0));
        assert_eq!(found(file("crates/x/src/a.rs", FILE_LINES_ASK + 1)), (0, 1));
        assert_eq!(found(file("crates/x/src/a.rs", FILE_LINES_MAX + 1)), (1, 0));
    }

    #[test]
    fn tests_and_other_files_may_be_long() {
        assert_eq!(found(file("crates/x/src/a/tests.rs", 2000)), (0, 0));
        assert_eq!(found(file("tests/redis/main.rs", 2000)), (0, 0));
        assert_eq!(found(file("README.md", 2000)), (0, 0));
        let mut long_tests = file("crates/x/src/a.rs", 10);
        long_tests.text.push_str("#[cfg(test)]\n");
        long_tests.text.push_str(&"// x\n".repeat(2000));
        assert_eq!(found(long_tests), (0, 0));
    }

    #[test]
    fn functions_are_measured_from_their_head_to_their_brace() {
        let text = "impl X {\n    pub(crate) async fn long<T>(\n        a: T,\n    ) {\n        if a {\n        }\n    }\n\n    fn short(&self) -> u8 {\n        1\n    }\n}\n\nfn one() {}\n\ntrait Y {\n    fn no_body(&self);\n}\n";
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(functions(&lines), [(2, "long", 6), (9, "short", 3)]);
    }

    #[test]
    fn a_long_function_is_asked_about() {
        let body = "    x();\n".repeat(FUNCTION_LINES_ASK);
        let text = format!("fn long() {{\n{body}}}\n");
        assert_eq!(found(TextFile { path: "crates/x/src/a.rs".to_owned(), text }), (0, 1));
    }
}
