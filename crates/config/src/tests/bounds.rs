//! Every number: its default, its two bounds, and its row in the reference.

use serde_json::{Value, json};

use super::{load_with, usual_files};
use crate::redacted_json;
use crate::schema::bounds::{self, Section};
use crate::units::{Bounds, Unit};

const REFERENCE: &str = include_str!("../../../../docs/configuration.md");

/// A document where each section has one item, as JSON. The resource leaves room for every bound.
fn base() -> Value {
    json!({
        "version": 1,
        "listeners": [{ "name": "http", "address": "127.0.0.1:0" }],
        "routes": [
            { "name": "all", "match": { "prefix": "/" }, "cluster": "c", "plugins": ["p"], "retry": {} },
            { "name": "shares", "match": { "path": "/s" }, "clusters": [{ "name": "c" }, { "name": "d" }] },
            { "name": "answer", "match": { "path": "/a" }, "respond": {} },
        ],
        "clusters": [{
            "name": "c", "endpoints": ["127.0.0.1:9000"], "health": { "path": "/" }, "outlier": {},
        }, { "name": "d", "builtin": "echo" }],
        "plugins": [{ "name": "p", "module": { "builtin": "rate-limit" } }],
        "resources": [{
            "name": "r", "type": "redis", "endpoint": "127.0.0.1:6379",
            "grants": [{ "plugin": "p", "commands": ["get"], "key_prefix": "p:" }],
        }, {
            "name": "t", "type": "redis", "mode": "cluster", "endpoints": ["127.0.0.1:7000"],
            "grants": [{ "plugin": "p", "commands": ["get"], "key_prefix": "p:" }],
        }, {
            "name": "s", "type": "sqlite", "url": "sqlite::memory:",
            "statements": { "one": { "text": "SELECT 1", "cache": {} } },
            "grants": [{ "plugin": "p", "statements": ["one"] }],
        }],
    })
}

fn pointer(section: Section, field: &str) -> String {
    format!("{}/{}", section.place(), field.replace('.', "/"))
}

/// Sets the field, and what must be raised with it.
fn document(section: Section, field: &str, value: &Value) -> Value {
    let mut document = base();
    let mut set = |pointer: String, value: Value| {
        let mut node = &mut document;
        for step in pointer.split('/').skip(1) {
            node = match step.parse::<usize>() {
                Ok(index) => &mut node[index],
                Err(_) => &mut node[step],
            };
        }
        *node = value;
    };
    if (section, field) == (Section::Resource, "pool.leased") {
        set("/resources/0/pool/max".to_owned(), json!(10_000));
    }
    if (section, field) == (Section::Sql, "pool.min") {
        set("/resources/2/pool/max".to_owned(), json!(1000));
    }
    set(pointer(section, field), value.clone());
    if matches!(section, Section::Resource | Section::Sql) && field == "limits.call_timeout_max" {
        set(format!("{}/limits/call_timeout", section.place()), json!("1ms"));
    }
    if (section, field) == (Section::Plugin, "reload_backoff.max") {
        set("/plugins/0/reload_backoff/base".to_owned(), json!("1ms"));
    }
    match (section, field) {
        (Section::Route, "retry.backoff.max") => set("/routes/0/retry/backoff/base".to_owned(), json!("1ms")),
        (Section::Cluster, "health.statuses.to") => {
            set("/clusters/0/health/statuses/from".to_owned(), json!(100));
        }
        (Section::Cluster, "outlier.ejection_time_max") => {
            set("/clusters/0/outlier/ejection_time".to_owned(), json!("10ms"));
        }
        _ => {}
    }
    document
}

fn written(bounds: Bounds, value: u64) -> Value {
    if bounds.unit == Unit::Count { json!(value) } else { json!(bounds.unit.show(value)) }
}

