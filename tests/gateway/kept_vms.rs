//! What a reload does not touch.

use agw_tests::{Client, Gateway, guest};
use anyhow::Result;

/// Counts its requests in its own memory, and traps at the third.
const COUNTS: &str = r#"(module
    (memory (export "memory") 1)
    (global $requests (mut i32) (i32.const 0))
    (func (export "proxy_abi_version_0_2_0"))
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (global.set $requests (i32.add (global.get $requests) (i32.const 1)))
        (if (i32.eq (global.get $requests) (i32.const 3)) (then unreachable))
        (i32.const 0)))"#;

fn document(says: u32, counts: &str) -> Result<String> {
    let changing = guest("header-filter")?;
    Ok(format!(
        "version: 1
listeners: [{{ name: main, address: \"127.0.0.1:0\" }}]
routes: [{{ name: all, match: {{ prefix: / }}, respond: {{ body: ok }}, plugins: [counts, changing] }}]
plugins:
- {{ name: counts, module: {{ file: counts.wasm }}, configuration: \"{counts}\" }}
- {{ name: changing, module: {{ file: {changing:?} }}, configuration: \"response-set x-says {says}\" }}
"
    ))
}

#[tokio::test]
async fn a_vm_lives_through_the_reload_of_another_plugin_and_not_through_its_own() -> Result<()> {
    let module = wat::parse_str(COUNTS)?;
    let options = ["--admin", "127.0.0.1:0", "--workers", "1"];
    for (counts, statuses) in [("same", [200, 200, 503]), ("another", [200, 200, 200])] {
        let gateway = Gateway::start_with(&document(1, "same")?, &[("counts.wasm", &module)], &options)?;
        let mut client = Client::new(gateway.address()?);
        let mut seen = Vec::new();
        for says in [1, 2, 3] {
            if says > 1 {
                gateway.replace("agw.yaml", document(says, if says > 2 { counts } else { "same" })?)?;
                gateway.wait_for_revision(says.into()).await?;
            }
            let reply = client.get("/").await?;
            seen.push(reply.status.as_u16());
            if reply.status == 200 {
                assert_eq!(reply.header("x-says"), says.to_string());
            }
        }
        assert_eq!(seen, statuses, "{counts}");
    }
    Ok(())
}
