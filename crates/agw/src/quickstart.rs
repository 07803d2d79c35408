//! `agw quickstart`: a configuration that needs nothing but this binary.

use std::net::SocketAddr;

use crate::cli::QuickstartArgs;
use crate::options::{self, BadOption, quoted};

/// The document that these options stand for: what runs, and what `--print-config` prints.
///
/// # Errors
/// An option that makes no sense. Names and numbers that only look right are left to the loader, which knows better.
pub(crate) fn document(args: &QuickstartArgs) -> Result<String, BadOption> {
    let store = match &args.redis {
        Some(url) => options::redis(url, args.redis_password_file.as_deref())?,
        None => "    url: memory://quickstart\n".to_owned(),
    };
    let upstream = options::upstream(args.upstream.as_deref())?;
    Ok(format!(
        r#"# A rate limit to start from: `agw run --config FILE` serves it, `agw check --config FILE` checks it.
version: 1

listeners:
  - name: http
    address: {listen}

routes:
  - name: limited
    match: {{ prefix: /limited/ }}
    cluster: upstream
    plugins: [rate-limit]
  - name: plain
    match: {{ prefix: /plain/ }}
    cluster: upstream

clusters:
  - name: upstream
    {upstream}

plugins:
  - name: rate-limit
    module: {{ builtin: rate-limit }}
    # It does not wait for the store inside the VM, so all requests of a worker can share one.
    vm: {{ mode: shared }}
    configuration:
      limit: {limit}
      window: {window}
      # The first that a request has.
      key: [{{ header: x-api-key }}, {{ address: true }}]
      resource: limits
      # When the store gives no answer: open lets requests pass, closed answers 503.
      on_error: open

resources:
  - name: limits
    type: redis
{store}    grants:
      - plugin: rate-limit
        commands: [set, incr, pttl]
        key_prefix: {key_prefix}
"#,
        listen = quoted(&args.listen.to_string()),
        limit = args.limit,
        window = args.window,
        key_prefix = quoted(&args.key_prefix),
    ))
}

