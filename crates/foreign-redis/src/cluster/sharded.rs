//! Runs a plan in a cluster: each part of it where its keys are, and again where they have moved to.
//!
//! A reply that sends a command elsewhere says that it has not run, so it is tried there, at most [`REDIRECTS_MAX`]
//! times and within the call's deadline. What a broken connection may have carried is never sent again.

use std::sync::Arc;
use std::time::Duration;

use agw_foreign::Reply;
use agw_telemetry::Stage;
use agw_wire::{CallError, Code, Retry};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::redirect::{self, Redirect};
use super::{Cluster, REDIRECTS_MAX, settled, wandering};
use crate::connection::{Answer, Link, Unanswered};
use crate::error::{lost, too_large};
use crate::exchange::Expected;
use crate::grant::Granted;
use crate::node::Node;
use crate::plan::{Plan, ScriptUse};

/// Goes before a command that ASK has sent to a node; its reply goes before the command's.
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";
const ASKING_REPLY_BYTES: usize = 5;

/// How often a call may still be sent elsewhere.
struct Hops {
    made: u32,
    deadline: Instant,
}

/// Where a part goes next.
#[derive(Clone)]
struct Way {
    node: Arc<Node>,
    asking: bool,
}

/// Parts that go to one node in one write.
struct Group {
    node: Arc<Node>,
    /// Place in the plan, and whether ASKING goes before it. Ascending.
    parts: Vec<(usize, bool)>,
}

// === impl Hops ===

impl Hops {
    fn new(deadline: Instant) -> Self {
        Hops { made: 0, deadline }
    }

    /// Waits a little if the cluster seems not to have settled. False: there is no time for that, or it was often enough.
    async fn next(&mut self, redirect: &Redirect) -> bool {
        let pause = match (redirect, self.made) {
            (Redirect::TryAgain, made) => Duration::from_millis(1 << made.min(4)),
            (_, 0 | 1) => Duration::ZERO,
            (_, made) => Duration::from_millis(made.into()),
        };
        if self.made >= REDIRECTS_MAX || Instant::now() + pause >= self.deadline {
            return false;
        }
        self.made += 1;
        if !pause.is_zero() {
            sleep(pause).await;
        }
        true
    }
}

// === impl Granted ===

impl Granted {
    /// On the multiplexed connections of the worker to whichever nodes have the keys.
    pub(crate) async fn run_sharded(
        &self,
        cluster: &Arc<Cluster>,
        plan: Plan,
        worker: usize,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let outcome = match plan.parts.as_slice() {
            [_] => self.run_part(cluster, &plan, worker, deadline).await,
            _ => self.run_parts(cluster, &plan, worker, deadline).await,
        };
        match outcome {
            Ok(resp) => Ok(Reply::resp(resp, 0)),
            Err(error) => {
                if is_suspicious(error.code) || error.server_code == "CLUSTERDOWN" {
                    cluster.suspect();
                }
                Err(error)
            }
        }
    }

    /// A plan that goes to one node as a whole.
    async fn run_part(
        &self,
        cluster: &Arc<Cluster>,
        plan: &Plan,
        worker: usize,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let slot = plan.parts.first().and_then(|part| part.slot);
        let mut way = Way { node: cluster.node(slot, deadline).await?, asking: false };
        if let Some(read) = self.read(&way.node.server, plan, worker, deadline).await {
            return read;
        }
        let mut hops = Hops::new(deadline);
        loop {
            let (link, asked) = self.ask_node(&way, plan, worker, deadline).await?;
            let replies = match asked {
                Ok(replies) => replies,
                Err(Unanswered::Failed(error)) => return Err(error),
                // Nothing of it was written; the next round waits for another connection.
                Err(Unanswered::Unsent(_)) => continue,
            };
            if let Some(redirect) = redirect::first(&replies)
                && hops.next(&redirect).await
            {
                way = way.after(&redirect, cluster)?;
                continue;
            }
            // Not one command has run.
            return self.finish(plan, replies, &[link]).map_err(|error| settled(error, Retry::Safe));
        }
    }

    /// Asks one node, unless its breaker is open.
    async fn ask_node(
        &self,
        way: &Way,
        plan: &Plan,
        worker: usize,
        deadline: Instant,
    ) -> Result<(Arc<Link>, Answer), CallError> {
        let ticket = way.node.breaker.admit()?;
        let begun = Instant::now();
        let link = match way.node.link(worker, deadline, plan).await {
            Ok(link) => link,
            Err(error) => {
                ticket.failed(&error, begun.elapsed());
                return Err(error);
            }
        };
        way.node.server.shared.called();
        let _io = plan.time(Stage::Io);
        let answer = self.ask_part(&link, plan, way.asking, deadline).await;
        Node::settle(ticket, &answer, begun.elapsed());
        Ok((link, answer))
    }

