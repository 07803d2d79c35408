//! RFC 9113, 8, and HPACK (RFC 7541), in h2spec's numbers.

use agw_tests::h2_client::{continuation, data, flag, headers};
use agw_tests::hpack::{GET_ROOT, field, fields, request};

use crate::spec::{COMPRESSION, Expect, Spec, spec};

/// HEADERS of a whole request of the four own fields and these.
fn with(extra: &[(&str, &str)]) -> Vec<u8> {
    headers(1, flag::WHOLE, &[request("GET", "/"), fields(extra)].concat())
}

/// HEADERS of a whole request of just these fields.
fn only(all: &[(&str, &str)]) -> Vec<u8> {
    headers(1, flag::WHOLE, &fields(all))
}

fn post(extra: &[(&str, &str)]) -> Vec<u8> {
    headers(1, flag::END_HEADERS, &[request("POST", "/"), fields(extra)].concat())
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/");
const HOST: (&str, &str) = (":authority", "a");

#[expect(clippy::too_many_lines, reason = "a table of cases, one after another")]
pub(crate) fn messages() -> Vec<Spec> {
    vec![
        spec("4/1 GET", Expect::Ok(1), [with(&[])]),
        spec("4/2 HEAD", Expect::Ok(1), [headers(1, flag::WHOLE, &request("HEAD", "/"))]),
        spec("4/3 POST", Expect::Ok(1), [post(&[]), data(1, flag::END_STREAM, b"x")]),
        spec(
            "4/4 POST with trailers",
            Expect::Ok(1),
            [
                post(&[("trailer", "x-test")]),
                data(1, 0, b"x"),
                headers(1, flag::WHOLE, &field("x-test", "ok")),
            ],
        ),
        spec(
            "8.1/1 a second HEADERS without END_STREAM",
            Expect::Malformed,
            [
                post(&[("trailer", "x-test")]),
                data(1, 0, b"x"),
                headers(1, flag::END_HEADERS, &field("x-test", "ok")),
            ],
        ),
        spec("8.1.2/1 upper case in a name", Expect::Malformed, [with(&[("X-TEST", "ok")])]),
        spec("8.1.2.1/1 an unknown pseudo-header", Expect::Malformed, [with(&[(":test", "ok")])]),
        spec("8.1.2.1/2 a response's pseudo-header", Expect::Malformed, [with(&[(":status", "200")])]),
        // h2 throws these away, so that nothing of them goes upstream, where it should reset the stream.
        spec(
            "8.1.2.1/3 a pseudo-header as trailer",
            Expect::AliveOrError,
            [
                post(&[("trailer", "x-test")]),
                data(1, 0, b"x"),
                headers(1, flag::WHOLE, &field(":method", "GET")),
            ],
        ),
        spec(
            "8.1.2.1/4 a pseudo-header after another",
            Expect::Malformed,
            [only(&[METHOD, SCHEME, HOST, ("x-test", "ok"), PATH])],
        ),
        spec("8.1.2.2/1 connection", Expect::Malformed, [with(&[("connection", "keep-alive")])]),
        spec("8.1.2.2/1 keep-alive", Expect::Malformed, [with(&[("keep-alive", "timeout=5")])]),
        spec("8.1.2.2/1 proxy-connection", Expect::Malformed, [with(&[("proxy-connection", "keep-alive")])]),
        spec("8.1.2.2/1 transfer-encoding", Expect::Malformed, [with(&[("transfer-encoding", "chunked")])]),
        spec("8.1.2.2/1 upgrade", Expect::Malformed, [with(&[("upgrade", "h2c")])]),
        spec(
            "8.1.2.2/2 TE other than trailers",
            Expect::Malformed,
            [with(&[("te", "trailers, deflate;q=0.5")])],
        ),
        spec("8.2.2 TE of trailers", Expect::Ok(1), [with(&[("te", "trailers")])]),
        spec("8.1.2.3/1 an empty :path", Expect::Malformed, [only(&[METHOD, SCHEME, (":path", ""), HOST])]),
        spec("8.1.2.3/2 no :method", Expect::Malformed, [only(&[SCHEME, PATH, HOST])]),
        spec("8.1.2.3/3 no :scheme", Expect::Malformed, [only(&[METHOD, PATH, HOST])]),
        spec("8.1.2.3/4 no :path", Expect::Malformed, [only(&[METHOD, SCHEME, HOST])]),
        spec("8.1.2.3/5 two :method", Expect::Malformed, [only(&[METHOD, METHOD, SCHEME, PATH, HOST])]),
        spec("8.1.2.3/6 two :scheme", Expect::Malformed, [only(&[METHOD, SCHEME, SCHEME, PATH, HOST])]),
        spec("8.1.2.3/7 two :path", Expect::Malformed, [only(&[METHOD, SCHEME, PATH, PATH, HOST])]),
        spec("8.3.1 two :authority", Expect::Malformed, [only(&[METHOD, SCHEME, PATH, HOST, HOST])]),
        spec("8.3.1 neither :authority nor host", Expect::Malformed, [only(&[METHOD, SCHEME, PATH])]),
        spec("8.3.1 host without :authority", Expect::Ok(1), [only(&[METHOD, SCHEME, PATH, ("host", "a")])]),
        spec("8.3.1 host other than :authority", Expect::Malformed, [with(&[("host", "b")])]),
        spec(
            "8.1.2.6/1 content-length above DATA",
            Expect::Malformed,
            [post(&[("content-length", "2")]), data(1, flag::END_STREAM, b"x")],
        ),
        spec(
            "8.1.2.6/1 content-length below DATA",
            Expect::Malformed,
            [post(&[("content-length", "1")]), data(1, flag::END_STREAM, b"test")],
        ),
        spec(
            "8.1.2.6/2 content-length below several DATA",
            Expect::Malformed,
            [post(&[("content-length", "1")]), data(1, 0, b"x"), data(1, flag::END_STREAM, b"y")],
        ),
        spec("8.1.1 content-length without DATA", Expect::Malformed, [with(&[("content-length", "5")])]),
        spec(
            "8.1.1 two content-length",
            Expect::Malformed,
            [post(&[("content-length", "1"), ("content-length", "2")]), data(1, flag::END_STREAM, b"x")],
        ),
    ]
}

/// A block with a literal whose value is these bytes, said to be Huffman-coded.
fn huffman(value: &[u8]) -> Vec<u8> {
    let length = 0x80 | u8::try_from(value.len()).unwrap_or(0x7f);
    let field = [&[0x00, 0x06][..], b"x-test", &[length], value].concat();
    headers(1, flag::WHOLE, &[request("GET", "/"), field].concat())
}

pub(crate) fn hpack() -> Vec<Spec> {
    let block = |extra: &[u8]| headers(1, flag::WHOLE, &[&request("GET", "/")[..], extra].concat());
    vec![
        spec(
            "5/1 indexed fields",
            Expect::Ok(1),
            [headers(1, flag::WHOLE, &[&GET_ROOT[..], &[0x01, 0x01], b"a"].concat())],
        ),
        spec("5/4 a literal that goes into the table", Expect::Ok(1), [block(b"\x40\x06x-test\x04test")]),
        spec("5/5 the same, Huffman-coded", Expect::Ok(1), [block(b"\x40\x06x-test\x83\x49\x50\x9f")]),
        spec("5/2 a literal with a name by index", Expect::Ok(1), [block(b"\x7a\x04test")]),
        spec("5/6 a literal with a name by index, in no table", Expect::Ok(1), [block(b"\x0f\x2b\x04test")]),
        spec("5/12 a literal never indexed", Expect::Ok(1), [block(b"\x10\x06x-test\x04test")]),
        spec(
            "5/14 a change of the table's size",
            Expect::Ok(1),
            [headers(1, flag::WHOLE, &[&[0x20][..], &request("GET", "/")].concat())],
        ),
        spec(
            "5/15 two changes of the table's size",
            Expect::Ok(1),
            [headers(1, flag::WHOLE, &[&[0x20, 0x3f, 0x45][..], &request("GET", "/")].concat())],
        ),
        spec("2.3.3/1 an index beyond the tables", Expect::Connection(COMPRESSION), [block(&[0xc6])]),
        spec(
            "2.3.3/2 a name's index beyond the tables",
            Expect::Connection(COMPRESSION),
            [block(&[0x7f, 0x07, 0x04, b't', b'e', b's', b't'])],
        ),
        spec(
            "4.2/1 a change of size at the end of a block",
            Expect::Connection(COMPRESSION),
            [block(&[0x21])],
        ),
        spec("5.2 a string as Huffman code", Expect::Ok(1), [huffman(&[0x49, 0x50, 0x9f])]),
        spec(
            "5.2/1 padding of more than seven bits",
            Expect::Connection(COMPRESSION),
            [huffman(&[0x49, 0x50, 0x9f, 0xff])],
        ),
        spec("5.2/2 padding of zeros", Expect::Connection(COMPRESSION), [huffman(&[0x49, 0x50, 0x90])]),
        spec(
            "5.2/3 the end of the string within it",
            Expect::Connection(COMPRESSION),
            [huffman(&[0xff, 0xff, 0xff, 0xff])],
        ),
        spec("6.1/1 index 0", Expect::Connection(COMPRESSION), [block(&[0x80])]),
        spec(
            "6.3/1 a size above SETTINGS_HEADER_TABLE_SIZE",
            Expect::Connection(COMPRESSION),
            [headers(1, flag::WHOLE, &[&[0x3f, 0xe1, 0xff, 0x03][..], &request("GET", "/")].concat())],
        ),
        spec(
            "5.1 an integer without end",
            Expect::Connection(COMPRESSION),
            [headers(1, flag::WHOLE, &[&request("GET", "/")[..], &[0x7f], &[0xff; 20]].concat())],
        ),
        spec("5.2 a string longer than its block", Expect::Connection(COMPRESSION), [block(b"\x00\x06x-te")]),
        spec(
            "6.10 a field cut by frames",
            Expect::Ok(1),
            [
                headers(1, flag::END_STREAM, &[&request("GET", "/")[..], b"\x00\x06x-t"].concat()),
                continuation(1, flag::END_HEADERS, b"est\x02ok"),
            ],
        ),
    ]
}
