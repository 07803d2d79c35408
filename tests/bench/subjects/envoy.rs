//! Envoy: one worker, its defaults, but room for a thousand connections. The configuration is JSON, which is YAML.

use std::process::Command;

use agw_tests::guest;
use anyhow::Result;
use serde_json::{Value, json};

use super::{HEADER_RULES, Surroundings};
use crate::peers;
use crate::server::Server;

pub(super) fn plain(around: &Surroundings) -> Result<Server> {
    start(around, Vec::new())
}

/// The stock header filter in V8, so many times. Filters of one code share a VM there.
pub(super) fn filtered(around: &Surroundings, count: usize) -> Result<Server> {
    let module = guest("header-filter")?;
    let filter = |number: usize| {
        json!({
            "name": format!("headers-{number}"),
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {
                    "name": format!("headers-{number}"),
                    "configuration": {
                        "@type": "type.googleapis.com/google.protobuf.StringValue",
                        "value": HEADER_RULES,
                    },
                    "vm_config": {
                        "runtime": "envoy.wasm.runtime.v8",
                        "code": { "local": { "filename": &module } },
                    },
                },
            },
        })
    };
    start(around, (1..=count).map(filter).collect())
}

fn start(around: &Surroundings, filters: Vec<Value>) -> Result<Server> {
    let binary = peers::envoy()?;
    Server::peer("envoy", |folder| {
        let config = config(folder.port, around, &filters);
        let config = folder.write("envoy.json", &serde_json::to_string_pretty(&config)?)?;
        let mut command = Command::new(&binary);
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
        command.arg("--config-path").arg(config);
        Ok(command)
    })
}

fn config(port: u16, around: &Surroundings, filters: &[Value]) -> Value {
    let mut filters = filters.to_vec();
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    }));
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "main",
        "codec_type": "HTTP1",
        "route_config": { "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } }],
        }] },
        "http_filters": filters,
    });
    json!({ "static_resources": {
        "listeners": [{
            "name": "main",
            "address": address("127.0.0.1", port),
            // A port that another has taken shall be an error, not shared.
            "enable_reuse_port": false,
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager,
            }] }],
        }],
        "clusters": [{
            "name": "upstream",
            "type": "STATIC",
            "connect_timeout": "1s",
            "circuit_breakers": { "thresholds": [{
                "max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000,
            }] },
            "load_assignment": { "cluster_name": "upstream", "endpoints": [{ "lb_endpoints": [{
                "endpoint": { "address": address(&around.upstream.ip().to_string(), around.upstream.port()) },
            }] }] },
        }],
    } })
}

fn address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}
