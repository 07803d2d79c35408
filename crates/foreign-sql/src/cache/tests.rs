use std::sync::atomic::{AtomicUsize, Ordering};

use agw_wire::sql::{Cell, CellType, Cells, Column, ReplyWriter, Statement, put_cell};
use tokio::task::JoinHandle;
use tokio::time::{advance, sleep};

use super::kept::ENTRY_BYTES;
use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Of calls here, if they name none.
const DEADLINE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(300);

/// Of one result with so many rows, each with `value`.
fn reply(rows: usize, value: &str) -> Outcome {
    let mut writer = ReplyWriter::new();
    writer.column(&Column { name: "a", cell_type: CellType::Text, engine_type: "text" });
    for _ in 0..rows {
        writer.cell(Cell::Text(value));
        writer.end_row();
    }
    writer.end_result(0, 0);
    Ok(Reply::sql(writer.finish(0)))
}

fn failure(code: Code) -> Outcome {
    Err(CallError::new(code, "a failure"))
}

fn policy() -> SqlCache {
    SqlCache {
        ttl: 10 * SECOND,
        negative_ttl: SECOND,
        stale_while_revalidate: Duration::ZERO,
        entries_max: 100,
        bytes_max: 1 << 20,
    }
}

/// One grant and its statement `find`, on a database that answers as it is told.
#[derive(Clone)]
struct World {
    caches: Arc<Caches>,
    counters: Counters,
    runs: Arc<AtomicUsize>,
    /// What a run comes to, and how long it takes.
    answer: Arc<Mutex<(Outcome, Duration)>>,
}

impl World {
    fn new(policy: SqlCache) -> World {
        World::with_renewals(policy, 4)
    }

    fn with_renewals(policy: SqlCache, renewals_max: usize) -> World {
        let counters = Counters::default();
        let find = "find".to_owned();
        let caches = Caches::new([(&find, policy, counters.clone())].into_iter(), renewals_max, PAUSE);
        let answer = Arc::new(Mutex::new((reply(1, "first"), Duration::ZERO)));
        World { caches: Arc::new(caches), counters, runs: Arc::default(), answer }
    }

