use agw_tests::{Client, Script, Upstream};
use anyhow::Result;

use crate::document::Document;

#[tokio::test]
async fn a_rule_that_makes_no_sense_keeps_the_gateway_from_starting() -> Result<()> {
    let document = Document::of("header-filter")?.with("request-remove x-debug", "request-add x-debug 1")?;
    let refusal = document.refusal()?;
    assert!(refusal.contains("configuration, line 2: write request-set"), "{refusal}");
    assert!(refusal.contains("load the plugin \"headers\""), "{refusal}");

    let framing =
        Document::of("header-filter")?.with("response-remove server", "response-remove connection")?;
    let refusal = framing.refusal()?;
    assert!(refusal.contains("configuration, line 4: this header frames the message"), "{refusal}");
    Ok(())
}

#[tokio::test]
async fn headers_are_set_and_removed_both_ways() -> Result<()> {
    let upstream = Upstream::start(|_| {
        Script::ok("hello")
            .header("server", "secret/1.0")
            .header("x-served-by", "upstream")
            .header("x-kept", "1")
    })?;
    let endpoints = format!("endpoints: [\"{}\"]", upstream.address());
    let gateway = Document::of("header-filter")?.with("builtin: echo", &endpoints)?.start()?;
    let headers = [("x-team", "mine"), ("x-team", "too"), ("x-debug", "1"), ("x-other", "stays")];
    let reply = Client::new(gateway.address()?).get_with("/", &headers).await?;

    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "hello"));
    assert_eq!(reply.headers.get_all("x-served-by").iter().collect::<Vec<_>>(), ["agw"]);
    assert!(!reply.headers.contains_key("server"), "{:?}", reply.headers);
    assert_eq!(reply.header("x-kept"), "1");

    let seen = upstream.last()?;
    assert_eq!(seen.headers.get_all("x-team").iter().collect::<Vec<_>>(), ["edge"], "set replaces all");
    assert!(!seen.headers.contains_key("x-debug"), "{:?}", seen.headers);
    assert_eq!(seen.headers["x-other"], "stays");
    Ok(())
}
