//! A header map as a guest sees it: pseudo headers first, names in lower case.

use http::header::{HOST, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, StatusCode};

use crate::limits::{PAIRS_BYTES_MAX, PAIRS_MAX};
use crate::sent::Fields;
use crate::stream::{RequestHead, ResponseHead, StreamState};

/// What a guest may do with a map that it named.
pub(crate) enum Access<'s> {
    /// Not of the ABI.
    Unknown,
    /// Of the ABI, but not there now.
    Absent,
    /// Its bytes have gone out.
    ReadOnly,
    Writable(HeaderView<'s>),
}

/// One map, to be changed.
pub(crate) enum HeaderView<'s> {
    Request(&'s mut RequestHead),
    Response(&'s mut ResponseHead),
    Trailers(&'s mut HeaderMap),
}

/// One map, to be read.
pub(crate) enum Reading<'s> {
    Request(&'s RequestHead, Fields<'s>),
    Response(&'s ResponseHead, Fields<'s>),
    Trailers(&'s HeaderMap),
}

/// Why a change is refused.
type Refusal = &'static str;

const BAD_NAME: Refusal = "the header's name is not a token";
const BAD_VALUE: Refusal = "the header's value has a control character";
const FULL: Refusal = "the map is full";

impl<'s> Reading<'s> {
    /// `Err` if the ABI has no such map, `Ok(None)` if it is not there now.
    ///
    /// Source: proxy-wasm ABI 0.2.1, map types 0 to 7; 4 to 7 belong to callouts.
    pub(crate) fn of(state: &'s StreamState, map: u32) -> Result<Option<Self>, UnknownMap> {
        Ok(match map {
            0 => Some(Reading::Request(&state.request, state.request_fields())),
            1 => state.request_trailers.as_ref().map(Reading::Trailers),
            2 => state
                .response
                .as_ref()
                .zip(state.response_fields())
                .map(|(head, f)| Reading::Response(head, f)),
            3 => state.response_trailers.as_ref().map(Reading::Trailers),
            4..=7 => None,
            _ => return Err(UnknownMap),
        })
    }

    fn fields(&self) -> Fields<'s> {
        match self {
            Reading::Request(_, fields) | Reading::Response(_, fields) => *fields,
            Reading::Trailers(headers) => Fields::Map(headers),
        }
    }

    /// All of it, pseudo headers first.
    pub(crate) fn pairs(&self) -> Vec<(&'s [u8], &'s [u8])> {
        let fields = self.fields();
        let mut pairs: Vec<(&[u8], &[u8])> = Vec::with_capacity(fields.len() + 4);
        match self {
            Reading::Request(head, _) => {
                if let Some(authority) = &head.authority {
                    pairs.push((b":authority", authority.as_str().as_bytes()));
                }
                pairs.push((b":path", head.path.as_str().as_bytes()));
                pairs.push((b":method", head.method.as_str().as_bytes()));
                pairs.push((b":scheme", head.scheme.as_str().as_bytes()));
            }
            Reading::Response(head, _) => pairs.push((b":status", head.status.as_str().as_bytes())),
            Reading::Trailers(_) => {}
        }
        fields.each(|name, value| pairs.push((name, value)));
        pairs
    }

    /// The first value.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&'s [u8]> {
        if let Some(pseudo) = Pseudo::of(key) {
            return self.get_pseudo(pseudo);
        }
        self.fields().get(std::str::from_utf8(key).ok()?)
    }

    fn get_pseudo(&self, pseudo: Pseudo) -> Option<&'s [u8]> {
        match (self, pseudo) {
            (Reading::Request(head, _), Pseudo::Authority) => {
                head.authority.as_ref().map(|a| a.as_str().as_bytes())
            }
            (Reading::Request(head, _), Pseudo::Path) => Some(head.path.as_str().as_bytes()),
            (Reading::Request(head, _), Pseudo::Method) => Some(head.method.as_str().as_bytes()),
            (Reading::Request(head, _), Pseudo::Scheme) => Some(head.scheme.as_str().as_bytes()),
            (Reading::Response(head, _), Pseudo::Status) => Some(head.status.as_str().as_bytes()),
            _ => None,
        }
    }
}

/// A number that the ABI gives to no map.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownMap;