/// The line to try, for the address that the listener really has.
pub(crate) fn curl_line(listen: SocketAddr, limit: u64) -> String {
    let reachable = options::reachable(listen);
    // A loop only shows something if it is short.
    let tries = limit.saturating_add(1).min(20);
    format!(
        "for i in $(seq {tries}); do curl -i -H 'x-api-key: me' 'http://{reachable}/limited/hello'; echo; done"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use agw_config::{ClusterTarget, GrantedCommands, Loaded, ModuleSource, PathMatch, RedisAddress, VmMode};
    use clap::Parser;
    use serde_json::Value;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::document::{Machine, load_text};

    fn args(options: &[&str]) -> QuickstartArgs {
        let line = ["agw", "quickstart"].iter().chain(options);
        match Cli::try_parse_from(line).expect("the options parse").command {
            Command::Quickstart(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn load(options: &[&str]) -> Result<Loaded, String> {
        let text = document(&args(options)).map_err(|error| error.to_string())?;
        let machine = Machine { builtin_modules: &["rate-limit"] };
        load_text(&text, "quickstart", Path::new(""), &machine)
            .map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn credentials_in_a_url_are_refused_with_the_option_to_use_and_never_shown() {
        for options in [
            ["--redis", "redis://u:hunter2@h"],
            ["--redis", "hunter2@h"],
            ["--redis", "hunter2"],
            ["--redis", "rediss://hunter2"],
            ["--redis", "redis://hunter2:1:1"],
            ["--redis", "redis://h?password=hunter2"],
            ["--upstream", "http://u:hunter2@h"],
            ["--upstream", "https://hunter2"],
        ] {
            let error = load(&options).expect_err("it is refused");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = load(&["--redis", "redis://u:p@h"]).expect_err("it is refused");
        assert!(error.contains("--redis-password-file"), "{error}");
    }

    #[test]
    fn an_upstream_that_is_no_plain_origin_is_refused() {
        for url in
            ["", "http://", "http://h/path", "http://h?q", "https://h", "ftp://h", "http://h:0", "http://a b"]
        {
            assert!(load(&["--upstream", url]).is_err(), "{url}");
        }
    }

    #[test]
    fn without_options_it_needs_nothing_outside_the_binary() {
        let loaded = load(&[]).expect("it loads");
        assert_eq!(loaded.warnings, []);
        let snapshot = loaded.snapshot;
        let store = RedisAddress::Memory { name: "quickstart".to_owned() };
        assert_eq!(snapshot.resources["limits"].redis.address, store);
        assert_eq!(snapshot.clusters["upstream"].target, ClusterTarget::BuiltinEcho);
        let plugin = &snapshot.plugins["rate-limit"];
        assert_eq!(
            (&plugin.module, plugin.vm.mode),
            (&ModuleSource::Builtin("rate-limit".to_owned()), VmMode::Shared)
        );
        let configuration: Value = serde_json::from_slice(&plugin.configuration).expect("JSON");
        let expected = serde_json::json!({
            "limit": 5, "window": 10, "key": [{ "header": "x-api-key" }, { "address": true }],
            "resource": "limits", "on_error": "open",
        });
        assert_eq!(configuration, expected);
        let paths: Vec<_> =
            snapshot.routes.iter().map(|route| (&route.matching.path, route.plugins.len())).collect();
        let prefix = |path: &str| PathMatch::Prefix(path.to_owned());
        assert_eq!(paths, [(&prefix("/limited/"), 1), (&prefix("/plain/"), 0)]);
        let commands = ["set", "incr", "pttl"].map(str::to_owned).to_vec();
        assert_eq!(
            snapshot.resources["limits"].grants["rate-limit"].commands,
            GrantedCommands::Named(commands)
        );
    }

    #[test]
    fn every_option_arrives() {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("a \"secret\" é");
        std::fs::write(&secret, "hunter2\n").expect("it is written");
        let prefix = "a: \"b\" #{é}\\";
        let options = [
            "--listen",
            "[::1]:1",
            "--redis",
            "redis://127.0.0.1:7000/3",
            "--redis-password-file",
            secret.to_str().expect("UTF-8"),
            "--upstream",
            "http://[::1]:9000/",
            "--limit",
            "7",
            "--window",
            "60",
            "--key-prefix",
            prefix,
        ];
        let snapshot = load(&options).expect("it loads").snapshot;
        assert_eq!(snapshot.listeners[0].address.to_string(), "[::1]:1");
        let redis = &snapshot.resources["limits"].redis;
        assert_eq!(redis.address, RedisAddress::Tcp { host: "127.0.0.1".to_owned(), port: 7000 });
        assert_eq!(
            (redis.database, redis.password.as_ref().map(|secret| secret.expose())),
            (3, Some(b"hunter2".as_slice()))
        );
        assert_eq!(
            snapshot.clusters["upstream"].target,
            ClusterTarget::Endpoints(vec!["[::1]:9000".to_owned()])
        );
        assert_eq!(snapshot.resources["limits"].grants["rate-limit"].key_prefix, prefix);
        let configuration: Value =
            serde_json::from_slice(&snapshot.plugins["rate-limit"].configuration).expect("JSON");
        assert_eq!((&configuration["limit"], &configuration["window"]), (&7.into(), &60.into()));
    }

    #[test]
    fn an_upstream_without_a_port_has_port_80() {
        for (url, endpoint) in
            [("http://h", "h:80"), ("http://[::1]", "[::1]:80"), ("h:81", "h:81"), ("h", "h:80")]
        {
            let snapshot = load(&["--upstream", url]).expect("it loads").snapshot;
            assert_eq!(
                snapshot.clusters["upstream"].target,
                ClusterTarget::Endpoints(vec![endpoint.to_owned()]),
                "{url}"
            );
        }
    }

    #[test]
    fn the_curl_line_names_an_address_that_can_be_reached() {
        let line = curl_line("0.0.0.0:8080".parse().expect("an address"), 5);
        assert!(line.contains("seq 6") && line.contains("'http://127.0.0.1:8080/limited/hello'"), "{line}");
        assert!(curl_line("[::]:1".parse().expect("an address"), u64::MAX).contains("http://[::1]:1/"));
    }
}
