//! The search for secrets finds them, wherever a gateway tells one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use agw_tests::{Authority, Client, Gateway, planted};
use anyhow::{Context, Result};

/// A gateway that answers with `body`.
fn start(body: &str) -> Result<Gateway> {
    Gateway::start(&format!(
        "version: 1
listeners: [{{ name: main, address: \"127.0.0.1:0\" }}]
routes: [{{ name: all, match: {{ prefix: / }}, respond: {{ body: {body:?} }} }}]
"
    ))
}

/// What its end says, if it does not end quietly.
fn end(gateway: Gateway) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(gateway))).err()?;
    panic.downcast_ref::<String>().cloned()
}

#[tokio::test]
async fn a_secret_in_the_log_is_found_at_the_end() -> Result<()> {
    for terminated in [false, true] {
        let mut gateway = start("nothing")?;
        Client::new(gateway.address()?).get("/planted-in-the-access-log").await?;
        gateway.wait_for_output("the request", |output| output.contains("access-log")).await?;
        if terminated {
            gateway.terminate(std::time::Duration::from_secs(30))?;
        }
        let said = end(gateway).context("the end is quiet")?;
        assert!(said.contains("its output: ") && said.contains("planted-in-the-access-log"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_secret_on_an_admin_page_or_in_an_answer_is_found() -> Result<()> {
    let gateway = start("planted-in-the-document")?;
    for address in [gateway.address()?, gateway.admin()] {
        let error = Client::new(address).get("/v1/config").await.expect_err("the answer has it");
        assert!(format!("{error:#}").contains("planted-in-the-document"), "{error:#}");
    }
    let said = end(gateway).context("the end is quiet")?;
    assert!(said.contains("/v1/config: ") && !said.contains("its output"), "{said}");
    Ok(())
}

#[test]
fn a_private_key_is_a_secret_and_its_certificate_is_none() -> Result<()> {
    let issued = Authority::new()?.issue("a.test")?;
    assert_eq!(planted::find(&issued.certificate), None);
    assert!(planted::find(&issued.key.replace('\n', "\\n")).is_some());
    Ok(())
}

#[test]
fn a_gateway_that_may_tell_secrets_or_tells_none_ends_quietly() -> Result<()> {
    let mut gateway = start("planted-in-the-document")?;
    gateway.may_tell_secrets("the control of this test");
    assert_eq!(end(gateway), None);
    assert_eq!(end(start("nothing")?), None);
    Ok(())
}
