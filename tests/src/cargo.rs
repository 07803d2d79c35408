//! Builds with cargo, and reads where it put things.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Of cargo's own variables, those that say where crates come from, where files go and how many jobs may run. All others
/// describe the package whose test or program this is: build scripts that look at them (ring's does) would run again, and
/// everything above them would be compiled anew. Flags for the tests' own build, such as sanitizers, are not meant for what
/// is tested either.
const KEPT: [&str; 8] = [
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_",
    "CARGO_INCREMENTAL",
    "CARGO_NET_",
    "CARGO_HTTP_",
    "CARGO_REGISTR",
    "CARGO_TERM_",
];

/// Runs `cargo build` with these arguments and returns the files made for `package` that end in `suffix`
/// (for a program: the empty string, and only executables count).
///
/// # Errors
/// When the build fails (cargo has said why on stderr) or makes no such file.
pub fn build(package: &str, args: &[&str], suffix: &str) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace()).arg("build").args(args);
    command.arg("--message-format=json-render-diagnostics");
    for (name, _) in env::vars_os() {
        let is_cargos = name.to_str().is_some_and(|name| name.starts_with("CARGO_"));
        if is_cargos && !KEPT.iter().any(|kept| name.to_str().is_some_and(|name| name.starts_with(kept))) {
            command.env_remove(name);
        }
    }
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({})", output.status);
    }
    let made = String::from_utf8_lossy(&output.stdout);
    let messages = made.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let files: Vec<_> = messages.filter_map(|message| artifact(&message, package, suffix)).collect();
    files.last().cloned().with_context(|| format!("{command:?} made no file *{suffix} of package {package}"))
}

fn artifact(message: &Value, package: &str, suffix: &str) -> Option<PathBuf> {
    if message["reason"] != "compiler-artifact" || !is_of(message["package_id"].as_str()?, package) {
        return None;
    }
    if suffix.is_empty() {
        // A harness of the package's own tests is an executable, too.
        let is_program = message["profile"]["test"] == false;
        return message["executable"].as_str().filter(|_| is_program).map(PathBuf::from);
    }
    let files = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
    files.filter(|file| file.ends_with(suffix)).map(PathBuf::from).next_back()
}

/// Package ids look like `path+file:///folder/agw#0.1.0` or `path+file:///folder/x#agw@0.1.0`.
fn is_of(id: &str, package: &str) -> bool {
    let Some((path, version)) = id.rsplit_once('#') else { return false };
    match version.split_once('@') {
        Some((name, _)) => name == package,
        None => path.rsplit('/').next() == Some(package),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_ids_of_both_shapes_are_known() {
        assert!(is_of("path+file:///somewhere/agw#0.1.0", "agw"));
        assert!(is_of("path+file:///somewhere/tests#agw-tests@0.1.0", "agw-tests"));
        assert!(!is_of("path+file:///somewhere/agw#0.1.0", "agw-tests"));
    }
}
