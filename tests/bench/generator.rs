//! The load generator: one thread, one epoll set, requests built beforehand. It runs in a process of its own, prints
//! when its window opens and closes, and then one line of JSON.
//!
//! Closed loop: a connection asks again at once when it has its answer. Paced: requests become due at a steady pace;
//! each goes out on a connection that is free. One that finds none waits, and its latency counts from when it was due.

pub(crate) mod histogram;
pub(crate) mod pace;
pub(crate) mod plan;
mod response;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use histogram::Histogram;
use pace::Pace;
use plan::{CLOSED, Failures, OPEN, Plan, Report};
use response::Parsed;

/// A request without an answer after this is a time-out. It is what wrk allows.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often time-outs are looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// Due requests that may wait for a free connection; more are counted as unsent.
const WAITING_MAX: usize = 10_000;
const EVENTS_MAX: usize = 512;
const READ_BYTES: usize = 64 * 1024;
/// Marks the timer among the events.
const TIMER: u64 = u64::MAX;

/// Runs a load to its end.
///
/// # Errors
/// When it cannot begin: no connection, no timer. Failures under way are in the report.
pub(crate) fn run(plan: &Plan, output: &mut impl Write) -> Result<()> {
    let mut driver = Driver::connect(plan)?;
    driver.drive(output)?;
    let window = driver.closed_at.zip(driver.opened_at).map(|(closed, opened)| closed - opened);
    let report = Report::new(
        &driver.latencies,
        driver.all_requests,
        window.unwrap_or_default(),
        std::mem::take(&mut driver.failures),
    );
    writeln!(output, "{}", serde_json::to_string(&report)?)?;
    Ok(output.flush()?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Warmup,
    Window,
    /// Nothing more is sent; answers come in.
    Drain,
}

struct Connection {
    stream: TcpStream,
    /// From when the request under way counts.
    since: Option<Instant>,
    /// The part of a response that has come.
    part: Vec<u8>,
    broken: bool,
}

struct Driver<'a> {
    plan: &'a Plan,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    requests: Vec<Vec<u8>>,
    next_request: usize,
    pace: Option<Pace>,
    /// Paced: connections without a request.
    free: VecDeque<usize>,
    /// Paced: when the requests were due that found no free connection.
    waiting: VecDeque<Instant>,
    scratch: Vec<u8>,
    phase: Phase,
    opened_at: Option<Instant>,
    closed_at: Option<Instant>,
    under_way: usize,
    latencies: Histogram,
    all_requests: u64,
    failures: Failures,
}

// === impl Driver ===

impl<'a> Driver<'a> {
    fn connect(plan: &'a Plan) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("make an epoll set")?;
        let mut connections = Vec::with_capacity(plan.connections);
        for index in 0..plan.connections {
            let stream = TcpStream::connect_timeout(&plan.address, CONNECT_WITHIN)
                .with_context(|| format!("connect number {index} to {}", plan.address))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
            connections.push(Connection { stream, since: None, part: Vec::new(), broken: false });
        }
        Ok(Driver {
            plan,
            epoll,
            free: (0..connections.len()).collect(),
            connections,
            requests: requests(plan),
            next_request: 0,
            pace: None,
            waiting: VecDeque::new(),
            scratch: vec![0; READ_BYTES],
            phase: Phase::Warmup,
            opened_at: None,
            closed_at: None,
            under_way: 0,
            latencies: Histogram::new(),
            all_requests: 0,
            failures: Failures::default(),
        })
    }

