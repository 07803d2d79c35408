//! `routes`: which requests these are, what answers them, and within which limits.

pub(crate) mod forward;
mod matching;
pub(crate) mod reply;
pub(crate) mod retry;
mod rewrite;

use std::sync::Arc;

use crate::field::{ANY, Field, Kind};
use crate::reader::{Fields, Item};
use crate::schema::name::{Mentions, NAME, Unique, check_reference};
use crate::snapshot::{Forward, PathMatch, Route, RouteAction, RouteMatch};
use crate::units::{Bounds, GIB, HOUR, MIB, MINUTE, MS, SECOND};
use matching::Matches;

pub(super) const FIELDS: &[Field] = &[
    NAME,
    Field::group("match", matching::FIELDS, "Which requests these are; all of it must hold").required(),
    Field::new("cluster", Kind::Name, "Name of the cluster that answers").one_of(),
    Field::new(
        "clusters",
        Kind::List(&Kind::Group(forward::SHARE), 1, forward::CLUSTERS_MAX),
        "Clusters that answer a share of the requests each",
    )
    .one_of(),
    Field::group("redirect", reply::REDIRECT, "The gateway sends the client elsewhere").one_of(),
    Field::group("respond", reply::RESPOND, "The gateway answers itself").one_of(),
    Field::group("rewrite", forward::REWRITE, "What the upstream sees in place of the request's")
        .or("nothing changes"),
    Field::group("retry", retry::FIELDS, "When a request that was sent is tried again").or("no retries"),
    Field::group(
        "hash",
        forward::HASH,
        "By what requests are spread, for clusters with `balance: consistent_hash`",
    )
    .or("none"),
    Field::new(
        "upgrades",
        Kind::List(&Kind::Text, 1, forward::UPGRADES_MAX),
        "Protocols that clients may upgrade to, such as `websocket`, by `Upgrade` or by the extended CONNECT of HTTP/2; \
         others are served without upgrade, or refused ([http.md](http.md#upgrades))",
    ),
    Field::new(
        "plugins",
        Kind::List(&Kind::Name, 0, ANY),
        "Names of plugins, in the order in which they see the request",
    ),
    Field::number(
        "timeout",
        TIMEOUT,
        "From the request's head to the last byte of the response; then a 504. For an upgraded connection it ends \
         with the upgrade",
    ),
    Field::number(
        "idle_timeout",
        IDLE_TIMEOUT,
        "No byte of a body, or of an upgraded connection, for this long ends the exchange",
    ),
    Field::group("limits", LIMITS, "Bounds on bodies"),
];
const ACTIONS: [&str; 4] = ["cluster", "clusters", "redirect", "respond"];
const LIMITS: &[Field] = &[
    Field::number("request_body", REQUEST_BODY, "Size of a request body; more is a 413"),
    Field::number("buffer", BUFFER, "Size of a body that a plugin holds back; more is a 413 or 500"),
];

pub(crate) const TIMEOUT: Bounds = Bounds::time(MS, 15 * SECOND, 24 * HOUR);
pub(crate) const IDLE_TIMEOUT: Bounds = Bounds::time(100 * MS, 5 * MINUTE, 24 * HOUR);
pub(crate) const REQUEST_BODY: Bounds = Bounds::bytes(0, 10 * MIB, 64 * GIB);
pub(crate) const BUFFER: Bounds = Bounds::bytes(1, MIB, GIB);

pub(super) fn lower(items: &[Item<'_>], mentions: &Mentions) -> Vec<Arc<Route>> {
    let mut unique = Unique::default();
    let mut matches = Matches::default();
    items.iter().filter_map(|item| route(item, &mut unique, &mut matches, mentions)).map(Arc::new).collect()
}

fn route(item: &Item<'_>, unique: &mut Unique, matches: &mut Matches, mentions: &Mentions) -> Option<Route> {
    let fields = item.fields(FIELDS)?;
    let name = unique.name(&fields);
    let matching = fields.required("match", "{ prefix: / }");
    let matching = matching.and_then(|item| matching::lower(&item, matches));
    let timeout = fields.duration("timeout", TIMEOUT);
    // A match with problems of its own causes no follow-on problem in a rewrite.
    let prefixed = matching.as_ref().is_none_or(|matching| matches!(matching.path, PathMatch::Prefix(_)));
    let action = action(&fields, &Surroundings { mentions, prefixed, timeout });
    let plugins = fields.optional("plugins").map(|item| item.texts()).unwrap_or_default();
    for (item, name) in &plugins {
        check_reference(item, name, "plugin", &mentions.plugins);
    }
    let limits = fields.group("limits", LIMITS);
    let anything = || RouteMatch::path(PathMatch::Prefix("/".to_owned()));
    Some(Route {
        timeout,
        idle_timeout: fields.duration("idle_timeout", IDLE_TIMEOUT),
        plugins: plugins.into_iter().map(|(_, name)| name.to_owned()).collect(),
        request_body_bytes_max: limits.u64("request_body", REQUEST_BODY),
        buffer_bytes_max: limits.usize("buffer", BUFFER),
        ..Route::new(&name, matching.unwrap_or_else(anything), action.unwrap_or_else(|| Forward::to("")))
    })
}

/// What an action's own fields depend on.
struct Surroundings<'a> {
    mentions: &'a Mentions,
    /// Whether the route matches by prefix.
    prefixed: bool,
    /// The route's.
    timeout: std::time::Duration,
}

fn action(fields: &Fields<'_>, surroundings: &Surroundings<'_>) -> Option<RouteAction> {
    let (field, item) = fields.one_of(&ACTIONS, "cluster: NAME")?;
    if matches!(field, "cluster" | "clusters") {
        return Some(RouteAction::Forward(forward::lower(fields, &item, surroundings)));
    }
    for item in forward::ONLY_HERE.iter().filter_map(|field| fields.optional(field)) {
        item.problem(
            format!("the gateway answers itself with {field}, so this has no effect"),
            "Remove the field, or write cluster: NAME",
        );
    }
    match field {
        "redirect" => reply::redirect(&item, surroundings.prefixed).map(RouteAction::Redirect),
        _ => reply::respond(&item).map(RouteAction::Respond),
    }
}
