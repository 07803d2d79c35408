use std::fs;

use agw_tests::gateway::output;
use agw_tests::{Gateway, guest};
use anyhow::Result;

/// Exit code, stdout and stderr of `agw check` on this document.
fn check(document: &str, files: &[(&str, &[u8])]) -> Result<(Option<i32>, String, String)> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("agw.yaml"), document)?;
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes)?;
    }
    let said = output(folder.path(), &["check", "--config", "agw.yaml"])?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((said.status.code(), text(said.stdout), text(said.stderr)))
}

fn with_module(module: &str, configuration: &str) -> String {
    crate::document(
        "",
        &format!(
            "routes: [{{ name: all, match: {{ prefix: / }}, cluster: echo, plugins: [bad] }}]\n\
             clusters: [{{ name: echo, builtin: echo }}]\n\
             plugins: [{{ name: bad, module: {{ file: \"{module}\" }}, configuration: \"{configuration}\" }}]"
        ),
    )
}

const BAD: &str = r#"version: 1
listeners:
  - { name: http, address: localhost:8080 }
  - { name: http, address: "127.0.0.1:0", limits: { header_bytes: 1 } }
routes:
  - { name: all, match: { prefix: / }, cluster: ech, plugin: [x] }
  - { name: other, match: { prefix: other }, cluster: echo, timeout: 5 }
clusters: [{ name: echo, builtin: echo }]
plugins: [{ name: limit, module: { file: nowhere.wasm } }]
resources:
  - name: limits
    type: redis
    url: redis://agw:planted-2@127.0.0.1:6379
    password: planted-3
    grants: [{ plugin: nobody, commands: [gett] }]
"#;

#[test]
fn every_problem_is_listed_at_once_with_its_place_and_no_password() -> Result<()> {
    let (code, out, err) = check(BAD, &[])?;
    assert_eq!(code, Some(1), "{out}{err}");
    let expected = [
        "agw.yaml:3: listeners[0].address:",
        "agw.yaml:4: listeners[1].name:",
        "agw.yaml:4: listeners[1].limits.header_bytes:",
        "agw.yaml:6: routes[0].cluster: no cluster is named \"ech\". Did you mean \"echo\"?",
        "agw.yaml:6: routes[0].plugin:",
        "agw.yaml:7: routes[1].match.prefix:",
        "agw.yaml:7: routes[1].timeout:",
        "agw.yaml:9: plugins[0].module.file: there is no file",
        "agw.yaml:13: resources[0].url:",
        "agw.yaml:14: resources[0].password:",
        "agw.yaml:15: resources[0].grants[0].plugin:",
        "agw.yaml:15: resources[0].grants[0].commands[0]:",
    ];
    for place in expected {
        assert!(out.lines().any(|line| line.starts_with(place)), "{place}\n--- in\n{out}");
    }
    let summary = format!("agw.yaml: {} problems; it would not run", expected.len());
    assert_eq!(out.lines().last(), Some(summary.as_str()), "{out}");
    assert!(!out.contains("planted-") && !err.contains("planted-"), "{out}{err}");
    Ok(())
}

#[test]
fn what_check_refuses_does_not_run() -> Result<()> {
    let error = Gateway::start(BAD).expect_err("it runs");
    let said = format!("{error:#}");
    assert!(said.contains("exit status: 1") && said.contains("routes[0].cluster"), "{said}");
    assert!(!said.contains("planted-"), "{said}");
    Ok(())
}

#[test]
fn a_document_that_is_not_there_or_no_document_is_said_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let said = output(folder.path(), &["check", "--config", "nowhere.yaml"])?;
    assert_eq!(said.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&said.stdout).contains("nowhere.yaml: document: the file cannot be read")
    );
    for (text, expected) in [
        ("", "agw.yaml"),
        ("[1, 2]", "agw.yaml:1"),
        ("version: [", "agw.yaml"),
        ("version: 2", "agw.yaml:1: version"),
    ] {
        let (code, out, _) = check(text, &[])?;
        assert_eq!(code, Some(1), "{text:?}: {out}");
        assert!(out.contains(expected), "{text:?}: {out}");
    }
    Ok(())
}

#[test]
fn a_module_that_cannot_be_used_is_refused_by_check_and_by_run() -> Result<()> {
    let misbehave = guest("misbehave")?.display().to_string();
    let whole = fs::read(&misbehave)?;
    let cut = &whole[..whole.len() / 2];
    let cases: [(&str, &str, &str); 6] = [
        ("text.wasm", "", "not a wasm module"),
        ("cut.wasm", "", "compile the module"),
        ("empty.wasm", "", "no proxy-wasm ABI marker"),
        ("nothing.wasm", "", "not a wasm module"),
        (&misbehave, "refuse", "proxy_on_configure returned false"),
        (&misbehave, "panic", "trapped in proxy_on_configure"),
    ];
    let files: [(&str, &[u8]); 4] = [
        ("text.wasm", b"(module)"),
        ("cut.wasm", cut),
        ("empty.wasm", b"\0asm\x01\0\0\0"),
        ("nothing.wasm", b""),
    ];
    for (module, configuration, expected) in cases {
        let document = with_module(module, configuration);
        let (code, out, err) = check(&document, &files)?;
        assert_eq!(code, Some(1), "{module} {configuration}: {out}{err}");
        let line = out.lines().find(|line| line.contains("plugins[\"bad\"].module")).unwrap_or_default();
        assert!(line.contains(expected), "{module} {configuration}: {out}{err}");

        let error = Gateway::start_with(&document, &files, &["--admin", "127.0.0.1:0"]).expect_err("it runs");
        let said = format!("{error:#}");
        assert!(said.contains("load the plugin \"bad\"") && said.contains(expected), "{module}: {said}");
    }
    let (_, _, err) = check(&with_module(&misbehave, "refuse"), &[])?;
    assert!(err.contains("this configuration is not to my liking"), "the guest's own words: {err}");
    Ok(())
}

#[test]
fn a_sound_document_is_summed_up() -> Result<()> {
    let misbehave = guest("misbehave")?.display().to_string();
    let (code, out, err) = check(&with_module(&misbehave, "fine"), &[])?;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}{err}");
    assert_eq!(out, "agw.yaml: ok: 1 listener, 1 route, 1 cluster, 1 plugin, 0 resources\n");
    Ok(())
}

#[test]
fn a_field_is_explained_and_one_that_is_unknown_is_answered_with_what_is_near() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = |args: &[&str]| -> Result<_> {
        let said = output(folder.path(), args)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((said.status.code(), text(&said.stdout), text(&said.stderr)))
    };
    let (code, out, err) = run(&["explain", "routes[3].retry.backoff.max"])?;
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("default   250ms\n  bounds    1ms to 5m\n"), "{out}");
    let (code, out, err) = run(&["explain", "routes.retri"])?;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(err, "there is no field \"retri\" in \"routes\". Did you mean \"retry\"?\n");
    let (code, out, _) = run(&["explain"])?;
    assert!(code == Some(0) && out.contains("  listeners  Addresses that take connections\n"), "{out}");

    let (code, out, _) = run(&["schema"])?;
    let schema: serde_json::Value = serde_json::from_str(&out)?;
    assert_eq!(code, Some(0));
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    Ok(())
}
