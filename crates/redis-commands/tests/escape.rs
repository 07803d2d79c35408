//! Hostile commands by the thousand against a real server, with other people's keys beside the grant's prefix.
//!
//! Afterwards the others' keys must be as they were, no key may have appeared outside the prefix, and no reply
//! may have shown a name or a value that the guest could not know. `AGW_ESCAPE_COMMANDS` sets how many commands
//! are made (50,000 by default) and `AGW_ESCAPE_SEED` the seed, which a failure prints.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

#[path = "support/hostile.rs"]
mod hostile;
#[path = "support/planted.rs"]
mod planted;
#[path = "support/server.rs"]
mod server;
#[path = "support/templates.rs"]
mod templates;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agw_redis_commands::{Admitted, Blocking, CommandSet, Keys, Refusal, Rules, RulesSpec, all};
use hostile::Hostile;
use planted::{PREFIX, Planted};
use server::{Connection, Server};

/// Commands that go out at once, after which the guest's own keys are dropped so that they stay small.
const BATCH: u64 = 500;

#[derive(Default)]
struct Tally {
    made: u64,
    admitted: u64,
    denied: u64,
    invalid: u64,
    held_back: u64,
    succeeded: u64,
    /// By command: answered without an error.
    distinct: BTreeMap<&'static str, u64>,
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
        Err(_) => default,
    }
}

fn rules(read_only: bool) -> Rules {
    let commands = CommandSet::AllSafe;
    Rules::new(RulesSpec { commands, key_prefix: PREFIX, read_only, key_bytes_max: 200 }).unwrap()
}

/// A test cannot wait for what blocks for ever; the guard has told it so.
fn patient(admitted: &Admitted) -> bool {
    match admitted.blocking {
        Blocking::No => true,
        Blocking::AtMost(time) => time <= Duration::from_millis(2),
        Blocking::Forever => false,
    }
}

/// One batch as RESP, with what each command in it was.
type Batch = (Vec<u8>, Vec<(Admitted, Vec<Vec<u8>>)>);

/// Makes a batch of what the guard admits, `wanted` permitting.
fn make_batch(
    rules: &Rules,
    hostile: &mut Hostile,
    tally: &mut Tally,
    wanted: impl Fn(&Admitted) -> bool,
) -> Batch {
    let mut out = Vec::new();
    let mut sent = Vec::new();
    for _ in 0..BATCH {
        let line = hostile.line();
        let args: Vec<&[u8]> = line.iter().map(Vec::as_slice).collect();
        let start = out.len();
        tally.made += 1;
        match rules.admit(&args, &mut out) {
            Ok(admitted) if wanted(&admitted) => {
                tally.admitted += 1;
                sent.push((admitted, line));
            }
            Ok(_) => {
                tally.admitted += 1;
                tally.held_back += 1;
                out.truncate(start);
            }
            Err(refusal) => {
                assert_eq!(out.len(), start, "a refusal appended something: {line:?}");
                match refusal {
                    Refusal::Denied(_) => tally.denied += 1,
                    Refusal::Invalid(_) => tally.invalid += 1,
                }
            }
        }
    }
    (out, sent)
}

/// The next reply as the guest would see it.
fn shown(rules: &Rules, connection: &mut Connection, admitted: &Admitted, line: &[Vec<u8>]) -> Vec<u8> {
    let raw = connection.reply();
    match admitted.reply.apply(&raw, rules.key_prefix()) {
        Ok(shown) => shown.into_owned(),
        Err(error) => panic!("{error}: {line:?} was answered {:?}", String::from_utf8_lossy(&raw)),
    }
}

impl Tally {
    fn count(&mut self, admitted: &Admitted, reply: &[u8]) {
        if reply[0] != b'-' {
            self.succeeded += 1;
            *self.distinct.entry(admitted.command.name).or_default() += 1;
        }
    }
}

fn escape(seed: u64, commands: u64, read_only: bool) -> Tally {
    println!("AGW_ESCAPE_SEED={seed}, {commands} commands, read-only: {read_only}");
    let server = Server::start();
    let planted = Planted::plant(&mut server.connect());
    let rules = rules(read_only);
    let mut hostile = Hostile::new(seed);
    let mut connection = server.connect();
    let mut witness = server.connect();
    let mut tally = Tally::default();
    let own = Planted::plant_own(&mut witness);
    for batch in 1.. {
        let (out, sent) = make_batch(&rules, &mut hostile, &mut tally, patient);
        connection.send(&out);
        for (admitted, line) in sent {
            let reply = shown(&rules, &mut connection, &admitted, &line);
            planted.assert_not_shown(&reply, &line);
            tally.count(&admitted, &reply);
        }
        let last = tally.made >= commands;
        if last || batch % 20 == 0 {
            planted.assert_untouched(&mut witness);
        }
        match read_only {
            true => Planted::assert_own_untouched(&own, &mut witness),
            false => Planted::renew_own(&mut witness),
        }
        if last {
            break;
        }
    }
    tally
}

