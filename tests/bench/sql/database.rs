//! A database with its rows, and the document of a gateway whose plugins look them up.

use std::net::SocketAddr;

use agw_tests::{Gateway, Mariadb, Postgres, guest};
use anyhow::Result;

use crate::server::Server;

/// Connections of one's own that lookups share; as many as `pool.max` has by default.
pub(super) const CONNECTIONS: usize = 16;
/// Connections that all calls share.
pub(super) const SHARED: usize = 2;
pub(super) const ROWS: i64 = 10_000;

/// What is looked up in, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    PostgresOwn,
    PostgresPipelined,
    Mariadb,
}

/// A server of the bench's own.
pub(super) struct Database {
    pub(super) kind: Kind,
    server: Running,
}

enum Running {
    Postgres(Postgres),
    Mariadb(Mariadb),
}

// === impl Kind ===

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::PostgresOwn, Kind::PostgresPipelined, Kind::Mariadb];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::PostgresOwn => "Postgres, own connections",
            Kind::PostgresPipelined => "Postgres, pipelined",
            Kind::Mariadb => "MariaDB",
        }
    }
}

// === impl Database ===

impl Database {
    pub(super) fn start(kind: Kind) -> Result<Self> {
        let table = "CREATE TABLE users (id bigint PRIMARY KEY, tier varchar(20) NOT NULL)";
        let server = match kind {
            Kind::PostgresOwn | Kind::PostgresPipelined => {
                let server = Postgres::start()?;
                server.sql(&format!(
                    "{table}; INSERT INTO users SELECT g, 'tier-' || g % 3 FROM generate_series(1, {ROWS}) g; \
                     GRANT SELECT ON users TO agw; ANALYZE users"
                ))?;
                Running::Postgres(server)
            }
            Kind::Mariadb => {
                let server = Mariadb::start()?;
                server.sql(&format!(
                    "{table}; INSERT INTO users SELECT seq, CONCAT('tier-', seq % 3) FROM seq_1_to_{ROWS}"
                ))?;
                Running::Mariadb(server)
            }
        };
        Ok(Database { kind, server })
    }

    pub(super) fn port(&self) -> u16 {
        match &self.server {
            Running::Postgres(server) => server.port(),
            Running::Mariadb(server) => server.port(),
        }
    }

    pub(super) fn password(&self) -> &'static str {
        match &self.server {
            Running::Postgres(_) => Postgres::PASSWORD,
            Running::Mariadb(_) => Mariadb::PASSWORD,
        }
    }

    /// The database that the harness's servers have.
    pub(super) fn name(&self) -> &'static str {
        match &self.server {
            Running::Postgres(_) => "postgres",
            Running::Mariadb(_) => "app",
        }
    }

    pub(super) fn text(&self) -> &'static str {
        match &self.server {
            Running::Postgres(_) => "SELECT id, tier FROM users WHERE id = $1",
            Running::Mariadb(_) => "SELECT id, tier FROM users WHERE id = ?",
        }
    }

    /// A gateway whose plugin answers by itself; with an upstream, on `/cached/` and `/none/`, one whose plugin makes one
    /// lookup out of the cache, or none, before the request goes on.
    pub(super) fn gateway(&self, upstream: Option<SocketAddr>) -> Result<Server> {
        let options = ["--admin", "127.0.0.1:0", "--access-log", "off", "--workers", "1"];
        let password = [("password", self.password().as_bytes())];
        let gateway = Gateway::start_with(&self.document(upstream)?, &password, &options)?;
        Ok(Server::Agw(Box::new(gateway)))
    }

    fn document(&self, upstream: Option<SocketAddr>) -> Result<String> {
        let module = guest("sql-lookup")?;
        let kind = match &self.server {
            Running::Postgres(_) => "postgres",
            Running::Mariadb(_) => "mysql",
        };
        let how = match (upstream, self.kind) {
            (Some(_), _) => ", cache: { ttl: 1h }",
            (None, Kind::PostgresPipelined) => ", pipelined: true",
            (None, _) => "",
        };
        let upstream = upstream.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9)));
        let plugin = |name: &str, lookups: usize| {
            format!(
                "- {{ name: {name}, module: {{ file: {} }}, configuration: \"{lookups}\", vm: {{ max: 2000 }}, \
                 limits: {{ foreign_calls: 4096, calls_per_request: 1000 }} }}\n",
                module.display()
            )
        };
        let (plain, cached) = (plugin("none", 0), plugin("cached", 1));
        Ok(format!(
            "version: 1
listeners: [{{ name: main, address: '127.0.0.1:0' }}]
clusters: [{{ name: upstream, endpoints: ['{upstream}'], idle_connections: 4096 }}]
routes:
- {{ name: cached, match: {{ prefix: /cached/ }}, cluster: upstream, plugins: [cached] }}
- {{ name: none, match: {{ prefix: / }}, cluster: upstream, plugins: [none] }}
plugins:
{plain}{cached}resources:
- name: users
  type: {kind}
  url: {kind}://127.0.0.1:{}/{}
  username: agw
  password: {{ file: password }}
  pool: {{ max: {CONNECTIONS}, pipelined: {SHARED}, acquire_timeout: 5s }}
  limits: {{ call_timeout: 5s }}
  statements: {{ find: {{ text: '{}'{how} }} }}
  grants:
  - {{ plugin: none, statements: [find], read_only: true }}
  - {{ plugin: cached, statements: [find], read_only: true }}
",
            self.port(),
            self.name(),
            self.text(),
        ))
    }
}
