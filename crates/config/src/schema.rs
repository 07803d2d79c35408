//! The document, version 1: lowers its tree to a [`Snapshot`].
//!
//! Each section has a file of its own with its fields, their meanings, defaults and bounds. The tables of
//! `docs/configuration.md` are made of them, and a test holds the two together.

mod address;
mod certificate;
pub(crate) mod cluster;
mod command;
mod endpoint;
mod faults;
mod grant;
pub(crate) mod listener;
mod name;
mod plugin;
mod resource;
pub(crate) mod route;
mod secret;
pub(crate) mod sql;
mod syntax;
mod tls;
pub(crate) mod tracing;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::field::{ANY, Field, Kind};
use crate::reader::{Context, Fields, Item};
use crate::snapshot::Snapshot;
use crate::tree::{Node, Value};
use name::{Mentions, Unique};
pub(crate) use secret::FORMS as REFERENCE;

/// The whole document.
pub(crate) const FIELDS: &[Field] = &[
    Field::new("version", Kind::Integers(&[VERSION]), "Version of this format").required(),
    Field::new(
        "listeners",
        Kind::List(&Kind::Group(listener::FIELDS), 1, ANY),
        "Addresses that take connections",
    )
    .required(),
    Field::new("routes", Kind::List(&Kind::Group(route::FIELDS), 0, ANY), "What happens to requests"),
    Field::new("clusters", Kind::List(&Kind::Group(cluster::FIELDS), 0, ANY), "Where requests go"),
    Field::new(
        "plugins",
        Kind::List(&Kind::Group(plugin::FIELDS), 0, ANY),
        "Configured uses of proxy-wasm modules",
    ),
    Field::new(
        "resources",
        Kind::List(&Kind::Typed(&[resource::FIELDS, sql::FIELDS]), 0, ANY),
        "External resources that plugins may use",
    ),
    Field::group("tracing", tracing::FIELDS, "[Traces](traces.md), and the collector that gets them")
        .or("no traces"),
];

/// The one version there is.
const VERSION: u16 = 1;

/// Reads the whole document. What comes out is meaningful only if the context's report holds no problem.
pub(crate) fn lower(context: &Context<'_>, root: &Node, digest: String) -> Snapshot {
    let mut snapshot = Snapshot {
        digest,
        listeners: Vec::new(),
        routes: Vec::new(),
        clusters: BTreeMap::new(),
        plugins: BTreeMap::new(),
        resources: BTreeMap::new(),
        sql_resources: BTreeMap::new(),
        tracing: None,
    };
    let Some(fields) = Item::root(context, root).fields(FIELDS) else { return snapshot };
    check_version(&fields);
    let mentions = Mentions::scan(root);

    if let Some(item) = fields.required("listeners", "[{ name: http, address: \"127.0.0.1:8080\" }]") {
        snapshot.listeners = listener::lower(&item.list());
        if item.node.value == Value::List(Vec::new()) {
            item.problem("there are no listeners", "Write at least one");
        }
    }
    snapshot.routes = route::lower(&fields.list("routes"), &mentions);
    if snapshot.routes.is_empty() {
        fields
            .item
            .warning("there are no routes: every request is answered with 404", "Write routes: [ ... ]");
    }
    snapshot.clusters = section(&fields, "clusters", |item, unique| {
        cluster::lower(item, unique, &mentions).map(|cluster| (cluster.name.clone(), cluster))
    });
    snapshot.plugins = section(&fields, "plugins", |item, unique| {
        plugin::lower(item, unique, &mentions).map(|plugin| (plugin.name.clone(), plugin))
    });
    resources(&fields, &mentions, &mut snapshot);
    snapshot.tracing = fields.optional("tracing").and_then(|item| tracing::lower(&item)).map(Arc::new);
    snapshot
}

/// One section, whatever the resources are: names are unique over all of it.
fn resources(fields: &Fields<'_>, mentions: &Mentions, snapshot: &mut Snapshot) {
    let mut unique = Unique::default();
    for item in fields.list("resources") {
        match resource::lower(&item, &mut unique, mentions) {
            Some(resource::Lowered::Redis(redis)) => {
                snapshot.resources.insert(redis.name.clone(), Arc::new(redis));
            }
            Some(resource::Lowered::Sql(sql)) => {
                snapshot.sql_resources.insert(sql.name.clone(), Arc::new(sql));
            }
            None => {}
        }
    }
}

fn section<'a, T>(
    fields: &Fields<'a>,
    name: &'static str,
    mut lower: impl FnMut(&Item<'a>, &mut Unique) -> Option<(String, T)>,
) -> BTreeMap<String, Arc<T>> {
    let mut unique = Unique::default();
    let items = fields.list(name);
    items
        .iter()
        .filter_map(|item| lower(item, &mut unique))
        .map(|(name, item)| (name, Arc::new(item)))
        .collect()
}

fn check_version(fields: &Fields<'_>) {
    let Some(item) = fields.required("version", "1") else { return };
    if item.node.value != Value::Integer(VERSION.into()) {
        item.problem("the version is not known", "This gateway reads documents with version: 1");
    }
}
