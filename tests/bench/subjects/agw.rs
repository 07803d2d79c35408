//! AGW: one worker, one route, the upstream; chains of plugins on the route.

use std::net::SocketAddr;

use agw_tests::guest;
use anyhow::{Context, Result};

use super::{HEADER_RULES, KEY_PREFIX, LIMIT, Surroundings, WINDOW_SECONDS};
use crate::server::Server;

pub(super) fn plain(around: &Surroundings) -> Result<Server> {
    Server::agw(&document(around.upstream, &[], ""))
}

pub(super) fn filtered(around: &Surroundings, count: usize) -> Result<Server> {
    Server::agw(&filter_document(around.upstream, count)?)
}

pub(super) fn rate_limit(around: &Surroundings) -> Result<Server> {
    let redis = around.redis.as_deref().context("this subject needs a Redis")?;
    Server::agw(&rate_limit_document(around.upstream, redis))
}

/// The stock header filter so many times in a chain; as with `agw try --count` and in Envoy, its contexts share a VM.
pub(super) fn filter_document(upstream: SocketAddr, count: usize) -> Result<String> {
    let module = guest("header-filter")?;
    let names = vec!["headers".to_owned(); count];
    let rules = HEADER_RULES.replace('\n', "\n      ");
    let plugins = format!(
        "plugins:
  - name: headers
    module: {{ file: {} }}
    configuration: |
      {}
",
        module.display(),
        rules.trim_end()
    );
    Ok(document(upstream, &names, &plugins))
}

/// The embedded rate limit on `/`; `/plain/` goes without it. Redis that fails is a 503, so that no uncounted request
/// can pass for a counted one. The bounds leave room for a thousand connections.
pub(crate) fn rate_limit_document(upstream: SocketAddr, redis: &str) -> String {
    let plugins = format!(
        "  - name: plain
    match: {{ prefix: /plain/ }}
    cluster: upstream
plugins:
  - name: limit
    module: {{ builtin: rate-limit }}
    configuration: {{ name: per-key, limit: {LIMIT}, window: {WINDOW_SECONDS}, key: [{{ header: x-api-key }}], on_error: closed }}
    vm: {{ mode: shared }}
    limits: {{ foreign_calls: 4096 }}
resources:
  - name: limits
    type: redis
    url: redis://{redis}
    limits: {{ call_timeout: 1s, in_flight: 4096, waiters: 4096 }}
    grants:
      - plugin: limit
        commands: [set, incr, pttl, expire]
        key_prefix: \"{KEY_PREFIX}\"
"
    );
    document(upstream, &["limit".to_owned()], &plugins)
}

/// `rest` goes on after the route: more routes, then other sections.
fn document(upstream: SocketAddr, plugins: &[String], rest: &str) -> String {
    format!(
        "version: 1
listeners:
  - name: main
    address: 127.0.0.1:0
clusters:
  - name: upstream
    endpoints: [\"{upstream}\"]
    idle_connections: 4096
routes:
  - name: all
    match: {{ prefix: / }}
    cluster: upstream
    plugins: [{}]
{rest}",
        plugins.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use agw_tests::gateway;

    use super::*;

    /// The gateway itself says whether it would run with a document.
    fn accepted(document: &str) -> Result<()> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("agw.yaml"), document)?;
        let output = gateway::output(folder.path(), &["check", "--config", "agw.yaml"])?;
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{document}");
        Ok(())
    }

    #[test]
    fn the_gateway_accepts_every_document_of_the_bench() -> Result<()> {
        let upstream = SocketAddr::from(([127, 0, 0, 1], 9));
        accepted(&document(upstream, &[], ""))?;
        accepted(&filter_document(upstream, 1)?)?;
        accepted(&filter_document(upstream, 16)?)?;
        accepted(&rate_limit_document(upstream, "127.0.0.1:9"))
    }
}
