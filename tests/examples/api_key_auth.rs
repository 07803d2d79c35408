use std::fs;
use std::time::Duration;

use agw_tests::{Client, Gateway, Postgres, Reply, Script, Upstream, cargo};
use anyhow::Result;
use serde_json::Value;

use crate::document::Document;

const STATEMENT: &str = "SELECT user_id, tier FROM api_keys WHERE key_hash = ?";
const PRO: (&str, &str) = ("x-api-key", "demo-pro");

struct World {
    upstream: Upstream,
    gateway: Gateway,
    _folder: tempfile::TempDir,
}

impl World {
    /// The example's own document with changes.
    fn start(changes: &[(&str, &str)]) -> Result<World> {
        let upstream = Upstream::start(|_| Script::ok("hello"))?;
        let folder = tempfile::tempdir()?;
        let mut document = Document::of("api-key-auth")?
            .with("schema.sql", &schema().display().to_string())?
            .with("sqlite://users.db", &format!("sqlite://{}/users.db", folder.path().display()))?
            .with("builtin: echo", &format!("endpoints: [\"{}\"]", upstream.address()))?;
        for (old, new) in changes {
            document = document.with(old, new)?;
        }
        Ok(World { upstream, gateway: document.start()?, _folder: folder })
    }

    async fn get(&self, headers: &[(&str, &str)]) -> Result<Reply> {
        Client::new(self.gateway.address()?).get_with("/", headers).await
    }

    /// Id and tier that the upstream was told last.
    fn told(&self) -> Result<[Option<String>; 2]> {
        let seen = self.upstream.last()?;
        let told = |name| {
            let values: Vec<_> = seen.headers.get_all(name).iter().map(|value| value.to_str()).collect();
            assert!(values.len() < 2, "{name}: {values:?}");
            values.into_iter().next().transpose()
        };
        Ok([told("x-user-id")?.map(str::to_owned), told("x-user-tier")?.map(str::to_owned)])
    }

    /// Calls of the database so far.
    fn calls(&self) -> Result<f64> {
        let metrics = self.gateway.metrics()?;
        Ok(metrics.value("agw_resource_operation_duration_seconds_count", &[]).unwrap_or(0.0))
    }

    /// A counter of the plugin's own.
    fn counted(&self, name: &str) -> Result<f64> {
        let labels = [("plugin", "auth"), ("name", name)];
        Ok(self.gateway.metrics()?.value("agw_plugin_counter_total", &labels).unwrap_or(0.0))
    }
}

fn schema() -> std::path::PathBuf {
    cargo::workspace().join("examples/api-key-auth/schema.sql")
}

fn some(id: &str, tier: &str) -> [Option<String>; 2] {
    [Some(id.to_owned()), Some(tier.to_owned())]
}

#[tokio::test]
async fn bad_configurations_are_refused_by_the_fields_name() -> Result<()> {
    for (old, new, expected) in [
        ("on_error: closed", "on_error: maybe", "configuration: on_error:"),
        ("header: x-api-key", "heder: x-api-key", "configuration: heder: there is no such field"),
        ("header: x-api-key", "header: x-user-id", "configuration: user_header:"),
    ] {
        let schema = schema().display().to_string();
        let refusal = Document::of("api-key-auth")?.with("schema.sql", &schema)?.with(old, new)?.refusal()?;
        assert!(refusal.contains(expected), "{new}:\n{refusal}");
    }
    Ok(())
}

#[tokio::test]
async fn nobody_passes_without_a_key_that_is_known() -> Result<()> {
    let world = World::start(&[])?;
    for headers in [&[][..], &[("x-api-key", "")], &[("x-user-id", "1"), ("authorization", "demo-pro")]] {
        let reply = world.get(headers).await?;
        assert_eq!((reply.status.as_u16(), reply.header("www-authenticate")), (401, "ApiKey"), "{headers:?}");
        assert_eq!(reply.json()?["detail"], "the request has no API key");
    }
    assert_eq!(world.calls()?, 0.0, "the database was asked");

    let hash = "de4562274bd40421c1e8c1a589f4ec9f96c4c6e529fa843be4ef0d99d9256b7e";
    let long = "x".repeat(8192);
    for key in ["demo-pr", "demo-pro2", "DEMO-PRO", "' OR 1 = 1 --", "%", hash, &long, "demo-free, demo-pro"]
    {
        let reply = world.get(&[("x-api-key", key)]).await?;
        assert_eq!(reply.status, 401, "{key}");
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert_eq!(reply.json()?["detail"], "the API key is not known");
    }
    assert!(world.upstream.recorded().is_empty(), "the upstream sees none of them");
    assert_eq!(world.counted("api_key_auth_rejected_total")?, 11.0);
    assert!(!world.gateway.output().contains("demo-pr"), "the log shows no key");
    Ok(())
}

#[tokio::test]
async fn the_upstream_is_told_who_it_is_and_believes_no_client() -> Result<()> {
    for changes in [&[][..], &[("vm: { mode: shared }", "vm: { mode: exclusive }")]] {
        let world = World::start(changes)?;
        let forged =
            [("x-user-id", "99"), ("x-user-tier", "root"), ("x-user-tier", "too"), PRO, ("x-other", "stays")];
        assert_eq!(world.get(&forged).await?.status, 200);
        assert_eq!(world.told()?, some("2", "pro"));
        assert_eq!(world.upstream.last()?.headers["x-other"], "stays");
        assert_eq!(world.get(&[("x-api-key", "demo-free")]).await?.text(), "hello");
        assert_eq!(world.told()?, some("1", "free"));
        assert_eq!(world.counted("api_key_auth_accepted_total")?, 2.0);
    }
    Ok(())
}

