//! What the grants of a resource need of the server's user.

use std::collections::BTreeMap;

use agw_config::SqlResource;
use agw_sql_statements::{Dialect, Kind, Rights, TableName, check, tables};

use super::LISTED_MAX;

/// What all grants need together.
pub(super) struct Need {
    /// By the words of the named statements that are granted.
    pub(super) named: BTreeMap<TableName, Rights>,
    /// What statements of the plugins' own may do: nobody knows with which tables.
    pub(super) ad_hoc: Option<Rights>,
    /// Statements that make or drop things.
    defines: Vec<String>,
}

const EVERYTHING: Rights = Rights { select: true, insert: true, update: true, delete: true };
const READING: Rights = Rights { select: true, insert: false, update: false, delete: false };

impl Need {
    pub(super) fn of(resource: &SqlResource, dialect: Dialect) -> Self {
        let mut need = Need { named: BTreeMap::new(), ad_hoc: None, defines: Vec::new() };
        let granted = |name: &String| resource.grants.values().any(|grant| grant.statements.contains(name));
        for (name, statement) in resource.statements.iter().filter(|(name, _)| granted(name)) {
            if check(&statement.text, dialect) == Ok(Kind::Defines) {
                need.defines.push(name.clone());
                continue;
            }
            for (table, rights) in tables(&statement.text, dialect) {
                let known = need.named.entry(table).or_default();
                *known = known.and(rights);
            }
        }
        for grant in resource.grants.values().filter(|grant| grant.ad_hoc) {
            let rights = if grant.read_only { READING } else { EVERYTHING };
            need.ad_hoc = Some(need.ad_hoc.unwrap_or_default().and(rights));
        }
        need
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.ad_hoc.is_some() {
            notes.push(
                "plugins bring statements of their own (ad_hoc): add rights on the tables that they shall use"
                    .to_owned(),
            );
        }
        if !self.defines.is_empty() {
            notes.push(format!(
                "statements that make or drop things need more than rights on tables: {}",
                self.defines.join(", ")
            ));
        }
        notes
    }

    /// Of what a user has on one table, what nothing needs; `needed` is what named statements do with it.
    pub(super) fn excess(&self, has: Rights, needed: Rights) -> Vec<&'static str> {
        let needed = needed.and(self.ad_hoc.unwrap_or_default());
        let needed = needed.names();
        has.names().into_iter().filter(|name| !needed.contains(name)).collect()
    }
}

/// Of many lines the first, and how many there are besides.
pub(super) fn shortened(mut lines: Vec<String>, what: &str) -> Vec<String> {
    let more = lines.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        lines.truncate(LISTED_MAX);
        lines.push(format!("the like on {more} more {what}"));
    }
    lines
}
