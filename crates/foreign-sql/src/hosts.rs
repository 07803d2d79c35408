//! The hosts of one server resource: which of them a new connection goes to, and which connections are over because
//! their host is not any more what it was.

use std::sync::Arc;
use std::time::Duration;

use agw_config::SqlTarget;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::error::ConnectError;

/// A host that served nobody is tried behind the others for this long.
const TROUBLE: Duration = Duration::from_secs(5);

/// What a host is at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It takes writes.
    Primary,
    /// It takes none.
    Replica,
}

/// What an engine knows of one host.
pub(crate) trait Host: Send + Sync + 'static {
    /// A connection that is logged in.
    type Opened: Send;

    /// # Cancel safety
    /// Dropped, it closes what was opened.
    fn open(&self) -> impl Future<Output = Result<Self::Opened, ConnectError>> + Send;

    /// One round trip.
    fn role(opened: &mut Self::Opened) -> impl Future<Output = Result<Role, ConnectError>> + Send;

    /// Says goodbye, in the background.
    fn close(opened: Self::Opened);
}

/// The hosts of one resource, in the document's order.
pub(crate) struct Hosts<H> {
    resource: String,
    entries: Vec<Arc<Entry<H>>>,
    target: SqlTarget,
}

struct Entry<H> {
    host: Arc<H>,
    /// For the log.
    name: String,
    /// Why it served nobody when it was tried last.
    trouble: Mutex<Option<Trouble>>,
    /// Cancelled when what was opened so far is over.
    retirement: Mutex<CancellationToken>,
}

#[derive(Clone, Copy)]
struct Trouble {
    class: &'static str,
    since: Instant,
}

/// What ties a connection to its host.
pub(crate) struct Link<H> {
    entry: Arc<Entry<H>>,
    retired: CancellationToken,
    target: SqlTarget,
}

// === impl Hosts ===

impl<H: Host> Hosts<H> {
    /// `hosts` with their names for the log; one or more.
    pub(crate) fn new(resource: &str, hosts: Vec<(String, H)>, target: SqlTarget) -> Self {
        let entry = |(name, host)| {
            let (trouble, retirement) = (Mutex::new(None), Mutex::default());
            Arc::new(Entry { host: Arc::new(host), name, trouble, retirement })
        };
        Hosts { resource: resource.to_owned(), entries: hosts.into_iter().map(entry).collect(), target }
    }

    /// A connection to the first host that takes one and is what is wanted. Each has an equal share of the time that is
    /// left until `until`, when the caller drops this; so one that swallows every packet does not use it up.
    ///
    /// # Errors
    /// [`ConnectError::Role`] if no host is what is wanted; otherwise, of the hosts' errors, the one that tells most.
    ///
    /// # Cancel safety
    /// Dropped, it closes what was opened.
    pub(crate) async fn open(&self, until: Instant) -> Result<(H::Opened, Link<H>), ConnectError> {
        let mut spare: Option<(H::Opened, Link<H>)> = None;
        let mut failure: Option<ConnectError> = None;
        let order = self.order();
        for (at, entry) in order.iter().enumerate() {
            let shares = order.len() - at + usize::from(spare.is_some());
            let link = Link::new(entry, self.target);
            let error = match self.attempt(entry, until, shares).await {
                Ok((opened, role)) if role.is_none_or(|role| self.fits(role)) => {
                    self.serves(entry);
                    spare.into_iter().for_each(|(opened, _)| H::close(opened));
                    return Ok((opened, link));
                }
                Ok((opened, _)) if self.target == SqlTarget::PreferReplica && spare.is_none() => {
                    spare = Some((opened, link));
                    ConnectError::Role(self.target)
                }
                Ok((opened, _)) => {
                    H::close(opened);
                    ConnectError::Role(self.target)
                }
                Err(error @ ConnectError::Open(_)) => return Err(error),
                Err(error) => error,
            };
            self.fails(entry, &error);
            if failure.as_ref().is_none_or(|failure| failure.rank() < error.rank()) {
                failure = Some(error);
            }
        }
        spare.ok_or_else(|| failure.unwrap_or(ConnectError::Role(self.target)))
    }