#[tokio::test]
async fn ids_may_be_text_and_tiers_may_be_missing() -> Result<()> {
    let statement = "\"SELECT 'u ' || user_id AS user_id, NULL AS tier FROM api_keys WHERE key_hash = ?\"";
    let world = World::start(&[(STATEMENT, statement)])?;
    assert_eq!(world.get(&[PRO, ("x-user-tier", "root")]).await?.status, 200);
    assert_eq!(world.told()?, [Some("u 2".to_owned()), None]);
    Ok(())
}

/// Answers of the database that say nothing about who it is.
const TROUBLE: [&str; 4] = [
    "\"SELECT 'a' || char(13, 10) || 'x-admin: 1' AS user_id, tier FROM api_keys WHERE key_hash = ?\"",
    "SELECT NULL AS user_id, tier FROM api_keys WHERE key_hash = ?",
    "SELECT tier FROM api_keys WHERE key_hash = ?",
    "SELECT user_id, tier FROM api_keys WHERE ? IS NOT NULL",
];

#[tokio::test]
async fn an_answer_that_names_nobody_is_no_user() -> Result<()> {
    for statement in TROUBLE {
        let world = World::start(&[(STATEMENT, statement)])?;
        // One connection, and so one worker, whose VM says it once.
        let mut client = Client::new(world.gateway.address()?);
        for _ in 0..2 {
            let reply = client.get_with("/", &[PRO]).await?;
            assert_eq!(reply.status, 503, "{statement}");
            assert_eq!(reply.json()?["status"], 503);
        }
        assert!(world.upstream.recorded().is_empty(), "{statement}");
        assert_eq!(world.counted("api_key_auth_errors_total")?, 2.0);
        let said = world.gateway.output();
        assert_eq!(said.matches("API keys cannot be looked up").count(), 1, "{statement}: {said}");
    }
    let world = World::start(&[(STATEMENT, TROUBLE[0]), ("on_error: closed", "on_error: open")])?;
    assert_eq!(world.get(&[PRO, ("x-user-id", "99"), ("x-user-tier", "root")]).await?.status, 200);
    assert_eq!(world.told()?, [None, None]);
    Ok(())
}

#[tokio::test]
async fn a_dead_server_follows_the_policy_and_a_living_one_is_found_again() -> Result<()> {
    for (policy, status) in [("on_error: closed", 503), ("on_error: open", 200)] {
        let mut postgres = Postgres::start()?;
        postgres.sql(&(fs::read_to_string(schema())? + "; GRANT SELECT ON api_keys TO agw"))?;
        let secret = tempfile::NamedTempFile::new()?;
        fs::write(secret.path(), Postgres::PASSWORD)?;
        let upstream = Upstream::start(|_| Script::ok("hello"))?;
        let resource = format!(
            "type: postgres\n    url: postgres://127.0.0.1:{}/postgres\n    username: agw\n    \
             password: {{ file: \"{}\" }}\n    limits: {{ call_timeout: 5s }}",
            postgres.port(),
            secret.path().display()
        );
        let gateway = Document::of("api-key-auth")?
            .with("type: sqlite\n    url: sqlite://users.db\n    schema: { file: schema.sql }", &resource)?
            .with("key_hash = ?", "key_hash = $1")?
            .with("on_error: closed", policy)?
            .with("builtin: echo", &format!("endpoints: [\"{}\"]", upstream.address()))?
            .start()?;
        let world = World { upstream, gateway, _folder: tempfile::tempdir()? };
        assert_eq!(world.get(&[PRO]).await?.status, 200);
        assert_eq!(world.told()?, some("2", "pro"));

        postgres.kill();
        for _ in 0..10 {
            let reply = world.get(&[PRO, ("x-user-id", "99"), ("x-user-tier", "root")]).await?;
            assert_eq!(reply.status.as_u16(), status, "{policy}");
        }
        if status == 200 {
            assert_eq!(world.told()?, [None, None]);
        }
        assert_eq!(world.get(&[]).await?.status, 401, "who has no key needs no database");
        postgres.restart()?;
        // The harness' own time-out ends it if that never comes.
        while world.get(&[PRO]).await?.status != 200 || world.told()? != some("2", "pro") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn requests_that_share_a_vm_keep_their_users_apart() -> Result<()> {
    let document = Document::of("api-key-auth")?.with("schema.sql", &schema().display().to_string())?;
    let gateway = document.with("sqlite://users.db", "\"sqlite::memory:\"")?.start()?;
    let address = gateway.address()?;
    let tasks = (0..8).map(|at| {
        let (key, id, tier) = if at % 2 == 0 { ("demo-free", "1", "free") } else { ("demo-pro", "2", "pro") };
        tokio::spawn(async move {
            let mut client = Client::new(address);
            for _ in 0..50 {
                let echo: Value = client.get_with("/", &[("x-api-key", key)]).await?.json()?;
                let told = &echo["headers"];
                assert_eq!((&told["x-user-id"], &told["x-user-tier"]), (&id.into(), &tier.into()));
            }
            anyhow::Ok(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    Ok(())
}
