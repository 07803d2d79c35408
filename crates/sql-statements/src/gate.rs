//! Which statements pass.

use thiserror::Error;

use crate::token::{Dialect, Token, Tokens};

/// What a statement does, as far as its words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It reads, unless a function that it calls writes.
    Reads,
    /// It adds rows: `INSERT` and `REPLACE`.
    Inserts,
    /// It changes rows in another way, or in another way as well.
    Writes,
    /// It changes the schema. In MySQL it ends a transaction.
    Defines,
}

/// Why a statement does not pass. No text of the statement is in it but its first word.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing but white space and comments.
    #[error("there is no statement")]
    Empty,
    /// Text behind a semicolon.
    #[error("there is more than one statement: something stands behind the semicolon at byte {at}")]
    Several {
        /// Bytes before the semicolon.
        at: usize,
    },
    /// The first word is not on the list.
    #[error(
        "a statement may not begin with {word}: SELECT, WITH, VALUES, TABLE, INSERT, UPDATE, DELETE, MERGE, REPLACE, \
         CREATE, ALTER, DROP and TRUNCATE may"
    )]
    FirstWord {
        /// The word, shortened; `a sign` if it is none.
        word: String,
    },
    /// Some other words, such as `INTO OUTFILE`.
    #[error("a statement may not hold {what}")]
    Words {
        /// Which.
        what: &'static str,
    },
    /// A literal, name or comment that does not end.
    #[error("the {what} at byte {at} does not end")]
    Unterminated {
        /// Which of them.
        what: &'static str,
        /// Bytes before it.
        at: usize,
    },
    /// MySQL runs what is in `/*! ... */`.
    #[error("the comment at byte {at} is one that MySQL executes")]
    ExecutableComment {
        /// Bytes before it.
        at: usize,
    },
    /// A parenthesis too many or too few.
    #[error("the parentheses do not match")]
    Parentheses,
    /// Servers disagree on whether a text ends there.
    #[error("the statement holds a zero byte")]
    ZeroByte,
}

const READS: [&str; 3] = ["SELECT", "VALUES", "TABLE"];
const INSERTS: [&str; 2] = ["INSERT", "REPLACE"];
const WRITES: [&str; 3] = ["UPDATE", "DELETE", "MERGE"];
const DEFINES: [&str; 4] = ["CREATE", "ALTER", "DROP", "TRUNCATE"];

/// Looks at a statement.
///
/// # Errors
/// [`Refusal`] says why it must not reach a server.
pub fn check(text: &str, dialect: Dialect) -> Result<Kind, Refusal> {
    if text.contains('\0') {
        return Err(Refusal::ZeroByte);
    }
    let mut scan = Scan::new(dialect);
    let mut tokens = Tokens::new(text, dialect);
    let mut ended = None;
    while let Some(token) = tokens.next()? {
        match (ended, token) {
            (Some(_), Token::Semicolon) => {}
            (Some(at), _) => return Err(Refusal::Several { at }),
            (None, Token::Semicolon) => ended = Some(tokens.position() - 1),
            (None, token) => scan.take(token)?,
        }
    }
    scan.finish()
}

/// What is known of the statement so far.
struct Scan {
    dialect: Dialect,
    /// By its verb, once that has been seen.
    kind: Option<Kind>,
    depth: usize,
    stage: Stage,
    before: Before,
    /// A part of it writes.
    modifies: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Parentheses at most have been seen.
    Beginning,
    /// Behind `WITH`; the verb is still to come.
    With,
    /// Behind `CREATE`, `ALTER` and the like; what kind of thing is still to come.
    Defining,
    /// Behind the verb.
    Body,
}

/// What the last token was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Open,
    Into,
    /// A name follows: behind `WITH` and behind a comma.
    Name,
    /// A verb right behind a parenthesis.
    OpenVerb,
    Other,
}

const THINGS: [&str; 5] = ["TABLE", "VIEW", "SEQUENCE", "TRIGGER", "INDEX"];

// === impl Scan ===

impl Scan {
    fn new(dialect: Dialect) -> Self {
        let (stage, before) = (Stage::Beginning, Before::Other);
        Scan { dialect, kind: None, depth: 0, stage, before, modifies: false }
    }

