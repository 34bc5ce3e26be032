//! Readers of one arriving body: fast, slow, gone, late.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::*;
use crate::cache::{
    Cache, CacheConfig, Lookup,
    tests::{Ask, body, hit, map},
};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

type Sent = Result<Frame<Bytes>, BoxError>;

/// An upstream's body that the test feeds, and whether it was dropped.
struct Source(mpsc::UnboundedReceiver<Sent>, Arc<AtomicBool>);

impl HttpBody for Source {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Sent>> {
        self.0.poll_recv(cx)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

/// A fetch under way: its first reader, how others join, its upstream.
struct Fetch {
    cache: Cache,
    ask: Ask,
    arrival: Arc<Arrival>,
    feed: Option<mpsc::UnboundedSender<Sent>>,
    cancelled: Arc<AtomicBool>,
}

impl Fetch {
    fn begin(cache: &Cache, fields: &[(&str, &str)]) -> (Self, Reader) {
        let ask = Ask::get("/x");
        let fill =
            cache.admit(&ask.request(), StatusCode::OK, &map(fields), ask.times(), cache.moment()).unwrap();
        let (feed, received) = mpsc::unbounded_channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let first = Arrival::first(fill, Box::pin(Source(received, Arc::clone(&cancelled))), 0);
        let arrival = Arc::clone(&first.arrival);
        (Self { cache: cache.clone(), ask, arrival, feed: Some(feed), cancelled }, first)
    }

    fn send(&self, bytes: impl Into<Bytes>) {
        let _ = self.feed.as_ref().unwrap().send(Ok(Frame::data(bytes.into())));
    }

    fn end(&mut self) {
        self.feed = None;
    }

    fn join(&self) -> Reader {
        self.arrival.join().unwrap().1
    }

    async fn stored(&self) -> Option<Bytes> {
        Some(body(hit(&self.cache, &self.ask).await?).await)
    }
}

fn cache(max_object_bytes: u64) -> Cache {
    Cache::open(&CacheConfig { max_object_bytes, ..Default::default() }).0
}

async fn next(reader: &mut Reader) -> Bytes {
    reader.frame().await.unwrap().unwrap().into_data().unwrap()
}

/// What comes without waiting.
fn now(reader: &mut Reader) -> Option<Bytes> {
    reader.frame().now_or_never().map(|frame| frame.unwrap().unwrap().into_data().unwrap())
}

async fn all(reader: Reader) -> Result<Bytes, BoxError> {
    reader.collect().await.map(http_body_util::Collected::to_bytes)
}

#[tokio::test]
async fn every_reader_gets_every_byte_whoever_asks_the_source() {
    let (mut fetch, mut first) = Fetch::begin(&cache(1 << 20), &[FRESH]);
    fetch.send("one ");
    assert_eq!(next(&mut first).await, "one ");
    let mut second = fetch.join();
    assert_eq!((now(&mut second).unwrap(), now(&mut second)), (Bytes::from("one "), None));
    fetch.send("two ");
    // The second asks, the first reads behind it.
    assert_eq!(next(&mut second).await, "two ");
    assert_eq!(next(&mut first).await, "two ");
    let third = fetch.join();
    fetch.send("three");
    fetch.end();
    for (reader, expected) in [(first, "three"), (second, "three"), (third, "one two three")] {
        assert_eq!(all(reader).await.unwrap(), expected);
    }
    assert_eq!(fetch.stored().await.unwrap(), "one two three");
    assert!(fetch.arrival.join().is_none(), "what is stored is looked up");
}

#[tokio::test]
async fn all_who_wait_are_woken_by_one_frame() {
    let (mut fetch, first) = Fetch::begin(&cache(1 << 20), &[FRESH]);
    let readers: Vec<_> =
        (0..20).map(|_| fetch.join()).chain([first]).map(|r| tokio::spawn(all(r))).collect();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        fetch.send("drip ");
    }
    fetch.end();
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap(), "drip ".repeat(10));
    }
}

