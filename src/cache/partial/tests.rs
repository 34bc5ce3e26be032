//! Parts kept, served, completed.

use http::Method;

use super::*;
use crate::cache::{
    CacheConfig, NoStore,
    tests::{Ask, body, fill, frames, hit, map, memory_only, read, said},
};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");
const ETAG: (&str, &str) = ("etag", "\"a\"");
const TEXT: &str = "0123456789abcdefghij";

fn asks(range: &str) -> Ask {
    Ask::get("/x").with(&[("range", range)])
}

/// The upstream answers `ask` with bytes `start` to before `end` of the text; whether that was stored.
fn part(
    cache: &Cache,
    ask: &Ask,
    (start, end): (usize, usize),
    fields: &[(&str, &str)],
) -> Result<bool, NoStore> {
    let range = format!("bytes {start}-{}/{}", end - 1, TEXT.len());
    let fields: Vec<_> = fields.iter().copied().chain([("content-range", &*range)]).collect();
    fill(cache, ask, 206, &fields, &TEXT.as_bytes()[start..end])
}

async fn found(cache: &Cache, ask: &Ask) -> Option<Response<Body>> {
    hit(cache, ask).await
}

async fn misses(cache: &Cache, ask: &Ask) -> Miss {
    match cache.lookup(&ask.request()).await {
        Lookup::Miss(miss) => miss,
        found => panic!("{found:?}"),
    }
}

async fn partial(cache: &Cache, ask: &Ask) -> Mend {
    match cache.lookup(&ask.request()).await {
        Lookup::Partial(mend) => *mend,
        found => panic!("{found:?}"),
    }
}

fn asked_for(mend: &Mend) -> (String, String) {
    let [(_, range), (_, condition)] = mend.fields();
    (range.to_str().unwrap().to_owned(), condition.to_str().unwrap().to_owned())
}

/// The upstream answers what a mend asked for.
fn answer(cache: &Cache, ask: &Ask, mend: Mend, status: u16, fields: &[(&str, &str)]) -> Mended {
    let status = StatusCode::from_u16(status).unwrap();
    cache.mend(&ask.request(), mend, status, &map(fields), ask.times())
}

fn rest(mended: Mended) -> Rest {
    match mended {
        Mended::Rest(rest) => *rest,
        Mended::Own => panic!("an answer of its own"),
        Mended::Again => panic!("to be asked again"),
    }
}

#[tokio::test]
async fn a_part_serves_the_ranges_that_lie_in_it_and_nothing_else() {
    let cache = memory_only();
    assert_eq!(
        part(&cache, &asks("bytes=5-14"), (5, 15), &[FRESH, ("content-length", "10"), ("x-a", "1")]),
        Ok(true)
    );
    for (range, expected) in
        [("bytes=5-14", "56789abcde"), ("bytes=7-7", "7"), ("bytes=-20", ""), ("bytes=10-14", "abcde")]
    {
        let Some(response) = found(&cache, &asks(range)).await else {
            assert_eq!(expected, "", "{range}");
            continue;
        };
        assert_eq!((response.status().as_u16(), &response.headers()["x-a"]), (206, &"1".parse().unwrap()));
        assert!(response.headers()["content-range"].to_str().unwrap().ends_with("/20"));
        assert_eq!(response.headers()["content-length"], expected.len().to_string());
        assert_eq!(said(response.headers()), "gatewright; hit; ttl=60");
        assert_eq!(body(response).await, expected, "{range}");
    }
    for outside in ["bytes=4-6", "bytes=14-15", "bytes=0-", "bytes=-1", "bytes=0-1,5-6", "bytes=99-"] {
        assert_eq!(misses(&cache, &asks(outside)).await, Miss::Partial, "{outside}");
    }
    // RFC 9111, 3.3: not for requests that ask for the whole.
    assert_eq!(misses(&cache, &Ask::get("/x")).await, Miss::Partial);
    assert_eq!(misses(&cache, &Ask::get("/x").method(Method::HEAD)).await, Miss::Uri);
    assert_eq!(misses(&cache, &asks("bytes=5-6").later(60)).await, Miss::Uri);
}

