//! The cache as the spine uses it.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;

use super::*;
use crate::exchange::{Body, BoxError, StreamBody};

pub(super) const NOW: u64 = 1_700_000_000_000;

pub(super) fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    headers
}

/// A client's request, owned.
#[derive(Clone)]
pub(super) struct Ask {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub partition: Option<&'static [u8]>,
    pub options: RouteCacheOptions,
    pub now_ms: u64,
}

impl Ask {
    pub fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            partition: None,
            options: RouteCacheOptions::default(),
            now_ms: NOW,
        }
    }

    pub fn with(mut self, fields: &[(&str, &str)]) -> Self {
        self.headers = map(fields);
        self
    }

    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    pub fn later(mut self, seconds: u64) -> Self {
        self.now_ms += seconds * 1000;
        self
    }

    pub fn of(mut self, principal: &'static [u8]) -> Self {
        self.partition = Some(principal);
        self
    }

    pub fn request(&self) -> CacheRequest<'_> {
        let (path, query) = self.path.split_once('?').map_or((&*self.path, None), |(p, q)| (p, Some(q)));
        CacheRequest {
            method: &self.method,
            host: "a.test",
            path,
            query,
            headers: &self.headers,
            scheme: "http",
            from_trusted: false,
            partition: self.partition,
            options: &self.options,
            now_ms: self.now_ms,
        }
    }

    pub fn times(&self) -> Times {
        Times { sent_ms: self.now_ms, received_ms: self.now_ms }
    }
}

/// What `Cache-Status` says, but for the key, which is another in each cache.
pub(super) fn said(headers: &HeaderMap) -> &str {
    let text = headers["cache-status"].to_str().unwrap();
    text.split_once("; key=").map_or(text, |(said, _)| said)
}

pub(super) fn memory_only() -> Cache {
    Cache::open(&CacheConfig::default()).0
}

