//! Requests changed at random, by seeds. Whatever comes out of it: what goes upstream is what stands in the bytes, as
//! often as the gateway answered it, and in no form that servers read in different ways.

mod change;
mod judge;
mod model;

use std::collections::HashMap;
use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agw_tests::{Gateway, Received, Recorder};
use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::change::{Corpus, Trial};
use self::judge::Findings;
use crate::{case, outcome};

/// Trials without `AGW_TEST_MUTATIONS`.
const TRIALS: u64 = 5_000;
/// Trials of one gateway; of its output the harness keeps 20,000 lines.
const BATCH: u64 = 4_000;
/// Connections at once.
const AT_ONCE: usize = 400;
/// The gateway's own times are far shorter.
const WITHIN: Duration = Duration::from_secs(30);
/// What is shown of broken trials; the others are counted.
const SHOWN: usize = 20;

fn start(recorder: &Recorder) -> Result<Gateway> {
    let document = format!(
        "version: 1
listeners: [{{ name: http, address: \"127.0.0.1:0\", limits: {{ header_timeout: 600ms, idle_timeout: 150ms }} }}]
routes: [{{ name: all, match: {{ prefix: / }}, cluster: up, timeout: 10s, idle_timeout: 600ms }}]
clusters: [{{ name: up, endpoints: [\"{}\"], connect_timeout: 5s }}]
",
        recorder.address()
    );
    Gateway::start_with(&document, &[], &["--admin", "127.0.0.1:0", "--workers", "2"])
}

#[tokio::test]
async fn changed_requests_reach_the_upstream_as_they_stand_in_the_bytes_or_not_at_all() -> Result<()> {
    let _alone = crate::ALONE.lock().await;
    let given = |name| env::var(name).ok().map(|text| text.parse::<u64>().context(name)).transpose();
    let replayed = given("AGW_TEST_SEED")?;
    let count = given("AGW_TEST_MUTATIONS")?.unwrap_or(if replayed.is_some() { 1 } else { TRIALS });
    let first = replayed.unwrap_or(1);
    let corpus = Arc::new(Corpus::new(&case::collected()?));
    let (mut broken, mut forwarded, mut refused) = (Vec::new(), 0, 0);
    for start in (0..count).step_by(BATCH as usize) {
        let seeds = first + start..first + count.min(start + BATCH);
        for (seed, findings) in run(&corpus, seeds).await? {
            let trial = corpus.trial(seed);
            forwarded += findings.upstream.iter().map(|verdict| verdict.requests.len()).sum::<usize>();
            refused += findings.statuses.iter().filter(|status| **status != 204).count();
            let rules = judge::broken(&trial.bytes, &findings);
            if replayed.is_some() {
                println!("{}\n{:#?}\n{findings:#?}", trial.bytes.escape_ascii(), model::read(&trial.bytes));
            }
            broken.extend(rules.into_iter().map(|rule| {
                let Findings { statuses, told, .. } = &findings;
                let bytes = trial.bytes.escape_ascii();
                format!("AGW_TEST_SEED={seed}: {rule}\n    {bytes}\n    {statuses:?} {told:?}")
            }));
        }
    }
    println!(
        "{count} trials: {forwarded} requests went upstream, {refused} got another answer than the upstream's"
    );
    let shown = broken.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n");
    assert!(broken.is_empty(), "{} rules broken:\n{shown}", broken.len());
    // A gateway that refuses everything would break no rule.
    ensure!(replayed.is_some() || forwarded as u64 > count / 4, "hardly anything is forwarded");
    Ok(())
}

/// Everything that comes of these trials, on a gateway of their own.
async fn run(corpus: &Arc<Corpus>, seeds: std::ops::Range<u64>) -> Result<HashMap<u64, Findings>> {
    let recorder = Recorder::start()?;
    let mut gateway = start(&recorder)?;
    let address = gateway.address()?;
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut clients = JoinSet::new();
    for seed in seeds.clone() {
        let (corpus, places) = (Arc::clone(corpus), Arc::clone(&places));
        clients.spawn(async move {
            let _place = places.acquire_owned().await?;
            let answer = exchange(address, source(seed), corpus.trial(seed)).await;
            anyhow::Ok((seed, answer.with_context(|| format!("AGW_TEST_SEED={seed}"))?))
        });
    }
    let mut findings = HashMap::new();
    while let Some(done) = clients.join_next().await {
        let (seed, answer) = done??;
        let mut of_seed = Findings::default();
        (of_seed.statuses, of_seed.noise) = outcome::statuses(&answer);
        findings.insert(seed, of_seed);
    }
    let status = gateway.terminate(WITHIN)?;
    ensure!(status.success(), "the gateway ended with {status}:\n{}", gateway.output());
    let output = gateway.output();
    ensure!(!output.contains("panicked"), "{output}");
    let seeds_by_source: HashMap<_, _> = seeds.map(|seed| (source(seed), seed)).collect();
    for told in judge::told(&output)? {
        let source: SocketAddr = told.source.parse()?;
        let seed = seeds_by_source.get(&source.ip()).context("a line of nobody's")?;
        findings.entry(*seed).or_default().told.push(told);
    }
    for received in outcome::settled(&recorder).await? {
        let source = forwarded_for(&received)?;
        let seed = seeds_by_source.get(&source).context("a request of nobody's")?;
        findings.entry(*seed).or_default().upstream.push(received.verdict());
    }
    Ok(findings)
}

/// An address of the loopback network for each trial of a batch, so that log and upstream say whose request it was.
fn source(seed: u64) -> IpAddr {
    let [.., a, b] = (seed % BATCH).to_be_bytes();
    Ipv4Addr::new(127, 77, a, b).into()
}

/// Who the gateway says has sent it.
fn forwarded_for(received: &Received) -> Result<IpAddr> {
    let text = String::from_utf8_lossy(&received.bytes).to_ascii_lowercase();
    let value = text.lines().find_map(|line| line.strip_prefix("x-forwarded-for:"));
    value.and_then(|value| value.trim().parse().ok()).with_context(|| format!("whose is this? {text}"))
}

/// Sends the bytes in their pieces; everything that the gateway says until it closes.
async fn exchange(proxy: SocketAddr, source: IpAddr, trial: Trial) -> Result<Vec<u8>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let stream = socket.connect(proxy).await?;
    stream.set_nodelay(true)?;
    let (mut reading, mut writing) = stream.into_split();
    let sending = async {
        let mut from = 0;
        for to in trial.cuts.into_iter().chain([trial.bytes.len()]) {
            // The gateway may have closed already; what it has said is still there.
            if writing.write_all(&trial.bytes[from..to]).await.is_err() {
                break;
            }
            from = to;
            sleep(Duration::from_millis(1)).await;
        }
        writing
    };
    let mut answer = Vec::new();
    let both = async { tokio::join!(sending, reading.read_to_end(&mut answer)) };
    let (_writing, _read) = timeout(WITHIN, both).await.context("the gateway neither answers nor closes")?;
    Ok(answer)
}
