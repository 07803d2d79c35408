//! What one field of the document means, for a terminal.

use std::fmt::Write;

use crate::field::{Field, Kind, Presence, types};
use crate::problem::{did_you_mean, quoted};
use crate::schema;

/// A field in its place.
pub(crate) struct Placed {
    /// `resources[].pool.max`
    pub(crate) path: String,
    /// The types of resources that have it, if it depends on that.
    pub(crate) types: Option<&'static [&'static str]>,
    pub(crate) field: &'static Field,
    /// The mapping that it belongs to.
    pub(crate) siblings: &'static [Field],
}

/// What a field means, what it holds, its default and its bounds; of a mapping also its fields. `path` is as problems
/// have it (`resources[2].pool.max`), with or without the brackets; an empty one is the whole document.
///
/// # Errors
/// A path that leads to no field: a text that says where it ends and what is near.
pub fn explain(path: &str) -> Result<String, String> {
    let steps = steps(path);
    if steps.is_empty() {
        let mut text = String::new();
        list(&mut text, schema::FIELDS);
        return Ok(text);
    }
    let found = lead(&steps);
    if found.is_empty() {
        return Err(nearest(&steps));
    }
    Ok(found.iter().map(show).collect::<Vec<_>>().join("\n"))
}

/// `resources[2].scripts["a b"].file` to `resources`, `scripts`, `NAME`, `file`.
fn steps(path: &str) -> Vec<&str> {
    let mut steps = Vec::new();
    for step in path.split(['.', '[']) {
        match step.strip_suffix(']') {
            Some(index) if index.bytes().all(|byte| byte.is_ascii_digit()) => {}
            Some(_) => steps.push("NAME"),
            None if step.is_empty() => {}
            None => steps.push(step),
        }
    }
    steps
}

/// Every field of the document, in its order; those of resources once for each list that has them.
pub(crate) fn every_field() -> Vec<Placed> {
    let mut found = Vec::new();
    collect("", None, schema::FIELDS, &mut found);
    found
}

/// The recursion is as deep as the fields are nested.
fn collect(
    path: &str,
    of: Option<&'static [&'static str]>,
    fields: &'static [Field],
    found: &mut Vec<Placed>,
) {
    for field in fields {
        let here = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        found.push(Placed { path: here.clone(), types: of, field, siblings: fields });
        for (between, fields) in field.kind.children() {
            collect(&format!("{here}{between}"), types(fields).or(of), fields, found);
        }
    }
}

/// Every field that the steps lead to.
fn lead(steps: &[&str]) -> Vec<Placed> {
    every_field().into_iter().filter(|placed| placed.is_at(steps)).collect()
}

/// The first field that a path leads to.
#[cfg(test)]
pub(crate) fn lead_to(path: &str) -> Option<Placed> {
    lead(&steps(path)).into_iter().next()
}

impl Placed {
    fn is_at(&self, at: &[&str]) -> bool {
        let own = steps(&self.path);
        // `statements.by-token` is explained as `statements`.
        let has_names = matches!(self.field.kind, Kind::Map(_));
        let length = own.len() == at.len() || has_names && own.len() + 1 == at.len();
        length && own.iter().zip(at).all(|(own, step)| *own == "NAME" || own == step)
    }
}

fn show(placed: &Placed) -> String {
    let Placed { path, types: of, field, siblings } = placed;
    let mut text = path.clone();
    if let Some(types) = of {
        let _ = write!(text, " (type {})", types.join(", "));
    }
    let _ = write!(text, "\n  {}\n\n", plain(field.meaning));
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<9} {}", plain(value));
        }
    };
    row("holds", &field.kind.show());
    match field.presence {
        Presence::Required => row("required", "wherever its mapping is"),
        Presence::OneOf => row("required", &format!("exactly one of {}", alternatives(siblings))),
        Presence::Optional(_) => row("default", &field.default()),
    }
    row("bounds", &field.bounds());
    for (_, fields) in field.kind.children() {
        text.push('\n');
        if let Some(types) = crate::field::types(fields) {
            let _ = writeln!(text, "  type {}", types.join(", "));
        }
        list(&mut text, fields);
    }
    text
}

fn list(text: &mut String, fields: &[Field]) {
    let width = fields.iter().map(|field| field.name.len()).max().unwrap_or_default();
    for field in fields {
        let _ = writeln!(text, "  {:<width$}  {}", field.name, plain(field.meaning));
    }
}

/// The names of a mapping's fields of which one has to be there.
pub(crate) fn alternatives(fields: &[Field]) -> String {
    let names = fields.iter().filter(|field| field.presence == Presence::OneOf).map(|field| field.name);
    names.collect::<Vec<_>>().join(", ")
}