    fn drive(&mut self, output: &mut impl Write) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let start = Instant::now();
        self.begin(start)?;
        let mut sweep_at = start + SWEEP_EVERY;
        let wait = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for events"),
            }
            let now = Instant::now();
            self.advance(start, now, output)?;
            for event in events.drain(..) {
                match event.data.u64() {
                    TIMER => self.send_due()?,
                    index => self.receive(usize::try_from(index)?),
                }
            }
            if now >= sweep_at {
                self.sweep(now);
                sweep_at = now + SWEEP_EVERY;
            }
            if self.phase == Phase::Drain && self.under_way == 0 && self.waiting.is_empty() {
                return Ok(());
            }
            if self.connections.iter().all(|connection| connection.broken) {
                bail!("no connection is left: {}", self.failures.summary().unwrap_or_default());
            }
        }
    }

    fn begin(&mut self, now: Instant) -> Result<()> {
        if let Some(rate) = self.plan.rate {
            let pace = Pace::new(rate).context("make a timer")?;
            epoll::add(&self.epoll, &pace, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
            self.pace = Some(pace);
            return Ok(());
        }
        for index in 0..self.connections.len() {
            self.send(index, now);
        }
        Ok(())
    }

    fn advance(&mut self, start: Instant, now: Instant, output: &mut impl Write) -> Result<()> {
        let open = start + self.plan.warmup;
        if self.phase == Phase::Warmup && now >= open {
            self.phase = Phase::Window;
            self.opened_at = Some(now);
            say(output, OPEN)?;
        } else if self.phase == Phase::Window && now >= open + self.plan.duration {
            self.phase = Phase::Drain;
            self.closed_at = Some(now);
            // Dropping the timer takes it out of the epoll set.
            self.pace = None;
            say(output, CLOSED)?;
        }
        Ok(())
    }

    /// Sends what has become due since the last tick, or lets it wait for a connection.
    fn send_due(&mut self) -> Result<()> {
        let Some(pace) = &self.pace else { return Ok(()) };
        let (due, interval) = (pace.ticks()?, pace.interval());
        let now = Instant::now();
        for tick in 0..due {
            if let Some(index) = self.free.pop_front() {
                self.send(index, now);
            } else if self.waiting.len() < WAITING_MAX {
                let later = u32::try_from(due - 1 - tick).unwrap_or(u32::MAX);
                self.waiting.push_back(now.checked_sub(interval * later).unwrap_or(now));
            } else {
                self.failures.unsent += 1;
                self.failures.note(|| format!("{WAITING_MAX} requests wait for a free connection"));
            }
        }
        Ok(())
    }

    /// Sends the next request; its latency counts from `since`.
    fn send(&mut self, index: usize, since: Instant) {
        let request = &self.requests[self.next_request];
        self.next_request = (self.next_request + 1) % self.requests.len();
        let connection = &mut self.connections[index];
        // The socket's buffer is empty between two requests, so it takes one whole or the connection is broken.
        match (&connection.stream).write(request) {
            Ok(written) if written == request.len() => {
                connection.since = Some(since);
                self.under_way += 1;
            }
            Ok(written) => self.give_up(index, || format!("only {written} bytes of a request could be sent")),
            Err(error) => self.give_up(index, || format!("sending: {error}")),
        }
    }

    fn receive(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index).filter(|connection| !connection.broken) else {
            return;
        };
        let read = match connection.stream.read(&mut self.scratch) {
            Ok(0) => return self.give_up(index, || "the server closed the connection".to_owned()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => return self.give_up(index, || format!("receiving: {error}")),
        };
        let arrived = &self.scratch[..read];
        let parsed = if connection.part.is_empty() {
            response::parse(arrived)
        } else {
            connection.part.extend_from_slice(arrived);
            response::parse(&connection.part)
        };
        match parsed {
            Parsed::Incomplete if connection.part.is_empty() => connection.part.extend_from_slice(arrived),
            Parsed::Incomplete => {}
            Parsed::Broken(what) => self.give_up(index, || what.to_owned()),
            Parsed::Whole { status } => self.answered(index, status),
        }
    }

    fn answered(&mut self, index: usize, status: u16) {
        let connection = &mut self.connections[index];
        connection.part.clear();
        let Some(since) = connection.since.take() else {
            return self.give_up(index, || "an answer to no request".to_owned());
        };
        self.under_way -= 1;
        self.all_requests += 1;
        let now = Instant::now();
        if self.phase == Phase::Window {
            self.latencies.record(now - since);
        }
        if !(200..300).contains(&status) {
            self.failures.statuses += 1;
            self.failures.note(|| format!("status {status}"));
        }
        if self.plan.rate.is_none() {
            if self.phase != Phase::Drain {
                self.send(index, now);
            }
        } else if let Some(due) = self.waiting.pop_front() {
            self.send(index, due);
        } else {
            self.free.push_back(index);
        }
    }

    /// Takes requests without an answer as lost, and their connections with them.
    fn sweep(&mut self, now: Instant) {
        for index in 0..self.connections.len() {
            let late = |since: Instant| now.saturating_duration_since(since) > ANSWER_WITHIN;
            if self.connections[index].since.is_some_and(late) {
                self.failures.timeouts += 1;
                self.failures.note(|| format!("no answer in {ANSWER_WITHIN:?}"));
                self.retire(index);
            }
        }
    }

    fn give_up(&mut self, index: usize, what: impl FnOnce() -> String) {
        self.failures.sockets += 1;
        self.failures.note(what);
        self.retire(index);
    }

    /// The round is invalid already, so a lost connection is not replaced.
    fn retire(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.broken = true;
        if connection.since.take().is_some() {
            self.under_way -= 1;
        }
        // It may be gone from the set by itself.
        let _ = epoll::delete(&self.epoll, &connection.stream);
        self.free.retain(|free| *free != index);
        if self.connections.iter().all(|connection| connection.broken) {
            self.waiting.clear();
        }
    }
}

fn say(output: &mut impl Write, line: &str) -> Result<()> {
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}

/// One request per key.
fn requests(plan: &Plan) -> Vec<Vec<u8>> {
    let request = |key| {
        let Plan { path, address, .. } = plan;
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nx-api-key: k{key}\r\n\r\n").into_bytes()
    };
    (0..plan.keys.max(1)).map(request).collect()
}

#[cfg(test)]
mod tests;
