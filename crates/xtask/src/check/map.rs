//! `crates/README.md` is the map: it must name every crate, and every path in it must exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Findings;

const MAP: &str = "crates/README.md";
/// What makes a word in backticks a path; type and option names have neither.
const ENDINGS: &[&str] = &[".rs", ".md", ".proto", ".toml", ".json", ".yaml", "/"];

pub(super) fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let crates = folders(&root.join("crates"))?;
    for name in &crates {
        if !root.join("crates").join(name).join("README.md").exists() {
            findings.violation(format!("crates/{name} has no README.md"));
        }
    }
    let Ok(map) = fs::read_to_string(root.join(MAP)) else {
        findings.violation(format!("{MAP} is missing: it is the map of the code"));
        return Ok(());
    };
    for name in crates.iter().filter(|name| !names(&map, name)) {
        findings.violation(format!("{MAP} does not name the crate {name}"));
    }
    let exists = |path: &str| root.join(path).exists() || root.join("crates").join(path).exists();
    for path in paths(&map).into_iter().filter(|path| !exists(path)) {
        findings.violation(format!("{MAP} mentions {path}, which is neither there nor in crates/"));
    }
    Ok(())
}

fn folders(parent: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(parent).with_context(|| parent.display().to_string())? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// As a word of its own, `foreign` is not named by `foreign-redis`.
fn names(map: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    map.split(|c| !part(c)).any(|word| word == name || word.strip_prefix("agw-") == Some(name))
}

/// Every path in backticks and every target of a link that is not a URL.
fn paths(map: &str) -> BTreeSet<&str> {
    let quoted = map.split('`').skip(1).step_by(2);
    let quoted =
        quoted.filter(|word| word.contains('/') && ENDINGS.iter().any(|ending| word.ends_with(ending)));
    let linked = map.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let relative = |path: &&str| {
        !path.is_empty()
            && !path.starts_with('/')
            && !path.contains("//")
            && !path.contains(char::is_whitespace)
    };
    quoted.chain(linked).filter(relative).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_named_as_a_word_of_its_own() {
        assert!(names("see `foreign/` and wire", "foreign"));
        assert!(names("the crate agw-wire", "wire"));
        assert!(!names("only foreign-redis here", "foreign"));
    }

    #[test]
    fn paths_are_told_from_types_urls_and_routes() {
        let map = "`proxy/src/listener.rs`, `Vec<u8>`, `memory://x/`, `/v1/config/`, `a b/`, [w](wire/README.md#codes), \
                   [x](https://example.org/a.md), `wasm/`, `config.json`";
        let expected: BTreeSet<_> = ["proxy/src/listener.rs", "wire/README.md", "wasm/"].into();
        assert_eq!(paths(map), expected);
    }

    #[test]
    fn a_path_that_is_not_there_is_a_violation() -> Result<()> {
        let root = std::env::temp_dir().join(format!("agw-map-{}", std::process::id()));
        fs::create_dir_all(root.join("crates/wire/src"))?;
        fs::write(root.join("crates/wire/Cargo.toml"), "")?;
        fs::write(root.join("crates/wire/README.md"), "")?;
        fs::write(root.join(MAP), "`wire/src/` and `wire/src/gone.rs`")?;
        let mut findings = Findings::default();
        check(&root, &mut findings)?;
        fs::write(root.join(MAP), "nothing")?;
        check(&root, &mut findings)?;
        fs::remove_dir_all(&root)?;
        let violations = findings.violations.join("\n");
        assert_eq!(findings.violations.len(), 2, "{violations}");
        assert!(
            violations.contains("gone.rs") && violations.contains("does not name the crate wire"),
            "{violations}"
        );
        Ok(())
    }
}
