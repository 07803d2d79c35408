use super::*;

const PREFIX: &[u8] = b"app:";

fn apply(rule: ReplyRule, reply: &[u8]) -> Result<Vec<u8>, ReplyError> {
    rule.apply(reply, PREFIX).map(Cow::into_owned)
}

#[test]
fn the_popped_key_comes_without_the_prefix() {
    let reply = b"*2\r\n$5\r\napp:q\r\n$3\r\nabc\r\n";
    assert_eq!(apply(ReplyRule::KeyFirst, reply), Ok(b"*2\r\n$1\r\nq\r\n$3\r\nabc\r\n".to_vec()));
    let nested = b"*2\r\n$4\r\napp:\r\n*2\r\n*2\r\n$1\r\nm\r\n,1.5\r\n*2\r\n$1\r\nn\r\n,2\r\n";
    let clean = b"*2\r\n$0\r\n\r\n*2\r\n*2\r\n$1\r\nm\r\n,1.5\r\n*2\r\n$1\r\nn\r\n,2\r\n";
    assert_eq!(apply(ReplyRule::KeyFirst, nested), Ok(clean.to_vec()));
}

#[test]
fn nothing_popped_stays_nothing() {
    for reply in [&b"*-1\r\n"[..], b"$-1\r\n", b"_\r\n"] {
        assert_eq!(apply(ReplyRule::KeyFirst, reply), Ok(reply.to_vec()));
        assert_eq!(apply(ReplyRule::KeyPerEntry, reply), Ok(reply.to_vec()));
    }
}

