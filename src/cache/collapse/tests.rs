//! Who leads, who follows, what followers get.

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::{flights::PASS_SECONDS, *};
use crate::{
    cache::tests::{Ask, body, fill, hit, map, memory_only, said},
    exchange::{Body, BoxError},
    problem,
};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

/// Requests by the real clock: who waited is judged by it.
fn get(path: &str) -> Ask {
    Ask { now_ms: exchange::now_ms(), ..Ask::get(path) }
}

async fn turn(cache: &Cache, ask: &Ask) -> Turn {
    let mut looked = cache.look_again(&ask.request()).await;
    cache.turn(&ask.request(), &mut looked)
}

async fn lead(cache: &Cache, ask: &Ask) -> Flight {
    match turn(cache, ask).await {
        Turn::Lead(flight) => flight,
        _ => panic!("it does not lead"),
    }
}

async fn follow(cache: &Cache, ask: &Ask) -> tokio::task::JoinHandle<Got> {
    let Turn::Follow(follow) = turn(cache, ask).await else { panic!("it does not follow") };
    let (cache, ask) = (cache.clone(), ask.clone());
    tokio::spawn(async move {
        match follow.outcome(&cache, &ask.request()).await {
            Outcome::Lead(flight) => Got::Lead(flight),
            Outcome::Shared(hit) => Got::Shared(hit.respond(&ask.request())),
            Outcome::Failed(problem) => Got::Failed(problem.map(|problem| problem.kind.slug)),
            Outcome::Alone => Got::Alone,
        }
    })
}

