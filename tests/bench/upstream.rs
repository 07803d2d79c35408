//! The server behind the subjects, in a process of its own.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use agw_tests::process::Process;
use agw_tests::{Script, Upstream};
use anyhow::Result;
use rustix::process::{Pid, getppid};

use crate::options::UpstreamKind;
use crate::server::Server;
use crate::subjects;

const LISTENING: &str = "listening on ";

/// # Errors
/// When it does not start.
pub(crate) fn start(kind: UpstreamKind) -> Result<Server> {
    match kind {
        UpstreamKind::Nginx => subjects::upstream(),
        UpstreamKind::Own => start_own(),
    }
}

/// This program in its mode `upstream`.
///
/// # Errors
/// When it does not start.
fn start_own() -> Result<Server> {
    let mut process = Process::spawn("the upstream", Command::new(std::env::current_exe()?).arg("upstream"))?;
    let address =
        process.wait_for_line(Duration::from_secs(20), |line| line.strip_prefix(LISTENING)?.parse().ok())?;
    Ok(Server::started(process, address))
}

/// Runs the mode `upstream`, until the process that started it is gone.
///
/// # Errors
/// When no port can be had.
pub(crate) fn run(output: &mut impl Write) -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok(subjects::BODY))?;
    writeln!(output, "{LISTENING}{}", upstream.address())?;
    output.flush()?;
    let parent: Option<Pid> = getppid();
    while getppid() == parent {
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
