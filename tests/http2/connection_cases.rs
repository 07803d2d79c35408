//! RFC 9113, 3 to 7: the connection, its frames and its streams, in h2spec's numbers.

use agw_tests::h2_client::{
    code, continuation, data, flag, frame, headers, kind, ping, priority, reset, settings, window_update,
};
use agw_tests::hpack::{GET_ROOT, field, fields, request};

use crate::spec::{
    CLOSED_OR_PROTOCOL, COMPRESSION, Expect, FLOW_CONTROL, FRAME_SIZE, PROTOCOL, STREAM_CLOSED, Spec, Step,
    padded, spec, steps,
};

const FRAME_MAX: usize = 16_384;
const WINDOW_MAX: u32 = 0x7fff_ffff;

fn get(stream: u32) -> Vec<u8> {
    headers(stream, flag::WHOLE, &request("GET", "/"))
}

/// HEADERS of a POST that goes on.
fn post(stream: u32) -> Vec<u8> {
    headers(stream, flag::END_HEADERS, &request("POST", "/"))
}

/// The first part of a block.
fn open(stream: u32) -> Vec<u8> {
    headers(stream, flag::END_STREAM, &request("GET", "/"))
}

/// The last part.
fn rest(stream: u32) -> Vec<u8> {
    continuation(stream, flag::END_HEADERS, &field("x-rest", "1"))
}

pub(crate) fn frames() -> Vec<Spec> {
    vec![
        spec("4.1/1 a frame of unknown type", Expect::Alive, [frame(0x16, 0, 0, &[0; 8])]),
        spec("4.1/2 a frame with an undefined flag", Expect::Alive, [frame(kind::PING, 0x16, 0, &[0; 8])]),
        spec(
            "4.1/3 a frame with the reserved bit",
            Expect::Alive,
            [frame(kind::PING, 0, 0x8000_0000, &[0; 8])],
        ),
        spec(
            "4.2/1 DATA of 2^14 bytes",
            Expect::Ok(1),
            [post(1), data(1, flag::END_STREAM, &[b'x'; FRAME_MAX])],
        ),
        spec(
            "4.2/2 DATA above SETTINGS_MAX_FRAME_SIZE",
            Expect::Stream(FRAME_SIZE),
            [post(1), data(1, flag::END_STREAM, &[b'x'; FRAME_MAX + 1])],
        ),
        spec(
            "4.2/3 HEADERS above SETTINGS_MAX_FRAME_SIZE",
            Expect::Connection(FRAME_SIZE),
            [headers(1, flag::WHOLE, &[request("GET", "/"), field("x", [b'y'; FRAME_MAX])].concat())],
        ),
        spec(
            "4.3/1 a block that is none",
            Expect::Connection(COMPRESSION),
            [headers(1, flag::WHOLE, &[0x40])],
        ),
        spec(
            "4.3/2 PRIORITY within a block",
            Expect::Connection(PROTOCOL),
            [open(1), priority(1, 0, 255), rest(1)],
        ),
        spec(
            "4.3/3 HEADERS of another stream within a block",
            Expect::Connection(PROTOCOL),
            [open(1), get(3), rest(1)],
        ),
        spec(
            "5.4.1/1 an error of the connection closes it",
            Expect::Connection(FRAME_SIZE),
            [frame(kind::PING, 0, 0, &[0; 6])],
        ),
        spec("5.5/1 an extension's frame", Expect::Alive, [frame(0xff, 0xff, 1, &[1; 8])]),
        spec(
            "5.5/2 an extension's frame within a block",
            Expect::Connection(PROTOCOL),
            [open(1), frame(0xff, 0, 1, &[1; 8]), rest(1)],
        ),
    ]
}

