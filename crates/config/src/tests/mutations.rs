//! Whatever is done to a document, it loads or is refused with a path: never a panic.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::complete::COMPLETE;
use super::{load_with, usual_files};
use crate::tree::{self, Node};

/// What to do to one node.
#[derive(Clone, Debug)]
enum Mutation {
    Delete,
    Rename(String),
    Replace(Value),
    Repeat,
}

pub(super) fn complete() -> Value {
    fn json(node: &Node) -> Value {
        match &node.value {
            tree::Value::Null => Value::Null,
            tree::Value::Boolean(value) => json!(value),
            tree::Value::Integer(value) => json!(i64::try_from(*value).expect("small")),
            tree::Value::Float(value) => json!(value),
            tree::Value::Text(text) => json!(text),
            tree::Value::List(items) => items.iter().map(json).collect(),
            tree::Value::Mapping(entries) => {
                let pair = |entry: &tree::Entry| (entry.key.clone(), json(&entry.node));
                entries.iter().map(pair).collect::<serde_json::Map<_, _>>().into()
            }
        }
    }
    json(&tree::parse(COMPLETE).expect("it parses"))
}

fn pointers(node: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match node {
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| pointers(item, &format!("{here}/{index}"), found));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(key, item)| {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(item, &format!("{here}/{key}"), found);
            });
        }
        _ => {}
    }
}

fn mutate(document: &mut Value, at: Index, mutation: Mutation) {
    let mut all = Vec::new();
    pointers(document, "", &mut all);
    let pointer = at.get(&all).clone();
    if let Mutation::Replace(value) = &mutation {
        *document.pointer_mut(&pointer).expect("it is there") = value.clone();
        return;
    }
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    let key = &key.replace("~1", "/").replace("~0", "~");
    match (document.pointer_mut(parent).expect("it is there"), mutation) {
        (Value::Object(fields), Mutation::Rename(name)) => {
            let value = fields.remove(key).expect("it is there");
            fields.insert(name, value);
        }
        (Value::Object(fields), _) => drop(fields.remove(key)),
        (Value::Array(items), Mutation::Repeat) => {
            items.push(items[key.parse::<usize>().expect("an index")].clone())
        }
        (Value::Array(items), _) => drop(items.remove(key.parse().expect("an index"))),
        _ => {}
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let words =
        ["", "x", "name", "redis://u:p@h", "-1", "50ms", "9999999999h", "/", "\u{0}", "..", "é", "[::1]:1"];
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300f64..1e300).prop_map(Value::from),
        select(words.to_vec()).prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([1, "x", {}])),
        Just(json!({ "name": 1, "x": [] })),
        (0usize..100_000).prop_map(|length| json!("x".repeat(length))),
    ];
    prop_oneof![
        Just(Mutation::Delete),
        Just(Mutation::Repeat),
        "[a-z_]{0,8}|\\PC{0,8}".prop_map(Mutation::Rename),
        value.prop_map(Mutation::Replace),
    ]
}

fn accepted_or_refused_with_a_path(text: &str) {
    match load_with(text, &usual_files()) {
        Ok(loaded) => drop(crate::redacted_json(&loaded.snapshot)),
        Err(found) => {
            assert!(!found.is_empty());
            for problem in &found {
                assert!(!problem.path.is_empty() && !problem.message.is_empty() && !problem.hint.is_empty());
                assert!(!problem.to_string().contains("hunter"), "{problem}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_document_is_accepted_or_refused_with_a_path(
        mutations in proptest::collection::vec((any::<Index>(), mutation()), 1..4),
    ) {
        let mut document = complete();
        for (at, mutation) in mutations {
            mutate(&mut document, at, mutation);
        }
        accepted_or_refused_with_a_path(&document.to_string());
    }

    #[test]
    fn a_cut_or_patched_text_is_accepted_or_refused_with_a_path(
        at in any::<Index>(),
        removed in 0usize..20,
        patch in "[-:{}\\[\\]&*!|>'\"%@`#, \n\ta-z0-9]{0,6}|\\PC{0,4}",
    ) {
        let characters: Vec<char> = COMPLETE.chars().collect();
        let at = at.index(characters.len());
        let rest = characters.iter().skip(at + removed);
        let text: String = characters[..at].iter().copied().chain(patch.chars()).chain(rest.copied()).collect();
        accepted_or_refused_with_a_path(&text);
    }

    #[test]
    fn any_text_is_accepted_or_refused_with_a_path(text in "[-:{}\\[\\]&*!|>'\"%@`#?, \n\ta-b1]{0,60}|\\PC{0,40}") {
        accepted_or_refused_with_a_path(&text);
    }
}
