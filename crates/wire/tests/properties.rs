//! What must hold for every message, every cut and every run of bytes.

use agw_wire::resp::{self, Cursor, ParseError, Value};
use agw_wire::sql::{
    ARRAY_DEPTH_MAX, Call, Cell, Cells, Column, Columns, Mode, Reply, ReplyWriter, Statement, put_array,
    put_cell,
};
use agw_wire::{
    Answer, CallError, Code, DecodeError, Lease, RedisBatch, RedisCommand, Request, Response, Retry, Style,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

// === what is generated: owned, because messages borrow ===

type OwnedCommand = (Vec<Vec<u8>>, String, u32);
type OwnedBatch = (Vec<OwnedCommand>, bool, Option<(u32, bool)>);
type OwnedRequest = (String, bool, u32, Option<OwnedBatch>);

fn command() -> impl Strategy<Value = OwnedCommand> {
    (vec(vec(any::<u8>(), 0..300), 0..5), ".{0,8}", any::<u32>())
}

fn call() -> impl Strategy<Value = OwnedRequest> {
    let batch = (vec(command(), 0..4), any::<bool>(), option::of((any::<u32>(), any::<bool>())));
    (".{1,20}", any::<bool>(), any::<u32>(), option::of(batch))
}

fn request((resource, callback, deadline_ms, batch): &OwnedRequest) -> Request<'_> {
    let redis = batch.as_ref().map(|(commands, atomic, lease)| RedisBatch {
        commands: commands
            .iter()
            .map(|(args, script, script_keys)| RedisCommand {
                args: args.iter().map(Vec::as_slice).collect(),
                script,
                script_keys: *script_keys,
            })
            .collect(),
        atomic: *atomic,
        lease: lease.map(|(id, keep)| Lease { id, keep }),
    });
    let style = if *callback { Style::Callback } else { Style::Blocking };
    Request { resource, style, deadline_ms: *deadline_ms, cancel: 0, redis, sql: None }
}

#[derive(Clone, Debug)]
enum OwnedAnswer {
    Resp(Vec<u8>),
    Error(CallError),
    CallId(u32),
}

fn answer() -> impl Strategy<Value = OwnedAnswer> {
    let retry = prop_oneof![Just(Retry::Never), Just(Retry::Safe), Just(Retry::IfIdempotent)];
    let error = (0..Code::ALL.len(), ".{0,40}", "[A-Z]{0,12}", retry, any::<u32>());
    let error = error.prop_map(|(code, message, server_code, retry, after)| {
        let error = CallError::new(Code::ALL[code], message).server_code(server_code).retry(retry);
        OwnedAnswer::Error(error.retry_after_ms(after))
    });
    // Ids start at 1: 0 is a field that is not there.
    prop_oneof![
        vec(any::<u8>(), 0..300).prop_map(OwnedAnswer::Resp),
        error,
        (1..=u32::MAX).prop_map(OwnedAnswer::CallId)
    ]
}

fn response(answer: &OwnedAnswer, lease: u32) -> Response<'_> {
    let answer = match answer {
        OwnedAnswer::Resp(bytes) => Answer::Resp(bytes),
        OwnedAnswer::Error(error) => Answer::Error(error.clone()),
        OwnedAnswer::CallId(id) => Answer::CallId(*id),
    };
    Response { answer, lease }
}