impl<'s> HeaderView<'s> {
    /// The map by its number in the ABI.
    pub(crate) fn of(state: &'s mut StreamState, map: u32) -> Access<'s> {
        let sent = match map {
            0 => state.request_sent().is_some(),
            2 => state.response_sent().is_some(),
            _ => false,
        };
        let view = match map {
            0 => Some(HeaderView::Request(&mut state.request)),
            1 => state.request_trailers.as_mut().map(HeaderView::Trailers),
            2 => state.response.as_mut().map(HeaderView::Response),
            3 => state.response_trailers.as_mut().map(HeaderView::Trailers),
            4..=7 => None,
            _ => return Access::Unknown,
        };
        match view {
            None => Access::Absent,
            Some(_) if sent => Access::ReadOnly,
            Some(view) => Access::Writable(view),
        }
    }

    fn headers(&self) -> &HeaderMap {
        match self {
            HeaderView::Request(head) => &head.headers,
            HeaderView::Response(head) => &head.headers,
            HeaderView::Trailers(headers) => headers,
        }
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        match self {
            HeaderView::Request(head) => &mut head.headers,
            HeaderView::Response(head) => &mut head.headers,
            HeaderView::Trailers(headers) => headers,
        }
    }

    /// Adds a value beside those that are there; a pseudo header is replaced.
    pub(crate) fn append(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if let Some(pseudo) = Pseudo::of(key) {
            return self.set_pseudo(pseudo, value);
        }
        let (name, value) = header(key, value)?;
        self.check_room(&name, &value)?;
        self.headers_mut().try_append(name, value).map(drop).map_err(|_| FULL)
    }

    /// Sets the one value.
    pub(crate) fn replace(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if let Some(pseudo) = Pseudo::of(key) {
            return self.set_pseudo(pseudo, value);
        }
        let (name, value) = header(key, value)?;
        self.check_room(&name, &value)?;
        self.headers_mut().try_insert(name, value).map(drop).map_err(|_| FULL)
    }

    /// A map takes no more than can be handed over as pairs: guests cannot make it grow for ever.
    fn check_room(&self, name: &HeaderName, value: &HeaderValue) -> Result<(), Refusal> {
        let headers = self.headers();
        let held: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let bytes = held + name.as_str().len() + value.len();
        if headers.len() < PAIRS_MAX && bytes <= PAIRS_BYTES_MAX { Ok(()) } else { Err(FULL) }
    }

    /// Removes every value. Pseudo headers stay: HTTP cannot do without them.
    pub(crate) fn remove(&mut self, key: &[u8]) {
        if Pseudo::of(key).is_none()
            && let Ok(key) = std::str::from_utf8(key)
        {
            self.headers_mut().remove(key);
        }
    }

    /// Replaces the whole map; nothing changes if one of the pairs is refused.
    pub(crate) fn set_all(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Refusal> {
        let mut headers = HeaderMap::with_capacity(pairs.len());
        for (key, value) in pairs {
            if Pseudo::of(key).is_none() {
                let (name, value) = header(key, value)?;
                headers.try_append(name, value).map_err(|_| FULL)?;
            }
        }
        let pseudos = pairs.iter().filter_map(|(key, value)| Some((Pseudo::of(key)?, *value)));
        match self {
            HeaderView::Request(head) => {
                let mut changed = RequestHead { headers, ..head.first_line() };
                set_pseudos(HeaderView::Request(&mut changed), pseudos)?;
                **head = changed;
            }
            HeaderView::Response(head) => {
                let mut changed = ResponseHead { status: head.status, headers };
                set_pseudos(HeaderView::Response(&mut changed), pseudos)?;
                **head = changed;
            }
            HeaderView::Trailers(trailers) => {
                set_pseudos(HeaderView::Trailers(&mut headers), pseudos)?;
                **trailers = headers;
            }
        }
        Ok(())
    }

    fn set_pseudo(&mut self, pseudo: Pseudo, value: &[u8]) -> Result<(), Refusal> {
        match (self, pseudo) {
            (HeaderView::Request(head), Pseudo::Authority) => {
                // User information is part of the type, but has no place in a message.
                let authority = Authority::try_from(value).ok().filter(|_| !value.contains(&b'@'));
                head.authority = Some(authority.ok_or(":authority is not host[:port]")?);
            }
            (HeaderView::Request(head), Pseudo::Path) => {
                head.path = PathAndQuery::try_from(value).map_err(|_| ":path is not a path")?;
            }
            (HeaderView::Request(head), Pseudo::Method) => {
                head.method = Method::from_bytes(value).map_err(|_| ":method is not a token")?;
            }
            (HeaderView::Request(head), Pseudo::Scheme) => {
                head.scheme = Scheme::try_from(value).map_err(|_| ":scheme is not a scheme")?;
            }
            (HeaderView::Response(head), Pseudo::Status) => {
                head.status = status(value).ok_or(":status is not a status from 200 to 599")?;
            }
            _ => return Err("this map has no such pseudo header"),
        }
        Ok(())
    }
}

fn set_pseudos<'p>(
    mut view: HeaderView<'_>,
    mut pseudos: impl Iterator<Item = (Pseudo, &'p [u8])>,
) -> Result<(), Refusal> {
    pseudos.try_for_each(|(pseudo, value)| view.set_pseudo(pseudo, value))
}

/// A header that stands in the message's first line. `host` is Envoy's old name for `:authority`.
#[derive(Clone, Copy)]
enum Pseudo {
    Authority,
    Path,
    Method,
    Scheme,
    Status,
    Other,
}

impl Pseudo {
    fn of(key: &[u8]) -> Option<Pseudo> {
        match key {
            b":authority" => Some(Pseudo::Authority),
            b":path" => Some(Pseudo::Path),
            b":method" => Some(Pseudo::Method),
            b":scheme" => Some(Pseudo::Scheme),
            b":status" => Some(Pseudo::Status),
            [b':', ..] => Some(Pseudo::Other),
            _ if key.eq_ignore_ascii_case(HOST.as_str().as_bytes()) => Some(Pseudo::Authority),
            _ => None,
        }
    }
}

fn header(key: &[u8], value: &[u8]) -> Result<(HeaderName, HeaderValue), Refusal> {
    let name = HeaderName::from_bytes(key).map_err(|_| BAD_NAME)?;
    let value = HeaderValue::from_bytes(value).map_err(|_| BAD_VALUE)?;
    Ok((name, value))
}

/// A final status: an interim one would leave the exchange without an answer.
fn status(value: &[u8]) -> Option<StatusCode> {
    StatusCode::from_bytes(value).ok().filter(|status| (200..600).contains(&status.as_u16()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> RequestHead {
        RequestHead {
            method: Method::GET,
            scheme: Scheme::HTTP,
            authority: Some(Authority::from_static("a.example:80")),
            path: PathAndQuery::from_static("/p?q"),
            headers: HeaderMap::new(),
        }
    }

    fn reading(head: &RequestHead) -> Reading<'_> {
        Reading::Request(head, Fields::Map(&head.headers))
    }

    #[test]
    fn host_is_another_name_for_the_authority() {
        let mut head = head();
        assert_eq!(reading(&head).get(b"Host"), Some(&b"a.example:80"[..]));
        HeaderView::Request(&mut head).replace(b"host", b"b.example").unwrap();
        assert_eq!(reading(&head).get(b":authority"), Some(&b"b.example"[..]));
        assert!(head.headers.is_empty());
    }

    #[test]
    fn a_header_that_would_break_framing_is_refused() {
        let mut head = head();
        let mut view = HeaderView::Request(&mut head);
        assert_eq!(view.append(b"x", b"a\r\nEvil: 1"), Err(BAD_VALUE));
        assert_eq!(view.append(b"x: y", b"a"), Err(BAD_NAME));
        assert_eq!(view.append(b"", b"a"), Err(BAD_NAME));
        assert!(view.replace(b":path", b"/a b").is_err());
        assert!(view.replace(b":status", b"200").is_err());
        assert!(view.replace(b":unknown", b"x").is_err());
    }

    #[test]
    fn values_that_are_not_utf8_pass() {
        let mut head = head();
        let mut view = HeaderView::Request(&mut head);
        view.append(b"X", b"\xff").unwrap();
        assert_eq!(reading(&head).get(b"x"), Some(&b"\xff"[..]));
    }

    #[test]
    fn a_refused_replacement_of_the_whole_map_changes_nothing() {
        let mut head = head();
        head.headers.insert("keep", HeaderValue::from_static("1"));
        let mut view = HeaderView::Request(&mut head);
        assert!(view.set_all(&[(b"a", b"1"), (b"b", b"\n")]).is_err());
        assert_eq!(reading(&head).get(b"keep"), Some(&b"1"[..]));
        HeaderView::Request(&mut head).set_all(&[(b":path", b"/new"), (b"a", b"1"), (b"a", b"2")]).unwrap();
        let expected: Vec<(&[u8], &[u8])> = vec![
            (b":authority", b"a.example:80"),
            (b":path", b"/new"),
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b"a", b"1"),
            (b"a", b"2"),
        ];
        assert_eq!(reading(&head).pairs(), expected);
    }
}
