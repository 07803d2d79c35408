//! `grants` of a SQL resource: what one plugin may do with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::field::{ANY, Field, Kind};
use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::grant::{PLUGIN, RATE_FIELD, SHARE, plugin, rate, unique_texts};
use crate::schema::name::{Mentions, check_reference};
use crate::snapshot::{SqlGrant, SqlLimits, SqlStatement};
use crate::units::Bounds;

pub(super) const FIELDS: &[Field] = &[
    PLUGIN,
    Field::new("statements", Kind::List(&Kind::Name, 0, ANY), "Names of statements of this resource"),
    Field::boolean("ad_hoc", "Any statement that passes the [rules](#rules-for-statements)"),
    Field::boolean("read_only", "Nothing may be written: neither by named statements nor by others")
        .or("`false`, with a warning beside `ad_hoc`"),
    Field::number(
        "share",
        SHARE,
        "Per cent of `pool.max`, and of `limits.in_flight`, that the plugin may use at once; one at least of each. [See \
         below](#fairness-between-plugins)",
    ),
    RATE_FIELD,
    Field::number("rows", super::ROWS, "As `limits.rows`, never more than that").or("`limits.rows`"),
    Field::number("response", super::RESPONSE, "As `limits.response`, never more than that")
        .or("`limits.response`"),
];

/// The plugin's name and its grant.
pub(super) fn lower(
    item: &Item<'_>,
    statements: &BTreeMap<String, SqlStatement>,
    limits: &SqlLimits,
    mentions: &Mentions,
) -> Option<(String, SqlGrant)> {
    let fields = item.fields(FIELDS)?;
    let plugin = plugin(&fields, mentions);
    let read_only = fields.boolean("read_only", false);
    let ad_hoc = fields.boolean("ad_hoc", false);
    let listed = listed(&fields, statements, read_only);
    if listed.is_empty() && !ad_hoc {
        item.problem("the grant allows nothing", "Write statements: [NAME, ...] or ad_hoc: true");
    }
    if let (true, Some(item), None) = (ad_hoc, fields.optional("ad_hoc"), fields.optional("read_only")) {
        item.warning(
            "the plugin may change and delete whatever the database user may",
            "Write read_only: true, or read_only: false to say so on purpose",
        );
    }
    let bounded = |name: &'static str, bounds: Bounds, max: usize| {
        fields.optional(name).map_or(max, |_| fields.usize(name, bounds).min(max))
    };
    let grant = SqlGrant {
        statements: listed,
        ad_hoc,
        read_only,
        share_percent: fields.u32("share", SHARE),
        rate: rate(&fields),
        rows_max: bounded("rows", super::ROWS, limits.rows_max),
        response_bytes_max: bounded("response", super::RESPONSE, limits.response_bytes_max),
    };
    Some((plugin?, grant))
}

fn listed(fields: &Fields<'_>, statements: &BTreeMap<String, SqlStatement>, read_only: bool) -> Vec<String> {
    let known: BTreeSet<String> = statements.keys().cloned().collect();
    let listed = fields.optional("statements").map(|item| unique_texts(&item)).unwrap_or_default();
    for (item, name) in &listed {
        check_reference(item, name, "statement of this resource", &known);
        if read_only && statements.get(*name).is_some_and(|statement| !statement.read_only) {
            let message = format!("{} writes, and the grant is read-only", quoted(name));
            item.problem(message, "Remove it, or write read_only: false");
        }
    }
    listed.into_iter().map(|(_, name)| name.to_owned()).collect()
}
