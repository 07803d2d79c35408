//! Names: their form, that each is used once, and which of them the document mentions elsewhere.

use std::collections::{BTreeSet, HashMap};

use crate::field::{Field, Kind};
use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::tree::{Node, Value};

const NAME_BYTES_MAX: usize = 64;

/// The name of a section's item.
pub(super) const NAME: Field = Field::new("name", Kind::Name, "Its name").required();

/// The names of one section seen so far, each with its path.
#[derive(Default)]
pub(super) struct Unique {
    paths: HashMap<String, String>,
}

impl Unique {
    /// The required field `name`. Empty after a problem.
    pub(super) fn name(&mut self, fields: &Fields<'_>) -> String {
        let Some(item) = fields.required("name", "NAME") else { return String::new() };
        let Some(name) = item.text() else { return String::new() };
        check_name(&item, name);
        if let Some(first) = self.paths.get(name) {
            item.problem(
                format!("the name {} is used twice, first at {first}", quoted(name)),
                "Rename one of them",
            );
        } else {
            self.paths.insert(name.to_owned(), item.path.clone());
        }
        name.to_owned()
    }
}

/// Names go into logs, metrics and paths, so their form is narrow.
pub(super) fn check_name(item: &Item<'_>, name: &str) {
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if !begins || !name.bytes().all(belongs) || name.len() > NAME_BYTES_MAX {
        item.problem(
            format!("{} is not a name", quoted(name)),
            "Use 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit",
        );
    }
}

/// Reports a reference to nothing. `kind` is what there should be: `cluster`.
pub(super) fn check_reference(item: &Item<'_>, name: &str, kind: &str, known: &BTreeSet<String>) {
    if !known.contains(name) {
        let hint = item.suggest(name, known.iter().map(String::as_str));
        item.problem(format!("no {kind} is named {}", quoted(name)), hint);
    }
}

/// Every name that a section gives or uses, read before anything is checked: a section that comes later, or that
/// has problems of its own, causes no follow-on problems elsewhere.
pub(super) struct Mentions {
    pub(super) clusters: BTreeSet<String>,
    pub(super) plugins: BTreeSet<String>,
    /// Named by a route.
    pub(super) routed_clusters: BTreeSet<String>,
    /// Named by a route that says what to hash.
    pub(super) hashed_clusters: BTreeSet<String>,
    /// Those that use a consistent hash.
    pub(super) consistent_clusters: BTreeSet<String>,
    /// Named by a route.
    pub(super) routed_plugins: BTreeSet<String>,
    /// Named by a grant.
    pub(super) granted_plugins: BTreeSet<String>,
}

impl Mentions {
    pub(super) fn scan(root: &Node) -> Self {
        let texts = |path: &[&str]| {
            let mut found = BTreeSet::new();
            collect(root, path, &mut found);
            found
        };
        let consistent = |cluster: &&Node| {
            let balance = Value::Text("consistent_hash".to_owned());
            field(cluster, "balance").is_some_and(|node| node.value == balance)
        };
        Mentions {
            clusters: texts(&["clusters", "name"]),
            plugins: texts(&["plugins", "name"]),
            routed_clusters: clusters_of(items(root, "routes")),
            hashed_clusters: clusters_of(
                items(root, "routes").filter(|route| field(route, "hash").is_some()),
            ),
            consistent_clusters: items(root, "clusters")
                .filter(consistent)
                .fold(BTreeSet::new(), |found, cluster| and_texts(found, cluster, &["name"])),
            routed_plugins: texts(&["routes", "plugins"]),
            granted_plugins: texts(&["resources", "grants", "plugin"]),
        }
    }
}

/// The clusters that these routes name, alone or as a share.
fn clusters_of<'a>(routes: impl Iterator<Item = &'a Node>) -> BTreeSet<String> {
    routes.fold(BTreeSet::new(), |found, route| {
        let found = and_texts(found, route, &["cluster"]);
        and_texts(found, route, &["clusters", "name"])
    })
}

fn and_texts(mut found: BTreeSet<String>, node: &Node, path: &[&str]) -> BTreeSet<String> {
    collect(node, path, &mut found);
    found
}

/// The items of a section.
fn items<'a>(root: &'a Node, section: &str) -> impl Iterator<Item = &'a Node> {
    let items = match field(root, section).map(|node| &node.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => &[],
    };
    items.iter()
}

/// A field of a mapping.
fn field<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    let Value::Mapping(entries) = &node.value else { return None };
    entries.iter().find(|entry| entry.key == name).map(|entry| &entry.node)
}

/// Collects the strings at a path of field names, going through every list on the way.
fn collect(node: &Node, path: &[&str], found: &mut BTreeSet<String>) {
    match (&node.value, path) {
        (Value::List(items), _) => items.iter().for_each(|item| collect(item, path, found)),
        (Value::Mapping(entries), [field, rest @ ..]) => {
            entries
                .iter()
                .filter(|entry| entry.key == *field)
                .for_each(|entry| collect(&entry.node, rest, found));
        }
        (Value::Text(text), []) => {
            found.insert(text.clone());
        }
        _ => {}
    }
}
