//! Prepared statements of one connection, the one that was not used for longest giving way.

use std::collections::HashMap;
use std::sync::Arc;

use agw_wire::CallError;
use agw_wire::sql::CellType;
use tokio_postgres::{Client, Statement};

use super::decode::Decoder;
use crate::error::invalid;

/// A statement that the server knows.
pub(crate) struct Prepared {
    pub(crate) text: Arc<str>,
    /// The text that runs: the same, or one around it.
    pub(crate) runs: Arc<str>,
    pub(crate) statement: Statement,
    pub(crate) columns: Vec<Column>,
    /// What it does may stay with the session: its connection serves nobody else afterwards.
    pub(crate) leaves_traces: bool,
}

/// A column of its result.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) decoder: Decoder,
    pub(crate) engine_type: String,
}

/// The cache. What falls out of it is closed on the server once nobody uses it.
pub(crate) struct Statements {
    max: usize,
    known: HashMap<Arc<str>, (Arc<Prepared>, u64)>,
    uses: u64,
}

/// Why there is no prepared statement.
pub(crate) enum NotPrepared {
    Server(tokio_postgres::Error),
    Call(CallError),
}

/// Words of functions and schemas whose effects outlive a transaction. A hint and no proof: what holds is that settings
/// made in a transaction that is rolled back go with it, which every read-only one is.
const TRACES: [&str; 5] = ["set_config", "advisory", "_to_xml", "pg_temp", "u&\""];

// === impl Statements ===

impl Statements {
    pub(crate) fn new(max: usize) -> Self {
        Statements { max, known: HashMap::new(), uses: 0 }
    }

    pub(crate) fn get(&mut self, text: &str) -> Option<Arc<Prepared>> {
        self.uses += 1;
        let (prepared, used) = self.known.get_mut(text)?;
        *used = self.uses;
        Some(Arc::clone(prepared))
    }

    pub(crate) fn keep(&mut self, prepared: &Arc<Prepared>) {
        if self.max == 0 {
            return;
        }
        if self.known.len() >= self.max {
            let oldest = self.known.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(text) = oldest.map(|(text, _)| Arc::clone(text)) {
                self.known.remove(&text);
            }
        }
        self.known.insert(Arc::clone(&prepared.text), (Arc::clone(prepared), self.uses));
    }

    /// The server may have lost or changed any of them.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }
}

// === impl Prepared ===

impl Prepared {
    /// Prepares a statement.
    ///
    /// A result's columns come in the binary form, and some types have none that is read here. Where the statement only
    /// reads, it is prepared once more as the part of another that casts these columns to text.
    ///
    /// # Cancel safety
    /// Dropped, it leaves the connection in mid-protocol, and the driver reads on.
    pub(crate) async fn new(client: &Client, text: &Arc<str>, reads: bool) -> Result<Self, NotPrepared> {
        let statement = client.prepare(text).await.map_err(NotPrepared::Server)?;
        let unread = statement.columns().iter().find(|column| Decoder::of(column.type_()).is_none());
        let Some(unread) = unread else {
            return Ok(Prepared::of(text, Arc::clone(text), &statement, statement.clone()));
        };
        if reads {
            let runs = casting(text, &statement);
            if let Ok(cast) = client.prepare(&runs).await {
                return Ok(Prepared::of(text, runs.into(), &statement, cast));
            }
        }
        let (name, ty) = (unread.name(), unread.type_().name());
        let message = format!("column {name} is of the type {ty}, which has no form here: cast it to text");
        Err(NotPrepared::Call(invalid(message)))
    }

    /// `described` has the columns' own types, `statement` is what runs.
    fn of(text: &Arc<str>, runs: Arc<str>, described: &Statement, statement: Statement) -> Self {
        let columns = described.columns().iter().map(|column| Column {
            name: column.name().to_owned(),
            decoder: Decoder::of(column.type_()).unwrap_or(Decoder::Text),
            engine_type: column.type_().name().to_owned(),
        });
        let lower = text.to_ascii_lowercase();
        let leaves_traces = TRACES.iter().any(|trace| lower.contains(trace));
        Prepared { text: Arc::clone(text), runs, columns: columns.collect(), statement, leaves_traces }
    }
}

impl Column {
    pub(crate) fn cell_type(&self) -> CellType {
        self.decoder.cell_type()
    }
}

/// The gate has seen that the text's parentheses match and that it is one statement, so it cannot leave these.
fn casting(text: &str, statement: &Statement) -> String {
    let columns = statement.columns().iter().enumerate();
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (at, column) in columns {
        names.push(format!("c{at}"));
        let cast = if Decoder::of(column.type_()).is_none() { "::text" } else { "" };
        values.push(format!("agw.c{at}{cast}"));
    }
    let inner = text.trim_end().trim_end_matches(|end: char| end == ';' || end.is_whitespace());
    format!("SELECT {} FROM (\n{inner}\n) AS agw ({})", values.join(", "), names.join(", "))
}