enum Got {
    Lead(Flight),
    Shared(Response<Body>),
    Failed(Option<&'static str>),
    Alone,
}

impl Got {
    #[track_caller]
    fn shared(self) -> Response<Body> {
        match self {
            Self::Shared(response) => response,
            Self::Lead(_) => panic!("it leads"),
            Self::Failed(why) => panic!("it failed: {why:?}"),
            Self::Alone => panic!("it goes alone"),
        }
    }
}

/// A leader's answer: its body as its own client reads it, and what feeds it.
fn answer(
    cache: &Cache,
    ask: &Ask,
    flight: Flight,
    fields: &[(&str, &str)],
) -> (Body, mpsc::UnboundedSender<&'static str>) {
    let times = ask.times();
    let mut fill = cache.admit(&ask.request(), StatusCode::OK, &map(fields), times, cache.moment()).unwrap();
    assert!(fill.is_reusable());
    fill.lead(flight);
    let (feed, mut received) = mpsc::unbounded_channel::<&str>();
    let frames = futures_util::stream::poll_fn(move |cx| {
        let bytes = |text: &'static str| Ok::<_, BoxError>(Frame::data(Bytes::from_static(text.as_bytes())));
        received.poll_recv(cx).map(|text| text.map(bytes))
    });
    (fill.through(Box::pin(http_body_util::StreamBody::new(frames))), feed)
}

#[tokio::test]
async fn followers_read_while_it_arrives_and_say_that_they_were_collapsed() {
    let (cache, ask) = (memory_only(), get("/x"));
    let flight = lead(&cache, &ask).await;
    let early = follow(&cache, &ask).await;
    let (own, feed) = answer(&cache, &ask, flight, &[FRESH, ("etag", "\"a\""), ("set-cookie", "a=b")]);
    let mut early = early.await.unwrap().shared();
    assert_eq!(said(early.headers()), "gatewright; fwd=uri-miss; fwd-status=200; collapsed");
    assert_eq!(early.headers()["age"], "0");
    assert!(!early.headers().contains_key("set-cookie"), "that was the leader's");
    feed.send("first ").unwrap();
    assert_eq!(early.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "first ");
    let late = follow(&cache, &ask).await.await.unwrap().shared();
    feed.send("last").unwrap();
    drop(feed);
    assert_eq!(body(late).await, "first last");
    assert_eq!(body(early).await, "last");
    assert_eq!(own.collect().await.unwrap().to_bytes(), "first last");
    assert!(hit(&cache, &ask).await.is_some());
    assert_eq!(cache.stats().collapsed, 2);
}

#[tokio::test]
async fn a_leader_that_vanishes_behind_its_head_takes_nothing_with_it() {
    let (cache, ask) = (memory_only(), get("/x"));
    let flight = lead(&cache, &ask).await;
    let follower = follow(&cache, &ask).await;
    let (own, feed) = answer(&cache, &ask, flight, &[FRESH]);
    // Before the follower had a chance to look.
    drop(own);
    feed.send("all").unwrap();
    drop(feed);
    assert_eq!(body(follower.await.unwrap().shared()).await, "all");
}

#[tokio::test]
async fn a_fetch_ends_when_its_leader_and_all_who_wait_have_vanished() {
    let (cache, ask) = (memory_only(), get("/x"));
    let flight = lead(&cache, &ask).await;
    let follower = follow(&cache, &ask).await;
    let (own, feed) = answer(&cache, &ask, flight, &[FRESH]);
    drop(own);
    assert!(!feed.is_closed(), "someone waits");
    follower.abort();
    assert!(follower.await.is_err());
    assert!(feed.is_closed(), "nobody waits");
    lead(&cache, &ask).await;
}

#[tokio::test]
async fn a_leader_that_dies_is_followed_by_one_that_lived() {
    let (cache, ask) = (memory_only(), get("/x"));
    let flight = lead(&cache, &ask).await;
    let followers = [follow(&cache, &ask).await, follow(&cache, &ask).await, follow(&cache, &ask).await];
    drop(flight);
    let mut followers: Vec<_> = followers.into_iter().collect();
    let heir = futures_util::future::select_all(&mut followers).await;
    let (Ok(Got::Lead(flight)), place, _) = heir else { panic!("nobody leads") };
    followers.remove(place);
    let (_own, feed) = answer(&cache, &ask, flight, &[FRESH]);
    feed.send("x").unwrap();
    drop(feed);
    for follower in followers {
        assert_eq!(body(follower.await.unwrap().shared()).await, "x");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_says_nothing_is_not_waited_for_without_end() {
    let (cache, ask) = (memory_only(), get("/x"));
    let silent = lead(&cache, &ask).await;
    let follower = follow(&cache, &ask).await;
    let Got::Lead(second) = follower.await.unwrap() else { panic!("it goes on waiting") };
    // The late end of the first does not take the second's place away.
    drop(silent);
    let follower = follow(&cache, &ask).await;
    drop(second);
    assert!(matches!(follower.await.unwrap(), Got::Lead(_)));
}

#[tokio::test]
async fn what_is_not_shared_releases_all_at_once_and_is_not_waited_for_for_a_while() {
    let (cache, ask) = (memory_only(), get("/x"));
    let flight = lead(&cache, &ask).await;
    let followers = [follow(&cache, &ask).await, follow(&cache, &ask).await];
    flight.pass(ask.now_ms);
    for follower in followers {
        assert!(matches!(follower.await.unwrap(), Got::Alone));
    }
    let Turn::Pass(pass) = turn(&cache, &ask).await else { panic!("someone waits") };
    assert!(matches!(turn(&cache, &get("/y")).await, Turn::Lead(_)));
    let later = |seconds| ask.clone().later(seconds);
    assert!(matches!(turn(&cache, &later(PASS_SECONDS + 1)).await, Turn::Lead(_)));
    pass.extend(later(PASS_SECONDS).now_ms);
    assert!(matches!(turn(&cache, &later(PASS_SECONDS + 1)).await, Turn::Pass(_)));
}

#[tokio::test]
async fn an_error_says_nothing_of_the_next_answer() {
    let (cache, ask) = (memory_only(), get("/x"));
    let flight = lead(&cache, &ask).await;
    let follower = follow(&cache, &ask).await;
    flight.leave();
    assert!(matches!(follower.await.unwrap(), Got::Alone));
    lead(&cache, &ask).await;
}

#[tokio::test]
async fn those_who_wait_for_a_failed_upstream_fail_with_it() {
    let (cache, ask) = (memory_only(), get("/x"));
    for (problem, slug) in
        [(&problem::UPSTREAM_TIMEOUT, "upstream-timeout"), (&problem::INTERNAL, "internal")]
    {
        let flight = lead(&cache, &ask).await;
        let follower = follow(&cache, &ask).await;
        flight.fail(Some(Arc::new(Problem::new(problem, "x"))));
        assert!(matches!(follower.await.unwrap(), Got::Failed(Some(got)) if got == slug));
    }
    let flight = lead(&cache, &ask).await;
    let follower = follow(&cache, &ask).await;
    flight.fail(None);
    assert!(matches!(follower.await.unwrap(), Got::Failed(None)));
}

#[tokio::test]
async fn those_who_wait_for_a_validation_are_answered_with_what_it_renewed() {
    let (cache, ask) = (memory_only(), get("/x"));
    fill(&cache, &ask, 200, &[FRESH, ("etag", "\"a\"")], b"hello").unwrap();
    let later = ask.clone().later(100);
    let flight = lead(&cache, &later).await;
    let follower = follow(&cache, &later).await;
    let Lookup::Stale(stale, _) = cache.lookup(&later.request()).await else { panic!() };
    cache.refresh(&later.request(), stale, &map(&[("etag", "\"a\"")]), later.times()).unwrap();
    flight.renewed();
    let response = follower.await.unwrap().shared();
    assert_eq!(said(response.headers()), "gatewright; fwd=stale; fwd-status=200; collapsed");
    assert_eq!(body(response).await, "hello");
}

#[tokio::test]
async fn what_is_validated_at_each_use_is_not_waited_for() {
    let (cache, ask) = (memory_only(), get("/x"));
    for directives in ["no-cache", "max-age=0"] {
        fill(&cache, &ask, 200, &[("cache-control", directives), ("etag", "\"a\"")], b"hello").unwrap();
        assert!(matches!(turn(&cache, &ask).await, Turn::Alone), "{directives}");
    }
}

#[tokio::test]
async fn variants_gather_behind_leaders_of_their_own() {
    let cache = memory_only();
    let ask = |lang: &str| get("/x").with(&[("accept-language", lang)]);
    let fields = [FRESH, ("vary", "Accept-Language")];
    let flight = lead(&cache, &ask("de")).await;
    let german = follow(&cache, &ask("de")).await;
    let mut english = vec![follow(&cache, &ask("en")).await, follow(&cache, &ask("en")).await];
    let (_own, feed) = answer(&cache, &ask("de"), flight, &fields);
    feed.send("hallo").unwrap();
    let (heir, place, _) = futures_util::future::select_all(&mut english).await;
    let Ok(Got::Lead(flight)) = heir else { panic!("nobody leads the variant") };
    english.remove(place);
    let (_own, feed_english) = answer(&cache, &ask("en"), flight, &fields);
    feed_english.send("hello").unwrap();
    drop(feed);
    assert_eq!(body(german.await.unwrap().shared()).await, "hallo");
    // With one variant stored, those of another come to their leader at once.
    assert!(matches!(turn(&cache, &ask("en")).await, Turn::Follow(_)));
    drop(feed_english);
    assert_eq!(body(english.remove(0).await.unwrap().shared()).await, "hello");
}

#[tokio::test]
async fn heads_conditions_and_ranges_follow_but_do_not_lead() {
    let (cache, ask) = (memory_only(), get("/x"));
    let asks = [
        ask.clone().method(Method::HEAD),
        ask.clone().with(&[("if-none-match", "\"a\"")]),
        ask.clone().with(&[("range", "bytes=2-4")]),
        ask.clone().with(&[("range", "bytes=20-")]),
        ask.clone().with(&[("range", "bytes=2-4"), ("if-range", "\"b\"")]),
    ];
    for ask in &asks {
        assert!(matches!(turn(&cache, ask).await, Turn::Alone));
    }
    let flight = lead(&cache, &ask).await;
    let mut followers = Vec::new();
    for ask in &asks {
        followers.push(follow(&cache, ask).await);
    }
    let (_own, feed) = answer(&cache, &ask, flight, &[FRESH, ("etag", "\"a\""), ("content-length", "10")]);
    feed.send("01234").unwrap();
    let mut got = Vec::new();
    for follower in followers {
        got.push(follower.await.unwrap().shared());
    }
    feed.send("56789").unwrap();
    drop(feed);
    let expected = [(200, ""), (304, ""), (206, "234"), (416, ""), (200, "0123456789")];
    for (response, (status, expected)) in got.into_iter().zip(expected) {
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(body(response).await, expected);
    }
}

#[tokio::test]
async fn a_range_far_ahead_or_of_an_unknown_length_is_not_waited_for() {
    let (cache, ask) = (memory_only(), get("/x"));
    for (length, range) in [(Some("2000000"), "bytes=1999999-"), (None, "bytes=0-1")] {
        let flight = lead(&cache, &ask).await;
        let follower = follow(&cache, &ask.clone().with(&[("range", range)])).await;
        let fields: Vec<_> =
            [FRESH].into_iter().chain(length.map(|length| ("content-length", length))).collect();
        let (_own, _feed) = answer(&cache, &ask, flight, &fields);
        assert!(matches!(follower.await.unwrap(), Got::Alone), "{range}");
    }
}

#[tokio::test]
async fn what_was_invalidated_while_it_arrives_is_not_shared_any_more() {
    let (cache, ask) = (memory_only(), get("/x"));
    let flight = lead(&cache, &ask).await;
    let before = follow(&cache, &ask).await;
    let (_own, feed) = answer(&cache, &ask, flight, &[FRESH]);
    let before = before.await.unwrap().shared();
    let post = get("/x").method(Method::POST);
    cache.invalidate(&post.request(), StatusCode::OK, &HeaderMap::new()).await;
    let after = follow(&cache, &ask).await;
    assert!(matches!(after.await.unwrap(), Got::Lead(_)), "it asks anew");
    feed.send("old").unwrap();
    drop(feed);
    assert_eq!(body(before).await, "old");
    assert!(hit(&cache, &ask).await.is_none());
}

#[tokio::test]
async fn requests_with_an_answer_of_their_own_go_alone_and_principals_do_not_mix() {
    let cache = memory_only();
    let ask = get("/x");
    let _flight = lead(&cache, &ask).await;
    for field in [
        ("authorization", "x"),
        ("cache-control", "no-store"),
        ("cache-control", "no-cache"),
        ("cache-control", "max-age=0"),
        ("pragma", "no-cache"),
    ] {
        assert!(matches!(turn(&cache, &ask.clone().with(&[field])).await, Turn::Alone), "{field:?}");
    }
    assert!(matches!(turn(&cache, &ask.clone().method(Method::POST)).await, Turn::Alone));
    let _anna = lead(&cache, &ask.clone().of(b"anna")).await;
    let _bert = lead(&cache, &ask.clone().of(b"bert")).await;
    assert!(matches!(turn(&cache, &ask.of(b"anna")).await, Turn::Follow(_)));
}

#[test]
fn followers_on_other_runtimes_get_what_the_leader_fetched() {
    let cache = memory_only();
    let ask = get("/x");
    let Some(Turn::Lead(flight)) = turn(&cache, &ask).now_or_never() else { panic!() };
    let followers: Vec<_> = (0..4)
        .map(|_| {
            let (cache, ask) = (cache.clone(), ask.clone());
            let Some(Turn::Follow(follow)) = turn(&cache, &ask).now_or_never() else { panic!() };
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(async {
                    match follow.outcome(&cache, &ask.request()).await {
                        Outcome::Shared(hit) => body(hit.respond(&ask.request())).await,
                        _ => panic!("it was not shared"),
                    }
                })
            })
        })
        .collect();
    let (own, feed) = answer(&cache, &ask, flight, &[FRESH]);
    drop(own);
    for _ in 0..100 {
        feed.send("0123456789").unwrap();
    }
    drop(feed);
    for follower in followers {
        assert_eq!(follower.join().unwrap(), "0123456789".repeat(100));
    }
}
