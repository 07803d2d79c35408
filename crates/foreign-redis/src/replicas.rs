//! The replicas of one primary, and which of them may answer reads.
//!
//! The primary tells of them (`INFO replication`): where each is, and up to which byte of the primary's history it has
//! said to be. With that and the primary's own place at earlier times the gateway knows how old the data of a replica is at
//! most: as old as the latest time at which the primary had not got beyond where the replica is now. Replicas say where
//! they are once a second, so that a bound below that is met by none while there are writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use agw_config::RedisHost;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::connect::address_of;
use crate::node::Node;

/// Of one primary; more are not used.
const REPLICAS_MAX: usize = 32;
/// The primary's places that are remembered.
const PLACES_MAX: usize = 256;

/// See the module's text.
pub(crate) struct Replicas {
    lag_max: Option<Duration>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    replicas: Vec<Replica>,
    /// Where the primary was, ascending.
    places: VecDeque<(Instant, u64)>,
}

struct Replica {
    node: Arc<Node>,
    /// It may be read from until then.
    fresh_until: Instant,
}

/// What `INFO replication` says of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    at: RedisHost,
    offset: u64,
}

// === impl Replicas ===

impl Replicas {
    /// None yet. Their data may be `lag_max` old; without it, any age.
    pub(crate) fn new(lag_max: Option<Duration>) -> Self {
        Replicas { lag_max, state: Mutex::default() }
    }

    /// One that may be read from, not always the same.
    pub(crate) fn pick(&self) -> Option<Arc<Node>> {
        let now = Instant::now();
        let state = self.state.lock();
        let fresh = || state.replicas.iter().filter(|replica| replica.fresh_until > now);
        let count = fresh().count();
        if count == 0 {
            None
        } else {
            fresh().nth(fastrand::usize(..count)).map(|replica| Arc::clone(&replica.node))
        }
    }

    /// Those that the view has to show.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.state.lock().replicas.iter().map(|replica| Arc::clone(&replica.node)).collect()
    }

    /// Takes what the primary has said at `asked_at`, good until it is to be asked again at `next`. `open` makes the node at
    /// a place, if it may be used.
    pub(crate) fn told(
        &self,
        info: &[u8],
        asked_at: Instant,
        next: Instant,
        open: impl Fn(&RedisHost) -> Option<Arc<Node>>,
    ) {
        let (offset, told) = read(info);
        let mut state = self.state.lock();
        state.note(asked_at, offset);
        let mut replicas = Vec::with_capacity(told.len());
        for Told { at, offset } in told {
            let known = state.replicas.iter().find(|replica| replica.node.at == at);
            let Some(node) = known.map(|replica| Arc::clone(&replica.node)).or_else(|| open(&at)) else {
                continue;
            };
            let fresh_until = match self.lag_max {
                None => next,
                Some(lag_max) => {
                    state.current_at(offset).map_or(asked_at, |current| next.min(current + lag_max))
                }
            };
            replicas.push(Replica { node, fresh_until });
        }
        let old = std::mem::replace(&mut state.replicas, replicas);
        drop(state);
        // Those that are gone close their connections, outside of the lock.
        drop(old);
    }
}

// === impl State ===

impl State {
    fn note(&mut self, at: Instant, offset: u64) {
        // Another history: a failover, or a primary that has lost its data.
        if self.places.back().is_some_and(|(_, before)| *before > offset) {
            self.places.clear();
        }
        // Only the latest time at a place counts.
        if self.places.back().is_some_and(|(_, before)| *before == offset) {
            self.places.pop_back();
        }
        if self.places.len() >= PLACES_MAX {
            self.places.pop_front();
        }
        self.places.push_back((at, offset));
    }

    /// The latest time known at which data up to `offset` was all there was.
    fn current_at(&self, offset: u64) -> Option<Instant> {
        self.places.iter().rev().find(|(_, place)| *place <= offset).map(|(at, _)| *at)
    }
}

/// The primary's place, and the replicas that are linked to it.
fn read(info: &[u8]) -> (u64, Vec<Told>) {
    let mut offset = 0;
    let mut replicas = Vec::new();
    for line in info.split(|byte| *byte == b'\n') {
        let Some((name, value)) =
            std::str::from_utf8(line.trim_ascii()).ok().and_then(|line| line.split_once(':'))
        else {
            continue;
        };
        if name == "master_repl_offset" {
            offset = value.parse().unwrap_or(0);
        }
        let number = name.strip_prefix("slave").filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
        if number.is_some_and(|digits| !digits.is_empty()) && replicas.len() < REPLICAS_MAX {
            replicas.extend(replica(value));
        }
    }
    (offset, replicas)
}

/// `ip=10.0.0.2,port=6379,state=online,offset=1234,lag=0`
fn replica(value: &str) -> Option<Told> {
    let field = |name: &str| {
        value
            .split(',')
            .find_map(|field| field.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    };
    if field("state")? != "online" {
        return None;
    }
    let at = address_of(field("ip")?.as_bytes(), field("port")?.as_bytes())?;
    Some(Told { at, offset: field("offset")?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Replication\r\nrole:master\r\nconnected_slaves:3\r\n\
        slave0:ip=10.0.0.2,port=6379,state=online,offset=90,lag=0\r\n\
        slave1:ip=10.0.0.3,port=6379,state=wait_bgsave,offset=0,lag=0\r\n\
        slave2:ip=10.0.0.4,port=0,state=online,offset=1,lag=0\r\nslave_x:1\r\nslave:2\r\n\
        master_replid:x\r\nmaster_repl_offset:100\r\n";

    #[test]
    fn only_replicas_that_are_online_and_somewhere_are_taken() {
        let (offset, replicas) = read(INFO.as_bytes());
        let at = RedisHost { host: "10.0.0.2".into(), port: 6379 };
        assert_eq!((offset, replicas), (100, vec![Told { at, offset: 90 }]));
        assert_eq!(read(b"\xff:\r\nslave0:x\r\nmaster_repl_offset:-1\r\n"), (0, Vec::new()));
        let many: String = (0..100)
            .map(|at| format!("slave{at}:ip=10.0.0.2,port={},state=online,offset=1,lag=0\r\n", at + 1))
            .collect();
        assert_eq!(read(many.as_bytes()).1.len(), REPLICAS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn data_is_as_old_as_the_last_time_when_there_was_nothing_newer() {
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        let mut state = State::default();
        for (at, offset) in [(0, 10), (1, 10), (2, 50), (3, 100)] {
            state.note(begun + second * at, offset);
        }
        let current = |offset| state.current_at(offset).map(|at| (at - begun).as_secs());
        assert_eq!(
            [current(100), current(99), current(50), current(10)],
            [Some(3), Some(2), Some(2), Some(1)]
        );
        assert_eq!(current(9), None, "older than anybody remembers");
        state.note(begun + second * 4, 5);
        assert_eq!(state.current_at(4), None);
        assert_eq!(state.current_at(5), Some(begun + second * 4), "another history");
    }
}
