//! The server killed under load and started again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::asks::{self, Answer, Ask, count, outcomes};
use super::deadline::{echo, is_own};
use super::server::KINDS;
use super::{POOL_MAX, Size, World, until};
use crate::verdict::Verdict;

/// From the server's return until calls are answered again, all of them.
const BACK_WITHIN: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 64;

pub(crate) fn run(verdict: &mut Verdict, size: Size) -> Result<()> {
    for kind in KINDS {
        let mut world = World::start(kind, 100)?;
        world.ask(CONNECTIONS, size.of(5000, 500), mixed)?;

        let start = Instant::now();
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        let make = move |number| (!told.load(Ordering::Relaxed)).then(|| mixed(number));
        let load = asks::start(world.gateway.address()?, CONNECTIONS, make)?;
        thread::sleep(size.of(Duration::from_secs(5), Duration::from_millis(500)));
        let killed = start.elapsed();
        world.server.kill();
        thread::sleep(size.of(Duration::from_secs(5), Duration::from_secs(1)));
        world.server.restart()?;
        let returned = start.elapsed();
        thread::sleep(BACK_WITHIN * 2);
        done.store(true, Ordering::Relaxed);
        let answers = load.finish()?;

        answered(verdict, &answers);
        let span = |from, to| between(&answers, from, to);
        println!("     healthy: {:?}", outcomes(&span(Duration::ZERO, killed)));
        println!("     down:    {:?}", outcomes(&span(killed, returned)));
        println!("     after:   {:?}", outcomes(&span(returned, Duration::MAX)));
        let served = span(killed + Duration::from_millis(500), returned);
        verdict.check(
            "answered with rows while the server was gone",
            count(&served, "ok") == 0,
            count(&served, "ok"),
        );
        recovered(verdict, &answers, returned)?;
        all_places_are_there(&world, verdict)?;
        world.nothing_is_lost(verdict)?;
        // One for each plugin and connection at most, though each error came to one that was to be used again.
        let most = 2 * CONNECTIONS;
        let left = world.vms()?;
        verdict.check(&format!("VMs in the end, at most {most}"), left <= most as f64, left);
    }
    Ok(())
}

/// Most are quick; some are inside a statement at any time.
fn mixed(number: usize) -> Ask {
    let plugin = ["a", "b"][number % 2];
    match number % 8 {
        0 => Ask::new(format!("/{plugin}/sleep/50")),
        _ => echo(plugin, number),
    }
}

/// Each request has a row of its own, or an error with a code.
fn answered(verdict: &mut Verdict, answers: &[Answer]) {
    let echoes = answers.iter().filter(|answer| answer.status == 200 && answer.number % 8 != 0);
    let wrong = echoes.filter(|answer| !is_own(answer)).count();
    verdict.check("queries that got another's row", wrong == 0, wrong);
    let coded = answers.iter().filter(|answer| answer.status == 503 && !answer.code.is_empty()).count();
    let figure = format!("{coded} of {}", answers.len() - count(answers, "ok"));
    verdict.check("errors with a code", coded + count(answers, "ok") == answers.len(), figure);
    let own = [
        "unavailable",
        "timeout_connect",
        "timeout_queue",
        "timeout_io",
        "circuit_open",
        "server",
        "overloaded",
    ];
    let outcomes = outcomes(answers);
    let others: BTreeMap<_, _> =
        outcomes.iter().filter(|(code, _)| *code != "ok" && !own.contains(&code.as_str())).collect();
    verdict.check("of which say that the plugin is at fault", others.is_empty(), format!("{others:?}"));
}

fn recovered(verdict: &mut Verdict, answers: &[Answer], returned: Duration) -> Result<()> {
    let after = between(answers, returned, Duration::MAX);
    let first =
        after.iter().filter(|answer| answer.status == 200).map(|answer| answer.at + answer.latency).min();
    let first = first.context("service never came back")? - returned;
    verdict.within("from the server's return to the first row", BACK_WITHIN, first);
    let last =
        after.iter().filter(|answer| answer.status != 200).map(|answer| answer.at + answer.latency).max();
    let last = last.unwrap_or(returned).saturating_sub(returned);
    verdict.within("and to the last error", BACK_WITHIN, last);
    Ok(())
}

fn between(answers: &[Answer], from: Duration, to: Duration) -> Vec<Answer> {
    answers.iter().filter(|answer| (from..to).contains(&answer.at)).cloned().collect()
}

/// As many statements run at once as the pool has connections.
fn all_places_are_there(world: &World, verdict: &mut Verdict) -> Result<()> {
    let make = |number| (number < POOL_MAX).then(|| Ask::new("/a/sleep/3000"));
    let full = asks::start(world.gateway.address()?, POOL_MAX, make)?;
    let most = std::cell::Cell::new(0);
    until("the pool is full or its statements have ended", || {
        let now = world.server.sleeping()?;
        let over = now < most.get();
        most.set(most.get().max(now));
        Ok(most.get() == POOL_MAX || over)
    })?;
    verdict.check("statements at once afterwards", most.get() == POOL_MAX, most.get());
    let answers = full.finish()?;
    verdict.check(
        "of which answered",
        count(&answers, "ok") == POOL_MAX,
        format!("{:?}", outcomes(&answers)),
    );
    Ok(())
}