pub(crate) fn streams() -> Vec<Spec> {
    let no_code = code::CANCEL;
    let closed =
        |name, expect, bytes| steps(name, expect, [Step::Send(get(1)), Step::Answer(1), Step::Send(bytes)]);
    vec![
        spec("5.1/1 idle: DATA", Expect::Connection(PROTOCOL), [data(1, flag::END_STREAM, b"x")]),
        spec("5.1/2 idle: RST_STREAM", Expect::Connection(PROTOCOL), [reset(1, no_code)]),
        spec("5.1/3 idle: WINDOW_UPDATE", Expect::Connection(PROTOCOL), [window_update(1, 100)]),
        spec("5.1/4 idle: CONTINUATION", Expect::Connection(PROTOCOL), [rest(1)]),
        spec(
            "5.1/5 half closed: DATA",
            Expect::Stream(STREAM_CLOSED),
            [get(1), data(1, flag::END_STREAM, b"x")],
        ),
        spec("5.1/6 half closed: HEADERS", Expect::Stream(STREAM_CLOSED), [get(1), get(1)]),
        spec("5.1/7 half closed: CONTINUATION", Expect::Connection(CLOSED_OR_PROTOCOL), [get(1), rest(1)]),
        spec(
            "5.1/8 reset: DATA",
            Expect::Stream(STREAM_CLOSED),
            [post(1), reset(1, no_code), data(1, flag::END_STREAM, b"x")],
        ),
        spec("5.1/9 reset: HEADERS", Expect::Stream(STREAM_CLOSED), [post(1), reset(1, no_code), get(1)]),
        spec(
            "5.1/10 reset: CONTINUATION",
            Expect::Connection(CLOSED_OR_PROTOCOL),
            [post(1), reset(1, no_code), rest(1)],
        ),
        closed("5.1/11 closed: DATA", Expect::Stream(STREAM_CLOSED), data(1, flag::END_STREAM, b"x")),
        closed("5.1/12 closed: HEADERS", Expect::Connection(CLOSED_OR_PROTOCOL), get(1)),
        closed("5.1/13 closed: CONTINUATION", Expect::Connection(CLOSED_OR_PROTOCOL), rest(1)),
        spec("5.1.1/1 an even number", Expect::Connection(PROTOCOL), [get(2)]),
        spec("5.1.1/2 a number below the last", Expect::Connection(CLOSED_OR_PROTOCOL), [get(5), get(3)]),
        spec(
            "5.3.1/1 HEADERS that depend on themselves",
            Expect::AliveOrError,
            [headers(
                1,
                flag::WHOLE | flag::PRIORITY,
                &[&[0, 0, 0, 1, 255][..], &request("GET", "/")].concat(),
            )],
        ),
        spec("5.3.1/2 PRIORITY that depends on itself", Expect::AliveOrError, [priority(2, 2, 255)]),
        spec("2/1 PRIORITY on an idle stream", Expect::Alive, [priority(1, 0, 255)]),
        spec("2/2 WINDOW_UPDATE on a half closed stream", Expect::Ok(1), [get(1), window_update(1, 1)]),
        spec("2/3 PRIORITY on a half closed stream", Expect::Ok(1), [get(1), priority(1, 0, 255)]),
        spec("2/4 RST_STREAM on a half closed stream", Expect::Alive, [get(1), reset(1, no_code)]),
        closed("2/5 PRIORITY on a closed stream", Expect::Alive, priority(1, 0, 255)),
        spec(
            "3.3/5 PRIORITY on an idle stream, then a lower one",
            Expect::Ok(1),
            [priority(7, 0, 255), get(1)],
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table of cases, one after another")]
pub(crate) fn data_and_headers() -> Vec<Spec> {
    let prioritised = [&[0, 0, 0, 0, 255][..], &request("GET", "/")].concat();
    vec![
        spec(
            "6.1/1 DATA on stream 0",
            Expect::Connection(PROTOCOL),
            [post(1), data(0, flag::END_STREAM, b"x")],
        ),
        spec(
            "6.1/2 DATA on a half closed stream",
            Expect::Stream(STREAM_CLOSED),
            [get(1), data(1, flag::END_STREAM, b"x")],
        ),
        spec(
            "6.1/3 DATA with more padding than bytes",
            Expect::Connection(PROTOCOL),
            [post(1), frame(kind::DATA, flag::END_STREAM | flag::PADDED, 1, b"\x05test")],
        ),
        spec(
            "3.1/3 DATA with padding",
            Expect::Ok(1),
            [post(1), padded(kind::DATA, flag::END_STREAM, 1, 9, b"x")],
        ),
        spec(
            "3.1/2 DATA in several frames",
            Expect::Ok(1),
            [post(1), data(1, 0, b"x"), data(1, 0, b""), data(1, flag::END_STREAM, b"y")],
        ),
        spec(
            "6.2/1 HEADERS without END_HEADERS, then PRIORITY",
            Expect::Connection(PROTOCOL),
            [open(1), priority(1, 0, 255)],
        ),
        spec(
            "6.2/2 HEADERS without END_HEADERS, then others",
            Expect::Connection(PROTOCOL),
            [open(1), get(3)],
        ),
        spec("6.2/3 HEADERS on stream 0", Expect::Connection(PROTOCOL), [get(0)]),
        spec(
            "6.2/4 HEADERS with more padding than bytes",
            Expect::Connection(PROTOCOL),
            [headers(1, flag::WHOLE | flag::PADDED, &[&[0xff][..], &GET_ROOT].concat())],
        ),
        spec(
            "3.2/2 HEADERS with padding",
            Expect::Ok(1),
            [padded(kind::HEADERS, flag::WHOLE, 1, 9, &request("GET", "/"))],
        ),
        spec(
            "3.2/3 HEADERS with priority",
            Expect::Ok(1),
            [headers(1, flag::WHOLE | flag::PRIORITY, &prioritised)],
        ),
        spec("6.3/1 PRIORITY on stream 0", Expect::Connection(PROTOCOL), [priority(0, 0, 255)]),
        spec(
            "6.3/2 PRIORITY of four bytes",
            Expect::Stream(FRAME_SIZE),
            [post(1), frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1])],
        ),
        spec("6.4/1 RST_STREAM on stream 0", Expect::Connection(PROTOCOL), [reset(0, code::CANCEL)]),
        spec("6.4/2 RST_STREAM on an idle stream", Expect::Connection(PROTOCOL), [reset(1, code::CANCEL)]),
        spec(
            "6.4/3 RST_STREAM of three bytes",
            Expect::Connection(FRAME_SIZE),
            [post(1), frame(kind::RST_STREAM, 0, 1, &[0; 3])],
        ),
        spec(
            "6.10/1 several CONTINUATION",
            Expect::Ok(1),
            [
                open(1),
                continuation(1, flag::NONE, &field("x-more", "1")),
                continuation(1, flag::NONE, &[]),
                rest(1),
            ],
        ),
        spec(
            "6.10/2 CONTINUATION, then DATA",
            Expect::Connection(PROTOCOL),
            [
                headers(1, flag::NONE, &request("POST", "/")),
                continuation(1, flag::NONE, &field("x-more", "1")),
                data(1, flag::END_STREAM, b"x"),
            ],
        ),
        spec("6.10/3 CONTINUATION on stream 0", Expect::Connection(PROTOCOL), [open(1), rest(0)]),
        spec("6.10/4 CONTINUATION after END_HEADERS", Expect::Connection(PROTOCOL), [post(1), rest(1)]),
        spec(
            "6.10/5 CONTINUATION after CONTINUATION with END_HEADERS",
            Expect::Connection(PROTOCOL),
            [headers(1, flag::NONE, &request("POST", "/")), rest(1), rest(1)],
        ),
        spec(
            "6.10/6 CONTINUATION after DATA",
            Expect::Connection(PROTOCOL),
            [post(1), data(1, 0, b"x"), rest(1)],
        ),
        spec(
            "8.2/1 PUSH_PROMISE of a client",
            Expect::Connection(PROTOCOL),
            [
                post(1),
                frame(
                    kind::PUSH_PROMISE,
                    flag::END_HEADERS,
                    1,
                    &[&[0, 0, 0, 3][..], &request("GET", "/")].concat(),
                ),
            ],
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table of cases, one after another")]
pub(crate) fn settings_and_windows() -> Vec<Spec> {
    vec![
        spec(
            "6.5/1 SETTINGS with ACK and contents",
            Expect::Connection(FRAME_SIZE),
            [frame(kind::SETTINGS, flag::ACK, 0, &[0])],
        ),
        spec(
            "6.5/2 SETTINGS on a stream",
            Expect::Connection(PROTOCOL),
            [frame(kind::SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100])],
        ),
        spec(
            "6.5/3 SETTINGS of three bytes",
            Expect::Connection(FRAME_SIZE),
            [frame(kind::SETTINGS, 0, 0, &[0; 3])],
        ),
        spec("6.5.2/1 ENABLE_PUSH of 2", Expect::Connection(PROTOCOL), [settings(&[(2, 2)])]),
        spec(
            "6.5.2/2 INITIAL_WINDOW_SIZE too large",
            Expect::Connection(FLOW_CONTROL),
            [settings(&[(4, 1 << 31)])],
        ),
        spec("6.5.2/3 MAX_FRAME_SIZE too small", Expect::Connection(PROTOCOL), [settings(&[(5, 16_383)])]),
        spec("6.5.2/4 MAX_FRAME_SIZE too large", Expect::Connection(PROTOCOL), [settings(&[(5, 1 << 24)])]),
        spec("6.5.2/5 an unknown setting", Expect::Alive, [settings(&[(0xff, 1)])]),
        steps(
            "6.5.3/1 the last of several values counts",
            Expect::Alive,
            [Step::Send([settings(&[(4, 100), (4, 1)]), get(1)].concat()), Step::Data(1)],
        ),
        spec("6.7/2 PING with ACK", Expect::Alive, [frame(kind::PING, flag::ACK, 0, b"notasked")]),
        spec("6.7/3 PING on a stream", Expect::Connection(PROTOCOL), [frame(kind::PING, 0, 1, &[0; 8])]),
        spec("6.7/4 PING of six bytes", Expect::Connection(FRAME_SIZE), [frame(kind::PING, 0, 0, &[0; 6])]),
        spec("6.8/1 GOAWAY on a stream", Expect::Connection(PROTOCOL), [frame(kind::GOAWAY, 0, 1, &[0; 8])]),
        spec("6.9/1 WINDOW_UPDATE of 0", Expect::Connection(PROTOCOL), [window_update(0, 0)]),
        spec(
            "6.9/2 WINDOW_UPDATE of 0 on a stream",
            Expect::Stream(PROTOCOL),
            [post(1), window_update(1, 0)],
        ),
        spec(
            "6.9/3 WINDOW_UPDATE of three bytes",
            Expect::Connection(FRAME_SIZE),
            [frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3])],
        ),
        steps("6.9.1/1 a window of one byte", Expect::Alive, [Step::Send(get(1)), Step::Data(1)])
            .settings(&[(4, 1)]),
        spec(
            "6.9.1/2 a connection's window above 2^31-1",
            Expect::Connection(FLOW_CONTROL),
            [window_update(0, WINDOW_MAX), window_update(0, WINDOW_MAX)],
        ),
        spec(
            "6.9.1/3 a stream's window above 2^31-1",
            Expect::Stream(FLOW_CONTROL),
            [post(1), window_update(1, WINDOW_MAX), window_update(1, WINDOW_MAX)],
        ),
        steps(
            "6.9.2/1 a window that opens afterwards",
            Expect::Alive,
            [Step::Send([get(1), settings(&[(4, 1)])].concat()), Step::Data(1)],
        )
        .settings(&[(4, 0)]),
        steps(
            "6.9.2/2 a window that becomes negative",
            Expect::Alive,
            [
                Step::Send(get(1)),
                Step::Data(3),
                Step::Send([settings(&[(4, 2)]), window_update(1, 2)].concat()),
                Step::Data(1),
            ],
        )
        .settings(&[(4, 3)]),
        spec("7/2 RST_STREAM with an unknown code", Expect::Alive, [post(1), reset(1, 0xff)]),
        spec(
            "7/2 many fields of one name",
            Expect::Ok(1),
            [headers(1, flag::WHOLE, &[request("GET", "/"), fields(&[("x", "1"); 20])].concat())],
        ),
        spec("3.7/1 PING", Expect::Alive, [ping(*b"12345678")]),
    ]
}
