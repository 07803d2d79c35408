use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// What a host does with a connection.
#[derive(Clone, Copy)]
enum Does {
    Serves(Role),
    Refuses,
    /// It takes every packet and says nothing.
    Swallows,
    Rejects,
}

use Does::{Refuses, Rejects, Serves, Swallows};
use Role::{Primary, Replica};

struct Fake {
    number: usize,
    does: Mutex<Does>,
    asked: AtomicUsize,
}

impl Host for Fake {
    type Opened = (usize, Role);

    async fn open(&self) -> Result<(usize, Role), ConnectError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let does = *self.does.lock();
        match does {
            Serves(role) => Ok((self.number, role)),
            Refuses => Err(ConnectError::Reach(std::io::ErrorKind::ConnectionRefused.into())),
            Swallows => std::future::pending().await,
            Rejects => Err(ConnectError::Auth("no".into())),
        }
    }

    async fn role(opened: &mut (usize, Role)) -> Result<Role, ConnectError> {
        Ok(opened.1)
    }

    fn close(_: (usize, Role)) {}
}

fn hosts(target: SqlTarget, does: &[Does]) -> Hosts<Fake> {
    let fake = |(number, does): (usize, &Does)| {
        (number.to_string(), Fake { number, does: Mutex::new(*does), asked: AtomicUsize::new(0) })
    };
    Hosts::new("db", does.iter().enumerate().map(fake).collect(), target)
}

/// The number of the host, or the class of the error. As a pool asks.
async fn open(hosts: &Hosts<Fake>, ms: u64) -> Result<usize, &'static str> {
    let until = Instant::now() + Duration::from_millis(ms);
    match tokio::time::timeout_at(until, hosts.open(until)).await {
        Ok(Ok(((number, _), _))) => Ok(number),
        Ok(Err(error)) => Err(error.class()),
        Err(_) => Err("the time is up"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_host_that_is_what_is_wanted_is_taken() {
    let all = [Serves(Replica), Serves(Primary), Serves(Replica), Serves(Primary)];
    assert_eq!(open(&hosts(SqlTarget::Any, &all), 100).await, Ok(0));
    assert_eq!(open(&hosts(SqlTarget::Primary, &all), 100).await, Ok(1));
    let mut taken: Vec<usize> = Vec::new();
    for _ in 0..100 {
        taken.push(open(&hosts(SqlTarget::Replica, &all), 100).await.unwrap());
        taken.push(open(&hosts(SqlTarget::PreferReplica, &all), 100).await.unwrap());
    }
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken, [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn without_a_host_of_the_wanted_role_there_is_no_connection_unless_another_will_do() {
    for (target, does, outcome) in [
        (SqlTarget::Primary, vec![Serves(Replica), Serves(Replica)], Err("role")),
        (SqlTarget::Primary, vec![Serves(Replica)], Err("role")),
        (SqlTarget::Replica, vec![Serves(Primary), Refuses], Err("role")),
        (SqlTarget::Primary, vec![Serves(Replica), Rejects, Refuses], Err("auth")),
        (SqlTarget::Any, vec![Refuses, Refuses], Err("unreachable")),
        (SqlTarget::Primary, vec![Swallows, Refuses], Err("timeout")),
        (SqlTarget::Any, vec![Refuses, Rejects, Serves(Replica)], Ok(2)),
        (SqlTarget::PreferReplica, vec![Serves(Primary), Refuses], Ok(0)),
        (SqlTarget::PreferReplica, vec![Serves(Primary), Swallows, Rejects], Ok(0)),
        (SqlTarget::PreferReplica, vec![Swallows, Serves(Primary)], Ok(1)),
        (SqlTarget::PreferReplica, vec![Swallows, Refuses], Err("timeout")),
    ] {
        let hosts = hosts(target, &does);
        let opened = open(&hosts, 100).await;
        // Which of the replicas comes last is drawn, and the last one's time is the caller's.
        let opened = opened.map_err(|class| if class == "the time is up" { "timeout" } else { class });
        assert_eq!(opened, outcome, "{target:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_that_swallow_every_packet_leave_the_others_their_share_of_the_time() {
    let hosts = hosts(SqlTarget::Any, &[Swallows, Swallows, Swallows, Serves(Primary)]);
    let begin = Instant::now();
    assert_eq!(open(&hosts, 100).await, Ok(3));
    assert_eq!(begin.elapsed(), Duration::from_millis(75));
    let begin = Instant::now();
    assert_eq!(open(&hosts, 100).await, Ok(3));
    assert_eq!(begin.elapsed(), Duration::ZERO, "the next call does not wait for them");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_failed_is_tried_last_for_a_while_and_then_in_its_place_again() {
    let hosts = hosts(SqlTarget::Any, &[Refuses, Serves(Primary)]);
    let asked = || hosts.entries[0].host.asked.load(Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!(open(&hosts, 100).await, Ok(1));
    }
    assert_eq!(asked(), 1);
    *hosts.entries[0].host.does.lock() = Serves(Primary);
    assert_eq!(open(&hosts, 100).await, Ok(1));
    tokio::time::advance(TROUBLE).await;
    assert_eq!(open(&hosts, 100).await, Ok(0));
    // If all others fail it is tried within that time as well.
    *hosts.entries[0].host.does.lock() = Refuses;
    assert_eq!(open(&hosts, 100).await, Ok(1));
    *hosts.entries[0].host.does.lock() = Serves(Primary);
    *hosts.entries[1].host.does.lock() = Refuses;
    assert_eq!(open(&hosts, 100).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_host_of_another_role_is_tried_before_one_that_is_dead() {
    let hosts = hosts(SqlTarget::Primary, &[Serves(Primary), Serves(Replica)]);
    assert_eq!(open(&hosts, 100).await, Ok(0));
    *hosts.entries[0].host.does.lock() = Swallows;
    assert_eq!(open(&hosts, 100).await, Err("role"));
    *hosts.entries[1].host.does.lock() = Serves(Primary);
    let begin = Instant::now();
    assert_eq!(open(&hosts, 100).await, Ok(1));
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_turned_out_to_be_another_ends_what_was_opened_to_it_and_nothing_else() {
    let hosts = hosts(SqlTarget::Primary, &[Serves(Primary), Serves(Primary)]);
    let until = Instant::now() + Duration::from_secs(1);
    let (_, first) = hosts.open(until).await.unwrap();
    let (_, second) = hosts.open(until).await.unwrap();
    assert!(first.needs_primary() && first.host().number == 0 && second.host().number == 0);
    first.retire();
    assert!(first.is_retired() && second.is_retired());
    second.retired().await;
    let (_, elsewhere) = hosts.open(until).await.unwrap();
    assert_eq!(elsewhere.host().number, 1, "the other comes first now");
    tokio::time::advance(TROUBLE).await;
    let (_, again) = hosts.open(Instant::now() + Duration::from_secs(1)).await.unwrap();
    second.retire();
    assert!(again.host().number == 0 && !again.is_retired() && !elsewhere.is_retired());
}
