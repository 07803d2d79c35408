//! `agw_sql` on SQLite: typed rows, changes, batches, pages, refusals and the deadline, in every way to call.

use std::path::Path;

use agw_tests::{Client, Gateway, Reply, guest};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::world::{Vm, WAYS};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS keys (hash TEXT PRIMARY KEY, user INTEGER, tier TEXT);
CREATE TABLE IF NOT EXISTS uses (id INTEGER PRIMARY KEY, hash TEXT, n INTEGER);
CREATE TABLE IF NOT EXISTS numbers (n INTEGER);
CREATE TABLE IF NOT EXISTS every (b BOOLEAN, i INTEGER, f REAL, t TEXT, y BLOB, d DATE, m TIME, s TIMESTAMP, z TIMESTAMP,
    u UUID, j JSON, n TEXT);
DELETE FROM keys; DELETE FROM numbers; DELETE FROM every;
INSERT INTO keys VALUES ('a1', 1, 'free'), ('b2', 2, NULL);
INSERT INTO uses (id) VALUES (1) ON CONFLICT DO NOTHING;
INSERT INTO numbers VALUES (1), (2), (3), (4), (5);
INSERT INTO every VALUES (1, -9223372036854775808, 1.5, 'größe', x'00ff', '2000-02-29', '00:00:01', '1970-01-01 00:00:01',
    '1970-01-01T00:00:01+01:00', '61626364-6566-6768-696a-6b6c6d6e6f70', '{\"a\":1}', NULL);
";

struct Database {
    gateway: Gateway,
    folder: tempfile::TempDir,
}

impl Database {
    fn start() -> Result<Database> {
        Database::start_with("")
    }

    /// With further lines of the resource.
    fn start_with(fields: &str) -> Result<Database> {
        let folder = tempfile::tempdir()?;
        let gateway = Gateway::start_with(&document(folder.path(), fields)?, &[], &OPTIONS)?;
        Ok(Database { gateway, folder })
    }

    async fn ask(&self, vm: Vm, path: &str) -> Result<Reply> {
        Client::new(self.gateway.address()?).get_with(path, &[("host", vm.host())]).await
    }

    async fn lines(&self, vm: Vm, path: &str) -> Result<Vec<String>> {
        let reply = self.ask(vm, path).await?;
        ensure!(reply.status == 200, "{path}: {} {}", reply.status, reply.text());
        Ok(reply.text().lines().map(str::to_owned).collect())
    }

    fn resource(&self) -> Result<Value> {
        self.gateway.ask_admin("/v1/resources")?.json()?.get(0).cloned().context("no resource")
    }
}

const OPTIONS: [&str; 6] = ["--admin", "127.0.0.1:0", "--workers", "1", "--access-log", "off"];

fn document(folder: &Path, fields: &str) -> Result<String> {
    std::fs::write(folder.join("schema.sql"), SCHEMA)?;
    let module = guest("foreign-raw")?;
    let limits = "limits: { cpu_time: 10s }";
    let (module, folder) = (module.display(), folder.display());
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
  - name: db
    type: sqlite
    url: "sqlite://{folder}/db.sqlite"
    schema: {{ file: "{folder}/schema.sql" }}
    statements:
      find: SELECT user, tier FROM keys WHERE hash = ?1
      use: INSERT INTO uses (hash, n) VALUES (?1, ?2)
      count: SELECT count(*) AS n FROM uses WHERE hash = ?1
      hidden: SELECT 1
    grants:
      - {{ plugin: exclusive, statements: [find, use, count], ad_hoc: true, read_only: false }}
      - {{ plugin: shared, statements: [find, use, count], ad_hoc: true, read_only: false }}
    {fields}
"#
    ))
}

#[tokio::test]
async fn named_statements_give_typed_rows() -> Result<()> {
    let database = Database::start()?;
    for (vm, style) in WAYS {
        let path = |scenario: &str, key: &str| format!("/{style}/{scenario}?{key}");
        let lines = database.lines(vm, &path("sql-find", "a1")).await?;
        assert_eq!(lines, ["sql [user INTEGER, tier TEXT] (int 1, text \"free\")"], "{vm:?} {style}");
        let lines = database.lines(vm, &path("sql-find", "b2")).await?;
        assert_eq!(lines, ["sql [user INTEGER, tier TEXT] (int 2, null)"]);
        let lines = database.lines(vm, &path("sql-find", "nobody")).await?;
        assert_eq!(lines, ["sql [user INTEGER, tier TEXT]"]);
        let lines = database.lines(vm, &path("sql-find-one", "nobody")).await?;
        assert_eq!(lines, ["error 11 retry 0 server_code \"02000\" kind 8"]);
        let lines = database.lines(vm, &path("sql-every-type", "")).await?;
        let expected = "sql [b BOOLEAN, i INTEGER, f REAL, t TEXT, y BLOB, d DATE, m TIME, s TIMESTAMP, z TIMESTAMP, \
                        u UUID, j JSON, n TEXT] (true, int -9223372036854775808, float 1.5, text \"größe\", \
                        bytes \\x00\\xff, date 11016, time 1000000, timestamp 1000000, timestamptz -3599000000, \
                        uuid abcdefghijklmnop, json {\"a\":1}, null)";
        assert_eq!(lines, [expected], "{vm:?} {style}");
    }
    Ok(())
}

