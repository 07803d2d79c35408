use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::*;
use agw_telemetry::Metrics;
use agw_wire::Code;

type Answered = oneshot::Receiver<Answer>;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const SECOND: Duration = Duration::from_secs(1);

struct World {
    metrics: Metrics,
    link: Link,
    server: DuplexStream,
    driver: JoinHandle<Fault>,
}

fn world_of(bounds: Bounds) -> World {
    let (ours, server) = tokio::io::duplex(1024);
    let metrics = Metrics::new();
    let io_seconds = metrics.stages("limits", "pool").io;
    let (link, driver) = share(Session::new(Pipe::new(Box::new(ours))), bounds, io_seconds);
    World { metrics, link, server, driver: tokio::spawn(driver.run()) }
}

fn world() -> World {
    world_of(Bounds { calls: 100, queued_bytes: 10_000 })
}

fn job(commands: &[u8], replies: usize) -> (Job, Answered) {
    let (answer, answered) = oneshot::channel();
    let deadline = Instant::now() + SECOND;
    (Job { commands: commands.to_vec(), replies, reply_bytes_max: 100, deadline, answer }, answered)
}

impl World {
    fn send(&self, replies: usize) -> Answered {
        let (job, answered) = job(PING, replies);
        self.link.send(job).unwrap();
        answered
    }

    async fn sent(&mut self, calls: usize) {
        let mut bytes = vec![0; PING.len() * calls];
        self.server.read_exact(&mut bytes).await.unwrap();
    }
}

fn error(answer: Result<Answer, oneshot::error::RecvError>) -> CallError {
    match answer.unwrap().unwrap_err() {
        Unanswered::Failed(error) => error,
        Unanswered::Unsent(_) => panic!("it was not sent"),
    }
}

fn code(answer: Result<Answer, oneshot::error::RecvError>) -> Code {
    error(answer).code
}

fn unsent(answer: Answer) -> Vec<u8> {
    match answer.unwrap_err() {
        Unanswered::Failed(error) => panic!("{error}"),
        Unanswered::Unsent(commands) => commands,
    }
}

impl Link {
    fn refusal(&self, job: Job) -> Code {
        code(Ok(self.send(job).map(|()| Bytes::new())))
    }
}

