//! The real binary, run with a configuration of the test's.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::cargo;
use crate::http_client::{Client, Reply};
use crate::metrics::Metrics;
use crate::planted;
use crate::process::Process;

const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long each admin page may take that is searched at the end.
const LAST_PAGES_WITHIN: Duration = Duration::from_secs(5);

/// The binary: `AGW_TEST_BIN`, or built from the workspace, once per process.
///
/// # Errors
/// When the build fails.
pub fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY.get_or_init(|| {
        if let Some(given) = env::var_os("AGW_TEST_BIN") {
            return Ok(PathBuf::from(given));
        }
        let profile = env::var("AGW_TEST_PROFILE").unwrap_or_else(|_| "dev".to_owned());
        let args = match profile.as_str() {
            // As `cargo test --workspace` has just built it, but for the program itself: with the features that the
            // workspace's packages and their tests want together.
            "dev" => &["--workspace", "--bins", "--tests"][..],
            profile => &["--package", "agw", "--profile", profile],
        };
        cargo::build("agw", args, "").map_err(|error| format!("{error:#}"))
    });
    built.clone().map_err(anyhow::Error::msg)
}

/// Runs the binary to its end, as for `agw check`.
///
/// # Errors
/// When it cannot be started, or prints a secret of the test.
pub fn output(folder: &Path, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary()?);
    let output = command.current_dir(folder).args(args).output().with_context(|| format!("{command:?}"))?;
    for printed in [&output.stdout, &output.stderr] {
        if let Some(leak) = planted::find(&String::from_utf8_lossy(printed)) {
            bail!("{command:?} prints a secret: {leak:?}");
        }
    }
    Ok(output)
}

/// A running gateway. Dropping it kills it, shows the end of its log, and panics if it has told a
/// [secret](crate::planted) in its output or on an admin page.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    folder: TempDir,
    listeners: BTreeMap<String, SocketAddr>,
    admin: SocketAddr,
    /// Why its words are not searched for secrets when it ends.
    unsearched: Option<&'static str>,
}

// === impl Gateway ===

impl Gateway {
    /// Runs `agw run` with this document, which should use port 0 everywhere, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or does not get ready, with its output.
    pub fn start(config: &str) -> Result<Self> {
        Self::start_with(config, &[], &["--admin", "127.0.0.1:0"])
    }

    /// The same without an access log, for loads.
    ///
    /// # Errors
    /// As for [`Gateway::start`].
    pub fn start_for_load(config: &str) -> Result<Self> {
        Self::start_with(config, &[], &["--admin", "127.0.0.1:0", "--access-log", "off"])
    }

