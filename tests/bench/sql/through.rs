//! Lookups from a plugin.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agw_tests::Client;
use anyhow::{Result, bail};
use tokio::task::JoinSet;

use super::Made;
use super::database::{Database, ROWS};
use crate::generator::histogram::Histogram;
use crate::rounds::Stage;

/// Lookups of one request, so that what the request itself costs hardly counts.
const BATCH: i64 = 100;

/// So many clients, each of which has a plugin instance look up without a pause.
pub(super) fn run(database: &Database, stage: &Stage, clients: usize) -> Result<Made> {
    let server = database.gateway(None)?;
    let address = server.address()?;
    let latencies = Arc::new(Mutex::new(Histogram::new()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let opens = Instant::now() + stage.warmup;
    let closes = opens + stage.duration;
    let made = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            tasks.spawn(client(address, number as i64 * 7919, (opens, closes), Arc::clone(&latencies)));
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    });
    if let Err(error) = made {
        bail!("{error:#}\n{}", server.output());
    }
    let latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Made { latencies, window: stage.duration })
}

/// A request's lookups count if it ended within the window, whenever they were made: at its other end as many are lost.
async fn client(
    address: SocketAddr,
    mut first: i64,
    (opens, closes): (Instant, Instant),
    latencies: Arc<Mutex<Histogram>>,
) -> Result<()> {
    let mut client = Client::new(address);
    loop {
        first = (first + BATCH) % ROWS;
        let (count, from, rows) = (BATCH.to_string(), first.to_string(), ROWS.to_string());
        let headers = [("x-lookups", &*count), ("x-first", &from), ("x-rows", &rows), ("x-answer", "")];
        let reply = client.get_with("/", &headers).await?;
        let now = Instant::now();
        if now >= closes {
            return Ok(());
        }
        let text = reply.text();
        let took: Option<Vec<u64>> = text.lines().map(|line| line.parse().ok()).collect();
        let Some(took) = took.filter(|took| reply.status == 200 && took.len() as i64 == BATCH) else {
            bail!("lookups from the plugin: {}: {text}", reply.status);
        };
        if now >= opens {
            let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
            took.into_iter().for_each(|nanoseconds| latencies.record(Duration::from_nanos(nanoseconds)));
        }
    }
}