#[tokio::test]
async fn parts_of_one_version_are_combined_until_they_are_the_whole() {
    let cache = memory_only();
    part(&cache, &asks("bytes=0-4"), (0, 5), &[FRESH, ETAG, ("x-a", "1"), ("x-b", "1")]).unwrap();
    part(&cache, &asks("bytes=-5"), (15, 20), &[FRESH, ETAG, ("x-a", "2")]).unwrap();
    assert_eq!(body(found(&cache, &asks("bytes=1-3")).await.unwrap()).await, "123");
    let tail = found(&cache, &asks("bytes=-2")).await.unwrap();
    // RFC 9111, 3.4: the newer fields replace the older, and the others stay.
    assert_eq!(
        (&tail.headers()["x-a"], &tail.headers()["x-b"]),
        (&"2".parse().unwrap(), &"1".parse().unwrap())
    );
    assert_eq!(body(tail).await, "ij");
    part(&cache, &asks("bytes=3-15"), (3, 16), &[FRESH, ETAG]).unwrap();
    let whole = found(&cache, &Ask::get("/x")).await.unwrap();
    assert_eq!((whole.status().as_u16(), &whole.headers()["content-length"]), (200, &"20".parse().unwrap()));
    assert!(!whole.headers().contains_key("content-range"));
    assert_eq!(body(whole).await, TEXT);
}

#[tokio::test]
async fn parts_without_the_same_strong_validator_replace_each_other() {
    for (first, second) in [
        (vec![ETAG], vec![("etag", "\"b\"")]),
        (vec![("etag", "W/\"a\"")], vec![("etag", "W/\"a\"")]),
        (vec![], vec![]),
        (vec![ETAG], vec![]),
    ] {
        let cache = memory_only();
        let with = |fields: &[(&'static str, &'static str)]| [&[FRESH], fields].concat();
        part(&cache, &asks("bytes=0-9"), (0, 10), &with(&first)).unwrap();
        part(&cache, &asks("bytes=10-"), (10, 20), &with(&second)).unwrap();
        assert!(found(&cache, &Ask::get("/x")).await.is_none(), "{first:?} {second:?}");
        assert!(found(&cache, &asks("bytes=0-1")).await.is_none());
        assert_eq!(body(found(&cache, &asks("bytes=10-11")).await.unwrap()).await, "ab");
    }
}

#[tokio::test]
async fn what_is_missing_is_asked_for_and_put_between() {
    let cache = memory_only();
    part(&cache, &asks("bytes=0-4"), (0, 5), &[FRESH, ETAG]).unwrap();
    part(&cache, &asks("bytes=15-"), (15, 20), &[FRESH, ETAG]).unwrap();
    for (ask, range, gap, expected) in [
        (asks("bytes=2-9"), "bytes=5-9", (5, 10), "23456789"),
        (asks("bytes=12-16"), "bytes=12-14", (12, 15), "cdefg"),
        (Ask::get("/x"), "bytes=10-11", (10, 12), TEXT),
    ] {
        let mend = partial(&cache, &ask).await;
        assert_eq!(asked_for(&mend), (range.to_owned(), "\"a\"".to_owned()));
        let content_range = format!("bytes {}-{}/20", gap.0, gap.1 - 1);
        let fields = [FRESH, ETAG, ("content-range", &*content_range), ("x-new", "1")];
        let rest = rest(answer(&cache, &ask, mend, 206, &fields));
        let missing = frames(vec![Bytes::from(&TEXT[gap.0..gap.1])]);
        let response = rest.respond(&ask.request(), missing);
        let status = if ask.headers.contains_key("range") { 206 } else { 200 };
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["content-length"], expected.len().to_string());
        assert_eq!(response.headers()["x-new"], "1");
        assert_eq!(said(response.headers()), "gatewright; fwd=partial; fwd-status=206; stored; ttl=60");
        assert_eq!(read(response.into_body()), expected);
    }
    assert_eq!(body(found(&cache, &Ask::get("/x")).await.unwrap()).await, TEXT);
}

