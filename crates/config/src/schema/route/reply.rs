//! `redirect` and `respond` of a route: answers that the gateway gives itself.

use crate::field::{Field, Kind};
use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::route::rewrite;
use crate::schema::syntax;
use crate::snapshot::{DirectResponse, Redirect};
use crate::tree::Value;
use crate::units::Bounds;

pub(super) const REDIRECT: &[Field] = &[
    Field::new("status", Kind::Integers(REDIRECT_STATUSES), "Status of the redirect").or("302"),
    Field::choice(
        "scheme",
        &["http", "https"],
        "The new scheme. A redirect changes at least one of scheme, host, port and path",
    )
    .or("the request's"),
    Field::text("host", "Host name without port").or("the request's"),
    Field::number("port", PORT, "Port").or(
        "the new scheme's own with `redirect.host`, or if the request's was its scheme's own; else the request's",
    ),
    Field::text("path", "Another path, in the forms of `rewrite`").or("the request's").within("4096 bytes"),
    Field::text("prefix", "In place of the prefix; only with `match.prefix`")
        .or("the request's")
        .within("4096 bytes"),
    Field::group("regex", rewrite::REGEX, "In place of what a regular expression matches").or("the request's"),
    Field::boolean("strip_query", "Whether the query is dropped"),
];
pub(super) const RESPOND: &[Field] = &[
    Field::number("status", RESPOND_STATUS, "Status of the response"),
    Field::new(
        "headers",
        Kind::Map(&Kind::AnyText),
        "Its headers, as a mapping; none that says where a message ends",
    )
    .within("at most 50"),
    Field::new("body", Kind::AnyText, "Its body").or("empty").within("64KiB"),
];

const REDIRECT_STATUSES: &[u16] = &[301, 302, 303, 307, 308];
/// No cache keeps it, and a wrong one is gone with its configuration.
const REDIRECT_STATUS: u16 = 302;
const PORT: Bounds = Bounds::count(1, 443, 65_535);

pub(crate) const RESPOND_STATUS: Bounds = Bounds::count(200, 200, 599);
const BODY_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 50;

/// Headers that say where a message ends or what becomes of its connection: the gateway writes them itself.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// `prefixed`: whether the route matches by prefix.
pub(super) fn redirect(item: &Item<'_>, prefixed: bool) -> Option<Redirect> {
    let fields = item.fields(REDIRECT)?;
    let schemes = [("http", "http"), ("https", "https")];
    let host = fields
        .optional("host")
        .and_then(|item| syntax::host(&item, "Write it without scheme and port, such as www.example.com"));
    let changes = ["scheme", "host", "port", "path", "prefix", "regex"];
    if changes.iter().all(|field| fields.optional(field).is_none()) {
        item.problem(
            "the redirect leads back to where it comes from",
            "Write scheme, host, port, path, prefix or regex",
        );
    }
    Some(Redirect {
        status: redirect_status(&fields),
        scheme: fields.optional("scheme").and_then(|item| item.choice(&schemes)).map(str::to_owned),
        host,
        port: fields.optional("port").map(|item| u16::try_from(item.number(PORT)).unwrap_or(u16::MAX)),
        path: rewrite::path(&fields, prefixed),
        strip_query: fields.boolean("strip_query", false),
    })
}

fn redirect_status(fields: &Fields<'_>) -> u16 {
    let Some(item) = fields.optional("status") else { return REDIRECT_STATUS };
    let known = REDIRECT_STATUSES.iter().find(|status| item.node.value == Value::Integer((**status).into()));
    known.copied().unwrap_or_else(|| {
        item.problem("this is not the status of a redirect", "Write 301, 302, 303, 307 or 308");
        REDIRECT_STATUS
    })
}

pub(super) fn respond(item: &Item<'_>) -> Option<DirectResponse> {
    let fields = item.fields(RESPOND)?;
    let status = u16::try_from(fields.u64("status", RESPOND_STATUS)).unwrap_or(u16::MAX);
    let headers = fields.optional("headers").map(|item| headers(&item)).unwrap_or_default();
    let body = fields.optional("body");
    let text = body.as_ref().and_then(|item| item.text_or_empty()).unwrap_or_default();
    if let Some(item) = &body {
        if text.len() > BODY_BYTES_MAX {
            item.problem(format!("the body has {} bytes", text.len()), "Keep it within 64KiB");
        }
        if matches!(status, 204 | 205 | 304) && !text.is_empty() {
            item.problem(
                format!("a response of status {status} has no body"),
                "Remove it, or change the status",
            );
        }
    }
    Some(DirectResponse { status, headers, body: text.to_owned() })
}

fn headers(item: &Item<'_>) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    let entries = item.entries();
    if entries.len() > HEADERS_MAX {
        item.problem("there are too many headers", format!("Write at most {HEADERS_MAX} of them"));
    }
    for (name, item) in entries.into_iter().take(HEADERS_MAX) {
        let name = syntax::header_name(&item, name);
        if FRAMING.contains(&name.as_str()) {
            item.problem(format!("the gateway writes {} itself", quoted(&name)), "Remove it");
        }
        if headers.iter().any(|(known, _)| *known == name) {
            item.problem(format!("the header {} is written twice", quoted(&name)), "Remove one of the two");
        }
        let Some(value) = syntax::header_value(&item) else { continue };
        headers.push((name, value));
    }
    headers
}
