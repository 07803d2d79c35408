//! `agw quickstart`: a configuration that needs nothing but this binary.

use std::net::SocketAddr;

use crate::cli::QuickstartArgs;
use crate::options::{self, BadOption, Database, quoted};

/// The example's own, with the demo keys.
const SCHEMA: &str = include_str!("../../../examples/api-key-auth/schema.sql");

/// The document that these options stand for: what runs, and what `--print-config` prints.
///
/// # Errors
/// An option that makes no sense. Names and numbers that only look right are left to the loader, which knows better.
pub(crate) fn document(args: &QuickstartArgs) -> Result<String, BadOption> {
    let upstream = options::upstream(args.upstream.as_deref())?;
    Ok(format!(
        r#"# A rate limit and API keys to start from: `agw run --config FILE` serves it, `agw check --config FILE` checks it.
version: 1

listeners:
  - name: http
    address: {listen}

routes:
  - name: limited
    match: {{ prefix: /limited/ }}
    cluster: upstream
    plugins: [rate-limit]
  - name: account
    match: {{ prefix: /account/ }}
    cluster: upstream
    plugins: [api-key-auth]
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
  - name: api-key-auth
    module: {{ builtin: api-key-auth }}
    vm: {{ mode: shared }}
    configuration:
      header: x-api-key
      resource: users
      statement: find_api_key
      # When the database gives no answer: closed answers 503, open lets requests pass without a user.
      on_error: closed

resources:
{limits}{users}"#,
        listen = quoted(&args.listen.to_string()),
        limit = args.limit,
        window = args.window,
        limits = limits(args)?,
        users = users(args)?,
    ))
}

/// The resource where requests are counted.
fn limits(args: &QuickstartArgs) -> Result<String, BadOption> {
    let store = match &args.redis {
        Some(url) => options::redis(url, args.redis_password_file.as_deref())?,
        None => "    url: memory://quickstart\n".to_owned(),
    };
    Ok(format!(
        "  - name: limits
    type: redis
{store}    grants:
      - plugin: rate-limit
        commands: [set, incr, pttl]
        key_prefix: {}
",
        quoted(&args.key_prefix)
    ))
}

/// The resource with the API keys.
fn users(args: &QuickstartArgs) -> Result<String, BadOption> {
    let database = match &args.sql {
        Some(url) => options::sql(url, args.sql_password_file.as_deref())?,
        None => embedded(),
    };
    Ok(format!(
        "  - name: users
    type: {}
{}    statements:
      find_api_key: SELECT user_id, tier FROM api_keys WHERE key_hash = {}
    grants:
      - plugin: api-key-auth
        statements: [find_api_key]
        read_only: true
",
        database.kind,
        database.lines,
        database.placeholder()
    ))
}

/// A database inside the process, with its table and the demo keys.
fn embedded() -> Database {
    let schema: String =
        SCHEMA.lines().map(|line| format!("        {line}").trim_end().to_owned() + "\n").collect();
    let lines = format!("    url: \"sqlite::memory:\"\n    schema:\n      source: |\n{schema}");
    Database { kind: "sqlite", lines }
}

