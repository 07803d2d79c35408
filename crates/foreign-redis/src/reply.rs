//! From the server's bytes to what the guest sees.
//!
//! Error replies pass through as they are, but for those that concern the gateway's own connection or would show
//! something of it (an ACL user's name, another server's address): these become a [`CallError`].

use agw_redis_commands::{ReplyError, ReplyRule};
use agw_wire::resp::{Cursor, Head, ParseError};
use agw_wire::{CallError, Code, Retry};
use bytes::Bytes;

/// What the replies to one call look like.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// One reply.
    Single(ReplyRule),
    /// One reply for each command.
    Batch(Vec<ReplyRule>),
    /// `MULTI`'s reply, one for each command queued, and `EXEC`'s.
    Atomic(Vec<ReplyRule>),
}

/// The call fails by what the server answered.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) error: CallError,
    /// The connection is of no more use.
    pub(crate) retire: bool,
}

impl Shape {
    /// How many replies come.
    pub(crate) fn replies(&self) -> usize {
        match self {
            Shape::Single(_) => 1,
            Shape::Batch(rules) => rules.len(),
            Shape::Atomic(rules) => rules.len() + 2,
        }
    }

    /// Bytes of replies that the guest does not see: `+OK`, and `+QUEUED` for each command.
    pub(crate) fn overhead_bytes(&self) -> usize {
        match self {
            Shape::Atomic(rules) => 5 + 9 * rules.len(),
            _ => 0,
        }
    }

    /// What the guest sees of these replies, of which the framer has seen that they are whole.
    ///
    /// # Errors
    /// [`Rejected`]; nothing of the replies may be shown then.
    pub(crate) fn finish(&self, replies: Bytes, prefix: &[u8]) -> Result<Bytes, Rejected> {
        match self {
            Shape::Single(rule) => {
                check(&replies, Retry::Safe)?;
                apply(*rule, replies, prefix)
            }
            Shape::Batch(rules) => finish_batch(rules, replies, prefix),
            Shape::Atomic(rules) => finish_atomic(rules, &replies, prefix),
        }
    }
}

fn finish_batch(rules: &[ReplyRule], replies: Bytes, prefix: &[u8]) -> Result<Bytes, Rejected> {
    let changing = !prefix.is_empty();
    let mut cursor = Cursor::new(&replies);
    let mut changed: Option<Vec<u8>> = None;
    for rule in rules {
        let begin = cursor.position();
        let reply = next(&mut cursor)?;
        // The others may have run.
        check(reply, Retry::IfIdempotent)?;
        if !changing {
            continue;
        }
        match (rule.apply(reply, prefix).map_err(unfit)?, &mut changed) {
            (std::borrow::Cow::Borrowed(_), None) => {}
            (reply, Some(out)) => out.extend_from_slice(&reply),
            (reply, None) => {
                let mut out = Vec::with_capacity(replies.len());
                out.extend_from_slice(replies.get(..begin).unwrap_or_default());
                out.extend_from_slice(&reply);
                changed = Some(out);
            }
        }
    }
    Ok(changed.map_or(replies, Bytes::from))
}

fn finish_atomic(rules: &[ReplyRule], replies: &Bytes, prefix: &[u8]) -> Result<Bytes, Rejected> {
    let Some(exec) = past_queued(rules.len(), replies) else {
        return not_queued(rules.len(), replies, prefix);
    };
    check(exec, Retry::Safe)?;
    let mut elements = Cursor::new(exec);
    if let Ok(Head::Array(len)) = elements.head() {
        let mut as_is = len == rules.len();
        for place in 0..len {
            let reply = next(&mut elements)?;
            check(reply, Retry::IfIdempotent)?;
            let named = rules.get(place) != Some(&ReplyRule::AsIs) || matches!(reply, [b'-' | b'!', ..]);
            as_is &= prefix.is_empty() || !named;
        }
        if as_is && elements.rest().is_empty() {
            return Ok(replies.slice_ref(exec));
        }
    }
    match ReplyRule::apply_exec(rules, exec, prefix).map_err(unfit)? {
        std::borrow::Cow::Borrowed(_) => Ok(replies.slice_ref(exec)),
        std::borrow::Cow::Owned(changed) => Ok(changed.into()),
    }
}

/// What comes behind `+OK` and a `+QUEUED` for each command, if all were queued.
fn past_queued(commands: usize, replies: &[u8]) -> Option<&[u8]> {
    let mut rest = replies.strip_prefix(b"+OK\r\n")?;
    for _ in 0..commands {
        rest = rest.strip_prefix(b"+QUEUED\r\n")?;
    }
    Some(rest)
}

