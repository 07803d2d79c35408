//! The rules of `cargo xtask check` hold.

use std::env;
use std::process::Command;

use anyhow::Result;

#[test]
fn the_workspace_keeps_its_own_rules() -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut check = Command::new(cargo);
    check.current_dir(agw_tests::cargo::workspace()).args([
        "run",
        "--quiet",
        "--package",
        "xtask",
        "--",
        "check",
    ]);
    let output = check.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("check: 0 errors"), "it did not check anything: {said}");
    Ok(())
}