#[tokio::test(start_paused = true)]
async fn answers_go_to_the_calls_in_the_order_in_which_these_were_sent() {
    let mut world = world();
    let (first, second, third) = (world.send(1), world.send(2), world.send(1));
    world.sent(3).await;
    // Cut in the middle of everything.
    for part in [&b":1\r"[..], b"\n+a\r\n$1", b"\r\nb\r\n:", b"4\r\n"] {
        world.server.write_all(part).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(first.await.unwrap().unwrap(), ":1\r\n");
    assert_eq!(second.await.unwrap().unwrap(), "+a\r\n$1\r\nb\r\n");
    assert_eq!(third.await.unwrap().unwrap(), ":4\r\n");
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_ready_in_one_turn_go_out_in_one_write() {
    let mut world = world();
    let _answers: Vec<_> = (0..20).map(|_| world.send(1)).collect();
    let mut bytes = vec![0; 1024];
    assert_eq!(world.server.read(&mut bytes).await.unwrap(), 20 * PING.len());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_dropped_before_it_was_written_never_is() {
    let mut world = world();
    drop(world.send(1));
    let (job, _answered) = job(b"*1\r\n$4\r\nECHO\r\n", 1);
    world.link.send(job).unwrap();
    let mut bytes = vec![0; 1024];
    let read = world.server.read(&mut bytes).await.unwrap();
    assert_eq!(&bytes[..read], b"*1\r\n$4\r\nECHO\r\n");
    assert_eq!(world.link.queued_bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_call_that_was_dropped_later_is_thrown_away() {
    let mut world = world();
    let (dropped, kept) = (world.send(1), world.send(1));
    world.sent(2).await;
    drop(dropped);
    world.server.write_all(b"+theirs\r\n+mine\r\n").await.unwrap();
    assert_eq!(kept.await.unwrap().unwrap(), "+mine\r\n");
}

#[tokio::test(start_paused = true)]
async fn the_time_of_each_answer_is_observed_and_that_of_a_call_without_one_is_not() {
    let mut world = world();
    let (first, dropped, _lost) = (world.send(1), world.send(1), world.send(1));
    world.sent(3).await;
    drop(dropped);
    tokio::time::advance(Duration::from_millis(3)).await;
    world.server.write_all(b"+first\r\n").await.unwrap();
    first.await.unwrap().unwrap();
    tokio::time::advance(Duration::from_millis(4)).await;
    world.server.write_all(b"+dropped\r\n").await.unwrap();
    drop(world.server);
    assert!(matches!(world.driver.await.unwrap(), Fault::Closed));
    let metrics = world.metrics.encode().unwrap();
    assert!(
        metrics.contains("agw_resource_io_seconds_sum{resource=\"limits\"} 0.01\n"),
        "3 and 7: {metrics}"
    );
    assert!(metrics.contains("agw_resource_io_seconds_count{resource=\"limits\"} 2\n"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_is_overloaded_by_count_and_by_bytes_until_there_are_answers() {
    let mut world = world_of(Bounds { calls: 2, queued_bytes: 1000 });
    // Two are taken by the driver and wait for their answers, two stay in the inbox.
    let first = [world.send(1), world.send(1)];
    world.sent(2).await;
    let second = [world.send(1), world.send(1)];
    tokio::task::yield_now().await;
    assert_eq!(world.link.refusal(job(PING, 1).0), Code::Overloaded);
    world.server.write_all(b":1\r\n:2\r\n").await.unwrap();
    for answer in first {
        assert!(answer.await.unwrap().is_ok());
    }
    world.sent(2).await;
    assert_eq!(world.link.refusal(job(&[b'x'; 1001], 1).0), Code::Overloaded);
    assert_eq!(world.link.queued_bytes.load(Ordering::Relaxed), 0);
    world.server.write_all(b":3\r\n:4\r\n").await.unwrap();
    for answer in second {
        assert!(answer.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_connection_is_given_up_a_grace_after_the_oldest_calls_deadline() {
    let mut world = world();
    let begun = Instant::now();
    let answer = world.send(1);
    world.sent(1).await;
    assert!(matches!(world.driver.await.unwrap(), Fault::Stalled));
    assert!(
        begun.elapsed() >= SECOND + GRACE && begun.elapsed() < SECOND + GRACE + Duration::from_millis(10)
    );
    assert_eq!(code(answer.await), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_answers_in_time_is_never_given_up() {
    let mut world = world();
    for _ in 0..20 {
        let answer = world.send(1);
        world.sent(1).await;
        tokio::time::sleep(SECOND).await;
        world.server.write_all(b":1\r\n").await.unwrap();
        assert!(answer.await.unwrap().is_ok());
    }
    tokio::time::sleep(100 * SECOND).await;
    assert!(!world.driver.is_finished());
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_the_connection_a_sent_call_fails_and_an_unsent_one_comes_back() {
    let mut world = world_of(Bounds { calls: 1, queued_bytes: 1000 });
    let sent = world.send(1);
    world.sent(1).await;
    let waiting = world.send(1);
    drop(world.server);
    assert!(matches!(world.driver.await.unwrap(), Fault::Closed));
    let sent = error(sent.await);
    assert_eq!((sent.code, sent.retry), (Code::Unavailable, agw_wire::Retry::IfIdempotent));
    assert_eq!(unsent(waiting.await.unwrap()), PING);
    assert!(world.link.has_ended());
    assert_eq!(unsent(world.link.send(job(PING, 1).0).map(|()| Bytes::new())), PING);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_which_a_part_was_written_does_not_come_back_but_those_behind_it_do() {
    // The buffer between takes 1024 bytes: the second call is cut in its middle.
    let mut world = world();
    let commands = [vec![b'a'; 600], vec![b'b'; 600], vec![b'c'; 300], vec![b'd'; 100]];
    let answers = commands.clone().map(|commands| {
        let (job, answered) = job(&commands, 1);
        world.link.send(job).unwrap();
        answered
    });
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
    while !world.driver.is_finished() {
        let _ = world.server.write_all(b"$104857600\r\n").await;
        tokio::task::yield_now().await;
    }
    let [first, second, third, fourth] = answers;
    assert_eq!(code(first.await), Code::TooLarge);
    assert_eq!(error(second.await).retry, agw_wire::Retry::IfIdempotent);
    assert_eq!(unsent(third.await.unwrap()), commands[2]);
    assert_eq!(unsent(fourth.await.unwrap()), commands[3]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_question_ends_the_connection() {
    let mut world = world();
    world.server.write_all(b"+early\r\n").await.unwrap();
    assert!(matches!(world.driver.await.unwrap(), Fault::Unasked));
}

#[tokio::test(start_paused = true)]
async fn an_oversized_reply_is_read_past_and_the_next_call_gets_its_own() {
    let mut world = world();
    let (large, next) = (world.send(1), world.send(1));
    world.sent(2).await;
    world.server.write_all(b"$300\r\n").await.unwrap();
    assert_eq!(code(large.await), Code::TooLarge, "told before the bytes arrive");
    world.server.write_all(&[b'x'; 300]).await.unwrap();
    world.server.write_all(b"\r\n:2\r\n").await.unwrap();
    assert_eq!(next.await.unwrap().unwrap(), ":2\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_reply_too_long_to_be_read_past_ends_the_connection() {
    let mut world = world();
    let (large, next) = (world.send(1), world.send(1));
    world.sent(2).await;
    world.server.write_all(b"$104857600\r\n").await.unwrap();
    assert_eq!(code(large.await), Code::TooLarge);
    assert_eq!(code(next.await), Code::Unavailable);
    assert!(matches!(world.driver.await.unwrap(), Fault::Frame(FrameError::TooLarge)));
}

#[tokio::test(start_paused = true)]
async fn a_retired_connection_writes_nothing_more() {
    let mut world = world();
    let asked = world.send(1);
    world.sent(1).await;
    let later = world.send(1);
    world.link.retire();
    assert!(world.link.has_ended());
    let latest = world.send(1);
    assert!(matches!(world.driver.await.unwrap(), Fault::Retired));
    assert_eq!(code(asked.await), Code::Unavailable);
    assert_eq!(unsent(later.await.unwrap()), PING);
    assert_eq!(unsent(latest.await.unwrap()), PING);
    assert_eq!(world.server.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_retired_connection_ends_and_a_dropped_driver_leaves_nobody_waiting() {
    let mut world = world();
    let answer = world.send(1);
    world.sent(1).await;
    world.link.retire();
    assert!(matches!(world.driver.await.unwrap(), Fault::Retired));
    assert_eq!(code(answer.await), Code::Unavailable);

    let world = self::world();
    let answer = world.send(1);
    world.driver.abort();
    assert!(answer.await.is_err(), "the channel is closed, which callers take for a lost connection");
}
