//! The tables of `docs/configuration.md` are made of the fields that the reader knows.

use std::path::Path;

use crate::explain::{Placed, every_field};
use crate::field::{Kind, Presence};

/// Set to anything, the test below writes the tables instead of comparing them.
const BLESS: &str = "AGW_TEST_BLESS";

/// A chapter's heading, the beginning of its fields' paths, and one of the types that have them.
const CHAPTERS: [(&str, &str, Option<&str>); 8] = [
    ("# Configuration\n", "", None),
    ("## `listeners`\n", "listeners[].", None),
    ("## `routes`\n", "routes[].", None),
    ("## `clusters`\n", "clusters[].", None),
    ("## `plugins`\n", "plugins[].", None),
    ("## `resources`\n", "resources[].", Some("redis")),
    ("## `resources[]` of SQL\n", "resources[].", Some("sqlite")),
    ("## `tracing`\n", "tracing.", None),
];

const HEADER: &str = "| Field | Meaning | Default | Bounds |\n|---|---|---|---|\n";

#[test]
fn the_reference_has_every_field_as_the_reader_knows_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = std::fs::read_to_string(&path).expect("the reference");
    let fields = every_field();
    let mut made = text.clone();
    for (heading, section, of) in CHAPTERS {
        let rows = fields.iter().filter(|placed| match section {
            "" => !placed.path.contains('.'),
            section => {
                placed.path.starts_with(section)
                    && of.is_none_or(|of| placed.types.is_some_and(|types| types.contains(&of)))
            }
        });
        let table = rows.fold(HEADER.to_owned(), |table, placed| table + &row(placed, section, &fields));
        made = with_table(&made, heading, &table);
    }
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &made).expect("the reference is written");
        return;
    }
    for (found, expected) in text.lines().zip(made.lines()) {
        assert_eq!(found, expected, "set {BLESS}=1 and run this test again to write the tables");
    }
    assert_eq!(text.len(), made.len(), "set {BLESS}=1 and run this test again to write the tables");
}

/// Puts a table in the place of the first one behind a heading.
fn with_table(text: &str, heading: &str, table: &str) -> String {
    let (before, chapter) = text.split_once(&format!("\n{heading}")).map_or_else(
        || ("", text.strip_prefix(heading).unwrap_or_else(|| panic!("{heading} is missing"))),
        |(before, chapter)| (before, chapter),
    );
    let start = if before.is_empty() { String::new() } else { format!("{before}\n") };
    let (prose, rest) = chapter.split_once("\n| Field |").unwrap_or_else(|| panic!("{heading} has no table"));
    assert!(!prose.contains("\n## "), "{heading} has no table");
    let (_, rest) = rest.split_once("\n\n").unwrap_or((rest, ""));
    format!("{start}{heading}{prose}\n{table}\n{rest}")
}

fn row(placed: &Placed, section: &str, all: &[Placed]) -> String {
    let field = placed.field;
    let default = match field.presence {
        Presence::Required => format!("**required**{}", condition(placed, all)),
        Presence::OneOf => {
            let others = placed.siblings.iter().filter(|other| other.presence == Presence::OneOf);
            let names: Vec<_> = others.map(|other| format!("`{}`", other.name)).collect();
            format!("**one of** {}{}", names.join(", "), condition(placed, all))
        }
        Presence::Optional(_) => field.default(),
    };
    let name = placed.path.strip_prefix(section).unwrap_or(&placed.path);
    let cells = [&format!("`{name}`"), field.meaning, &default, &field.bounds()];
    let shown = cells.map(|cell| match cell.replace('|', "\\|") {
        empty if empty.is_empty() => " |".to_owned(),
        cell => format!(" {cell} |"),
    });
    format!("|{}\n", shown.concat())
}

/// ` with TLS`, for a field that has to be there if its mapping is, and whose mapping need not be.
fn condition(placed: &Placed, all: &[Placed]) -> String {
    let Some((parent, _)) = placed.path.rsplit_once('.') else { return String::new() };
    let found = all.iter().find(|other| other.path == parent && matches!(other.field.kind, Kind::Group(_)));
    match found.map(|parent| (parent.field.presence, parent.field.name)) {
        Some((Presence::Optional(_) | Presence::OneOf, name)) => format!(" with `{name}`"),
        _ => String::new(),
    }
}

#[test]
fn every_field_has_a_meaning_and_a_default_or_has_to_be_there() {
    for placed in every_field() {
        let (path, field) = (&placed.path, placed.field);
        assert!(!field.meaning.is_empty() && !field.meaning.ends_with('.'), "{path}: {}", field.meaning);
        let says = field.presence != Presence::Optional("") || field.default_number().is_some();
        assert!(says || matches!(field.kind, Kind::Group(_)), "{path} has neither");
        assert!(crate::explain(path).expect("it is there").starts_with(path.as_str()), "{path}");
    }
}

#[test]
fn exactly_one_of_several_fields_is_never_a_single_one() {
    for placed in every_field() {
        let marked = placed.siblings.iter().filter(|field| field.presence == Presence::OneOf).count();
        assert_ne!(marked, 1, "{}", placed.path);
    }
}

/// The words of a choice are in two places: in the list of fields, and where they are read.
#[test]
fn the_reader_knows_the_words_that_the_lists_of_fields_have() {
    let document = super::mutations::complete();
    let mut seen = 0;
    for placed in every_field() {
        let Kind::Choice(words) = placed.field.kind else { continue };
        // The one field that is read twice.
        if placed.path == "resources[].type" {
            continue;
        }
        let pointer = super::mutations::pointers_of(&document, &placed).into_iter().next();
        let pointer = pointer.unwrap_or_else(|| panic!("{} is not in the document", placed.path));
        let mut changed = document.clone();
        *changed.pointer_mut(&pointer).expect("it is there") = "no such word anywhere".into();
        let found = super::load_with(&changed.to_string(), &super::usual_files()).expect_err("it is refused");
        let known: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let expected = format!("There are: {}", known.join(", "));
        assert!(found.iter().any(|problem| problem.hint == expected), "{}: {found:#?}", placed.path);
        seen += 1;
    }
    assert!(seen >= 9, "{seen}");
}

#[test]
fn the_complete_document_has_every_field_there_is() {
    let document = super::mutations::complete();
    let missing: Vec<_> = every_field()
        .into_iter()
        .filter(|placed| super::mutations::pointers_of(&document, placed).is_empty())
        .map(|placed| placed.path)
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}
