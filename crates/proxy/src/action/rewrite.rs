//! Another path.

use agw_config::{PathMatch, PathRewrite, Route, search_pattern};
use http::StatusCode;
use http::uri::PathAndQuery;
use regex::bytes::Regex;

use crate::error::RuntimeError;
use crate::head::has_dot_segment;
use crate::limits::REWRITTEN_PATH_BYTES_MAX;
use crate::reply::Problem;

/// A path rewrite, compiled.
#[derive(Debug)]
pub(super) enum Rewrite {
    Full(Box<[u8]>),
    Prefix { matched: usize, text: Box<[u8]> },
    Pattern { regex: Regex, substitution: Box<[u8]> },
}

const TOO_LONG: Problem = Problem::new(
    StatusCode::URI_TOO_LONG,
    "rewritten_path_too_long",
    "the path is too long once it is rewritten",
);
const NOT_VALID: Problem = Problem::new(
    StatusCode::BAD_REQUEST,
    "rewritten_path_not_valid",
    "the path is not valid once it is rewritten",
);

impl Rewrite {
    pub(super) fn compile(rewrite: &PathRewrite, route: &Route) -> Result<Self, RuntimeError> {
        Ok(match rewrite {
            PathRewrite::Full(text) => Rewrite::Full(text.as_bytes().into()),
            PathRewrite::Prefix(text) => match &route.matching.path {
                PathMatch::Prefix(prefix) => {
                    Rewrite::Prefix { matched: prefix.len(), text: text.as_bytes().into() }
                }
                PathMatch::Exact(_) | PathMatch::Regex(_) => {
                    return Err(RuntimeError::name_not_valid(route, text));
                }
            },
            PathRewrite::Regex { pattern, substitution } => Rewrite::Pattern {
                regex: search_pattern(pattern).map_err(|source| RuntimeError::pattern(route, source))?,
                substitution: substitution.as_bytes().into(),
            },
        })
    }

    /// The new path, with the query of the old one. It begins with `/`, whatever the rewrite made of that; where a
    /// replaced prefix and the rest meet, two slashes become one.
    ///
    /// # Errors
    /// What to answer if it is too long, has `.` or `..` as a segment, or bytes that no path has.
    pub(super) fn apply(&self, old: &PathAndQuery) -> Result<PathAndQuery, Problem> {
        let path = old.path().as_bytes();
        let mut new = vec![b'/'];
        match self {
            Rewrite::Full(text) => push(&mut new, text)?,
            Rewrite::Prefix { matched, text } => {
                push(&mut new, text)?;
                // The route matched, so the path is that long; a filter that changed it afterwards chose it anew.
                let rest = path.get(*matched..).unwrap_or_default();
                let rest = if new.ends_with(b"/") { rest.strip_prefix(b"/").unwrap_or(rest) } else { rest };
                push(&mut new, rest)?;
            }
            Rewrite::Pattern { regex, substitution } => {
                substitute(&mut new, path, regex, substitution)?;
            }
        }
        if new.get(1) == Some(&b'/') {
            new.remove(0);
        }
        if let Some(query) = old.query() {
            push(&mut new, b"?")?;
            push(&mut new, query.as_bytes())?;
        }
        let new = PathAndQuery::try_from(new).map_err(|_| NOT_VALID)?;
        if has_dot_segment(new.path()) { Err(NOT_VALID) } else { Ok(new) }
    }
}

/// Appends `path` with each match replaced. The bound holds while it grows: a short path can have many matches.
fn substitute(new: &mut Vec<u8>, path: &[u8], regex: &Regex, substitution: &[u8]) -> Result<(), Problem> {
    let mut end = 0;
    for found in regex.captures_iter(path) {
        let Some(whole) = found.get(0) else { continue };
        push(new, path.get(end..whole.start()).unwrap_or_default())?;
        found.expand(substitution, new);
        push(new, b"")?;
        end = whole.end();
    }
    push(new, path.get(end..).unwrap_or_default())
}