    fn answers(&self, outcome: Outcome, takes: Duration) {
        *self.answer.lock() = (outcome, takes);
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    async fn run(self) -> Outcome {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let (outcome, takes) = self.answer.lock().clone();
        sleep(takes).await;
        outcome
    }

    /// As a grant does it.
    async fn call(&self, mode: Mode, param: &str, within: Duration) -> Outcome {
        let mut params = Vec::new();
        put_cell(&mut params, Cell::Text(param));
        let statements = vec![Statement::named("find", Cells::new(&params))];
        let call = Call { mode, statements, ..Call::default() };
        let (cache, key) = self.caches.of(&call).expect("its results are kept");
        let deadline = Instant::now() + within;
        match cache.find(&key) {
            Some(Found::Fresh(outcome)) => outcome,
            Some(Found::Stale(outcome, lead)) => {
                if let Some(lead) = lead {
                    let world = self.clone();
                    tokio::spawn(async move { lead.end(&world.run().await, Instant::now() + DEADLINE) });
                }
                outcome
            }
            None => Arc::clone(cache).call(key.into(), deadline, self.clone().run()).await,
        }
    }

    async fn ask(&self, param: &str) -> Outcome {
        self.call(Mode::Query, param, DEADLINE).await
    }

    /// A call on a task of its own that has begun.
    async fn spawn(&self, param: &'static str, within: Duration) -> JoinHandle<Outcome> {
        let world = self.clone();
        let task = tokio::spawn(async move { world.call(Mode::Query, param, within).await });
        tokio::task::yield_now().await;
        task
    }

    fn size(&self) -> (usize, usize) {
        self.caches.0["find"].state.lock().kept.size()
    }

    fn assert_nothing_is_under_way(&self) {
        let cache = &self.caches.0["find"];
        assert!(cache.state.lock().flights.is_empty());
    }
}

// === time ===

#[tokio::test(start_paused = true)]
async fn a_result_serves_for_its_time_and_not_a_moment_longer() {
    let world = World::new(policy());
    assert_eq!(world.ask("a").await, reply(1, "first"));
    world.answers(reply(1, "second"), Duration::ZERO);
    advance(10 * SECOND - MS).await;
    assert_eq!(world.ask("a").await, reply(1, "first"));
    assert_eq!(world.runs(), 1);
    advance(MS).await;
    assert_eq!(world.ask("a").await, reply(1, "second"));
    assert_eq!(world.runs(), 2);
    assert_eq!((world.counters.hit.get(), world.counters.miss.get()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_result_without_rows_serves_for_a_time_of_its_own() {
    for none in [reply(0, ""), Err(CallError::new(Code::Server, "none").kind(Kind::NoRow))] {
        let world = World::new(policy());
        world.answers(none.clone(), Duration::ZERO);
        assert_eq!(world.ask("a").await, none);
        advance(SECOND - MS).await;
        assert_eq!(world.ask("a").await, none);
        assert_eq!(world.runs(), 1);
        advance(MS).await;
        world.ask("a").await.ok();
        assert_eq!(world.runs(), 2);

        let world = World::new(SqlCache { negative_ttl: Duration::ZERO, ..policy() });
        world.answers(none.clone(), Duration::ZERO);
        assert_eq!(world.ask("a").await, none);
        assert_eq!(world.ask("a").await, none);
        assert_eq!((world.runs(), world.size()), (2, (0, 0)));
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_not_kept_and_leave_what_is() {
    let world = World::new(policy());
    let several = Err(CallError::new(Code::Server, "several").kind(Kind::SeveralRows));
    for failed in [failure(Code::Server), failure(Code::TooLarge), failure(Code::Unavailable), several] {
        world.answers(failed.clone(), Duration::ZERO);
        assert_eq!(world.ask("a").await, failed);
    }
    assert_eq!((world.runs(), world.size()), (4, (0, 0)));
    world.assert_nothing_is_under_way();
}

// === stale-while-revalidate ===

const STALE: Duration = Duration::from_secs(60);

fn stale() -> SqlCache {
    SqlCache { stale_while_revalidate: STALE, ..policy() }
}

#[tokio::test(start_paused = true)]
async fn a_stale_result_is_given_at_once_and_renewed_by_one_call() {
    let world = World::new(stale());
    world.ask("a").await.unwrap();
    advance(10 * SECOND).await;
    world.answers(reply(1, "second"), 100 * MS);
    let asked = Instant::now();
    for _ in 0..5 {
        assert_eq!(world.ask("a").await, reply(1, "first"));
    }
    assert_eq!(asked.elapsed(), Duration::ZERO, "nobody waits for the renewal");
    sleep(100 * MS).await;
    tokio::task::yield_now().await;
    assert_eq!(world.runs(), 2);
    assert_eq!(world.ask("a").await, reply(1, "second"));
    assert_eq!((world.counters.stale.get(), world.counters.hit.get()), (5, 1));
    world.assert_nothing_is_under_way();
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_too_stale_is_fetched_and_a_call_joins_the_renewal_that_is_under_way() {
    let world = World::new(stale());
    world.ask("a").await.unwrap();
    advance(10 * SECOND + STALE - MS).await;
    world.answers(reply(1, "second"), 100 * MS);
    assert_eq!(world.ask("a").await, reply(1, "first"));
    tokio::task::yield_now().await;
    advance(MS).await;
    assert_eq!(world.ask("a").await, reply(1, "second"));
    assert_eq!((world.runs(), world.counters.joined.get()), (2, 1));
    advance(10 * SECOND + STALE).await;
    world.ask("a").await.unwrap();
    assert_eq!((world.runs(), world.counters.miss.get()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn while_the_database_is_down_stale_results_serve_and_renewals_pause() {
    let world = World::new(stale());
    world.ask("a").await.unwrap();
    world.ask("b").await.unwrap();
    advance(10 * SECOND).await;
    world.answers(failure(Code::Unavailable), Duration::ZERO);
    for param in ["a", "b"].repeat(10) {
        assert_eq!(world.ask(param).await, reply(1, "first"));
        tokio::task::yield_now().await;
    }
    assert_eq!(world.runs(), 3, "one failure holds all of them back");
    advance(PAUSE).await;
    world.answers(reply(1, "second"), Duration::ZERO);
    for param in ["a", "b"] {
        assert_eq!(world.ask(param).await, reply(1, "first"));
        tokio::task::yield_now().await;
        assert_eq!(world.ask(param).await, reply(1, "second"));
    }
    world.answers(failure(Code::Unavailable), Duration::ZERO);
    advance(10 * SECOND + STALE).await;
    assert_eq!(world.ask("a").await, failure(Code::Unavailable), "its time is over");
}

#[tokio::test(start_paused = true)]
async fn no_more_renewals_are_under_way_than_may_be() {
    let world = World::with_renewals(stale(), 2);
    let params = ["a", "b", "c", "d"];
    for param in params {
        world.ask(param).await.unwrap();
    }
    advance(10 * SECOND).await;
    world.answers(reply(1, "second"), 100 * MS);
    for param in params {
        assert_eq!(world.ask(param).await, reply(1, "first"));
    }
    tokio::task::yield_now().await;
    assert_eq!(world.runs(), 4 + 2);
    sleep(100 * MS).await;
    tokio::task::yield_now().await;
    assert_eq!(world.ask("c").await, reply(1, "first"));
    tokio::task::yield_now().await;
    assert_eq!(world.runs(), 4 + 3, "places come back");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_finds_nothing_ends_the_old_result() {
    let world = World::new(SqlCache { negative_ttl: Duration::ZERO, ..stale() });
    world.ask("a").await.unwrap();
    advance(10 * SECOND).await;
    world.answers(reply(0, ""), Duration::ZERO);
    assert_eq!(world.ask("a").await, reply(1, "first"));
    tokio::task::yield_now().await;
    assert_eq!(world.ask("a").await, reply(0, ""));
}

// === single flight ===

#[tokio::test(start_paused = true)]
async fn calls_that_miss_at_the_same_time_run_once() {
    let world = World::new(policy());
    world.answers(reply(1, "first"), 100 * MS);
    let mut tasks = Vec::new();
    for _ in 0..20 {
        tasks.push(world.spawn("a", DEADLINE).await);
    }
    let other = world.spawn("b", DEADLINE).await;
    for task in tasks {
        assert_eq!(task.await.unwrap(), reply(1, "first"));
    }
    other.await.unwrap().unwrap();
    assert_eq!(world.runs(), 2, "one for each parameter");
    assert_eq!((world.counters.miss.get(), world.counters.joined.get()), (2, 19));
    world.assert_nothing_is_under_way();
}

#[tokio::test(start_paused = true)]
async fn when_the_leader_is_dropped_the_next_takes_over() {
    let world = World::new(policy());
    world.answers(reply(1, "first"), 100 * MS);
    let leader = world.spawn("a", DEADLINE).await;
    let waiters = [world.spawn("a", DEADLINE).await, world.spawn("a", DEADLINE).await];
    sleep(50 * MS).await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), reply(1, "first"));
    }
    assert_eq!(world.runs(), 2);
    world.assert_nothing_is_under_way();
}

#[tokio::test(start_paused = true)]
async fn what_is_the_leaders_own_failure_is_not_the_others() {
    let world = World::new(policy());
    world.answers(failure(Code::TimeoutIo), 50 * MS);
    let leader = world.spawn("a", 50 * MS).await;
    let waiter = world.spawn("a", DEADLINE).await;
    world.answers(reply(1, "first"), 100 * MS);
    assert_eq!(leader.await.unwrap(), failure(Code::TimeoutIo));
    assert_eq!(waiter.await.unwrap(), reply(1, "first"));

    world.answers(failure(Code::Cancelled), 50 * MS);
    let leader = world.spawn("b", DEADLINE).await;
    let waiter = world.spawn("b", DEADLINE).await;
    world.answers(reply(1, "first"), 100 * MS);
    assert_eq!(leader.await.unwrap(), failure(Code::Cancelled));
    assert_eq!(waiter.await.unwrap(), reply(1, "first"));
    assert_eq!(world.runs(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_the_statement_fails_by_is_everybodys_who_waits_and_nobodys_afterwards() {
    let world = World::new(policy());
    for code in [Code::Server, Code::Unavailable, Code::TimeoutQueue] {
        let runs = world.runs();
        world.answers(failure(code), 100 * MS);
        let tasks = [world.spawn("a", DEADLINE).await, world.spawn("a", DEADLINE).await];
        for task in tasks {
            assert_eq!(task.await.unwrap(), failure(code));
        }
        assert_eq!(world.runs(), runs + 1);
        assert_eq!(world.ask("a").await, failure(code));
        assert_eq!(world.runs(), runs + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_does_so_until_its_own_deadline() {
    let world = World::new(policy());
    world.answers(reply(1, "first"), 300 * MS);
    let leader = world.spawn("a", DEADLINE).await;
    let begun = Instant::now();
    let error = world.call(Mode::Query, "a", 40 * MS).await.unwrap_err();
    assert_eq!((error.code, begun.elapsed()), (Code::TimeoutIo, 40 * MS));
    assert_eq!(leader.await.unwrap(), reply(1, "first"));
    assert_eq!(world.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_before_the_call_is_polled() {
    let world = World::new(policy());
    let (cache, key) = (Arc::clone(&world.caches.0["find"]), Arc::from(*b"\0k"));
    drop(cache.call(key, Instant::now() + DEADLINE, world.clone().run()));
    assert_eq!(world.runs(), 0);
    world.assert_nothing_is_under_way();
}

// === what is kept, and how much ===

#[tokio::test(start_paused = true)]
async fn parameters_and_ways_to_ask_are_apart() {
    let world = World::new(policy());
    for mode in [Mode::Query, Mode::QueryOne, Mode::QueryOptional] {
        for param in ["a", "b", ""] {
            world.call(mode, param, DEADLINE).await.unwrap();
            world.call(mode, param, DEADLINE).await.unwrap();
        }
    }
    assert_eq!(world.runs(), 9);
}

#[test]
fn only_single_queries_by_name_are_kept() {
    let world = World::new(policy());
    let named = || Statement::named("find", Cells::default());
    let kept = |call: Call<'_>| world.caches.of(&call).is_some();
    assert!(kept(Call { statements: vec![named()], ..Call::default() }));
    for mode in [Mode::Execute, Mode::Batch, Mode::Page, Mode::Fetch, Mode::Close] {
        assert!(!kept(Call { mode, statements: vec![named()], ..Call::default() }), "{mode:?}");
    }
    let ad_hoc = Statement::ad_hoc("SELECT 1", Cells::default());
    let both = Statement { name: "find", text: "SELECT 1", params: Cells::default() };
    let other = Statement::named("other", Cells::default());
    for statements in [vec![], vec![ad_hoc], vec![both], vec![other], vec![named(), named()]] {
        assert!(!kept(Call { statements, ..Call::default() }));
    }
    assert!(!kept(Call { statements: vec![named()], cursor: 1, ..Call::default() }));
    assert!(!kept(Call { statements: vec![named()], page_rows: 1, ..Call::default() }));
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_the_one_that_was_not_asked_for_longest_gives_way() {
    let world = World::new(SqlCache { entries_max: 3, ..policy() });
    for param in ["a", "b", "c", "a", "d"] {
        world.ask(param).await.unwrap();
    }
    assert_eq!((world.runs(), world.size().0, world.counters.evictions.get()), (4, 3, 1));
    for param in ["a", "c", "d"] {
        world.ask(param).await.unwrap();
    }
    assert_eq!(world.runs(), 4);
    world.ask("b").await.unwrap();
    assert_eq!(world.runs(), 5);
}

#[tokio::test(start_paused = true)]
async fn bytes_are_bounded_and_counted_to_the_last() {
    let value = "v".repeat(1000);
    let world = World::new(SqlCache { bytes_max: 4 * (1100 + ENTRY_BYTES), ..policy() });
    world.answers(reply(1, &value), Duration::ZERO);
    for at in 0..50 {
        world.ask(&at.to_string()).await.unwrap();
    }
    let (entries, bytes) = world.size();
    assert!((3..=4).contains(&entries) && bytes <= 4 * (1100 + ENTRY_BYTES), "{entries} of {bytes}");
    world.answers(reply(100, &value), Duration::ZERO);
    assert_eq!(world.ask("large").await, reply(100, &value));
    assert_eq!(world.size(), (entries, bytes), "it is not kept, and nothing gave way");
    advance(10 * SECOND).await;
    world.answers(failure(Code::Server), Duration::ZERO);
    for at in 0..50 {
        world.ask(&at.to_string()).await.unwrap_err();
    }
    assert_eq!(world.size(), (0, 0), "what is past its time leaves when it is asked for");
}