#[tokio::test]
async fn a_rest_that_ends_at_the_end_is_asked_for_without_an_end() {
    let cache = memory_only();
    part(&cache, &asks("bytes=0-4"), (0, 5), &[FRESH, ETAG]).unwrap();
    assert_eq!(asked_for(&partial(&cache, &Ask::get("/x")).await).0, "bytes=5-");
    assert_eq!(asked_for(&partial(&cache, &asks("bytes=3-")).await).0, "bytes=5-");
    assert_eq!(asked_for(&partial(&cache, &asks("bytes=8-18")).await).0, "bytes=8-18");
}

#[tokio::test]
async fn another_answer_than_the_rest_is_not_combined() {
    let whole = ("content-length", "20");
    let range = ("content-range", "bytes 5-19/20");
    for (status, fields, again) in [
        (206, vec![FRESH, range, ("etag", "\"b\"")], true),
        (206, vec![FRESH, range], true),
        (206, vec![FRESH, ETAG, ("content-range", "bytes 6-19/20")], true),
        (206, vec![FRESH, ETAG, ("content-range", "bytes 5-19/21")], true),
        (206, vec![FRESH, ETAG, range, ("content-length", "3")], true),
        (206, vec![("cache-control", "no-store"), ETAG, range], true),
        (416, vec![], true),
        (200, vec![FRESH, ("etag", "\"b\""), whole], false),
    ] {
        let cache = memory_only();
        let ask = Ask::get("/x");
        part(&cache, &asks("bytes=0-4"), (0, 5), &[FRESH, ETAG]).unwrap();
        let mend = partial(&cache, &ask).await;
        let mended = answer(&cache, &ask, mend, status, &fields);
        assert!(
            if again { matches!(mended, Mended::Again) } else { matches!(mended, Mended::Own) },
            "{fields:?}"
        );
        assert_eq!(misses(&cache, &asks("bytes=0-1")).await, Miss::Uri, "it is of another version");
    }
    // An error says nothing of what is stored.
    let cache = memory_only();
    part(&cache, &asks("bytes=0-4"), (0, 5), &[FRESH, ETAG]).unwrap();
    let mend = partial(&cache, &Ask::get("/x")).await;
    assert!(matches!(answer(&cache, &Ask::get("/x"), mend, 503, &[]), Mended::Own));
    assert!(found(&cache, &asks("bytes=0-1")).await.is_some());
}

#[tokio::test]
async fn a_rest_of_another_length_than_it_says_breaks_off() {
    for sent in ["5678", "56789abcdefghijk"] {
        let cache = memory_only();
        let ask = Ask::get("/x");
        part(&cache, &asks("bytes=0-4"), (0, 5), &[FRESH, ETAG]).unwrap();
        let mend = partial(&cache, &ask).await;
        let fields = [FRESH, ETAG, ("content-range", "bytes 5-19/20")];
        let rest = rest(answer(&cache, &ask, mend, 206, &fields));
        let response = rest.respond(&ask.request(), frames(vec![Bytes::from(sent)]));
        assert!(http_body_util::BodyExt::collect(response.into_body()).await.is_err(), "{sent}");
        assert!(found(&cache, &ask).await.is_none());
    }
}

#[tokio::test]
async fn only_what_can_surely_be_completed_is_asked_for_in_part() {
    let cache = memory_only();
    part(&cache, &asks("bytes=0-4"), (0, 5), &[FRESH, ETAG]).unwrap();
    for ask in [
        Ask::get("/x").with(&[("if-none-match", "\"a\"")]),
        asks("bytes=0-1,8-9"),
        Ask::get("/x").with(&[("range", "bytes=0-9"), ("if-range", "\"b\"")]),
    ] {
        assert_eq!(misses(&cache, &ask).await, Miss::Partial, "{:?}", ask.headers);
    }
    assert_eq!(misses(&cache, &Ask::get("/x").with(&[("authorization", "x")])).await, Miss::Uri);
    let mut large = Ask::get("/x");
    large.options.max_object_bytes = Some(19);
    assert_eq!(misses(&cache, &large).await, Miss::Partial);
    let only = Ask::get("/x").with(&[("cache-control", "only-if-cached")]);
    assert!(matches!(cache.lookup(&only.request()).await, Lookup::NotCached));
}

