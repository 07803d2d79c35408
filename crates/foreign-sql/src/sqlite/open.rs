//! Opening a database, and what every connection is held to.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use agw_config::{SqlResource, Sqlite};
use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::hooks::Action;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::Control;

/// Steps of SQLite's machine between two looks at whether a statement shall stop: well under a millisecond.
const PROGRESS_STEPS: i32 = 1000;
/// Between two tries to get a lock.
const LOCK_INTERVAL: Duration = Duration::from_millis(2);
/// The length of a row, with columns that nobody asks for, that SQLite still reads.
const ROW_BYTES_LEAST: usize = 64 << 20;
/// Opening waits so long for locks of other processes.
const OPEN_LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Databases in memory have names, so that connections can share them; no two resources share one.
static IN_MEMORY: AtomicU64 = AtomicU64::new(0);

/// How to open one database.
pub(crate) struct Opener {
    target: Target,
    schema: Option<String>,
    statements_max: usize,
    value_bytes_max: usize,
    /// Whether the schema has run. For a database in memory also the connection that keeps it.
    first: Mutex<First>,
}

enum Target {
    File(PathBuf),
    /// The name of a database in memory.
    Memory(String),
}

enum First {
    NotYet,
    Done { _keeper: Option<Connection> },
}

impl Opener {
    pub(crate) fn new(resource: &SqlResource, at: &Sqlite) -> Self {
        let target = match &at.path {
            Some(path) => Target::File(path.clone()),
            None => Target::Memory(format!("/agw-{}", IN_MEMORY.fetch_add(1, Ordering::Relaxed))),
        };
        let limits = &resource.limits;
        Opener {
            target,
            schema: at.schema.clone(),
            statements_max: resource.pool.statements_max,
            value_bytes_max: limits.cell_bytes_max.max(limits.request_bytes_max),
            first: Mutex::new(First::NotYet),
        }
    }

    /// Blocks: it is called on a connection's own thread.
    ///
    /// # Errors
    /// A file that is not there or no database, or a schema that the database refuses; the next connection tries anew.
    pub(crate) fn open(&self, control: &Arc<Control>) -> rusqlite::Result<Connection> {
        self.prepare_database()?;
        let mut connection = self.connect(false)?;
        self.restrict(&connection)?;
        connection.set_prepared_statement_cache_capacity(self.statements_max);
        let stopping = Arc::clone(control);
        connection.progress_handler(PROGRESS_STEPS, Some(move || stopping.is_stopped()))?;
        let waiting = Arc::clone(control);
        connection.busy_handler(Some(move |_tries: i32| {
            let waits = waiting.may_wait();
            if waits {
                thread::sleep(LOCK_INTERVAL);
            }
            waits
        }))?;
        let counting = Arc::clone(control);
        connection.update_hook(Some(move |action, _: &str, _: &str, _| {
            if action == Action::SQLITE_INSERT {
                counting.inserted.fetch_add(1, Ordering::Relaxed);
            }
        }))?;
        *control.interrupt.lock() = Some(connection.get_interrupt_handle());
        Ok(connection)
    }

    /// Once: the journal's mode and the schema.
    fn prepare_database(&self) -> rusqlite::Result<()> {
        let mut first = self.first.lock();
        if let First::Done { .. } = *first {
            return Ok(());
        }
        let connection = self.connect(self.schema.is_some())?;
        connection.busy_timeout(OPEN_LOCK_TIMEOUT)?;
        // A file that is no database shows here, in place of the first statement.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        if let Target::File(path) = &self.target {
            // Readers and a writer at the same time. What cannot be changed (a file that is read-only) works as it is.
            let mode: rusqlite::Result<String> =
                connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
            if mode.as_deref() != Ok("wal") {
                let path = path.display().to_string();
                tracing::warn!(
                    path,
                    "the SQLite database is not in WAL mode: readers and writers wait for each other"
                );
            }
        }
        if let Some(schema) = &self.schema {
            connection.execute_batch(schema)?;
        }
        let keeper = matches!(self.target, Target::Memory(_)).then_some(connection);
        *first = First::Done { _keeper: keeper };
        Ok(())
    }

    fn connect(&self, create: bool) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        match &self.target {
            Target::File(path) if create => {
                Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_CREATE)
            }
            Target::File(path) => Connection::open_with_flags(path, flags),
            Target::Memory(name) => {
                let flags = flags | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI;
                Connection::open_with_flags(format!("file:{name}?vfs=memdb"), flags)
            }
        }
    }

    /// What the gate refuses by its words is refused here once more.
    fn restrict(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        let row_bytes = self.value_bytes_max.saturating_mul(4).max(ROW_BYTES_LEAST);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(row_bytes).unwrap_or(i32::MAX))?;
        Ok(())
    }
}
