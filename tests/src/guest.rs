//! Guest modules, built on first use.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::Result;

use crate::cargo;

/// By package; held while a build runs, so that two tests do not start the same one.
static BUILT: LazyLock<Mutex<HashMap<String, PathBuf>>> = LazyLock::new(Mutex::default);

/// The `.wasm` of a guest package, an example or one of `tests/guests/`. Builds it for `wasm32-wasip1` with profile
/// `guest`, once per process, into `target/guests`: a folder of its own, because cargo locks a target folder.
///
/// # Errors
/// When the build fails; `rustup target add wasm32-wasip1` may be what is missing.
pub fn guest(package: &str) -> Result<PathBuf> {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = built.get(package) {
        return Ok(path.clone());
    }
    let folder = cargo::workspace().join("target/guests");
    let folder = folder.to_string_lossy();
    let args =
        ["--package", package, "--target", "wasm32-wasip1", "--profile", "guest", "--target-dir", &folder];
    let path = cargo::build(package, &args, ".wasm")?;
    built.insert(package.to_owned(), path.clone());
    Ok(path)
}