/// The upstream answers `ask`; whether that was stored.
pub(super) fn fill(
    cache: &Cache,
    ask: &Ask,
    status: u16,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Result<bool, NoStore> {
    let status = StatusCode::from_u16(status).unwrap();
    let fill = cache.admit(&ask.request(), status, &map(fields), ask.times(), cache.moment())?;
    let before = cache.stats().stores;
    let chunks: Vec<Bytes> = body.chunks(1000).map(Bytes::copy_from_slice).collect();
    read(fill.through(frames(chunks)));
    Ok(cache.stats().stores > before)
}

/// An upstream's body that is all there.
pub(super) fn frames(chunks: Vec<Bytes>) -> StreamBody {
    let frames = chunks.into_iter().map(|chunk| Ok::<_, BoxError>(Frame::data(chunk)));
    Box::pin(http_body_util::StreamBody::new(futures_util::stream::iter(frames)))
}

/// Reads a body that need not wait.
pub(super) fn read(body: Body) -> Bytes {
    body.collect().now_or_never().expect("it is all there").unwrap().to_bytes()
}

pub(super) async fn hit(cache: &Cache, ask: &Ask) -> Option<Response<Body>> {
    match cache.lookup(&ask.request()).await {
        Lookup::Fresh(hit) => Some(hit.respond(&ask.request())),
        _ => None,
    }
}

pub(super) async fn body(response: Response<Body>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

#[tokio::test]
async fn a_stored_response_answers_with_its_age_and_status_and_without_what_was_the_first_callers() {
    let cache = memory_only();
    let ask = Ask::get("/x");
    assert!(matches!(cache.lookup(&ask.request()).await, Lookup::Miss(Miss::Uri)));
    let fields =
        [FRESH, ("set-cookie", "a=b"), ("ratelimit", "\"d\";r=1"), ("x-a", "1"), ("x-a", "2"), ("age", "3")];
    assert_eq!(fill(&cache, &ask, 200, &fields, b"hello"), Ok(true));
    let response = hit(&cache, &ask.clone().later(7)).await.unwrap();
    let headers = response.headers();
    assert_eq!(headers["age"], "10");
    assert_eq!(said(headers), "gatewright; hit; ttl=50");
    assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert!(!headers.contains_key("set-cookie") && !headers.contains_key("ratelimit"));
    assert_eq!(body(response).await, "hello");
    assert!(hit(&cache, &ask.later(57)).await.is_none());
}

#[tokio::test]
async fn what_ends_early_or_is_too_long_is_not_stored_and_gives_its_bytes_back() {
    let cache = Cache::open(&CacheConfig { max_object_bytes: 10_000, ..Default::default() }).0;
    let ask = Ask::get("/x");
    let before = cache.inner.budget.load(Ordering::Relaxed);
    let admit = |fields: &[(&str, &str)]| {
        cache.admit(&ask.request(), StatusCode::OK, &map(fields), ask.times(), cache.moment())
    };
    let half = || frames(vec![Bytes::from_static(b"half"), Bytes::from_static(b"half")]);
    let mut aborted = admit(&[FRESH]).unwrap().through(half());
    assert!(aborted.frame().now_or_never().flatten().unwrap().unwrap().is_data());
    assert!(cache.inner.budget.load(Ordering::Relaxed) < before);
    drop(aborted);
    read(admit(&[FRESH, ("content-length", "9")]).unwrap().through(half()));
    let long = frames(vec![Bytes::from(vec![0; 10_000]), Bytes::from_static(b"x")]);
    assert_eq!(read(admit(&[FRESH]).unwrap().through(long)).len(), 10_001);
    assert_eq!(admit(&[FRESH, ("content-length", "10001")]).err(), Some(NoStore::TooLarge));
    assert!(hit(&cache, &ask).await.is_none());
    assert_eq!(cache.inner.budget.load(Ordering::Relaxed), before);
    assert_eq!(cache.stats().abandoned, 3);
}

#[tokio::test]
async fn head_conditional_and_range_requests_are_answered_from_a_stored_get() {
    let cache = memory_only();
    let ask = Ask::get("/x");
    let fields = [FRESH, ("etag", "\"v1\""), ("content-type", "text/plain"), ("content-length", "10")];
    fill(&cache, &ask, 200, &fields, b"0123456789").unwrap();

    let head = hit(&cache, &ask.clone().method(Method::HEAD)).await.unwrap();
    assert_eq!((head.status(), &head.headers()["content-length"]), (StatusCode::OK, &"10".parse().unwrap()));
    assert!(body(head).await.is_empty());

    let same = hit(&cache, &ask.clone().with(&[("if-none-match", "W/\"v1\"")])).await.unwrap();
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(same.headers()["etag"], "\"v1\"");
    assert!(same.headers().contains_key("cache-control") && same.headers().contains_key("date"));
    assert!(!same.headers().contains_key("content-type") && !same.headers().contains_key("content-length"));
    let other = hit(&cache, &ask.clone().with(&[("if-none-match", "\"v2\"")])).await.unwrap();
    assert_eq!(other.status(), StatusCode::OK);

    for (range, status, content_range, expected) in [
        ("bytes=2-4", 206, Some("bytes 2-4/10"), "234"),
        ("bytes=-3", 206, Some("bytes 7-9/10"), "789"),
        ("bytes=10-", 416, Some("bytes */10"), ""),
        ("bytes=0-1,3-4", 200, None, "0123456789"),
    ] {
        let part = hit(&cache, &ask.clone().with(&[("range", range)])).await.unwrap();
        assert_eq!(part.status().as_u16(), status, "{range}");
        assert_eq!(part.headers().get("content-range").map(|v| v.to_str().unwrap()), content_range);
        assert_eq!(body(part).await, expected);
    }
    let outdated = ask.clone().with(&[("range", "bytes=2-4"), ("if-range", "\"v0\"")]);
    assert_eq!(hit(&cache, &outdated).await.unwrap().status(), StatusCode::OK);
    let judged_by_origin = ask.with(&[("if-match", "\"v1\"")]);
    let found = cache.lookup(&judged_by_origin.request()).await;
    assert!(matches!(found, Lookup::Bypass(Bypass::Precondition)));
}

#[tokio::test]
async fn variants_stand_beside_each_other_and_the_newest_of_the_same_wins() {
    let cache = memory_only();
    let ask = |lang: &str| Ask::get("/x").with(&[("accept-language", lang)]);
    let fields = [FRESH, ("vary", "Accept-Language")];
    fill(&cache, &ask("de"), 200, &fields, b"hallo").unwrap();
    assert!(matches!(cache.lookup(&ask("en").request()).await, Lookup::Miss(Miss::Vary)));
    fill(&cache, &ask("en"), 200, &fields, b"hello").unwrap();
    assert_eq!(body(hit(&cache, &ask("de")).await.unwrap()).await, "hallo");
    fill(&cache, &ask("de"), 200, &fields, b"moin").unwrap();
    assert_eq!(body(hit(&cache, &ask("de")).await.unwrap()).await, "moin");
    assert_eq!(body(hit(&cache, &ask("en")).await.unwrap()).await, "hello");
    assert_eq!(cache.stats().memory_entries, 1);
    // An origin may forget `Vary` in its default response (RFC 9111, 4.1).
    fill(&cache, &ask("fr"), 200, &[FRESH], b"all").unwrap();
    assert_eq!(body(hit(&cache, &ask("de")).await.unwrap()).await, "moin");
    assert_eq!(body(hit(&cache, &ask("it")).await.unwrap()).await, "all");
    fill(&cache, &ask("fr").later(60), 200, &[FRESH], b"at last").unwrap();
    assert_eq!(body(hit(&cache, &ask("de").later(60)).await.unwrap()).await, "at last");
}

#[tokio::test]
async fn two_users_never_see_each_others_answers() {
    let cache = memory_only();
    let anyone = Ask::get("/me");
    fill(&cache, &anyone.clone().of(b"anna"), 200, &[FRESH], b"anna's").unwrap();
    assert_eq!(body(hit(&cache, &anyone.clone().of(b"anna")).await.unwrap()).await, "anna's");
    for other in [anyone.clone(), anyone.clone().of(b"bert"), anyone.clone().with(&[("authorization", "x")])]
    {
        assert!(hit(&cache, &other).await.is_none());
    }
    let token = anyone.clone().with(&[("authorization", "Bearer 1")]);
    assert_eq!(fill(&cache, &token, 200, &[FRESH], b"token's"), Err(NoStore::Credentials));
    // What was stored for callers without credentials is not for those with some, unless it says so.
    fill(&cache, &anyone, 200, &[FRESH], b"anonymous").unwrap();
    assert!(matches!(cache.lookup(&token.request()).await, Lookup::Miss(Miss::Credentials)));
    fill(&cache, &token, 200, &[("cache-control", "public, max-age=60")], b"public").unwrap();
    for all in [anyone.clone(), token, anyone.clone().of(b"bert")] {
        assert_eq!(body(hit(&cache, &all).await.unwrap()).await, "public");
    }
}

#[tokio::test]
async fn a_declared_credential_counts_like_authorization_and_a_shared_route_ignores_both() {
    let cache = memory_only();
    let mut ask = Ask::get("/x").with(&[("x-api-key", "k")]);
    ask.options.credentials = Arc::new([HeaderName::from_static("x-api-key")]);
    assert_eq!(fill(&cache, &ask, 200, &[FRESH], b"x"), Err(NoStore::Credentials));
    ask.options.shared = true;
    assert_eq!(fill(&cache, &ask, 200, &[FRESH], b"x"), Ok(true));
    assert!(hit(&cache, &ask.of(b"anna")).await.is_some());
}

#[tokio::test]
async fn unkeyed_fields_and_bodies_cannot_poison() {
    let cache = memory_only();
    let evil = Ask::get("/x").with(&[("content-length", "3"), ("x-forwarded-host", "evil.test")]);
    assert!(matches!(cache.lookup(&evil.request()).await, Lookup::Bypass(Bypass::RequestBody)));
    assert_eq!(fill(&cache, &evil, 200, &[FRESH], b"evil"), Err(NoStore::RequestBody));
    assert!(hit(&cache, &Ask::get("/x")).await.is_none());
}

#[tokio::test]
async fn a_304_renews_fields_and_freshness() {
    let cache = memory_only();
    let ask = Ask::get("/x");
    let fields = [FRESH, ("etag", "\"a\""), ("x-a", "1"), ("x-b", "1")];
    fill(&cache, &ask, 200, &fields, b"hello").unwrap();
    let later = ask.clone().later(100);
    let Lookup::Stale(found, Validate::Stale) = cache.lookup(&later.request()).await else { panic!() };
    let conditions = found.conditions(&HeaderMap::new()).into_vec();
    assert_eq!(conditions, [(http::header::IF_NONE_MATCH, "\"a\"".parse().unwrap())]);
    let new =
        map(&[("etag", "\"a\""), ("x-a", "2"), ("cache-control", "max-age=30"), ("content-length", "0")]);
    let renewed =
        cache.refresh(&later.request(), found, &new, later.times()).unwrap().respond(&later.request());
    assert_eq!(
        (&renewed.headers()["x-a"], &renewed.headers()["x-b"]),
        (&"2".parse().unwrap(), &"1".parse().unwrap())
    );
    // The origin itself has validated it (RFC 9111, 5.1).
    assert!(!renewed.headers().contains_key("age"));
    assert_eq!(said(renewed.headers()), "gatewright; fwd=stale; fwd-status=304; stored; ttl=30");
    assert_eq!(body(renewed).await, "hello");
    let after = hit(&cache, &later.clone().later(29)).await.unwrap();
    assert_eq!(after.headers()["x-a"], "2");
    assert!(hit(&cache, &later.later(30)).await.is_none());
    assert_eq!(cache.stats().refreshes, 1);
}

#[tokio::test]
async fn a_304_about_another_response_is_not_used() {
    let cache = memory_only();
    let ask = Ask::get("/x");
    fill(&cache, &ask, 200, &[("cache-control", "no-cache"), ("etag", "\"a\"")], b"hello").unwrap();
    let Lookup::Stale(found, _) = cache.lookup(&ask.request()).await else { panic!() };
    assert!(cache.refresh(&ask.request(), found, &map(&[("etag", "\"b\"")]), ask.times()).is_none());
    assert!(matches!(cache.lookup(&ask.request()).await, Lookup::Miss(_)));
}

#[tokio::test]
async fn a_304_that_forbids_storing_answers_once() {
    let cache = memory_only();
    let ask = Ask::get("/x");
    fill(&cache, &ask, 200, &[FRESH, ("etag", "\"a\"")], b"hello").unwrap();
    let later = ask.later(100);
    let Lookup::Stale(found, _) = cache.lookup(&later.request()).await else { panic!() };
    let new = map(&[("cache-control", "no-store")]);
    let once = cache.refresh(&later.request(), found, &new, later.times()).unwrap();
    assert_eq!(body(once.respond(&later.request())).await, "hello");
    assert!(matches!(cache.lookup(&later.request()).await, Lookup::Miss(_)));
}

#[tokio::test]
async fn a_newer_response_that_may_not_be_stored_takes_the_older_one_away() {
    let cache = memory_only();
    let ask = Ask::get("/x");
    fill(&cache, &ask, 200, &[FRESH], b"old").unwrap();
    let refused = fill(&cache, &ask, 200, &[("cache-control", "no-store")], b"new");
    assert_eq!(refused, Err(NoStore::ResponseNoStore));
    assert!(hit(&cache, &ask).await.is_none());
    // A refusal that lies in the request says nothing of the response.
    fill(&cache, &ask, 200, &[FRESH], b"old").unwrap();
    let private = ask.clone().with(&[("cache-control", "no-store")]);
    assert_eq!(fill(&cache, &private, 200, &[FRESH], b"new"), Err(NoStore::RequestNoStore));
    assert!(hit(&cache, &ask).await.is_some());
}

#[tokio::test]
async fn a_head_renews_the_stored_get_or_outdates_it() {
    let cache = memory_only();
    let ask = Ask::get("/x");
    let head = ask.clone().method(Method::HEAD).later(100);
    let admit = |fields: &[(&str, &str)]| {
        cache.admit(&head.request(), StatusCode::OK, &map(fields), head.times(), cache.moment()).err()
    };
    fill(&cache, &ask, 200, &[FRESH, ("etag", "\"a\"")], b"hello").unwrap();
    let same = [("etag", "\"a\""), ("cache-control", "max-age=60"), ("content-length", "5"), ("x-new", "1")];
    assert_eq!(admit(&same), Some(NoStore::Method));
    let renewed = hit(&cache, &ask.clone().later(120)).await.unwrap();
    assert_eq!(renewed.headers()["x-new"], "1");
    assert_eq!(body(renewed).await, "hello");
    admit(&[("etag", "\"a\""), ("content-length", "6")]);
    assert!(matches!(cache.lookup(&ask.request()).await, Lookup::Miss(_)));
}

#[tokio::test]
async fn only_if_cached_is_not_forwarded() {
    let cache = memory_only();
    let ask = Ask::get("/x").with(&[("cache-control", "only-if-cached")]);
    assert!(matches!(cache.lookup(&ask.request()).await, Lookup::NotCached));
    fill(&cache, &Ask::get("/x"), 200, &[FRESH, ("etag", "\"a\"")], b"hello").unwrap();
    assert!(hit(&cache, &ask).await.is_some());
    assert!(matches!(cache.lookup(&ask.later(100).request()).await, Lookup::NotCached));
}

#[tokio::test]
async fn one_request_refreshes_while_all_are_answered_stale() {
    let cache = memory_only();
    let ask = Ask::get("/x");
    fill(&cache, &ask, 200, &[("cache-control", "max-age=60, stale-while-revalidate=60")], b"hello").unwrap();
    let later = ask.later(70);
    let Lookup::Revalidating(first, true) = cache.lookup(&later.request()).await else { panic!() };
    assert!(matches!(cache.lookup(&later.request()).await, Lookup::Revalidating(_, false)));
    let response = first.respond(&later.request());
    assert_eq!(said(response.headers()), "gatewright; hit; ttl=-10; detail=stale");
}

#[tokio::test]
async fn a_stale_response_stands_in_for_a_failed_upstream() {
    let cache = memory_only();
    let ask = Ask::get("/x");
    fill(&cache, &ask, 200, &[("cache-control", "max-age=60, stale-if-error=60")], b"hello").unwrap();
    for (later, usable) in [(100, true), (121, false)] {
        let later = ask.clone().later(later);
        let Lookup::Stale(found, _) = cache.lookup(&later.request()).await else { panic!() };
        assert_eq!(found.on_error(&later.request()).is_ok(), usable);
    }
}

#[tokio::test]
async fn an_unsafe_method_invalidates_its_target_and_where_its_answer_points_on_the_same_host() {
    let cache = memory_only();
    let put = Ask::get("/pets").method(Method::PUT);
    let answer = map(&[("location", "/pets/7?x=1"), ("content-location", "http://b.test/elsewhere")]);
    let paths = ["/pets", "/pets?page=2", "/pets/7", "/elsewhere", "/petsy"];
    let left = |status: u16| {
        let (cache, put, answer) = (cache.clone(), put.clone(), answer.clone());
        async move {
            for path in paths {
                fill(&cache, &Ask::get(path), 200, &[FRESH], b"x").unwrap();
            }
            fill(&cache, &Ask::get("/pets").of(b"anna"), 200, &[FRESH], b"x").unwrap();
            cache.invalidate(&put.request(), StatusCode::from_u16(status).unwrap(), &answer).await;
            let mut left = Vec::new();
            for path in paths {
                left.extend(hit(&cache, &Ask::get(path)).await.map(|_| path));
            }
            left.extend(hit(&cache, &Ask::get("/pets").of(b"anna")).await.map(|_| "anna's"));
            left
        }
    };
    assert_eq!(left(500).await.len(), 6);
    assert_eq!(left(403).await.len(), 6);
    assert_eq!(left(201).await, ["/elsewhere", "/petsy"]);
    assert_eq!(left(303).await, ["/elsewhere", "/petsy"]);
    let get = Ask::get("/elsewhere");
    cache.invalidate(&get.request(), StatusCode::OK, &HeaderMap::new()).await;
    assert!(hit(&cache, &get).await.is_some());
}

#[tokio::test]
async fn what_was_fetched_before_an_invalidation_is_not_stored_after_it() {
    let cache = memory_only();
    let ask = Ask::get("/x");
    let start = || {
        let moment = cache.moment();
        cache.admit(&ask.request(), StatusCode::OK, &map(&[FRESH]), ask.times(), moment).unwrap()
    };
    let stores = |fill: Fill| {
        let before = cache.stats().stores;
        read(fill.through(frames(vec![Bytes::from_static(b"x")])));
        cache.stats().stores > before
    };
    let fill = start();
    cache.invalidate(&ask.clone().method(Method::POST).request(), StatusCode::OK, &HeaderMap::new()).await;
    assert!(!stores(fill));
    let fill = start();
    cache.purge(Purge { host: None, scope: Scope::All }).await.unwrap();
    assert!(!stores(fill));
    assert!(stores(start()));
}

#[tokio::test]
async fn a_purge_drops_what_it_covers_and_nothing_else() {
    let cache = memory_only();
    let purge = |host: Option<&str>, scope| {
        let (cache, host) = (cache.clone(), host.map(str::to_owned));
        async move {
            for path in ["/a", "/a?q=1", "/a/b", "/c"] {
                fill(&cache, &Ask::get(path), 200, &[FRESH], b"x").unwrap();
            }
            cache.purge(Purge { host, scope }).await.unwrap().memory
        }
    };
    assert_eq!(purge(None, Scope::Path("/a".to_owned())).await, 2);
    assert_eq!(purge(Some("a.test"), Scope::Prefix("/a".to_owned())).await, 3);
    assert_eq!(purge(Some("b.test"), Scope::All).await, 0);
    assert!(hit(&cache, &Ask::get("/a")).await.is_some());
    assert_eq!(purge(None, Scope::All).await, 4);
    assert!(hit(&cache, &Ask::get("/c")).await.is_none());
}

#[tokio::test]
async fn memory_keeps_to_its_bytes_and_drops_what_is_too_large() {
    let cache = Cache::open(&CacheConfig { memory_bytes: 1 << 20, ..Default::default() }).0;
    assert_eq!(fill(&cache, &Ask::get("/large"), 200, &[FRESH], &vec![0; 600_000]), Ok(false));
    for i in 0..500 {
        fill(&cache, &Ask::get(&format!("/{i}")), 200, &[FRESH], &[0; 10_000]).unwrap();
    }
    for i in 0..100 {
        let ask = Ask::get("/many").with(&[("a", &i.to_string())]);
        assert_eq!(fill(&cache, &ask, 200, &[FRESH, ("vary", "a")], &[0; 50_000]), Ok(true));
        assert!(hit(&cache, &ask).await.is_some());
    }
    let stats = cache.stats();
    assert!(stats.memory_bytes <= 1 << 20, "{}", stats.memory_bytes);
    assert!(stats.memory_entries > 50 && stats.evictions > 300, "{stats:?}");
}

#[test]
fn a_hit_in_memory_is_ready_when_first_polled_and_outside_any_runtime() {
    let cache = memory_only();
    let ask = Ask::get("/x");
    fill(&cache, &ask, 200, &[FRESH], b"hello").unwrap();
    let request = ask.request();
    let lookup = std::pin::pin!(cache.lookup(&request));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(matches!(lookup.poll(&mut cx), std::task::Poll::Ready(Lookup::Fresh(_))));
}
