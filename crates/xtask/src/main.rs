#![doc = include_str!("../README.md")]
#![expect(clippy::print_stdout, reason = "a command line tool prints")]

mod check;
mod program;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Development tasks")]
enum Task {
    /// Checks the rules that the compiler does not hold
    Check,
    /// Runs a heavy scenario in release mode; without a name, lists them
    Scenario {
        /// Which one, and its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Compares AGW with nginx and Envoy in release mode; `--help` has its options
    #[command(disable_help_flag = true)]
    Bench {
        /// Its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> Result<ExitCode> {
    match Task::parse() {
        Task::Check => check::run(&workspace()),
        Task::Scenario { args } => program::run(&workspace(), "scenario", &args),
        Task::Bench { args } => program::run(&workspace(), "bench", &args),
    }
}

fn workspace() -> PathBuf {
    // crates/xtask is two folders below the root.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}
