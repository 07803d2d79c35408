//! The access log: one JSON object a line.
//!
//! Workers append finished lines to one bounded buffer and go on; a thread of its own writes them. A slow or stuck
//! output never holds up a worker: at the bound lines are dropped, counted, and the count is logged.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use serde::{Serialize, Serializer};

use crate::limits::{ACCESS_LOG_BYTES_MAX, ACCESS_LOG_GATHER};

/// One line. The names are the log's contract.
#[derive(Debug, Serialize)]
pub(crate) struct Entry<'a> {
    /// RFC 3339, UTC, milliseconds: when the head had arrived.
    #[serde(serialize_with = "rfc3339")]
    pub(crate) time: SystemTime,
    pub(crate) listener: &'a str,
    pub(crate) route: &'a str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// 0 if there was no answer: the client left before, or sent a preface of HTTP/2 in mid-connection.
    pub(crate) status: u16,
    /// Why the answer is what it is.
    pub(crate) details: &'a str,
    /// Envoy's: `DC`, `UF`, `UT`, `UC`, `NR`; empty if nothing went wrong.
    pub(crate) flags: &'a str,
    #[serde(serialize_with = "millis")]
    pub(crate) duration_ms: Duration,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    /// The endpoint that the request was last sent to.
    pub(crate) upstream: Option<SocketAddr>,
    /// How often an endpoint was tried.
    pub(crate) attempts: u32,
    pub(crate) request_id: &'a str,
    /// Of `traceparent`; empty if the head could not be read.
    pub(crate) trace_id: &'a str,
    /// The client; its port is 0 if it came through a trusted proxy.
    pub(crate) source: SocketAddr,
    /// The number of the configuration that the request was served with.
    pub(crate) revision: u64,
}

/// The workers' end.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog {
    shared: Arc<Shared>,
}

/// The writer's thread; closing it writes what is left.
#[derive(Debug)]
pub(crate) struct AccessLogWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Lines>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    dropped: u64,
    closed: bool,
}

/// Starts the writer's thread.
pub(crate) fn spawn(output: impl Write + Send + 'static) -> std::io::Result<(AccessLog, AccessLogWriter)> {
    let shared = Arc::new(Shared::default());
    let writer = Arc::clone(&shared);
    let thread =
        thread::Builder::new().name("access-log".into()).spawn(move || write_lines(&writer, output))?;
    Ok((AccessLog { shared: Arc::clone(&shared) }, AccessLogWriter { shared, thread: Some(thread) }))
}

// === impl AccessLog ===

impl AccessLog {
    /// Appends one line. `scratch` is the caller's, so that no line is formatted under the lock or allocates.
    pub(crate) fn push(&self, entry: &Entry<'_>, scratch: &mut Vec<u8>) {
        scratch.clear();
        // Writing to memory cannot fail, and no field has a map that JSON could not hold.
        if serde_json::to_writer(&mut *scratch, entry).is_err() {
            return;
        }
        scratch.push(b'\n');
        let mut lines = self.shared.lines.lock();
        if lines.bytes.len() + scratch.len() > ACCESS_LOG_BYTES_MAX {
            lines.dropped += 1;
            return;
        }
        let was_empty = lines.bytes.is_empty();
        lines.bytes.extend_from_slice(scratch);
        drop(lines);
        if was_empty {
            self.shared.filled.notify_one();
        }
    }
}

// === impl AccessLogWriter ===

impl AccessLogWriter {
    /// Writes what is left and ends the thread. Blocks for as long as the output does.
    pub(crate) fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.lines.lock().closed = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the access log's writer panicked");
        }
    }
}

impl Drop for AccessLogWriter {
    fn drop(&mut self) {
        self.end();
    }
}

fn write_lines(shared: &Shared, mut output: impl Write) {
    let mut batch = Vec::new();
    let mut broken = false;
    loop {
        let (dropped, closed) = wait_for_lines(shared, &mut batch);
        if dropped > 0 {
            tracing::warn!(dropped, "the access log's output is too slow: lines were dropped");
        }
        if let Err(error) = output.write_all(&batch).and_then(|()| output.flush())
            && !std::mem::replace(&mut broken, true)
        {
            tracing::error!(%error, "the access log cannot be written");
        }
        batch.clear();
        if closed {
            return;
        }
    }
}

