//! `statements` of a SQL resource: SQL that grants name.

use agw_sql_statements::{Kind, check};

use crate::field::Field;
use crate::reader::{Fields, Item};
use crate::schema::sql::SqlType;
use crate::snapshot::{SqlCache, SqlStatement};
use crate::tree::Value;
use crate::units::{Bounds, GIB, HOUR, KIB, MIB, MS, SECOND};

pub(super) const FIELDS: &[Field] = &[
    Field::text(
        "text",
        "One statement, with the server's own placeholders: `$1` (Postgres), `?` (MySQL, SQLite), `?1` (SQLite)",
    )
    .required()
    .within("64 KiB"),
    Field::boolean(
        "read_only",
        "It runs where nothing can be written. `false` for a `SELECT` whose functions write",
    )
    .or("whether it reads by its words"),
    Field::boolean(
        "pipelined",
        "Postgres, for statements that read and are always quick: their calls share connections and follow each \
         other without waiting. See below",
    ),
    Field::group(
        "cache",
        CACHE,
        "Results are [kept for a while](#kept-results); `{}` for the values below. Only for a statement that is \
         `read_only`",
    )
    .or("no cache"),
];
const CACHE: &[Field] = &[
    Field::number("ttl", CACHE_TTL, "A result is given again for so long"),
    Field::number(
        "negative_ttl",
        CACHE_NEGATIVE_TTL,
        "One without rows for so long, and no longer than `ttl` unless the document says so; `0s` to keep none",
    ),
    Field::number(
        "stale_while_revalidate",
        CACHE_STALE,
        "For so long after its time a result is still given, at once, while one call in the background fetches a \
         new one",
    ),
    Field::number("entries_max", CACHE_ENTRIES, "Results of one grant"),
    Field::number(
        "bytes_max",
        CACHE_BYTES,
        "Size of all results of one grant, with their parameters and 256 bytes for each; one that is larger by \
         itself is not kept",
    ),
];

pub(crate) const CACHE_TTL: Bounds = Bounds::time(MS, 10 * SECOND, 24 * HOUR);
pub(crate) const CACHE_NEGATIVE_TTL: Bounds = Bounds::time(0, SECOND, 24 * HOUR);
pub(crate) const CACHE_STALE: Bounds = Bounds::time(0, 0, 24 * HOUR);
pub(crate) const CACHE_ENTRIES: Bounds = Bounds::count(1, 10_000, 10_000_000);
pub(crate) const CACHE_BYTES: Bounds = Bounds::bytes(KIB, 16 * MIB, 64 * GIB);

const TEXT_BYTES_MAX: usize = 64 * 1024;

/// A mapping, or the text alone.
pub(super) fn lower(item: &Item<'_>, sql_type: SqlType) -> SqlStatement {
    if let Value::Text(_) = item.node.value {
        let (text, kind) = text(item, sql_type);
        return SqlStatement { text, read_only: reads(kind), pipelined: false, cache: None };
    }
    let nothing = SqlStatement { text: String::new(), read_only: true, pipelined: false, cache: None };
    let Some(fields) = item.fields(FIELDS) else { return nothing };
    let (text, kind) = match fields.required("text", "SELECT ...") {
        Some(item) => text(&item, sql_type),
        None => (String::new(), None),
    };
    let read_only = read_only(&fields, kind);
    let pipelined = pipelined(&fields, sql_type, read_only);
    let cache = cache(&fields, read_only);
    SqlStatement { text, read_only, pipelined, cache }
}

/// The statement and its kind, if it may run at all.
fn text(item: &Item<'_>, sql_type: SqlType) -> (String, Option<Kind>) {
    let Some(text) = item.text() else { return (String::new(), None) };
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the statement has {} bytes", text.len());
        item.problem(message, format!("Write {TEXT_BYTES_MAX} at most"));
        return (String::new(), None);
    }
    match check(text, sql_type.dialect()) {
        Ok(kind) => (text.to_owned(), Some(kind)),
        Err(refusal) => {
            item.problem(refusal.to_string(), "Write one statement that passes; the reference has the rules");
            (String::new(), None)
        }
    }
}

/// A statement with a problem counts as reading, so that it causes no second one in a grant.
fn reads(kind: Option<Kind>) -> bool {
    kind.is_none_or(|kind| kind == Kind::Reads)
}

/// What the document says, or else what the statement's words do.
fn read_only(fields: &Fields<'_>, kind: Option<Kind>) -> bool {
    let reads = reads(kind);
    let Some(item) = fields.optional("read_only") else { return reads };
    let said = item.boolean().unwrap_or(reads);
    if said && !reads {
        item.problem("the statement writes", "Write read_only: false, or remove the field");
    }
    said
}

/// One statement that waits for a lock, or writes, would hold up all behind it.
fn pipelined(fields: &Fields<'_>, sql_type: SqlType, read_only: bool) -> bool {
    let said = fields.boolean("pipelined", false);
    if let (true, Some(item)) = (said, fields.optional("pipelined")) {
        if sql_type != SqlType::Postgres {
            item.problem("only Postgres has pipelined connections", "Remove the field");
        } else if !read_only {
            item.problem("only a statement that reads can be pipelined", "Remove the field");
        }
    }
    said
}

/// Whoever is answered from a cache does not run the statement, so it must have no effects.
fn cache(fields: &Fields<'_>, read_only: bool) -> Option<SqlCache> {
    let item = fields.optional("cache")?;
    if !read_only {
        item.problem("the statement writes, and a result that is kept would hide that", "Remove the field");
    }
    let cache = fields.group("cache", CACHE);
    let ttl = cache.duration("ttl", CACHE_TTL);
    let negative_ttl = cache.duration("negative_ttl", CACHE_NEGATIVE_TTL);
    let said = cache.optional("negative_ttl").is_some();
    Some(SqlCache {
        ttl,
        negative_ttl: if said { negative_ttl } else { negative_ttl.min(ttl) },
        stale_while_revalidate: cache.duration("stale_while_revalidate", CACHE_STALE),
        entries_max: cache.usize("entries_max", CACHE_ENTRIES),
        bytes_max: cache.usize("bytes_max", CACHE_BYTES),
    })
}
