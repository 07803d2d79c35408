//! The rules as data. Changing a row is a decision about the architecture: say why in the commit and in
//! `crates/README.md`.

/// Which packages of this workspace each package may import, in any kind of dependency. `agw-tests` may import all
/// and is imported by none.
pub(super) const ARROWS: &[(&str, &[&str])] = &[
    (
        "agw",
        &[
            "agw-config",
            "agw-foreign",
            "agw-foreign-redis",
            "agw-foreign-sql",
            "agw-otlp",
            "agw-proxy",
            "agw-redis-commands",
            "agw-redis-memory",
            "agw-telemetry",
            "agw-wasm",
            "agw-wire",
        ],
    ),
    ("agw-proxy", &["agw-config", "agw-telemetry", "agw-wasm"]),
    ("agw-wasm", &["agw-config", "agw-foreign", "agw-telemetry", "agw-wire"]),
    ("agw-foreign", &["agw-telemetry", "agw-wire"]),
    (
        "agw-foreign-redis",
        &["agw-config", "agw-foreign", "agw-redis-commands", "agw-redis-memory", "agw-telemetry", "agw-wire"],
    ),
    ("agw-foreign-sql", &["agw-config", "agw-foreign", "agw-sql-statements", "agw-telemetry", "agw-wire"]),
    ("agw-sql-statements", &[]),
    ("agw-redis-commands", &["agw-wire"]),
    ("agw-redis-memory", &["agw-wire"]),
    ("agw-config", &["agw-redis-commands", "agw-sql-statements"]),
    ("agw-otlp", &["agw-config", "agw-telemetry"]),
    ("agw-telemetry", &[]),
    ("agw-wire", &[]),
    ("agw-sdk", &["agw-wire"]),
    ("xtask", &[]),
];

/// May import every package.
pub(super) const TESTS: &str = "agw-tests";

/// What a guest in `examples/` may import.
pub(super) const EXAMPLE: &[&str] = &["agw-sdk"];

/// What a guest in `tests/guests/` may import: the wire format by hand, too.
pub(super) const TEST_GUEST: &[&str] = &["agw-sdk", "agw-wire"];

/// Where third-party crates may be used. A name that ends in `*` stands for every crate that starts so.
pub(super) struct Confined {
    pub(super) krate: &'static str,
    pub(super) to: &'static [&'static str],
    /// Whether any package may use it in its tests.
    pub(super) in_tests: bool,
}

pub(super) const CONFINED: &[Confined] = &[
    Confined { krate: "wasmtime*", to: &["agw-wasm"], in_tests: false },
    Confined { krate: "redis", to: &["agw-foreign-redis", TESTS], in_tests: true },
    Confined { krate: "bb8*", to: &["agw-foreign-redis"], in_tests: false },
    Confined { krate: "rusqlite", to: &["agw-foreign-sql", TESTS], in_tests: false },
    Confined { krate: "tokio-postgres*", to: &["agw-foreign-sql", TESTS], in_tests: false },
    Confined { krate: "mysql_*", to: &["agw-foreign-sql", TESTS], in_tests: false },
    Confined { krate: "hyper*", to: &["agw-proxy", "agw-otlp", "agw", TESTS], in_tests: false },
    Confined { krate: "opentelemetry*", to: &["agw-otlp", TESTS], in_tests: false },
    Confined { krate: "anyhow", to: &["agw", "xtask", TESTS], in_tests: false },
];

/// Packages without an event loop: their code runs in guests, or is pure.
pub(super) const NO_TOKIO: &[&str] = &[
    "agw-config",
    "agw-redis-commands",
    "agw-redis-memory",
    "agw-sdk",
    "agw-sql-statements",
    "agw-telemetry",
    "agw-wire",
    "xtask",
];

/// Crates that may not even come in through others: one TLS provider, `ring`, is enough, and it needs no cmake.
pub(super) const BANNED: &[&str] = &["aws-lc-rs", "aws-lc-sys", "openssl-sys"];

/// Lines of a file without its tests: from here on it is worth asking whether it is two files.
pub(super) const FILE_LINES_ASK: usize = 400;
/// From here on the check fails.
pub(super) const FILE_LINES_MAX: usize = 800;
/// Lines of a function; clippy refuses more than 70.
pub(super) const FUNCTION_LINES_ASK: usize = 60;
