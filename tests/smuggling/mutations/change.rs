//! Requests, changed at random: what a seed makes of the corpus.

use agw_tests::Seed;

use crate::case::Case;

/// Requests in their usual forms, and bodies that would be requests if they were read as such.
const USUAL: [&str; 12] = [
    "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b?q=1 HTTP/1.1\r\nHost: b:80\r\nAccept: */*\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 36\r\n\r\nGET /inside HTTP/1.1\r\nHost: inside\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n24\r\nGET /inside HTTP/1.1\r\nHost: inside\r\n\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n",
    "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3;note=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
    "GET http://b/a HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-own\r\nx-own: 1\r\n\r\n",
    "HEAD /a HTTP/1.1\r\nHost: a\r\nUser-Agent: t\r\nCookie: a=1\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.0\r\n\r\n",
    "DELETE /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /inside HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// What servers read in different ways, byte by byte.
const BYTES: [u8; 20] = [
    b'\r', b'\n', 0, b'\t', b' ', b':', b',', b';', b'"', b'0', b'1', b'x', b'-', b'+', 0x0b, 0x0c, 0x7f,
    0x80, 0xa0, 0xff,
];

/// And in one piece.
const PIECES: [&str; 16] = [
    "\r\n",
    "\r\n\r\n",
    "\n\n",
    "\r\n ",
    "Content-Length: 0\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding:\x0bchunked\r\n",
    "Connection: close\r\n",
    "Connection: content-length\r\n",
    "Expect: 100-continue\r\n",
    "Host: b\r\n",
    "0\r\n\r\n",
    "GET /inside HTTP/1.1\r\nHost: inside\r\n\r\n",
    "chunked, ",
];

/// Longer cases of the collection are about limits, which changes do not make more interesting.
const CASE_BYTES_MAX: usize = 2048;

/// The bytes of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) bytes: Vec<u8>,
    /// Where one write ends and the next begins, in order.
    pub(crate) cuts: Vec<usize>,
}

/// What is changed.
pub(crate) struct Corpus(Vec<Vec<u8>>);

// === impl Corpus ===

impl Corpus {
    /// The usual requests, and those of the collection.
    pub(crate) fn new(collected: &[Case]) -> Self {
        let short = collected.iter().filter(|case| case.bytes.len() <= CASE_BYTES_MAX);
        let odd = short.map(|case| case.bytes.clone());
        Corpus(USUAL.iter().map(|text| text.as_bytes().to_vec()).chain(odd).collect())
    }

    /// The same for the same seed.
    pub(crate) fn trial(&self, seed: u64) -> Trial {
        let mut seed = Seed::new(seed);
        let mut bytes = self.pick(&mut seed);
        if seed.below(4) == 0 {
            bytes.extend(self.pick(&mut seed));
        }
        // One change more often than several: those hide each other.
        for _ in 0..=seed.below(3).min(seed.below(4)) {
            change(&mut bytes, &mut seed);
        }
        let mut cuts: Vec<_> = (0..seed.below(4)).map(|_| seed.below(bytes.len())).collect();
        cuts.sort_unstable();
        Trial { bytes, cuts }
    }

    fn pick(&self, seed: &mut Seed) -> Vec<u8> {
        let usual = seed.below(4) > 0;
        self.0[if usual { seed.below(USUAL.len()) } else { seed.below(self.0.len()) }].clone()
    }
}

fn change(bytes: &mut Vec<u8>, seed: &mut Seed) {
    let at = place(bytes, seed);
    match seed.below(12) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << seed.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = *seed.one_of(&BYTES);
            }
        }
        2 | 3 => bytes.insert(at, *seed.one_of(&BYTES)),
        4 | 5 => drop(bytes.splice(at..at, seed.one_of(&PIECES).bytes())),
        6 => drop(bytes.drain(at..(at + 1).min(bytes.len()))),
        7 => drop(bytes.drain(at..(at + 1 + seed.below(8)).min(bytes.len()))),
        8 => {
            let doubled = bytes[at..(at + 1 + seed.below(4)).min(bytes.len())].to_vec();
            drop(bytes.splice(at..at, doubled));
        }
        9 => double_line(bytes, seed),
        10 => swap_case(bytes, at),
        _ => bytes.truncate(at),
    }
}

/// An index, more often than not where a line, a name or a number ends.
fn place(bytes: &[u8], seed: &mut Seed) -> usize {
    let at = seed.below(bytes.len() + 1);
    if seed.below(3) == 0 {
        return at;
    }
    let telling = |byte: &u8| byte.is_ascii_digit() || b"\r\n:, ".contains(byte);
    let next = bytes[at..].iter().position(telling).map_or(bytes.len(), |distance| at + distance);
    next.saturating_sub(seed.below(2))
}

/// One line again, before another.
fn double_line(bytes: &mut Vec<u8>, seed: &mut Seed) {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let starts: Vec<_> = [0].into_iter().chain(ends).collect();
    let from = seed.below(starts.len());
    let end = starts.get(from + 1).copied().unwrap_or(bytes.len());
    let line = bytes[starts[from]..end].to_vec();
    let to = *seed.one_of(&starts);
    drop(bytes.splice(to..to, line));
}

/// From here to the end of the word.
fn swap_case(bytes: &mut [u8], at: usize) {
    for byte in bytes[at..].iter_mut().take_while(|byte| byte.is_ascii_alphanumeric()) {
        *byte ^= u8::from(byte.is_ascii_alphabetic()) << 5;
    }
}

#[test]
fn a_seed_gives_its_trial_again_and_most_trials_differ() {
    let corpus = Corpus::new(&[]);
    let trials: std::collections::HashSet<_> = (0..1000).map(|seed| corpus.trial(seed).bytes).collect();
    assert!(trials.len() > 900, "{}", trials.len());
    assert_eq!(corpus.trial(5).bytes, corpus.trial(5).bytes);
}
