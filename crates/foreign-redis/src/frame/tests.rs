use agw_wire::resp::{ParseError, parse};
use proptest::prelude::*;

use super::*;

const AMPLE: usize = 1 << 20;

fn frame(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    Framer::new(1, AMPLE).advance(bytes)
}

/// Gives the bytes one more at a time, and says after how many the framer came to its result.
fn byte_by_byte(bytes: &[u8], replies: usize) -> Result<Option<usize>, FrameError> {
    let mut framer = Framer::new(replies, AMPLE);
    for end in 0..bytes.len() {
        if let Some(found) = framer.advance(&bytes[..end])? {
            return Ok(Some(found));
        }
    }
    framer.advance(bytes)
}

#[test]
fn bytes_that_are_not_resp_are_malformed() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"\0\0\0\0\r\n",
        b":12x\r\n",
        b":\r\n",
        b"$-2\r\n",
        b"$3\r\nabcde\r\n",
        b"$3\r\nabc\n\r",
        b"+OK\rX",
        b"*x\r\n",
        b"%-1\r\n",
        b"|-1\r\n",
        b"_x\r\n",
        b"#y\r\n",
        b",abc\r\n",
        b"=3\r\ntxt\r\n",
        b"=5\r\ntxt-a\r\n",
        b"$99999999999999999999\r\n",
        b"\r\n",
    ] {
        assert_eq!(frame(bytes), Err(FrameError::Malformed), "{}", bytes.escape_ascii());
        assert!(!matches!(parse(bytes), Ok(_) | Err(ParseError::TooDeep)), "{}", bytes.escape_ascii());
    }
}

#[test]
fn every_type_ends_where_it_ends_and_not_a_byte_earlier() {
    for bytes in [
        &b"+OK\r\n"[..],
        b"-ERR no\r\n",
        b":-9223372036854775808\r\n",
        b"$5\r\nhe\r\no\r\n",
        b"$0\r\n\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n_\r\n",
        b"_\r\n",
        b"#t\r\n",
        b",-inf\r\n",
        b"(12345678901234567890123\r\n",
        b"!5\r\nERR x\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
        b"~1\r\n+a\r\n",
        b">2\r\n+a\r\n+b\r\n",
        b"|1\r\n+ttl\r\n:1\r\n$1\r\nx\r\n",
        b"*1\r\n|1\r\n+ttl\r\n:1\r\n*1\r\n$1\r\nx\r\n",
    ] {
        let mut longer = bytes.to_vec();
        longer.extend_from_slice(b"+next\r\n");
        assert_eq!(frame(&longer), Ok(Some(bytes.len())), "{}", bytes.escape_ascii());
        assert_eq!(byte_by_byte(bytes, 1), Ok(Some(bytes.len())), "{}", bytes.escape_ascii());
        for end in 0..bytes.len() {
            assert_eq!(frame(&bytes[..end]), Ok(None), "{} cut at {end}", bytes.escape_ascii());
        }
    }
}

#[test]
fn several_replies_are_framed_as_one() {
    assert_eq!(byte_by_byte(b"+OK\r\n:1\r\n*1\r\n:2\r\n", 3), Ok(Some(17)));
    assert_eq!(byte_by_byte(b"+OK\r\n:1\r\n*1\r\n:2\r\n", 4), Ok(None));
}

