use agw_config::{PathMatch, RouteMatch};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::*;

fn fixed(status: u16, headers: &[(&str, &str)], body: &str) -> Result<(ResponseHead, Bytes), RuntimeError> {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let fixed = DirectResponse { status, headers, body: body.to_owned() };
    let matching = RouteMatch::path(PathMatch::Prefix("/".into()));
    let route = Route::new("r", matching, RouteAction::Respond(fixed));
    Action::compile(&route).map(|action| match action {
        Action::Respond(fixed) => fixed.answer(),
        other => panic!("{other:?}"),
    })
}

#[test]
fn fixed_words_are_framed_by_the_gateway() {
    let (head, body) = fixed(403, &[("x-a", "1"), ("x-a", "2"), ("content-length", "99")], "no").unwrap();
    assert_eq!((head.status.as_u16(), &*body), (403, &b"no"[..]));
    assert_eq!(
        (&head.headers[CONTENT_LENGTH], &head.headers[CONTENT_TYPE]),
        (&"2".parse().unwrap(), &"text/plain".parse().unwrap())
    );
    assert_eq!(head.headers.get_all("x-a").iter().count(), 2);
}

#[test]
fn a_status_without_body_has_none() {
    let (head, body) = fixed(204, &[], "ignored").unwrap();
    assert!(body.is_empty() && !head.headers.contains_key(CONTENT_LENGTH));
}

#[test]
fn words_that_are_not_http_stop_the_start() {
    for broken in
        [fixed(200, &[("a b", "1")], ""), fixed(200, &[("a", "1\r\nb: 2")], ""), fixed(101, &[], "")]
    {
        assert!(broken.unwrap_err().to_string().contains("`r`"));
    }
}
