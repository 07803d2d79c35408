//! A Redis and a Postgres whose passwords change.

use agw_tests::{Postgres, RedisServer};
use anyhow::Result;

pub(super) struct Servers {
    redis: RedisServer,
    postgres: Postgres,
    /// How often a password has changed.
    rotations: u32,
    old: Option<String>,
}

impl Servers {
    /// Of both, at the start.
    pub(super) const FIRST_PASSWORD: &str = "planted-first";

    pub(super) fn start() -> Result<Self> {
        let (redis, postgres) = (RedisServer::start()?, Postgres::start()?);
        let schema = include_str!("../../../examples/api-key-auth/schema.sql");
        postgres.sql(schema)?;
        postgres.sql("GRANT SELECT ON api_keys TO agw")?;
        postgres.sql(&format!("ALTER ROLE agw PASSWORD '{}'", Self::FIRST_PASSWORD))?;
        let servers = Servers { redis, postgres, rotations: 0, old: Some(Self::FIRST_PASSWORD.to_owned()) };
        servers.user(&["on", "~*", "+@all", &format!(">{}", Self::FIRST_PASSWORD)])?;
        Ok(servers)
    }

    pub(super) fn redis_url(&self) -> String {
        self.redis.url()
    }

    pub(super) fn sql_url(&self) -> String {
        format!("postgres://127.0.0.1:{}/postgres", self.postgres.port())
    }

    /// The server takes another password as well, until [`Servers::forget_redis`].
    pub(super) fn rotate_redis(&mut self) -> Result<String> {
        let password = self.next();
        self.user(&[&format!(">{password}")])?;
        Ok(password)
    }

    /// The server takes only the newest password from here on.
    pub(super) fn forget_redis(&mut self) -> Result<()> {
        let newest = format!("planted-{}", self.rotations);
        if let Some(old) = self.old.replace(newest) {
            self.user(&[&format!("<{old}")])?;
        }
        Ok(())
    }

    /// The server takes another password, and only that: connections that are open go on.
    pub(super) fn rotate_sql(&mut self) -> Result<String> {
        let password = self.next();
        self.postgres.sql(&format!("ALTER ROLE agw PASSWORD '{password}'"))?;
        Ok(password)
    }

    fn next(&mut self) -> String {
        self.rotations += 1;
        format!("planted-{}", self.rotations)
    }

    fn user(&self, words: &[&str]) -> Result<()> {
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg("agw").arg(words);
        Ok(command.exec(&mut self.redis.connection()?)?)
    }
}
