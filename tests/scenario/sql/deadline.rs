//! Statements that take far longer than their deadline, alone and 200 at once, beside others that must not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::asks::{self, Answer, Ask, Asks, count, longest, outcomes, percentile};
use super::server::KINDS;
use super::{POOL_MAX, Size, World, until};
use crate::verdict::Verdict;

const DEADLINE: Duration = Duration::from_millis(200);
/// What an answer may come later than its deadline.
const LATE: Duration = Duration::from_millis(50);
/// From the answer until the server has stopped.
const STOPPED_WITHIN: Duration = Duration::from_millis(100);
/// Of the pool, for each plugin.
const SHARE: u32 = 50;
const HELD: usize = POOL_MAX * SHARE as usize / 100;
/// From one time that 200 come at once to the next.
const PERIOD: Duration = Duration::from_millis(1000);
/// Connections of the other plugin's clients.
const OTHERS: usize = 4;

pub(crate) fn run(verdict: &mut Verdict, size: Size) -> Result<()> {
    for kind in KINDS {
        let world = World::start(kind, SHARE)?;
        // Connections, VMs and their code are there before anything is measured.
        world.ask(32, size.of(2000, 100), |number| echo("a", number))?;
        one_by_one(&world, verdict, size)?;
        own_rows(&world, verdict, size)?;
        at_once(&world, verdict, size)?;
        world.nothing_is_lost(verdict)?;
    }
    Ok(())
}

pub(super) fn echo(plugin: &str, number: usize) -> Ask {
    Ask::new(format!("/{plugin}/echo/{number}"))
}

/// Far longer than any deadline here.
fn sleep(deadline: Duration) -> Ask {
    Ask::new("/a/sleep/10000").deadline(deadline)
}

/// Each answers at its deadline, and the server has stopped soon after.
fn one_by_one(world: &World, verdict: &mut Verdict, size: Size) -> Result<()> {
    let rounds = size.of(20, 3);
    let (mut answers, mut stopped) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let asked =
            asks::start(world.gateway.address()?, 1, |number| (number == 0).then(|| sleep(DEADLINE)))?;
        until("the statement runs", || Ok(world.server.sleeping()? == 1))?;
        answers.extend(asked.finish()?);
        let answered = Instant::now();
        // The first look that finds nothing has ended by then: an upper bound.
        until("no statement runs", || Ok(world.server.sleeping()? == 0))?;
        stopped.push(answered.elapsed());
    }
    let timed_out = count(&answers, "timeout_io");
    let figure = format!("{timed_out} of {rounds}");
    verdict.check("statements over their deadline that are timeout_io", timed_out == rounds, figure);
    verdict.within("the longest of their calls", DEADLINE + LATE, longest(&answers));
    let last = stopped.into_iter().max().unwrap_or_default();
    verdict.within("until the server showed none of them", STOPPED_WITHIN, last);
    Ok(())
}

/// Queries of both plugins, while statements of one are stopped again and again on the same connections: a stop that
/// comes late would find a victim.
fn own_rows(world: &World, verdict: &mut Verdict, size: Size) -> Result<()> {
    let queries = size.of(10_000, 600);
    let done = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&done);
    let stopped = asks::start(world.gateway.address()?, 4, move |number| {
        let deadline = Duration::from_millis(5 + number as u64 % 20);
        (!told.load(Ordering::Relaxed)).then(|| sleep(deadline))
    })?;
    let answers = world.ask(32, queries, |number| echo(["a", "b"][number % 2], number))?;
    done.store(true, Ordering::Relaxed);
    let stopped = stopped.finish()?;
    println!("     {} statements stopped meanwhile: {:?}", stopped.len(), outcomes(&stopped));
    // On a busy machine a deadline of milliseconds may pass while a connection is made.
    let timeouts = ["timeout_io", "timeout_queue", "timeout_connect"];
    let others = stopped.len() - timeouts.map(|code| count(&stopped, code)).iter().sum::<usize>();
    verdict.check("of which came to something else than a time-out", others == 0, others);
    own(verdict, &answers, queries);
    Ok(())
}

/// Every echo gave its own number.
pub(super) fn own(verdict: &mut Verdict, answers: &[Answer], queries: usize) {
    let wrong = answers.iter().filter(|answer| answer.status == 200 && !is_own(answer)).count();
    verdict.check("queries that got another's row", wrong == 0, wrong);
    let right = count(answers, "ok") - wrong;
    let figure = format!("{right} of {queries}: {:?}", outcomes(answers));
    verdict.check("queries that got their own row", right == queries, figure);
}

