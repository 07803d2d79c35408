//! Typed reading of a document's tree that goes on after an error.
//!
//! Every method reports what is wrong and then gives a stand-in (a default, an empty string), so that one pass finds
//! every problem. Stand-ins never leave the crate: a document with a problem yields no snapshot.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use crate::field::Field;
use crate::problem::{Report, did_you_mean, quoted, quoted_path};
use crate::tree::{Entry, Node, Value};
use crate::units::{Bounds, Unit};
use crate::{Files, Origin};

/// What reading needs beside the tree.
pub(crate) struct Context<'a> {
    pub(crate) report: Report,
    pub(crate) files: &'a dyn Files,
    pub(crate) origin: &'a Origin,
    /// How many regular expressions have been seen.
    pub(crate) patterns: Cell<usize>,
}

/// A value and its place.
#[derive(Clone)]
pub(crate) struct Item<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) path: String,
    pub(crate) node: &'a Node,
    /// Of the key, where there is one: that is where an author looks.
    line: Option<u32>,
}

/// A mapping whose fields are known.
pub(crate) struct Fields<'a> {
    pub(crate) item: Item<'a>,
    entries: &'a [Entry],
}

impl<'a> Item<'a> {
    pub(crate) fn root(context: &'a Context<'a>, node: &'a Node) -> Self {
        Item { context, path: String::new(), node, line: node.line }
    }

    fn child(&self, path: String, node: &'a Node, line: Option<u32>) -> Item<'a> {
        Item { context: self.context, path, node, line }
    }

    pub(crate) fn problem(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.context.report.problem(&self.path, self.line, message.into(), hint.into());
    }

    pub(crate) fn warning(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.context.report.warning(&self.path, self.line, message.into(), hint.into());
    }

    /// `Did you mean "echo"?`, or else the names there are.
    pub(crate) fn suggest<'n>(&self, word: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
        if self.context.report.is_full() { String::new() } else { did_you_mean(word, names) }
    }

    fn wrong_kind(&self, expected: &str, hint: impl Into<String>) {
        self.problem(format!("expected {expected}, found {}", self.node.value.kind()), hint);
    }

