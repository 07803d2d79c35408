//! Every number: its default and its two bounds.

use serde_json::{Value, json};

use super::{load_with, usual_files};
use crate::explain::{Placed, every_field};
use crate::field::Kind;
use crate::redacted_json;
use crate::units::{Bounds, Unit};

/// A number of the document.
struct Number {
    /// `resources[].pool.max`
    path: String,
    /// In the document of these tests.
    pointer: String,
    bounds: Bounds,
    /// Whether the bounds' default is what holds without the field.
    has_default: bool,
}

/// Where the items are that have them, and for which types of resources.
const PLACES: [(&str, Option<&str>, &str); 12] = [
    ("listeners[].", None, "/listeners/0/"),
    ("routes[].clusters[].", None, "/routes/1/clusters/0/"),
    ("routes[].respond.", None, "/routes/2/respond/"),
    ("routes[].redirect.", None, "/routes/3/redirect/"),
    ("routes[].", None, "/routes/0/"),
    ("clusters[].", None, "/clusters/0/"),
    ("plugins[].", None, "/plugins/0/"),
    ("resources[].topology_refresh", Some("redis"), "/resources/1/topology_refresh"),
    ("resources[].replica_lag_max", Some("redis"), "/resources/1/replica_lag_max"),
    ("resources[].", Some("redis"), "/resources/0/"),
    ("resources[].", Some("sqlite"), "/resources/2/"),
    ("tracing.", None, "/tracing/"),
];

fn numbers() -> Vec<Number> {
    let number = |placed: Placed| {
        let Kind::Number(bounds) = placed.field.kind else { return None };
        let rest = |(section, of, place): &(&str, Option<&str>, &str)| {
            let of_type = of.is_none_or(|of| placed.types.is_some_and(|types| types.contains(&of)));
            let rest = placed.path.strip_prefix(section).filter(|_| of_type)?;
            Some(format!("{place}{rest}"))
        };
        let pointer = PLACES.iter().find_map(rest).unwrap_or_else(|| panic!("no place for {}", placed.path));
        // The first item of a list, and the one statement there is.
        let pointer = pointer.replace("[]", "/0").replace("NAME", "one").replace('.', "/");
        let has_default = placed.field.default_number().is_some();
        Some(Number { path: placed.path, pointer, bounds, has_default })
    };
    let numbers: Vec<_> = every_field().into_iter().filter_map(number).collect();
    assert!(numbers.len() > 90, "{}", numbers.len());
    numbers
}

/// A document where each section has one item, as JSON. The resource leaves room for every bound.
fn base() -> Value {
    json!({
        "version": 1,
        "listeners": [{ "name": "http", "address": "127.0.0.1:0" }],
        "routes": [
            { "name": "all", "match": { "prefix": "/" }, "cluster": "c", "plugins": ["p"], "retry": {} },
            { "name": "shares", "match": { "path": "/s" }, "clusters": [{ "name": "c" }, { "name": "d" }] },
            { "name": "answer", "match": { "path": "/a" }, "respond": {} },
            { "name": "moved", "match": { "path": "/m" }, "redirect": { "host": "h" } },
        ],
        "clusters": [{
            "name": "c", "endpoints": ["127.0.0.1:9000"], "health": { "path": "/" }, "outlier": {},
        }, { "name": "d", "builtin": "echo" }],
        "plugins": [{ "name": "p", "module": { "builtin": "rate-limit" } }],
        "resources": [{
            "name": "r", "type": "redis", "endpoint": "127.0.0.1:6379", "faults": { "cut": true },
            "grants": [{ "plugin": "p", "commands": ["get"], "key_prefix": "p:", "rate": {} }],
        }, {
            "name": "t", "type": "redis", "mode": "cluster", "endpoints": ["127.0.0.1:7000"],
            "read_from": "prefer_replica",
            "grants": [{ "plugin": "p", "commands": ["get"], "key_prefix": "p:" }],
        }, {
            "name": "s", "type": "sqlite", "url": "sqlite::memory:", "faults": { "error": "auth" },
            "statements": { "one": { "text": "SELECT 1", "cache": {} } },
            "grants": [{ "plugin": "p", "statements": ["one"], "rate": {} }],
        }],
        "tracing": { "endpoint": "http://[::1]:4318/v1/traces" },
    })
}