pub(super) fn is_own(answer: &Answer) -> bool {
    answer.body == answer.number.to_string()
}

/// One plugin asks for everything at once, again and again. Its share is used up, and the other plugin's queries go on.
fn at_once(world: &World, verdict: &mut Verdict, size: Size) -> Result<()> {
    let (rounds, calls, quiet_count) = size.of((10, 200, 5000), (2, 40, 200));
    the_share_holds(world, verdict, calls)?;
    let quiet = world.ask(OTHERS, quiet_count, |number| echo("b", number))?;
    let done = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&done);
    let make = move |number| (!told.load(Ordering::Relaxed)).then(|| echo("b", number));
    let (start, beside) = (Instant::now(), asks::start(world.gateway.address()?, OTHERS, make)?);
    let first_round = start.elapsed() + PERIOD;
    let bursts = bursts(world, rounds, calls)?.finish()?;
    done.store(true, Ordering::Relaxed);
    let beside = beside.finish()?;

    let mut asked = Vec::new();
    for round in 1..=rounds {
        let of_round = |answer: &&Answer| answer.number / calls == round;
        let answers: Vec<Answer> = bursts.iter().filter(of_round).cloned().collect();
        println!("     round {round}: {:?}, the longest call {:.1?}", outcomes(&answers), longest(&answers));
        asked.extend(answers);
    }
    let (held, queued) = (count(&asked, "timeout_io"), count(&asked, "timeout_queue"));
    let all = held + queued == rounds * calls && held >= rounds * HELD;
    let figure = format!("{held} and {queued} of {}", rounds * calls);
    verdict.check("those that got a connection are timeout_io, the others timeout_queue", all, figure);
    verdict.within("the longest of their calls", DEADLINE + LATE, longest(&asked));
    own(verdict, &beside, beside.len());
    let waiting = |answer: &&Answer| {
        let since = answer.at.checked_sub(first_round).map(|at| at.as_millis() % PERIOD.as_millis());
        since.is_some_and(|since| (LATE.as_millis()..DEADLINE.as_millis()).contains(&since))
    };
    let while_they_wait: Vec<Answer> = beside.iter().filter(waiting).cloned().collect();
    say(&quiet, "quiet");
    say(&while_they_wait, "while they wait");
    say(&beside, "all the time");
    let ratio = |of: &[Answer]| percentile(of, 0.99).as_secs_f64() / percentile(&quiet, 0.99).as_secs_f64();
    let (waiting, all) = (ratio(&while_they_wait), ratio(&beside));
    let promise = "the other plugin's p99 while they wait, at most twice the quiet one";
    verdict.timed(promise, waiting <= 2.0, format!("{waiting:.2}"));
    verdict.timed("and all the time, their arrival and end included", all <= 2.0, format!("{all:.2}"));
    Ok(())
}

/// All at the same time, and again after each period; in the first round they only connect.
fn bursts(world: &World, rounds: usize, calls: usize) -> Result<Asks> {
    asks::start(world.gateway.address()?, calls, move |number| {
        let round = number / calls;
        let ask = if round == 0 { Ask::new("/") } else { sleep(DEADLINE) };
        (round <= rounds).then(|| ask.not_before(PERIOD * round as u32))
    })
}

/// However many ask: what the server runs is the plugin's share. (The VMs for so many are made here, too.)
fn the_share_holds(world: &World, verdict: &mut Verdict, calls: usize) -> Result<()> {
    let asked = bursts(world, 2, calls)?;
    let mut most = 0;
    while !asked.is_finished() {
        most = most.max(world.server.sleeping()?);
    }
    asked.finish()?;
    // On a machine that is very busy a statement may not stop in time: its place is free, and it ends a little later.
    let given_up = world.gateway.output().matches("a statement did not stop").count();
    let figure = format!("{most} ({given_up} did not stop in time)");
    let holds = (HELD..=HELD + given_up).contains(&most);
    verdict.check(&format!("statements of one plugin at once on the server, {HELD}"), holds, figure);
    Ok(())
}

fn say(answers: &[Answer], what: &str) {
    let (p50, p99) = (percentile(answers, 0.5), percentile(answers, 0.99));
    println!("     the other plugin {what}: {} requests, p50 {p50:.2?}, p99 {p99:.2?}", answers.len());
}
