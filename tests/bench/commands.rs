//! What a Redis was asked, by its own count: `INFO commandstats`.

use std::collections::BTreeMap;

use agw_tests::RedisServer;
use anyhow::{Result, bail};
use redis::cmd;

use crate::results::Results;

/// Two subjects that must ask Redis the same.
const COMPARED: [&str; 2] = ["agw-rate-limit", "nginx-lua-redis"];
/// Of a connection, or of those who look at the server: they do not belong to requests.
const ASIDE: &[&str] = &["auth", "client", "command", "config", "hello", "info", "ping", "select"];
/// Calls per request may differ by this much: one in a thousand may be a mended counter.
const TOLERANCE: f64 = 0.001;

/// Forgets the calls so far.
///
/// # Errors
/// When the server does not answer.
pub(crate) fn reset(redis: &RedisServer) -> Result<()> {
    Ok(cmd("CONFIG").arg("RESETSTAT").query(&mut redis.connection()?)?)
}

/// Calls by command since the last reset.
///
/// # Errors
/// When the server does not answer.
pub(crate) fn calls(redis: &RedisServer) -> Result<BTreeMap<String, u64>> {
    let text: String = cmd("INFO").arg("commandstats").query(&mut redis.connection()?)?;
    Ok(parse(&text))
}

fn parse(text: &str) -> BTreeMap<String, u64> {
    let one = |line: &str| {
        let (name, rest) = line.trim().strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let command = name.split('|').next()?;
        let calls = rest.split(',').next()?.parse().ok()?;
        (!ASIDE.contains(&command)).then(|| (name.to_owned(), calls))
    };
    text.lines().filter_map(one).collect()
}

/// Calls per request over all rounds of a subject; empty if it did not run.
pub(crate) fn per_request(results: &Results, subject: &str) -> BTreeMap<String, f64> {
    let rounds: Vec<_> = results.measured.iter().filter(|measured| measured.subject == subject).collect();
    let requests: u64 = rounds.iter().map(|measured| measured.all_requests).sum();
    let mut calls: BTreeMap<String, f64> = BTreeMap::new();
    for (name, count) in rounds.iter().flat_map(|measured| &measured.redis_commands) {
        *calls.entry(name.clone()).or_default() += *count as f64 / requests.max(1) as f64;
    }
    calls
}

/// Whether both sides asked Redis the same; there is nothing to compare unless both ran.
///
/// # Errors
/// Says what each side sends.
pub(crate) fn compare(results: &Results) -> Result<()> {
    let [ours, theirs] = COMPARED.map(|subject| per_request(results, subject));
    if ours.is_empty() || theirs.is_empty() {
        return Ok(());
    }
    let differs = |name: &String| {
        let [ours, theirs] = [&ours, &theirs].map(|calls| calls.get(name).copied().unwrap_or(0.0));
        (ours - theirs).abs() > TOLERANCE
    };
    if ours.keys().chain(theirs.keys()).any(differs) {
        let [first, second] = COMPARED;
        bail!(
            "{first} and {second} do not send the same commands, so they cannot be compared: {} against {}",
            text(&ours),
            text(&theirs)
        );
    }
    Ok(())
}

/// `exec 1.000, incr 1.000`.
pub(crate) fn text(calls: &BTreeMap<String, f64>) -> String {
    let each: Vec<_> = calls.iter().map(|(name, calls)| format!("{name} {calls:.3}")).collect();
    each.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Measured;
    use crate::results::sample::{measured, results};

    #[test]
    fn commands_are_counted_and_what_serves_the_connection_is_not() {
        let info = "# Commandstats\r\n\
            cmdstat_incr:calls=7,usec=3,usec_per_call=0.4,rejected_calls=0,failed_calls=0\r\n\
            cmdstat_client|setinfo:calls=2,usec=3,usec_per_call=1.5\r\n\
            cmdstat_hello:calls=1,usec=9\r\ncmdstat_config|resetstat:calls=1,usec=9\r\n\
            cmdstat_xgroup|create:calls=3,usec=9\r\n";
        let calls: Vec<_> = parse(info).into_iter().collect();
        assert_eq!(calls, [("incr".to_owned(), 7), ("xgroup|create".to_owned(), 3)]);
        assert!(parse("").is_empty());
    }

    fn asked(subject: &str, round: usize, calls: &[(&str, u64)]) -> Measured {
        let redis_commands = calls.iter().map(|(name, calls)| ((*name).to_owned(), *calls)).collect();
        Measured { redis_commands, ..measured(subject, round, 1.0, 1.0) }
    }

    #[test]
    fn calls_are_counted_per_request_over_all_rounds() {
        let rounds =
            vec![asked("x", 1, &[("incr", 1000)]), asked("x", 2, &[("incr", 1000), ("expire", 500)])];
        let calls: Vec<_> = per_request(&results(rounds), "x").into_iter().collect();
        assert_eq!(calls, [("expire".to_owned(), 0.25), ("incr".to_owned(), 1.0)]);
    }

    #[test]
    fn sides_that_ask_for_different_things_are_not_compared() {
        let [ours, theirs] = COMPARED;
        let against = |calls: &[(&str, u64)]| {
            compare(&results(vec![
                asked(ours, 1, &[("incr", 1000), ("pttl", 1000)]),
                asked(theirs, 1, calls),
            ]))
        };
        assert!(against(&[("incr", 1000), ("pttl", 1000)]).is_ok());
        assert!(against(&[("incr", 1001), ("pttl", 1000)]).is_ok());
        let error = against(&[("incr", 1000)]).expect_err("one lacks a command");
        assert!(error.to_string().contains("incr 1.000, pttl 1.000 against incr 1.000"), "{error:#}");
        assert!(against(&[("incr", 1000), ("pttl", 1000), ("expire", 20)]).is_err());
        assert!(against(&[]).is_ok(), "one that did not run has nothing to compare");
    }

    #[test]
    fn a_server_tells_what_it_was_asked() -> Result<()> {
        let redis = RedisServer::start()?;
        let mut connection = redis.connection()?;
        let _: i64 = cmd("INCR").arg("before").query(&mut connection)?;
        reset(&redis)?;
        let _: i64 = cmd("INCR").arg("k").query(&mut connection)?;
        let _: i64 = cmd("INCR").arg("k").query(&mut connection)?;
        assert_eq!(calls(&redis)?, BTreeMap::from([("incr".to_owned(), 2)]));
        Ok(())
    }
}