/// The lines to try, for the address that the listener really has.
pub(crate) fn curl_lines(listen: SocketAddr, args: &QuickstartArgs) -> String {
    let reachable = options::reachable(listen);
    // A loop only shows something if it is short.
    let tries = args.limit.saturating_add(1).min(20);
    let key = if args.sql.is_some() { "KEY" } else { "demo-pro" };
    format!(
        "for i in $(seq {tries}); do curl -i -H 'x-api-key: me' 'http://{reachable}/limited/hello'; echo; done\n\
         curl -i -H 'x-api-key: {key}' 'http://{reachable}/account/hello'"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use agw_config::{
        ClusterTarget, GrantedCommands, Loaded, ModuleSource, PathMatch, RedisAddress, SqlEndpoint,
        SqlServerEngine, VmMode,
    };
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
        let machine = Machine { builtin_modules: &crate::modules::NAMES };
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
            ["--sql", "postgres://u:hunter2@h/d"],
            ["--sql", "postgres://u:hunt@er2@hunter2/d"],
            ["--sql", "postgres://h/d?password=hunter2"],
            ["--sql", "postgres://u@h:hunter2/d"],
            ["--sql", "hunter2"],
            ["--sql", "hunter2://h/d"],
        ] {
            let error = load(&options).expect_err("it is refused");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = load(&["--redis", "redis://u:p@h"]).expect_err("it is refused");
        assert!(error.contains("--redis-password-file"), "{error}");
        let error = load(&["--sql", "postgres://u:p@h/d"]).expect_err("it is refused");
        assert!(error.contains("--sql-password-file"), "{error}");
    }

    /// Where the tests of the JSON Schema find it.
    #[test]
    fn what_it_prints_is_the_document_that_is_held_to_the_json_schema() {
        let held = include_str!("../../config/src/tests/quickstart.yaml");
        assert_eq!(document(&args(&[])).expect("a document"), held, "copy what it prints to there");
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
        let address = &snapshot.resources["limits"].redis.address;
        assert!(matches!(address, RedisAddress::Memory { name } if name == "quickstart"));
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
        assert_eq!(paths, [(&prefix("/limited/"), 1), (&prefix("/account/"), 1), (&prefix("/plain/"), 0)]);
        let users = &snapshot.sql_resources["users"];
        let SqlEndpoint::Sqlite(sqlite) = &users.endpoint else { panic!("{:?}", users.endpoint) };
        assert_eq!((&sqlite.path, sqlite.schema.as_deref()), (&None, Some(SCHEMA)));
        let grant = &users.grants["api-key-auth"];
        assert!(grant.read_only && !grant.ad_hoc, "{grant:?}");
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
        assert!(matches!(&redis.address, RedisAddress::Tcp { host, port: 7000 } if host == "127.0.0.1"));
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
    fn a_server_has_the_users_in_place_of_the_embedded_database() {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "hunter2\n").expect("it is written");
        let secret = secret.to_str().expect("UTF-8");
        let url = "postgres://a\"b@127.0.0.1:7001/app";
        let snapshot = load(&["--sql", url, "--sql-password-file", secret]).expect("it loads").snapshot;
        let users = &snapshot.sql_resources["users"];
        let SqlEndpoint::Server(server) = &users.endpoint else { panic!("{:?}", users.endpoint) };
        assert_eq!(
            (server.engine, server.hosts[0].port, server.database.as_str()),
            (SqlServerEngine::Postgres, 7001, "app")
        );
        assert_eq!(server.username.as_deref(), Some("a\"b"));
        assert_eq!(server.password.as_ref().map(|secret| secret.expose()), Some(b"hunter2".as_slice()));
        assert!(users.statements["find_api_key"].text.ends_with("= $1"), "{:?}", users.statements);

        let elsewhere =
            load(&["--sql", "postgres://u@db.example.com/app"]).expect_err("nothing says whom to trust");
        assert!(elsewhere.contains("leaves this machine"), "{elsewhere}");
        let error =
            load(&["--sql", "sqlite::memory:", "--sql-password-file", secret]).expect_err("it is refused");
        assert!(error.contains("no password"), "{error}");
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
        let lines = |listen: &str, options| curl_lines(listen.parse().expect("an address"), &args(options));
        let said = lines("0.0.0.0:8080", &[]);
        assert!(said.contains("seq 6") && said.contains("'http://127.0.0.1:8080/limited/hello'"), "{said}");
        assert!(said.contains("x-api-key: demo-pro' 'http://127.0.0.1:8080/account/hello'"), "{said}");
        let said = lines("[::]:1", &["--limit", "999999999999999", "--sql", "postgres://h/d"]);
        assert!(said.contains("http://[::1]:1/") && !said.contains("demo-pro"), "{said}");
    }
}
