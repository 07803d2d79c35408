//! What a module says about itself: read from its sections, without compiling or running it.

use wasmparser::{ExternalKind, Parser, Payload};

use crate::error::LoadError;
use crate::hostcalls::{ENV, callout};
use crate::limits::MODULE_BYTES_MAX;
use crate::module::MARKER;

/// A module's markers and imports, each list in the module's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleFacts {
    /// Versions of the ABI that it has a marker for, such as `0.2.1`.
    pub abi: Vec<String>,
    /// What it imports from `env`: the ABI's functions, and perhaps what its toolchain left open.
    pub hostcalls: Vec<String>,
    /// What it imports from WASI, whichever of its two module names it uses.
    pub wasi: Vec<String>,
    /// What it imports from elsewhere, as `module.name`.
    pub others: Vec<String>,
}

// === impl ModuleFacts ===

impl ModuleFacts {
    /// Reads them.
    ///
    /// # Errors
    /// [`LoadError::TooLarge`], [`LoadError::NotWasm`], or [`LoadError::Malformed`] for sections that cannot be read.
    pub fn read(bytes: &[u8]) -> Result<Self, LoadError> {
        check_bytes(bytes)?;
        let mut facts = ModuleFacts::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(malformed)? {
                Payload::Version { encoding: wasmparser::Encoding::Component, .. } => {
                    return Err(LoadError::Component);
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import.map_err(malformed)?;
                        facts.import(import.module, import.name);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export.map_err(malformed)?;
                        if export.kind == ExternalKind::Func {
                            facts.export(export.name);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(facts)
    }

    /// Hostcalls that it imports and that this host links only so that modules load: each call of one fails.
    pub fn failing(&self) -> Vec<&str> {
        let failing = |name: &&str| callout::FAILING.contains(name);
        self.hostcalls.iter().map(String::as_str).filter(failing).collect()
    }

    fn import(&mut self, module: &str, name: &str) {
        match module {
            ENV => self.hostcalls.push(name.to_owned()),
            "wasi_snapshot_preview1" | "wasi_unstable" => self.wasi.push(name.to_owned()),
            _ => self.others.push(format!("{module}.{name}")),
        }
    }

    fn export(&mut self, name: &str) {
        if let Some(version) = name.strip_prefix(MARKER) {
            self.abi.push(version.replace('_', "."));
        }
    }
}

/// What can be said about bytes before anything is read from them.
pub(crate) fn check_bytes(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.len() > MODULE_BYTES_MAX {
        return Err(LoadError::TooLarge { bytes: bytes.len(), max: MODULE_BYTES_MAX });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(LoadError::NotWasm);
    }
    Ok(())
}

fn malformed(error: wasmparser::BinaryReaderError) -> LoadError {
    LoadError::Malformed { offset: error.offset(), message: error.message().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wat: &str) -> Result<ModuleFacts, LoadError> {
        ModuleFacts::read(&wat::parse_str(wat).unwrap())
    }

    #[test]
    fn bytes_that_are_no_module_are_refused_with_what_they_are() {
        let cases: [(&[u8], &str); 4] = [
            (b"", "not a wasm module"),
            (b"#!/bin/sh\n", "not a wasm module"),
            (b"\0asm\x01\0\0\0\x02\x05\x01", "at byte"),
            (b"\0asm\x0d\0\x01\0", "component"),
        ];
        for (bytes, expected) in cases {
            let error = ModuleFacts::read(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn imports_are_grouped_and_what_is_missing_is_named() {
        let facts = read(
            r#"(module
                (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
                (import "env" "proxy_http_call" (func))
                (import "wasi_unstable" "fd_write" (func))
                (import "js" "eval" (func))
                (func (export "proxy_abi_version_0_1_0"))
                (memory (export "proxy_abi_version_0_2_0") 1))"#,
        )
        .unwrap();
        assert_eq!(facts.abi, ["0.1.0"], "only a function is a marker");
        assert_eq!(facts.hostcalls, ["proxy_log", "proxy_http_call"]);
        assert_eq!(
            (facts.wasi.as_slice(), facts.others.as_slice()),
            (&["fd_write".into()][..], &["js.eval".into()][..])
        );
        assert_eq!(facts.failing(), ["proxy_http_call"]);
    }
}
