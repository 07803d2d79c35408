//! `tracing`: traces, and the collector that gets them.

use std::collections::BTreeMap;

use crate::field::{Field, Kind};
use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::{address, secret, syntax, tls};
use crate::secret::Secret;
use crate::snapshot::{TraceEndpoint, TraceExport, Tracing};
use crate::units::{Bounds, HOUR, MINUTE, MS, SECOND};

pub(super) const FIELDS: &[Field] = &[
    Field::text(
        "endpoint",
        "URL of an OpenTelemetry collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`. \
         Without a port it is 4318",
    )
    .required(),
    Field::group("tls", tls::FIELDS, "How the collector is verified; with an `https` URL").or("plaintext"),
    Field::new(
        "headers",
        Kind::Map(&Kind::Reference),
        "Headers of each request to the collector, by name, such as `authorization`: their values are secrets",
    )
    .within("16 of them, 64 KiB each"),
    Field::text("service_name", "What traces call this gateway: `service.name`").or("`agw`").within("255 bytes"),
    Field::number(
        "sample_per_million",
        SAMPLE,
        "Of a million requests that begin a trace here, so many are recorded",
    ),
    Field::boolean(
        "trust_traceparent",
        "Whether a client's `traceparent` decides which trace its request belongs to, and whether that is recorded. \
         Otherwise every request begins a trace",
    ),
    Field::group("export", EXPORT, "How spans are kept and sent"),
];
const EXPORT: &[Field] = &[
    Field::number("queue", QUEUE, "Spans that wait to be sent; more are dropped"),
    Field::number("batch", BATCH, "Spans in one request to the collector; not more than `queue`"),
    Field::number("interval", INTERVAL, "A span waits no longer than this for others"),
    Field::number("timeout", TIMEOUT, "For one request to the collector, connecting included"),
    Field::number(
        "retry_for",
        RETRY_FOR,
        "Spans that the collector did not take are sent again until this has passed; then they are lost",
    ),
    Field::number(
        "flush_timeout",
        FLUSH_TIMEOUT,
        "At the end, and when another configuration takes over, what is left is sent within this",
    ),
];

pub(crate) const SAMPLE: Bounds = Bounds::count(0, 10_000, 1_000_000);
pub(crate) const QUEUE: Bounds = Bounds::count(1, 2048, 1_000_000);
pub(crate) const BATCH: Bounds = Bounds::count(1, 512, 10_000);
pub(crate) const INTERVAL: Bounds = Bounds::time(10 * MS, 5 * SECOND, MINUTE);
pub(crate) const TIMEOUT: Bounds = Bounds::time(10 * MS, 10 * SECOND, 5 * MINUTE);
pub(crate) const RETRY_FOR: Bounds = Bounds::time(0, MINUTE, HOUR);
pub(crate) const FLUSH_TIMEOUT: Bounds = Bounds::time(0, 5 * SECOND, MINUTE);

/// OTLP's over HTTP.
const PORT: u16 = 4318;
const HEADERS_MAX: usize = 16;
const SERVICE_NAME_BYTES_MAX: usize = 255;
/// What the exporter itself sets.
const OWN_HEADERS: [&str; 6] =
    ["connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding"];

const EXAMPLE: &str = "\"http://127.0.0.1:4318/v1/traces\"";

pub(super) fn lower(item: &Item<'_>) -> Option<Tracing> {
    let fields = item.fields(FIELDS)?;
    let headers = fields.optional("headers").map(|item| headers(&item)).unwrap_or_default();
    let endpoint = endpoint(&fields, !headers.is_empty());
    Some(Tracing {
        headers,
        service_name: service_name(&fields),
        sample_per_million: fields.u32("sample_per_million", SAMPLE),
        trust_traceparent: fields.boolean("trust_traceparent", false),
        export: export(&fields),
        endpoint: endpoint?,
    })
}

fn endpoint(fields: &Fields<'_>, with_secrets: bool) -> Option<TraceEndpoint> {
    let verification = fields.optional("tls").map(|item| (tls::lower(&item), item));
    let item = fields.required("endpoint", EXAMPLE)?;
    let text = item.text()?;
    let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => {
            // No more than the scheme is known to be harmless.
            item.problem("the URL begins with neither http:// nor https://", format!("Write {EXAMPLE}"));
            return None;
        }
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        let hint = "Remove it, and name a secret in headers: { authorization: { file: PATH } }";
        item.problem("the URL holds a user or a password", hint);
        return None;
    }
    let found = address::parse(authority, Some(PORT));
    let (host, port) = found.map_err(|reason| item.problem(reason, format!("Write {EXAMPLE}"))).ok()?;
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic()) && !path.contains(['?', '#']);
    if !plain || path.is_empty() || path.len() > 1024 {
        item.problem("the URL has no plain path", format!("Write one without a query, as in {EXAMPLE}"));
    }
    let tls = match (secure, verification) {
        (true, Some((tls, _))) => Some(tls?),
        (true, None) => {
            item.problem("an https URL needs tls", format!("Write tls: {}", tls::EXAMPLE));
            return None;
        }
        (false, Some((_, item))) => {
            item.problem("tls belongs to an https URL", "Write https://, or remove tls");
            return None;
        }
        (false, None) => None,
    };
    if tls.is_none() && with_secrets && !address::is_loopback(&host) {
        item.warning(
            "secrets in headers leave this machine in plaintext",
            format!("Write https:// and tls: {}", tls::EXAMPLE),
        );
    }
    Some(TraceEndpoint { host, port, path: path.to_owned(), tls })
}

fn headers(item: &Item<'_>) -> BTreeMap<String, Secret> {
    let mut entries = item.entries();
    if entries.len() > HEADERS_MAX {
        item.problem("there are too many headers", format!("Write at most {HEADERS_MAX}"));
        entries.truncate(HEADERS_MAX);
    }
    let mut headers = BTreeMap::new();
    for (name, item) in entries {
        let lower = syntax::header_name(&item, name);
        if OWN_HEADERS.contains(&lower.as_str()) {
            item.problem(format!("the gateway sets {} itself", quoted(name)), "Remove the header");
        }
        let Some(value) = secret::secret(&item) else { continue };
        if !value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | 0x80..)) {
            item.problem("the value is no header's: it has control characters", "Correct the secret");
        }
        if headers.insert(lower, Secret::new(value)).is_some() {
            item.problem("the header is there twice, in another spelling", "Remove one of the two");
        }
    }
    headers
}

fn service_name(fields: &Fields<'_>) -> String {
    let Some(item) = fields.optional("service_name") else { return "agw".to_owned() };
    let name = item.text().unwrap_or_default();
    if name.len() > SERVICE_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        item.problem("this is no name of a service", format!("Write up to {SERVICE_NAME_BYTES_MAX} bytes"));
    }
    name.to_owned()
}

fn export(fields: &Fields<'_>) -> TraceExport {
    let export = fields.group("export", EXPORT);
    let queue_max = export.u64("queue", QUEUE);
    let batch_max = export.u64("batch", BATCH.or(BATCH.default.min(queue_max)));
    if batch_max > queue_max {
        export.item.problem("batch is more than queue", "Raise queue, or lower batch");
    }
    TraceExport {
        queue_max: usize::try_from(queue_max).unwrap_or(usize::MAX),
        batch_max: usize::try_from(batch_max).unwrap_or(usize::MAX),
        interval: export.duration("interval", INTERVAL),
        timeout: export.duration("timeout", TIMEOUT),
        retry_for: export.duration("retry_for", RETRY_FOR),
        flush_timeout: export.duration("flush_timeout", FLUSH_TIMEOUT),
    }
}
