//! `match` of a route: what it asks of a request, and that no two routes ask the same.

use std::collections::HashMap;

use crate::field::{Field, Kind};
use crate::pattern::whole_pattern;
use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::syntax;
use crate::snapshot::{FieldMatch, HostMatch, PathMatch, RouteMatch, ValueMatch};

pub(super) const FIELDS: &[Field] = &[
    Field::new(
        "hosts",
        Kind::List(&Kind::Text, 1, HOSTS_MAX),
        "Host names without scheme and port, in any case. `\"*.example.com\"` is one label or more before \
         `.example.com`, and not `example.com` itself",
    )
    .or("every host"),
    Field::text("prefix", "Beginning of the path, byte by byte: `/a` matches `/ab`")
        .one_of()
        .within("4096 bytes"),
    Field::text("path", "The whole path, without query").one_of().within("4096 bytes"),
    Field::text("regex", "A regular expression that matches the whole path, without query")
        .one_of()
        .within("4096 bytes"),
    Field::new(
        "methods",
        Kind::List(&Kind::Text, 1, CONDITIONS_MAX),
        "Methods in upper case; `GET` does not cover `HEAD`",
    )
    .or("every method"),
    Field::new(
        "headers",
        Kind::List(&Kind::Group(CONDITION), 1, CONDITIONS_MAX),
        "Conditions on headers, whose names are in any case. Several values of one header are joined by `, `",
    ),
    Field::new(
        "query",
        Kind::List(&Kind::Group(CONDITION), 1, CONDITIONS_MAX),
        "Conditions on query parameters, decoded; of one that is there twice the first counts",
    ),
];
const CONDITION: &[Field] = &[
    Field::text("name", "Name of the header or parameter").required().within("4096 bytes"),
    Field::new("exact", Kind::AnyText, "The value").one_of().within("4096 bytes"),
    Field::text("prefix", "Its beginning").one_of().within("4096 bytes"),
    Field::text("regex", "A regular expression that matches all of it").one_of().within("4096 bytes"),
    Field::boolean("present", "`true`: there, with whatever value. `false`: not there").one_of(),
];

const HOSTS_MAX: usize = 10_000;
/// Conditions are gone through one by one for each request.
const CONDITIONS_MAX: usize = 32;

pub(super) fn lower(item: &Item<'_>, matches: &mut Matches) -> Option<RouteMatch> {
    let fields = item.fields(FIELDS)?;
    let hosts = hosts(&fields);
    let path = path(&fields);
    let methods = methods(&fields);
    let headers = conditions(&fields, "headers", |item, name| {
        if name.eq_ignore_ascii_case("host") {
            item.problem("hosts are not matched as a header", "Write match.hosts");
        }
        syntax::header_name(item, name)
    });
    let query = conditions(&fields, "query", |_, name| name.to_owned());
    let matching = RouteMatch { hosts, path: path?, methods, headers, query };
    matches.check(item, &matching);
    Some(matching)
}

fn hosts(fields: &Fields<'_>) -> Vec<HostMatch> {
    const HINT: &str = "Write it without scheme and port, such as api.example.com or \"*.example.com\"";
    let Some(list) = fields.optional("hosts") else { return Vec::new() };
    let items = list.list_of("hosts", HOSTS_MAX, ", or remove the field to match every host");
    items.iter().filter_map(|item| syntax::host_pattern(item, HINT)).collect()
}

fn path(fields: &Fields<'_>) -> Option<PathMatch> {
    let (field, item) = fields.one_of(&["prefix", "path", "regex"], "prefix: /")?;
    match field {
        "prefix" => syntax::prefix(&item).map(PathMatch::Prefix),
        "path" => syntax::path(&item).map(PathMatch::Exact),
        _ => syntax::regex(&item, whole_pattern).map(|(text, _)| PathMatch::Regex(text)),
    }
}