    fn take(&mut self, token: Token<'_>) -> Result<(), Refusal> {
        let before = std::mem::replace(&mut self.before, Before::Other);
        // `( DELETE FROM` is a data-modifying part of a WITH, `( replace (` is a function.
        self.modifies |= before == Before::OpenVerb && matches!(token, Token::Word(_) | Token::Other);
        match token {
            Token::Open => {
                self.depth += 1;
                self.before = Before::Open;
            }
            Token::Close => self.depth = self.depth.checked_sub(1).ok_or(Refusal::Parentheses)?,
            Token::Word(word) if self.stage == Stage::Beginning => self.first(word)?,
            Token::Word(word) => self.word(word, before)?,
            _ if self.stage == Stage::Beginning => return Err(refused("")),
            Token::Comma => self.before = Before::Name,
            // `SELECT ... INTO @variable` changes the session.
            _ if before == Before::Into && self.is_mysql_read() => {
                return Err(Refusal::Words {
                    what: "INTO and a variable: it would stay with the connection",
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn is_mysql_read(&self) -> bool {
        self.dialect == Dialect::Mysql && self.kind == Some(Kind::Reads)
    }

    /// The first word. Parentheses may stand before it only where a query may be in them.
    fn first(&mut self, word: &str) -> Result<(), Refusal> {
        if is(word, "WITH") {
            (self.stage, self.before) = (Stage::With, Before::Name);
            return Ok(());
        }
        let kind = kind_of(word).filter(|kind| self.depth == 0 || *kind == Kind::Reads);
        let kind = kind.ok_or_else(|| refused(word))?;
        self.verb(kind);
        Ok(())
    }

    fn verb(&mut self, kind: Kind) {
        self.kind = Some(kind);
        self.stage = if kind == Kind::Defines { Stage::Defining } else { Stage::Body };
    }

    fn word(&mut self, word: &str, before: Before) -> Result<(), Refusal> {
        let kind = kind_of(word);
        match (self.stage, kind) {
            (Stage::With, _) if before == Before::Name && is(word, "RECURSIVE") => self.before = Before::Name,
            // The first verb outside of parentheses that is not the name of a part.
            (Stage::With, Some(kind)) if self.depth == 0 && before != Before::Name => self.verb(kind),
            (Stage::Defining, _) if THINGS.iter().any(|thing| is(word, thing)) => self.stage = Stage::Body,
            (_, Some(Kind::Inserts | Kind::Writes)) if before == Before::Open => {
                self.before = Before::OpenVerb
            }
            _ => {}
        }
        if is(word, "INTO") {
            self.before = Before::Into;
            // `SELECT ... INTO table` makes one.
            self.modifies |= self.kind == Some(Kind::Reads);
        }
        self.check_words(word, before)
    }

    fn check_words(&self, word: &str, before: Before) -> Result<(), Refusal> {
        if before == Before::Into && (is(word, "OUTFILE") || is(word, "DUMPFILE")) {
            return Err(Refusal::Words {
                what: "INTO OUTFILE or INTO DUMPFILE: it writes a file of the server",
            });
        }
        let temporary = is(word, "TEMP") || is(word, "TEMPORARY");
        if temporary && (before == Before::Into || self.stage == Stage::Defining) {
            return Err(Refusal::Words {
                what: "TEMPORARY: it would stay with a connection that others use",
            });
        }
        Ok(())
    }

    fn finish(self) -> Result<Kind, Refusal> {
        if self.depth != 0 {
            return Err(Refusal::Parentheses);
        }
        match (self.kind, self.stage) {
            (Some(Kind::Reads), _) if self.modifies => Ok(Kind::Writes),
            (Some(kind), _) => Ok(kind),
            (None, Stage::With) => Err(refused("WITH that no verb follows")),
            (None, _) => Err(Refusal::Empty),
        }
    }
}

fn kind_of(word: &str) -> Option<Kind> {
    let among = |words: &[&str]| words.iter().any(|one| is(word, one));
    if among(&READS) {
        Some(Kind::Reads)
    } else if among(&INSERTS) {
        Some(Kind::Inserts)
    } else if among(&WRITES) {
        Some(Kind::Writes)
    } else if among(&DEFINES) {
        Some(Kind::Defines)
    } else {
        None
    }
}

fn is(word: &str, keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

fn refused(word: &str) -> Refusal {
    let shown = word.chars().take(25).all(|letter| letter.is_ascii_alphanumeric() || letter == ' ');
    let word = if shown && !word.is_empty() { word.chars().take(25).collect() } else { "a sign".to_owned() };
    Refusal::FirstWord { word }
}

#[cfg(test)]
mod tests;