fn push(new: &mut Vec<u8>, part: &[u8]) -> Result<(), Problem> {
    new.extend_from_slice(part);
    if new.len() > REWRITTEN_PATH_BYTES_MAX { Err(TOO_LONG) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use agw_config::{Forward, RouteMatch};

    use super::*;

    fn rewrite(matching: PathMatch, rewrite: &PathRewrite, old: &str) -> Result<String, Problem> {
        let route = Route::new("r", RouteMatch::path(matching), Forward::to("c"));
        let rewrite = Rewrite::compile(rewrite, &route).unwrap();
        rewrite.apply(&old.parse().unwrap()).map(|path| path.to_string())
    }

    fn prefix(from: &str, to: &str, old: &str) -> String {
        rewrite(PathMatch::Prefix(from.into()), &PathRewrite::Prefix(to.into()), old).unwrap()
    }

    fn pattern(pattern: &str, substitution: &str, old: &str) -> Result<String, Problem> {
        let pattern = pattern.to_owned();
        let to = PathRewrite::Regex { pattern, substitution: substitution.to_owned() };
        rewrite(PathMatch::Prefix("/".into()), &to, old)
    }

    #[test]
    fn a_full_rewrite_keeps_the_query() {
        let full = PathRewrite::Full("/new".into());
        assert_eq!(rewrite(PathMatch::Exact("/old".into()), &full, "/old?a=b").unwrap(), "/new?a=b");
        assert_eq!(rewrite(PathMatch::Exact("/old".into()), &full, "/old").unwrap(), "/new");
    }

    #[test]
    fn a_prefix_is_replaced_and_slashes_meet_once() {
        assert_eq!(prefix("/api/", "/v1/", "/api/users?x=/api/"), "/v1/users?x=/api/");
        assert_eq!(prefix("/api", "/", "/api/users"), "/users");
        assert_eq!(prefix("/api/", "/", "/api/"), "/");
        assert_eq!(prefix("/api", "/", "/api"), "/");
        assert_eq!(prefix("/api/", "", "/api/users"), "/users");
        assert_eq!(prefix("/api/", "", "/api//evil.example/"), "/evil.example/");
        assert_eq!(prefix("/a", "/b", "/ab"), "/bb");
    }

    #[test]
    fn a_pattern_replaces_each_match_with_its_groups() {
        assert_eq!(
            pattern("/v([0-9])/", "/version-${1}/", "/v1/v/v2/x?q=/v3/").unwrap(),
            "/version-1/v/version-2/x?q=/v3/"
        );
        assert_eq!(pattern("^/(?<user>[^/]+)/(.*)$", "/$2/$user", "/ann/desk").unwrap(), "/desk/ann");
        assert_eq!(pattern("/nothing", "x", "/a").unwrap(), "/a");
        assert_eq!(pattern("^/", "", "/a").unwrap(), "/a");
    }

    #[test]
    fn a_rewrite_that_grows_without_end_is_a_414() {
        let problem = pattern("x", &"y".repeat(1000), &format!("/{}", "x".repeat(1000))).unwrap_err();
        assert_eq!(problem.status, StatusCode::URI_TOO_LONG);
    }

    #[test]
    fn a_rewrite_cannot_make_a_path_that_is_none() {
        for (from, to) in [("x", " "), ("x", "\n"), ("x", "\u{0}"), ("x", "."), ("x", "%2e%2E")] {
            let problem = pattern(from, to, "/a/x/b").unwrap_err();
            assert_eq!(problem.status, StatusCode::BAD_REQUEST, "{to:?}");
        }
    }

    #[test]
    fn a_prefix_rewrite_needs_a_prefix_to_match() {
        let route = Route::new("r", RouteMatch::path(PathMatch::Exact("/".into())), Forward::to("c"));
        assert!(Rewrite::compile(&PathRewrite::Prefix("/x".into()), &route).is_err());
        let pattern = PathRewrite::Regex { pattern: "(".into(), substitution: String::new() };
        assert!(matches!(Rewrite::compile(&pattern, &route), Err(RuntimeError::Pattern { .. })));
    }
}