#[tokio::test]
async fn the_fetch_goes_on_with_any_reader_and_ends_with_the_last() {
    let (fetch, mut first) = Fetch::begin(&cache(1 << 20), &[FRESH]);
    let mut second = fetch.join();
    fetch.send("a");
    assert_eq!(next(&mut first).await, "a");
    assert_eq!((next(&mut second).await, now(&mut second)), (Bytes::from("a"), None));
    drop(first);
    fetch.send("b");
    assert_eq!(next(&mut second).await, "b");
    assert!(!fetch.cancelled.load(Ordering::SeqCst));
    drop(second);
    assert!(fetch.cancelled.load(Ordering::SeqCst), "nobody reads any more");
    assert!(fetch.arrival.join().is_none() && fetch.stored().await.is_none());
    assert_eq!(fetch.cache.stats().abandoned, 1);
}

#[tokio::test]
async fn what_breaks_off_breaks_off_for_all_behind_what_came() {
    let (fetch, first) = Fetch::begin(&cache(1 << 20), &[FRESH]);
    let mut second = fetch.join();
    fetch.send("half");
    let _ = fetch.feed.as_ref().unwrap().send(Err("cut".into()));
    assert_eq!(all(first).await.unwrap_err().to_string(), "cut");
    assert_eq!(next(&mut second).await, "half");
    assert_eq!(all(second).await.unwrap_err().to_string(), "cut");
    assert!(fetch.stored().await.is_none());
}

#[tokio::test]
async fn trailers_reach_every_reader_of_the_whole() {
    let (mut fetch, first) = Fetch::begin(&cache(1 << 20), &[FRESH]);
    let (second, part) = (fetch.join(), fetch.join().part(0, 2));
    fetch.send("body");
    let _ = fetch.feed.as_ref().unwrap().send(Ok(Frame::trailers(map(&[("x-sum", "1")]))));
    fetch.end();
    for reader in [first, second] {
        let collected = reader.collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "1");
        assert_eq!(collected.to_bytes(), "body");
    }
    let collected = part.collect().await.unwrap();
    assert!(collected.trailers().is_none());
    assert_eq!(collected.to_bytes(), "bo");
}

#[tokio::test]
async fn a_part_is_cut_out_of_what_arrives() {
    let (mut fetch, first) = Fetch::begin(&cache(1 << 20), &[FRESH, ("content-length", "10")]);
    let mut part = fetch.join().part(3, 8);
    assert_eq!(part.size_hint().exact(), Some(5));
    fetch.send("0123");
    assert_eq!(next(&mut part).await, "3");
    fetch.send("456789");
    assert_eq!(next(&mut part).await, "4567");
    assert!(part.is_end_stream() && part.frame().await.is_none());
    // All of it came: it is stored before the source says that there is no more.
    assert_eq!(fetch.stored().await.unwrap(), "0123456789");
    fetch.end();
    assert_eq!(all(first).await.unwrap(), "0123456789");
}

#[tokio::test]
async fn who_stops_reading_what_is_stored_holds_nobody_back() {
    const SIZE: usize = 12 << 20;
    let (mut fetch, first) = Fetch::begin(&cache(SIZE as u64), &[FRESH]);
    let mut stopped = fetch.join();
    for _ in 0..SIZE >> 20 {
        fetch.send(vec![7; 1 << 20]);
    }
    fetch.end();
    assert_eq!(all(first).now_or_never().unwrap().unwrap().len(), SIZE, "without a wait");
    // It goes on where it stopped.
    assert_eq!(now(&mut stopped).unwrap().len(), SIZE);
}

