//! The servers, and how each is made to fail.

use std::fs;

use agw_tests::port::free_port;
use agw_tests::{Mariadb, MariadbOptions, Postgres, PostgresOptions, RedisOptions, RedisServer};
use anyhow::{Context, Result};
use tempfile::TempDir;

use super::certificates::{Authority, Pair};

/// What a resource may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Redis,
    Postgres,
    Mariadb,
}

pub(super) const KINDS: [Kind; 3] = [Kind::Redis, Kind::Postgres, Kind::Mariadb];

pub(super) const PASSWORD: &str = "planted-correct horse";

/// A server of its own, which speaks TLS as well.
pub(super) enum Backend {
    Redis {
        server: RedisServer,
        tls_port: u16,
        folder: TempDir,
        /// Held, so that it is in when nobody else may be.
        admin: Box<redis::Connection>,
    },
    Postgres(Postgres),
    Mariadb(Mariadb),
}

impl Backend {
    pub(super) fn start(kind: Kind, authority: &Authority) -> Result<Backend> {
        let Pair { certificate, key } = authority.right()?;
        let tls = Some((certificate.clone(), key.clone()));
        Ok(match kind {
            Kind::Redis => {
                let folder = tempfile::tempdir()?;
                let path = |name: &str| folder.path().join(name).display().to_string();
                fs::write(folder.path().join("server.crt"), certificate)?;
                fs::write(folder.path().join("server.key"), key)?;
                let tls_port = free_port()?;
                let (port, crt, key) = (tls_port.to_string(), path("server.crt"), path("server.key"));
                let args = ["--tls-port", &port, "--tls-cert-file", &crt, "--tls-key-file", &key];
                let more = ["--tls-ca-cert-file", &crt, "--tls-auth-clients", "no"];
                let args = args.into_iter().chain(more).map(str::to_owned).collect();
                let server = RedisServer::start_with(RedisOptions { args, ..RedisOptions::default() })?;
                let admin = Box::new(server.connection()?);
                let mut backend = Backend::Redis { server, tls_port, folder, admin };
                backend.make_user()?;
                backend
            }
            Kind::Postgres => {
                Backend::Postgres(Postgres::start_with(PostgresOptions { tls, ..Default::default() })?)
            }
            Kind::Mariadb => {
                Backend::Mariadb(Mariadb::start_with(MariadbOptions { tls, ..Default::default() })?)
            }
        })
    }

    /// Where it is, `host:port`.
    pub(super) fn address(&self, tls: bool) -> String {
        match self {
            Backend::Redis { tls_port, .. } if tls => format!("127.0.0.1:{tls_port}"),
            Backend::Redis { server, .. } => server.address(),
            Backend::Postgres(server) => format!("127.0.0.1:{}", server.port()),
            Backend::Mariadb(server) => format!("127.0.0.1:{}", server.port()),
        }
    }

    /// Of the account `agw`.
    pub(super) fn password(&self) -> &'static str {
        match self {
            Backend::Redis { .. } => PASSWORD,
            Backend::Postgres(_) => Postgres::PASSWORD,
            Backend::Mariadb(_) => Mariadb::PASSWORD,
        }
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        match self {
            Backend::Redis { server, .. } => server.kill()?,
            Backend::Postgres(server) => server.kill(),
            Backend::Mariadb(server) => server.kill(),
        }
        Ok(())
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        match self {
            Backend::Redis { server, admin, .. } => {
                server.restart()?;
                **admin = server.connection()?;
                self.make_user()
            }
            Backend::Postgres(server) => server.restart(),
            Backend::Mariadb(server) => server.restart(),
        }
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        match self {
            Backend::Redis { server, .. } => server.stop(),
            Backend::Postgres(server) => server.stop(),
            Backend::Mariadb(server) => server.stop(),
        }
    }

    pub(super) fn cont(&mut self) -> Result<()> {
        match self {
            Backend::Redis { server, .. } => server.cont(),
            Backend::Postgres(server) => server.cont(),
            Backend::Mariadb(server) => server.cont(),
        }
    }

    /// The account has another password, or its own again.
    pub(super) fn set_password(&mut self, right: bool) -> Result<()> {
        let password = if right { self.password() } else { "planted-another one" };
        match self {
            Backend::Redis { .. } => {
                self.say(&["ACL", "SETUSER", "agw", "resetpass", &format!(">{password}")])
            }
            Backend::Postgres(server) => {
                server.sql(&format!("ALTER ROLE agw PASSWORD '{password}'")).map(drop)
            }
            Backend::Mariadb(server) => {
                server.sql(&format!("SET PASSWORD FOR agw@'%' = PASSWORD('{password}')")).map(drop)
            }
        }
    }

    /// The account may have no further connection, or as many as it likes.
    pub(super) fn set_room(&mut self, room: bool) -> Result<()> {
        match self {
            Backend::Redis { .. } => {
                self.say(&["CONFIG", "SET", "maxclients", if room { "1000" } else { "1" }])
            }
            Backend::Postgres(server) => {
                let limit = if room { -1 } else { 0 };
                server.sql(&format!("ALTER ROLE agw CONNECTION LIMIT {limit}")).map(drop)
            }
            Backend::Mariadb(server) => {
                // There is no limit of none: the first connection is ours.
                let limit = if room { 0 } else { 1 };
                server.sql(&format!("ALTER USER agw@'%' WITH MAX_CONNECTIONS_PER_HOUR {limit}"))?;
                server.sql("FLUSH USER_RESOURCES")?;
                if room { Ok(()) } else { server.sql_of_agw("DO 0").map(drop) }
            }
        }
    }

    pub(super) fn set_certificate(&mut self, pair: &Pair) -> Result<()> {
        match self {
            Backend::Redis { folder, .. } => {
                let (crt, key) = (folder.path().join("server.crt"), folder.path().join("server.key"));
                fs::write(&crt, &pair.certificate)?;
                fs::write(&key, &pair.key)?;
                let text = |path: &std::path::Path| path.display().to_string();
                let (crt, key) = (text(&crt), text(&key));
                self.say(&["CONFIG", "SET", "tls-cert-file", &crt, "tls-key-file", &key])
            }
            Backend::Postgres(server) => server.set_certificate(&pair.certificate, &pair.key),
            Backend::Mariadb(server) => server.set_certificate(&pair.certificate, &pair.key),
        }
    }

    fn make_user(&mut self) -> Result<()> {
        self.say(&["ACL", "SETUSER", "agw", "on", "~*", "+@all", &format!(">{PASSWORD}")])
    }

    fn say(&mut self, words: &[&str]) -> Result<()> {
        let Backend::Redis { admin, .. } = self else { return Ok(()) };
        let (first, rest) = words.split_first().context("a command")?;
        redis::cmd(first).arg(rest).exec(&mut **admin).with_context(|| words.join(" "))
    }
}
