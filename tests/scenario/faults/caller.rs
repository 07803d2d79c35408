//! A gateway whose plugin makes one call of a resource for each request, and what calls come to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agw_tests::{Client, Gateway, guest};
use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::backend::Kind;
use super::certificates::Authority;
use crate::verdict::Verdict;

const BACK_WITHIN: Duration = Duration::from_secs(2);
/// No cure takes longer, whatever the machine.
pub(super) const GIVE_UP: Duration = Duration::from_secs(30);
/// Calls under each fault.
const CALLS: usize = 12;
/// Between two of them: some of them meet the probes of an open breaker.
const PACE: Duration = Duration::from_millis(60);
/// Of the resource.
const CALL_TIMEOUT: Duration = Duration::from_millis(400);

/// How many calls came to what.
pub(super) type Outcomes = BTreeMap<String, u64>;

/// See the module's text.
pub(super) struct Caller {
    gateway: Gateway,
}

impl Caller {
    /// `place` are the fields of the resource that say where it is.
    pub(super) fn start(kind: Kind, place: &str, password: &str, authority: &Authority) -> Result<Self> {
        let files = [("password", password.as_bytes()), ("ca.pem", &authority.pem().into_bytes())];
        let options = ["--admin", "127.0.0.1:0", "--workers", "1", "--access-log", "off"];
        Ok(Caller { gateway: Gateway::start_with(&document(kind, place)?, &files, &options)? })
    }

    /// Makes some calls, one after the other.
    pub(super) async fn ask(&self) -> Result<Outcomes> {
        let mut outcomes = BTreeMap::new();
        for _ in 0..CALLS {
            *outcomes.entry(self.call().await?).or_insert(0) += 1;
            tokio::time::sleep(PACE).await;
        }
        Ok(outcomes)
    }

    /// Asks until a call is answered.
    pub(super) async fn recover(&self) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let outcome = self.call().await?;
            if outcome == "ok" {
                return Ok(start.elapsed());
            }
            if start.elapsed() > GIVE_UP {
                bail!("still {outcome} after {GIVE_UP:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The outcome of one call, as the metrics have it.
    async fn call(&self) -> Result<String> {
        let before = self.outcomes().await?;
        let asked = Client::new(self.gateway.address()?).get("/a/echo/1").await;
        asked.context("a request has to be answered, whatever its call comes to")?;
        let after = self.outcomes().await?;
        let more =
            after.into_iter().find(|(outcome, count)| before.get(outcome).is_none_or(|old| old < count));
        Ok(more.context("the request made no call")?.0)
    }

    async fn outcomes(&self) -> Result<Outcomes> {
        let page = Client::new(self.gateway.admin()).get("/metrics").await?.text();
        let counts = page.lines().filter_map(|line| {
            let rest = line.strip_prefix("agw_resource_operation_duration_seconds_count{")?;
            let (labels, count) = rest.split_once("} ")?;
            let (_, outcome) = labels.split_once("outcome=\"")?;
            Some((outcome.split('"').next()?.to_owned(), count.trim().parse().ok()?))
        });
        Ok(counts.collect())
    }

    /// Nothing is held when nobody asks. Gives the resource as the admin port shows it.
    pub(super) fn nothing_is_held(&self, cell: &str, verdict: &mut Verdict) -> Result<Value> {
        let end = Instant::now() + GIVE_UP;
        let (resource, plugin) = loop {
            let page = |path| anyhow::Ok(self.gateway.ask_admin(path)?.json()?[0].clone());
            let (resource, plugin) = (page("/v1/resources")?, page("/v1/plugins")?);
            let connections = &resource["connections"];
            let held = [&resource["in_flight"], &resource["waiting"], &connections["leased"]];
            if held.iter().all(|count| **count == 0) || Instant::now() >= end {
                break (resource, plugin);
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let counts = [&resource["in_flight"], &resource["waiting"], &resource["connections"]["leased"]];
        let promise = format!("{cell}: calls under way, waiting, connections leased in the end");
        verdict.check(&promise, counts.iter().all(|count| **count == 0), format!("{counts:?}"));
        let traps = self.gateway.metrics()?.value("agw_plugin_traps_total", &[]).unwrap_or_default();
        let vms = plugin["vms"].as_u64().unwrap_or_default();
        let figure = format!("{traps} and {vms}");
        verdict.check(&format!("{cell}: traps, and VMs"), traps == 0.0 && vms == 1, figure);
        Ok(resource)
    }
}

/// `allowed` is what calls may come to under the fault, the first of it at least once.
pub(super) fn judge(
    verdict: &mut Verdict,
    cell: &str,
    allowed: &[&str],
    outcomes: &Outcomes,
    back: Duration,
) {
    let known = outcomes.keys().all(|outcome| allowed.contains(&outcome.as_str()))
        && allowed.first().is_some_and(|first| outcomes.contains_key(*first));
    verdict.check(cell, known, format!("{outcomes:?}"));
    verdict.within(&format!("{cell}: answered again after its cure"), BACK_WITHIN, back);
}

fn document(kind: Kind, place: &str) -> Result<String> {
    let (plugin, kind) = match kind {
        Kind::Redis => (
            "module: { builtin: rate-limit }, vm: { mode: shared }, \
             configuration: { limit: 1000000, window: 3600, resource: db, on_error: closed }"
                .to_owned(),
            "type: redis\n  grants: [{ plugin: a, commands: [set, incr, pttl], key_prefix: \"a:\" }]"
                .to_owned(),
        ),
        Kind::Postgres | Kind::Mariadb => {
            let (name, text) = match kind {
                Kind::Postgres => ("postgres", "SELECT $1::bigint"),
                _ => ("mysql", "SELECT CAST(? AS SIGNED)"),
            };
            let module = guest("sql-probe")?;
            (
                format!("module: {{ file: \"{}\" }}, configuration: db", module.display()),
                format!(
                    "type: {name}\n  statements: {{ echo: \"{text}\" }}\n  \
                     grants: [{{ plugin: a, statements: [echo] }}]"
                ),
            )
        }
    };
    let timeout = CALL_TIMEOUT.as_millis();
    Ok(format!(
        "version: 1
listeners: [{{ name: http, address: \"127.0.0.1:0\" }}]
routes: [{{ name: a, match: {{ prefix: /a/ }}, cluster: echo, plugins: [a] }}]
clusters: [{{ name: echo, builtin: echo }}]
plugins: [{{ name: a, {plugin} }}]
resources:
- name: db
  {kind}
  {place}
  username: agw
  password: {{ file: password }}
  limits: {{ call_timeout: {timeout}ms }}
  pool: {{ acquire_timeout: 1s }}
"
    ))
}
