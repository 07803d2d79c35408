//! The primary behind sentinels: found when a connection is opened, and looked for again every now and then.
//!
//! All sentinels are asked at once. The answer of the most counts, and of as many the one of the latest election
//! (`config-epoch`); nobody is waited for any more once more than half of the endpoints agree. Whom they name has to call
//! itself a primary: one that was demoted and is still named by a sentinel that has not heard of it is not used.
//!
//! A primary reigns until another one is found. Its connections end then, though they may still stand: a server that was
//! cut off from its sentinels believes in itself for a while.

mod answer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use agw_config::{RedisHost, RedisSentinels};
use agw_wire::resp;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::blueprint::Blueprint;
use crate::connect::{Access, Connector, Login};
use crate::error::{BuildError, ConnectError, cause};
use crate::refused::Refused;
use crate::session::Session;
pub(crate) use answer::named;
use answer::{Named, Votes};

/// Replies of a sentinel: an address, and some 40 fields of a line each. `ROLE` has a line for each replica.
const REPLY_BYTES_MAX: usize = 64 * 1024;
/// An answer serves whoever asks within this time, so that many connections lost at once are no burden.
const RECENT: Duration = Duration::from_millis(100);

/// The sentinels of one resource, and whom they name.
pub(crate) struct Sentinels {
    resource: String,
    config: RedisSentinels,
    askers: Vec<Arc<Connector>>,
    /// What they are asked, encoded: two commands.
    question: Vec<u8>,
    /// How to get in at the servers.
    access: Arc<Access>,
    recent: Mutex<Option<(Instant, Vec<RedisHost>)>>,
    reign: Mutex<Option<Reign>>,
    refused: Refused,
    /// Calls to who reigns.
    calls: AtomicU64,
    watched: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Reign {
    at: RedisHost,
    over: CancellationToken,
}

/// Says that nobody watches any more when the task ends, however it ends.
struct Watch(Arc<Sentinels>);

// === impl Sentinels ===

impl Sentinels {
    /// No I/O. The task that looks for another primary is one of the resource's and ends with it.
    ///
    /// # Errors
    /// [`BuildError`] for the sentinels' TLS material.
    pub(crate) fn new(config: &RedisSentinels, blueprint: &Blueprint) -> Result<Arc<Self>, BuildError> {
        let access = Arc::clone(&blueprint.access);
        // They are asked in half the time, so that the other half is left for whom they name.
        let own = Self::access(config, access.timeout() / 2)?;
        let asker = |at: &RedisHost| Connector::new(&own, at.clone()).map(Arc::new);
        let askers = config.endpoints.iter().map(asker).collect::<Result<_, _>>()?;
        let mut question = Vec::new();
        let name = config.name.as_bytes();
        resp::put_command(&mut question, &[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name]);
        resp::put_command(&mut question, &[b"SENTINEL", b"MASTER", name]);
        Ok(Arc::new(Sentinels {
            resource: blueprint.resource.clone(),
            config: config.clone(),
            askers,
            question,
            access,
            recent: Mutex::default(),
            reign: Mutex::default(),
            refused: Refused::default(),
            calls: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            stop: blueprint.stop.clone(),
            tasks: blueprint.tasks.clone(),
        }))
    }

    /// How to get in at the sentinels themselves.
    ///
    /// # Errors
    /// [`BuildError`] for their TLS material.
    pub(crate) fn access(config: &RedisSentinels, timeout: Duration) -> Result<Arc<Access>, BuildError> {
        let (username, password) = (config.username.as_deref(), config.password.as_ref());
        Access::new(
            config.tls.as_ref(),
            Login { username, password, database: 0, reads_only: false },
            timeout,
        )
    }

    /// A connection to the primary, within the connect timeout, finding it included.
    ///
    /// # Errors
    /// [`ConnectError`]: no sentinel answers, none names a primary, or whom they name is none or cannot be reached.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub(crate) async fn connect(self: &Arc<Self>) -> Result<Session, ConnectError> {
        let finding = self.find();
        let (at, session) = tokio::time::timeout(self.access.timeout(), finding)
            .await
            .unwrap_or(Err(ConnectError::Timeout))?;
        let over = self.enthrone(at);
        self.watch();
        Ok(session.until(over))
    }