    async fn ask_part(
        &self,
        link: &Link,
        plan: &Plan,
        asking: bool,
        deadline: Instant,
    ) -> Result<Bytes, Unanswered> {
        let expected = Expected::of(&plan.shape);
        if !asking {
            let commands = plan.commands.clone();
            return self.exchange.ask(link, commands, &plan.scripts, expected, deadline).await;
        }
        let commands = [ASKING, &*plan.commands].concat();
        // ASKING holds for the very next command, so that a script cannot be loaded in between.
        let scripts =
            if matches!(plan.scripts, ScriptUse::None) { ScriptUse::None } else { ScriptUse::Among };
        let replies = self.exchange.ask(link, commands, &scripts, expected.and_asking(1), deadline).await?;
        let first = redirect::each(&replies).next().map_or(0, <[u8]>::len);
        Ok(replies.slice(first..))
    }

    /// A batch whose commands may go to several nodes, at the same time; to each in their order.
    async fn run_parts(
        &self,
        cluster: &Arc<Cluster>,
        plan: &Plan,
        worker: usize,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let mut pending = ways(cluster, plan, deadline).await?;
        let mut answers: Vec<Option<Bytes>> = vec![None; plan.parts.len()];
        let mut links = Vec::new();
        let mut hops = Hops::new(deadline);
        let mut anything_sent = false;
        while !pending.is_empty() {
            let partly = |error: CallError| if anything_sent { ran_in_part(error) } else { error };
            let mut groups = Vec::new();
            // All connections first: nothing is sent if a node cannot be reached.
            for group in grouped(&pending) {
                let link = group.link(worker, deadline, plan).await.map_err(partly)?;
                groups.push((group, link));
            }
            anything_sent = true;
            let mut asked = Vec::with_capacity(groups.len());
            for (group, link) in &groups {
                asked.push(self.ask_group(group, link, plan, deadline));
            }
            let io = plan.time(Stage::Io);
            let asked = join_all(asked).await;
            drop(io);
            let mut elsewhere = None;
            let before = std::mem::take(&mut pending);
            for ((group, link), answered) in groups.into_iter().zip(asked) {
                match answered {
                    Err(Unanswered::Failed(error)) => return Err(ran_in_part(error)),
                    Err(Unanswered::Unsent(_)) => pending.extend(group.ways()),
                    Ok(replies) => {
                        for (part, reply) in group.replies(&replies) {
                            match redirect::of(&reply) {
                                Some(redirect) => {
                                    let way = before.iter().find(|(place, _)| *place == part);
                                    let way = way.ok_or_else(lost)?.1.clone();
                                    pending.push((part, way.after(&redirect, cluster).map_err(ran_in_part)?));
                                    elsewhere = Some(redirect);
                                }
                                None => put(&mut answers, part, reply),
                            }
                        }
                        links.push(link);
                    }
                }
            }
            pending.sort_by_key(|(part, _)| *part);
            if let Some(redirect) = elsewhere
                && !hops.next(&redirect).await
            {
                return Err(ran_in_part(wandering()));
            }
        }
        let replies = joined(answers, self.exchange.response_bytes_max)?;
        self.finish(plan, replies, &links).map_err(|error| settled(error, Retry::IfIdempotent))
    }

    async fn ask_group(
        &self,
        group: &Group,
        link: &Link,
        plan: &Plan,
        deadline: Instant,
    ) -> Result<Bytes, Unanswered> {
        let mut commands = Vec::new();
        let mut askings = 0;
        for (part, asking) in &group.parts {
            if *asking {
                askings += 1;
                commands.extend_from_slice(ASKING);
            }
            commands.extend_from_slice(plan.commands.get(plan.range(*part)).unwrap_or_default());
        }
        let expected = Expected { replies: group.parts.len(), overhead_bytes: 0 }.and_asking(askings);
        let begun = Instant::now();
        group.node.server.shared.called();
        let answer = self.exchange.ask(link, commands, &plan.scripts, expected, deadline).await;
        // It was closed a moment ago; a probe is what goes out now.
        if let Ok(ticket) = group.node.breaker.admit() {
            Node::settle(ticket, &answer, begun.elapsed());
        }
        answer
    }