/// The first command that was refused, so that `EXEC` has run nothing; its own reply says only that.
#[cold]
fn not_queued(commands: usize, replies: &Bytes, prefix: &[u8]) -> Result<Bytes, Rejected> {
    let mut cursor = Cursor::new(replies);
    for _ in 0..=commands {
        let reply = next(&mut cursor)?;
        check(reply, Retry::Safe)?;
        if reply.starts_with(b"-") {
            return apply(ReplyRule::AsIs, replies.slice_ref(reply), prefix);
        }
    }
    Err(unexpected("the commands were not queued"))
}

fn apply(rule: ReplyRule, reply: Bytes, prefix: &[u8]) -> Result<Bytes, Rejected> {
    match rule.apply(&reply, prefix).map_err(unfit)? {
        std::borrow::Cow::Borrowed(_) => Ok(reply),
        std::borrow::Cow::Owned(changed) => Ok(changed.into()),
    }
}

/// The next reply's bytes.
fn next<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Rejected> {
    let rest = cursor.rest();
    let begin = cursor.position();
    cursor.skip().map_err(|error: ParseError| unexpected(&error.to_string()))?;
    rest.get(..cursor.position() - begin).ok_or_else(|| unexpected("the reply is cut off"))
}

fn unfit(error: ReplyError) -> Rejected {
    unexpected(&error.to_string())
}

fn unexpected(what: &str) -> Rejected {
    let error = CallError::new(Code::Server, format!("the server's answer does not fit the command: {what}"));
    Rejected { error: error.retry(Retry::Never), retire: true }
}

/// Whether this reply is one that the guest must not see. `retry` is the advice if nothing of this command ran.
pub(crate) fn check(reply: &[u8], retry: Retry) -> Result<(), Rejected> {
    match reply.strip_prefix(b"-") {
        None => Ok(()),
        Some(text) => check_error(text, retry),
    }
}

#[cold]
fn check_error(text: &[u8], retry: Retry) -> Result<(), Rejected> {
    let code = error_code(text);
    let (kind, message, retry, retire) = match code.as_str() {
        "NOAUTH" | "WRONGPASS" => {
            (Code::Auth, "the server refused the gateway's credentials", Retry::Never, true)
        }
        "NOPERM" => {
            (Code::Auth, "the gateway's user may not run this, or not on this key", Retry::Never, false)
        }
        "LOADING" => (Code::Server, "the server is loading its data", retry, false),
        "MASTERDOWN" => (Code::Server, "the server has lost its primary", retry, false),
        "CLUSTERDOWN" => (Code::Server, "the server's cluster is down", retry, false),
        "BUSY" => (Code::Server, "a script keeps the server busy", retry, false),
        "TRYAGAIN" => (Code::Server, "the server is moving these keys", retry, false),
        // After a fail-over the endpoint's name may lead to another server; only a new connection finds it.
        "READONLY" => (Code::Server, "the server is a replica and takes no writes", retry, true),
        "MOVED" | "ASK" | "REDIRECT" => (
            Code::Server,
            "the key is at another node of the cluster; the resource must say mode: cluster",
            Retry::Never,
            false,
        ),
        _ => return Ok(()),
    };
    Err(Rejected { error: CallError::new(kind, message).server_code(code).retry(retry), retire })
}

