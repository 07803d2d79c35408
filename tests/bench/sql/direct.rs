//! The same lookups by the driver, in a bare loop.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mysql_async::prelude::Queryable;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::Made;
use super::database::{CONNECTIONS, Database, Kind, ROWS, SHARED};
use crate::generator::histogram::Histogram;
use crate::rounds::Stage;

/// Where a client gets a connection.
enum Source {
    /// Each for one lookup at a time; whoever waited longest is next.
    Postgres(Turns<Prepared>),
    Mariadb(Turns<(mysql_async::Conn, mysql_async::Statement)>),
    /// All at once.
    Shared(Vec<Prepared>),
}

struct Prepared {
    client: tokio_postgres::Client,
    statement: tokio_postgres::Statement,
}

/// Connections that are free. The lock is the line: tokio's is fair.
struct Turns<C> {
    free: Mutex<mpsc::UnboundedReceiver<C>>,
    give_back: mpsc::UnboundedSender<C>,
}

/// So many tasks of one thread, each of which looks up without a pause.
pub(super) fn run(database: &Database, stage: &Stage, clients: usize) -> Result<Made> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let latencies = runtime.block_on(async {
        let source = Arc::new(Source::open(database).await?);
        let opens = Instant::now() + stage.warmup;
        let closes = opens + stage.duration;
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let source = Arc::clone(&source);
            tasks.spawn(async move {
                let mut took = Vec::new();
                let mut id = number as i64 * 7919 % ROWS;
                loop {
                    id = id % ROWS + 1;
                    let started = Instant::now();
                    let found = source.find(number, id).await?;
                    let ended = Instant::now();
                    if found != id {
                        bail!("asked for {id}, got {found}");
                    }
                    if ended >= closes {
                        return Ok(took);
                    }
                    if ended >= opens {
                        took.push(ended - started);
                    }
                }
            });
        }
        let mut latencies = Histogram::new();
        while let Some(ended) = tasks.join_next().await {
            ended??.into_iter().for_each(|took| latencies.record(took));
        }
        anyhow::Ok(latencies)
    })?;
    Ok(Made { latencies, window: stage.duration })
}

// === impl Source ===

impl Source {
    async fn open(database: &Database) -> Result<Self> {
        Ok(match database.kind {
            Kind::PostgresOwn => {
                let turns = Turns::new();
                for _ in 0..CONNECTIONS {
                    turns.put(Prepared::open(database).await?);
                }
                Source::Postgres(turns)
            }
            Kind::PostgresPipelined => {
                let mut shared = Vec::new();
                for _ in 0..SHARED {
                    shared.push(Prepared::open(database).await?);
                }
                Source::Shared(shared)
            }
            Kind::Mariadb => {
                let turns = Turns::new();
                for _ in 0..CONNECTIONS {
                    let options = mysql_async::OptsBuilder::default()
                        .ip_or_hostname("127.0.0.1")
                        .tcp_port(database.port())
                        .prefer_socket(false)
                        .user(Some("agw"))
                        .pass(Some(database.password()))
                        .db_name(Some(database.name()));
                    let mut connection = mysql_async::Conn::new(options).await?;
                    let statement = connection.prep(database.text()).await?;
                    turns.put((connection, statement));
                }
                Source::Mariadb(turns)
            }
        })
    }

    async fn find(&self, client: usize, id: i64) -> Result<i64> {
        match self {
            Source::Postgres(turns) => {
                let prepared = turns.take().await?;
                let found = prepared.find(id).await;
                turns.put(prepared);
                found
            }
            Source::Shared(shared) => {
                shared.get(client % shared.len()).context("there is a connection")?.find(id).await
            }
            Source::Mariadb(turns) => {
                let (mut connection, statement) = turns.take().await?;
                let found: Option<(i64, String)> = connection.exec_first(&statement, (id,)).await?;
                turns.put((connection, statement));
                Ok(found.context("the row is there")?.0)
            }
        }
    }
}

impl Prepared {
    async fn open(database: &Database) -> Result<Self> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(database.port()).user("agw").password(database.password());
        let (client, connection) = config.dbname(database.name()).connect(tokio_postgres::NoTls).await?;
        // Ends with its client.
        drop(tokio::spawn(connection));
        let statement = client.prepare(database.text()).await?;
        Ok(Prepared { client, statement })
    }

    async fn find(&self, id: i64) -> Result<i64> {
        let row = self.client.query_one(&self.statement, &[&id]).await?;
        let _tier: &str = row.try_get(1)?;
        Ok(row.try_get(0)?)
    }
}

impl<C> Turns<C> {
    fn new() -> Self {
        let (give_back, free) = mpsc::unbounded_channel();
        Turns { free: Mutex::new(free), give_back }
    }

    async fn take(&self) -> Result<C> {
        self.free.lock().await.recv().await.context("a connection comes back")
    }

    fn put(&self, connection: C) {
        // The receiver is in the same struct.
        let _ = self.give_back.send(connection);
    }
}
