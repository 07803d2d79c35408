//! Whatever is done to a document, it loads or is refused with a path: never a panic, and nothing is ignored.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::complete::COMPLETE;
use super::json_schema::Validator;
use super::{load_with, usual_files};
use crate::explain::{Placed, lead_to};
use crate::field::Kind;
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
    json_of(COMPLETE)
}

/// A document as JSON, which has no lines.
pub(super) fn json_of(text: &str) -> Value {
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
    json(&tree::parse(text).expect("it parses"))
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

/// One change of one node, of which every node gets each.
#[derive(Clone, Debug, PartialEq)]
enum Change {
    Remove,
    /// The key, or the item of a list, is there twice.
    Twice,
    /// Another key.
    Rename,
    /// One key more in this mapping.
    Unknown,
    Replace(Value),
}

impl Change {
    /// The changed document; `None` where JSON cannot say it, or there is nothing to change.
    fn apply(&self, document: &Value, pointer: &str) -> Option<Value> {
        let mut changed = document.clone();
        if let Change::Replace(value) = self {
            let node = changed.pointer_mut(pointer)?;
            if node == value {
                return None;
            }
            *node = value.clone();
            return Some(changed);
        }
        if *self == Change::Unknown {
            changed.pointer_mut(pointer)?.as_object_mut()?.insert("zz_unknown".to_owned(), json!(1));
            return Some(changed);
        }
        let (parent, key) = pointer.rsplit_once('/')?;
        let key = key.replace("~1", "/").replace("~0", "~");
        match (changed.pointer_mut(parent)?, self) {
            (Value::Object(fields), Change::Remove) => drop(fields.remove(&key)?),
            (Value::Object(fields), Change::Rename) => {
                let value = fields.remove(&key)?;
                fields.insert(format!("{key}_zz"), value);
            }
            (Value::Array(items), Change::Remove) => drop(items.remove(key.parse().ok()?)),
            (Value::Array(items), Change::Twice) => {
                let index: usize = key.parse().ok()?;
                items.insert(index, items.get(index)?.clone());
            }
            _ => return None,
        }
        Some(changed)
    }

    /// The document with a key that stands twice, which only text can say.
    fn twice(&self, document: &Value, pointer: &str) -> Option<String> {
        let (parent, _) = pointer.rsplit_once('/')?;
        let doubled = *self == Change::Twice && document.pointer(parent)?.is_object();
        doubled.then(|| written(document, "", pointer))
    }
}

/// JSON in which the key at `twice` stands twice.
fn written(node: &Value, here: &str, twice: &str) -> String {
    match node {
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let items: Vec<_> =
                items.map(|(index, item)| written(item, &format!("{here}/{index}"), twice)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(fields) => {
            let mut entries = Vec::new();
            for (key, item) in fields {
                let at = format!("{here}/{}", key.replace('~', "~0").replace('/', "~1"));
                let entry = format!("{}:{}", json!(key), written(item, &at, twice));
                entries.extend(std::iter::repeat_n(entry, if at == twice { 2 } else { 1 }));
            }
            format!("{{{}}}", entries.join(","))
        }
        other => other.to_string(),
    }
}

/// Whether the mapping at this pointer has fields that the format knows, and no others.
fn has_known_fields(pointer: &str) -> bool {
    if pointer.is_empty() {
        return true;
    }
    let path = pointer.split('/').skip(1).fold(String::new(), |path, step| {
        if step.bytes().all(|byte| byte.is_ascii_digit()) { path } else { format!("{path}.{step}") }
    });
    let Some(placed) = lead_to(path.trim_start_matches('.')) else { return false };
    let steps = path.matches('.').count();
    match placed.field.kind {
        // The mapping of names itself, or one of what the names stand for.
        Kind::Map(_) => steps > placed.path.matches('.').count() + 1,
        Kind::Group(_) | Kind::List(..) | Kind::Reference => true,
        _ => false,
    }
}

/// Every change of every node of the document with every field.
fn every_change() -> Vec<(String, Change)> {
    let mut values = vec![json!(null), json!(true), json!(false), json!(0), json!(-1), json!(1.5)];
    values.extend([json!(7), json!(10_u64.pow(15)), json!(u64::MAX)]);
    values.extend(["", "zz", "0ms", "7s", "9999999h", "1KiB", "9999999GiB", "p@ss"].map(Value::from));
    values.extend([json!("x".repeat(5000)), json!([]), json!(["zz"]), json!({}), json!({ "file": "zz" })]);
    let mut changes = vec![Change::Remove, Change::Twice, Change::Rename, Change::Unknown];
    changes.extend(values.into_iter().map(Change::Replace));
    let mut all = Vec::new();
    pointers(&complete(), "", &mut all);
    let of = |pointer: String| changes.clone().into_iter().map(move |change| (pointer.clone(), change));
    all.into_iter().flat_map(of).collect()
}

/// Where a field is in a document, as JSON pointers.
pub(super) fn pointers_of(document: &Value, placed: &Placed) -> Vec<String> {
    let mut all = Vec::new();
    pointers(document, "", &mut all);
    let is_at = |pointer: &String| {
        let names = pointer.split('/').skip(1).filter(|step| !is_index(step));
        let steps = placed.path.split('.').map(|step| step.trim_end_matches("[]"));
        let is_item = pointer.rsplit('/').next().is_some_and(is_index);
        !is_item && names.count() == steps.clone().count() && {
            let names = pointer.split('/').skip(1).filter(|step| !is_index(step));
            names.zip(steps).all(|(name, step)| step == "NAME" || step == name)
        }
    };
    let of_its_type = |pointer: &String| {
        let Some(types) = placed.types else { return true };
        let resource = pointer.split('/').take(3).collect::<Vec<_>>().join("/");
        let found = document.pointer(&format!("{resource}/type")).and_then(Value::as_str);
        found.is_some_and(|found| types.contains(&found))
    };
    all.into_iter().filter(|pointer| is_at(pointer) && of_its_type(pointer)).collect()
}

/// What a document says, without its digest.
fn meaning(loaded: &crate::Loaded) -> Value {
    let mut shown = crate::redacted_json(&loaded.snapshot);
    shown["digest"] = Value::Null;
    shown
}

/// What came of changed documents.
#[derive(Debug, Default)]
struct Tally {
    accepted: usize,
    refused: usize,
    /// By the JSON Schema.
    invalid: usize,
    /// Accepted, and they say what the document said before.
    alike: Vec<String>,
}

/// Changes that are equal in meaning (a default that is left out or written out, another word for the same) are listed in
/// `equal.txt`. With this variable the test writes the list.
const BLESS: &str = "AGW_TEST_BLESS";

/// Each change of each node is accepted and means something else, or is refused with a path; and what loads is valid by
/// the JSON Schema, while a field too many, one that is unknown and a value of a kind that no field has are not.
#[test]
fn ten_thousand_changed_documents_are_refused_with_a_path_or_mean_something_else() {
    let changes = every_change();
    let half = changes.len() / 2;
    let (left, right) = changes.split_at(half);
    let (left, right) = std::thread::scope(|scope| {
        let left = scope.spawn(|| tally(left));
        let right = tally(right);
        (left.join().expect("its assertions hold"), right)
    });
    let (accepted, refused) = (left.accepted + right.accepted, left.refused + right.refused);
    let invalid = left.invalid + right.invalid;
    assert!(accepted + refused >= 10_000, "{accepted} accepted, {refused} refused");
    assert!(accepted > 1000 && invalid > 5000, "{accepted} accepted, {refused} refused, {invalid} invalid");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/equal.txt");
    let found: String = left.alike.iter().chain(&right.alike).map(|line| format!("{line}\n")).collect();
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &found).expect("the list is written");
    }
    let listed = std::fs::read_to_string(&path).expect("the list");
    let ignored: Vec<_> = found.lines().filter(|line| !listed.lines().any(|known| known == *line)).collect();
    assert!(ignored.is_empty(), "accepted, and nothing changes: {ignored:#?}");
    let outdated: Vec<_> = listed.lines().filter(|line| !found.lines().any(|known| known == *line)).collect();
    assert!(outdated.is_empty(), "listed as equal in meaning, and not: {outdated:#?}");
}

