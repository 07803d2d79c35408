//! Cookies, and the session ids in them.

/// The value of a cookie in a `cookie` header.
pub(crate) fn find<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    header.split(|byte| *byte == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        let (found, value) = pair.split_at_checked(name.len())?;
        value.strip_prefix(b"=").filter(|_| found == name.as_bytes())
    })
}

/// A `set-cookie` value for a new session. Scripts do not see it, and it goes over TLS only.
pub(crate) fn set(name: &str, id: &str, seconds: u32) -> String {
    format!("{name}={id}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Lax")
}

/// Whether bytes from a client can be a session id at all. Others are not worth a call.
pub(crate) fn is_id(bytes: &[u8]) -> bool {
    (16..=128).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// A new session id of 128 random bits; `None` if the host gives no randomness.
pub(crate) fn new_id() -> Option<String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bits = [0u8; 16];
    getrandom::fill(&mut bits).ok()?;
    let digits = bits.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Some(digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_among_others() {
        assert_eq!(find(b"a=b; sid=1; sid=2", "sid"), Some(&b"1"[..]));
        assert_eq!(find(b"xsid=1;sidx=2;sid", "sid"), None);
        assert_eq!(find(b"\xff=1; sid=", "sid"), Some(&b""[..]));
    }

    #[test]
    fn only_plausible_ids_are_ids() {
        assert!(is_id(b"0123456789abcdef") && is_id(&[b'a'; 128]));
        for bytes in
            [&b""[..], b"short", b"0123456789abcde\n", b"0123456789abcd f", &[b'a'; 129], &[0xff; 32]]
        {
            assert!(!is_id(bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn new_ids_are_ids_and_differ() {
        let (first, second) = (new_id().unwrap(), new_id().unwrap());
        assert!(is_id(first.as_bytes()) && first.len() == 32);
        assert_ne!(first, second);
        let expected = "sid=x; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax";
        assert_eq!(set("sid", "x", 60), expected);
    }
}
