//! Plugins on a database, through the gateway: what the scenarios of SQL share. Each runs on every server.

pub(crate) mod deadline;
pub(crate) mod held;
pub(crate) mod injection;
pub(crate) mod outage;

mod asks;
mod server;

use std::time::{Duration, Instant};

use agw_tests::{Gateway, guest};
use anyhow::{Context, Result, bail};
use serde_json::Value;

use self::asks::{Answer, Ask};
use self::server::{Kind, Server};
use crate::verdict::Verdict;

/// Connections of the pool.
const POOL_MAX: usize = 16;
/// What was asked for is over by then.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);

/// How much a scenario does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Size {
    #[allow(dead_code, reason = "what the suite does not run")]
    Full,
    #[allow(dead_code, reason = "what the scenario does not run")]
    Small,
}

impl Size {
    fn of<T>(self, full: T, small: T) -> T {
        match self {
            Size::Full => full,
            Size::Small => small,
        }
    }
}

/// A server, and a gateway in front of it with the plugins `a` and `b` (`tests/guests/sql-probe`).
struct World {
    server: Server,
    gateway: Gateway,
}

impl World {
    /// `share` is what each plugin may have of the pool, in per cent.
    fn start(kind: Kind, share: u32) -> Result<World> {
        println!("--- {kind:?}");
        let server = Server::start(kind)?;
        server.make_tables()?;
        let document = document(&server, share)?;
        let options = ["--admin", "127.0.0.1:0", "--workers", "2", "--access-log", "off"];
        let password = [("password", server.password().as_bytes())];
        let gateway = Gateway::start_with(&document, &password, &options)?;
        Ok(World { server, gateway })
    }

    /// Sends these over so many connections, and waits for all answers.
    fn ask(
        &self,
        connections: usize,
        count: usize,
        make: impl Fn(usize) -> Ask + Send + Sync + 'static,
    ) -> Result<Vec<Answer>> {
        asks::start(self.gateway.address()?, connections, move |number| {
            (number < count).then(|| make(number))
        })?
        .finish()
    }

    /// What the admin port says of the resource.
    fn resource(&self) -> Result<Value> {
        self.gateway.ask_admin("/v1/resources")?.json()?.get(0).cloned().context("no resource")
    }

    fn vms(&self) -> Result<f64> {
        self.gateway.metrics()?.value("agw_plugin_vms", &[]).context("agw_plugin_vms")
    }

    fn connections(&self, state: &str) -> Result<f64> {
        let labels = [("resource", "db"), ("state", state)];
        let count = self.gateway.metrics()?.value("agw_resource_pool_connections", &labels);
        Ok(count.unwrap_or_default())
    }

    /// Nothing is held when nobody asks: no place, no connection, no VM that has trapped.
    fn nothing_is_lost(&self, verdict: &mut Verdict) -> Result<()> {
        until("no call is under way", || Ok(self.connections("leased")? == 0.0))?;
        let resource = self.resource()?;
        let (in_flight, waiting) = (&resource["in_flight"], &resource["waiting"]);
        verdict.check(
            "calls under way and waiting in the end",
            *in_flight == 0 && *waiting == 0,
            format!("{in_flight} and {waiting}"),
        );
        // The server may still be at the end of one that was given up.
        let counts = || anyhow::Ok((self.connections("idle")?, self.server.connections()?));
        let same = |(idle, open): (f64, usize)| idle == open as f64 && open <= POOL_MAX;
        let settled = until("both count the same connections", || Ok(same(counts()?)));
        let (idle, open) = counts()?;
        let figure = format!("{idle} and {open}");
        verdict.check("connections that the gateway and the server count", settled.is_ok(), figure);
        let traps = self.gateway.metrics()?.value("agw_plugin_traps_total", &[]).unwrap_or_default();
        verdict.check("VMs that trapped", traps == 0.0, traps);
        Ok(())
    }
}

/// Waits until it holds.
fn until(what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + SETTLES_WITHIN;
    while !holds()? {
        if Instant::now() >= end {
            bail!("after {SETTLES_WITHIN:?} it still does not hold: {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn document(server: &Server, share: u32) -> Result<String> {
    let module = guest("sql-probe")?;
    let each = |line: fn(&str) -> String| ["a", "b"].map(line).concat();
    let routes = each(|name| {
        format!(
            "  - {{ name: {name}, match: {{ prefix: /{name}/ }}, cluster: echo, timeout: 50s, plugins: [{name}] }}\n"
        )
    });
    let plugins = each(|name| {
        format!(
            "  - {{ name: {name}, module: {{ file: MODULE }}, configuration: db, vm: {{ max: 2000, wait: 5s }}, \
             limits: {{ foreign_calls: 4000, cpu_time: 10s }} }}\n"
        )
    });
    let plugins = plugins.replace("MODULE", &format!("{:?}", module.display().to_string()));
    let mut statements = String::new();
    let mut names = Vec::new();
    for (name, text) in server.statements() {
        statements.push_str(&format!("      {name}: {text:?}\n"));
        names.push(*name);
    }
    let names = names.join(", ");
    let grants = each(|name| {
        format!(
            "      - {{ plugin: {name}, statements: [NAMES], ad_hoc: true, read_only: false, share: SHARE }}\n"
        )
    });
    let grants = grants.replace("NAMES", &names).replace("SHARE", &share.to_string());
    Ok(format!(
        "version: 1
listeners: [{{ name: http, address: \"127.0.0.1:0\" }}]
routes:
{routes}  - {{ name: plain, match: {{ prefix: / }}, cluster: echo }}
clusters: [{{ name: echo, builtin: echo }}]
plugins:
{plugins}resources:
  - name: db
    url: {}
    type: {}
    username: agw
    password: {{ file: password }}
    pool: {{ max: {POOL_MAX}, acquire_timeout: 1m }}
    limits: {{ call_timeout: 20s, in_flight: 2000, waiters: 2000 }}
    statements:
{statements}    grants:
{grants}",
        server.url(),
        server.type_name(),
    ))
}
