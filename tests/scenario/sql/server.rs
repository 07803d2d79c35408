//! The servers, and what is different about them.

use agw_tests::{Mariadb, Postgres, injection};
use anyhow::Result;

/// Every server that a scenario runs on.
pub(super) const KINDS: [Kind; 2] = [Kind::Postgres, Kind::Mariadb];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Postgres,
    Mariadb,
}

pub(super) enum Server {
    Postgres(Postgres),
    Mariadb(Mariadb),
}

impl Kind {
    /// What values for it are made of.
    pub(super) fn parts(self) -> &'static [&'static str] {
        match self {
            Kind::Postgres => &injection::POSTGRES,
            Kind::Mariadb => &injection::MYSQL,
        }
    }
}

impl Server {
    pub(super) fn start(kind: Kind) -> Result<Server> {
        Ok(match kind {
            Kind::Postgres => Server::Postgres(Postgres::start()?),
            Kind::Mariadb => Server::Mariadb(Mariadb::start()?),
        })
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Server::Postgres(_) => "postgres",
            Server::Mariadb(_) => "mysql",
        }
    }

    pub(super) fn url(&self) -> String {
        match self {
            Server::Postgres(server) => format!("postgres://127.0.0.1:{}/postgres", server.port()),
            Server::Mariadb(server) => format!("mysql://127.0.0.1:{}/app", server.port()),
        }
    }

    pub(super) fn password(&self) -> &'static str {
        match self {
            Server::Postgres(_) => Postgres::PASSWORD,
            Server::Mariadb(_) => Mariadb::PASSWORD,
        }
    }

    /// Name and text of the statements that the plugins may run.
    pub(super) fn statements(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Server::Postgres(_) => &[
                ("echo", "SELECT $1::int8"),
                ("sleep", "SELECT 1 FROM pg_sleep($1::float8)"),
                ("show", "SELECT $1::text"),
                ("find", "SELECT count(*) FROM t WHERE a = $1 OR lower(a) = $1"),
                ("keep", "INSERT INTO inbox VALUES ($1) RETURNING a"),
                ("change", "DELETE FROM t WHERE a = $1 RETURNING a"),
            ],
            Server::Mariadb(_) => &[
                ("echo", "SELECT ?"),
                ("sleep", "SELECT SLEEP(?)"),
                ("show", "SELECT ?"),
                ("find", "SELECT count(*) FROM t WHERE a = ?"),
                ("keep", "INSERT INTO inbox VALUES (?) RETURNING a"),
                ("change", "DELETE FROM t WHERE a = ? RETURNING a"),
            ],
        }
    }

    /// Gives its parameter back.
    pub(super) fn ad_hoc(&self) -> &'static str {
        match self {
            Server::Postgres(_) => "SELECT $1::text AS shown",
            Server::Mariadb(_) => "SELECT ? AS shown",
        }
    }

    /// The tables that the statements are about: `t` with 1,000 rows, and `inbox`.
    pub(super) fn make_tables(&self) -> Result<()> {
        let text = match self {
            Server::Postgres(_) => {
                "CREATE TABLE t (id int8 PRIMARY KEY, a text NOT NULL);
                 INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, 1000) n;
                 CREATE TABLE inbox (a text NOT NULL);
                 GRANT ALL ON t, inbox TO agw"
            }
            Server::Mariadb(_) => {
                "CREATE TABLE t (id bigint PRIMARY KEY, a varchar(1000) NOT NULL);
                 INSERT INTO t SELECT seq, CONCAT('row ', seq) FROM seq_1_to_1000;
                 CREATE TABLE inbox (a varchar(4000) COLLATE utf8mb4_bin NOT NULL)"
            }
        };
        self.sql(text).map(drop)
    }

    /// Changes with every change of a table's columns, and of the rows of `t`.
    pub(super) fn fingerprint(&self) -> Result<String> {
        self.sql(match self {
            Server::Postgres(_) => {
                "SELECT (SELECT md5(string_agg(concat(table_schema, table_name, column_name, data_type), ','
                                ORDER BY table_schema, table_name, ordinal_position))
                         FROM information_schema.columns),
                        count(*), md5(string_agg(id || ':' || a, ',' ORDER BY id)) FROM t"
            }
            Server::Mariadb(_) => {
                "SELECT MD5(GROUP_CONCAT(CONCAT(TABLE_NAME, COLUMN_NAME, COLUMN_TYPE)
                            ORDER BY TABLE_NAME, ORDINAL_POSITION))
                 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'app';
                 SELECT count(*) FROM t; CHECKSUM TABLE t EXTENDED"
            }
        })
    }

    /// The rows of `inbox`, in hexadecimal digits.
    pub(super) fn inbox(&self) -> Result<String> {
        self.sql(match self {
            Server::Postgres(_) => "SELECT encode(convert_to(a, 'UTF8'), 'hex') FROM inbox",
            Server::Mariadb(_) => "SELECT HEX(a) FROM inbox",
        })
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        match self {
            Server::Postgres(server) => server.kill(),
            Server::Mariadb(server) => server.kill(),
        }
    }

    /// Starts it again, on the same port.
    pub(super) fn restart(&mut self) -> Result<()> {
        match self {
            Server::Postgres(server) => server.restart(),
            Server::Mariadb(server) => server.restart(),
        }
    }

    /// As superuser, without the gateway.
    pub(super) fn sql(&self, text: &str) -> Result<String> {
        match self {
            Server::Postgres(server) => server.sql(text),
            Server::Mariadb(server) => server.sql(text),
        }
    }

    /// Statements `sleep` that run on the server now.
    pub(super) fn sleeping(&self) -> Result<usize> {
        let text = match self {
            Server::Postgres(_) => {
                "SELECT count(*) FROM pg_stat_activity
                 WHERE usename = 'agw' AND state = 'active' AND query LIKE '%pg_sleep%'"
            }
            Server::Mariadb(_) => {
                "SELECT count(*) FROM information_schema.PROCESSLIST WHERE USER = 'agw' AND INFO LIKE '%SLEEP%'"
            }
        };
        Ok(self.sql(text)?.trim().parse()?)
    }

    /// Connections of the gateway.
    pub(super) fn connections(&self) -> Result<usize> {
        let text = match self {
            Server::Postgres(_) => "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agw'",
            Server::Mariadb(_) => "SELECT count(*) FROM information_schema.PROCESSLIST WHERE USER = 'agw'",
        };
        Ok(self.sql(text)?.trim().parse()?)
    }
}