#[tokio::test]
async fn what_is_no_clear_part_is_not_kept() {
    let cache = memory_only();
    let ask = asks("bytes=0-4");
    for fields in [
        vec![FRESH],
        vec![FRESH, ("content-range", "bytes 0-4/*")],
        vec![FRESH, ("content-range", "bytes 0-4/20"), ("content-length", "6")],
        vec![FRESH, ("content-type", "multipart/byteranges; boundary=x")],
    ] {
        assert_eq!(fill(&cache, &ask, 206, &fields, b"01234"), Err(NoStore::Status), "{fields:?}");
    }
    let refused = part(&cache, &ask, (0, 5), &[("cache-control", "no-store")]);
    assert_eq!(refused, Err(NoStore::ResponseNoStore));
    // Shorter than it says.
    let short = [FRESH, ("content-range", "bytes 0-9/20")];
    assert_eq!(fill(&cache, &ask, 206, &short, b"01234"), Ok(false));
    assert_eq!(misses(&cache, &ask).await, Miss::Uri);
}

#[tokio::test]
async fn variants_principals_and_invalidations_hold_for_parts() {
    let cache = memory_only();
    let ask = |lang: &str| Ask::get("/x").with(&[("range", "bytes=0-4"), ("accept-language", lang)]);
    part(&cache, &ask("de"), (0, 5), &[FRESH, ETAG, ("vary", "accept-language")]).unwrap();
    part(&cache, &ask("en"), (0, 5), &[FRESH, ETAG, ("vary", "accept-language")]).unwrap();
    assert!(found(&cache, &ask("de")).await.is_some() && found(&cache, &ask("en")).await.is_some());
    assert!(found(&cache, &ask("fr")).await.is_none());
    let mine = asks("bytes=0-4").of(b"anna");
    let elsewhere = Ask { path: "/me".to_owned(), ..mine };
    part(&cache, &elsewhere, (0, 5), &[FRESH, ETAG]).unwrap();
    assert!(found(&cache, &elsewhere).await.is_some());
    for other in [elsewhere.clone().of(b"bert"), Ask { partition: None, ..elsewhere }] {
        assert!(found(&cache, &other).await.is_none());
    }
    let post = Ask::get("/x").method(Method::POST);
    cache.invalidate(&post.request(), StatusCode::OK, &HeaderMap::new()).await;
    assert!(found(&cache, &ask("de")).await.is_none());
}

#[tokio::test]
async fn a_newer_whole_takes_the_parts_away() {
    let cache = memory_only();
    part(&cache, &asks("bytes=0-4"), (0, 5), &[FRESH, ETAG]).unwrap();
    fill(&cache, &Ask::get("/x"), 200, &[("cache-control", "max-age=1"), ("etag", "\"b\"")], b"new").unwrap();
    fill(&cache, &Ask::get("/x"), 200, &[("cache-control", "no-store")], b"newer").unwrap_err();
    assert_eq!(misses(&cache, &asks("bytes=0-1")).await, Miss::Uri);
}

#[tokio::test]
async fn parts_keep_to_the_bounds_of_memory() {
    let cache = Cache::open(&CacheConfig { memory_bytes: 4 << 20, ..Default::default() }).0;
    let total = 100_u64 << 20;
    let send = |start: u64, len: usize| {
        let range = format!("bytes {start}-{}/{total}", start + len as u64 - 1);
        fill(&cache, &asks("bytes=0-"), 206, &[FRESH, ETAG, ("content-range", &*range)], &vec![7; len])
    };
    for i in 0..20 {
        assert_eq!(send(i * 200_000, 100_000), Ok(true));
    }
    assert!(cache.stats().memory_bytes <= 4 << 20);
    let last = asks("bytes=3800000-3800009");
    assert!(found(&cache, &last).await.is_some(), "the newest is there");
    assert_eq!(send(0, 3 << 20), Ok(false), "too large for memory");
}
