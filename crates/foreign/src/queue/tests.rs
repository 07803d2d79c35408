use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;

type Taking = Pin<Box<dyn Future<Output = Result<Place<Arc<Queue>>, QueueFull>>>>;

const MANY: usize = 1000;

fn queue(places: usize) -> Arc<Queue> {
    Arc::new(Queue::new(places))
}

fn taking(queue: &Arc<Queue>, line: LineId) -> Taking {
    Box::pin(Place::take(Arc::clone(queue), line))
}

/// Polls once.
fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Calls that wait, in their order.
fn waiting(queue: &Arc<Queue>, line: LineId, count: usize) -> Vec<Taking> {
    let mut calls: Vec<_> = (0..count).map(|_| taking(queue, line)).collect();
    calls.iter_mut().for_each(|call| assert!(poll(call.as_mut()).is_pending(), "it waits"));
    calls
}

fn taken(queue: &Arc<Queue>, line: LineId) -> Place<Arc<Queue>> {
    match poll(pin!(Place::take(Arc::clone(queue), line))) {
        Poll::Ready(place) => place.expect("there is room"),
        Poll::Pending => panic!("it waits"),
    }
}

/// The first of these that has a place now.
fn next(calls: &mut Vec<Taking>) -> Option<Place<Arc<Queue>>> {
    for at in 0..calls.len() {
        if let Poll::Ready(place) = poll(calls[at].as_mut()) {
            drop(calls.remove(at));
            return place.ok();
        }
    }
    None
}

#[test]
fn within_a_line_it_is_first_come_first_served() {
    let queue = queue(1);
    let line = queue.line("p", 100, MANY);
    let held = taken(&queue, line);
    let mut calls = waiting(&queue, line, 2);
    drop(held);
    assert!(poll(calls[1].as_mut()).is_pending(), "the first comes first");
    let place = next(&mut calls).expect("the first has it");
    assert_eq!(calls.len(), 1);
    drop(place);
    assert!(next(&mut calls).is_some());
}

#[test]
fn a_plugin_never_has_more_than_its_share_and_leaves_the_rest_to_others() {
    let queue = queue(4);
    let (greedy, modest) = (queue.line("greedy", 50, MANY), queue.line("modest", 100, MANY));
    let held = [taken(&queue, greedy), taken(&queue, greedy)];
    assert!(Place::try_take(Arc::clone(&queue), greedy).is_none());
    let mut third = waiting(&queue, greedy, 1);
    let others = [taken(&queue, modest), taken(&queue, modest)];
    drop(others);
    assert!(next(&mut third).is_none(), "a free place is no share");
    drop(held);
    assert!(next(&mut third).is_some());
}

#[test]
fn a_share_too_small_for_a_place_is_one_nevertheless() {
    let queue = queue(4);
    let line = queue.line("p", 1, MANY);
    let _held = taken(&queue, line);
    assert!(Place::try_take(&*queue, line).is_none());
}

#[test]
fn a_plugin_that_came_late_is_not_behind_all_of_the_others_calls() {
    let queue = queue(4);
    let (flood, other) = (queue.line("flood", 100, MANY), queue.line("other", 100, MANY));
    let mut held: Vec<_> = (0..4).map(|_| taken(&queue, flood)).collect();
    let mut flooding = waiting(&queue, flood, 100);
    let mut late = waiting(&queue, other, 3);
    drop(held.pop());
    let _one = next(&mut late).expect("the other plugin has none and is next");
    drop(held.pop());
    let _two = next(&mut late).expect("it still has fewer");
    drop(held.pop());
    assert!(next(&mut late).is_none(), "two against one: the flood is next");
    assert!(next(&mut flooding).is_some());
}

#[test]
fn places_go_to_those_who_wait_in_proportion_to_their_shares() {
    let queue = queue(10);
    let (large, small) = (queue.line("large", 100, MANY), queue.line("small", 25, MANY));
    let (filler, mut held) = (queue.line("filler", 100, MANY), Vec::new());
    (0..10).for_each(|_| held.push(taken(&queue, filler)));
    let (mut larges, mut smalls) = (waiting(&queue, large, 20), waiting(&queue, small, 20));
    held.clear();
    let count = |calls: &mut Vec<Taking>| std::iter::from_fn(|| next(calls)).collect::<Vec<_>>();
    let (larges, smalls) = (count(&mut larges), count(&mut smalls));
    assert_eq!((larges.len(), smalls.len()), (8, 2));
}

#[test]
fn a_single_place_goes_round_in_proportion_to_the_shares() {
    let queue = queue(1);
    let (large, small) = (queue.line("large", 100, MANY), queue.line("small", 25, MANY));
    let mut held = Some(taken(&queue, large));
    let (mut larges, mut smalls) = (waiting(&queue, large, 20), waiting(&queue, small, 20));
    let mut order = String::new();
    for _ in 0..10 {
        drop(held.take());
        held = next(&mut larges).inspect(|_| order.push('l')).or_else(|| {
            order.push('s');
            next(&mut smalls)
        });
    }
    assert_eq!(order, "sllllsllll", "and the one that came last is not behind the other's twenty");
}

#[test]
fn a_plugin_that_rested_saves_no_turns_up() {
    let queue = queue(1);
    let (busy, rested) = (queue.line("busy", 100, MANY), queue.line("rested", 100, MANY));
    for _ in 0..100 {
        drop(taken(&queue, busy));
    }
    let held = taken(&queue, busy);
    let (mut calls, mut others) = (waiting(&queue, busy, 2), waiting(&queue, rested, 2));
    drop(held);
    let first = next(&mut others).expect("the rested one is next");
    drop(first);
    assert!(next(&mut calls).is_some(), "once, and then they alternate");
}