    /// Without a target nobody asks what the host is.
    async fn attempt(
        &self,
        entry: &Entry<H>,
        until: Instant,
        shares: usize,
    ) -> Result<(H::Opened, Option<Role>), ConnectError> {
        let opening = async {
            let mut opened = entry.host.open().await?;
            let role = match self.target {
                SqlTarget::Any => None,
                _ => Some(H::role(&mut opened).await?),
            };
            Ok((opened, role))
        };
        // The last one's end is the caller's, who knows whose time is up.
        let shares = u32::try_from(shares).unwrap_or(u32::MAX);
        if shares <= 1 {
            return opening.await;
        }
        let share = until.saturating_duration_since(Instant::now()) / shares;
        timeout(share, opening).await.unwrap_or(Err(ConnectError::Timeout))
    }

    fn fits(&self, role: Role) -> bool {
        match self.target {
            SqlTarget::Any => true,
            SqlTarget::Primary => role == Role::Primary,
            SqlTarget::Replica | SqlTarget::PreferReplica => role == Role::Replica,
        }
    }

    /// Those that served lately, or were not tried, before those of another role, and last those that failed.
    fn order(&self) -> Vec<Arc<Entry<H>>> {
        let mut order = self.entries.clone();
        if matches!(self.target, SqlTarget::Replica | SqlTarget::PreferReplica) {
            fastrand::shuffle(&mut order);
        }
        order.sort_by_key(|entry| match *entry.trouble.lock() {
            Some(trouble) if trouble.since.elapsed() < TROUBLE => {
                if trouble.is_of_role() {
                    1
                } else {
                    2
                }
            }
            _ => 0,
        });
        order
    }

    fn serves(&self, entry: &Entry<H>) {
        let before = entry.trouble.lock().take();
        if before.is_some_and(|trouble| !trouble.is_of_role()) && self.entries.len() > 1 {
            tracing::info!(resource.name = self.resource, host = entry.name, "a host serves again");
        }
    }

    /// Said once for each run of failures. A host by itself is its pool's to report.
    fn fails(&self, entry: &Entry<H>, error: &ConnectError) {
        let trouble = Trouble { class: error.class(), since: Instant::now() };
        let before = entry.trouble.lock().replace(trouble);
        if before.map(|before| before.class) == Some(trouble.class) || self.entries.len() == 1 {
            return;
        }
        let (name, host) = (&self.resource, &entry.name);
        if trouble.is_of_role() {
            tracing::debug!(resource.name = name, host, "{error}");
        } else {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            let class = trouble.class;
            tracing::warn!(resource.name = name, host, class, cause, "a host serves nobody: {error}");
        }
    }
}

impl Trouble {
    fn of_role(target: SqlTarget) -> Self {
        Trouble { class: ConnectError::Role(target).class(), since: Instant::now() }
    }

    fn is_of_role(&self) -> bool {
        self.class == ConnectError::Role(SqlTarget::Any).class()
    }
}

// === impl Link ===

impl<H> Link<H> {
    /// Made before the connection: a retirement in between counts.
    fn new(entry: &Arc<Entry<H>>, target: SqlTarget) -> Self {
        let retired = entry.retirement.lock().clone();
        Link { entry: Arc::clone(entry), retired, target }
    }

    pub(crate) fn host(&self) -> &Arc<H> {
        &self.entry.host
    }

    /// A host that takes no writes is not what was wanted.
    pub(crate) fn needs_primary(&self) -> bool {
        self.target == SqlTarget::Primary
    }

    /// The host has turned out to be something else: no connection that was opened to it so far serves another call.
    pub(crate) fn retire(&self) {
        let mut current = self.entry.retirement.lock();
        // Somebody was faster, and what was opened since may be fine.
        if self.retired.is_cancelled() {
            return;
        }
        *current = CancellationToken::new();
        drop(current);
        *self.entry.trouble.lock() = Some(Trouble::of_role(self.target));
        tracing::info!(host = self.entry.name, "a host has become a replica; its connections are given up");
        self.retired.cancel();
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.is_cancelled()
    }

    /// Returns once it is.
    pub(crate) async fn retired(&self) {
        self.retired.cancelled().await;
    }
}

#[cfg(test)]
mod tests;
