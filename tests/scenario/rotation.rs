mod certificates;
mod clients;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use agw_tests::{Authority, Gateway, Issued, Script, Upstream};
use anyhow::{Result, bail};

use self::certificates::{CERTIFICATE, KEY, Secret};
use self::clients::{Clients, Handshake, KEPT, Tally};
use crate::Verdict;

const REQUESTS: usize = 100_000;
/// How the files change, one after another. What is spoiled must change nothing.
const STEPS: [Step; 8] = {
    use Step::{Rename, Spoil, Swap};
    [Swap, Rename, Spoil, Swap, Rename, Spoil, Rename, Swap]
};
/// Handshakes between a step that the gateway has told of and the next.
const HANDSHAKES_PER_STEP: usize = 100;
/// For one step: the gateway looks every second.
const STEP_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Swap,
    Rename,
    Spoil,
}

/// From when on a certificate may be served, and from when on none before it.
#[derive(Clone, Copy, Debug)]
struct Placed {
    written: Instant,
    taken: Instant,
}

pub(crate) fn run(verdict: &mut Verdict) -> Result<()> {
    let authority = Authority::new()?;
    let issued =
        (0..=STEPS.len()).map(|_| authority.issue(certificates::NAME)).collect::<Result<Vec<_>>>()?;
    let mut secret = Secret::new(&issued[0])?;
    let upstream = Upstream::start(|_| Script::ok("hello"))?;
    let document = document(&upstream, &secret.path(CERTIFICATE), &secret.path(KEY));
    let options = ["--admin", "127.0.0.1:0", "--workers", "2", "--access-log", "off"];
    let gateway = Gateway::start_with(&document, &[], &options)?;

    let generations = issued.iter().map(|issued| issued.der.clone()).collect();
    let clients = Arc::new(Clients::new(gateway.address()?, generations, REQUESTS));
    let (start, roots) = (Instant::now(), authority.roots()?);
    let load = thread::spawn({
        let clients = Arc::clone(&clients);
        move || clients.run(&roots)
    });
    let rotated = rotate(&gateway, &clients, &mut secret, &issued);
    clients.finish();
    let tally = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
    let elapsed = start.elapsed();
    tally.failed.iter().take(10).for_each(|failure| println!("     {failure}"));
    judge(verdict, &tally, &rotated?, elapsed);
    Ok(())
}

fn document(upstream: &Upstream, certificate: &Path, key: &Path) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    format!(
        "version: 1
listeners:
  - name: https
    address: 127.0.0.1:0
    tls: {{ certificates: [{{ certificate: {{ file: \"{certificate}\" }}, key: {{ file: \"{key}\" }} }}] }}
routes: [{{ name: all, match: {{ prefix: / }}, cluster: up }}]
clusters: [{{ name: up, endpoints: [\"{}\"] }}]
",
        upstream.address()
    )
}

/// Changes the files under load. Each generation's place; a spoiled one has none.
fn rotate(
    gateway: &Gateway,
    clients: &Clients,
    secret: &mut Secret,
    issued: &[Issued],
) -> Result<Vec<Option<Placed>>> {
    let start = Instant::now();
    let mut placed = vec![Some(Placed { written: start, taken: start })];
    for (step, new) in STEPS.into_iter().zip(&issued[1..]) {
        let seen = clients.handshakes();
        wait("handshakes", || Ok(clients.handshakes() >= seen + HANDSHAKES_PER_STEP))?;
        let outcome = if step == Step::Spoil { "failed" } else { "ok" };
        let before = reloads(gateway, outcome)?;
        let written = Instant::now();
        match step {
            Step::Swap => secret.swap(new)?,
            Step::Rename => secret.rename(new)?,
            Step::Spoil => secret.spoil(new)?,
        }
        wait(outcome, || Ok(reloads(gateway, outcome)? > before))?;
        let taken = Instant::now();
        println!("     {step:?} after {} requests: {outcome} {:.1?} later", clients.sent(), taken - written);
        placed.push((step != Step::Spoil).then_some(Placed { written, taken }));
    }
    let seen = clients.handshakes();
    wait("handshakes", || Ok(clients.handshakes() >= seen + HANDSHAKES_PER_STEP))?;
    Ok(placed)
}

/// Certificates that the gateway says it has taken, or refused.
fn reloads(gateway: &Gateway, outcome: &str) -> Result<f64> {
    let count = gateway.metrics()?.value("agw_certificate_reloads_total", &[("outcome", outcome)]);
    Ok(count.unwrap_or_default())
}

fn wait(what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + STEP_WITHIN;
    while !holds()? {
        if Instant::now() >= end {
            bail!("no {what} in {STEP_WITHIN:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn judge(verdict: &mut Verdict, tally: &Tally, placed: &[Option<Placed>], elapsed: Duration) {
    let requests = tally.answered + tally.failed.len();
    let rate = requests as f64 / elapsed.as_secs_f64();
    println!("     {requests} requests in {elapsed:.1?}, {rate:.0}/s; {} handshakes resumed", tally.resumed);
    verdict.check("requests, at least 100,000", requests >= REQUESTS, requests);
    verdict.check("of which none failed", tally.failed.is_empty(), tally.failed.len());
    verdict.check("kept connections lived on", tally.kept == KEPT, format!("{} for {KEPT}", tally.kept));

    let handshakes = &tally.handshakes;
    let wrong = handshakes.iter().filter(|handshake| !right(handshake, placed)).count();
    let count = handshakes.len();
    verdict.check("handshakes with a wrong certificate", wrong == 0, format!("{wrong} of {count}"));
    let mut counts = vec![0; placed.len()];
    handshakes.iter().for_each(|handshake| counts[handshake.generation] += 1);
    let each = placed.iter().zip(&counts).all(|(placed, count)| placed.is_some() == (*count > 0));
    verdict.check("every good certificate was served, and none else", each, format!("{counts:?}"));
}

/// Whether this certificate could be served at that time: it was in place before the end, and none that was taken
/// before the beginning is newer.
fn right(handshake: &Handshake, placed: &[Option<Placed>]) -> bool {
    let in_place = placed.get(handshake.generation).copied().flatten();
    let newer = placed.iter().skip(handshake.generation + 1).flatten();
    in_place.is_some_and(|placed| placed.written <= handshake.ended)
        && newer.into_iter().all(|placed| placed.taken > handshake.begun)
}
