//! What `SHOW GRANTS` says. Of its lines only rights and places are kept: they may also hold the hash of a password.

use std::fmt;

use agw_sql_statements::Rights;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) place: Place,
    pub(super) rights: Rights,
    /// Rights of other kinds, as the server names them.
    pub(super) others: Vec<String>,
    pub(super) passes_on: bool,
}

/// `*.*`, a database, or a table of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) schema: Option<String>,
    pub(super) table: Option<String>,
}

impl Place {
    pub(super) fn covers(&self, schema: &str, table: &str) -> bool {
        let is = |own: &Option<String>, other: &str| own.as_deref().is_none_or(|own| own == other);
        is(&self.schema, schema) && is(&self.table, table)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema.as_deref().unwrap_or("*"), self.table.as_deref().unwrap_or("*"))
    }
}

/// `GRANT SELECT, UPDATE (a) ON db.table TO ...`. `None` for a role, for `PROXY`, and for what gives nothing.
pub(super) fn granted(line: &str) -> Option<Granted> {
    let (names, rest) = outside(line.strip_prefix("GRANT ")?, " ON ")?;
    let (place, to) = outside(rest, " TO ")?;
    let mut granted = Granted {
        place: self::place(place)?,
        rights: Rights::default(),
        others: Vec::new(),
        passes_on: to.contains("WITH GRANT OPTION"),
    };
    for name in listed(names) {
        // Rights on columns are counted as rights on the table.
        let name = name.split('(').next().unwrap_or_default().trim();
        match name {
            "SELECT" => granted.rights.select = true,
            "INSERT" => granted.rights.insert = true,
            "UPDATE" => granted.rights.update = true,
            "DELETE" => granted.rights.delete = true,
            "USAGE" | "" => {}
            "ALL PRIVILEGES" => {
                granted.rights = Rights { select: true, insert: true, update: true, delete: true };
                granted.others.push(name.to_owned());
            }
            other => granted.others.push(other.to_owned()),
        }
    }
    let nothing = granted.rights == Rights::default() && granted.others.is_empty() && !granted.passes_on;
    (!nothing).then_some(granted)
}

/// Splits at the first mark that stands in no quotes.
fn outside<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (None, '`' | '\'' | '"') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            (None, _) if text.get(at..)?.starts_with(mark) => {
                return Some((text.get(..at)?, text.get(at + mark.len()..)?));
            }
            _ => {}
        }
    }
    None
}

/// Split at commas that stand in no parentheses.
fn listed(names: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    names
        .split(|letter: char| {
            match letter {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            letter == ',' && depth == 0
        })
        .collect()
}

/// In a database's name, `\_` and `\%` stand for themselves.
fn place(text: &str) -> Option<Place> {
    let (schema, table) = outside(text, ".")?;
    let name = |part: &str| match part {
        "*" => None,
        part => Some(part.trim_matches('`').replace("``", "`")),
    };
    Some(Place { schema: name(schema).map(|schema| schema.replace('\\', "")), table: name(table) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `place: rights`
    fn shown(line: &str) -> String {
        let Some(granted) = granted(line) else { return String::new() };
        let rights: Vec<_> =
            granted.rights.names().into_iter().map(str::to_owned).chain(granted.others).collect();
        format!("{}: {}{}", granted.place, rights.join(", "), if granted.passes_on { " and on" } else { "" })
    }

    #[test]
    fn what_gives_no_right_is_passed_over() {
        for line in [
            "GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*0123'",
            "GRANT `role`@`%` TO `a`@`%`",
            "SET DEFAULT ROLE x",
            "GRANT ",
            "",
        ] {
            assert_eq!(shown(line), "", "{line}");
        }
    }

    #[test]
    fn rights_and_places_are_read_and_a_hash_is_not() {
        for (line, expected) in [
            ("GRANT SELECT, INSERT ON `app`.`users` TO `a`@`%`", "app.users: SELECT, INSERT"),
            (
                "GRANT ALL PRIVILEGES ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*0123' WITH GRANT OPTION",
                "*.*: SELECT, INSERT, UPDATE, DELETE, ALL PRIVILEGES and on",
            ),
            ("GRANT CREATE, FILE ON *.* TO `a`@`%`", "*.*: CREATE, FILE"),
            ("GRANT DELETE ON `my\\_app`.* TO `a`@`%`", "my_app.*: DELETE"),
            (
                "GRANT SELECT (`a`, `b`), UPDATE (`c`) ON `app`.`t. ON x` TO `a`@`%`",
                "app.t. ON x: SELECT, UPDATE",
            ),
            ("GRANT USAGE ON *.* TO `a`@`%` WITH GRANT OPTION", "*.*:  and on"),
        ] {
            assert_eq!(shown(line), expected, "{line}");
        }
    }

    #[test]
    fn a_place_covers_what_is_in_it() {
        let of = |line: &str| granted(line).expect("a grant").place;
        assert!(of("GRANT SELECT ON *.* TO a").covers("x", "y"));
        assert!(
            of("GRANT SELECT ON `x`.* TO a").covers("x", "y")
                && !of("GRANT SELECT ON `x`.* TO a").covers("z", "y")
        );
        assert!(!of("GRANT SELECT ON `x`.`y` TO a").covers("x", "z"));
    }
}
