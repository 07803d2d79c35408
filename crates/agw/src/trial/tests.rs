use agw_config::{ClusterTarget, GrantedCommands, RedisAddress, SqlEndpoint, VmMode};
use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};
use crate::document::{Machine, load_text};

const FILTER: &str = r#"(module
    (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
    (import "env" "proxy_call_foreign_function" (func (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_http_call" (func))
    (import "wasi_snapshot_preview1" "fd_write" (func))
    (import "js" "eval" (func))
    (func (export "proxy_abi_version_0_2_0")))"#;

fn args(module: &Path, options: &[&str]) -> TryArgs {
    let module = module.to_str().expect("UTF-8");
    let line = [&["agw", "try", module], options].concat();
    match Cli::try_parse_from(line).expect("the options parse").command {
        Command::Try(args) => args,
        other => panic!("{other:?}"),
    }
}

/// The snapshot and the report for a filter with this file name.
fn trial(file: &str, options: &[&str]) -> Result<(Snapshot, String)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(file);
    std::fs::write(&path, wat::parse_str(FILTER)?)?;
    std::fs::write(folder.path().join("c"), "line 1\n\"line\" 2: { é\n")?;
    std::fs::write(folder.path().join("binary"), [0x0a, 0xff])?;
    let here = folder.path().display().to_string();
    let options: Vec<String> = options.iter().map(|option| option.replace("HERE", &here)).collect();
    let args = args(&path, &options.iter().map(String::as_str).collect::<Vec<_>>());
    let trial = Trial::read(&args)?;
    let loaded = load_text(&trial.document(&args)?, "try", Path::new(""), &Machine { builtin_modules: &[] });
    let snapshot = loaded.map_err(|found| anyhow::anyhow!("{found:?}"))?.snapshot;
    let mut report = Vec::new();
    trial.report(&snapshot, args.count, &mut report)?;
    Ok((snapshot, String::from_utf8(report)?))
}

#[test]
fn a_configuration_that_is_no_text_or_not_there_is_refused() {
    for (file, expected) in [
        ("HERE/binary", "not UTF-8"),
        ("HERE/nowhere", "No such file"),
        ("/dev/zero/x", "--plugin-config-file"),
    ] {
        let error = trial("f.wasm", &["--plugin-config-file", file]).expect_err("it is refused");
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
}

#[test]
fn credentials_are_refused_and_never_shown() {
    for options in [
        ["--redis", "redis://u:hunter2@h"],
        ["--sql", "postgres://u:hunter2@h/d"],
        ["--upstream", "http://u:hunter2@h"],
    ] {
        let error = trial("f.wasm", &options).expect_err("it is refused");
        assert!(!format!("{error:#}").contains("hunter2"), "{error:#}");
    }
}

#[test]
fn the_filter_stands_in_the_chain_as_often_as_asked() {
    let options = ["--count", "16", "--root-id", "my \"root\"", "--plugin-config-file", "HERE/c"];
    let (snapshot, _) = trial("my_filter.wasm", &options).expect("it loads");
    assert_eq!(snapshot.routes[0].plugins, vec!["my_filter"; 16]);
    let plugin = &snapshot.plugins["my_filter"];
    assert_eq!((plugin.root_id.as_str(), plugin.vm.mode), ("my \"root\"", VmMode::Shared));
    assert_eq!(String::from_utf8_lossy(&plugin.configuration), "line 1\n\"line\" 2: { é\n");
    assert_eq!(snapshot.clusters["upstream"].target, ClusterTarget::BuiltinEcho);
}

#[test]
fn redis_is_granted_whole() {
    let options = ["--redis", "redis://127.0.0.1:7000/3", "--plugin-config", "- { a: 'b' } # c"];
    let (snapshot, report) = trial("f.wasm", &options).expect("it loads");
    let resource = &snapshot.resources["redis"];
    assert!(matches!(&resource.redis.address, RedisAddress::Tcp { host, port: 7000 } if host == "127.0.0.1"));
    let grant = &resource.grants["f"];
    assert!(matches!(grant.commands, GrantedCommands::AllSafe) && grant.key_prefix.is_empty(), "{grant:?}");
    assert_eq!(snapshot.plugins["f"].vm.mode, VmMode::Exclusive);
    assert_eq!(String::from_utf8_lossy(&snapshot.plugins["f"].configuration), "- { a: 'b' } # c");
    assert!(report.contains("exclusive: ") && report.contains("resource \"redis\""), "{report}");
}

#[test]
fn sql_is_granted_whole_beside_redis() {
    let options = ["--sql", "postgres://me@127.0.0.1:7001/app", "--redis", "redis://127.0.0.1"];
    let (snapshot, report) = trial("f.wasm", &options).expect("it loads");
    let resource = &snapshot.sql_resources["sql"];
    let SqlEndpoint::Server(server) = &resource.endpoint else { panic!("{:?}", resource.endpoint) };
    assert_eq!((server.username.as_deref(), server.database.as_str()), (Some("me"), "app"));
    let grant = &resource.grants["f"];
    assert!(grant.ad_hoc && !grant.read_only, "{grant:?}");
    assert_eq!(snapshot.plugins["f"].vm.mode, VmMode::Exclusive);
    assert!(snapshot.resources.contains_key("redis"));
    assert!(report.contains("resource \"redis\"") && report.contains("resource \"sql\""), "{report}");

    let (snapshot, report) = trial("f.wasm", &["--sql", "sqlite::memory:"]).expect("it loads");
    assert_eq!(snapshot.plugins["f"].vm.mode, VmMode::Exclusive);
    assert!(report.contains("without --redis") && !report.contains("without --sql"), "{report}");
}

#[test]
fn the_report_says_what_the_module_is_and_what_it_lacks() {
    let (_, report) = trial("f.wasm", &["--count", "2"]).expect("it loads");
    let (_, rest) = report.split_once('\n').expect("lines");
    assert_eq!(
        rest,
        "  ABI           0.2.0
  hostcalls     proxy_log, proxy_call_foreign_function, proxy_http_call
  WASI          fd_write
  other imports js.eval
  foreign       it calls some, by names that only a call tells; AGW has agw_redis, with nothing behind it
                without --redis, and agw_sql, with nothing behind it without --sql
  not in AGW    proxy_http_call
                these are linked, and each call of one fails; a module may import what it never calls
  runs          2 times in a row; shared: the requests of a worker share one VM, as in Envoy
"
    );
}

#[test]
fn any_file_name_makes_a_plugin_name() {
    let long = "x".repeat(80);
    for (file, expected) in [
        ("my_filter.wasm", "my_filter"),
        ("é my filter (1).wasm", "my-filter--1-"),
        ("--.wasm", "filter"),
        ("a.b.wasm", "a.b"),
        (long.as_str(), &long[..64]),
    ] {
        assert_eq!(name(Path::new(file)), expected);
    }
}