    pub(crate) fn finish(
        &self,
        plan: &Plan,
        replies: Bytes,
        links: &[Arc<Link>],
    ) -> Result<Bytes, CallError> {
        plan.shape.finish(replies, self.policy.rules.key_prefix()).map_err(|rejected| {
            if rejected.retire {
                links.iter().for_each(|link| link.retire());
            }
            rejected.error
        })
    }
}

// === impl Way ===

impl Way {
    fn after(self, redirect: &Redirect, cluster: &Cluster) -> Result<Way, CallError> {
        match redirect {
            Redirect::TryAgain => Ok(self),
            Redirect::Moved { .. } => Ok(Way { node: cluster.follow(redirect, &self.node)?, asking: false }),
            Redirect::Ask { .. } => Ok(Way { node: cluster.follow(redirect, &self.node)?, asking: true }),
        }
    }
}

// === impl Group ===

impl Group {
    /// The connection, unless the node's breaker is open.
    async fn link(&self, worker: usize, deadline: Instant, plan: &Plan) -> Result<Arc<Link>, CallError> {
        let ticket = self.node.breaker.admit()?;
        let begun = Instant::now();
        let link = self.node.link(worker, deadline, plan).await;
        if let Err(error) = &link {
            ticket.failed(error, begun.elapsed());
        }
        link
    }

    fn ways(self) -> impl Iterator<Item = (usize, Way)> {
        let node = self.node;
        self.parts.into_iter().map(move |(part, asking)| (part, Way { node: Arc::clone(&node), asking }))
    }

    /// The reply to each part; those to ASKING are left out.
    fn replies(&self, replies: &Bytes) -> Vec<(usize, Bytes)> {
        let mut each = redirect::each(replies);
        let mut found = Vec::with_capacity(self.parts.len());
        for (part, asking) in &self.parts {
            if *asking {
                each.next();
            }
            let Some(reply) = each.next() else { break };
            found.push((*part, replies.slice_ref(reply)));
        }
        found
    }
}

// === impl Expected ===

impl Expected {
    /// With so many replies to ASKING.
    fn and_asking(self, count: usize) -> Self {
        Expected {
            replies: self.replies + count,
            overhead_bytes: self.overhead_bytes + count * ASKING_REPLY_BYTES,
        }
    }
}

/// Where each part goes first. One without a key goes along with the others.
async fn ways(
    cluster: &Arc<Cluster>,
    plan: &Plan,
    deadline: Instant,
) -> Result<Vec<(usize, Way)>, CallError> {
    let view = cluster.view(deadline).await?;
    let keyed = plan.parts.iter().find_map(|part| part.slot);
    let mut last = cluster.node_in(&view, keyed)?;
    let mut ways = Vec::with_capacity(plan.parts.len());
    for (place, part) in plan.parts.iter().enumerate() {
        if part.slot.is_some() {
            last = cluster.node_in(&view, part.slot)?;
        }
        ways.push((place, Way { node: Arc::clone(&last), asking: false }));
    }
    Ok(ways)
}

fn grouped(pending: &[(usize, Way)]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (part, way) in pending {
        match groups.iter_mut().find(|group| Arc::ptr_eq(&group.node, &way.node)) {
            Some(group) => group.parts.push((*part, way.asking)),
            None => {
                groups.push(Group { node: Arc::clone(&way.node), parts: vec![(*part, way.asking)] });
            }
        }
    }
    groups
}

fn put(answers: &mut [Option<Bytes>], part: usize, reply: Bytes) {
    if let Some(answer) = answers.get_mut(part) {
        *answer = Some(reply);
    }
}

/// The replies in the order of the commands.
fn joined(answers: Vec<Option<Bytes>>, bytes_max: usize) -> Result<Bytes, CallError> {
    let len: usize = answers.iter().flatten().map(Bytes::len).sum();
    if len > bytes_max {
        return Err(too_large());
    }
    let mut all = Vec::with_capacity(len);
    for answer in answers {
        all.extend_from_slice(&answer.ok_or_else(lost)?);
    }
    Ok(all.into())
}

/// Whether an error may mean that the node is none any more.
fn is_suspicious(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::TimeoutIo | Code::TimeoutConnect | Code::CircuitOpen)
}

/// What the other nodes were sent may have run.
fn ran_in_part(error: CallError) -> CallError {
    match error.retry {
        Retry::Safe => error.retry(Retry::IfIdempotent),
        _ => error,
    }
}
