//! Another path, for an upstream or in a redirect: `path`, `prefix` or `regex`.

use regex::bytes::Regex;

use crate::field::{Field, Kind};
use crate::pattern::search_pattern;
use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::syntax;
use crate::snapshot::PathRewrite;

const KINDS: [&str; 3] = ["path", "prefix", "regex"];
pub(super) const REGEX: &[Field] = &[
    Field::text("pattern", "A regular expression; each match is replaced").required().within("4096 bytes"),
    Field::new(
        "substitution",
        Kind::AnyText,
        "What stands there instead, with `$1`, `${1}` or `${name}` for groups and `$$` for a dollar sign",
    )
    .required()
    .within("4096 bytes"),
];

/// `prefixed`: whether the route matches by prefix.
pub(super) fn path(fields: &Fields<'_>, prefixed: bool) -> Option<PathRewrite> {
    // None of them leaves the path alone.
    KINDS.iter().find(|kind| fields.optional(kind).is_some())?;
    let (kind, item) = fields.one_of(&KINDS, "path: /")?;
    match kind {
        "path" => syntax::path(&item).map(PathRewrite::Full),
        "prefix" => {
            if !prefixed {
                item.problem(
                    "the route does not match by prefix, so there is none to replace",
                    "Write match.prefix, or rewrite by path or regex",
                );
            }
            syntax::path(&item).map(PathRewrite::Prefix)
        }
        _ => regex(&item),
    }
}

fn regex(item: &Item<'_>) -> Option<PathRewrite> {
    let fields = item.fields(REGEX)?;
    let pattern = fields.required("pattern", "'^/v1/'").and_then(|item| syntax::regex(&item, search_pattern));
    let substitution = fields.required("substitution", "/").and_then(|item| {
        let text = syntax::bounded_or_empty(&item)?;
        check_substitution(&item, &text, pattern.as_ref().and_then(|(_, regex)| regex.as_ref()));
        Some(text)
    });
    Some(PathRewrite::Regex { pattern: pattern?.0, substitution: substitution? })
}

/// A group that is not there would stand for nothing, silently.
fn check_substitution(item: &Item<'_>, text: &str, regex: Option<&Regex>) {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(['?', '#']) {
        item.problem(
            format!("{} cannot be part of a path", quoted(text)),
            "No query, no fragment, no blanks; percent-encode what is not ASCII",
        );
    }
    let Some(regex) = regex else { return };
    for name in groups(text) {
        let known = match name.parse::<usize>() {
            Ok(number) => number < regex.captures_len(),
            Err(_) => regex.capture_names().flatten().any(|known| known == name),
        };
        if !known {
            let digits = name.len() - name.trim_start_matches(|byte: char| byte.is_ascii_digit()).len();
            let hint = match name.split_at(digits) {
                ("", _) | (_, "") => "Add the group to the pattern; $$ stands for a dollar sign".to_owned(),
                (number, rest) => format!("Write ${{{number}}}{rest} if the group is {number}"),
            };
            item.problem(format!("the pattern has no group {}", quoted(name)), hint);
        }
    }
}

/// The groups that a substitution names, as the regex crate reads it: `$name` takes as many letters, digits and
/// underscores as there are, `${name}` takes what is inside, `$$` is a dollar sign, and any other dollar sign is one.
fn groups(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            found.push(name);
            rest = after;
        } else {
            let word = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
            let length = rest.len() - rest.trim_start_matches(word).len();
            let (name, after) = rest.split_at(length);
            if !name.is_empty() {
                found.push(name);
            }
            rest = after;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_as_the_regex_crate_reads_them() {
        let cases: [(&str, &[&str]); 9] = [
            ("", &[]),
            ("$", &[]),
            ("a$$1", &[]),
            ("$1", &["1"]),
            ("/$1a/$2", &["1a", "2"]),
            ("${1}a", &["1"]),
            ("$$$1", &["1"]),
            ("${open", &[]),
            ("$-$name_1-", &["name_1"]),
        ];
        for (text, expected) in cases {
            assert_eq!(groups(text), expected, "{text}");
        }
        // What is read as a group vanishes where there is none; all else stays.
        let regex = search_pattern("x").expect("it compiles");
        for (text, expected) in [("$1a-", "-"), ("a$$1", "a$1"), ("${open", "${open"), ("$-", "$-")] {
            assert_eq!(regex.replace_all(b"x", text.as_bytes()).as_ref(), expected.as_bytes(), "{text}");
        }
    }
}
