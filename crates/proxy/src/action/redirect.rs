//! To another address.

use agw_config::{Redirect, Route};
use agw_wasm::ResponseHead;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use http::uri::PathAndQuery;

use super::rewrite::Rewrite;
use crate::error::RuntimeError;
use crate::reply::Problem;

/// A redirect, compiled.
#[derive(Debug)]
pub(crate) struct Redirection {
    status: StatusCode,
    scheme: Option<Box<str>>,
    host: Option<Box<str>>,
    port: Option<u16>,
    path: Option<Rewrite>,
    strip_query: bool,
}

const NOT_VALID: Problem =
    Problem::new(StatusCode::BAD_REQUEST, "redirect_not_valid", "the address to redirect to is not valid");

impl Redirection {
    pub(super) fn compile(redirect: &Redirect, route: &Route) -> Result<Self, RuntimeError> {
        let not_valid = |name: &str| RuntimeError::name_not_valid(route, name);
        let status = StatusCode::from_u16(redirect.status).ok().filter(StatusCode::is_redirection);
        Ok(Redirection {
            status: status.ok_or_else(|| not_valid(&redirect.status.to_string()))?,
            scheme: redirect.scheme.as_deref().map(Into::into),
            host: redirect.host.as_deref().map(Into::into),
            port: redirect.port,
            path: redirect.path.as_ref().map(|path| Rewrite::compile(path, route)).transpose()?,
            strip_query: redirect.strip_query,
        })
    }

    /// The answer to a request that came by `scheme` for `authority` and `path`. The address is always a whole URL:
    /// one that begins with the path could be read as one that begins with a host.
    ///
    /// # Errors
    /// What to answer if the address is not valid.
    pub(crate) fn answer(
        &self,
        scheme: &str,
        authority: &str,
        path: &PathAndQuery,
    ) -> Result<ResponseHead, Problem> {
        let rewritten = self.path.as_ref().map(|rewrite| rewrite.apply(path)).transpose()?;
        let path = rewritten.as_ref().unwrap_or(path);
        let mut location = self.origin(scheme, authority);
        location.push_str(if self.strip_query { path.path() } else { path.as_str() });
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(LOCATION, HeaderValue::from_str(&location).map_err(|_| NOT_VALID)?);
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        Ok(ResponseHead { status: self.status, headers })
    }

    /// Scheme, host and port. The request's port stays with the request's host, unless it is the old scheme's own
    /// and there is a new scheme; a port that the scheme has anyway is left out.
    fn origin(&self, scheme: &str, authority: &str) -> String {
        let new_scheme = self.scheme.as_deref().unwrap_or(scheme);
        let (host, port) = split_port(authority);
        let kept = match &self.host {
            Some(_) => None,
            None => port.filter(|port| *port != default_port(scheme)),
        };
        let port = self.port.or(kept).filter(|port| *port != default_port(new_scheme));
        let host = self.host.as_deref().unwrap_or(host);
        match port {
            Some(port) => format!("{new_scheme}://{host}:{port}"),
            None => format!("{new_scheme}://{host}"),
        }
    }
}

fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use agw_config::{PathMatch, PathRewrite, RouteAction, RouteMatch};

    use super::*;

    const PLAIN: Redirect =
        Redirect { status: 301, scheme: None, host: None, port: None, path: None, strip_query: false };

    fn location(redirect: &Redirect, authority: &str, path: &str) -> String {
        let matching = RouteMatch::path(PathMatch::Prefix("/a/".into()));
        let route = Route::new("r", matching, RouteAction::Redirect(redirect.clone()));
        let redirection = Redirection::compile(redirect, &route).unwrap();
        let head = redirection.answer("http", authority, &path.parse().unwrap()).unwrap();
        assert_eq!(head.headers[CONTENT_LENGTH], "0");
        head.headers[LOCATION].to_str().unwrap().to_owned()
    }

    #[test]
    fn what_is_not_named_stays() {
        assert_eq!(location(&PLAIN, "h:8080", "/a/b?c=d"), "http://h:8080/a/b?c=d");
        assert_eq!(location(&PLAIN, "[::1]:8080", "/"), "http://[::1]:8080/");
        let stripped = Redirect { strip_query: true, ..PLAIN };
        assert_eq!(location(&stripped, "h", "/a/b?c=d"), "http://h/a/b");
    }

    #[test]
    fn another_scheme_brings_its_port() {
        let secure = Redirect { scheme: Some("https".into()), ..PLAIN };
        assert_eq!(location(&secure, "h", "/x?y"), "https://h/x?y");
        assert_eq!(location(&secure, "h:80", "/"), "https://h/");
        assert_eq!(location(&secure, "[::1]", "/"), "https://[::1]/");
        assert_eq!(location(&secure, "h:8080", "/"), "https://h:8080/");
        assert_eq!(location(&secure, "h:443", "/"), "https://h/");
        let ported = Redirect { port: Some(8443), ..secure };
        assert_eq!(location(&ported, "h:8080", "/"), "https://h:8443/");
    }

    #[test]
    fn another_host_leaves_the_old_port() {
        let elsewhere = Redirect { host: Some("b.example".into()), ..PLAIN };
        assert_eq!(location(&elsewhere, "h:8080", "/"), "http://b.example/");
        let ported = Redirect { port: Some(80), ..elsewhere };
        assert_eq!(location(&ported, "h:8080", "/"), "http://b.example/");
    }

    #[test]
    fn a_path_cannot_become_a_host() {
        assert_eq!(location(&PLAIN, "h", "//evil.example/"), "http://h//evil.example/");
        let path = Some(PathRewrite::Prefix("/".into()));
        let cut = Redirect { path, ..PLAIN };
        assert_eq!(location(&cut, "h", "/a//evil.example/?q"), "http://h/evil.example/?q");
    }

    #[test]
    fn a_status_that_redirects_nobody_is_refused() {
        let matching = RouteMatch::path(PathMatch::Prefix("/".into()));
        let route = Route::new("r", matching, RouteAction::Redirect(PLAIN));
        assert!(Redirection::compile(&Redirect { status: 200, ..PLAIN }, &route).is_err());
    }
}
