//! Words and signs of a statement. Literals, quoted names and comments are passed over as each dialect ends them.

use crate::Refusal;

/// Whose rules for literals, quoted names and comments hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `E''` with backslashes, `$tag$`, comments nest. `standard_conforming_strings` is on.
    Postgres,
    /// Backslashes in `''` and `""`, `#` comments, `/*! ... */` is refused. `NO_BACKSLASH_ESCAPES` is off.
    Mysql,
    /// Names in `[]` and backquotes, a comment may end with the text.
    Sqlite,
}

/// What stands in a statement outside of literals and comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A word or number without quotes.
    Word(&'a str),
    Open,
    Close,
    Comma,
    Semicolon,
    /// A literal, a quoted name, an operator: of no interest but by its place.
    Other,
}

/// Reads a statement token by token, in one pass.
#[derive(Clone)]
pub(crate) struct Tokens<'a> {
    text: &'a str,
    at: usize,
    dialect: Dialect,
}

// === impl Tokens ===

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a str, dialect: Dialect) -> Self {
        Tokens { text, at: 0, dialect }
    }

    /// The next token; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Token<'a>>, Refusal> {
        self.skip_blank()?;
        let Some(first) = self.rest().first().copied() else { return Ok(None) };
        let token = match first {
            b'(' => self.sign(Token::Open),
            b')' => self.sign(Token::Close),
            b',' => self.sign(Token::Comma),
            b';' => self.sign(Token::Semicolon),
            b'\'' | b'"' => self.literal(first, self.dialect == Dialect::Mysql)?,
            b'`' if self.dialect != Dialect::Postgres => self.literal(first, false)?,
            b'[' if self.dialect == Dialect::Sqlite => self.bracketed()?,
            b'$' if self.dialect == Dialect::Postgres => self.dollar()?,
            byte if is_word(byte) => self.word()?,
            _ => self.sign(Token::Other),
        };
        Ok(Some(token))
    }

    /// The next token with the bytes before it.
    pub(crate) fn next_at(&mut self) -> Result<Option<(usize, Token<'a>)>, Refusal> {
        self.skip_blank()?;
        let begin = self.at;
        Ok(self.next()?.map(|token| (begin, token)))
    }

    /// Bytes before the next token, blanks included.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn sign(&mut self, token: Token<'a>) -> Token<'a> {
        self.at += 1;
        token
    }

    /// White space and comments. Of white space only ASCII is such: another character is part of a word or a sign, and
    /// no statement begins with one.
    fn skip_blank(&mut self) -> Result<(), Refusal> {
        loop {
            let rest = self.rest();
            match rest {
                [b' ' | b'\t' | b'\n' | b'\r' | b'\x0b' | b'\x0c', ..] => self.at += 1,
                [b'-', b'-', after @ ..] if self.is_line_comment(after) => self.skip_line(),
                [b'#', ..] if self.dialect == Dialect::Mysql => self.skip_line(),
                [b'/', b'*', ..] => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
    }

    /// In MySQL `--1` is two signs and a number.
    fn is_line_comment(&self, after: &[u8]) -> bool {
        self.dialect != Dialect::Mysql
            || after.first().is_none_or(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
    }

    /// Postgres ends such a comment at a carriage return, too; the others read on to the line feed.
    fn skip_line(&mut self) {
        let end = self.rest().iter().position(|byte| match self.dialect {
            Dialect::Postgres => matches!(byte, b'\n' | b'\r'),
            Dialect::Mysql | Dialect::Sqlite => *byte == b'\n',
        });
        self.at = end.map_or(self.text.len(), |end| self.at + end + 1);
    }

    fn skip_comment(&mut self) -> Result<(), Refusal> {
        let begin = self.at;
        self.at += 2;
        if self.dialect == Dialect::Mysql && matches!(self.rest(), [b'!', ..] | [b'M', b'!', ..]) {
            return Err(Refusal::ExecutableComment { at: begin });
        }
        let mut depth = 1usize;
        while depth > 0 {
            match self.rest() {
                [b'*', b'/', ..] => {
                    depth -= 1;
                    self.at += 2;
                }
                [b'/', b'*', ..] if self.dialect == Dialect::Postgres => {
                    depth += 1;
                    self.at += 2;
                }
                [_, ..] => self.at += 1,
                [] if self.dialect == Dialect::Sqlite => return Ok(()),
                [] => return Err(Refusal::Unterminated { what: "comment", at: begin }),
            }
        }
        Ok(())
    }

    /// Up to the quote that ends it; a doubled quote does not.
    fn literal(&mut self, quote: u8, backslashes: bool) -> Result<Token<'a>, Refusal> {
        let begin = self.at;
        self.at += 1;
        loop {
            match self.rest() {
                [b'\\', _, ..] if backslashes => self.at += 2,
                [one, two, ..] if *one == quote && *two == quote => self.at += 2,
                [one, ..] if *one == quote => {
                    self.at += 1;
                    return Ok(Token::Other);
                }
                [_, ..] => self.at += 1,
                [] => return Err(Refusal::Unterminated { what: "quote", at: begin }),
            }
        }
    }

    fn bracketed(&mut self) -> Result<Token<'a>, Refusal> {
        let begin = self.at;
        match self.rest().iter().position(|byte| *byte == b']') {
            Some(end) => {
                self.at += end + 1;
                Ok(Token::Other)
            }
            None => Err(Refusal::Unterminated { what: "bracket", at: begin }),
        }
    }

    /// `$1`, or a literal between two `$tag$`.
    fn dollar(&mut self) -> Result<Token<'a>, Refusal> {
        let begin = self.at;
        let rest = self.rest();
        let tag = rest.iter().skip(1).take_while(|byte| is_word(**byte) && **byte != b'$').count();
        let opens = rest.get(tag + 1) == Some(&b'$') && !rest.get(1).is_some_and(u8::is_ascii_digit);
        if !opens {
            self.at += 1 + tag;
            return Ok(Token::Other);
        }
        let (Some(quote), Some(body)) = (rest.get(..tag + 2), rest.get(tag + 2..)) else {
            return Err(Refusal::Unterminated { what: "quote", at: begin });
        };
        match body.windows(quote.len()).position(|window| window == quote) {
            Some(end) => {
                self.at += quote.len() + end + quote.len();
                Ok(Token::Other)
            }
            None => Err(Refusal::Unterminated { what: "quote", at: begin }),
        }
    }

    /// A word, or a number, which no dollar sign belongs to.
    fn word(&mut self) -> Result<Token<'a>, Refusal> {
        let number = self.rest().first().is_some_and(u8::is_ascii_digit);
        let belongs = |byte: &&u8| is_word(**byte) && !(number && **byte == b'$');
        let length = self.rest().iter().take_while(belongs).count();
        let word = self.text.get(self.at..self.at + length).unwrap_or_default();
        self.at += length;
        let escapes = self.dialect == Dialect::Postgres && word.eq_ignore_ascii_case("e");
        if escapes && self.rest().first() == Some(&b'\'') {
            return self.escaped();
        }
        Ok(Token::Word(word))
    }

    /// `E'...'` of Postgres. Another literal in the next line would belong to it, backslashes and all.
    fn escaped(&mut self) -> Result<Token<'a>, Refusal> {
        let token = self.literal(b'\'', true)?;
        self.skip_blank()?;
        match self.rest().first() {
            Some(b'\'') => {
                Err(Refusal::Words { what: "a literal with backslashes that another one continues" })
            }
            _ => Ok(token),
        }
    }
}

/// Bytes over 127 belong to words in every dialect, and a dollar sign inside of one.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}
