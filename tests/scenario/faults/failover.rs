//! The primary dies, and another server takes its place. The cure is the moment when that one takes writes and, of Redis,
//! when the sentinels name it.

use std::time::{Duration, Instant};

use agw_tests::{Mariadb, MariadbOptions, Postgres, RedisSentinels};
use anyhow::{Context, Result, ensure};

use super::backend::{Kind, PASSWORD};
use super::caller::{Caller, GIVE_UP, judge};
use super::certificates::Authority;
use crate::verdict::Verdict;

/// What calls come to without a primary.
const COMES_TO: [&str; 2] = ["unavailable", "circuit_open"];

/// A primary, and who follows it.
enum Pair {
    Redis(RedisSentinels),
    Postgres(Postgres, Postgres),
    Mariadb(Mariadb, Mariadb),
}

pub(super) async fn meet(kind: Kind, verdict: &mut Verdict) -> Result<()> {
    let cell = format!("{kind:?}, Failover");
    let mut pair = Pair::start(kind)?;
    let caller = Caller::start(kind, &pair.place(), pair.password(), &Authority::new()?)?;
    caller.recover().await.with_context(|| format!("{cell}: before"))?;
    pair.kill_primary()?;
    let outcomes = caller.ask().await?;
    pair.await_successor()?;
    let back = caller.recover().await.with_context(|| format!("{cell}: after its cure"))?;
    judge(verdict, &cell, &COMES_TO, &outcomes, back);
    caller.nothing_is_held(&cell, verdict)?;
    Ok(())
}

impl Pair {
    fn start(kind: Kind) -> Result<Self> {
        Ok(match kind {
            Kind::Redis => {
                let redis = RedisSentinels::start(None)?;
                for server in &redis.servers {
                    let mut connection = server.connection()?;
                    let mut user = redis::cmd("ACL");
                    user.arg(&["SETUSER", "agw", "on", "~*", "+@all"]).arg(format!(">{PASSWORD}"));
                    user.exec(&mut connection)?;
                }
                Pair::Redis(redis)
            }
            Kind::Postgres => {
                let primary = Postgres::start()?;
                let standby = primary.standby()?;
                Pair::Postgres(primary, standby)
            }
            Kind::Mariadb => {
                let primary = Mariadb::start_with(MariadbOptions::replicated())?;
                let replica = primary.replica()?;
                Pair::Mariadb(primary, replica)
            }
        })
    }

    fn password(&self) -> &'static str {
        match self {
            Pair::Redis(_) => PASSWORD,
            Pair::Postgres(..) => Postgres::PASSWORD,
            Pair::Mariadb(..) => Mariadb::PASSWORD,
        }
    }

    /// The fields of the resource that say where they are.
    fn place(&self) -> String {
        let (ports, database) = match self {
            Pair::Redis(redis) => return redis.place("").replace("\n    ", "\n  "),
            Pair::Postgres(primary, standby) => ([primary.port(), standby.port()], "postgres"),
            Pair::Mariadb(primary, replica) => ([primary.port(), replica.port()], "app"),
        };
        let endpoints = ports.map(|port| format!("\"127.0.0.1:{port}\"")).join(", ");
        format!("endpoints: [{endpoints}]\n  target: primary\n  database: {database}")
    }

    fn kill_primary(&mut self) -> Result<()> {
        match self {
            Pair::Redis(redis) => redis.servers.first_mut().context("a primary")?.kill()?,
            Pair::Postgres(primary, _) => primary.kill(),
            Pair::Mariadb(primary, _) => primary.kill(),
        }
        Ok(())
    }

    /// Returns when the other server is the primary.
    fn await_successor(&self) -> Result<()> {
        match self {
            Pair::Redis(redis) => {
                let successor = redis.address(1)?;
                let begun = Instant::now();
                // Two of three: what most of them say counts.
                while (0..3).filter(|at| redis.named(*at).is_ok_and(|named| named == successor)).count() < 2 {
                    ensure!(begun.elapsed() < GIVE_UP, "the sentinels name no other primary");
                    std::thread::sleep(Duration::from_millis(10));
                }
                let mut connection = redis.servers.get(1).context("a replica")?.connection()?;
                Ok(redis::cmd("SET").arg("written").arg("1").exec(&mut connection)?)
            }
            Pair::Postgres(_, standby) => standby.promote(),
            Pair::Mariadb(_, replica) => replica.promote(),
        }
    }
}
