//! Rows on their way into the database: what all contexts of a VM share.

use std::time::Duration;

use agw_sdk::Error;
use agw_sdk::sql::{Results, SqlCall};
use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

use crate::buffer::Buffer;
use crate::config::Config;
use crate::row::{Ended, Row};

/// Of one batch. At the end of the process there are five seconds for everything.
const DEADLINE: Duration = Duration::from_secs(2);

/// One per VM.
pub(crate) struct Journal {
    pub(crate) config: Config,
    buffer: Buffer<Row>,
    /// The batch that is on its way.
    call: Option<SqlCall<Results>>,
    /// Random bits of this VM, which its rows' ids begin with.
    vm: String,
    rows: u64,
    written: Counter,
    dropped: Counter,
    /// The last batch failed: it was logged, and need not be again.
    failing: bool,
    /// The last row found the buffer full.
    full: bool,
}

/// A counter of the host; `None` if the host has none.
struct Counter(Option<u32>);

// === impl Journal ===

impl Journal {
    /// `None` if the host gives no randomness.
    pub(crate) fn new(config: Config) -> Option<Journal> {
        let mut bits = [0; 8];
        getrandom::fill(&mut bits).ok()?;
        Some(Journal {
            buffer: Buffer::new(config.buffer, config.batch),
            call: None,
            vm: format!("{:016x}", u64::from_le_bytes(bits)),
            rows: 0,
            written: Counter::define("audit_written_total"),
            dropped: Counter::define("audit_dropped_total"),
            failing: false,
            full: false,
            config,
        })
    }

    /// Writes a request down. At the buffer's bound it is dropped: what is there already stays.
    pub(crate) fn add(&mut self, request: &dyn Ended) {
        self.rows += 1;
        let row = Row::of(format!("{}-{:x}", self.vm, self.rows), &self.config.user_header, request);
        let full = !self.buffer.push(row);
        if full {
            self.dropped.add(1);
            if !self.full {
                log::warn!("the buffer is full: requests are not written down");
            }
        }
        self.full = full;
        if self.buffer.is_due() && !self.failing {
            self.send();
        }
    }

    /// Sends a batch, unless one is on its way or there is nothing to send. It does not wait.
    pub(crate) fn send(&mut self) {
        match start(&self.config, &self.buffer.send()) {
            None => {}
            Some(Ok(call)) => self.call = Some(call),
            Some(Err(error)) => self.came_to(Err(error)),
        }
    }

    /// The database has answered a call; false if it was not this one's.
    pub(crate) fn answered(&mut self, function_id: u32, size: usize) -> bool {
        let Some(call) = self.call.take_if(|call| call.matches(function_id)) else { return false };
        self.came_to(call.answer(size));
        true
    }

    /// Whether more should go at once.
    pub(crate) fn is_due(&self) -> bool {
        !self.failing && self.buffer.is_due()
    }

    /// Rows that are not in the database.
    pub(crate) fn left(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the last batch could not be written.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing
    }

    fn came_to(&mut self, answer: Result<Results, Error>) {
        match answer {
            Ok(_) => {
                self.failing = false;
                self.written.add(self.buffer.written());
            }
            Err(error) if is_refusal(&error) => {
                let dropped = self.buffer.refused();
                self.dropped.add(dropped);
                if dropped > 0 {
                    log::warn!("a row is dropped: the database refuses it: {error}");
                }
            }
            Err(error) => {
                self.buffer.failed();
                if !self.failing {
                    log::warn!("rows cannot be written, and are kept as long as there is room: {error}");
                }
                self.failing = true;
            }
        }
    }
}

/// Starts a call that writes all of these rows or none; `None` for no rows.
fn start(config: &Config, rows: &[&Row]) -> Option<Result<SqlCall<Results>, Error>> {
    if rows.is_empty() {
        return None;
    }
    Some(agw_sdk::sql(&config.resource).and_then(|sql| {
        let sql = sql.deadline(DEADLINE);
        let mut batch = sql.batch();
        for row in rows {
            batch = batch.then(row.bind(sql.named(&config.statement)));
        }
        batch.start()
    }))
}

/// Whether the rows themselves are to blame: by SQLSTATE a data exception or a violated constraint, or their size.
fn is_refusal(error: &Error) -> bool {
    match error {
        Error::TooLarge(_) => true,
        Error::Server { code, .. } => code.starts_with("22") || code.starts_with("23"),
        _ => false,
    }
}

// === impl Counter ===

impl Counter {
    fn define(name: &str) -> Counter {
        Counter(hostcalls::define_metric(MetricType::Counter, name).ok())
    }

    fn add(&self, count: usize) {
        if let (Some(id), Ok(count)) = (self.0, i64::try_from(count)) {
            // A metric is not worth a row.
            let _ = hostcalls::increment_metric(id, count);
        }
    }
}