/// A reply's bytes, built by hand, of every type and nested up to four deep.
fn reply() -> impl Strategy<Value = Vec<u8>> {
    let bulk = |kind: char| {
        vec(any::<u8>(), 0..40).prop_map(move |bytes| {
            [format!("{kind}{}\r\n", bytes.len()).into_bytes(), bytes, b"\r\n".to_vec()].concat()
        })
    };
    let leaf = prop_oneof![
        "[+-][ -~]{0,20}\r\n".prop_map(String::into_bytes),
        any::<i64>().prop_map(|int| format!(":{int}\r\n").into_bytes()),
        bulk('$'),
        bulk('!'),
        "[a-z]{3}:[ -~]{0,20}".prop_map(|text| format!("={}\r\n{text}\r\n", text.len()).into_bytes()),
        any::<f64>().prop_map(|double| format!(",{double}\r\n").into_bytes()),
        "\\([0-9]{1,40}\r\n".prop_map(String::into_bytes),
        Just(b"_\r\n".to_vec()),
        Just(b"#t\r\n".to_vec()),
        Just(b"$-1\r\n".to_vec()),
        Just(b"*-1\r\n".to_vec()),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let list = (prop_oneof![Just('*'), Just('~'), Just('>')], vec(inner.clone(), 0..6));
        let list = list.prop_map(|(kind, items)| {
            [format!("{kind}{}\r\n", items.len()).into_bytes(), items.concat()].concat()
        });
        let map = vec((inner.clone(), inner.clone()), 0..4).prop_map(|pairs| {
            let items: Vec<u8> =
                pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).flatten().collect();
            [format!("%{}\r\n", pairs.len()).into_bytes(), items].concat()
        });
        let attribute = (inner.clone(), inner)
            .prop_map(|(about, value)| [b"|1\r\n+a\r\n".to_vec(), about, value].concat());
        prop_oneof![list, map, attribute]
    })
}

/// Equal, or not a number in the same places.
fn same(a: &Value<'_>, b: &Value<'_>) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

// === the envelope ===

proptest! {
    #[test]
    fn a_request_comes_back_as_it_was(owned in call()) {
        let request = request(&owned);
        let bytes = request.encode();
        prop_assert_eq!(Request::decode(&bytes), Ok(request));
    }

    #[test]
    fn a_cancellation_comes_back_as_it_was(id in 1..=u32::MAX) {
        let bytes = Request::cancel(id).encode();
        prop_assert_eq!(Request::decode(&bytes), Ok(Request::cancel(id)));
    }

    #[test]
    fn a_response_comes_back_as_it_was(owned in answer(), lease in any::<u32>()) {
        let response = response(&owned, lease);
        let bytes = response.encode();
        prop_assert_eq!(Response::decode(&bytes), Ok(response));
    }

    /// A prefix decodes only if it is a message of its own, which then is exactly what it says.
    #[test]
    fn a_cut_request_is_an_error_or_itself_a_request(owned in call()) {
        let bytes = request(&owned).encode();
        for end in 0..bytes.len() {
            if let Ok(prefix) = Request::decode(&bytes[..end]) {
                prop_assert_eq!(prefix.encode(), &bytes[..end], "cut at {}", end);
            }
        }
    }

    #[test]
    fn a_cut_response_is_an_error_or_itself_a_response(owned in answer(), lease in any::<u32>()) {
        let bytes = response(&owned, lease).encode();
        for end in 0..bytes.len() {
            if let Ok(prefix) = Response::decode(&bytes[..end]) {
                prop_assert_eq!(prefix.encode(), &bytes[..end], "cut at {}", end);
            }
        }
    }

    /// Whatever decodes means the same when it is written and read again.
    #[test]
    fn random_bytes_are_an_error_or_a_message_with_one_meaning(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(request) = Request::decode(&bytes) {
            let again = request.encode();
            prop_assert_eq!(Request::decode(&again), Ok(request));
        }
        if let Ok(response) = Response::decode(&bytes)
            // Nobody gives this id, and it is written as a field that is not there.
            && response.answer != Answer::CallId(0)
        {
            let again = response.encode();
            prop_assert_eq!(Response::decode(&again), Ok(response));
        }
    }

    /// As above, but close enough to a message to get past its first bytes.
    #[test]
    fn a_request_with_one_wrong_byte_is_an_error_or_a_request(
        owned in call(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = request(&owned).encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(request) = Request::decode(&bytes) {
            let again = request.encode();
            prop_assert_eq!(Request::decode(&again), Ok(request));
        }
    }
}

// === SQL ===

/// Cells of the kinds that have a length or a sign, nested up to three deep.
fn cells() -> impl Strategy<Value = Vec<u8>> {
    let put = |cell: Cell<'_>| {
        let mut out = Vec::new();
        put_cell(&mut out, cell);
        out
    };
    let leaf = prop_oneof![
        Just(put(Cell::Null)),
        any::<bool>().prop_map(move |value| put(Cell::Bool(value))),
        any::<i64>().prop_map(move |value| put(Cell::Int(value))),
        any::<u64>().prop_map(move |value| put(Cell::Uint(value))),
        any::<f64>().prop_map(move |value| put(Cell::Float(value))),
        "-?[0-9]{1,30}(\\.[0-9]{1,30})?".prop_map(move |text| put(Cell::Decimal(&text))),
        ".{0,40}".prop_map(move |text| put(Cell::Text(&text))),
        vec(any::<u8>(), 0..40).prop_map(move |bytes| put(Cell::Bytes(&bytes))),
        any::<i32>().prop_map(move |days| put(Cell::Date(days))),
        (any::<i32>(), any::<i32>(), any::<i64>())
            .prop_map(move |(months, days, micros)| put(Cell::Interval { months, days, micros })),
        any::<[u8; 16]>().prop_map(move |bytes| put(Cell::Uuid(bytes))),
    ];
    let nested = leaf.prop_recursive(3, 24, 5, |inner| {
        vec(inner, 0..5).prop_map(|elements| {
            let mut out = Vec::new();
            put_array(&mut out, &elements.concat());
            out
        })
    });
    vec(nested, 0..8).prop_map(|cells| cells.concat())
}

