use std::path::Path;

use agw_tests::gateway::output;
use agw_tests::{Client, Gateway, Postgres, RedisServer, Script, Upstream, guest};
use anyhow::{Context, Result};

const ON_FREE_PORTS: [&str; 5] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--workers=1"];

/// As a C++ toolchain builds them: a reactor with `malloc`, which logs at each level that counts and adds a header
/// to every response.
const CPP_LIKE: &str = r#"(module
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "emscripten_notify_memory_growth" (func (param i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "configured, and ready")
    (data (i32.const 32) "x-from1")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "_initialize"))
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $log (i32.const 1) (i32.const 0) (i32.const 10)))
        (drop (call $log (i32.const 2) (i32.const 0) (i32.const 10)))
        (drop (call $log (i32.const 3) (i32.const 16) (i32.const 5)))
        (i32.const 1))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (drop (call $add (i32.const 2) (i32.const 32) (i32.const 6) (i32.const 38) (i32.const 1)))
        (i32.const 0)))"#;

/// As TinyGo builds them: a command with `_start` that answers every request itself.
const TINYGO_LIKE: &str = r#"(module
    (import "env" "proxy_send_local_response"
        (func $send (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "from the filter")
    (func (export "proxy_abi_version_0_2_0"))
    (func (export "_start"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $send (i32.const 418) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 15)
            (i32.const 0) (i32.const 0) (i32.const -1)))
        (i32.const 1)))"#;

fn path(module: &Path) -> Result<&str> {
    module.to_str().context("UTF-8")
}

fn try_filter(module: &Path, options: &[&str]) -> Result<Gateway> {
    Gateway::command(&[&["try", path(module)?], &ON_FREE_PORTS[..], options].concat())
}

fn module(folder: &Path, name: &str, wat: &str) -> Result<std::path::PathBuf> {
    let file = folder.join(name);
    std::fs::write(&file, wat::parse_str(wat)?)?;
    Ok(file)
}

/// Exit code and what was said.
fn refused(module: &Path, options: &[&str]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let said = output(folder.path(), &[&["try", path(module)?], &ON_FREE_PORTS[..], options].concat())?;
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    anyhow::ensure!(said.status.code() == Some(1), "{}: {text}", said.status);
    Ok(text)
}

#[test]
fn what_cannot_run_is_refused_with_its_reason() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    std::fs::write(folder.join("script.wasm"), "#!/bin/sh\n")?;
    let cut = CPP_LIKE.replace("(func (export \"_initialize\"))", "");
    let mut cut = wat::parse_str(cut)?;
    cut.truncate(cut.len() / 2);
    std::fs::write(folder.join("cut.wasm"), cut)?;
    let unmarked = CPP_LIKE.replace("proxy_abi_version_0_2_1", "some_other_export");
    module(folder, "unmarked.wasm", &unmarked)?;
    module(folder, "future.wasm", &CPP_LIKE.replace("_0_2_1", "_9_9_9"))?;
    let strange = CPP_LIKE.replace("emscripten_notify_memory_growth", "proxy_no_such_call");
    module(folder, "strange.wasm", &strange)?;
    let refusing = CPP_LIKE
        .replace("(i32.const 5)))\n        (i32.const 1))", "(i32.const 5)))\n        (i32.const 0))");
    module(folder, "refusing.wasm", &refusing)?;
    for (file, expected) in [
        ("nowhere.wasm", &["nowhere.wasm", "No such file"][..]),
        ("script.wasm", &["script.wasm", "not a wasm module"]),
        ("cut.wasm", &["cut.wasm", "at byte"]),
        ("unmarked.wasm", &["exports no proxy-wasm ABI marker", "no marker"]),
        ("future.wasm", &["ABI 9.9.9", "this host speaks"]),
        ("strange.wasm", &["does not have: env.proxy_no_such_call"]),
        ("refusing.wasm", &["proxy_on_configure returned false", "[refusing] WARN ready"]),
    ] {
        let said = refused(&folder.join(file), &[])?;
        for expected in expected {
            assert!(said.contains(expected), "{file}: {expected}:\n{said}");
        }
        assert!(!said.contains("curl"), "{file}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn the_stock_header_filter_runs_once_and_sixteen_times() -> Result<()> {
    let filter = guest("header-filter")?;
    let upstream = Upstream::start(|_| Script::ok("hello").header("server", "secret/1.0"))?;
    let url = format!("http://{}", upstream.address());
    let rules = "request-set x-team edge\nresponse-remove server\nresponse-set x-served-by agw\n";
    for count in ["1", "16"] {
        let options = ["--plugin-config", rules, "--upstream", &url, "--count", count];
        let gateway = try_filter(&filter, &options)?;
        let reply = Client::new(gateway.address()?).get("/any/path").await?;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "hello"));
        assert_eq!((reply.header("x-served-by"), reply.header("server")), ("agw", ""));
        assert_eq!(upstream.last()?.headers["x-team"], "edge");
        let line = format!("curl -i 'http://{}/'", gateway.address()?);
        let said = gateway.wait_for_output("the line to try", |said| said.contains(&line)).await?;
        assert!(said.contains("ABI           0.2.1") && said.contains("shared: "), "{said}");
    }
    let refusal = refused(&filter, &["--plugin-config", "response-remove connection"])?;
    assert!(refusal.contains("[header_filter] ERROR") && refusal.contains("line 1"), "{refusal}");
    Ok(())
}

