//! A thousand VMs inside a query at once, of two plugins, on a pool of 16.

use std::time::Duration;

use anyhow::Result;

use super::asks::{self, Answer, Ask, count, longest, outcomes};
use super::server::KINDS;
use super::{Size, World, until};
use crate::verdict::Verdict;

const LATE: Duration = Duration::from_millis(250);
/// Connections and VMs are made in this time.
const WARM: Duration = Duration::from_secs(3);
const LATER: Duration = Duration::from_millis(50);

pub(crate) fn run(verdict: &mut Verdict, size: Size) -> Result<()> {
    // What the pool can do by the deadline is a bit more than half of what is asked.
    let (inside, sleep_ms, deadline) =
        size.of((1000, 300, Duration::from_secs(12)), (100, 100, Duration::from_millis(400)));
    for kind in KINDS {
        let mut world = World::start(kind, 100)?;
        let before = world.gateway.process().resident_bytes()?;
        let address = world.gateway.address()?;
        // First each connection has a quick answer, so that its VM is there. Then one plugin's calls come, and when
        // they hold all connections, the other's.
        let make = move |number: usize| {
            let plugin = plugin_of(number, inside);
            if number < inside {
                return Some(Ask::new(format!("/{plugin}/echo/{number}")));
            }
            let start = if plugin == "a" { WARM } else { WARM + LATER };
            let ask = Ask::new(format!("/{plugin}/sleep/{sleep_ms}")).deadline(deadline).not_before(start);
            (number < 2 * inside).then_some(ask)
        };
        let held = asks::start(address, inside, make)?;
        std::thread::sleep(WARM);
        let most = most_inside(&world, inside, || held.is_finished())?;
        let grown = world.gateway.process().resident_bytes()?.saturating_sub(before);
        let answers: Vec<Answer> =
            held.finish()?.into_iter().filter(|answer| answer.number >= inside).collect();
        verdict.timed(&format!("VMs inside a query at once, {inside}"), most == inside, most);
        println!("     the process grew by {:.1} KiB for each", grown as f64 / 1024.0 / inside as f64);
        judge(verdict, &answers, inside, deadline);
        until("no statement runs", || Ok(world.server.sleeping()? == 0))?;
        world.nothing_is_lost(verdict)?;
    }
    Ok(())
}

fn plugin_of(number: usize, inside: usize) -> &'static str {
    if number % inside < inside / 2 { "a" } else { "b" }
}

/// The most calls that were under way at once.
fn most_inside(world: &World, inside: usize, over: impl Fn() -> bool) -> Result<usize> {
    let mut most = 0;
    while most < inside && !over() {
        let now = world.resource()?["in_flight"].as_u64().unwrap_or_default();
        most = most.max(usize::try_from(now)?);
    }
    Ok(most)
}

fn judge(verdict: &mut Verdict, answers: &[Answer], inside: usize, deadline: Duration) {
    println!("     {:?}", outcomes(answers));
    let (answered, queued) = (count(answers, "ok"), count(answers, "timeout_queue"));
    let in_statement = count(answers, "timeout_io");
    let all = answered + queued + in_statement == inside;
    let figure = format!("{answered} and {}", queued + in_statement);
    verdict.check("all are answered or timed out", all, figure);
    // Who waits longest is served first, and that is who has least time left.
    println!("     {in_statement} of those had got a connection, too late for a whole statement");
    let early = answers.iter().filter(|answer| answer.status != 200 && answer.call < deadline).count();
    verdict.check("timed out before their deadline", early == 0, early);
    verdict.within("the longest call", deadline + LATE, longest(answers));
    let (a, b): (Vec<Answer>, Vec<Answer>) =
        answers.iter().cloned().partition(|answer| plugin_of(answer.number, inside) == "a");
    let (a, b) = (count(&a, "ok"), count(&b, "ok"));
    let fair = a.abs_diff(b) * 5 <= a.max(b);
    verdict.timed("answers of the two plugins, within 20 %", fair, format!("{a} and {b}"));
}