/// The first word of an error reply, if it looks like a code.
pub(crate) fn error_code(text: &[u8]) -> String {
    let word = text.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    let is_code = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    match std::str::from_utf8(word) {
        Ok(word) if (1..=32).contains(&word.len()) && word.as_bytes().iter().all(is_code) => word.to_owned(),
        _ => "ERR".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(reply: &'static str) -> Result<Bytes, Rejected> {
        Shape::Single(ReplyRule::AsIs).finish(Bytes::from_static(reply.as_bytes()), b"")
    }

    #[test]
    fn errors_of_the_command_pass_through() {
        for reply in
            ["-WRONGTYPE Operation against a key\r\n", "-ERR value is not an integer\r\n", "-mine x\r\n"]
        {
            assert_eq!(single(reply).unwrap(), reply);
        }
    }

    #[test]
    fn errors_that_concern_the_connection_are_coded_and_show_nothing_of_it() {
        for (reply, code, retry, retire) in [
            ("-NOAUTH Authentication required.\r\n", Code::Auth, Retry::Never, true),
            ("-NOPERM User gateway has no permissions\r\n", Code::Auth, Retry::Never, false),
            ("-LOADING Redis is loading\r\n", Code::Server, Retry::Safe, false),
            ("-READONLY You can't write\r\n", Code::Server, Retry::Safe, true),
            ("-MOVED 3999 10.0.0.7:6381\r\n", Code::Server, Retry::Never, false),
        ] {
            let rejected = single(reply).unwrap_err();
            assert_eq!(
                (rejected.error.code, rejected.error.retry, rejected.retire),
                (code, retry, retire),
                "{reply}"
            );
            let shown = rejected.error.to_string();
            assert!(!shown.contains("10.0.0.7") && !shown.contains("gateway has"), "{shown}");
        }
    }

    #[test]
    fn a_batch_with_such_an_error_says_that_the_rest_may_have_run() {
        let shape = Shape::Batch(vec![ReplyRule::AsIs; 2]);
        let rejected = shape.finish(Bytes::from_static(b":1\r\n-LOADING x\r\n"), b"p:").unwrap_err();
        assert_eq!(rejected.error.retry, Retry::IfIdempotent);
    }

    #[test]
    fn a_batch_is_rewritten_only_where_a_rule_says_so() {
        let shape = Shape::Batch(vec![ReplyRule::AsIs, ReplyRule::KeyFirst, ReplyRule::AsIs]);
        let replies = Bytes::from_static(b"$3\r\np:a\r\n*2\r\n$3\r\np:k\r\n$1\r\nv\r\n:3\r\n");
        assert_eq!(shape.finish(replies, b"p:").unwrap(), "$3\r\np:a\r\n*2\r\n$1\r\nk\r\n$1\r\nv\r\n:3\r\n");
    }

    #[test]
    fn a_key_outside_the_grant_is_never_shown() {
        let shape = Shape::Single(ReplyRule::KeyFirst);
        let rejected =
            shape.finish(Bytes::from_static(b"*2\r\n$3\r\nq:k\r\n$1\r\nv\r\n"), b"p:").unwrap_err();
        assert!(rejected.retire && !rejected.error.to_string().contains("q:k"));
    }

    #[test]
    fn an_atomic_batch_shows_the_array_of_exec_alone() {
        let shape = Shape::Atomic(vec![ReplyRule::AsIs; 2]);
        let replies = Bytes::from_static(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n-ERR x\r\n");
        assert_eq!(shape.finish(replies, b"").unwrap(), "*2\r\n:1\r\n-ERR x\r\n");
        let conflict = Bytes::from_static(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*-1\r\n");
        assert_eq!(shape.finish(conflict, b"").unwrap(), "*-1\r\n");
    }

    #[test]
    fn an_atomic_batch_that_was_not_queued_shows_the_first_error() {
        let shape = Shape::Atomic(vec![ReplyRule::AsIs; 2]);
        let replies =
            Bytes::from_static(b"+OK\r\n+QUEUED\r\n-ERR wrong\r\n-EXECABORT Transaction discarded\r\n");
        assert_eq!(shape.finish(replies, b"").unwrap(), "-ERR wrong\r\n");
        let replies = Bytes::from_static(b"+OK\r\n-NOPERM u\r\n+QUEUED\r\n-EXECABORT x\r\n");
        assert_eq!(shape.finish(replies, b"").unwrap_err().error.code, Code::Auth);
    }

    #[test]
    fn an_atomic_batch_whose_replies_do_not_fit_is_rejected() {
        let shape = Shape::Atomic(vec![ReplyRule::AsIs; 2]);
        for replies in [
            "+OK\r\n+QUEUED\r\n+queued\r\n*2\r\n:1\r\n:2\r\n",
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n*1\r\n:1\r\n",
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:1\r\n:2\r\n:3\r\n",
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n:2\r\n",
        ] {
            for prefix in [&b""[..], b"p:"] {
                let rejected = shape.finish(Bytes::from_static(replies.as_bytes()), prefix).unwrap_err();
                assert!(rejected.retire, "{replies:?}");
            }
        }
    }

    #[test]
    fn an_atomic_batch_is_rewritten_only_where_a_rule_says_so() {
        let shape = Shape::Atomic(vec![ReplyRule::AsIs, ReplyRule::KeyFirst, ReplyRule::AsIs]);
        let queued = "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n";
        let replies = format!("{queued}*3\r\n$3\r\np:a\r\n*2\r\n$3\r\np:k\r\n$1\r\nv\r\n-ERR 'p:k'\r\n");
        assert_eq!(
            shape.finish(replies.into(), b"p:").unwrap(),
            "*3\r\n$3\r\np:a\r\n*2\r\n$1\r\nk\r\n$1\r\nv\r\n-ERR 'k'\r\n"
        );
        let plain = Shape::Atomic(vec![ReplyRule::AsIs]);
        let replies = Bytes::from_static(b"+OK\r\n+QUEUED\r\n*1\r\n-ERR 'p:k'\r\n");
        assert_eq!(plain.finish(replies, b"p:").unwrap(), "*1\r\n-ERR 'k'\r\n");
    }

    #[test]
    fn a_code_is_one_upper_case_word() {
        assert_eq!(error_code(b"WRONGTYPE Operation"), "WRONGTYPE");
        assert_eq!(error_code(b"BUSYGROUP"), "BUSYGROUP");
        for text in [&b"something else"[..], b"", b"\xff\xfe x", b"10.0.0.7:6379 x"] {
            assert_eq!(error_code(text), "ERR");
        }
    }
}
