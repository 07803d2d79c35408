//! A child process whose output is kept, and which never outlives its owner.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::planted;

/// How long after a process' end its last lines may take to be read. Longer only if a child of it holds the pipes.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(5);
/// Lines of output that are kept; older ones are dropped.
const LINES_MAX: usize = 100_000;
/// Lines with a secret that are kept: one is enough to fail.
const LEAKS_MAX: usize = 10;
/// Lines that a failing test shows of each process.
const LINES_SHOWN: usize = 60;

static QUIET: OnceLock<()> = OnceLock::new();

/// Programs that print figures call this: processes then end without showing their output.
/// Tests do not, because the test runner shows it only for the test that failed.
pub fn quiet() {
    let _ = QUIET.set(());
}

/// A running child. Dropping it kills it, stopped or not, and shows the end of its output.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
}

/// The lines of stdout and stderr, in the order of their arrival.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    arrived: Condvar,
    /// What of them has a secret, also of lines that are not kept. Bounded by [`LEAKS_MAX`].
    leaks: Mutex<Vec<String>>,
    /// Pipes that have not ended.
    open: AtomicUsize,
}

// === impl Process ===

impl Process {
    /// Starts `command`; `name` is for messages.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {name}: {command:?}"))?;
        let output = Arc::new(Output::default());
        for pipe in [child.stdout.take().map(boxed), child.stderr.take().map(boxed)].into_iter().flatten() {
            let output = Arc::clone(&output);
            output.open.fetch_add(1, Ordering::Relaxed);
            // Ends with the pipe, hence with the child.
            thread::spawn(move || output.read(pipe));
        }
        Ok(Process { name: name.to_owned(), child, output })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far, stdout and stderr together.
    pub fn output(&self) -> String {
        self.output.lock().join("\n")
    }

    /// Kills it, waits for its last lines, and gives what of all its output has a [secret](planted::find).
    pub fn leaks(&mut self) -> Vec<String> {
        self.kill();
        let end = Instant::now() + LAST_LINES_WITHIN;
        while self.output.open.load(Ordering::Acquire) > 0 && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        self.output.leaks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line that `find` accepts, old ones included, and returns what it made of it.
    ///
    /// # Errors
    /// When the time is over or the process has ended, with the output so far.
    pub fn wait_for_line<T>(&mut self, within: Duration, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let end = Instant::now() + within;
        let mut seen = 0;
        let mut ended_at = None;
        loop {
            let exited = self.child.try_wait()?;
            let everything = exited.is_some() && {
                let ended_at = *ended_at.get_or_insert_with(Instant::now);
                self.output.open.load(Ordering::Acquire) == 0 || ended_at.elapsed() > LAST_LINES_WITHIN
            };
            let mut lines = self.output.lock();
            if let Some(found) = lines.get(seen..).and_then(|new| new.iter().find_map(|line| find(line))) {
                return Ok(found);
            }
            seen = lines.len();
            if let Some(status) = exited.filter(|_| everything) {
                bail!(
                    "{} ended ({status}) before it printed the awaited line:\n{}",
                    self.name,
                    lines.join("\n")
                );
            }
            if Instant::now() >= end {
                bail!("{} did not print the awaited line in {within:?}:\n{}", self.name, lines.join("\n"));
            }
            // Short, because the end of the process does not wake this wait.
            lines = self.output.wait(lines, Duration::from_millis(20));
            drop(lines);
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("process id")?;
        kill_process(pid, signal).with_context(|| format!("send {signal:?} to {}", self.name))
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!("{} did not end in {within:?}", self.name);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL, which also ends a stopped process, and waits for the end.
    pub fn kill(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Memory in use, in bytes: the resident set as the kernel counts it.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if QUIET.get().is_none() {
            let lines = self.output.lock();
            let tail = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
            eprintln!("--- last {} lines of {} ---\n{}", tail.len(), self.name, tail.join("\n"));
        }
    }
}

fn boxed(pipe: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(pipe)
}

// === impl Output ===

impl Output {
    /// A poisoned lock only means that a test failed while it looked at the lines.
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wait<'a>(&self, lines: MutexGuard<'a, Vec<String>>, within: Duration) -> MutexGuard<'a, Vec<String>> {
        self.arrived.wait_timeout(lines, within).unwrap_or_else(|poisoned| poisoned.into_inner()).0
    }

    fn read(&self, pipe: Box<dyn Read + Send>) {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            let mut lines = self.lock();
            if lines.len() >= LINES_MAX {
                lines.drain(..LINES_MAX / 2);
            }
            if let Some(leak) = planted::find(&text) {
                let mut leaks = self.leaks.lock().unwrap_or_else(PoisonError::into_inner);
                if leaks.len() < LEAKS_MAX {
                    leaks.push(leak);
                }
            }
            lines.push(text);
            drop(lines);
            self.arrived.notify_all();
        }
        self.open.fetch_sub(1, Ordering::Release);
        self.arrived.notify_all();
    }
}
