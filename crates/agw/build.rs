//! Builds the examples of `quickstart` for wasm, to be embedded: it needs no file beside the binary.
//!
//! The results are `$OUT_DIR/rate_limit.wasm` and `$OUT_DIR/api_key_auth.wasm`. The nested cargo works in a target
//! folder of its own under `OUT_DIR`, so it never waits for the lock that the outer one holds, and it runs again only
//! when an example, what it is made of, the lock file or the profile changed.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET: &str = "wasm32-wasip1";
/// Packages, and the modules that cargo makes of them.
const EXAMPLES: [(&str, &str); 2] =
    [("rate-limit", "rate_limit.wasm"), ("api-key-auth", "api_key_auth.wasm")];

/// What the modules are made of, from the workspace's root.
const SOURCES: [&str; 16] = [
    "examples/api-key-auth/Cargo.toml",
    "examples/api-key-auth/README.md",
    "examples/api-key-auth/src",
    "examples/rate-limit/Cargo.toml",
    "examples/rate-limit/README.md",
    "examples/rate-limit/src",
    "sdk-ext/Cargo.toml",
    "sdk-ext/README.md",
    "sdk-ext/src",
    "crates/wire/Cargo.toml",
    "crates/wire/README.md",
    "crates/wire/src",
    "Cargo.lock",
    "Cargo.toml",
    "rust-toolchain.toml",
    ".cargo",
];

/// Of cargo's own variables, those that say where crates come from and how many jobs may run. All others describe
/// the outer build, which is for another target, profile and folder.
const CARGO_VARIABLES_KEPT: [&str; 8] = [
    "CARGO_HOME",
    "CARGO_MAKEFLAGS",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
];

/// Flags and wrappers such as those of clippy, sanitizers or coverage are meant for the host's code.
const RUSTC_VARIABLES: [&str; 5] =
    ["RUSTFLAGS", "RUSTDOCFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_LINKER"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let workspace = variable("CARGO_MANIFEST_DIR")?.join("../..");
    for source in SOURCES {
        // A missing path would count as changed each time.
        let path = workspace.join(source);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    check_target()?;

    let out = variable("OUT_DIR")?;
    let folder = out.join("guest");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.current_dir(&workspace).args(["build", "--locked"]);
    EXAMPLES.iter().for_each(|(package, _)| {
        cargo.args(["--package", package]);
    });
    cargo.args(["--target", TARGET, "--profile", "guest", "--target-dir"]).arg(&folder);
    clear_environment(&mut cargo);
    let status = cargo.status().map_err(|error| format!("cargo could not be started: {error}"))?;
    if !status.success() {
        return Err(format!("the examples could not be built for {TARGET}; cargo's own message is above"));
    }
    let made = folder.join(TARGET).join("guest");
    EXAMPLES.iter().try_for_each(|(_, module)| copy_if_changed(&made.join(module), &out.join(module)))
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("{name} is not set: run this by cargo"))
}

/// Cargo's message for a missing target is a page of errors about `core`.
fn check_target() -> Result<(), String> {
    let rustc = variable("RUSTC")?;
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let output = output.map_err(|error| format!("rustc could not be started: {error}"))?;
    let folder = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    Err(format!("the target {TARGET} is not installed; run `rustup target add {TARGET}` and build again"))
}

fn clear_environment(command: &mut Command) {
    let foreign = |name: &OsString| {
        let name = name.to_string_lossy();
        let kept = CARGO_VARIABLES_KEPT.iter().any(|kept| name.starts_with(kept));
        name.starts_with("CARGO") && !kept
    };
    for (name, _) in env::vars_os().filter(|(name, _)| foreign(name)) {
        command.env_remove(name);
    }
    for name in RUSTC_VARIABLES {
        command.env_remove(name);
    }
}

fn copy_if_changed(from: &Path, to: &Path) -> Result<(), String> {
    let module = fs::read(from).map_err(|error| format!("{}: {error}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == module) {
        return Ok(());
    }
    fs::write(to, module).map_err(|error| format!("{}: {error}", to.display()))
}
