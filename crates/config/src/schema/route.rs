//! `routes`: what happens to requests of one host and path.

use std::collections::HashMap;
use std::sync::Arc;

use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::address::is_host;
use crate::schema::name::{Mentions, Unique, check_reference};
use crate::snapshot::{Forward, HostMatch, PathMatch, Route, RouteMatch};
use crate::units::{Bounds, GIB, HOUR, MIB, MINUTE, MS, SECOND};

const FIELDS: [&str; 6] = ["name", "match", "cluster", "timeout", "plugins", "limits"];
const MATCH: [&str; 3] = ["hosts", "prefix", "path"];
const LIMITS: [&str; 2] = ["request_body", "buffer"];

pub(crate) const TIMEOUT: Bounds = Bounds::time(MS, 15 * SECOND, 24 * HOUR);
pub(crate) const IDLE_TIMEOUT: Bounds = Bounds::time(100 * MS, 5 * MINUTE, 24 * HOUR);
pub(crate) const REQUEST_BODY: Bounds = Bounds::bytes(0, 10 * MIB, 64 * GIB);
pub(crate) const BUFFER: Bounds = Bounds::bytes(1, MIB, GIB);

const PATH_BYTES_MAX: usize = 4096;

pub(super) fn lower(items: &[Item<'_>], mentions: &Mentions) -> Vec<Arc<Route>> {
    let mut unique = Unique::default();
    let mut matches = Matches::default();
    items.iter().filter_map(|item| route(item, &mut unique, &mut matches, mentions)).map(Arc::new).collect()
}

fn route(item: &Item<'_>, unique: &mut Unique, matches: &mut Matches, mentions: &Mentions) -> Option<Route> {
    let fields = item.fields(&FIELDS)?;
    let name = unique.name(&fields);
    let matching = fields.required("match", "{ prefix: / }").and_then(|item| item.fields(&MATCH));
    let hosts = matching.as_ref().map(hosts).unwrap_or_default();
    let path = matching.as_ref().and_then(path);
    if let (Some(matching), Some(path)) = (&matching, &path) {
        matches.check(&matching.item, &hosts, path);
    }
    let cluster = fields.required("cluster", "NAME").and_then(|item| item.text().map(|name| (item, name)));
    if let Some((item, name)) = &cluster {
        check_reference(item, name, "cluster", &mentions.clusters);
    }
    let plugins = fields.optional("plugins").map(|item| item.texts()).unwrap_or_default();
    for (item, name) in &plugins {
        check_reference(item, name, "plugin", &mentions.plugins);
    }
    let limits = fields.group("limits", &LIMITS);
    Some(Route {
        timeout: fields.duration("timeout", TIMEOUT),
        plugins: plugins.into_iter().map(|(_, name)| name.to_owned()).collect(),
        request_body_bytes_max: limits.u64("request_body", REQUEST_BODY),
        buffer_bytes_max: limits.usize("buffer", BUFFER),
        ..Route::new(
            &name,
            RouteMatch {
                hosts: hosts.into_iter().map(HostMatch::Exact).collect(),
                ..RouteMatch::path(path.unwrap_or(PathMatch::Prefix("/".to_owned())))
            },
            Forward::to(cluster.map(|(_, name)| name).unwrap_or_default()),
        )
    })
}

/// Lower-case names without port. An IPv6 address stands in brackets, as in the Host header.
fn hosts(matching: &Fields<'_>) -> Vec<String> {
    let Some(list) = matching.optional("hosts") else { return Vec::new() };
    let hosts = list.texts();
    if hosts.is_empty() {
        list.problem("no host is named", "Name a host, or remove the field to match every host");
    }
    for (item, host) in &hosts {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.contains(':') && is_host(host),
        };
        if !valid {
            item.problem(
                format!("{} is not a host name", quoted(host)),
                "Write it without scheme, port and wildcard, such as api.example.com",
            );
        }
    }
    hosts.into_iter().map(|(_, host)| host.to_ascii_lowercase()).collect()
}

fn path(matching: &Fields<'_>) -> Option<PathMatch> {
    let (field, item) = matching.one_of(&["prefix", "path"], "prefix: /")?;
    let path = item.text()?;
    let printable = path.bytes().all(|byte| byte.is_ascii_graphic());
    if !path.starts_with('/') || !printable || path.contains(['?', '#']) || path.len() > PATH_BYTES_MAX {
        item.problem(
            format!("{} is not a path", quoted(path)),
            "Begin it with a slash; no query, no fragment, no blanks; percent-encode what is not ASCII",
        );
    }
    let path = path.to_owned();
    Some(if field == "path" { PathMatch::Exact(path) } else { PathMatch::Prefix(path) })
}

/// Host, whether the path is exact, and the path, with the place that said so first.
#[derive(Default)]
struct Matches {
    paths: HashMap<(String, bool, String), String>,
}

impl Matches {
    /// Two routes that match alike leave it to chance which one serves.
    fn check(&mut self, item: &Item<'_>, hosts: &[String], path: &PathMatch) {
        let (exact, text) = match path {
            PathMatch::Exact(text) => (true, text),
            PathMatch::Prefix(text) | PathMatch::Regex(text) => (false, text),
        };
        let any = [String::new()];
        for host in if hosts.is_empty() { &any } else { hosts } {
            let key = (host.clone(), exact, text.clone());
            if let Some(first) = self.paths.get(&key) {
                let host = if host.is_empty() { "every host".to_owned() } else { quoted(host) };
                let message = format!("{host} and {} are matched twice, first at {first}", quoted(text));
                item.problem(message, "Change the host or the path, or remove one of the two");
            } else {
                self.paths.insert(key, item.path.clone());
            }
        }
    }
}