fn copy(mut cells: Cells<'_>) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    while let Some(cell) = cells.next_cell()? {
        match cell {
            Cell::Array(elements) => put_array(&mut out, &copy(elements)?),
            cell => put_cell(&mut out, cell),
        }
    }
    Ok(out)
}

proptest! {
    #[test]
    fn cells_that_are_read_one_by_one_are_what_was_written(bytes in cells()) {
        prop_assert_eq!(Cells::new(&bytes).check(), Ok(()));
        prop_assert_eq!(copy(Cells::new(&bytes)), Ok(bytes.clone()));
    }

    #[test]
    fn a_call_comes_back_as_it_was(
        mode in 0..Mode::ALL.len(), statements in vec((".{0,8}", ".{0,20}", cells()), 0..4), cursor: u32, page_rows: u32
    ) {
        let statements = statements.iter().map(|(name, text, params)| {
            Statement { name, text, params: Cells::new(params) }
        });
        let call = Call { mode: Mode::ALL[mode], statements: statements.collect(), cursor, page_rows };
        let request = Request { resource: "r", sql: Some(call), ..Request::default() };
        let bytes = request.encode();
        prop_assert_eq!(Request::decode(&bytes), Ok(request));
        for end in 0..bytes.len() {
            if let Ok(prefix) = Request::decode(&bytes[..end]) {
                prop_assert_eq!(prefix.encode(), &bytes[..end], "cut at {}", end);
            }
        }
    }

    #[test]
    fn random_bytes_are_cells_or_an_error(bytes in vec(prop_oneof![0u8..20, any::<u8>()], 0..100)) {
        let mut cells = Cells::new(&bytes);
        let checked = cells.check().is_ok();
        let read = cells.all(|cell| match cell {
            Ok(Cell::Array(elements)) => elements.check().is_ok(),
            other => other.is_ok(),
        });
        prop_assert_eq!(checked, read);
    }
}

#[test]
fn arrays_nested_too_deep_are_refused_without_a_stack_overflow() {
    let nested = |depth: usize| {
        (0..depth).fold(Vec::new(), |elements, _| {
            let mut out = Vec::new();
            put_array(&mut out, &elements);
            out
        })
    };
    assert_eq!(Cells::new(&nested(ARRAY_DEPTH_MAX)).check(), Ok(()));
    assert!(Cells::new(&nested(ARRAY_DEPTH_MAX + 1)).check().is_err());
    assert!(Cells::new(&nested(10_000)).check().is_err());
}

// === RESP ===

