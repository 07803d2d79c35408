//! What an operator asks of a resource: whether the gateway gets in, how long that takes, what the server is, and whether
//! its user may do more than the grants need. Nothing is written.

mod mysql;
mod need;
mod postgres;
mod sqlite;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agw_config::{SqlEndpoint, SqlHost, SqlResource, SqlServer, SqlServerEngine};
use agw_foreign::{PROBE_CALLS, ProbeError, ProbeReport};
use tokio::time::{Instant, timeout};

use crate::error::ConnectError;

/// For everything after the login.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tables, or schemas, that are listed at most.
const LISTED_MAX: usize = 20;

/// Asks each host of the resource, by itself. The name is the host's, or the file's.
///
/// # Cancel safety
/// Dropped, it closes its connections. SQLite's file is let go once it has answered.
pub async fn probe(resource: &Arc<SqlResource>) -> Vec<(String, Result<ProbeReport, ProbeError>)> {
    match &resource.endpoint {
        SqlEndpoint::Sqlite(at) => {
            let name = at.path.as_ref().map_or("in memory".to_owned(), |path| path.display().to_string());
            let (resource, at) = (Arc::clone(resource), at.clone());
            let asked = tokio::task::spawn_blocking(move || sqlite::probe(&resource, &at)).await;
            vec![(
                name,
                asked.unwrap_or_else(|error| Err(ProbeError::new("the database was not asked", error))),
            )]
        }
        SqlEndpoint::Server(server) => {
            let mut found = Vec::new();
            for host in &server.hosts {
                found.push((host.to_string(), ask(resource, server, host).await));
            }
            found
        }
    }
}

async fn ask(resource: &SqlResource, server: &SqlServer, host: &SqlHost) -> Result<ProbeReport, ProbeError> {
    match server.engine {
        SqlServerEngine::Postgres => postgres::probe(resource, server, host).await,
        SqlServerEngine::Mysql => mysql::probe(resource, server, host).await,
    }
}

/// A connection, with the time that it took.
async fn connected<T>(
    within: Duration,
    opening: impl Future<Output = Result<T, ConnectError>>,
) -> Result<(T, Duration), ProbeError> {
    let began = Instant::now();
    let opened = timeout(within, opening).await.unwrap_or(Err(ConnectError::Timeout));
    let opened = opened.map_err(|error| ProbeError::new("no connection", error))?;
    Ok((opened, began.elapsed()))
}

/// Questions after the login, within bounds.
async fn answered<T>(asking: impl Future<Output = Result<T, ProbeError>>) -> Result<T, ProbeError> {
    let answer = timeout(PATIENCE, asking).await;
    answer.unwrap_or_else(|_| Err(ProbeError::from_message("the server does not answer in time")))
}

/// How long a call takes, again and again.
async fn calls<E>(mut call: impl AsyncFnMut() -> Result<(), E>) -> Result<Vec<Duration>, E> {
    let mut calls = Vec::with_capacity(PROBE_CALLS + 1);
    for _ in 0..=PROBE_CALLS {
        let began = Instant::now();
        call().await?;
        calls.push(began.elapsed());
    }
    Ok(calls)
}
