//! The proof that both sides of an HTTP/1.1 connection mean WebSocket (RFC 6455, 4.1).
//!
//! WebSocket over HTTP/2 has none (RFC 8441, 5): the gateway makes the key that the upstream wants to see, and looks at
//! the answer in the client's place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use sha1::{Digest as _, Sha1};

/// What a server appends to the key before it hashes it.
const SERVER_ID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Writes a new key into the request; whatever key was there is gone.
pub(super) fn set_key(headers: &mut HeaderMap) -> Accept {
    // No secret: it only has to be one that no cache or careless server has an answer for.
    let key = STANDARD.encode(fastrand::u128(..).to_be_bytes());
    let accept = Accept::of(&key);
    if let Ok(key) = HeaderValue::try_from(key) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    accept
}

/// The answer that belongs to a key.
#[derive(Debug)]
pub(super) struct Accept(String);

impl Accept {
    fn of(key: &str) -> Self {
        Accept(STANDARD.encode(Sha1::new().chain_update(key).chain_update(SERVER_ID).finalize()))
    }

    /// Takes the answer out of the response's head; whether it is this one, and the only one.
    pub(super) fn take(&self, headers: &mut HeaderMap) -> bool {
        let mut answers = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
        let right =
            answers.next().is_some_and(|answer| answer == self.0.as_str()) && answers.next().is_none();
        headers.remove(SEC_WEBSOCKET_ACCEPT);
        right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_that_of_the_standards_example() {
        let accept = Accept::of("dGhlIHNhbXBsZSBub25jZQ==");
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(accept.take(&mut headers));
        assert!(headers.is_empty());
        assert!(!accept.take(&mut headers), "no answer is no proof");
    }

    #[test]
    fn each_key_is_new_and_of_sixteen_bytes() {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("the client's"));
        set_key(&mut headers);
        let first = headers.get(SEC_WEBSOCKET_KEY).unwrap().clone();
        assert_eq!(STANDARD.decode(first.as_bytes()).unwrap().len(), 16);
        set_key(&mut headers);
        assert_ne!(headers.get(SEC_WEBSOCKET_KEY).unwrap(), first);
    }
}
