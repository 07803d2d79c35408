//! Requests that two servers read differently: the published collections, sent to the gateway and to nginx on the
//! same bytes, in front of an upstream that keeps every byte.
//!
//! Whatever comes in, the gateway refuses it, or sends exactly one request that no server can read in two ways.

mod case;
mod generated;
mod golden;
mod mutations;
mod outcome;
mod rules;

use std::time::Duration;

use agw_tests::{Gateway, Nginx, Recorder};
use anyhow::Result;

use crate::case::Case;
use crate::golden::Golden;

/// Both proxies give up on a client after so long.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Both suites keep the machine busy, and the gateway's times are real.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// One listener and one worker in front of `recorder`.
fn gateway(recorder: &Recorder) -> Result<Gateway> {
    let timeout = TIMEOUT.as_millis();
    let document = format!(
        "version: 1
listeners: [{{ name: http, address: \"127.0.0.1:0\", limits: {{ header_timeout: {timeout}ms, idle_timeout: {timeout}ms }} }}]
routes: [{{ name: all, match: {{ prefix: / }}, cluster: up, timeout: {timeout}ms }}]
clusters: [{{ name: up, endpoints: [\"{}\"] }}]
",
        recorder.address()
    );
    Gateway::start_with(&document, &[], &["--admin", "127.0.0.1:0", "--workers", "1"])
}

#[tokio::test]
async fn no_bytes_become_two_requests_and_nothing_is_laxer_than_nginx() -> Result<()> {
    let _alone = ALONE.lock().await;
    let cases: Vec<Case> = [case::collected()?, generated::generated()].concat();
    let (behind_agw, behind_nginx) = (Recorder::start()?, Recorder::start()?);
    let gateway = gateway(&behind_agw)?;
    let nginx = Nginx::proxy(behind_nginx.address(), TIMEOUT, "")?;
    let (agw, nginx) = tokio::try_join!(
        outcome::run(&cases, gateway.address()?, &behind_agw),
        outcome::run(&cases, nginx.address(), &behind_nginx),
    )?;
    assert!(!gateway.output().contains("panicked"), "{}", gateway.output());

    let table = Golden::new(&cases, &agw, &nginx)?;
    println!("{}", table.text());
    let mut broken = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let id = outcome::id(index);
        let rules = rules::broken(case, &id, &agw[index], &nginx[index]);
        broken.extend(rules.into_iter().map(|rule| {
            let Case { name, source, bytes, .. } = case;
            let shown = &bytes[..bytes.len().min(300)];
            format!("{name} ({source}): {rule}\n    {}\n    {}", agw[index].shown(), shown.escape_ascii())
        }));
    }
    assert!(broken.is_empty(), "{} rules broken:\n{}", broken.len(), broken.join("\n"));
    if !table.blessed()? {
        let kept = Golden::read()?;
        let mut differences = table.differences(&kept);
        if table.version == kept.version {
            differences.extend(rules::stale(&cases, &agw, &nginx));
        }
        assert!(differences.is_empty(), "set AGW_TEST_BLESS=1 if this is right:\n{}", differences.join("\n"));
    }
    Ok(())
}

#[test]
fn every_case_has_a_name_of_its_own() -> Result<()> {
    let mut names: Vec<_> = [case::collected()?, generated::generated()].concat();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    for pair in names.windows(2) {
        assert_ne!(pair[0].name, pair[1].name);
    }
    Ok(())
}
