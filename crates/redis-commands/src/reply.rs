//! Replies that name keys: the prefix is taken off again, and a key without it never gets through.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use agw_wire::resp;

use crate::frames::{self, Head};

/// What is to be done with a command's reply before the guest sees it.
///
/// Every rule also takes the prefix out of error texts, which may quote a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyRule {
    /// It names no keys.
    AsIs,
    /// `BLPOP` and the like: an array whose first item is a key, or nothing.
    KeyFirst,
    /// `XREAD` and the like: a list of pairs (RESP2) or a map (RESP3) from key to entries, or nothing.
    KeyPerEntry,
    /// `SCAN`: a cursor and a list of keys. Keys without the prefix are left out.
    ScanKeys,
}

/// A reply that must not reach the guest. The connection it came on should be discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// It is not the RESP that this command answers with.
    #[error("the reply does not have the shape that this command answers with")]
    Malformed,
    /// It names a key outside the grant.
    #[error("the reply names a key outside the grant")]
    ForeignKey,
}

impl ReplyRule {
    /// Rewrites one whole reply. Borrowed when there was nothing to change.
    ///
    /// # Errors
    /// [`ReplyError`]: nothing of the reply may be shown.
    pub fn apply<'a>(self, reply: &'a [u8], prefix: &[u8]) -> Result<Cow<'a, [u8]>, ReplyError> {
        if prefix.is_empty() {
            return Ok(Cow::Borrowed(reply));
        }
        match (self, reply.first()) {
            (_, Some(b'-' | b'!')) => error_text(reply, prefix),
            (ReplyRule::AsIs, _) => Ok(Cow::Borrowed(reply)),
            (ReplyRule::KeyFirst, _) => key_first(reply, prefix),
            (ReplyRule::KeyPerEntry, _) => key_per_entry(reply, prefix),
            (ReplyRule::ScanKeys, _) => scan_keys(reply, prefix),
        }
    }

    /// Rewrites the reply to `EXEC`: an array with one reply per command, each under its own rule.
    ///
    /// # Errors
    /// As [`ReplyRule::apply`]; [`ReplyError::Malformed`] also when the array has another length.
    pub fn apply_exec<'a>(
        rules: &[ReplyRule],
        reply: &'a [u8],
        prefix: &[u8],
    ) -> Result<Cow<'a, [u8]>, ReplyError> {
        let head = frames::head(reply, 0)?;
        if head.kind == b'-' {
            return ReplyRule::AsIs.apply(reply, prefix);
        }
        if is_null(&head) {
            return Ok(Cow::Borrowed(reply));
        }
        if head.kind != b'*' || head.len.and_then(|len| usize::try_from(len).ok()) != Some(rules.len()) {
            return Err(ReplyError::Malformed);
        }
        let mut rewriter = Rewriter::new(reply, prefix);
        let mut at = head.end;
        for rule in rules {
            let end = frames::skip(reply, at)?;
            if let Cow::Owned(changed) = rule.apply(&reply[at..end], prefix)? {
                rewriter.replace(at, end, &changed);
            }
            at = end;
        }
        ends(reply, at)?;
        Ok(rewriter.finish())
    }
}

fn key_first<'a>(reply: &'a [u8], prefix: &[u8]) -> Result<Cow<'a, [u8]>, ReplyError> {
    let head = frames::head(reply, 0)?;
    if is_null(&head) {
        return Ok(Cow::Borrowed(reply));
    }
    if head.kind != b'*' || head.len.is_none_or(|len| len < 1) {
        return Err(ReplyError::Malformed);
    }
    let mut rewriter = Rewriter::new(reply, prefix);
    rewriter.strip(head.end)?;
    Ok(rewriter.finish())
}

fn key_per_entry<'a>(reply: &'a [u8], prefix: &[u8]) -> Result<Cow<'a, [u8]>, ReplyError> {
    let head = frames::head(reply, 0)?;
    if is_null(&head) {
        return Ok(Cow::Borrowed(reply));
    }
    let paired = head.kind == b'*';
    let count =
        head.len.filter(|len| *len >= 0 && (paired || head.kind == b'%')).ok_or(ReplyError::Malformed)?;
    let mut rewriter = Rewriter::new(reply, prefix);
    let mut at = head.end;
    for _ in 0..count {
        if paired {
            let pair = frames::head(reply, at)?;
            if pair.kind != b'*' || pair.len != Some(2) {
                return Err(ReplyError::Malformed);
            }
            at = pair.end;
        }
        let entries = rewriter.strip(at)?;
        at = frames::skip(reply, entries)?;
    }
    ends(reply, at)?;
    Ok(rewriter.finish())
}

