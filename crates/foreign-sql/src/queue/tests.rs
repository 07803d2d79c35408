use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;
use crate::engine::BoxFuture;

/// Polls once.
fn poll<F: Future + ?Sized>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn ready<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn within_a_line_it_is_first_come_first_served() {
    let queue = Queue::new(1);
    let line = queue.line("a", 1);
    let held = ready(queue.acquire(line));
    let mut first = Box::pin(queue.acquire(line));
    let mut second = Box::pin(queue.acquire(line));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    drop(held);
    assert!(poll(second.as_mut()).is_pending(), "the first comes first");
    let Poll::Ready(place) = poll(first.as_mut()) else { panic!("no place") };
    drop(place);
    assert!(poll(second.as_mut()).is_ready());
}

#[test]
fn a_plugin_never_has_more_than_its_share_and_leaves_the_rest_to_others() {
    let queue = Queue::new(4);
    let (greedy, modest) = (queue.line("greedy", 2), queue.line("modest", 4));
    let held: Vec<_> = (0..2).map(|_| ready(queue.acquire(greedy))).collect();
    let mut third = Box::pin(queue.acquire(greedy));
    assert!(poll(third.as_mut()).is_pending());
    let others: Vec<_> = (0..2).map(|_| ready(queue.acquire(modest))).collect();
    drop(others);
    assert!(poll(third.as_mut()).is_pending(), "a free place is no share");
    drop(held);
    assert!(poll(third.as_mut()).is_ready());
}

#[test]
fn a_plugin_that_is_loaded_anew_keeps_its_line_with_its_new_share() {
    let queue = Queue::new(4);
    let old = queue.line("p", 4);
    let held: Vec<_> = (0..2).map(|_| ready(queue.acquire(old))).collect();
    let new = queue.line("p", 2);
    let mut third = Box::pin(queue.acquire(new));
    assert!(poll(third.as_mut()).is_pending(), "both revisions have the share together");
    drop(held);
    assert!(poll(third.as_mut()).is_ready());
}

#[test]
fn a_plugin_that_came_late_is_not_behind_all_of_the_others_calls() {
    let queue = Queue::new(4);
    let (flood, other) = (queue.line("flood", 4), queue.line("other", 4));
    let mut held: Vec<_> = (0..4).map(|_| ready(queue.acquire(flood))).collect();
    let mut flooding: Vec<_> = (0..100).map(|_| Box::pin(queue.acquire(flood))).collect();
    flooding.iter_mut().for_each(|call| assert!(poll(call.as_mut()).is_pending()));
    let mut late: Vec<_> = (0..3).map(|_| Box::pin(queue.acquire(other))).collect();
    late.iter_mut().for_each(|call| assert!(poll(call.as_mut()).is_pending()));
    drop(held.pop());
    let Poll::Ready(_one) = poll(late[0].as_mut()) else { panic!("the other plugin has none and is next") };
    drop(held.pop());
    let Poll::Ready(_two) = poll(late[1].as_mut()) else { panic!("it still has fewer") };
    drop(held.pop());
    assert!(poll(late[2].as_mut()).is_pending(), "two against one: the flood is next");
    assert!(poll(flooding[0].as_mut()).is_ready());
}

#[test]
fn a_waiter_that_is_dropped_leaves_the_line_and_loses_no_place() {
    let queue = Queue::new(1);
    let line = queue.line("a", 1);
    let held = ready(queue.acquire(line));
    let mut gone = Box::pin(queue.acquire(line));
    let mut next = Box::pin(queue.acquire(line));
    assert!(poll(gone.as_mut()).is_pending() && poll(next.as_mut()).is_pending());
    drop(gone);
    drop(held);
    let Poll::Ready(place) = poll(next.as_mut()) else { panic!("no place") };
    // Granted, and dropped before it knew.
    let mut granted = Box::pin(queue.acquire(line));
    assert!(poll(granted.as_mut()).is_pending());
    drop(place);
    drop(granted);
    assert_eq!(queue.in_use(), 0);
    drop(ready(queue.acquire(line)));
}

proptest! {
    /// Calls come, get places, give them back and give up in any order.
    #[test]
    fn no_place_is_lost_or_made_and_nobody_waits_beside_a_free_one(
        places in 1usize..5, shares in proptest::collection::vec(1usize..5, 1..4),
        steps in proptest::collection::vec((0u8..4, any::<prop::sample::Index>()), 0..200)
    ) {
        let queue = Queue::new(places);
        let lines: Vec<_> =
            shares.iter().enumerate().map(|(at, share)| queue.line(&format!("plugin {at}"), *share)).collect();
        let mut waiting: Vec<(usize, BoxFuture<'static, Place>)> = Vec::new();
        let mut held: Vec<(usize, Place)> = Vec::new();
        for (what, which) in steps {
            match what {
                0 | 1 => {
                    let at = which.index(lines.len());
                    let (queue, line) = (Arc::clone(&queue), lines[at]);
                    waiting.push((at, Box::pin(async move { queue.acquire(line).await })));
                }
                2 if !held.is_empty() => drop(held.remove(which.index(held.len()))),
                3 if !waiting.is_empty() => drop(waiting.remove(which.index(waiting.len()))),
                _ => {}
            }
            let mut still = Vec::new();
            for (at, mut call) in waiting {
                match poll(call.as_mut()) {
                    Poll::Ready(place) => held.push((at, place)),
                    Poll::Pending => still.push((at, call)),
                }
            }
            waiting = still;
            let of = |line: usize| held.iter().filter(|(at, _)| *at == line).count();
            prop_assert_eq!(queue.in_use(), held.len());
            prop_assert!(held.len() <= places);
            for (line, share) in shares.iter().enumerate() {
                prop_assert!(of(line) <= *share);
                let waits = waiting.iter().any(|(at, _)| *at == line);
                prop_assert!(!waits || held.len() == places || of(line) == *share, "line {} waits", line);
            }
        }
        drop(waiting);
        drop(held);
        prop_assert_eq!(queue.in_use(), 0);
    }
}