/// Sets the field, and what must be raised or lowered with it.
fn document(pointer: &str, value: &Value) -> Value {
    let mut document = base();
    let mut set = |pointer: &str, value: Value| {
        let mut node = &mut document;
        for step in pointer.split('/').skip(1) {
            node = match step.parse::<usize>() {
                Ok(index) => &mut node[index],
                Err(_) => &mut node[step],
            };
        }
        *node = value;
    };
    set(pointer, value.clone());
    match pointer {
        "/resources/0/pool/leased" => set("/resources/0/pool/max", json!(10_000)),
        "/resources/2/pool/min" => set("/resources/2/pool/max", json!(1000)),
        "/resources/0/limits/call_timeout_max" => set("/resources/0/limits/call_timeout", json!("1ms")),
        "/resources/2/limits/call_timeout_max" => set("/resources/2/limits/call_timeout", json!("1ms")),
        "/resources/2/grants/0/rows" => set("/resources/2/limits/rows", json!(10_000_000)),
        "/resources/2/grants/0/response" => set("/resources/2/limits/response", json!("256MiB")),
        "/tracing/export/batch" => set("/tracing/export/queue", json!(1_000_000)),
        "/plugins/0/reload_backoff/max" => set("/plugins/0/reload_backoff/base", json!("1ms")),
        "/routes/0/retry/backoff/max" => set("/routes/0/retry/backoff/base", json!("1ms")),
        "/clusters/0/health/statuses/to" => set("/clusters/0/health/statuses/from", json!(100)),
        "/clusters/0/outlier/ejection_time_max" => set("/clusters/0/outlier/ejection_time", json!("10ms")),
        _ => {}
    }
    document
}

fn written(bounds: Bounds, value: u64) -> Value {
    if bounds.unit == Unit::Count { json!(value) } else { json!(bounds.unit.show(value)) }
}

/// The value that the snapshot shows, in the unit's count.
fn shown(document: &Value, pointer: &str, unit: Unit) -> u64 {
    let loaded = load_with(&document.to_string(), &usual_files());
    let loaded = loaded.unwrap_or_else(|found| panic!("{pointer}: {:#?}", super::lines(&found)));
    let json = redacted_json(&loaded.snapshot);
    match json.pointer(pointer) {
        Some(Value::String(text)) => unit.parse(text).expect("it is written in its unit"),
        Some(Value::Number(number)) => number.as_u64().expect("a count"),
        other => panic!("{pointer} is shown as {other:?}"),
    }
}

#[test]
fn both_bounds_of_every_number_are_admitted() {
    for Number { pointer, bounds, .. } in numbers() {
        for value in [bounds.min, bounds.max] {
            let document = document(&pointer, &written(bounds, value));
            assert_eq!(shown(&document, &pointer, bounds.unit), value, "{pointer}");
        }
    }
}

#[test]
fn one_beyond_either_bound_of_every_number_is_refused_at_its_path() {
    for Number { path, pointer, bounds, .. } in numbers() {
        let below = bounds.min.checked_sub(1).map(|value| written(bounds, value));
        let refused =
            below.into_iter().chain([written(bounds, bounds.max + 1), json!(-1), json!(1.5), json!(null)]);
        for value in refused {
            let document = document(&pointer, &value).to_string();
            let found =
                load_with(&document, &usual_files()).err().unwrap_or_else(|| panic!("{pointer}: {value}"));
            let at = pointer.split('/').skip(1).fold(String::new(), |path, step| {
                if step.parse::<usize>().is_ok() {
                    format!("{path}[{step}]")
                } else {
                    format!("{path}.{step}")
                }
            });
            let at = at.trim_start_matches('.');
            assert_eq!(found[0].path, at, "{path}: {value}: {:#?}", super::lines(&found));
            assert!(found[0].hint.contains(&bounds.unit.show(bounds.max)), "{}", found[0]);
        }
    }
}

#[test]
fn every_number_has_its_default() {
    for Number { pointer, bounds, .. } in numbers().into_iter().filter(|number| number.has_default) {
        assert_eq!(shown(&base(), &pointer, bounds.unit), bounds.default, "{pointer}");
    }
}

#[test]
fn a_default_gives_way_to_a_smaller_or_larger_neighbour() {
    for (changed, value, neighbour, unit, expected) in [
        ("/resources/0/pool/max", json!(1), "/resources/0/pool/leased", Unit::Count, 0),
        (
            "/resources/0/limits/call_timeout",
            json!("1m"),
            "/resources/0/limits/call_timeout_max",
            Unit::Time,
            60_000,
        ),
        ("/routes/0/retry/backoff/base", json!("1m"), "/routes/0/retry/backoff/max", Unit::Time, 60_000),
        ("/clusters/0/health/statuses/from", json!(400), "/clusters/0/health/statuses/to", Unit::Count, 400),
        (
            "/clusters/0/outlier/ejection_time",
            json!("1h"),
            "/clusters/0/outlier/ejection_time_max",
            Unit::Time,
            3_600_000,
        ),
        ("/plugins/0/reload_backoff/base", json!("1m"), "/plugins/0/reload_backoff/max", Unit::Time, 60_000),
    ] {
        assert_eq!(shown(&document(changed, &value), neighbour, unit), expected, "{neighbour}");
    }
}
