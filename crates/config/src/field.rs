//! What a field of the document is: its name, what it holds and what it means.
//!
//! The lists of fields stand beside the code that reads them, and the reader admits what they name and nothing else.
//! They are also what `agw explain` prints, what the JSON Schema says and what the tables of `docs/configuration.md`
//! are made of.

use crate::units::{Bounds, Unit};

/// A field of a mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// In Markdown, within one paragraph and without its last full stop.
    pub(crate) meaning: &'static str,
    pub(crate) presence: Presence,
    /// In words; a number has its own.
    bounds: &'static str,
}

/// Whether a field has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    /// Exactly one of the fields of its mapping that are marked so has to be there.
    OneOf,
    /// Without it this holds, in Markdown; nothing to say if it is empty.
    Optional(&'static str),
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A string that is not empty.
    Text,
    /// Any string.
    AnyText,
    /// A string in the form of a name.
    Name,
    Boolean,
    Number(Bounds),
    /// One of these integers.
    Integers(&'static [u16]),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A secret, a certificate or a key, by reference.
    Reference,
    /// A mapping with these fields.
    Group(&'static [Field]),
    /// A list of at least and at most so many.
    List(&'static Kind, usize, usize),
    /// A mapping whose keys the document chooses.
    Map(&'static Kind),
    /// One or the other.
    Either(&'static Kind, &'static Kind),
    /// A mapping whose fields depend on its field `type`: each list has that, with the words that choose the list.
    Typed(&'static [&'static [Field]]),
    /// A mapping of any content.
    Free,
}

/// As many as there is room for in a document.
pub(crate) const ANY: usize = usize::MAX;

impl Field {
    pub(crate) const fn new(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        let presence = match kind {
            Kind::Boolean => Presence::Optional("`false`"),
            Kind::Group(_) | Kind::Number(_) => Presence::Optional(""),
            _ => Presence::Optional("none"),
        };
        Field { name, kind, meaning, presence, bounds: "" }
    }

    pub(crate) const fn text(name: &'static str, meaning: &'static str) -> Self {
        Field::new(name, Kind::Text, meaning)
    }

    pub(crate) const fn boolean(name: &'static str, meaning: &'static str) -> Self {
        Field::new(name, Kind::Boolean, meaning)
    }

    pub(crate) const fn number(name: &'static str, bounds: Bounds, meaning: &'static str) -> Self {
        Field::new(name, Kind::Number(bounds), meaning)
    }

    pub(crate) const fn choice(
        name: &'static str,
        words: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Field::new(name, Kind::Choice(words), meaning)
    }

    pub(crate) const fn reference(name: &'static str, meaning: &'static str) -> Self {
        Field::new(name, Kind::Reference, meaning)
    }

    pub(crate) const fn group(name: &'static str, fields: &'static [Field], meaning: &'static str) -> Self {
        Field::new(name, Kind::Group(fields), meaning)
    }

    /// It has to be there, if its mapping is.
    pub(crate) const fn required(self) -> Self {
        Field { presence: Presence::Required, ..self }
    }

    /// See [`Presence::OneOf`].
    pub(crate) const fn one_of(self) -> Self {
        Field { presence: Presence::OneOf, ..self }
    }

    /// What holds without it.
    pub(crate) const fn or(self, default: &'static str) -> Self {
        Field { presence: Presence::Optional(default), ..self }
    }

    /// Its bounds, if they are not in its kind.
    pub(crate) const fn within(self, bounds: &'static str) -> Self {
        Field { bounds, ..self }
    }

    /// A number's default, unless the field says that something else holds without it.
    pub(crate) fn default_number(&self) -> Option<Bounds> {
        match (self.kind, self.presence) {
            (Kind::Number(bounds), Presence::Optional("")) => Some(bounds),
            _ => None,
        }
    }

    /// What holds without it, in words, and nothing if that is said by its presence.
    pub(crate) fn default(&self) -> String {
        match (self.default_number(), self.presence) {
            (Some(bounds), _) => bounds.unit.show(bounds.default),
            (None, Presence::Optional(default)) => default.to_owned(),
            (None, _) => String::new(),
        }
    }

    /// Its bounds in words; empty if there are none.
    pub(crate) fn bounds(&self) -> String {
        match self.kind {
            _ if !self.bounds.is_empty() => self.bounds.to_owned(),
            Kind::Number(bounds) => bounds.show(),
            Kind::Name => "a name".to_owned(),
            Kind::Integers(numbers) => listed(numbers.iter()),
            Kind::Choice(words) => listed(words.iter().map(|word| format!("`{word}`"))),
            Kind::List(_, least, most) => many(least, most),
            _ => String::new(),
        }
    }
}

impl Kind {
    /// With its article, for people.
    pub(crate) fn show(self) -> String {
        match self {
            Kind::Text | Kind::AnyText | Kind::Name => "a string".to_owned(),
            Kind::Boolean => "true or false".to_owned(),
            Kind::Number(Bounds { unit: Unit::Count, .. }) => "an integer".to_owned(),
            Kind::Number(Bounds { unit: Unit::Bytes, .. }) => "a size, such as 64KiB".to_owned(),
            Kind::Number(Bounds { unit: Unit::Time, .. }) => "a duration, such as 50ms, 10s or 5m".to_owned(),
            Kind::Integers(_) => "an integer".to_owned(),
            Kind::Choice(_) => "a word".to_owned(),
            Kind::Reference => crate::schema::REFERENCE.to_owned(),
            Kind::Group(_) | Kind::Typed(_) | Kind::Free => "a mapping".to_owned(),
            Kind::List(of, ..) => format!("a list, each item {}", of.show()),
            Kind::Map(of) => format!("a mapping of names, each to {}", of.show()),
            Kind::Either(one, other) => format!("{}, or {}", one.show(), other.show()),
        }
    }

    /// The lists of fields that its mapping may have, with what stands between its own path and theirs. Only resources
    /// have several.
    pub(crate) fn children(self) -> Vec<(&'static str, &'static [Field])> {
        let under = |step, kind: &'static Kind| {
            let children = kind.children().into_iter();
            children.map(|(_, fields)| (step, fields)).collect()
        };
        match self {
            Kind::Group(fields) => vec![("", fields)],
            Kind::Typed(lists) => lists.iter().map(|fields| ("", *fields)).collect(),
            Kind::List(of, ..) => under("[]", of),
            Kind::Map(of) => under(".NAME", of),
            Kind::Either(one, other) => one.children().into_iter().chain(other.children()).collect(),
            _ => Vec::new(),
        }
    }
}

/// The words that choose a list of fields, if the list depends on its `type`.
pub(crate) fn types(fields: &[Field]) -> Option<&'static [&'static str]> {
    fields.iter().find_map(|field| match (field.name, field.kind) {
        ("type", Kind::Choice(words)) => Some(words),
        _ => None,
    })
}

fn many(least: usize, most: usize) -> String {
    match (least, most) {
        (0, ANY) => String::new(),
        (1, ANY) => "at least one".to_owned(),
        (0, most) => format!("at most {most} of them"),
        (least, ANY) => format!("at least {least} of them"),
        (least, most) => format!("{least} to {most} of them"),
    }
}

fn listed(words: impl Iterator<Item = impl ToString>) -> String {
    words.map(|word| word.to_string()).collect::<Vec<_>>().join(", ")
}