#[tokio::test]
async fn every_place_in_the_chain_is_a_filter_of_its_own() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let filter = module(folder.path(), "cpp.wasm", CPP_LIKE)?;
    let gateway = try_filter(&filter, &["--count", "16"])?;
    let reply = Client::new(gateway.address()?).get("/").await?;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers.get_all("x-from").iter().count(), 16, "{:?}", reply.headers);
    let said = gateway.output();
    assert!(said.contains("[cpp] INFO configured") && said.contains("[cpp] WARN ready"), "{said}");
    assert!(!said.contains("DEBUG"), "{said}");
    assert!(said.contains("16 times in a row"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_filter_that_answers_by_itself_runs_as_well() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let gateway = try_filter(&module(folder.path(), "tiny.wasm", TINYGO_LIKE)?, &[])?;
    let reply = Client::new(gateway.address()?).get("/").await?;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (418, "from the filter"));
    Ok(())
}

#[tokio::test]
async fn a_filter_that_counts_in_redis_does_so() -> Result<()> {
    let redis = RedisServer::start()?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.json");
    std::fs::write(
        &config,
        r#"{ "limit": 2, "window": 600, "key": [{ "header": "x-api-key" }], "resource": "redis" }"#,
    )?;
    let options = ["--plugin-config-file", path(&config)?, "--redis", &redis.url()];
    let gateway = try_filter(&guest("rate-limit")?, &options)?;
    let mut client = Client::new(gateway.address()?);
    for expected in [200, 200, 429] {
        assert_eq!(client.get_with("/", &[("x-api-key", "me")]).await?.status.as_u16(), expected);
    }
    let keys: i64 = redis::cmd("DBSIZE").query(&mut redis.connection()?)?;
    assert_eq!(keys, 1);
    assert!(gateway.output().contains("exclusive: "), "{}", gateway.output());
    Ok(())
}

#[tokio::test]
async fn a_filter_that_uses_sql_does_so() -> Result<()> {
    let postgres = Postgres::start()?;
    let folder = tempfile::tempdir()?;
    let password = folder.path().join("password");
    std::fs::write(&password, Postgres::PASSWORD)?;
    let server = format!("postgres://agw@127.0.0.1:{}/postgres", postgres.port());
    let file = folder.path().join("made.db");
    std::fs::write(&file, "")?;
    let file = format!("sqlite://{}", path(&file)?);
    let databases: [&[&str]; 3] = [
        &["--sql", &server, "--sql-password-file", path(&password)?],
        &["--sql", &file],
        &["--sql", "sqlite::memory:"],
    ];
    for options in databases {
        let gateway = try_filter(&guest("foreign-raw")?, options)?;
        let mut client = Client::new(gateway.address()?);
        let made = client.get("/blocking/try-sql-make").await?.text();
        assert_eq!(made.trim_end(), "sql []", "{options:?}");
        for rows in 1..=2 {
            let said = client.get("/blocking/try-sql-add").await?.text();
            assert!(
                said.contains("affected 1") && said.contains(&format!("(int {rows})")),
                "{options:?}: {said}"
            );
        }
        let said = gateway.output();
        assert!(said.contains("exclusive: ") && said.contains("the resource \"sql\""), "{said}");
        assert!(!said.contains(Postgres::PASSWORD), "{said}");
    }
    assert_eq!(postgres.sql("SELECT count(*) FROM made")?, "2");
    Ok(())
}