#[tokio::test]
async fn changes_tell_what_they_changed_and_a_batch_is_all_or_nothing() -> Result<()> {
    let database = Database::start()?;
    for (at, (vm, style)) in WAYS.into_iter().enumerate() {
        let key = format!("k{at}");
        let first = 2 + 3 * at;
        let lines = database.lines(vm, &format!("/{style}/sql-use?{key}")).await?;
        assert_eq!(lines, [format!("sql [] affected 1 id {first}")], "{vm:?} {style}");
        let lines = database.lines(vm, &format!("/{style}/sql-twice?{key}")).await?;
        let (second, third) = (first + 1, first + 2);
        let expected = format!("sql [] affected 1 id {second} | [] affected 1 id {third} | [n] (int 3)");
        assert_eq!(lines, [expected], "{vm:?} {style}");
        let lines = database.lines(vm, &format!("/{style}/sql-half?{key}")).await?;
        assert_eq!(lines, ["error 11 retry 0 server_code \"23505\" kind 1"]);
    }
    drop(database.gateway);
    ensure!(database.folder.path().join("db.sqlite").exists(), "it is a file");
    Ok(())
}

#[tokio::test]
async fn a_result_comes_in_pages_and_no_connection_stays_behind() -> Result<()> {
    let database = Database::start()?;
    for (vm, style) in WAYS {
        let lines = database.lines(vm, &format!("/{style}/sql-pages")).await?;
        let expected = ["sql [n INTEGER] (int 1) (int 2) and more", "sql [] (int 3) (int 4) (int 5)"];
        assert_eq!(lines, expected, "{vm:?} {style}");
        let lines = database.lines(vm, &format!("/{style}/sql-close")).await?;
        assert_eq!(lines, ["sql [n INTEGER] (int 1) (int 2) and more", "sql "], "{vm:?} {style}");
    }
    while database.resource()?["connections"]["leased"] != 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_granted_or_makes_no_sense_is_refused() -> Result<()> {
    let database = Database::start()?;
    for (vm, style) in WAYS {
        for (scenario, expected) in [
            ("sql-denied", "error 1 retry 0 server_code \"\""),
            ("sql-commit", "error 1 retry 0 server_code \"\""),
            ("sql-nothing", "error 3 retry 0 server_code \"\""),
            ("sql-of-redis", "error 3 retry 0 server_code \"\""),
            ("sql-broken", "status 3"),
        ] {
            let lines = database.lines(vm, &format!("/{style}/{scenario}")).await?;
            assert_eq!(lines, [expected], "{vm:?} {style} {scenario}");
        }
    }
    let blocking = database.lines(Vm::Shared, "/blocking/sql-find?a1").await?;
    assert_eq!(blocking, ["error 3 retry 0 server_code \"\""], "a shared VM does not wait");
    Ok(())
}

#[tokio::test]
async fn a_statement_that_never_ends_ends_at_the_deadline() -> Result<()> {
    let database = Database::start_with("limits: { call_timeout: 200ms }")?;
    for (vm, style) in WAYS {
        let lines = database.lines(vm, &format!("/{style}/sql-endless")).await?;
        assert_eq!(lines, ["error 6 retry 2 server_code \"\""], "{vm:?} {style}");
        let lines = database.lines(vm, &format!("/{style}/sql-find?a1")).await?;
        assert_eq!(lines, ["sql [user INTEGER, tier TEXT] (int 1, text \"free\")"], "{vm:?} {style}");
    }
    let resource = database.resource()?;
    assert_eq!((&resource["type"], &resource["breaker"]), (&"sqlite".into(), &"closed".into()));
    let metrics = database.gateway.ask_admin("/metrics")?.text();
    for line in [
        "agw_resource_operation_duration_seconds_count{resource=\"db\",plugin=\"exclusive\",outcome=\"timeout_io\"} 2",
        "agw_resource_pool_connections{resource=\"db\",state=\"leased\"} 0",
        "agw_resource_breaker_state{resource=\"db\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    Ok(())
}

#[tokio::test]
async fn a_statement_that_the_database_refuses_keeps_the_gateway_from_starting() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let document = document(folder.path(), "")?.replace("FROM keys WHERE", "FROM kyes WHERE");
    let refused = Gateway::start_with(&document, &[], &OPTIONS).err().context("it starts")?;
    let said = format!("{refused:#}");
    ensure!(
        said.contains("statements.find: no such table: kyes") && said.contains("resource \"db\""),
        "{said}"
    );
    Ok(())
}
