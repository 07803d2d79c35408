//! Which package imports which: the arrows of the architecture.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Findings;
use super::rules::{ARROWS, BANNED, CONFINED, Confined, EXAMPLE, NO_TOKIO, TEST_GUEST, TESTS};

/// A package of the workspace, as `cargo metadata` tells it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `None`, `dev` or `build`.
    kind: Option<String>,
    /// Only packages of this repository have one.
    path: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

pub(super) fn packages(root: &Path) -> Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["metadata", "--format-version=1", "--no-deps"]);
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("output of cargo metadata")?;
    Ok(metadata.packages)
}

pub(super) fn check(packages: &[Package], findings: &mut Findings) {
    for package in packages {
        check_arrows(package, findings);
        check_confined(package, findings);
    }
}

fn check_arrows(package: &Package, findings: &mut Findings) {
    let name = package.name.as_str();
    if name == TESTS {
        return;
    }
    let Some(allowed) = allowed(package) else {
        findings.violation(format!("package {name} has no row in ARROWS (crates/xtask/src/check/rules.rs)"));
        return;
    };
    for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
        let other = dependency.name.as_str();
        if other != name && !allowed.contains(&other) {
            let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
            findings.violation(format!("{name} imports {other}; of this workspace it may import {allowed}"));
        }
    }
}

fn allowed(package: &Package) -> Option<&'static [&'static str]> {
    if package.manifest_path.contains("/examples/") {
        return Some(EXAMPLE);
    }
    if package.manifest_path.contains("/tests/guests/") {
        return Some(TEST_GUEST);
    }
    ARROWS.iter().find(|(name, _)| *name == package.name).map(|(_, allowed)| *allowed)
}

fn check_confined(package: &Package, findings: &mut Findings) {
    for dependency in &package.dependencies {
        let (name, other) = (&package.name, &dependency.name);
        let dev = dependency.kind.as_deref() == Some("dev");
        for confined in CONFINED.iter().filter(|confined| confined.covers(other)) {
            if !confined.admits(name, dev) {
                findings
                    .violation(format!("{name} imports {other}, which only {} may", confined.to.join(", ")));
            }
        }
        if other == "tokio" && !dev && NO_TOKIO.contains(&name.as_str()) {
            findings.violation(format!("{name} imports tokio; it has no event loop"));
        }
        if BANNED.contains(&other.as_str()) {
            findings.violation(format!("{name} imports {other}, which nothing may"));
        }
    }
}

impl Confined {
    fn admits(&self, package: &str, dev: bool) -> bool {
        self.to.contains(&package) || (dev && self.in_tests)
    }

    fn covers(&self, name: &str) -> bool {
        match self.krate.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == self.krate,
        }
    }
}

/// What comes in through other crates stands in the lock file.
pub(super) fn check_lock(root: &Path, findings: &mut Findings) -> Result<()> {
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("Cargo.lock")?;
    find_banned(&lock, findings);
    Ok(())
}

fn find_banned(lock: &str, findings: &mut Findings) {
    for banned in BANNED {
        if lock.lines().any(|line| line == format!("name = \"{banned}\"")) {
            findings.violation(format!(
                "Cargo.lock has {banned}; `cargo tree --invert {banned}` tells who wants it"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, manifest_path: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies = dependencies.iter().map(|(name, kind)| Dependency {
            name: (*name).to_owned(),
            kind: kind.map(str::to_owned),
            path: name.starts_with("agw").then(|| format!("/r/{name}")),
        });
        Package {
            name: name.to_owned(),
            manifest_path: manifest_path.to_owned(),
            dependencies: dependencies.collect(),
        }
    }

    fn violations(package: Package) -> Vec<String> {
        let mut findings = Findings::default();
        check(&[package], &mut findings);
        findings.violations
    }

    fn of(name: &str, dependencies: &[(&str, Option<&str>)]) -> Vec<String> {
        violations(package(name, "/r/crates/x/Cargo.toml", dependencies))
    }

    #[test]
    fn an_arrow_that_the_table_has_is_fine_and_another_one_is_named() {
        assert!(of("agw-proxy", &[("agw-wasm", None), ("tokio", None)]).is_empty());
        let violations = of("agw-proxy", &[("agw-foreign-redis", None)]);
        assert_eq!(violations.len(), 1);
        assert!(violations[0].starts_with("agw-proxy imports agw-foreign-redis"), "{violations:?}");
    }

    #[test]
    fn an_arrow_for_tests_only_is_an_arrow_too() {
        assert_eq!(of("agw-config", &[("agw-wasm", Some("dev"))]).len(), 1);
    }

    #[test]
    fn nothing_imports_the_suites() {
        for (name, _) in ARROWS {
            assert_eq!(of(name, &[(TESTS, Some("dev"))]).len(), 1, "{name}");
        }
    }

    #[test]
    fn a_new_package_needs_a_row() {
        assert!(of("agw-new", &[])[0].contains("no row"));
    }

    #[test]
    fn guests_see_the_sdk_and_no_host_crate() {
        let example = |dependency| {
            violations(package("session", "/r/examples/session/Cargo.toml", &[(dependency, None)]))
        };
        assert!(example("agw-sdk").is_empty());
        assert_eq!(example("agw-foreign").len(), 1);
        assert_eq!(example("agw-wire").len(), 1);
        let guest = package("by-hand", "/r/tests/guests/by-hand/Cargo.toml", &[("agw-wire", None)]);
        assert!(violations(guest).is_empty());
    }

    #[test]
    fn third_party_crates_stay_where_they_belong() {
        assert!(of("agw-wasm", &[("wasmtime", None)]).is_empty());
        assert_eq!(of("agw-foreign", &[("wasmtime", None)]).len(), 1);
        assert_eq!(of("agw-proxy", &[("wasmtime-wasi", Some("dev"))]).len(), 1);
        assert!(of("agw-redis-commands", &[("redis", Some("dev"))]).is_empty());
        assert_eq!(of("agw-redis-commands", &[("redis", None)]).len(), 1);
        assert_eq!(of("agw-foreign", &[("hyper-util", None)]).len(), 1);
        assert_eq!(of("agw-config", &[("anyhow", None)]).len(), 1);
        assert_eq!(of("agw-config", &[("tokio", None)]).len(), 1);
        assert!(of("agw-redis-commands", &[("tokio", Some("dev"))]).is_empty());
    }

    #[test]
    fn a_banned_crate_is_found_wherever_it_comes_from() {
        let mut findings = Findings::default();
        find_banned("[[package]]\nname = \"aws-lc-rs\"\nversion = \"1\"\n", &mut findings);
        assert_eq!(findings.violations.len(), 1);
        find_banned("[[package]]\nname = \"ring\"\n", &mut findings);
        assert_eq!(findings.violations.len(), 1);
    }
}
