//! Why a plugin cannot be loaded.

/// Why the host or a plugin cannot be set up. The fault is the operator's or the plugin author's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The engine's settings do not fit this machine.
    #[error("set up the wasm engine")]
    Engine(#[source] wasmtime::Error),
    /// No thread for the ticker.
    #[error("start the epoch ticker")]
    Ticker(#[source] std::io::Error),
    /// The module is over the size limit.
    #[error("the module has {bytes} bytes; the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The bytes do not start with the magic number of wasm.
    #[error("the file is not a wasm module: it does not start with \\0asm")]
    NotWasm,
    /// The bytes are a WebAssembly component, which proxy-wasm does not use.
    #[error("the file is a WebAssembly component; build it as a core module, such as for wasm32-wasip1")]
    Component,
    /// A section cannot be read: the file is cut off or damaged.
    #[error("the module cannot be read at byte {offset}: {message}")]
    Malformed {
        /// Where.
        offset: usize,
        /// The parser's words.
        message: String,
    },
    /// The bytes are not a valid module.
    #[error("compile the module")]
    Compile(#[source] wasmtime::Error),
    /// No ABI marker.
    #[error(
        "the module exports no proxy-wasm ABI marker (proxy_abi_version_0_2_0 or proxy_abi_version_0_2_1); \
         is it a proxy-wasm filter?"
    )]
    NoAbiMarker,
    /// A marker of a version that this host does not speak.
    #[error("the module speaks ABI {found}; this host speaks 0.2.0 and 0.2.1")]
    UnsupportedAbi {
        /// The marker found.
        found: String,
    },
    /// A required export is missing or has another type.
    #[error("the module does not export {what}")]
    MissingExport {
        /// Name and type.
        what: &'static str,
    },
    /// An export has a type other than the ABI's.
    #[error("the module's export {name} has a type other than the ABI's")]
    ExportType {
        /// Its name.
        name: &'static str,
        /// The engine's words.
        #[source]
        source: wasmtime::Error,
    },
    /// Imports that the host does not have.
    #[error("the module imports what this host does not have: {}", .names.join(", "))]
    UnknownImports {
        /// `module.name` of each.
        names: Vec<String>,
    },
    /// The module needs more than its plugin's limits.
    #[error("the module needs {what}; the plugin's limit is {limit}")]
    OverLimit {
        /// What it needs.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// A VM could not be made.
    #[error("instantiate the module")]
    Instantiate(#[source] wasmtime::Error),
    /// The guest trapped while it started.
    #[error("the guest trapped in {phase}")]
    Trap {
        /// The callback.
        phase: &'static str,
        /// The trap, with a backtrace.
        #[source]
        source: wasmtime::Error,
    },
    /// The guest said no.
    #[error("{phase} returned false: the plugin refused its configuration (its log lines say why)")]
    Refused {
        /// The callback.
        phase: &'static str,
    },
    /// The table of shim functions could not be built: a bug.
    #[error("link the shim module")]
    Shim(#[source] wasmtime::Error),
}
