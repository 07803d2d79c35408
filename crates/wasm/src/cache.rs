//! The disk cache of compiled code.
//!
//! A cached file is native code that the process will run, so the folder must belong to the process's own user and
//! be writable by nobody else; one that is not is left alone, and modules are compiled at each start.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, Module};

use crate::error::LoadError;

/// A file is the digest of the code, then the code.
const DIGEST_BYTES: usize = 32;

/// The module's code, from the cache if it is there.
pub(crate) fn compile(engine: &Engine, bytes: &[u8], dir: Option<&Path>) -> Result<Module, LoadError> {
    let file = dir.filter(|dir| is_private(dir)).map(|dir| dir.join(key(engine, bytes)));
    if let Some(module) = file.as_deref().and_then(|file| load(engine, file)) {
        return Ok(module);
    }
    let module = Module::new(engine, bytes).map_err(LoadError::Compile)?;
    if let Some(file) = file {
        store(&module, &file);
    }
    Ok(module)
}

/// The file's name covers the module, the engine's version and settings, and the processor's features.
fn key(engine: &Engine, bytes: &[u8]) -> String {
    struct Sink(Sha256);
    impl std::hash::Hasher for Sink {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut sink = Sink(Sha256::new());
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut sink);
    let compatibility = sink.0.finalize();
    let digest = Sha256::new().chain_update(compatibility).chain_update(bytes).finalize();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}.cwasm")
}

/// Makes the folder if need be, and says whether only this user can write in it.
fn is_private(dir: &Path) -> bool {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    let private = made.and_then(|()| fs::metadata(dir)).is_ok_and(|found| {
        let own = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == found.uid());
        own && found.permissions().mode() & 0o022 == 0
    });
    if !private {
        tracing::warn!(
            "the module cache is not used: its folder must belong to this user and be closed to others"
        );
    }
    private
}

#[expect(
    unsafe_code,
    reason = "compiled code is loaded as it is; the folder is private, see the module's words"
)]
fn load(engine: &Engine, file: &Path) -> Option<Module> {
    let stored = fs::read(file).ok()?;
    let Some((digest, code)) = stored.split_first_chunk::<DIGEST_BYTES>() else {
        tracing::warn!("a cached module is cut short; compiling it anew");
        return None;
    };
    if Sha256::digest(code)[..] != digest[..] {
        tracing::warn!("a cached module is damaged; compiling it anew");
        return None;
    }
    // SAFETY: the file was written by `store`, under a name that covers engine and module, in a folder that only
    // this user can write, and its digest shows that it still is what was written.
    match unsafe { Module::deserialize(engine, code) } {
        Ok(module) => Some(module),
        Err(error) => {
            tracing::warn!(%error, "a cached module cannot be used; compiling it anew");
            None
        }
    }
}

/// A full disk costs the cache, not the start.
fn store(module: &Module, file: &Path) {
    let written = module.serialize().map_err(std::io::Error::other).and_then(|code| write_whole(file, &code));
    if let Err(error) = written {
        tracing::warn!(%error, "the compiled module cannot be cached");
    }
}

fn write_whole(file: &Path, code: &[u8]) -> std::io::Result<()> {
    // Two loads of the same module may run at once, in one process or in two.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let unique = format!("{}.{}.partial", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let partial: PathBuf = file.with_extension(unique);
    let mut out = fs::File::create(&partial)?;
    let written = out
        .write_all(&Sha256::digest(code))
        .and_then(|()| out.write_all(code))
        .and_then(|()| out.sync_all())
        .and_then(|()| fs::rename(&partial, file));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}
