use agw_tests::{Client, Gateway, Script, Upstream, cargo};
use anyhow::Result;

use crate::document::Document;

const STATEMENT: &str = "SELECT tier FROM users WHERE user_id = ?";

struct World {
    fast: Upstream,
    gateway: Gateway,
    _slow: Upstream,
}

fn document() -> Result<Document> {
    let schema = cargo::workspace().join("examples/tier-routing/schema.sql");
    Document::of("tier-routing")?
        .with("schema.sql", &schema.display().to_string())?
        .with("sqlite://users.db", "\"sqlite::memory:\"")
}

impl World {
    /// The example's own document with changes.
    fn start(changes: &[(&str, &str)]) -> Result<World> {
        let fast = Upstream::start(|_| Script::ok("fast"))?;
        let slow = Upstream::start(|_| Script::ok("slow"))?;
        let mut document = document()?
            .with("127.0.0.1:9001", &fast.address().to_string())?
            .with("127.0.0.1:9002", &slow.address().to_string())?;
        for (old, new) in changes {
            document = document.with(old, new)?;
        }
        Ok(World { fast, gateway: document.start()?, _slow: slow })
    }

    /// Which cluster answered, or the status.
    async fn answered(&self, headers: &[(&str, &str)]) -> Result<String> {
        answered(&mut Client::new(self.gateway.address()?), headers).await
    }
}

async fn answered(client: &mut Client, headers: &[(&str, &str)]) -> Result<String> {
    let reply = client.get_with("/any", headers).await?;
    Ok(if reply.status == 200 { reply.text() } else { reply.status.as_u16().to_string() })
}

#[tokio::test]
async fn bad_configurations_are_refused_by_the_fields_name() -> Result<()> {
    for (old, new, expected) in [
        ("default_tier: free", "default_tier: not a tier", "configuration: default_tier:"),
        ("tier_header: x-user-tier", "tier_header: x-user-id", "configuration: tier_header:"),
        ("on_error: default", "on_error: open", "configuration: on_error:"),
    ] {
        let refusal = document()?.with(old, new)?.refusal()?;
        assert!(refusal.contains(expected), "{new}:\n{refusal}");
    }
    Ok(())
}

#[tokio::test]
async fn the_tier_in_the_database_chooses_the_cluster_and_no_header_of_the_clients_does() -> Result<()> {
    let forged = ("x-user-tier", "pro");
    for changes in [&[][..], &[("vm: { mode: shared }", "vm: { mode: exclusive }")]] {
        let world = World::start(changes)?;
        for (headers, cluster) in [
            (&[("x-user-id", "alice")][..], "fast"),
            (&[("x-user-id", "alice"), ("x-user-tier", "free")], "fast"),
            (&[("x-user-id", "bob")], "slow"),
            (&[("x-user-id", "bob"), forged], "slow"),
            (&[("x-user-id", "nobody"), forged], "slow"),
            (&[("x-user-id", "' OR tier = 'pro"), forged], "slow"),
            (&[("x-user-id", ""), forged], "slow"),
            (&[forged, forged], "slow"),
            (&[], "slow"),
        ] {
            assert_eq!(world.answered(headers).await?, cluster, "{headers:?}");
        }
        assert_eq!(world.fast.last()?.headers["x-user-tier"], "pro", "the upstream is told as well");
    }
    Ok(())
}

#[tokio::test]
async fn without_an_answer_the_tier_is_the_default_or_the_request_fails() -> Result<()> {
    // Two rows are no answer.
    let several = (STATEMENT, "SELECT tier FROM users WHERE ? IS NOT NULL");
    let alice = [("x-user-id", "alice"), ("x-user-tier", "pro")];
    let world = World::start(&[several])?;
    // One connection, and so one worker, whose VM says it once.
    let mut client = Client::new(world.gateway.address()?);
    for _ in 0..2 {
        assert_eq!(answered(&mut client, &alice).await?, "slow");
    }
    let said = world.gateway.output();
    assert_eq!(said.matches("tiers cannot be looked up").count(), 1, "{said}");

    let world = World::start(&[several, ("on_error: default", "on_error: closed")])?;
    assert_eq!(world.answered(&alice).await?, "503");
    assert_eq!(world.answered(&[("x-user-tier", "pro")]).await?, "slow", "who is nobody needs no database");
    Ok(())
}

#[tokio::test]
async fn a_tier_that_is_no_name_is_the_default() -> Result<()> {
    for tier in ["NULL", "''", "'pro' || char(13, 10) || 'x-admin: 1'", "'pro '"] {
        let statement = format!("\"SELECT {tier} FROM users WHERE user_id = ?\"");
        let world = World::start(&[(STATEMENT, &statement)])?;
        assert_eq!(world.answered(&[("x-user-id", "alice")]).await?, "slow", "{tier}");
    }
    Ok(())
}