    /// The same with files beside the document (name and contents) and further options of `agw run`.
    ///
    /// # Errors
    /// As for [`Gateway::start`].
    pub fn start_with(config: &str, files: &[(&str, &[u8])], options: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, contents) in files {
            fs::write(folder.path().join(name), contents)?;
        }
        Self::start_in(folder, config, options)
    }

    /// The same in a folder that has everything but the document.
    ///
    /// # Errors
    /// As for [`Gateway::start`].
    pub fn start_in(folder: TempDir, config: &str, options: &[&str]) -> Result<Self> {
        Self::start_saying(folder, config, options, "info")
    }

    /// The same with another filter of its log, as `AGW_LOG` has it.
    ///
    /// # Errors
    /// As for [`Gateway::start`].
    pub fn start_saying(folder: TempDir, config: &str, options: &[&str], log: &str) -> Result<Self> {
        fs::write(folder.path().join("agw.yaml"), config)?;
        let args = [&["run", "--config", "agw.yaml"], options].concat();
        Self::launch(folder, &args, log)
    }

    /// Runs any command that serves, such as `quickstart`, with addresses at port 0.
    ///
    /// # Errors
    /// As for [`Gateway::start`].
    pub fn command(args: &[&str]) -> Result<Self> {
        Self::launch(tempfile::tempdir()?, args, "info")
    }

    fn launch(folder: TempDir, args: &[&str], log: &str) -> Result<Self> {
        let mut command = Command::new(binary()?);
        let mut process =
            Process::spawn("agw", command.current_dir(folder.path()).env("AGW_LOG", log).args(args))?;
        let admin = process.wait_for_line(READY_WITHIN, admin_address)?;
        let mut gateway = Gateway { process, folder, listeners: BTreeMap::new(), admin, unsearched: None };
        gateway.wait_until_ready()?;
        gateway.listeners = gateway.process.output().lines().filter_map(listener_address).collect();
        Ok(gateway)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let end = Instant::now() + READY_WITHIN;
        loop {
            let answer = self.ask_admin("/readyz");
            if answer.as_ref().is_ok_and(|reply| reply.status == 200) {
                return Ok(());
            }
            if let Some(status) = self.process.ended()? {
                bail!("agw ended ({status}) before it was ready:\n{}", self.process.output());
            }
            if Instant::now() >= end {
                bail!("agw is not ready after {READY_WITHIN:?} ({answer:?}):\n{}", self.process.output());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The bound address of a listener.
    ///
    /// # Errors
    /// When no listener has this name.
    pub fn listener(&self, name: &str) -> Result<SocketAddr> {
        let found = self.listeners.get(name).copied();
        found.with_context(|| format!("no listener {name:?} among {:?}", self.listeners))
    }

    /// The bound address of the only listener.
    ///
    /// # Errors
    /// When there is none.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listeners.values().next().copied().context("agw printed no listener")
    }

    /// The bound address of the admin port.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// GET from the admin port, from a blocking caller.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn ask_admin(&self, path: &str) -> Result<Reply> {
        let address = self.admin;
        let path = path.to_owned();
        let ask = move || {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { Client::new(address).get(&path).await })
        };
        // A thread, because the caller may be on an event loop already.
        thread::spawn(ask).join().map_err(|_| anyhow::anyhow!("the asking thread panicked"))?
    }

    /// The metrics of this moment.
    ///
    /// # Errors
    /// When the admin port does not give them.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.ask_admin("/metrics")?.text())
    }

    /// Scrapes until `enough` holds.
    ///
    /// # Errors
    /// When it does not hold in 10 seconds; `what` is for the message.
    pub async fn wait_for_metrics(&self, what: &str, enough: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let metrics = Metrics::parse(&Client::new(self.admin).get("/metrics").await?.text())?;
            if enough(&metrics) {
                return Ok(metrics);
            }
            if Instant::now() >= end {
                bail!("after 10 s it still does not hold: {what}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Replaces a file beside the document, or the document (`agw.yaml`), in one step.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn replace(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        let path = self.folder.path().join(name);
        let beside = self.folder.path().join(format!("{name}.new"));
        fs::write(&beside, contents)?;
        fs::rename(beside, path)?;
        Ok(())
    }

    /// Waits until `/v1/revisions` is so, and gives it. The gateway looks at its files every half a second.
    ///
    /// # Errors
    /// When it is not so in 20 seconds; `what` is for the message.
    pub async fn wait_for_revisions(&self, what: &str, enough: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let page = Client::new(self.admin).get("/v1/revisions").await?.json()?;
            if enough(&page) {
                return Ok(page);
            }
            if Instant::now() >= end {
                bail!("after 20 s it still does not hold: {what}\n{page:#}\n{}", self.process.output());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until this revision serves.
    ///
    /// # Errors
    /// As for [`Gateway::wait_for_revisions`].
    pub async fn wait_for_revision(&self, revision: u64) -> Result<Value> {
        let what = format!("revision {revision} serves");
        self.wait_for_revisions(&what, |page| page["live"] == revision).await
    }

    /// What it has printed so far, stdout and stderr together.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Waits until `enough` holds for what it has printed: lines arrive after the answers that they are about.
    ///
    /// # Errors
    /// When it does not hold in 10 seconds; `what` is for the message.
    pub async fn wait_for_output(&self, what: &str, enough: impl Fn(&str) -> bool) -> Result<String> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let output = self.process.output();
            if enough(&output) {
                return Ok(output);
            }
            if Instant::now() >= end {
                bail!("after 10 s it has not printed {what}:\n{output}");
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its words are not searched for secrets when it ends; `reason` says why it may tell one.
    pub fn may_tell_secrets(&mut self, reason: &'static str) {
        self.unsearched = Some(reason);
    }

    /// Where it has told a secret, as far as it can still be asked.
    fn told_secrets(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        if self.process.ended().is_ok_and(|ended| ended.is_none()) {
            for page in planted::PAGES {
                // One that is stopped, or drains, does not answer any more: its output is all that there is.
                let Ok(answer) = self.ask_within(page, LAST_PAGES_WITHIN) else { break };
                told.extend(planted::find(&answer).map(|leak| format!("{page}: {leak:?}")));
            }
        }
        told.extend(self.process.leaks().into_iter().map(|leak| format!("its output: {leak:?}")));
        told
    }

    /// The whole answer as it comes over the connection.
    fn ask_within(&self, page: &str, within: Duration) -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.admin, within)?;
        stream.set_read_timeout(Some(within))?;
        stream.set_write_timeout(Some(within))?;
        write!(stream, "GET {page} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The folder with its document.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(within)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // A test that has failed has its own reason to tell.
        if self.unsearched.is_some() || thread::panicking() {
            return;
        }
        let told = self.told_secrets();
        assert!(told.is_empty(), "the gateway tells secrets of the test:\n{}", told.join("\n"));
    }
}

/// `admin address=ADDR`, possibly after the log's own columns.
fn admin_address(line: &str) -> Option<SocketAddr> {
    let (_, address) = line.split_once("admin address=")?;
    address.split_whitespace().next()?.parse().ok()
}

/// `listening name=NAME address=ADDR`, possibly after the log's own columns.
fn listener_address(line: &str) -> Option<(String, SocketAddr)> {
    let (_, rest) = line.split_once("listening name=")?;
    let (name, address) = rest.split_once(" address=")?;
    Some((name.to_owned(), address.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_the_printed_lines() -> Result<()> {
        assert_eq!(admin_address("admin address=127.0.0.1:9901"), Some("127.0.0.1:9901".parse()?));
        let listener = listener_address("INFO listening name=main address=127.0.0.1:8080");
        assert_eq!(listener, Some(("main".to_owned(), "127.0.0.1:8080".parse()?)));
        assert_eq!(listener_address("admin address=127.0.0.1:9901"), None);
        Ok(())
    }
}
