//! The small grammars of HTTP that several sections share: paths, hosts, header names, patterns.
//!
//! Each function reads an item, reports what is wrong with it, and gives the text in the form of a snapshot.

use std::net::{IpAddr, Ipv6Addr};

use regex::bytes::Regex;

use crate::pattern;
use crate::problem::quoted;
use crate::reader::Item;
use crate::schema::address;
use crate::snapshot::HostMatch;

/// Bytes of a path, pattern, value or name that a condition compares.
const TEXT_BYTES_MAX: usize = 4096;
/// Patterns of one document: compiled they may be large, and each takes time to compile.
const PATTERNS_MAX: usize = 1000;

/// A path without query.
pub(super) fn path(item: &Item<'_>) -> Option<String> {
    let path = prefix(item)?;
    if is_dots(path.rsplit('/').next().unwrap_or_default()) {
        dot_segment(item, &path);
    }
    Some(path)
}

/// The beginning of a path: its last segment may go on.
pub(super) fn prefix(item: &Item<'_>) -> Option<String> {
    let path = item.text()?;
    let printable = path.bytes().all(|byte| byte.is_ascii_graphic());
    if !path.starts_with('/') || !printable || path.contains(['?', '#']) || path.len() > TEXT_BYTES_MAX {
        item.problem(
            format!("{} is not a path", quoted(path)),
            "Begin it with a slash; no query, no fragment, no blanks; percent-encode what is not ASCII",
        );
    } else if path.rsplit('/').skip(1).any(is_dots) {
        dot_segment(item, path);
    }
    Some(path.to_owned())
}

/// Requests with such a segment are refused, so such a path would match none and lead to none.
fn dot_segment(item: &Item<'_>, path: &str) {
    item.problem(
        format!("{} has \".\" or \"..\" as a segment", quoted(path)),
        "Write the path that it leads to",
    );
}

fn is_dots(segment: &str) -> bool {
    // Three times as long if each dot is percent-encoded.
    segment.len() <= 6 && matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// A host as the Host header has it, in lower case and without port: an IPv6 address stands in brackets.
pub(super) fn host(item: &Item<'_>, hint: &str) -> Option<String> {
    let host = item.text()?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let valid = match bare {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.contains(':') && address::is_host(host),
    };
    if !valid {
        item.problem(format!("{} is not a host name", quoted(host)), hint);
    }
    Some(host.to_ascii_lowercase())
}

/// A host, or `*.example.com` for all names below one.
pub(super) fn host_pattern(item: &Item<'_>, hint: &str) -> Option<HostMatch> {
    let text = item.text()?;
    let Some(rest) = text.strip_prefix("*.") else { return host(item, hint).map(HostMatch::Exact) };
    if rest.parse::<IpAddr>().is_ok() || !address::is_host(rest) {
        item.problem(format!("{} is not a host name", quoted(text)), hint);
    }
    Some(HostMatch::Suffix(format!(".{}", rest.to_ascii_lowercase())))
}

/// A value for the Host header: a host and perhaps a port.
pub(super) fn authority(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    // Any port does in the place of the one that is left out.
    if let Err(reason) = address::parse(text, Some(80)) {
        item.problem(
            format!("{} is not a host: {reason}", quoted(text)),
            "Write it without scheme, such as api.example.com or api.example.com:8080",
        );
    }
    Some(text.to_owned())
}

/// The name of a header, in lower case.
pub(super) fn header_name(item: &Item<'_>, name: &str) -> String {
    if !is_token(name) {
        item.problem(
            format!("{} is not the name of a header", quoted(name)),
            "Use letters, digits and dashes, such as x-api-key",
        );
    }
    name.to_ascii_lowercase()
}

/// Text that a header can carry: printable ASCII, blanks inside.
pub(super) fn header_value(item: &Item<'_>) -> Option<String> {
    let value = item.text_or_empty()?;
    let printable = value.bytes().all(|byte| (b' '..=b'~').contains(&byte) || byte == b'\t');
    if !printable || value.trim() != value || value.len() > TEXT_BYTES_MAX {
        item.problem(
            "this is not the value of a header",
            format!("Use at most {TEXT_BYTES_MAX} printable ASCII characters, no blanks at either end"),
        );
    }
    Some(value.to_owned())
}

/// Any text of bounded length.
pub(super) fn bounded(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    check_length(item, text);
    Some(text.to_owned())
}

/// The same, and it may be empty.
pub(super) fn bounded_or_empty(item: &Item<'_>) -> Option<String> {
    let text = item.text_or_empty()?;
    check_length(item, text);
    Some(text.to_owned())
}

fn check_length(item: &Item<'_>, text: &str) {
    if text.len() > TEXT_BYTES_MAX {
        item.problem(
            format!("the text has {} bytes", text.len()),
            format!("Keep it within {TEXT_BYTES_MAX}"),
        );
    }
}

/// What HTTP calls a token: methods, header names, protocols.
pub(super) fn is_token(text: &str) -> bool {
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=256).contains(&text.len()) && text.bytes().all(belongs)
}

/// How a pattern is compiled: [`pattern::whole_pattern`] or [`pattern::search_pattern`].
type Compile = fn(&str) -> Result<Regex, regex::Error>;

/// A pattern that compiles, with what it compiles to; without it after a problem.
pub(super) fn regex(item: &Item<'_>, compile: Compile) -> Option<(String, Option<Regex>)> {
    let text = bounded(item)?;
    if text.len() > TEXT_BYTES_MAX {
        return Some((text, None));
    }
    let seen = item.context.patterns.get();
    item.context.patterns.set(seen + 1);
    if seen >= PATTERNS_MAX {
        // Said once: the document is far beyond, and compiling goes no further.
        if seen == PATTERNS_MAX {
            item.problem(
                "there are too many regular expressions",
                format!(
                    "Keep the document within {PATTERNS_MAX} of them; use path or prefix where it is enough"
                ),
            );
        }
        return Some((text, None));
    }
    match compile(&text) {
        Ok(regex) => Some((text, Some(regex))),
        Err(error) => {
            item.problem(
                format!("{} is not a regular expression: {}", quoted(&text), pattern::reason(&error)),
                "Write one of the syntax of the Rust crate regex (no look-around, no back-references), \
                 in single quotes",
            );
            Some((text, None))
        }
    }
}