fn scan_keys<'a>(reply: &'a [u8], prefix: &[u8]) -> Result<Cow<'a, [u8]>, ReplyError> {
    let head = frames::head(reply, 0)?;
    if head.kind != b'*' || head.len != Some(2) {
        return Err(ReplyError::Malformed);
    }
    let (cursor, list_at) = frames::bulk(reply, head.end)?.ok_or(ReplyError::Malformed)?;
    let list = frames::head(reply, list_at)?;
    if list.kind != b'*' {
        return Err(ReplyError::Malformed);
    }
    let mut own = Vec::new();
    let mut at = list.end;
    for _ in 0..list.len.unwrap_or(0) {
        let (key, end) = frames::bulk(reply, at)?.ok_or(ReplyError::Malformed)?;
        own.extend(key.strip_prefix(prefix));
        at = end;
    }
    ends(reply, at)?;
    let mut out = Vec::with_capacity(reply.len());
    resp::put_header(&mut out, b'*', 2);
    resp::put_bulk(&mut out, cursor);
    resp::put_command(&mut out, &own);
    Ok(Cow::Owned(out))
}

/// Servers quote keys as `'key'`; an error for an unknown command quotes all arguments as well.
fn error_text<'a>(reply: &'a [u8], prefix: &[u8]) -> Result<Cow<'a, [u8]>, ReplyError> {
    let head = frames::head(reply, 0)?;
    ends(reply, frames::skip(reply, 0)?)?;
    let blob = head.kind == b'!';
    let text = if blob { &reply[head.end..] } else { &reply[1..] };
    let text = text.strip_suffix(b"\r\n").ok_or(ReplyError::Malformed)?;
    let shown = find(text, b", with args beginning with").map_or(text, |at| &text[..at]);
    let quoted = [b"'", prefix].concat();
    if shown.len() == text.len() && find(text, &quoted).is_none() {
        return Ok(Cow::Borrowed(reply));
    }
    let mut clean = Vec::with_capacity(shown.len());
    let mut rest = shown;
    while let Some(at) = find(rest, &quoted) {
        clean.extend_from_slice(&rest[..=at]);
        rest = &rest[at + quoted.len()..];
    }
    clean.extend_from_slice(rest);
    let mut out = Vec::with_capacity(clean.len() + 16);
    if blob {
        resp::put_header(&mut out, b'!', clean.len());
    } else {
        out.push(b'-');
    }
    out.extend_from_slice(&clean);
    out.extend_from_slice(b"\r\n");
    Ok(Cow::Owned(out))
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn is_null(head: &Head) -> bool {
    head.kind == b'_' || (matches!(head.kind, b'*' | b'$') && head.len == Some(-1))
}

fn ends(reply: &[u8], at: usize) -> Result<(), ReplyError> {
    if at == reply.len() { Ok(()) } else { Err(ReplyError::Malformed) }
}

/// Copies a reply with some parts replaced; copies nothing as long as nothing is.
struct Rewriter<'a, 'p> {
    reply: &'a [u8],
    prefix: &'p [u8],
    out: Vec<u8>,
    copied: usize,
}

// === impl Rewriter ===

impl<'a, 'p> Rewriter<'a, 'p> {
    fn new(reply: &'a [u8], prefix: &'p [u8]) -> Self {
        Rewriter { reply, prefix, out: Vec::new(), copied: 0 }
    }

    /// Takes the prefix off the key at `at`; returns where it ended.
    fn strip(&mut self, at: usize) -> Result<usize, ReplyError> {
        let (key, end) = frames::bulk(self.reply, at)?.ok_or(ReplyError::Malformed)?;
        let own = key.strip_prefix(self.prefix).ok_or(ReplyError::ForeignKey)?;
        self.out.extend_from_slice(&self.reply[self.copied..at]);
        resp::put_bulk(&mut self.out, own);
        self.copied = end;
        Ok(end)
    }

    fn replace(&mut self, at: usize, end: usize, with: &[u8]) {
        self.out.extend_from_slice(&self.reply[self.copied..at]);
        self.out.extend_from_slice(with);
        self.copied = end;
    }

    fn finish(mut self) -> Cow<'a, [u8]> {
        if self.copied == 0 {
            return Cow::Borrowed(self.reply);
        }
        self.out.extend_from_slice(&self.reply[self.copied..]);
        Cow::Owned(self.out)
    }
}