/// The value that the snapshot shows, in the unit's count.
fn shown(document: &Value, section: Section, field: &str, unit: Unit) -> u64 {
    let loaded = load_with(&document.to_string(), &usual_files());
    let loaded = loaded.unwrap_or_else(|found| panic!("{field}: {:#?}", super::lines(&found)));
    let json = redacted_json(&loaded.snapshot);
    match json.pointer(&pointer(section, field)) {
        Some(Value::String(text)) => unit.parse(text).expect("it is written in its unit"),
        Some(Value::Number(number)) => number.as_u64().expect("a count"),
        other => panic!("{field} is shown as {other:?}"),
    }
}

#[test]
fn both_bounds_of_every_number_are_admitted() {
    for (section, field, bounds) in bounds::ALL {
        for value in [bounds.min, bounds.max] {
            let document = document(*section, field, &written(*bounds, value));
            assert_eq!(shown(&document, *section, field, bounds.unit), value, "{section:?} {field}");
        }
    }
}

#[test]
fn one_beyond_either_bound_of_every_number_is_refused_at_its_path() {
    for (section, field, bounds) in bounds::ALL {
        let below = bounds.min.checked_sub(1).map(|value| written(*bounds, value));
        let refused =
            below.into_iter().chain([written(*bounds, bounds.max + 1), json!(-1), json!(1.5), json!(null)]);
        for value in refused {
            let document = document(*section, field, &value).to_string();
            let found =
                load_with(&document, &usual_files()).err().unwrap_or_else(|| panic!("{field}: {value}"));
            let path = pointer(*section, field).split('/').skip(1).fold(String::new(), |path, step| {
                if step.parse::<usize>().is_ok() {
                    format!("{path}[{step}]")
                } else {
                    format!("{path}.{step}")
                }
            });
            let path = path.trim_start_matches('.');
            assert_eq!(found[0].path, path, "{value}: {:#?}", super::lines(&found));
            assert!(found[0].hint.contains(&bounds.unit.show(bounds.max)), "{}", found[0]);
        }
    }
}

#[test]
fn every_number_has_its_default() {
    for (section, field, bounds) in bounds::ALL {
        assert_eq!(shown(&base(), *section, field, bounds.unit), bounds.default, "{section:?} {field}");
    }
}

#[test]
fn the_reference_states_default_and_bounds_of_every_number() {
    for (section, field, bounds) in bounds::ALL {
        let (chapter, before) = section.heading();
        let heading = format!("\n## `{chapter}`");
        let text = REFERENCE.split_once(&heading).unwrap_or_else(|| panic!("{heading} is missing")).1;
        let text = text.split("\n## ").next().expect("a split has a first part");
        let row = text.lines().find(|line| line.starts_with(&format!("| `{before}{field}` |")));
        let row = row.unwrap_or_else(|| panic!("{chapter} has no row for {before}{field}"));
        let show = |value| bounds.unit.show(value);
        let expected = format!("| {} | {} to {} |", show(bounds.default), show(bounds.min), show(bounds.max));
        assert!(row.ends_with(&expected), "the row of {field} ends with {expected}, not\n{row}");
    }
}

#[test]
fn a_default_gives_way_to_a_smaller_or_larger_neighbour() {
    let value = document(Section::Resource, "pool.max", &json!(1));
    assert_eq!(shown(&value, Section::Resource, "pool.leased", Unit::Count), 0);
    let value = document(Section::Resource, "limits.call_timeout", &json!("1m"));
    assert_eq!(shown(&value, Section::Resource, "limits.call_timeout_max", Unit::Time), 60_000);
    let value = document(Section::Route, "retry.backoff.base", &json!("1m"));
    assert_eq!(shown(&value, Section::Route, "retry.backoff.max", Unit::Time), 60_000);
    let value = document(Section::Cluster, "health.statuses.from", &json!(400));
    assert_eq!(shown(&value, Section::Cluster, "health.statuses.to", Unit::Count), 400);
    let value = document(Section::Cluster, "outlier.ejection_time", &json!("1h"));
    assert_eq!(shown(&value, Section::Cluster, "outlier.ejection_time_max", Unit::Time), 3_600_000);
    let value = document(Section::Plugin, "reload_backoff.base", &json!("1m"));
    assert_eq!(shown(&value, Section::Plugin, "reload_backoff.max", Unit::Time), 60_000);
}
