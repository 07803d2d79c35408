//! Faults that the document injects, on Redis and on SQL.

use agw_tests::document::RateLimits;
use agw_tests::{Client, Gateway, cargo};
use anyhow::Result;

const AUTH: &str = r#"version: 1
listeners: [{ name: http, address: "127.0.0.1:0" }]
routes: [{ name: all, match: { prefix: / }, cluster: echo, plugins: [auth] }]
clusters: [{ name: echo, builtin: echo }]
plugins:
  - name: auth
    module: { builtin: api-key-auth }
    configuration: { header: x-api-key, on_error: closed }
resources:
  - name: users
    type: sqlite
    url: "sqlite::memory:"
    schema: { file: SCHEMA }
    faults: FAULTS
    statements: { find_api_key: "SELECT user_id, tier FROM api_keys WHERE key_hash = ?" }
    grants: [{ plugin: auth, statements: [find_api_key], read_only: true }]
"#;

/// What `/v1/resources` says of the only resource's faults, and how many of this kind were injected.
fn injected(gateway: &Gateway, fault: &str) -> Result<(serde_json::Value, f64)> {
    let resource = gateway.ask_admin("/v1/resources")?.json()?[0].clone();
    let count = gateway.metrics()?.value("agw_resource_faults_injected_total", &[("fault", fault)]);
    Ok((resource["faults"].clone(), count.unwrap_or_default()))
}

#[tokio::test]
async fn an_injected_error_takes_a_plugin_to_what_it_does_without_redis() -> Result<()> {
    let faults = "faults: { share: 100, error: unavailable }";
    let gateway = Gateway::start(&RateLimits::new("memory://faults").resource(faults).yaml())?;
    let mut client = Client::new(gateway.address()?);
    assert_eq!(client.get_with("/closed/x", &[("x-api-key", "k")]).await?.status, 503);
    assert_eq!(client.get_with("/open/x", &[("x-api-key", "k")]).await?.status, 200);
    let (shown, count) = injected(&gateway, "error")?;
    assert_eq!((&shown["share"], &shown["fault"]), (&100.into(), &"unavailable".into()), "{shown}");
    assert_eq!(count, 2.0);
    gateway
        .wait_for_output("the warning", |log| {
            log.contains("faults are injected into 100 per cent of the calls")
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_database_whose_answers_are_cut_is_unavailable_and_without_faults_it_answers() -> Result<()> {
    let schema = cargo::workspace().join("examples/api-key-auth/schema.sql");
    let document = AUTH.replace("SCHEMA", &format!("{:?}", schema.display().to_string()));
    let key = [("x-api-key", "demo-pro")];
    let gateway = Gateway::start(&document.replace("FAULTS", "{ share: 100, cut: true }"))?;
    assert_eq!(Client::new(gateway.address()?).get_with("/", &key).await?.status, 503);
    let (shown, count) = injected(&gateway, "cut")?;
    assert_eq!((&shown["fault"], count), (&"cut".into(), 1.0), "{shown}");

    let gateway = Gateway::start(&document.replace("    faults: FAULTS\n", ""))?;
    assert_eq!(Client::new(gateway.address()?).get_with("/", &key).await?.status, 200);
    assert!(injected(&gateway, "cut")?.0.is_null());
    Ok(())
}
