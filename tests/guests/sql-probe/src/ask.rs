//! What a request asks for, and the call.

use std::time::Duration;

use agw_sdk::Error;
use agw_sdk::sql::{Cell, Row, Sql, Statement};

/// What to run.
#[derive(Debug, PartialEq)]
pub(crate) enum Ask {
    Echo(i64),
    Sleep { seconds: f64 },
    Text { name: String, value: String },
    AdHoc { words: String, value: String },
}

impl Ask {
    /// `header` gives a request header's value. `None` if the request makes no sense.
    pub(crate) fn parse(path: &str, header: impl Fn(&str) -> Option<String>) -> Option<Ask> {
        let mut segments = path.strip_prefix('/')?.split('/').skip(1);
        let (verb, what) = (segments.next()?, segments.next()?);
        Some(match verb {
            "echo" => Ask::Echo(what.parse().ok()?),
            "sleep" => Ask::Sleep { seconds: what.parse::<f64>().ok()? / 1000.0 },
            "text" => Ask::Text { name: what.to_owned(), value: text(&header("x-value")?)? },
            "ad-hoc" => Ask::AdHoc { words: header("x-statement")?, value: text(&header("x-value")?)? },
            _ => return None,
        })
    }

    /// The first value of the first row, as bytes; none if there is no row.
    pub(crate) fn run(&self, resource: &str, deadline: Option<Duration>) -> Result<Vec<u8>, Error> {
        let sql = agw_sdk::sql(resource)?;
        let rows = self.statement(match deadline {
            Some(deadline) => sql.deadline(deadline),
            None => sql,
        });
        let rows = rows.rows()?;
        rows.iter().next().map_or(Ok(Vec::new()), |row| first(&row))
    }

    fn statement<'a>(&'a self, sql: Sql<'a>) -> Statement<'a> {
        match self {
            Ask::Echo(number) => sql.named("echo").bind(number),
            Ask::Sleep { seconds } => sql.named("sleep").bind(seconds),
            Ask::Text { name, value } => sql.named(name).bind(value),
            Ask::AdHoc { words, value } => sql.statement(words).bind(value),
        }
    }
}

fn first(row: &Row<'_>) -> Result<Vec<u8>, Error> {
    Ok(match row.get(0)? {
        Cell::Int(number) => number.to_string().into_bytes(),
        Cell::Text(text) => text.into(),
        _ => Vec::new(),
    })
}

fn text(hex: &str) -> Option<String> {
    let pairs = (0..hex.len()).step_by(2);
    let bytes = pairs.map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok());
    String::from_utf8(bytes.collect::<Option<_>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str, headers: &[(&str, &str)]) -> Option<Ask> {
        Ask::parse(path, |name| {
            headers.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_makes_no_sense_is_nothing() {
        for path in ["", "/", "/a", "/a/echo", "/a/echo/x", "/a/sleep/x", "/a/sing/1", "/a/text/t"] {
            assert_eq!(parse(path, &[]), None, "{path:?}");
        }
        for hex in ["0", "0g", "ff", "é"] {
            assert_eq!(parse("/a/text/t", &[("x-value", hex)]), None, "{hex:?}");
        }
        assert_eq!(parse("/a/ad-hoc/x", &[("x-value", "")]), None, "no words");
    }

    #[test]
    fn a_path_says_what_to_run() {
        assert_eq!(parse("/a/echo/-7", &[]), Some(Ask::Echo(-7)));
        assert_eq!(parse("/a/sleep/250", &[]), Some(Ask::Sleep { seconds: 0.25 }));
        let expected = Ask::Text { name: "t".to_owned(), value: "'\0".to_owned() };
        assert_eq!(parse("/a/text/t", &[("x-value", "2700")]), Some(expected));
        let expected = Ask::AdHoc { words: "SELECT ?".to_owned(), value: String::new() };
        assert_eq!(parse("/a/ad-hoc/x", &[("x-value", ""), ("x-statement", "SELECT ?")]), Some(expected));
    }
}