    /// A string that is not empty.
    pub(crate) fn text(&self) -> Option<&'a str> {
        let text = self.text_or_empty()?;
        if text.is_empty() {
            self.problem("the string is empty", "Write a value, or remove the field if it is optional");
            return None;
        }
        Some(text)
    }

    /// Any string.
    pub(crate) fn text_or_empty(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
                self.wrong_kind("a string", "Put the value in quotes");
                None
            }
            _ => {
                self.wrong_kind("a string", "Write a string, or remove the field if it is optional");
                None
            }
        }
    }

    /// A field's text, if this is a mapping with such a field; nothing is reported.
    pub(crate) fn peek(&self, field: &str) -> Option<&'a str> {
        let Value::Mapping(entries) = &self.node.value else { return None };
        match &entries.iter().find(|entry| entry.key == field)?.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of the file that this names; `what` should be in it.
    pub(crate) fn text_file(&self, file: &str, what: &str) -> Option<String> {
        let path = self.context.resolve(file);
        let shown = quoted_path(&path);
        match self.context.files.read(&path).map(String::from_utf8) {
            Ok(Ok(text)) => Some(text),
            Ok(Err(_)) => {
                self.problem(
                    format!("the file {shown} is not UTF-8 text"),
                    format!("Name a file with {what}"),
                );
                None
            }
            Err(reason) => {
                let hint = "Create it, or correct the path; it is relative to the document's folder";
                self.problem(format!("the file {shown} cannot be read: {reason}"), hint);
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if chosen.is_none() {
            let hint = self.suggest(text, choices.iter().map(|(word, _)| *word));
            self.problem(format!("{} is not known here", quoted(text)), hint);
        }
        chosen
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.node.value {
            Value::Boolean(value) => Some(value),
            _ => {
                self.wrong_kind("a boolean", "Write true or false");
                None
            }
        }
    }

    /// A number in its bounds, or their default.
    pub(crate) fn number(&self, bounds: Bounds) -> u64 {
        let value = match (&self.node.value, bounds.unit) {
            (Value::Integer(value), Unit::Count | Unit::Bytes) => u64::try_from(*value).ok(),
            (Value::Text(text), Unit::Bytes | Unit::Time) => match bounds.unit.parse(text) {
                Some(value) => Some(value),
                None => {
                    let kind = if bounds.unit == Unit::Time { "a duration" } else { "a size" };
                    self.problem(format!("{} is not {kind}", quoted(text)), bounds.hint());
                    return bounds.default;
                }
            },
            (_, unit) => {
                let expected = match unit {
                    Unit::Count => "an integer",
                    Unit::Bytes => "a size",
                    Unit::Time => "a duration",
                };
                self.wrong_kind(expected, bounds.hint());
                return bounds.default;
            }
        };
        match value {
            Some(value) if (bounds.min..=bounds.max).contains(&value) => value,
            _ => {
                self.problem("the value is out of bounds", bounds.hint());
                bounds.default
            }
        }
    }

    /// The items of a list.
    pub(crate) fn list(&self) -> Vec<Item<'a>> {
        let Value::List(items) = &self.node.value else {
            self.wrong_kind("a list", "Write [ ... ], or one item per line, each after a dash");
            return Vec::new();
        };
        let child =
            |(index, node): (usize, &'a Node)| self.child(format!("{}[{index}]", self.path), node, node.line);
        items.iter().enumerate().map(child).collect()
    }

    /// The items of a list that has one or more, but no more than so many: what is beyond is not looked at. `what`
    /// they are, such as `methods`, and what to do instead, as the end of a sentence.
    pub(crate) fn list_of(&self, what: &str, max: usize, instead: &str) -> Vec<Item<'a>> {
        let mut items = self.list();
        let is_list = matches!(self.node.value, Value::List(_));
        if is_list && (items.is_empty() || items.len() > max) {
            let message = format!("the number of {what} is out of bounds");
            self.problem(message, format!("Write 1 to {max} of them{instead}"));
        }
        items.truncate(max);
        items
    }

    /// The non-empty strings of a list.
    pub(crate) fn texts(&self) -> Vec<(Item<'a>, &'a str)> {
        self.list().into_iter().filter_map(|item| item.text().map(|text| (item, text))).collect()
    }

    /// The entries of a mapping whose keys the document chooses. A second entry of the same key is reported.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Item<'a>)> {
        let Value::Mapping(entries) = &self.node.value else {
            self.wrong_kind("a mapping", "Write { name: value }, or one field per line");
            return Vec::new();
        };
        let mut found: Vec<(&'a str, Item<'a>)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for entry in entries {
            let item = self.child(join(&self.path, &entry.key), &entry.node, entry.line.or(entry.node.line));
            if seen.insert(entry.key.as_str()) {
                found.push((&entry.key, item));
            } else {
                item.problem("the field is written twice", "Remove one of the two");
            }
        }
        found
    }

    /// The fields of a mapping that has these and no others.
    pub(crate) fn fields(&self, known: &[Field]) -> Option<Fields<'a>> {
        let names = known.iter().map(|field| field.name);
        let Value::Mapping(entries) = &self.node.value else {
            let shown = names.take(4).collect::<Vec<_>>().join(", ");
            self.wrong_kind("a mapping", format!("Write a mapping with fields such as {shown}"));
            return None;
        };
        for (key, item) in self.entries() {
            if !names.clone().any(|name| name == key) {
                item.problem("the field is not known here", item.suggest(key, names.clone()));
            }
        }
        Some(Fields { item: self.clone(), entries })
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn optional(&self, name: &'static str) -> Option<Item<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        Some(self.item.child(join(&self.item.path, name), &entry.node, entry.line.or(entry.node.line)))
    }

    /// An optional mapping; without it, or with something else in its place, each of its fields has its default.
    pub(crate) fn group(&self, name: &'static str, known: &[Field]) -> Fields<'a> {
        let item = self
            .optional(name)
            .unwrap_or_else(|| Item { path: join(&self.item.path, name), ..self.item.clone() });
        let found = self.optional(name).and_then(|item| item.fields(known));
        found.unwrap_or(Fields { item, entries: &[] })
    }

    /// The field, or a problem at the mapping.
    pub(crate) fn required(&self, name: &'static str, example: &str) -> Option<Item<'a>> {
        let found = self.optional(name);
        if found.is_none() {
            self.item.problem(format!("the field \"{name}\" is missing"), format!("Write {name}: {example}"));
        }
        found
    }

    /// The one that is there of several fields that exclude each other.
    pub(crate) fn one_of(&self, names: &[&'static str], example: &str) -> Option<(&'static str, Item<'a>)> {
        let mut found: Vec<_> = names.iter().filter_map(|name| Some((*name, self.optional(name)?))).collect();
        match found.len() {
            1 => found.pop(),
            0 => {
                let names = joined(names, "or");
                self.item
                    .problem(format!("one of the fields {names} is missing"), format!("Write {example}"));
                None
            }
            _ => {
                let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
                let names = joined(&names, "and");
                self.item.problem(format!("the fields {names} exclude each other"), "Keep one of them");
                None
            }
        }
    }

    fn number(&self, name: &'static str, bounds: Bounds) -> u64 {
        self.optional(name).map_or(bounds.default, |item| item.number(bounds))
    }

    pub(crate) fn u64(&self, name: &'static str, bounds: Bounds) -> u64 {
        self.number(name, bounds)
    }

    /// For bounds that fit, as all of the schema's do.
    pub(crate) fn u32(&self, name: &'static str, bounds: Bounds) -> u32 {
        u32::try_from(self.number(name, bounds)).unwrap_or(u32::MAX)
    }

    /// For bounds that fit, as all of the schema's do.
    pub(crate) fn usize(&self, name: &'static str, bounds: Bounds) -> usize {
        usize::try_from(self.number(name, bounds)).unwrap_or(usize::MAX)
    }

    pub(crate) fn duration(&self, name: &'static str, bounds: Bounds) -> Duration {
        Duration::from_millis(self.number(name, bounds))
    }

    pub(crate) fn boolean(&self, name: &'static str, default: bool) -> bool {
        self.optional(name).and_then(|item| item.boolean()).unwrap_or(default)
    }

    /// The items of an optional list.
    pub(crate) fn list(&self, name: &'static str) -> Vec<Item<'a>> {
        self.optional(name).map(|item| item.list()).unwrap_or_default()
    }
}

impl Context<'_> {
    /// A path of the document, relative to its folder.
    pub(crate) fn resolve(&self, path: &str) -> std::path::PathBuf {
        self.origin.folder.join(Path::new(path))
    }
}

/// `prefix, path or regex`.
fn joined(names: &[&str], word: &str) -> String {
    match names {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [names @ .., last] => format!("{} {word} {last}", names.join(", ")),
    }
}

/// `routes[2].match`, or `scripts["a b"]` for a key that is no plain word.
fn join(path: &str, key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match (path.is_empty(), !key.is_empty() && key.len() <= 64 && key.bytes().all(plain)) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{}]", quoted(key)),
    }
}