#[test]
fn a_key_outside_the_prefix_never_gets_through() {
    for key in ["other:q", "app", "App:q", "xapp:q", ""] {
        let reply = format!("*2\r\n${}\r\n{key}\r\n$1\r\nv\r\n", key.len());
        assert_eq!(apply(ReplyRule::KeyFirst, reply.as_bytes()), Err(ReplyError::ForeignKey));
        let reply = format!("*1\r\n*2\r\n${}\r\n{key}\r\n*0\r\n", key.len());
        assert_eq!(apply(ReplyRule::KeyPerEntry, reply.as_bytes()), Err(ReplyError::ForeignKey));
        let reply = format!("*2\r\n$1\r\n0\r\n*2\r\n${}\r\n{key}\r\n$5\r\napp:k\r\n", key.len());
        assert_eq!(
            apply(ReplyRule::ScanKeys, reply.as_bytes()),
            Ok(b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n".to_vec())
        );
    }
}

#[test]
fn stream_names_come_without_the_prefix_in_both_protocols() {
    let entries = "*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$5\r\napp:f\r\n$1\r\nv\r\n";
    let two = format!("*2\r\n*2\r\n$5\r\napp:a\r\n{entries}*2\r\n$5\r\napp:b\r\n{entries}");
    let clean = format!("*2\r\n*2\r\n$1\r\na\r\n{entries}*2\r\n$1\r\nb\r\n{entries}");
    assert_eq!(apply(ReplyRule::KeyPerEntry, two.as_bytes()), Ok(clean.into_bytes()));
    let three = format!("%2\r\n$5\r\napp:a\r\n{entries}$5\r\napp:b\r\n{entries}");
    let clean = format!("%2\r\n$1\r\na\r\n{entries}$1\r\nb\r\n{entries}");
    assert_eq!(apply(ReplyRule::KeyPerEntry, three.as_bytes()), Ok(clean.into_bytes()));
}

#[test]
fn error_texts_that_quote_a_key_lose_the_prefix() {
    let reply = b"-NOGROUP No such key 'app:x' or consumer group 'g' in XREADGROUP\r\n";
    let clean = b"-NOGROUP No such key 'x' or consumer group 'g' in XREADGROUP\r\n";
    for rule in [ReplyRule::AsIs, ReplyRule::KeyFirst, ReplyRule::KeyPerEntry, ReplyRule::ScanKeys] {
        assert_eq!(apply(rule, reply), Ok(clean.to_vec()));
    }
    let blob = b"!15\r\nERR 'app:a' 'b'\r\n";
    assert_eq!(apply(ReplyRule::AsIs, blob), Ok(b"!11\r\nERR 'a' 'b'\r\n".to_vec()));
}

#[test]
fn an_unknown_command_error_does_not_echo_arguments() {
    let reply = b"-ERR unknown command 'HTTL', with args beginning with: 'app:k' 'FIELDS' \r\n";
    assert_eq!(apply(ReplyRule::AsIs, reply), Ok(b"-ERR unknown command 'HTTL'\r\n".to_vec()));
}

#[test]
fn values_that_look_like_keys_are_left_alone() {
    let reply = b"$7\r\n'app:k'\r\n";
    assert!(matches!(ReplyRule::AsIs.apply(reply, PREFIX), Ok(Cow::Borrowed(_))));
    let reply = b"*2\r\n$5\r\napp:q\r\n$5\r\napp:v\r\n";
    assert_eq!(apply(ReplyRule::KeyFirst, reply), Ok(b"*2\r\n$1\r\nq\r\n$5\r\napp:v\r\n".to_vec()));
}

#[test]
fn without_a_prefix_nothing_is_touched() {
    for rule in [ReplyRule::AsIs, ReplyRule::KeyFirst, ReplyRule::KeyPerEntry, ReplyRule::ScanKeys] {
        let reply = b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n";
        assert!(matches!(rule.apply(reply, b""), Ok(Cow::Borrowed(_))));
    }
}

#[test]
fn a_batch_is_rewritten_reply_by_reply() {
    use ReplyRule::{AsIs, KeyFirst};
    let reply = b"*3\r\n:1\r\n*2\r\n$5\r\napp:q\r\n$1\r\nv\r\n-ERR no 'app:z'\r\n";
    let clean = b"*3\r\n:1\r\n*2\r\n$1\r\nq\r\n$1\r\nv\r\n-ERR no 'z'\r\n";
    let rules = [AsIs, KeyFirst, AsIs];
    assert_eq!(ReplyRule::apply_exec(&rules, reply, PREFIX).unwrap(), &clean[..]);
    let plain = b"*2\r\n:1\r\n+OK\r\n";
    assert!(matches!(ReplyRule::apply_exec(&[AsIs, AsIs], plain, PREFIX), Ok(Cow::Borrowed(_))));
    assert!(matches!(ReplyRule::apply_exec(&rules, b"*-1\r\n", PREFIX), Ok(Cow::Borrowed(_))));
    assert_eq!(ReplyRule::apply_exec(&rules, plain, PREFIX), Err(ReplyError::Malformed));
    let aborted = b"-EXECABORT Transaction discarded\r\n";
    assert_eq!(ReplyRule::apply_exec(&rules, aborted, PREFIX).unwrap(), &aborted[..]);
}

#[test]
fn a_reply_of_another_shape_is_withheld() {
    for reply in
        [&b":1\r\n"[..], b"+OK\r\n", b"*0\r\n", b"*1\r\n:1\r\n", b"", b"*", b"*2\r\n", b"*2\r\n$9\r\napp:"]
    {
        assert!(apply(ReplyRule::KeyFirst, reply).is_err(), "{reply:?}");
        assert!(apply(ReplyRule::ScanKeys, reply).is_err(), "{reply:?}");
    }
    assert!(apply(ReplyRule::KeyPerEntry, b"*1\r\n*3\r\n$5\r\napp:a\r\n:1\r\n:1\r\n").is_err());
    assert!(apply(ReplyRule::KeyPerEntry, b"*1\r\n*2\r\n$5\r\napp:a\r\n:1\r\n:1\r\n").is_err());
}

#[test]
fn cut_and_flipped_bytes_never_panic_and_never_show_a_foreign_key() {
    let replies: [(ReplyRule, &[u8]); 4] = [
        (ReplyRule::KeyFirst, b"*2\r\n$5\r\nevil:\r\n$3\r\nabc\r\n"),
        (
            ReplyRule::KeyPerEntry,
            b"%1\r\n$5\r\nevil:\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
        ),
        (ReplyRule::ScanKeys, b"*2\r\n$1\r\n0\r\n*2\r\n$5\r\nevil:\r\n$5\r\nevil:\r\n"),
        (ReplyRule::AsIs, b"-ERR 'app:evil:'\r\n"),
    ];
    for (rule, reply) in replies {
        for cut in 0..reply.len() {
            apply(rule, &reply[..cut]).ok();
            ReplyRule::apply_exec(&[rule], &reply[..cut], PREFIX).ok();
            for byte in [b'0', b'-', b'9', b'*', b'$', b'_', b'\r', b'\n', 0xff] {
                let mut flipped = reply.to_vec();
                flipped[cut] = byte;
                if let Ok(out) = apply(rule, &flipped)
                    && rule == ReplyRule::ScanKeys
                {
                    assert!(find(&out, b"evil:").is_none());
                }
            }
        }
    }
    assert_eq!(
        apply(ReplyRule::KeyFirst, b"*9223372036854775807\r\n*9223372036854775807\r\n"),
        Err(ReplyError::Malformed)
    );
    let bomb = b"%9223372036854775807\r\n$5\r\napp:a\r\n%9223372036854775807\r\n";
    assert_eq!(apply(ReplyRule::KeyPerEntry, bomb), Err(ReplyError::Malformed));
}