/// Without the addresses of links.
fn plain(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, after)) = rest.split_once("](") {
        let (start, words) = before.rsplit_once('[').unwrap_or((before, ""));
        text.push_str(start);
        text.push_str(words);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    text
}

/// Where the steps leave the document, and what is near.
fn nearest(steps: &[&str]) -> String {
    let is_known = |length: &usize| !lead(steps.get(..*length).unwrap_or_default()).is_empty();
    // No field is deeper than this.
    let length = (1..steps.len().min(16)).rev().find(is_known).unwrap_or_default();
    let (before, wrong) = steps.split_at(length);
    let wrong = wrong.first().copied().unwrap_or_default();
    let mut names: Vec<&str> = match before {
        [] => schema::FIELDS.iter().map(|field| field.name).collect(),
        before => lead(before)
            .iter()
            .flat_map(|placed| placed.field.kind.children())
            .flat_map(|(_, fields)| fields.iter().map(|field| field.name))
            .collect(),
    };
    names.sort_unstable();
    names.dedup();
    let place = if before.is_empty() { "the document".to_owned() } else { quoted(&before.join(".")) };
    let hint = did_you_mean(wrong, names.into_iter());
    let mut text = format!("there is no field {} in {place}. {hint}", quoted(wrong));
    let mut elsewhere: Vec<String> = every_field()
        .into_iter()
        .filter(|placed| placed.field.name == wrong)
        .map(|placed| placed.path)
        .collect();
    elsewhere.dedup();
    if !elsewhere.is_empty() {
        let _ = write!(text, "\nFields of that name: {}", elsewhere.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_nowhere_says_what_is_near() {
        assert_eq!(
            explain("resources.pol.max"),
            Err("there is no field \"pol\" in \"resources\". Did you mean \"pool\"?".to_owned())
        );
        let far = explain("acquire_timeout").expect_err("it is no section");
        assert!(
            far.starts_with("there is no field \"acquire_timeout\" in the document. There are: "),
            "{far}"
        );
        assert!(far.ends_with("\nFields of that name: resources[].pool.acquire_timeout"), "{far}");
        assert!(explain("version.x").is_err() && explain("a.b.c.d").is_err());
        assert!(explain(&"x[".repeat(10_000)).is_err());
    }

    #[test]
    fn a_field_has_its_meaning_its_default_and_its_bounds() {
        assert_eq!(
            explain("clusters[2].dns_refresh").expect("it is there"),
            "clusters[].dns_refresh\n  How often names are resolved anew\n\n  \
             holds     a duration, such as 50ms, 10s or 5m\n  default   5s\n  bounds    100ms to 1h\n"
        );
    }

    #[test]
    fn a_field_that_depends_on_the_type_is_explained_for_each() {
        for path in ["resources[].pool.max", "resources.pool.max", "resources[7].pool.max"] {
            let text = explain(path).expect("it is there");
            assert!(text.starts_with("resources[].pool.max (type redis)\n"), "{text}");
            assert!(text.contains("\nresources[].pool.max (type postgres, mysql, sqlite)\n"), "{text}");
            assert!(text.contains("1 to 10000\n") && text.contains("1 to 1000\n"), "{text}");
        }
    }

    #[test]
    fn any_name_stands_for_those_that_the_document_chooses() {
        for path in ["statements.NAME", "statements.by-token", "statements[\"a b\"]"] {
            let text = explain(&format!("resources.{path}.cache.ttl")).expect("it is there");
            assert!(text.starts_with("resources[].statements.NAME.cache.ttl (type postgres, "), "{text}");
        }
        assert_eq!(explain("resources.scripts.x"), explain("resources.scripts"));
    }

    #[test]
    fn a_mapping_lists_its_fields_and_what_of_them_has_to_be_there() {
        let text = explain("routes.match").expect("it is there");
        assert!(text.contains("  required  wherever its mapping is\n"), "{text}");
        assert!(text.contains("\n  methods  Methods in upper case;"), "{text}");
        let text = explain("routes.match.path").expect("it is there");
        assert!(text.contains("  required  exactly one of prefix, path, regex\n"), "{text}");
        let text = explain("").expect("the whole document");
        assert!(text.lines().count() == 7 && text.starts_with("  version    "), "{text}");
    }

    #[test]
    fn links_lose_their_addresses() {
        assert_eq!(
            plain("is [kept for a while](#kept-results); `[x]` stays"),
            "is kept for a while; `[x]` stays"
        );
    }
}
