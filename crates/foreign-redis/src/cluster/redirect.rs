//! Replies that send a call to another node. None of them ever reaches a guest: they hold addresses.

use agw_config::RedisHost;
use agw_redis_commands::HASH_SLOTS;
use agw_wire::resp::Cursor;

use crate::connect::address_of;

/// Where the server wants the call. The command has not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot is at another node for good. Its host may be empty: the one that was asked.
    Moved { slot: u16, at: RedisHost },
    /// The slot is on its way, and this key is there already.
    Ask { at: RedisHost },
    /// The slot is on its way, and the keys are partly here and partly there.
    TryAgain,
}

/// What one reply says.
pub(super) fn of(reply: &[u8]) -> Option<Redirect> {
    read(reply.strip_prefix(b"-")?)
}

/// What the first of these replies that says something says.
pub(super) fn first(replies: &[u8]) -> Option<Redirect> {
    each(replies).find_map(of)
}

/// What the first of these replies says, if each says something.
pub(super) fn of_all(replies: &[u8]) -> Option<Redirect> {
    let first = each(replies).next().and_then(of)?;
    each(replies).all(|reply| of(reply).is_some()).then_some(first)
}

/// The replies, one by one.
pub(super) fn each(replies: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut cursor = Cursor::new(replies);
    std::iter::from_fn(move || {
        let begin = cursor.position();
        cursor.skip().ok()?;
        replies.get(begin..cursor.position())
    })
}

#[cold]
fn read(text: &[u8]) -> Option<Redirect> {
    let mut words = text.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let kind = words.next()?;
    if kind == b"TRYAGAIN" {
        return Some(Redirect::TryAgain);
    }
    if kind != b"MOVED" && kind != b"ASK" {
        return None;
    }
    let slot =
        std::str::from_utf8(words.next()?).ok()?.parse::<u16>().ok().filter(|slot| *slot < HASH_SLOTS)?;
    let address = words.next()?;
    let colon = address.iter().rposition(|byte| *byte == b':')?;
    let (host, port) = (address.get(..colon)?, address.get(colon + 1..)?);
    let at = match host {
        b"" => RedisHost { host: String::new(), port: address_of(b"x", port)?.port },
        host => address_of(host, port)?,
    };
    Some(if kind == b"MOVED" { Redirect::Moved { slot, at } } else { Redirect::Ask { at } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> RedisHost {
        RedisHost { host: host.into(), port }
    }

    #[test]
    fn slot_and_place_are_read_whatever_the_host_looks_like() {
        let moved = |slot, host: &str, port| Some(Redirect::Moved { slot, at: at(host, port) });
        assert_eq!(of(b"-MOVED 3999 10.0.0.7:6381\r\n"), moved(3999, "10.0.0.7", 6381));
        assert_eq!(of(b"-MOVED 1 ::1:6381\r\n"), moved(1, "::1", 6381));
        assert_eq!(of(b"-MOVED 1 redis-1.internal:6381\r\n"), moved(1, "redis-1.internal", 6381));
        assert_eq!(of(b"-MOVED 1 :6381\r\n"), moved(1, "", 6381));
        assert_eq!(of(b"-ASK 1 a:2\r\n"), Some(Redirect::Ask { at: at("a", 2) }));
        assert_eq!(of(b"-TRYAGAIN Multiple keys request\r\n"), Some(Redirect::TryAgain));
    }

    #[test]
    fn everything_else_is_an_answer() {
        for reply in [
            "-ERR MOVED 1 a:2\r\n",
            "+MOVED 1 a:2\r\n",
            "$13\r\n-MOVED 1 a:2\r\n\r\n",
            "-MOVED 16384 a:2\r\n",
            "-MOVED -1 a:2\r\n",
            "-MOVED 1 a:0\r\n",
            "-MOVED 1 a\r\n",
            "-MOVED 1\r\n",
            "-MOVED\r\n",
            "-MOVED 1 a/b:2\r\n",
            "-\r\n",
            "",
        ] {
            assert_eq!(of(reply.as_bytes()), None, "{reply}");
        }
    }

    #[test]
    fn a_transaction_goes_where_the_first_refused_command_goes() {
        let replies = b"+OK\r\n+QUEUED\r\n-ASK 1 a:2\r\n-EXECABORT x\r\n";
        assert_eq!(first(replies), Some(Redirect::Ask { at: at("a", 2) }));
        assert_eq!(first(b"+OK\r\n+QUEUED\r\n*1\r\n-ASK 1 a:2\r\n"), None, "what ran is not tried again");
        assert_eq!(of_all(replies), None);
        assert!(of_all(b"-ASK 1 a:2\r\n-ASK 1 a:2\r\n").is_some());
    }
}