proptest! {
    #[test]
    fn a_command_is_an_array_of_its_arguments(args in vec(vec(any::<u8>(), 0..50), 1..6)) {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let mut bytes = Vec::new();
        resp::put_command(&mut bytes, &args);
        let expected = Value::Array(args.into_iter().map(Value::Bulk).collect());
        prop_assert_eq!(resp::parse(&bytes), Ok((expected, bytes.len())));
    }

    #[test]
    fn a_reply_is_read_whole_and_what_follows_is_left(reply in reply(), after in vec(any::<u8>(), 0..20)) {
        let (value, read) = resp::parse(&reply).unwrap();
        prop_assert_eq!(read, reply.len());
        let bytes = [reply.clone(), after].concat();
        let (again, read) = resp::parse(&bytes).unwrap();
        prop_assert_eq!(read, reply.len());
        prop_assert!(same(&value, &again));
        let mut cursor = Cursor::new(&bytes);
        prop_assert_eq!(cursor.skip(), Ok(()));
        prop_assert_eq!(cursor.position(), reply.len());
    }

    #[test]
    fn a_cut_reply_is_incomplete_at_every_byte(reply in reply()) {
        for end in 0..reply.len() {
            prop_assert_eq!(resp::parse(&reply[..end]), Err(ParseError::Incomplete), "cut at {}", end);
            prop_assert_eq!(Cursor::new(&reply[..end]).skip(), Err(ParseError::Incomplete), "cut at {}", end);
        }
    }

    #[test]
    fn replies_are_read_in_order_and_by_their_number(replies in vec(reply(), 0..5)) {
        let bytes = replies.concat();
        let values = resp::parse_all(&bytes, replies.len()).unwrap();
        prop_assert_eq!(values.len(), replies.len());
        prop_assert_eq!(resp::parse_all(&bytes, replies.len() + 1), Err(ParseError::Incomplete));
        if !replies.is_empty() {
            prop_assert_eq!(resp::parse_all(&bytes, replies.len() - 1), Err(ParseError::Malformed));
        }
    }

    #[test]
    fn random_bytes_are_read_within_their_bounds(
        bytes in vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'%'), Just(b'|'), Just(b'\r'), Just(b'\n'), Just(b'1'), any::<u8>()], 0..200)
    ) {
        if let Ok((_, read)) = resp::parse(&bytes) {
            prop_assert!(read <= bytes.len());
        }
        let mut cursor = Cursor::new(&bytes);
        let _ = cursor.skip();
        prop_assert!(cursor.position() <= bytes.len());
    }
}

#[test]
fn columns_are_found_one_by_one_and_kept_for_further_pages() {
    let mut writer = ReplyWriter::new();
    for name in ["a", "", "a"] {
        writer.column(&Column { name, engine_type: "int4", ..Column::default() });
    }
    (0..3).for_each(|number| writer.cell(Cell::Int(number)));
    writer.end_row();
    writer.end_result(5, 6);
    writer.end_result(0, 0);
    let bytes = writer.finish(0);
    let results = Reply::decode(&bytes).unwrap().results;
    let header = results[0].header();
    let kept = header.as_bytes().to_vec();
    assert_eq!(header.collect::<Vec<_>>(), results[0].columns);
    assert_eq!(Columns::new(&kept).collect::<Vec<_>>(), results[0].columns);
    assert_eq!(results[1].header().count(), 0);
    for end in 0..kept.len() {
        assert!(Columns::new(&kept[..end]).count() < 3, "cut at {end}");
    }
}

#[test]
fn a_reply_nested_too_deep_is_refused_without_a_stack_overflow() {
    let deep = [b"*1\r\n".repeat(resp::DEPTH_MAX), b":1\r\n".to_vec()].concat();
    assert!(resp::parse(&deep).is_ok());
    let deeper = [b"*1\r\n".repeat(resp::DEPTH_MAX + 1), b":1\r\n".to_vec()].concat();
    assert_eq!(resp::parse(&deeper), Err(ParseError::TooDeep));
    assert_eq!(resp::parse(&b"|1\r\n".repeat(100_000)), Err(ParseError::TooDeep));
}

#[test]
fn an_announced_length_allocates_nothing() {
    // Nested announcements of everything: each level would otherwise reserve room for all that follows.
    let announced = b"*1000000000\r\n".repeat(resp::DEPTH_MAX);
    let bytes = [announced, vec![b':'; 1 << 20]].concat();
    assert_eq!(resp::parse(&bytes), Err(ParseError::Incomplete));
    // Incomplete where a length has 64 bits, malformed where it has 32.
    assert!(resp::parse(b"$9223372036854775807\r\n").is_err());
    assert_eq!(resp::parse(b"*-2\r\n"), Err(ParseError::Malformed));
    assert_eq!(resp::parse_all(b"", usize::MAX), Err(ParseError::Incomplete));
}
