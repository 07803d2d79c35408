use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use agw_tests::{Gateway, Load, Script, Upstream};
use anyhow::{Context, Result};

use crate::Verdict;

const REQUESTS: usize = 100_000;
const CONNECTIONS: usize = 64;
/// Fewer sockets than workers, then more, then as many.
const WORKERS: [&str; 4] = ["1", "3", "3", "2"];

pub(crate) fn run(verdict: &mut Verdict) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("agw.sock");
    let upstreams = [Upstream::start(|_| Script::ok("odd"))?, Upstream::start(|_| Script::ok("even"))?];
    let any = ([127, 0, 0, 1], 0).into();
    let mut gateway = start(any, any, &upstreams[0], "2", &path)?;
    let (address, admin) = (gateway.address()?, gateway.admin());
    let load = thread::spawn(move || Load::new(address, "/", CONNECTIONS).run(REQUESTS));
    let mut hand_overs = 0;
    while !load.is_finished() {
        let workers = WORKERS[hand_overs % WORKERS.len()];
        let next = start(address, admin, &upstreams[(hand_overs + 1) % 2], workers, &path)?;
        let status = gateway.process().wait(Duration::from_secs(60))?;
        anyhow::ensure!(status.success(), "the old process: {status}");
        gateway = next;
        hand_overs += 1;
    }
    let report = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
    println!("     {report}");
    verdict.check("processes took over under load, at least 3", hand_overs >= 3, hand_overs);
    verdict.check("requests", report.samples.len() == REQUESTS, report.samples.len());
    let failed = REQUESTS - report.count(200);
    verdict.check("of which none failed", failed == 0, failed);
    Ok(())
}

fn start(
    address: SocketAddr,
    admin: SocketAddr,
    upstream: &Upstream,
    workers: &str,
    path: &Path,
) -> Result<Gateway> {
    let document = format!(
        "version: 1\nlisteners: [{{ name: http, address: \"{address}\" }}]\n\
         routes: [{{ name: all, match: {{ prefix: / }}, cluster: up }}]\n\
         clusters: [{{ name: up, endpoints: [\"{}\"] }}]\n",
        upstream.address()
    );
    let admin = admin.to_string();
    let path = path.to_str().context("UTF-8")?;
    let options = ["--admin", &admin, "--workers", workers, "--hand-over", path, "--access-log", "off"];
    Gateway::start_with(&document, &[], &options)
}
