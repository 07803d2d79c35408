//! What differs between two snapshots, for people.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use agw_config::Snapshot;

/// One text for each difference, such as `route b: added`, in the order of a document. Equal texts of secrets count as
/// equal, whatever their references; what they are is never said.
pub(crate) fn changes(before: &Snapshot, now: &Snapshot) -> Vec<String> {
    let mut found = Vec::new();
    let listeners = |snapshot: &Snapshot| by_name(&snapshot.listeners, |listener| &listener.name);
    compare("listener", &listeners(before), &listeners(now), &mut found);
    let routes = |snapshot: &Snapshot| by_name(&snapshot.routes, |route| &route.name);
    compare("route", &routes(before), &routes(now), &mut found);
    let order = |snapshot: &Snapshot| -> Vec<String> {
        snapshot.routes.iter().map(|route| route.name.clone()).collect()
    };
    if found.is_empty() && order(before) != order(now) {
        found.push("routes: another order".to_owned());
    }
    compare("cluster", &before.clusters, &now.clusters, &mut found);
    compare("plugin", &before.plugins, &now.plugins, &mut found);
    compare("resource", &before.resources, &now.resources, &mut found);
    compare("resource", &before.sql_resources, &now.sql_resources, &mut found);
    match (&before.tracing, &now.tracing) {
        (None, Some(_)) => found.push("tracing: added".to_owned()),
        (Some(_), None) => found.push("tracing: removed".to_owned()),
        (before, now) if before != now => found.push("tracing: changed".to_owned()),
        _ => {}
    }
    found
}

fn by_name<T>(items: &[Arc<T>], name: impl Fn(&T) -> &String) -> BTreeMap<String, Arc<T>> {
    items.iter().map(|item| (name(item).clone(), Arc::clone(item))).collect()
}

fn compare<T: PartialEq>(
    kind: impl Display,
    before: &BTreeMap<String, Arc<T>>,
    now: &BTreeMap<String, Arc<T>>,
    found: &mut Vec<String>,
) {
    for (name, item) in now {
        match before.get(name) {
            None => found.push(format!("{kind} {name}: added")),
            Some(known) if known != item => found.push(format!("{kind} {name}: changed")),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    found.extend(gone.map(|name| format!("{kind} {name}: removed")));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::document::{Machine, load_text};

    fn snapshot(body: &str) -> Snapshot {
        let text = format!(
            "{{ version: 1, listeners: [{{ name: a, address: '[::1]:0' }}], \
             clusters: [{{ name: c, builtin: echo }}], {body} }}"
        );
        let machine = Machine { builtin_modules: &[] };
        load_text(&text, "test", Path::new(""), &machine).expect("a document").snapshot
    }

    #[test]
    fn what_is_added_changed_and_removed_is_named() {
        let route =
            |name: &str, path: &str| format!("{{ name: {name}, match: {{ prefix: {path} }}, cluster: c }}");
        let routes = |all: &[String]| snapshot(&format!("routes: [{}]", all.join(", ")));
        let before = routes(&[route("x", "/x"), route("y", "/y")]);
        let now = routes(&[route("y", "/z"), route("w", "/w")]);
        assert_eq!(changes(&before, &now), ["route w: added", "route y: changed", "route x: removed"]);
        assert!(changes(&before, &before.clone()).is_empty());
        let turned = routes(&[route("y", "/y"), route("x", "/x")]);
        assert_eq!(changes(&before, &turned), ["routes: another order"]);
        let traced = |host: &str| snapshot(&format!("tracing: {{ endpoint: 'http://{host}/v1/traces' }}"));
        let (none, one) = (snapshot(""), traced("[::1]"));
        assert_eq!(changes(&none, &one), ["tracing: added"]);
        assert_eq!(changes(&one, &none), ["tracing: removed"]);
        assert_eq!(changes(&one, &traced("127.0.0.1")), ["tracing: changed"]);
    }
}
