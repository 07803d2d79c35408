//! `cargo xtask scenario` and `cargo xtask bench`: starts a program of `tests/` in release mode, gateway included.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

pub(crate) fn run(root: &Path, name: &str, args: &[String]) -> Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["run", "--release", "--quiet", "--package", "agw-tests", "--bin", name]);
    command.arg("--").args(args).env("AGW_TEST_PROFILE", "release");
    let status = command.status().with_context(|| format!("{command:?}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