#[test]
fn nesting_ends_where_the_parsers_ends() {
    for (depth, inner) in
        [(31, ":1\r\n"), (32, ":1\r\n"), (33, ":1\r\n"), (31, "*0\r\n"), (32, "*0\r\n"), (33, "*0\r\n")]
    {
        let bytes = format!("{}{inner}", "*1\r\n".repeat(depth)).into_bytes();
        match parse(&bytes) {
            Ok((_, end)) => assert_eq!(frame(&bytes), Ok(Some(end)), "{depth}"),
            Err(ParseError::TooDeep) => assert_eq!(frame(&bytes), Err(FrameError::TooDeep), "{depth}"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn an_announced_length_over_the_bound_is_refused_before_its_bytes_arrive() {
    let mut framer = Framer::new(1, 1000);
    assert_eq!(framer.advance(b"$104857600\r\n"), Err(FrameError::TooLarge));
    assert_eq!(Framer::new(1, 1000).advance(b"*1000\r\n"), Err(FrameError::TooLarge));
    assert_eq!(Framer::new(1, 1000).advance(b"%9223372036854775807\r\n"), Err(FrameError::TooLarge));
    assert_eq!(Framer::new(1, 1000).advance(b"*2\r\n$900\r\n"), Ok(None));
    assert_eq!(Framer::new(2, 1000).advance(b"$994\r\n"), Err(FrameError::TooLarge), "both together");
    assert_eq!(Framer::new(1, 10).advance(b"+endless line"), Err(FrameError::TooLarge));
}

#[test]
fn a_bound_counts_whole_replies_to_the_byte() {
    assert_eq!(Framer::new(1, 11).advance(b"$5\r\nhello\r\n"), Ok(Some(11)));
    assert_eq!(Framer::new(1, 10).advance(b"$5\r\nhello\r\n"), Err(FrameError::TooLarge));
}

#[test]
fn a_raised_bound_lets_the_framing_go_on() {
    let bytes = b"*2\r\n$5\r\nhello\r\n:1\r\n";
    let mut framer = Framer::new(1, 12);
    assert_eq!(framer.advance(bytes), Err(FrameError::TooLarge));
    framer.raise(100);
    assert_eq!(framer.advance(bytes), Ok(Some(bytes.len())));
}

fn reply() -> impl Strategy<Value = Vec<u8>> {
    let text = "[a-zA-Z0-9 ]{0,12}";
    let leaf = prop_oneof![
        text.prop_map(|text| format!("+{text}\r\n").into_bytes()),
        text.prop_map(|text| format!("-ERR {text}\r\n").into_bytes()),
        any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| payload("$", &bytes)),
        text.prop_map(|text| payload("!", text.as_bytes())),
        text.prop_map(|text| payload("=", format!("txt:{text}").as_bytes())),
        Just(b"$-1\r\n".to_vec()),
        Just(b"*-1\r\n".to_vec()),
        Just(b"_\r\n".to_vec()),
        any::<bool>().prop_map(|yes| if yes { b"#t\r\n".to_vec() } else { b"#f\r\n".to_vec() }),
        any::<f64>().prop_map(|number| format!(",{number}\r\n").into_bytes()),
        "[1-9][0-9]{0,30}".prop_map(|digits| format!("({digits}\r\n").into_bytes()),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        (prop::sample::select(vec!["*", "~", "%"]), prop::collection::vec(inner, 0..6)).prop_map(
            |(kind, mut all)| {
                if kind == "%" && all.len() % 2 == 1 {
                    all.pop();
                }
                let len = if kind == "%" { all.len() / 2 } else { all.len() };
                let mut bytes = format!("{kind}{len}\r\n").into_bytes();
                bytes.extend(all.concat());
                bytes
            },
        )
    })
}

fn payload(kind: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{kind}{}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}

proptest! {
    #[test]
    fn a_reply_ends_where_both_parsers_end(reply in reply(), rest in prop::collection::vec(any::<u8>(), 0..8)) {
        let mut bytes = reply.clone();
        bytes.extend_from_slice(&rest);
        prop_assert_eq!(parse(&bytes).map(|(_, end)| end), Ok(reply.len()));
        prop_assert_eq!(frame(&bytes), Ok(Some(reply.len())));
        prop_assert_eq!(byte_by_byte(&reply, 1), Ok(Some(reply.len())));
        // redis-rs has no end to tell, but must take exactly these bytes and none fewer.
        prop_assert!(redis::parse_redis_value(&reply).is_ok());
        prop_assert!(redis::parse_redis_value(&reply[..reply.len() - 1]).is_err());
    }

    #[test]
    fn whatever_is_damaged_is_judged_as_the_parser_judges_it(
        reply in reply(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = reply;
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let framed = Framer::new(1, usize::MAX).advance(&bytes);
        prop_assert_eq!(byte_by_byte_unbounded(&bytes), framed);
        match parse(&bytes) {
            Ok((_, end)) => prop_assert_eq!(framed, Ok(Some(end))),
            Err(ParseError::TooDeep) => prop_assert_eq!(framed, Err(FrameError::TooDeep)),
            // The framer may know from a length what the parser finds out at the end only.
            Err(ParseError::Incomplete) => {
                prop_assert!(!matches!(framed, Ok(Some(_)) | Err(FrameError::TooDeep)), "{:?}", framed);
            }
            Err(_) => prop_assert_eq!(framed, Err(FrameError::Malformed)),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = frame(&bytes);
        let _ = byte_by_byte(&bytes, 2);
    }
}

fn byte_by_byte_unbounded(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let mut framer = Framer::new(1, usize::MAX);
    for end in 0..bytes.len() {
        if let Some(found) = framer.advance(&bytes[..end])? {
            return Ok(Some(found));
        }
    }
    framer.advance(bytes)
}