#[test]
fn a_plugin_fills_its_own_waiting_room_and_nobody_elses() {
    let queue = queue(1);
    let (flood, quiet) = (queue.line("flood", 100, 2), queue.line("quiet", 100, 2));
    let held = taken(&queue, flood);
    let mut flooding = waiting(&queue, flood, 2);
    let Poll::Ready(refused) = poll(taking(&queue, flood).as_mut()) else { panic!("it waits") };
    assert_eq!(refused.err(), Some(QueueFull));
    let mut call = waiting(&queue, quiet, 1);
    assert_eq!(queue.waiting(), 3);
    drop(held);
    assert!(next(&mut call).is_some(), "and it is next");
    assert!(next(&mut flooding).is_some(), "the place that was given back at once");
}

#[test]
fn a_waiter_that_is_dropped_leaves_the_line_and_loses_no_place() {
    let queue = queue(1);
    let line = queue.line("p", 100, MANY);
    let held = taken(&queue, line);
    let mut calls = waiting(&queue, line, 2);
    drop(calls.remove(0));
    assert_eq!(queue.waiting(), 1);
    drop(held);
    let place = next(&mut calls).expect("the other one has it");
    // Granted, and dropped before it knew.
    let granted = waiting(&queue, line, 1);
    drop(place);
    assert_eq!(queue.in_use(), 1);
    drop(granted);
    assert_eq!((queue.in_use(), queue.waiting()), (0, 0));
    drop(taken(&queue, line));
}

#[test]
fn a_plugin_that_comes_again_has_its_old_line_with_new_bounds() {
    let queue = queue(4);
    let line = queue.line("p", 25, MANY);
    let _one = taken(&queue, line);
    let mut calls = waiting(&queue, line, 2);
    assert_eq!(queue.line("p", 75, 0), line);
    let _two = next(&mut calls).expect("the larger share serves those who wait already");
    let _three = next(&mut calls).expect("and the next");
    assert!(Place::try_take(&*queue, line).is_none(), "three of four are 75 per cent");
    let Poll::Ready(refused) = poll(taking(&queue, line).as_mut()) else { panic!("it waits") };
    assert_eq!(refused.err(), Some(QueueFull));
    assert_ne!(queue.line("q", 75, 0), line);
}

#[test]
fn threads_that_compete_for_few_places_lose_none() {
    let queue = queue(3);
    let lines: Vec<_> = (0..4).map(|at| queue.line(&format!("p{at}"), 50, MANY)).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().expect("a runtime");
    runtime.block_on(async {
        let tasks: Vec<_> = (0..16).map(|at| (Arc::clone(&queue), lines[at % lines.len()])).collect();
        let tasks: Vec<_> = tasks
            .into_iter()
            .map(|(queue, line)| {
                tokio::spawn(async move {
                    for _ in 0..500 {
                        let place = Place::take(&*queue, line).await.expect("there is room");
                        assert!(queue.in_use() <= 3);
                        tokio::task::yield_now().await;
                        drop(place);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    });
    assert_eq!((queue.in_use(), queue.waiting()), (0, 0));
}

proptest! {
    /// Calls come, get places, give them back and give up in any order.
    #[test]
    fn no_place_is_lost_or_made_and_nobody_waits_beside_a_free_one(
        places in 1usize..5, shares in proptest::collection::vec(1u32..101, 1..4), room in 0usize..6,
        steps in proptest::collection::vec((0u8..4, any::<prop::sample::Index>()), 0..200)
    ) {
        let queue = queue(places);
        let line = |(at, share): (usize, &u32)| queue.line(&at.to_string(), *share, room);
        let lines: Vec<_> = shares.iter().enumerate().map(line).collect();
        let most = |share: u32| (places * share as usize).div_ceil(100);
        let mut waiting: Vec<(usize, Taking)> = Vec::new();
        let mut held: Vec<(usize, Place<Arc<Queue>>)> = Vec::new();
        for (what, which) in steps {
            match what {
                0 | 1 => {
                    let at = which.index(lines.len());
                    waiting.push((at, taking(&queue, lines[at])));
                }
                2 if !held.is_empty() => drop(held.remove(which.index(held.len()))),
                3 if !waiting.is_empty() => drop(waiting.remove(which.index(waiting.len()))),
                _ => {}
            }
            let mut still: Vec<(usize, Taking)> = Vec::new();
            for (at, mut call) in waiting {
                match poll(call.as_mut()) {
                    Poll::Ready(Ok(place)) => held.push((at, place)),
                    Poll::Ready(Err(QueueFull)) => {
                        prop_assert_eq!(still.iter().filter(|(line, _)| *line == at).count(), room);
                    }
                    Poll::Pending => still.push((at, call)),
                }
            }
            waiting = still;
            let of = |line: usize| held.iter().filter(|(at, _)| *at == line).count();
            prop_assert_eq!((queue.in_use(), queue.waiting()), (held.len(), waiting.len()));
            prop_assert!(held.len() <= places);
            for (line, share) in shares.iter().enumerate() {
                prop_assert!(of(line) <= most(*share));
                let waits = waiting.iter().any(|(at, _)| *at == line);
                let full = held.len() == places || of(line) == most(*share);
                prop_assert!(!waits || full, "line {} waits", line);
            }
        }
        drop(waiting);
        drop(held);
        prop_assert_eq!((queue.in_use(), queue.waiting()), (0, 0));
    }
}
