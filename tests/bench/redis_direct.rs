//! The commands of a rate limit check, sent straight by redis-rs at a steady pace: what a check costs without a
//! gateway. It runs in a process of its own and speaks as the HTTP generator does.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::generator::ANSWER_WITHIN;
use crate::generator::histogram::Histogram;
use crate::generator::pace::Pace;
use crate::generator::plan::{CLOSED, Failures, OPEN, Plan, Report};

/// Calls under way at once; what is due beyond that counts as unsent.
const UNDER_WAY_MAX: usize = 4096;
const WINDOW_SECONDS: u32 = 3600;

/// Runs a paced load to its end; `plan.address` is Redis, path and connections have no meaning.
///
/// # Errors
/// When it cannot begin. Failures under way are in the report.
pub(crate) fn run(plan: &Plan, output: &mut impl Write) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = LocalSet::new().block_on(&runtime, drive(plan, output))?;
    writeln!(output, "{}", serde_json::to_string(&report)?)?;
    Ok(output.flush()?)
}

#[derive(Debug)]
struct Tally {
    open: bool,
    under_way: usize,
    latencies: Histogram,
    all: u64,
    failures: Failures,
}

async fn drive(plan: &Plan, output: &mut impl Write) -> Result<Report> {
    let client = Client::open(format!("redis://{}", plan.address))?;
    // Calls have a time-out of their own, as everywhere here.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let connection =
        client.get_multiplexed_async_connection_with_config(&config).await.context("connect to Redis")?;
    let pace = Pace::new(plan.rate.context("this load needs a rate")?).context("make a timer")?;
    #[expect(
        deprecated,
        reason = "the other constructor is unsafe; a pace owns its descriptor, so this one is sound"
    )]
    let pace = AsyncFd::with_interest(pace, Interest::READABLE)?;
    let tally = Rc::new(RefCell::new(Tally {
        open: false,
        under_way: 0,
        latencies: Histogram::new(),
        all: 0,
        failures: Failures::default(),
    }));
    let start = Instant::now();
    let mut opened = None;
    let mut key = 0;
    let window = loop {
        let mut ready = pace.readable().await?;
        let due = ready.get_inner().ticks()?;
        ready.clear_ready();
        let now = Instant::now();
        if opened.is_none() && now >= start + plan.warmup {
            opened = Some(now);
            tally.borrow_mut().open = true;
            say(output, OPEN)?;
        }
        if let Some(opened) = opened.filter(|_| now >= start + plan.warmup + plan.duration) {
            tally.borrow_mut().open = false;
            say(output, CLOSED)?;
            break now - opened;
        }
        for _ in 0..due {
            key = (key + 1) % plan.keys.max(1);
            send(&connection, key, &tally);
        }
    };
    let end = Instant::now() + ANSWER_WITHIN;
    while tally.borrow().under_way > 0 && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let tally = tally.borrow();
    Ok(Report::new(&tally.latencies, tally.all, window, tally.failures.clone()))
}

/// Leaves one check running; it ends by itself, at its time-out at the latest.
fn send(connection: &MultiplexedConnection, key: usize, tally: &Rc<RefCell<Tally>>) {
    {
        let mut tally = tally.borrow_mut();
        if tally.under_way >= UNDER_WAY_MAX {
            tally.failures.unsent += 1;
            tally.failures.note(|| format!("{UNDER_WAY_MAX} calls are under way"));
            return;
        }
        tally.under_way += 1;
    }
    let (mut connection, tally) = (connection.clone(), Rc::clone(tally));
    drop(tokio::task::spawn_local(async move {
        let start = Instant::now();
        let answer =
            timeout(ANSWER_WITHIN, check(key).query_async::<(Option<String>, i64, i64)>(&mut connection))
                .await;
        let latency = start.elapsed();
        let mut tally = tally.borrow_mut();
        tally.under_way -= 1;
        tally.all += 1;
        match answer {
            Ok(Ok(_)) if tally.open => tally.latencies.record(latency),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tally.failures.sockets += 1;
                tally.failures.note(|| format!("Redis: {error}"));
            }
            Err(_) => {
                tally.failures.timeouts += 1;
                tally.failures.note(|| format!("Redis gave no answer in {ANSWER_WITHIN:?}"));
            }
        }
    }));
}

/// What `examples/rate-limit` sends for a key of the load.
fn check(key: usize) -> Pipeline {
    let value = format!("k{key}");
    let key = format!("limits:rl1:n7:per-key:w4:{WINDOW_SECONDS}:h9:x-api-key:v{}:{value}", value.len());
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    pipeline.cmd("SET").arg(&key).arg("0").arg("EX").arg(WINDOW_SECONDS).arg("NX");
    pipeline.cmd("INCR").arg(&key);
    pipeline.cmd("PTTL").arg(&key);
    pipeline
}

fn say(output: &mut impl Write, line: &str) -> Result<()> {
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use agw_tests::RedisServer;

    use super::*;

    #[test]
    fn checks_are_sent_at_the_pace_and_counted() -> Result<()> {
        let redis = RedisServer::start()?;
        crate::commands::reset(&redis)?;
        let plan = Plan {
            address: redis.address().parse()?,
            path: String::new(),
            connections: 1,
            keys: 10,
            warmup: Duration::from_millis(20),
            duration: Duration::from_millis(200),
            rate: Some(200.0),
        };
        let mut output = Vec::new();
        run(&plan, &mut output)?;
        let text = String::from_utf8(output)?;
        let report: Report = serde_json::from_str(text.lines().last().unwrap())?;
        assert_eq!(report.failures, Failures::default());
        assert!(report.requests > 0, "{report:?}");
        let calls = crate::commands::calls(&redis)?;
        let expected =
            ["exec", "incr", "multi", "pttl", "set"].map(|name| (name.to_owned(), report.all_requests));
        assert_eq!(calls, expected.into_iter().collect());
        Ok(())
    }
}
