use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agw_wasm::{LocalReply, RequestHead, StreamInfo};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, StatusCode, Version};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use super::*;

/// A filter that does what its script says, one step per body callback; after the script it says Continue.
#[derive(Clone)]
struct Scripted(Rc<Script>);

struct Script {
    steps: RefCell<VecDeque<Verdict>>,
    trailers: Option<Verdict>,
    wants_body: bool,
    buffer: RefCell<Vec<u8>>,
    seen: RefCell<Vec<(String, bool)>>,
    resume: Notify,
}

impl Scripted {
    fn new(steps: &[Verdict]) -> Self {
        Scripted(Rc::new(Script {
            steps: RefCell::new(steps.iter().copied().collect()),
            trailers: None,
            wants_body: true,
            buffer: RefCell::default(),
            seen: RefCell::default(),
            resume: Notify::new(),
        }))
    }

    fn with_trailers(steps: &[Verdict], trailers: Verdict) -> Self {
        let Scripted(script) = Scripted::new(steps);
        let script = Rc::into_inner(script).unwrap();
        Scripted(Rc::new(Script { trailers: Some(trailers), ..script }))
    }

    fn seen(&self) -> Vec<(String, bool)> {
        self.0.seen.borrow().clone()
    }
}

impl BodyFilter for Scripted {
    fn wants_body(&self) -> bool {
        self.0.wants_body
    }
    fn wants_trailers(&self) -> bool {
        self.0.trailers.is_some()
    }
    async fn body(&self, chunk: Bytes, end: bool) -> Verdict {
        self.0.buffer.borrow_mut().extend_from_slice(&chunk);
        let all = String::from_utf8(self.0.buffer.borrow().clone()).unwrap();
        self.0.seen.borrow_mut().push((all, end));
        self.0.steps.borrow_mut().pop_front().unwrap_or(Verdict::Continue)
    }
    async fn trailers(&self) -> Verdict {
        self.0.seen.borrow_mut().push(("trailers".into(), true));
        self.0.trailers.unwrap()
    }
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.buffer.borrow_mut()).into()
    }
    fn held(&self) -> usize {
        self.0.buffer.borrow().len()
    }
    async fn resumed(&self) {
        self.0.resume.notified().await;
    }
}

struct Feed(mpsc::UnboundedReceiver<Piece>);

impl Pieces for Feed {
    async fn next(&mut self) -> Result<Piece, BodyError> {
        match self.0.recv().await {
            Some(piece) => Ok(piece),
            None => std::future::pending().await,
        }
    }
}

/// A driven body, its source's other end, and its stream.
struct Rig {
    driven: Driven,
    feed: mpsc::UnboundedSender<Piece>,
    stream: Arc<Stream>,
}

impl Rig {
    fn new(filters: &[&Scripted]) -> Self {
        Rig::bounded(filters, 1000)
    }

    fn bounded(filters: &[&Scripted], buffer_max: usize) -> Self {
        let (feed, source) = mpsc::unbounded_channel();
        let stream = stream();
        let filters = filters.iter().map(|filter| (*filter).clone()).collect();
        let drive = Drive::new(Direction::Request, Feed(source), filters, buffer_max, Arc::clone(&stream));
        Rig { driven: drive.boxed(), feed, stream }
    }

    /// What [`drive`] comes to if these pieces are there at once; more can be fed to what is to be streamed.
    async fn begin(
        filters: &[&Scripted],
        pieces: Vec<Piece>,
    ) -> (Result<First, BodyError>, mpsc::UnboundedSender<Piece>) {
        let (feed, source) = mpsc::unbounded_channel();
        for piece in pieces {
            feed.send(piece).unwrap();
        }
        let filters = filters.iter().map(|filter| (*filter).clone()).collect();
        (drive(Direction::Request, Feed(source), filters, 1000, &stream()).await, feed)
    }

    fn feed(&self, text: &'static str, end: bool) {
        self.feed.send(Piece::Data(Bytes::from_static(text.as_bytes()), end)).unwrap();
    }