/// Whether two servers in the same state must give the same answer: nothing random, and no clock.
fn repeatable(admitted: &Admitted) -> bool {
    const NOT: &[&str] = &[
        "spop",
        "srandmember",
        "hrandfield",
        "zrandmember",
        "sort",
        "sort_ro",
        "scan",
        "sscan",
        "hscan",
        "zscan",
        "time",
        "ttl",
        "pttl",
        "psetex",
        "pexpire",
        "dump",
        "memory|usage",
        "object|idletime",
        "object|freq",
    ];
    let name = admitted.command.name;
    // Ids of stream entries are made from the clock.
    let stream = name.starts_with('x');
    patient(admitted)
        && admitted.blocking == Blocking::No
        && !stream
        && !NOT.contains(&name)
        && !name.contains("expiretime")
}

/// Sets come in any order: compares the reply's lines as a bag.
fn bag(reply: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<_> = reply.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

fn report(tally: &Tally, took: Duration) {
    println!(
        "{} made in {took:.1?}: {} admitted ({} of them not sent because they block), {} denied, {} invalid; \
         {} answered without an error, by {} distinct commands",
        tally.made,
        tally.admitted,
        tally.held_back,
        tally.denied,
        tally.invalid,
        tally.succeeded,
        tally.distinct.len(),
    );
}

#[test]
fn nothing_outside_the_prefix_is_read_or_changed() {
    let start = Instant::now();
    let seed = setting("AGW_ESCAPE_SEED", 20_261_122);
    let tally = escape(seed, setting("AGW_ESCAPE_COMMANDS", 50_000), false);
    report(&tally, start.elapsed());
    assert!(tally.admitted * 10 > tally.made * 3, "too few were admitted for the test to mean anything");
    assert!(tally.succeeded * 10 > tally.made * 2, "too few succeeded for the test to mean anything");
    let grantable = all().iter().filter(|row| row.grantable() && row.keys != Keys::Subcommands);
    let never: Vec<_> =
        grantable.map(|row| row.name).filter(|name| !tally.distinct.contains_key(name)).collect();
    println!("grantable commands that never succeeded: {never:?}");
    assert!(tally.distinct.len() > 170, "only {} distinct commands succeeded", tally.distinct.len());
}

#[test]
fn a_read_only_grant_changes_nothing_at_all() {
    let start = Instant::now();
    let seed = setting("AGW_ESCAPE_SEED", 20_261_123);
    let tally = escape(seed, setting("AGW_ESCAPE_COMMANDS", 50_000) / 5, true);
    report(&tally, start.elapsed());
    assert!(tally.succeeded * 10 > tally.made, "too few succeeded for the test to mean anything");
    assert!(tally.distinct.len() > 70, "only {} distinct commands succeeded", tally.distinct.len());
}

/// The same commands go to two servers, of which only one holds other people's keys. Equal answers to all of them
/// mean that not even the existence, type or size of another's key shows.
#[test]
fn answers_do_not_depend_on_keys_outside_the_prefix() {
    let start = Instant::now();
    let seed = setting("AGW_ESCAPE_SEED", 20_261_124);
    let commands = setting("AGW_ESCAPE_COMMANDS", 50_000) / 2;
    println!("AGW_ESCAPE_SEED={seed}, {commands} commands, two servers");
    let (shared, alone) = (Server::start(), Server::start());
    let planted = Planted::plant(&mut shared.connect());
    let rules = rules(false);
    let mut hostile = Hostile::new(seed);
    let mut connections = [shared.connect(), alone.connect()];
    let mut tally = Tally::default();
    while tally.made < commands {
        for connection in &mut connections {
            Planted::renew_own(connection);
        }
        let (out, sent) = make_batch(&rules, &mut hostile, &mut tally, repeatable);
        connections.iter_mut().for_each(|connection| connection.send(&out));
        for (admitted, line) in sent {
            let [one, other] =
                connections.each_mut().map(|connection| shown(&rules, connection, &admitted, &line));
            assert_eq!(bag(&one), bag(&other), "{line:?}");
            tally.count(&admitted, &one);
        }
    }
    planted.assert_untouched(&mut shared.connect());
    report(&tally, start.elapsed());
    assert!(tally.succeeded * 10 > tally.made * 2, "too few succeeded for the test to mean anything");
    assert!(tally.distinct.len() > 110, "only {} distinct commands succeeded", tally.distinct.len());
}