    async fn find(self: &Arc<Self>) -> Result<(RedisHost, Session), ConnectError> {
        let mut failure = ConnectError::NoPrimary;
        for at in self.candidates().await? {
            match self.verified(at.clone()).await {
                Ok(session) => return Ok((at, session)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Whom the sentinels name. More than one only if as many sentinels name each.
    async fn candidates(self: &Arc<Self>) -> Result<Vec<RedisHost>, ConnectError> {
        if let Some((at, known)) = &*self.recent.lock()
            && at.elapsed() < RECENT
        {
            return Ok(known.clone());
        }
        let named = self.ask().await?;
        *self.recent.lock() = Some((Instant::now(), named.clone()));
        Ok(named)
    }

    async fn ask(self: &Arc<Self>) -> Result<Vec<RedisHost>, ConnectError> {
        let mut asking = JoinSet::new();
        for asker in &self.askers {
            let (sentinels, asker) = (Arc::clone(self), Arc::clone(asker));
            asking.spawn(async move { sentinels.ask_one(&asker).await });
        }
        let mut votes = Votes::new(self.askers.len());
        let mut failure = None;
        while let Some(answered) = asking.join_next().await {
            match answered {
                Ok(Ok(Some(named))) => {
                    if votes.add(named) {
                        break;
                    }
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    failure = Some(match failure.take() {
                        Some(first) => telling(first, error),
                        None => error,
                    });
                }
                // It panicked, which says nothing of the others.
                Err(_) => {}
            }
        }
        let named = votes.most();
        match failure {
            _ if !named.is_empty() => self.admitted(named),
            Some(error) => Err(ConnectError::Sentinels(Box::new(error))),
            None => Err(ConnectError::NoPrimary),
        }
    }

    /// `None`: it does not know the name.
    async fn ask_one(&self, asker: &Connector) -> Result<Option<Named>, ConnectError> {
        let until = Instant::now() + self.access.timeout() / 2;
        let asking = async {
            let mut session = asker.connect().await?;
            session.exchange(&self.question, 2, REPLY_BYTES_MAX).await.map_err(ConnectError::Login)
        };
        let replies = timeout_at(until, asking).await.unwrap_or(Err(ConnectError::Timeout))?;
        answer::named(&replies)
    }

    /// Those that may be connected to.
    fn admitted(&self, mut named: Vec<RedisHost>) -> Result<Vec<RedisHost>, ConnectError> {
        named.retain(|at| self.admits(&at.host));
        if named.is_empty() { Err(ConnectError::NotAllowed) } else { Ok(named) }
    }

    /// A connection to a server that says that it is a primary.
    async fn verified(&self, at: RedisHost) -> Result<Session, ConnectError> {
        let connector = Connector::new(&self.access, at).map_err(|_| ConnectError::NotAllowed)?;
        let mut session = connector.connect().await?;
        let reply = session.exchange(b"*1\r\n$4\r\nROLE\r\n", 1, REPLY_BYTES_MAX).await;
        answer::check_role(&reply.map_err(ConnectError::Login)?)?;
        Ok(session)
    }

    /// This server reigns from now on, if it does not already.
    fn enthrone(&self, at: RedisHost) -> CancellationToken {
        let mut reign = self.reign.lock();
        if let Some(same) = reign.as_ref().filter(|reign| reign.at == at) {
            return same.over.clone();
        }
        let over = CancellationToken::new();
        let before = reign.replace(Reign { at: at.clone(), over: over.clone() });
        self.calls.store(0, Ordering::Relaxed);
        drop(reign);
        tracing::info!(resource.name = self.resource, primary = %at, "sentinels name the primary");
        if let Some(before) = before {
            before.over.cancel();
        }
        over
    }

    /// Whether the operator allows connections to a host that is announced. Says so once if not.
    pub(crate) fn admits(&self, host: &str) -> bool {
        let RedisSentinels { topology, endpoints, .. } = &self.config;
        topology.admits(endpoints, host) || self.refused.refuse(&self.resource, host)
    }

    /// How many calls went to the primary that was found last.
    pub(crate) fn calls(&self) -> &AtomicU64 {
        &self.calls
    }

    /// Where the primary is that was found last.
    pub(crate) fn primary(&self) -> Option<RedisHost> {
        self.reign.lock().as_ref().map(|reign| reign.at.clone())
    }

    /// Sees to it that another primary is noticed though connections to the old one stand.
    fn watch(self: &Arc<Self>) {
        if self.watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let watch = Watch(Arc::clone(self));
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = watch.run() => {}
            }
        });
    }
}

// === impl Watch ===

impl Watch {
    /// Never returns.
    async fn run(&self) {
        let sentinels = &self.0;
        loop {
            // A tenth more or less, so that many gateways do not ask at the same time.
            let refresh = sentinels.config.topology.refresh;
            tokio::time::sleep(refresh.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
            match tokio::time::timeout(sentinels.access.timeout(), self.look()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(
                        resource.name = sentinels.resource,
                        error = cause(&error),
                        "no primary found"
                    );
                }
                Err(_) => tracing::debug!(resource.name = sentinels.resource, "no primary found in time"),
            }
        }
    }

    /// Whom they name reigns, if it is a primary. Who reigns goes on meanwhile.
    async fn look(&self) -> Result<(), ConnectError> {
        let named = self.0.candidates().await?;
        let reigning = self.0.primary();
        if reigning.is_some_and(|at| named.contains(&at)) {
            return Ok(());
        }
        for at in named {
            if self.0.verified(at.clone()).await.is_ok() {
                self.0.enthrone(at);
                return Ok(());
            }
        }
        Err(ConnectError::NoPrimary)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.watched.store(false, Ordering::Relaxed);
    }
}

/// Of two errors the one that says more: a sentinel that is down may come back, a refusal stays.
fn telling(first: ConnectError, second: ConnectError) -> ConnectError {
    let weight = |error: &ConnectError| match error {
        ConnectError::Auth(_) => 2,
        ConnectError::Tls(_) => 1,
        _ => 0,
    };
    if weight(&second) > weight(&first) { second } else { first }
}