/// Waits for the first line, gives others a moment to gather, and swaps the buffers.
fn wait_for_lines(shared: &Shared, batch: &mut Vec<u8>) -> (u64, bool) {
    let mut lines = shared.lines.lock();
    while lines.bytes.is_empty() && !lines.closed {
        shared.filled.wait(&mut lines);
    }
    if !lines.closed {
        drop(lines);
        thread::sleep(ACCESS_LOG_GATHER);
        lines = shared.lines.lock();
    }
    std::mem::swap(batch, &mut lines.bytes);
    (std::mem::take(&mut lines.dropped), lines.closed)
}

// === fields ===

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    serializer.serialize_f64(f64::from(micros) / 1000.0)
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = timestamp(since);
    serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
}

/// `2026-11-22T14:05:06.789Z`
fn timestamp(since_epoch: Duration) -> [u8; 24] {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    put(&mut text[0..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], seconds / 3600 % 24);
    put(&mut text[14..16], seconds / 60 % 60);
    put(&mut text[17..19], seconds % 60);
    put(&mut text[20..23], u64::from(since_epoch.subsec_millis()));
    text
}

fn put(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a day counted from 1970-01-01, after Howard Hinnant's `civil_from_days`.
pub(crate) fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Blocks in its first write until told to go on.
    struct Stuck(mpsc::Receiver<()>, Memory);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn entry(path: &str) -> Entry<'_> {
        Entry {
            time: UNIX_EPOCH + Duration::from_millis(1_795_356_306_789),
            listener: "main",
            route: "r",
            method: "GET",
            path,
            status: 200,
            details: "via_upstream",
            flags: "",
            duration_ms: Duration::from_micros(1250),
            request_bytes: 0,
            response_bytes: 5,
            upstream: None,
            attempts: 1,
            request_id: "id",
            trace_id: "",
            source: ([127, 0, 0, 1], 9).into(),
            revision: 3,
        }
    }

    #[test]
    fn control_characters_in_a_path_cannot_forge_a_line() {
        let memory = Memory::default();
        let (log, writer) = spawn(memory.clone()).unwrap();
        log.push(&entry("/a\r\n{\"status\":200}\u{1b}"), &mut Vec::new());
        writer.close();
        let text = String::from_utf8(memory.0.lock().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().chars().any(char::is_control), "{text}");
    }

    #[test]
    fn a_line_has_the_promised_fields() {
        let memory = Memory::default();
        let (log, writer) = spawn(memory.clone()).unwrap();
        log.push(&entry("/"), &mut Vec::new());
        writer.close();
        let line: serde_json::Value = serde_json::from_slice(&memory.0.lock()).unwrap();
        assert_eq!(line["time"], "2026-11-22T14:05:06.789Z");
        assert_eq!(line["duration_ms"], 1.25);
        assert_eq!(line["source"], "127.0.0.1:9");
        assert_eq!(line["upstream"], serde_json::Value::Null);
    }

    #[test]
    fn a_stuck_output_drops_lines_instead_of_blocking() {
        let (go, wait) = mpsc::channel();
        let memory = Memory::default();
        let (log, writer) = spawn(Stuck(wait, memory.clone())).unwrap();
        let long = "/".repeat(64 << 10);
        let mut scratch = Vec::new();
        // Two full buffers and more: one with the writer, one waiting.
        for _ in 0..3 * ACCESS_LOG_BYTES_MAX / long.len() {
            log.push(&entry(&long), &mut scratch);
        }
        let (waiting, dropped) = {
            let lines = log.shared.lines.lock();
            (lines.bytes.len(), lines.dropped)
        };
        assert!(waiting <= ACCESS_LOG_BYTES_MAX);
        assert!(dropped > 0);
        drop(go);
        writer.close();
        assert!(memory.0.lock().ends_with(b"}\n"));
    }

    #[test]
    fn dates_are_right_at_the_edges() {
        let at = |seconds| String::from_utf8(timestamp(Duration::from_secs(seconds)).to_vec()).unwrap();
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(4_102_444_800), "2100-01-01T00:00:00.000Z");
    }
}
