//! The `agw` binary: the composition root, and the only crate that knows all the others.

mod admin;
mod check;
mod cli;
mod document;
mod gateway;
mod modules;
mod quickstart;
mod resources;
mod run;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use agw_config::Problem;
use anyhow::{Context, Result};
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{CheckArgs, Cli, Command, QuickstartArgs, RunArgs};
use crate::document::Machine;
use crate::run::Service;

/// What refers to this machine in a document.
const MACHINE: Machine<'static> = Machine { builtin_modules: &modules::NAMES };

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log();
    // Before anything can open a TLS connection: with two providers in a process, the first handshake panics.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match cli.command {
        Command::Run(args) => run(args),
        Command::Check(args) => check(&args),
        Command::Quickstart(args) => quickstart(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Lines go to standard error; `AGW_LOG` filters them, such as `debug` or `agw::guest=trace,info`.
fn start_log() {
    let filter = EnvFilter::try_from_env("AGW_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Colours are for people; in a file or a pipe they are noise.
    let colours = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours);
    log.with_target(false).init();
}

fn run(args: RunArgs) -> Result<ExitCode> {
    let loaded = match document::load_file(&args.config, &MACHINE) {
        Ok(loaded) => loaded,
        Err(problems) => return refused(&problems),
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Service { snapshot: loaded.snapshot, serve: args.serve, cache_dir: modules::cache_dir() }.run(|_| Ok(()))
}

fn check(args: &CheckArgs) -> Result<ExitCode> {
    let inspector = modules::Inspector::new()?;
    let inspect = |plugin: &agw_config::Plugin| inspector.inspect(plugin);
    let ok =
        check::check(&args.config, &MACHINE, inspect, &mut io::stdout().lock(), &mut io::stderr().lock());
    Ok(if ok.context("write the result")? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn quickstart(args: &QuickstartArgs) -> Result<ExitCode> {
    let text = quickstart::document(args)?;
    if args.print_config {
        io::stdout().lock().write_all(text.as_bytes()).context("print the configuration")?;
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = match document::load_text(&text, "quickstart", std::path::Path::new(""), &MACHINE) {
        Ok(loaded) => loaded,
        Err(problems) => return refused(&problems),
    };
    let limit = args.limit;
    let service =
        Service { snapshot: loaded.snapshot, serve: args.serve.clone(), cache_dir: modules::cache_dir() };
    service.run(|addresses| {
        let Some((_, listen)) = addresses.first() else { return Ok(()) };
        let mut out = io::stderr().lock();
        writeln!(out, "\n{}\n", quickstart::curl_line(*listen, limit)).context("print the line to try")
    })
}

fn refused(problems: &[Problem]) -> Result<ExitCode> {
    let mut out = io::stderr().lock();
    for problem in problems {
        writeln!(out, "{problem}").context("print the problems")?;
    }
    Ok(ExitCode::FAILURE)
}
