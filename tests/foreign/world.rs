//! A gateway with the guest on two routes, one for each kind of VM, and a Redis behind a fault proxy.

use agw_tests::{Client, FaultProxy, Gateway, RedisServer, Reply, guest};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Which VM serves, by the request's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vm {
    Exclusive,
    Shared,
}

/// The ways to call that work; blocking calls in a shared VM are refused.
pub(crate) const WAYS: [(Vm, &str); 3] =
    [(Vm::Exclusive, "blocking"), (Vm::Exclusive, "callback"), (Vm::Shared, "callback")];

pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) redis: RedisServer,
    pub(crate) proxy: FaultProxy,
}

impl Vm {
    pub(crate) fn host(self) -> &'static str {
        match self {
            Vm::Exclusive => "exclusive",
            Vm::Shared => "shared",
        }
    }
}

impl World {
    pub(crate) fn start() -> Result<World> {
        let redis = RedisServer::start()?;
        let proxy = FaultProxy::start(redis.address())?;
        let gateway = Gateway::start_with(
            &document(&proxy)?,
            &[],
            &["--admin", "127.0.0.1:0", "--workers", "1", "--access-log", "off"],
        )?;
        Ok(World { gateway, redis, proxy })
    }

    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::new(self.gateway.address()?))
    }

    /// Makes a scenario's calls.
    pub(crate) async fn ask(&self, vm: Vm, path: &str) -> Result<Reply> {
        self.client()?.get_with(path, &[("host", vm.host())]).await
    }

    /// The lines that a scenario's calls came to.
    pub(crate) async fn lines(&self, vm: Vm, path: &str) -> Result<Vec<String>> {
        let reply = self.ask(vm, path).await?;
        ensure!(reply.status == 200, "{path}: {} {}", reply.status, reply.text());
        Ok(reply.text().lines().map(str::to_owned).collect())
    }

    /// What the admin port says of the resource.
    pub(crate) fn resource(&self) -> Result<Value> {
        self.gateway.ask_admin("/v1/resources")?.json()?.get(0).cloned().context("no resource")
    }

    /// What it says of a VM's plugin.
    pub(crate) fn plugin(&self, vm: Vm) -> Result<Value> {
        let plugins = self.gateway.ask_admin("/v1/plugins")?.json()?;
        let found = plugins.as_array().and_then(|all| all.iter().find(|one| one["name"] == vm.host()));
        found.cloned().context("no such plugin")
    }
}

/// Names, grants and prefixes are those of the VM's kind; deadlines are far away.
fn document(proxy: &FaultProxy) -> Result<String> {
    let module = guest("foreign-raw")?;
    // Far more CPU time than it needs, so that a machine that stalls traps nothing.
    let limits = "limits: { cpu_time: 10s }";
    let (module, url) = (module.display(), proxy.redis_url());
    Ok(format!(
        r#"
version: 1
listeners: [{{ name: http, address: "127.0.0.1:0" }}]
routes:
  - {{ name: exclusive, match: {{ hosts: [exclusive], prefix: / }}, cluster: echo, timeout: 40s, plugins: [exclusive] }}
  - {{ name: shared, match: {{ hosts: [shared], prefix: / }}, cluster: echo, timeout: 40s, plugins: [shared] }}
clusters: [{{ name: echo, builtin: echo }}]
plugins:
  - {{ name: exclusive, module: {{ file: "{module}" }}, vm: {{ mode: exclusive }}, {limits} }}
  - {{ name: shared, module: {{ file: "{module}" }}, vm: {{ mode: shared }}, {limits} }}
resources:
  - name: store
    type: redis
    url: {url}
    limits: {{ call_timeout: 30s, call_timeout_max: 30s }}
    breaker: {{ failures: 1000 }}
    grants:
      - {{ plugin: exclusive, commands: [get, set, incr, lpush], key_prefix: "e:" }}
      - {{ plugin: shared, commands: [get, set, incr, lpush], key_prefix: "s:" }}
"#
    ))
}
