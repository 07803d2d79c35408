//! Which tables a statement names, and what it does with them, as far as its words tell.
//!
//! For advice only: a name behind `FROM` may be no table (`EXTRACT(YEAR FROM seen)`), so whoever wants to know asks the
//! server. Views, functions and triggers use tables that no word names.

use std::collections::{BTreeMap, BTreeSet};

use crate::token::{Dialect, Token, Tokens};

/// What is done with a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Rows are read.
    pub select: bool,
    /// Rows are added.
    pub insert: bool,
    /// Rows are changed.
    pub update: bool,
    /// Rows are removed.
    pub delete: bool,
}

/// The parts of a table's name: the table, or what it is in and the table.
pub type TableName = Vec<String>;

/// The tables that a statement names. Of a statement that [`crate::check`] refuses, those up to the fault.
pub fn tables(text: &str, dialect: Dialect) -> BTreeMap<TableName, Rights> {
    let pieces = pieces(text, dialect);
    let mut found = BTreeMap::new();
    let parts = parts_of_with(&pieces);
    let reads_target =
        pieces.iter().any(|piece| piece.is("RETURNING") || piece.is("CONFLICT") || piece.is("DUPLICATE"));
    let mut walk = Walk { pieces: &pieces, at: 0, lists: vec![false] };
    while let Some((rights, name)) = walk.next_table(reads_target) {
        if name.len() > 1 || !name.iter().any(|name| parts.contains(name)) {
            let known: &mut Rights = found.entry(name).or_default();
            *known = known.and(rights);
        }
    }
    found
}

impl Rights {
    /// Both.
    pub fn and(self, other: Rights) -> Rights {
        Rights {
            select: self.select || other.select,
            insert: self.insert || other.insert,
            update: self.update || other.update,
            delete: self.delete || other.delete,
        }
    }

    /// As SQL names them.
    pub fn names(self) -> Vec<&'static str> {
        let all = [
            ("SELECT", self.select),
            ("INSERT", self.insert),
            ("UPDATE", self.update),
            ("DELETE", self.delete),
        ];
        all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }

    const READ: Rights = Rights { select: true, insert: false, update: false, delete: false };
}

/// A token with what of its text counts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Without quotes: a keyword or a name.
    Word(String),
    /// A name in quotes, or a literal.
    Quoted(String),
    Open,
    Close,
    Comma,
    Dot,
    Other,
}

impl Piece {
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Piece::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn is_any(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(keyword))
    }
}

fn pieces(text: &str, dialect: Dialect) -> Vec<Piece> {
    let mut tokens = Tokens::new(text, dialect);
    let mut pieces = Vec::new();
    while let Ok(Some((begin, token))) = tokens.next_at() {
        pieces.push(match token {
            Token::Word(word) => Piece::Word(folded(word, dialect)),
            Token::Open => Piece::Open,
            Token::Close => Piece::Close,
            Token::Comma => Piece::Comma,
            Token::Semicolon => break,
            Token::Other => other(text.get(begin..tokens.position()).unwrap_or_default()),
        });
    }
    pieces
}

/// Postgres folds a name without quotes to lower case; the others compare without regard to it, or as it stands.
fn folded(word: &str, dialect: Dialect) -> String {
    if dialect == Dialect::Postgres { word.to_ascii_lowercase() } else { word.to_owned() }
}

fn other(text: &str) -> Piece {
    let inside = |first: char, last: char| text.strip_prefix(first)?.strip_suffix(last);
    if text == "." {
        return Piece::Dot;
    }
    for quote in ['"', '`'] {
        if let Some(name) = inside(quote, quote) {
            return Piece::Quoted(name.replace(&format!("{quote}{quote}"), &quote.to_string()));
        }
    }
    inside('[', ']').map_or(Piece::Other, |name| Piece::Quoted(name.to_owned()))
}

/// The names that `WITH` gives to its parts.
fn parts_of_with(pieces: &[Piece]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if !pieces.first().is_some_and(|piece| piece.is("WITH")) {
        return names;
    }
    let mut depth = 0_usize;
    let mut expects = false;
    for piece in pieces {
        match piece {
            Piece::Open => depth += 1,
            Piece::Close => depth = depth.saturating_sub(1),
            Piece::Comma if depth == 0 => expects = true,
            piece if piece.is("WITH") || piece.is("RECURSIVE") => expects = true,
            Piece::Word(name) | Piece::Quoted(name) if depth == 0 && expects => {
                names.insert(name.clone());
                expects = false;
            }
            piece if depth == 0 && piece.is_any(&["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"]) => break,
            _ => {}
        }
    }
    names
}