fn tally(changes: &[(String, Change)]) -> Tally {
    let (document, files, validator) = (complete(), usual_files(), Validator::new());
    let loaded = load_with(&document.to_string(), &files).expect("it loads");
    let before = meaning(&loaded);
    let mut tally = Tally::default();
    for (pointer, change) in changes {
        let changed = change.apply(&document, pointer);
        let text = changed.as_ref().map(Value::to_string).or_else(|| change.twice(&document, pointer));
        let Some(text) = text else { continue };
        let loaded = load_with(&text, &files);
        if let Some(changed) = &changed {
            let valid = validator.check(changed);
            assert!(
                valid.is_ok() || loaded.is_err(),
                "{change:?} at {pointer} loads and is not valid: {valid:?}"
            );
            assert!(valid.is_err() || !is_misplaced(change, pointer), "{change:?} at {pointer} is valid");
            tally.invalid += usize::from(valid.is_err());
        }
        match loaded {
            Ok(loaded) => {
                tally.accepted += 1;
                assert!(changed.is_some(), "a field that is written twice is accepted: {pointer}");
                if meaning(&loaded) == before {
                    tally.alike.push(format!("{pointer} {}", kind_of(change)));
                }
            }
            Err(found) => {
                tally.refused += 1;
                check_refusal(&found, pointer);
            }
        }
    }
    tally
}

/// Whether it puts something where the format never has it.
fn is_misplaced(change: &Change, pointer: &str) -> bool {
    match change {
        Change::Unknown => has_known_fields(pointer),
        Change::Rename => pointer.rsplit_once('/').is_some_and(|(parent, _)| has_known_fields(parent)),
        // Nothing is ever a number with a fraction, or nothing at all, but what a plugin reads.
        Change::Replace(value) => (value.is_null() || value.is_f64()) && !pointer.contains("/configuration/"),
        Change::Remove | Change::Twice => false,
    }
}

fn is_index(step: &str) -> bool {
    step.bytes().all(|byte| byte.is_ascii_digit())
}

/// Each problem says where, what and what to do, and one of them is in the part of the document that was changed or
/// in one that refers to it.
fn check_refusal(found: &[crate::Problem], pointer: &str) {
    assert!(!found.is_empty());
    for problem in found {
        assert!(!problem.path.is_empty() && !problem.message.is_empty() && !problem.hint.is_empty());
        assert!(!problem.to_string().contains("hunter"), "{problem}");
        let section = problem.path.split(['[', '.']).next().unwrap_or_default();
        let known = crate::schema::FIELDS.iter().any(|field| field.name == section);
        let of_the_whole =
            problem.path == "document" || problem.path == "zz_unknown" || problem.path.ends_with("_zz");
        assert!(known || of_the_whole || pointer.is_empty(), "{pointer}: {problem}");
    }
}

fn kind_of(change: &Change) -> String {
    match change {
        Change::Replace(value) => value.to_string(),
        other => format!("{other:?}"),
    }
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