    fn feed_trailers(&self) {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        self.feed.send(Piece::Trailers(trailers)).unwrap();
    }

    async fn next(&mut self) -> Result<String, BodyError> {
        next(&mut self.driven).await
    }

    /// Nothing comes out while nothing else happens.
    async fn assert_held(&mut self) {
        let waited = timeout(Duration::from_secs(1), self.next()).await;
        assert!(waited.is_err(), "let out: {waited:?}");
    }
}

fn stream() -> Arc<Stream> {
    let request = RequestHead {
        method: Method::POST,
        scheme: Scheme::HTTP,
        authority: None,
        path: PathAndQuery::from_static("/"),
        headers: HeaderMap::new(),
    };
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let now = Instant::now();
    let info = StreamInfo {
        connection_id: 1,
        source: address,
        destination: address,
        tls: None,
        version: Version::HTTP_11,
        request_id: String::new(),
        started: SystemTime::now(),
        started_at: now,
        deadline: now,
        listener: "l".into(),
        route: "r".into(),
        cluster: "c".into(),
        upstream: None,
        request_bytes: 0,
        response_bytes: 0,
        code_details: "".into(),
        response_flags: "",
        trace: None,
    };
    Stream::new(request, info)
}

/// The next frame: a chunk's text, `trailers`, or `end`.
async fn next(driven: &mut Driven) -> Result<String, BodyError> {
    Ok(match poll_fn(|cx| driven.poll_next(cx)).await.transpose()? {
        None => "end".into(),
        Some(frame) => match frame.into_data() {
            Ok(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Err(_) => "trailers".into(),
        },
    })
}

fn seen(list: &[(&str, bool)]) -> Vec<(String, bool)> {
    list.iter().map(|(text, end)| ((*text).to_owned(), *end)).collect()
}

use Verdict::{Continue, Interrupted, Pause};

#[tokio::test]
async fn more_than_a_filter_may_hold_ends_the_body() {
    let filter = Scripted::new(&[Pause, Pause]);
    let mut rig = Rig::bounded(&[&filter], 5);
    rig.feed("abc", false);
    rig.feed("def", false);
    assert!(matches!(rig.next().await, Err(BodyError::BufferFull)));
    assert_eq!(filter.seen(), seen(&[("abc", false)]));
}

#[tokio::test]
async fn a_filter_that_answers_ends_the_body() {
    let mut rig = Rig::new(&[&Scripted::new(&[Interrupted])]);
    rig.feed("abc", false);
    assert!(matches!(rig.next().await, Err(BodyError::Interrupted)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_elsewhere_ends_a_held_body() {
    let mut rig = Rig::new(&[&Scripted::new(&[Pause])]);
    rig.feed("abc", false);
    rig.assert_held().await;
    let status = StatusCode::FORBIDDEN;
    let reply = LocalReply { status, details: "no".into(), headers: HeaderMap::new(), body: Bytes::new() };
    rig.stream.reply_locally(reply);
    assert!(matches!(rig.next().await, Err(BodyError::Interrupted)));
}

#[tokio::test]
async fn a_filter_that_pauses_sees_everything_so_far_each_time() {
    let filter = Scripted::new(&[Pause, Pause, Continue]);
    let mut rig = Rig::new(&[&filter]);
    rig.feed("hello", false);
    rig.feed(" again ", false);
    rig.feed("hello", true);
    assert_eq!(rig.next().await.unwrap(), "hello again hello");
    assert_eq!(rig.next().await.unwrap(), "end");
    assert_eq!(
        filter.seen(),
        seen(&[("hello", false), ("hello again ", false), ("hello again hello", true)])
    );
}

#[tokio::test]
async fn what_was_let_out_is_not_seen_again() {
    let filter = Scripted::new(&[Pause, Continue, Continue]);
    let mut rig = Rig::new(&[&filter]);
    rig.feed("a", false);
    rig.feed("b", false);
    rig.feed("c", true);
    assert_eq!(rig.next().await.unwrap(), "ab");
    assert_eq!(rig.next().await.unwrap(), "c");
    assert_eq!(rig.next().await.unwrap(), "end");
    assert_eq!(filter.seen(), seen(&[("a", false), ("ab", false), ("c", true)]));
}

#[tokio::test]
async fn an_empty_end_is_still_shown() {
    let filter = Scripted::new(&[Continue, Continue]);
    let mut rig = Rig::new(&[&filter]);
    rig.feed("a", false);
    rig.feed("", true);
    assert_eq!(rig.next().await.unwrap(), "a");
    assert_eq!(rig.next().await.unwrap(), "end");
    assert_eq!(filter.seen(), seen(&[("a", false), ("", true)]));
}

#[tokio::test(start_paused = true)]
async fn a_resumed_filter_lets_go_what_it_held_to_the_next() {
    let (first, second) = (Scripted::new(&[Pause]), Scripted::new(&[]));
    let mut rig = Rig::new(&[&first, &second]);
    rig.feed("abc", true);
    rig.assert_held().await;
    assert!(second.seen().is_empty());
    first.0.resume.notify_one();
    assert_eq!(rig.next().await.unwrap(), "abc");
    assert_eq!(rig.next().await.unwrap(), "end");
    assert_eq!(second.seen(), seen(&[("abc", true)]));
}

#[tokio::test(start_paused = true)]
async fn two_filters_may_hold_parts_and_the_order_is_kept() {
    let (first, second) = (Scripted::new(&[Continue, Pause]), Scripted::new(&[Pause, Pause]));
    let mut rig = Rig::new(&[&first, &second]);
    rig.feed("a", false);
    rig.feed("b", true);
    rig.assert_held().await;
    second.0.resume.notify_one();
    assert_eq!(rig.next().await.unwrap(), "a");
    rig.assert_held().await;
    first.0.resume.notify_one();
    rig.assert_held().await;
    assert_eq!(second.seen(), seen(&[("a", false), ("b", true)]));
    second.0.resume.notify_one();
    assert_eq!(rig.next().await.unwrap(), "b");
    assert_eq!(rig.next().await.unwrap(), "end");
}

#[tokio::test]
async fn trailers_come_after_what_was_held() {
    let filter = Scripted::with_trailers(&[Pause], Continue);
    let mut rig = Rig::new(&[&filter]);
    rig.feed("abc", false);
    rig.feed_trailers();
    assert_eq!(rig.next().await.unwrap(), "abc");
    assert_eq!(rig.next().await.unwrap(), "trailers");
    assert_eq!(rig.next().await.unwrap(), "end");
    assert_eq!(filter.seen(), seen(&[("abc", false), ("trailers", true)]));
}

#[tokio::test(start_paused = true)]
async fn trailers_wait_for_a_filter_that_holds_the_body() {
    let (first, second) = (Scripted::new(&[Pause]), Scripted::with_trailers(&[], Pause));
    let mut rig = Rig::new(&[&first, &second]);
    rig.feed("abc", false);
    rig.feed_trailers();
    rig.assert_held().await;
    assert!(second.seen().is_empty());
    first.0.resume.notify_one();
    assert_eq!(rig.next().await.unwrap(), "abc");
    rig.assert_held().await;
    assert_eq!(second.seen(), seen(&[("abc", false), ("trailers", true)]));
    second.0.resume.notify_one();
    assert_eq!(rig.next().await.unwrap(), "trailers");
    assert_eq!(rig.next().await.unwrap(), "end");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_ahead_of_a_slow_reader() {
    let filter = Scripted::new(&[]);
    let mut rig = Rig::new(&[&filter]);
    for _ in 0..5 {
        rig.feed("a", false);
    }
    assert_eq!(rig.next().await.unwrap(), "a");
    // One chunk may wait in the slot, and one in front of it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(filter.seen().len() <= 2, "{:?}", filter.seen());
}

fn data(text: &'static str, end: bool) -> Piece {
    Piece::Data(Bytes::from_static(text.as_bytes()), end)
}

/// What a body comes to that is to be streamed: all frames, as [`next`] has them.
async fn streamed(first: Result<First, BodyError>) -> Result<Vec<String>, BodyError> {
    let First::Part(mut driven) = first? else { panic!("it is taken for whole") };
    let mut frames = Vec::new();
    while frames.last().is_none_or(|last| last != "end") {
        frames.push(next(&mut driven).await?);
    }
    Ok(frames)
}

#[tokio::test]
async fn a_body_that_is_there_at_once_passes_every_filter_and_is_known_whole() {
    let (one, two) = (Scripted::new(&[]), Scripted::new(&[]));
    let (first, _feed) = Rig::begin(&[&one, &two], vec![data("abcd", true)]).await;
    assert!(matches!(first.unwrap(), First::Whole(bytes) if bytes == "abcd"));
    assert_eq!((one.seen(), two.seen()), (seen(&[("abcd", true)]), seen(&[("abcd", true)])));
}

#[tokio::test]
async fn a_body_of_several_chunks_that_a_filter_held_is_known_whole() {
    let (first, _feed) =
        Rig::begin(&[&Scripted::new(&[Pause])], vec![data("ab", false), data("cd", true)]).await;
    assert!(matches!(first.unwrap(), First::Whole(bytes) if bytes == "abcd"));
}

#[tokio::test]
async fn a_whole_body_that_a_filter_holds_goes_on_when_the_filter_does() {
    let (holds, behind) = (Scripted::new(&[Pause]), Scripted::new(&[]));
    holds.0.resume.notify_one();
    let (first, _feed) = Rig::begin(&[&holds, &behind], vec![data("ab", true)]).await;
    assert!(matches!(first.unwrap(), First::Whole(bytes) if bytes == "ab"));
    assert_eq!(behind.seen(), seen(&[("ab", true)]));
}

#[tokio::test]
async fn a_whole_body_that_a_filter_answers_ends() {
    let (first, _feed) = Rig::begin(&[&Scripted::new(&[Interrupted])], vec![data("ab", true)]).await;
    assert!(matches!(first, Err(BodyError::Interrupted)));
}

#[tokio::test]
async fn a_body_that_goes_on_is_not_taken_for_whole() {
    let (first, feed) = Rig::begin(&[&Scripted::new(&[])], vec![data("ab", false)]).await;
    feed.send(data("cd", true)).unwrap();
    assert_eq!(streamed(first).await.unwrap(), ["ab", "cd", "end"]);
}

#[tokio::test]
async fn a_body_with_trailers_is_not_taken_for_whole() {
    let pieces = vec![data("ab", false), Piece::Trailers(HeaderMap::new())];
    let (first, _feed) = Rig::begin(&[&Scripted::with_trailers(&[], Continue)], pieces).await;
    assert_eq!(streamed(first).await.unwrap(), ["ab", "trailers", "end"]);
}

#[tokio::test]
async fn trailers_alone_are_not_taken_for_a_whole_body() {
    let pieces = vec![Piece::Trailers(HeaderMap::new())];
    let (first, _feed) = Rig::begin(&[&Scripted::with_trailers(&[], Continue)], pieces).await;
    assert_eq!(streamed(first).await.unwrap(), ["trailers", "end"]);
}

#[tokio::test]
async fn a_body_that_a_filter_removed_is_whole_and_empty() {
    let (first, _feed) = Rig::begin(&[&Scripted::new(&[])], vec![data("", true)]).await;
    assert!(matches!(first.unwrap(), First::Whole(bytes) if bytes.is_empty()));
}

#[tokio::test]
async fn bytes_are_counted_as_they_come() {
    let mut rig = Rig::new(&[&Scripted::new(&[])]);
    rig.feed("abc", true);
    rig.next().await.unwrap();
    assert_eq!(rig.stream.state().info.request_bytes, 3);
}