fn methods(fields: &Fields<'_>) -> Vec<String> {
    let Some(list) = fields.optional("methods") else { return Vec::new() };
    let items = list.list_of("methods", CONDITIONS_MAX, ", or remove the field to match every one");
    let methods: Vec<_> = items.iter().filter_map(|item| item.text().map(|text| (item, text))).collect();
    let mut seen = std::collections::HashSet::new();
    for (item, method) in &methods {
        if !syntax::is_token(method) {
            item.problem(format!("{} is not a method", quoted(method)), "Write one such as GET or POST");
        } else if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let hint = format!("Write {}", method.to_ascii_uppercase());
            item.problem(format!("{} is not in upper case, as methods are", quoted(method)), hint);
        } else if !seen.insert(*method) {
            item.problem(format!("{} is listed twice", quoted(method)), "Remove one of the two");
        }
    }
    methods.into_iter().map(|(_, method)| method.to_owned()).collect()
}

/// `headers` or `query`: a list of names, each with what its value has to be.
fn conditions(
    fields: &Fields<'_>,
    field: &'static str,
    name: impl Fn(&Item<'_>, &str) -> String,
) -> Vec<FieldMatch> {
    let Some(list) = fields.optional(field) else { return Vec::new() };
    let items = list.list_of("conditions", CONDITIONS_MAX, ", or remove the field");
    let condition = |item: &Item<'_>| {
        let fields = item.fields(CONDITION)?;
        let name = fields.required("name", "NAME").and_then(|item| {
            let text = syntax::bounded(&item)?;
            Some(name(&item, &text))
        });
        let value = value(&fields);
        Some(FieldMatch { name: name?, value: value? })
    };
    items.iter().filter_map(condition).collect()
}

fn value(fields: &Fields<'_>) -> Option<ValueMatch> {
    let (field, item) = fields.one_of(&["exact", "prefix", "regex", "present"], "exact: VALUE")?;
    match field {
        "exact" => syntax::bounded_or_empty(&item).map(ValueMatch::Exact),
        "prefix" => syntax::bounded(&item).map(ValueMatch::Prefix),
        "regex" => syntax::regex(&item, whole_pattern).map(|(text, _)| ValueMatch::Regex(text)),
        _ => item.boolean().map(|present| if present { ValueMatch::Present } else { ValueMatch::Absent }),
    }
}

/// What was asked for so far, with the place that did so first.
#[derive(Default)]
pub(super) struct Matches {
    /// Path and conditions, numbered: compared once for a route, not once for each of its hosts.
    conditions: HashMap<String, usize>,
    /// By number and host; `None` is every host.
    places: HashMap<(usize, Option<HostMatch>), String>,
}

impl Matches {
    /// Two routes that match alike leave it to chance which one serves.
    fn check(&mut self, item: &Item<'_>, matching: &RouteMatch) {
        let number = self.conditions.len();
        let number = *self.conditions.entry(canonical(matching)).or_insert(number);
        let hosts: Vec<_> = match matching.hosts.as_slice() {
            [] => vec![None],
            hosts => hosts.iter().cloned().map(Some).collect(),
        };
        for host in hosts {
            if let Some(first) = self.places.get(&(number, host.clone())) {
                let host = match &host {
                    None => "every host".to_owned(),
                    Some(HostMatch::Exact(host)) => quoted(host),
                    Some(HostMatch::Suffix(suffix)) => quoted(&format!("*{suffix}")),
                };
                let (PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::Regex(path)) =
                    &matching.path;
                let message = format!("{host} and {} are matched twice, first at {first}", quoted(path));
                item.problem(
                    message,
                    "Change the host, the path or another condition, or remove one of the two",
                );
            } else {
                self.places.insert((number, host), item.path.clone());
            }
        }
    }
}

/// Everything but the hosts, in a form that does not depend on the order in which it is written.
fn canonical(matching: &RouteMatch) -> String {
    let mut methods = matching.methods.clone();
    methods.sort_unstable();
    let sorted = |fields: &[FieldMatch]| {
        let mut shown: Vec<_> = fields.iter().map(|field| format!("{field:?}")).collect();
        shown.sort_unstable();
        shown
    };
    format!("{:?}", (&matching.path, methods, sorted(&matching.headers), sorted(&matching.query)))
}
