//! The `agw` binary: the composition root, and the only crate that knows all the others.

mod admin;
mod changes;
mod check;
mod cli;
mod document;
mod gateway;
mod grants;
mod hand_over;
mod live;
mod log;
mod modules;
mod open_files;
mod options;
mod plugins;
mod quickstart;
mod reload;
mod resource_test;
mod resources;
mod revisions;
mod run;
mod traces;
mod trial;

use std::io::{self, Write};
use std::process::ExitCode;

use agw_config::Problem;
use anyhow::{Context, Result};
use clap::Parser;

use crate::cli::{
    CheckArgs, Cli, Command, ExplainArgs, QuickstartArgs, ResourceCommand, ResourceTestArgs, RunArgs, TryArgs,
};
use crate::document::Machine;
use crate::reload::Watch;
use crate::run::Service;
use crate::trial::Trial;

/// A request makes about a hundred small allocations, each freed on the worker that made it; glibc's allocator takes a
/// tenth more of a request's CPU time for them. What a reload has needed for a moment goes back to the system within ten
/// seconds: jemalloc has a thread for that, and asks for no huge pages.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What refers to this machine in a document.
static MACHINE: Machine<'static> = Machine { builtin_modules: &modules::NAMES };

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start();
    // Before anything can open a TLS connection: with two providers in a process, the first handshake panics.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match cli.command {
        Command::Run(args) => run(args),
        Command::Check(args) => check(&args),
        Command::Resource(ResourceCommand::Test(args)) => test_resource(&args),
        Command::Explain(args) => explain(&args),
        Command::Schema => schema(),
        Command::Quickstart(args) => quickstart(&args),
        Command::Try(args) => try_filter(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: RunArgs) -> Result<ExitCode> {
    let (loaded, watch) = match Watch::start(&args.config, &MACHINE) {
        Ok(started) => started,
        Err(problems) => return refused(&problems),
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let service = Service {
        snapshot: loaded.snapshot,
        serve: args.serve,
        cache_dir: modules::cache_dir(),
        hand_over: args.hand_over,
        watch: Some(watch),
    };
    service.run(|_| Ok(()))
}

fn check(args: &CheckArgs) -> Result<ExitCode> {
    let inspector = modules::Inspector::new()?;
    let inspect = |plugin: &agw_config::Plugin| inspector.inspect(plugin);
    let ok =
        check::check(&args.config, &MACHINE, inspect, &mut io::stdout().lock(), &mut io::stderr().lock());
    Ok(if ok.context("write the result")? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn test_resource(args: &ResourceTestArgs) -> Result<ExitCode> {
    let snapshot = match document::load_file(&args.config, &MACHINE) {
        Ok(loaded) => loaded.snapshot,
        Err(problems) => return refused(&problems),
    };
    let Some(tested) = resource_test::test(&snapshot, &args.name)? else {
        let names = snapshot.resources.keys().chain(snapshot.sql_resources.keys());
        let names = names.map(String::as_str).collect::<Vec<_>>().join(", ");
        let message = format!("no resource is named {:?}. There are: {names}", args.name);
        writeln!(io::stderr().lock(), "{message}").context("print the mistake")?;
        return Ok(ExitCode::FAILURE);
    };
    let mut out = io::stdout().lock();
    let printed = if args.json { writeln!(out, "{:#}", tested.json()) } else { tested.print(&mut out) };
    printed.context("print the report")?;
    Ok(if tested.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn explain(args: &ExplainArgs) -> Result<ExitCode> {
    match agw_config::explain(&args.field) {
        Ok(text) => io::stdout().lock().write_all(text.as_bytes()).context("print the field")?,
        Err(text) => {
            writeln!(io::stderr().lock(), "{text}").context("print the mistake")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn schema() -> Result<ExitCode> {
    writeln!(io::stdout().lock(), "{:#}", agw_config::json_schema()).context("print the schema")?;
    Ok(ExitCode::SUCCESS)
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
    let service = Service {
        snapshot: loaded.snapshot,
        serve: args.serve.clone(),
        cache_dir: modules::cache_dir(),
        hand_over: None,
        watch: None,
    };
    service.run(|addresses| {
        let Some((_, listen)) = addresses.first() else { return Ok(()) };
        let mut out = io::stderr().lock();
        writeln!(out, "\n{}\n", quickstart::curl_lines(*listen, args)).context("print the lines to try")
    })
}

fn try_filter(args: &TryArgs) -> Result<ExitCode> {
    let trial = Trial::read(args)?;
    let text = trial.document(args)?;
    if args.print_config {
        io::stdout().lock().write_all(text.as_bytes()).context("print the configuration")?;
        return Ok(ExitCode::SUCCESS);
    }
    let snapshot = match document::load_text(&text, "try", std::path::Path::new(""), &MACHINE) {
        // Its warnings are about what was asked for: a grant without a prefix.
        Ok(loaded) => loaded.snapshot,
        Err(problems) => return refused(&problems),
    };
    trial.report(&snapshot, args.count, &mut io::stderr().lock()).context("print what the module is")?;
    let (serve, cache_dir) = (args.serve.clone(), modules::cache_dir());
    let service = Service { snapshot, serve, cache_dir, hand_over: None, watch: None };
    service.run(|addresses| {
        let Some((_, listen)) = addresses.first() else { return Ok(()) };
        writeln!(io::stderr().lock(), "\n{}\n", trial::curl_line(*listen)).context("print the line to try")
    })
}

fn refused(problems: &[Problem]) -> Result<ExitCode> {
    let mut out = io::stderr().lock();
    for problem in problems {
        writeln!(out, "{problem}").context("print the problems")?;
    }
    Ok(ExitCode::FAILURE)
}
