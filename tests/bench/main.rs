//! The comparison with other gateways. `cargo xtask bench` builds everything in release mode and starts it;
//! `docs/benchmarks.md` says what is compared and how.

#![expect(clippy::print_stdout, reason = "tables are its output")]
#![expect(clippy::print_stderr, reason = "and its progress goes beside them")]

mod apart;
mod attempts;
mod commands;
mod generator;
mod latency;
mod load;
mod machine;
mod options;
mod page;
mod peers;
mod proc;
mod redis_direct;
mod report;
mod results;
mod rounds;
mod server;
mod sql;
mod subjects;
mod upstream;
mod verdict;

use std::fs;
use std::io::stdout;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use attempts::Attempts;
use generator::plan::Plan;
use latency::Latency;
use machine::Machine;
use options::Options;
use report::{Format, report};
use results::{Results, Settings};
use rounds::{KEYS, Stage};
use sql::SqlResults;
use subjects::{SUBJECTS, Subject};

fn main() -> Result<()> {
    agw_tests::process::quiet();
    let mut args = std::env::args().skip(1);
    // The modes in which it starts itself; a plan follows.
    match args.next().as_deref() {
        Some("upstream") => upstream::run(&mut stdout()),
        Some("generate") => generator::run(&plan(args.next())?, &mut stdout()).map(|()| linger()),
        Some("redis-direct") => redis_direct::run(&plan(args.next())?, &mut stdout()).map(|()| linger()),
        _ => run(&Options::parse()),
    }
}

/// A generator stays until it is killed: who started it may not have read its CPU time yet.
fn linger() {
    std::thread::sleep(Duration::from_secs(10));
}

fn plan(argument: Option<String>) -> Result<Plan> {
    Ok(serde_json::from_str(&argument.context("a plan is missing")?)?)
}

/// Fails on rounds that stay invalid and on subjects that cannot be compared, not on missed targets.
fn run(options: &Options) -> Result<()> {
    if options.list {
        for subject in SUBJECTS {
            println!("{:16} {}", subject.name, subject.about);
        }
        return Ok(());
    }
    raise_open_files()?;
    let mut results = match &options.from {
        Some(file) => {
            serde_json::from_slice(&fs::read(file).with_context(|| format!("read {}", file.display()))?)
                .with_context(|| format!("{} is not of this program", file.display()))?
        }
        None => measure(options)?,
    };
    results.verdicts = verdict::judge(&results);
    println!("{}", report(&results, Format::Terminal));
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_string_pretty(&results)? + "\n")
            .with_context(|| format!("write {}", file.display()))?;
    }
    commands::compare(&results)?;
    if options.markdown {
        let page = page::write(&report(&results, Format::Markdown))?;
        eprintln!("written: {}", page.display());
    }
    Ok(())
}

fn measure(options: &Options) -> Result<Results> {
    let (subjects, left_out) = options.subjects()?;
    let mut results = Results {
        format: 1,
        machine: Machine::look(&options.peers(&subjects)),
        settings: settings(options),
        left_out: left_out.iter().map(|subject| (subject.name.to_owned(), why(subject))).collect(),
        measured: Vec::new(),
        invalid: Vec::new(),
        latency: None,
        sql: None,
        verdicts: Vec::new(),
    };
    // Not in the middle of a round.
    agw_tests::gateway::binary()?;
    agw_tests::guest("header-filter")?;
    let mut stage = Stage::new(upstream::start(options.upstream)?, options.warmup, options.duration)?;
    let mut attempts = Attempts::default();
    let Settings { rounds, connections, .. } = results.settings.clone();
    if options.measures_load() {
        for round in 1..=rounds {
            for &connections in &connections {
                eprintln!("{connections} connections, round {round} of {rounds}");
                results.measured.extend(stage.round(&mut attempts, &subjects, connections, round)?);
            }
        }
    }
    if options.measures_latency() {
        let connections = *connections.first().context("no number of connections")?;
        let peak = results.spread("agw-rate-limit", connections, |measured| measured.requests_per_second);
        let peak = peak.map(|spread| spread.median);
        results.latency = Some(Latency::measure(&mut stage, &mut attempts, peak, connections, rounds)?);
    }
    if options.measures_sql() {
        results.sql = Some(SqlResults::measure(&mut stage, &mut attempts, rounds)?);
    }
    results.invalid = attempts.invalid;
    Ok(results)
}

fn settings(options: &Options) -> Settings {
    let mut connections: Vec<usize> = Vec::new();
    for number in options.connections.iter().copied().map(usize::from) {
        // Twice the same would count each round twice.
        if !connections.contains(&number) {
            connections.push(number);
        }
    }
    if !options.measures_load() {
        connections.truncate(1);
    }
    Settings {
        rounds: options.rounds.into(),
        duration_seconds: options.duration.as_secs_f64(),
        warmup_seconds: options.warmup.as_secs_f64(),
        connections,
        keys: KEYS,
        upstream: format!("{:?}", options.upstream).to_lowercase(),
        profile: match std::env::var_os("AGW_TEST_BIN") {
            Some(_) => "of a given binary".to_owned(),
            None => std::env::var("AGW_TEST_PROFILE").unwrap_or_else(|_| "dev".to_owned()),
        },
    }
}

fn why(subject: &Subject) -> String {
    subject.peer.map(|peer| format!("--without {}", peer.name())).unwrap_or_default()
}

/// A thousand connections at each of two ends; children inherit it.
fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("raise the limit of open files")
}