struct Walk<'a> {
    pieces: &'a [Piece],
    at: usize,
    /// For each open parenthesis, and the statement itself: whether a comma brings another table.
    lists: Vec<bool>,
}

/// What ends a list of tables.
const ENDS: [&str; 15] = [
    "WHERE",
    "SET",
    "ON",
    "GROUP",
    "ORDER",
    "LIMIT",
    "HAVING",
    "WINDOW",
    "FETCH",
    "FOR",
    "UNION",
    "SELECT",
    "VALUES",
    "RETURNING",
    "WHEN",
];

impl Walk<'_> {
    fn next_table(&mut self, reads_target: bool) -> Option<(Rights, TableName)> {
        loop {
            let piece = self.pieces.get(self.at)?;
            let before = self.at.checked_sub(1).and_then(|at| self.pieces.get(at));
            self.at += 1;
            match piece {
                Piece::Open => self.lists.push(false),
                Piece::Close => drop(self.lists.pop()),
                Piece::Comma if self.lists.last() == Some(&true) => {
                    if let Some(name) = self.name(false) {
                        return Some((Rights::READ, name));
                    }
                }
                piece if piece.is_any(&ENDS) => self.list(false),
                piece => {
                    let Some(rights) = rights(piece, before, self.verb(), reads_target) else { continue };
                    self.list(rights == Rights::READ && !piece.is("JOIN"));
                    if let Some(name) = self.name(piece.is("INTO")) {
                        return Some((rights, name));
                    }
                }
            }
        }
    }

    fn list(&mut self, is_list: bool) {
        if let Some(last) = self.lists.last_mut() {
            *last = is_list;
        }
    }

    /// The verb that stands before an `INTO`, if there is one.
    fn verb(&self) -> Option<&Piece> {
        let before = self.pieces.get(..self.at.saturating_sub(1)).unwrap_or_default();
        before.iter().rev().find(|piece| piece.is_any(&["INSERT", "REPLACE", "MERGE", "SELECT"]))
    }

    /// A name, if it is none of a function: that is followed by a parenthesis.
    fn name(&mut self, columns_may_follow: bool) -> Option<TableName> {
        while self
            .pieces
            .get(self.at)
            .is_some_and(|piece| piece.is_any(&["ONLY", "LATERAL", "TABLE", "IGNORE"]))
        {
            self.at += 1;
        }
        let mut name = Vec::new();
        loop {
            match self.pieces.get(self.at) {
                Some(Piece::Word(part)) if !part.starts_with(|first: char| first.is_ascii_digit()) => {
                    name.push(part.clone());
                }
                Some(Piece::Quoted(part)) => name.push(part.clone()),
                _ => return None,
            }
            self.at += 1;
            if self.pieces.get(self.at) != Some(&Piece::Dot) {
                break;
            }
            self.at += 1;
        }
        let is_function = !columns_may_follow && self.pieces.get(self.at) == Some(&Piece::Open);
        (!is_function).then_some(name)
    }
}