#[tokio::test(start_paused = true)]
async fn who_stops_reading_what_is_not_stored_is_cut_off_and_memory_is_bounded() {
    const SIZE: usize = 64 << 20;
    let cache = cache(1 << 20);
    let before = cache.inner.budget.load(Ordering::Relaxed);
    let (mut fetch, first) = Fetch::begin(&cache, &[FRESH]);
    let mut stopped = fetch.join();
    for _ in 0..SIZE >> 16 {
        fetch.send(vec![7; 1 << 16]);
    }
    fetch.end();
    assert_eq!(next(&mut stopped).await.len(), 1 << 16);
    let arrival = Arc::clone(&fetch.arrival);
    let reads = tokio::spawn(all(first));
    let began = Instant::now();
    let mut most = 0;
    while !reads.is_finished() {
        most = most.max(arrival.state().kept.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(reads.await.unwrap().unwrap().len(), SIZE);
    assert!(most <= WINDOW + (1 << 16), "{most}");
    assert!((PATIENCE..PATIENCE * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(all(stopped).await.unwrap_err().to_string().contains("too slow"));
    assert_eq!(cache.inner.budget.load(Ordering::Relaxed), before);
    assert!(fetch.stored().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn who_reads_slowly_but_steadily_is_waited_for() {
    const SIZE: usize = 32 << 20;
    let (mut fetch, first) = Fetch::begin(&cache(1 << 20), &[FRESH]);
    let mut slow = fetch.join();
    for _ in 0..SIZE >> 16 {
        fetch.send(vec![7; 1 << 16]);
    }
    fetch.end();
    let fast = tokio::spawn(all(first));
    let mut read = 0;
    while let Some(frame) = slow.frame().await {
        read += frame.unwrap().into_data().unwrap().len();
        // A little above the pace.
        tokio::time::sleep(PATIENCE / 40).await;
    }
    assert_eq!(read, SIZE);
    assert_eq!(fast.await.unwrap().unwrap().len(), SIZE);
}

#[tokio::test(start_paused = true)]
async fn a_trickle_is_cut_off_although_it_moves() {
    const SIZE: usize = 32 << 20;
    let (mut fetch, first) = Fetch::begin(&cache(1 << 20), &[FRESH]);
    let mut trickle = fetch.join();
    for _ in 0..SIZE >> 16 {
        fetch.send(vec![7; 1 << 16]);
    }
    fetch.end();
    let fast = tokio::spawn(all(first));
    let mut end = Ok(());
    while let Some(frame) = trickle.frame().await {
        end = frame.map(drop);
        tokio::time::sleep(PATIENCE / 2).await;
    }
    assert!(end.is_err());
    assert_eq!(fast.await.unwrap().unwrap().len(), SIZE);
}

#[tokio::test]
async fn a_slow_reader_that_leaves_lets_the_others_go_on() {
    const SIZE: usize = 16 << 20;
    let (mut fetch, first) = Fetch::begin(&cache(1 << 20), &[FRESH]);
    let slow = fetch.join();
    for _ in 0..SIZE >> 16 {
        fetch.send(vec![7; 1 << 16]);
    }
    fetch.end();
    let fast = tokio::spawn(all(first));
    tokio::task::yield_now().await;
    assert!(!fast.is_finished());
    drop(slow);
    assert_eq!(fast.await.unwrap().unwrap().len(), SIZE);
}

#[tokio::test]
async fn what_is_not_stored_for_want_of_budget_is_read_all_the_same() {
    let cache = cache(1 << 30);
    cache.inner.budget.store(1000, Ordering::Relaxed);
    let (mut fetch, first) = Fetch::begin(&cache, &[FRESH]);
    let second = fetch.join();
    fetch.send(vec![1; 800]);
    fetch.send(vec![2; 800]);
    fetch.end();
    let (a, b) = tokio::join!(all(first), all(second));
    assert_eq!((a.unwrap().len(), b.unwrap().len()), (1600, 1600));
    assert_eq!(cache.inner.budget.load(Ordering::Relaxed), 1000);
    assert!(matches!(cache.lookup(&fetch.ask.request()).await, Lookup::Miss(_)));
}

#[test]
fn readers_on_other_runtimes_take_turns_at_the_source() {
    let (mut fetch, first) = Fetch::begin(&cache(1 << 20), &[FRESH]);
    let on_a_runtime = |reader: Reader| {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(all(reader)).unwrap()
        })
    };
    let readers: Vec<_> = (0..4).map(|_| on_a_runtime(fetch.join())).chain([on_a_runtime(first)]).collect();
    let mut expected = Vec::new();
    for i in 0..2000_u32 {
        let bytes = i.to_le_bytes().repeat(8);
        expected.extend_from_slice(&bytes);
        fetch.send(bytes);
    }
    fetch.end();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), expected);
    }
}
