//! A database of SQLite. It has no users: whoever may write the file may write the database.

use std::time::{Duration, Instant};

use agw_config::{SqlResource, Sqlite};
use agw_foreign::{Latency, PROBE_CALLS, ProbeError, ProbeReport};
use rusqlite::{Connection, OpenFlags};

/// Waits so long for locks of other processes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Blocks.
pub(super) fn probe(resource: &SqlResource, at: &Sqlite) -> Result<ProbeReport, ProbeError> {
    let failed = |error: rusqlite::Error| ProbeError::new("the database cannot be used", error);
    let mut report = ProbeReport {
        server: format!("SQLite {}", rusqlite::version()),
        role: "a file".to_owned(),
        user: "nobody: it knows no users".to_owned(),
        latency: Latency::new(Duration::ZERO, Vec::new()),
        tls: None,
        refused: Vec::new(),
        excess: Vec::new(),
        missing: Vec::new(),
        least: Vec::new(),
        notes: Vec::new(),
    };
    let began = Instant::now();
    let connection = match &at.path {
        Some(path) if !path.exists() && at.schema.is_some() => {
            report
                .notes
                .push("there is no file yet; the gateway makes it by the schema when it starts".to_owned());
            return Ok(report);
        }
        Some(path) => {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Connection::open_with_flags(path, flags).map_err(failed)?
        }
        None => {
            let connection = Connection::open_in_memory().map_err(failed)?;
            let schema = at.schema.as_deref().unwrap_or_default();
            connection
                .execute_batch(schema)
                .map_err(|error| ProbeError::new("the schema is refused", error))?;
            connection
        }
    };
    connection.busy_timeout(LOCK_TIMEOUT).map_err(failed)?;
    let connect = began.elapsed();
    let mut calls = Vec::with_capacity(PROBE_CALLS + 1);
    for _ in 0..=PROBE_CALLS {
        let began = Instant::now();
        // The first one reads the file: one that is no database shows here.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(failed)?;
        calls.push(began.elapsed());
    }
    report.latency = Latency::new(connect, calls);
    for (name, statement) in &resource.statements {
        if let Err(error) = connection.prepare(&statement.text) {
            report.refused.push(format!("statements.{name}: {error}"));
        }
    }
    if at.path.is_none() {
        report.role = "in memory".to_owned();
        return Ok(report);
    }
    let read_only = resource.grants.values().all(|grant| grant.read_only);
    if connection.is_readonly("main").map_err(failed)? {
        report.role = "a file that can only be read".to_owned();
        if !read_only {
            report.missing.push("the file cannot be written by this user, and a grant may write".to_owned());
        }
    } else if read_only && !resource.grants.is_empty() {
        report.excess.push("the file can be written by this user, and no grant may write".to_owned());
    }
    Ok(report)
}