/// What is done with the table whose name follows this keyword; `None` if none follows.
fn rights(piece: &Piece, before: Option<&Piece>, verb: Option<&Piece>, reads_target: bool) -> Option<Rights> {
    let follows = |words: &[&str]| before.is_some_and(|piece| piece.is_any(words));
    let none = Rights::default();
    if piece.is("FROM") && follows(&["DELETE"]) {
        return Some(Rights { select: true, delete: true, ..none });
    }
    if piece.is_any(&["FROM", "JOIN", "USING"]) {
        return Some(Rights::READ);
    }
    if piece.is("TABLE") && before.is_none() {
        return Some(Rights::READ);
    }
    if piece.is("UPDATE") && !follows(&["FOR", "KEY", "DO", "THEN", "ON"]) {
        return Some(Rights { select: true, update: true, ..none });
    }
    if piece.is("INTO") {
        let verb = verb?;
        return if verb.is("MERGE") {
            Some(Rights { select: true, insert: true, update: true, delete: true })
        } else if verb.is("SELECT") {
            None
        } else {
            let (update, delete) = (reads_target && verb.is("INSERT"), verb.is("REPLACE"));
            Some(Rights { select: reads_target, insert: true, update, delete })
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `schema.table: SELECT, UPDATE`, in the order of names.
    fn named(text: &str, dialect: Dialect) -> Vec<String> {
        let line = |(name, rights): (TableName, Rights)| {
            format!("{}: {}", name.join("."), rights.names().join(", "))
        };
        tables(text, dialect).into_iter().map(line).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        for dialect in [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite] {
            assert_eq!(named(text, dialect), expected, "{dialect:?}: {text}");
        }
    }

    #[test]
    fn what_is_no_table_is_none() {
        check("SELECT 1", &[]);
        check("SELECT 'from a' /* from b */ -- from c\n", &[]);
        check("SELECT * FROM (VALUES (1)) v", &[]);
        check("SELECT * FROM generate_series(1, 2) g, b", &["b: SELECT"]);
        check(
            "WITH a AS (SELECT 1), b (x) AS (SELECT * FROM a) SELECT * FROM b JOIN c ON true",
            &["c: SELECT"],
        );
        check("SELECT x FROM a WHERE n IN (1, 2) ORDER BY x, y", &["a: SELECT"]);
        check("SELECT * FROM a FOR UPDATE", &["a: SELECT"]);
        check("SELECT", &[]);
        check("SELECT * FROM", &[]);
        check("", &[]);
    }

    #[test]
    fn every_place_of_a_table_is_found() {
        check(
            "SELECT * FROM a, b AS x, c y WHERE a.n = (SELECT max(n) FROM d)",
            &["a: SELECT", "b: SELECT", "c: SELECT", "d: SELECT"],
        );
        check(
            "SELECT * FROM a JOIN s.b USING (n) LEFT JOIN c ON a.n = c.n",
            &["a: SELECT", "c: SELECT", "s.b: SELECT"],
        );
        check("SELECT * FROM (SELECT n FROM a, b) x, c", &["a: SELECT", "b: SELECT", "c: SELECT"]);
        check("TABLE a", &["a: SELECT"]);
        check("SELECT 1 FROM a UNION SELECT 2 FROM b", &["a: SELECT", "b: SELECT"]);
    }

    #[test]
    fn what_is_written_needs_more_than_what_is_read() {
        check("INSERT INTO a (n, m) VALUES (1, 2)", &["a: INSERT"]);
        check("INSERT INTO a SELECT * FROM b", &["a: INSERT", "b: SELECT"]);
        check("UPDATE a SET n = 1 WHERE m = 2", &["a: SELECT, UPDATE"]);
        check("DELETE FROM a WHERE n = 1", &["a: SELECT, DELETE"]);
        check(
            "INSERT INTO a (n) VALUES (1) ON CONFLICT (n) DO UPDATE SET n = 2",
            &["a: SELECT, INSERT, UPDATE"],
        );
        check("INSERT INTO a (n) VALUES (1) ON DUPLICATE KEY UPDATE n = 2", &["a: SELECT, INSERT, UPDATE"]);
        check(
            "WITH gone AS (DELETE FROM a RETURNING n) INSERT INTO b SELECT n FROM gone",
            &["a: SELECT, DELETE", "b: SELECT, INSERT, UPDATE"],
        );
        check(
            "MERGE INTO a USING b ON a.n = b.n WHEN MATCHED THEN UPDATE SET n = 1",
            &["a: SELECT, INSERT, UPDATE, DELETE", "b: SELECT"],
        );
    }

    #[test]
    fn quoted_names_are_read_by_each_dialects_rules() {
        assert_eq!(named(r#"SELECT * FROM "S""x"."T""#, Dialect::Postgres), [r#"S"x.T: SELECT"#]);
        assert_eq!(named("SELECT * FROM Users", Dialect::Postgres), ["users: SELECT"]);
        assert_eq!(named("SELECT * FROM `a b`.`c``d`", Dialect::Mysql), ["a b.c`d: SELECT"]);
        assert_eq!(named("SELECT * FROM [a b], c", Dialect::Sqlite), ["a b: SELECT", "c: SELECT"]);
    }
}
