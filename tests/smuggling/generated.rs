//! Cases that put one byte after another into one place: the exhaustive list of `smuggler`, and the same around
//! Content-Length.

use crate::case::{Case, Want};

const GOES_BY_CODING: &str =
    "RFC 9112, 6.1 allows to go by Transfer-Encoding alone: upstream gets only that, and the connection ends";
const TAB: &str = "a tab is white space around a value as a space is (RFC 9110, 5.5)";

/// Every control character, and what is above ASCII by samples: white space of other encodings, the ends of ranges.
fn bytes() -> impl Iterator<Item = u8> {
    (0x00..=0x20).chain([0x22, 0x27, 0x2c, 0x3b, 0x5c, 0x7f, 0x80, 0x85, 0x96, 0xa0, 0xc2, 0xe2, 0xff])
}

pub(crate) fn generated() -> Vec<Case> {
    let mut cases = Vec::new();
    for byte in bytes() {
        // The framing headers themselves contradict each other, so a reader that sees both refuses, and one that
        // overlooks the first forwards five bytes of a body.
        for (place, name, value) in places("Transfer-Encoding", "chunked", byte) {
            let mut case = case(&format!("te-{place}-{byte:02x}"), &name, &value, "Content-Length: 5\r\n");
            case.lax = is_white_space(place, byte).then(|| GOES_BY_CODING.to_owned());
            cases.push(case);
        }
        for (place, name, value) in places("Content-Length", "5", byte) {
            let mut case = case(&format!("cl-{place}-{byte:02x}"), &name, &value, "");
            case.lax = (is_white_space(place, byte) && byte == b'\t').then(|| TAB.to_owned());
            cases.push(case);
        }
    }
    cases
}

fn is_white_space(place: &str, byte: u8) -> bool {
    place.ends_with("value") && matches!(byte, b' ' | b'\t')
}

/// Before and after the name, before and after the value.
fn places(name: &str, value: &str, byte: u8) -> [(&'static str, Vec<u8>, Vec<u8>); 4] {
    let join = |parts: [&[u8]; 3]| parts.concat();
    let (name, value, byte) = (name.as_bytes(), value.as_bytes(), [byte]);
    [
        ("before-name", join([&byte, name, b""]), join([b" ", value, b""])),
        ("after-name", join([name, &byte, b""]), join([b" ", value, b""])),
        ("before-value", name.to_vec(), join([&byte, value, b""])),
        ("after-value", name.to_vec(), join([b" ", value, &byte])),
    ]
}

fn case(name: &str, header: &[u8], value: &[u8], also: &str) -> Case {
    let head = format!("POST /@id@ HTTP/1.1\r\nHost: a\r\n{also}");
    let bytes = [head.as_bytes(), header, b":", value, b"\r\n\r\n0\r\n\r\n"].concat();
    Case {
        name: name.to_owned(),
        source: "smuggler exhaustive".to_owned(),
        want: Want::Any,
        bytes,
        ..Case::default()
    }
}
