//! Purges through the cache, in memory and on disk: what they leave, and that they are never undone.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::StatusCode;

use super::*;
use crate::cache::{
    Bound, CacheConfig, Lookup, Owner, Validate,
    disk::meta::Meta,
    purge::Fate,
    tests::{Ask, NOW, body, fill, frames, hit, map, memory_only, read, said},
};

const FRESH: (&str, &str) = ("cache-control", "max-age=600");

fn config(dir: &Path) -> CacheConfig {
    CacheConfig { dir: Some(dir.to_owned()), open_wait: Duration::from_secs(20), ..Default::default() }
}

fn open(config: &CacheConfig) -> Cache {
    let (cache, diagnostics) = Cache::open(config);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    cache
}

/// A request for what `operation` of the API `api` answers.
fn of(api: &str, operation: &str, target: &str) -> Ask {
    let mut ask = Ask::get(target);
    ask.options.owner = Owner::of(api, operation);
    ask
}

/// Waits until `done` says so, for at most twenty seconds.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn written(cache: &Cache, entries: u64) {
    until("written to disk", || cache.stats().disk_entries >= entries).await;
}

/// The folder as a crash would leave it now.
fn crashed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, copy.path());
    copy
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            // A file may go while the folder is copied; the lock is another process's.
            let _ = fs::copy(entry.path(), target);
        }
    }
}

/// Out of memory, so that only the disk can answer.
fn forget_memory(cache: &Cache) {
    cache.inner.memory.purge(|_, _| Fate::Gone);
}

#[tokio::test]
async fn a_soft_purge_ends_freshness_at_its_moment_and_no_right_to_stale_use() {
    let cache = memory_only();
    let plain = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
    let lenient =
        [("cache-control", "max-age=60, stale-while-revalidate=30, stale-if-error=40"), ("etag", "\"a\"")];
    let strict = [("cache-control", "max-age=60, must-revalidate, stale-if-error=40"), ("etag", "\"a\"")];
    for (path, fields) in [("/plain", &plain), ("/lenient", &lenient), ("/strict", &strict)] {
        fill(&cache, &Ask::get(path), 200, fields, b"x").unwrap();
    }
    let purge = Purge::hard(None, Scope::All).softly(NOW + 10_000);
    let purged = cache.apply(purge).await.unwrap();
    assert_eq!(purged, Purged { responses: 3, all_counted: true });
    let at = |path: &str, seconds| Ask::get(path).later(seconds);
    let error_at = |path: &str, seconds| {
        let (cache, ask) = (cache.clone(), at(path, seconds));
        async move {
            let Lookup::Stale(found, Validate::Stale) = cache.lookup(&ask.request()).await else { panic!() };
            found.on_error(&ask.request()).is_ok()
        }
    };
    assert!(!error_at("/plain", 10).await && !error_at("/strict", 10).await);
    let Lookup::Revalidating(found, true) = cache.lookup(&at("/lenient", 15).request()).await else {
        panic!()
    };
    let answer = found.respond(&at("/lenient", 15).request());
    assert_eq!(said(answer.headers()), "gatewright; hit; ttl=-5; detail=stale");
    assert_eq!(answer.headers()["age"], "15");
    assert!(error_at("/lenient", 45).await, "within stale-if-error of the purge");
    assert!(!error_at("/lenient", 51).await, "beyond it");
    // A validation makes it fresh again.
    let later = at("/plain", 20);
    let Lookup::Stale(found, _) = cache.lookup(&later.request()).await else { panic!() };
    cache.refresh(&later.request(), found, &map(&[("etag", "\"a\"")]), later.times()).unwrap();
    assert!(hit(&cache, &at("/plain", 70)).await.is_some());
    assert_eq!((cache.stats().soft_purges, cache.stats().purges, cache.stats().purged), (1, 0, 3));
}

#[tokio::test]
async fn what_was_stale_longer_does_not_become_younger() {
    let cache = memory_only();
    let fields = [("cache-control", "max-age=60, stale-if-error=40"), ("etag", "\"a\"")];
    fill(&cache, &Ask::get("/x"), 200, &fields, b"x").unwrap();
    cache.apply(Purge::everything().softly(NOW + 90_000)).await.unwrap();
    let ask = Ask::get("/x").later(101);
    let Lookup::Stale(found, _) = cache.lookup(&ask.request()).await else { panic!() };
    assert!(found.on_error(&ask.request()).is_err(), "it ended at 100 seconds");
}

#[tokio::test]
async fn of_several_variants_only_those_with_the_tag_go() {
    let cache = memory_only();
    let ask = |lang: &str| Ask::get("/x").with(&[("accept-language", lang)]);
    for (lang, tag) in [("de", "german"), ("en", "english")] {
        let fields = [FRESH, ("vary", "accept-language"), ("surrogate-key", tag)];
        fill(&cache, &ask(lang), 200, &fields, lang.as_bytes()).unwrap();
    }
    let purge = Purge::hard(None, Scope::Tags(vec!["German".to_owned()]));
    assert_eq!(cache.apply(purge).await.unwrap().responses, 1);
    assert!(hit(&cache, &ask("de")).await.is_none() && hit(&cache, &ask("en")).await.is_some());
}

/// What each purge covers, and what stands beside it.
fn cases() -> Vec<(Purge, Ask, Ask)> {
    let key = |target: &str| {
        crate::cache::purge::query_hash(
            crate::cache::key::query_part(target.split_once('?').map(|(_, q)| q), &Default::default())
                .unwrap()
                .as_ref(),
        )
    };
    let bound = Bound {
        template: "/operation/{id}".to_owned(),
        spans: Vec::new(),
        values: vec![("id".to_owned(), "7".to_owned())],
    };
    let operation = |bound| Scope::Operation { api: "a".to_owned(), operation: "get".to_owned(), bound };
    let url = Scope::Url { path: "/url".to_owned(), query: key("/url?q=1") };
    let everywhere = [
        (url.clone(), of("x", "x", "/url?q=1"), of("x", "x", "/url?q=2")),
        (Scope::Path("/path".to_owned()), of("x", "x", "/path?q=1"), of("x", "x", "/path/below")),
        (Scope::Prefix("/prefix".to_owned()), of("x", "x", "/prefix-and-more"), of("x", "x", "/pre")),
        (Scope::Template("/t/{x}/y".to_owned()), of("x", "x", "/t/1/y"), of("x", "x", "/t/1/z")),
        (Scope::Api("api".to_owned()), of("api", "x", "/api/1"), of("other", "x", "/api/2")),
        (operation(Some(bound)), of("a", "get", "/operation/7"), of("a", "get", "/operation/8")),
        (operation(None), of("a", "get", "/somewhere"), of("a", "list", "/somewhere-else")),
        (Scope::Tags(vec!["tag-0".to_owned()]), of("x", "x", "/tagged"), of("x", "x", "/other-tag")),
    ];
    let mut cases: Vec<_> =
        everywhere.into_iter().map(|(scope, gone, kept)| (Purge::hard(None, scope), gone, kept)).collect();
    let here = Some("a.test");
    cases.push((Purge::hard(here, url), of("x", "x", "/url?q=1"), of("x", "x", "/url")));
    let path = Scope::Path("/path".to_owned());
    cases.push((Purge::hard(here, path), of("x", "x", "/path"), of("x", "x", "/path/")));
    cases
}

fn tag_of(ask: &Ask) -> &'static str {
    if ask.path == "/tagged" { "TAG-0, more" } else { "none" }
}

/// Small enough for the index, and large enough for a file.
const BODIES: [usize; 2] = [100, 20_000];

#[tokio::test]
async fn an_acknowledged_purge_holds_after_a_crash_in_every_scope() {
    for size in BODIES {
        for (number, (purge, gone, kept)) in cases().into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let cache = open(&config(dir.path()));
            for ask in [&gone, &kept] {
                fill(&cache, ask, 200, &[FRESH, ("cache-tag", tag_of(ask))], &vec![7; size]).unwrap();
            }
            written(&cache, 2).await;
            let purged = cache.apply(purge.clone()).await.unwrap();
            assert_eq!(purged.responses, 1, "{number}: {purge:?}");
            let copy = crashed(dir.path());
            for cache in [cache, open(&config(copy.path()))] {
                assert!(hit(&cache, &gone).await.is_none(), "{number}: {purge:?}");
                assert!(hit(&cache, &kept).await.is_some(), "{number}: {purge:?}");
                assert!(cache.close(Duration::from_secs(20)));
            }
        }
    }
}

#[tokio::test]
async fn a_soft_purge_holds_after_a_crash_in_every_scope() {
    for (number, (purge, gone, kept)) in cases().into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(&config(dir.path()));
        let size = BODIES[number % BODIES.len()];
        let age = "max-age=600, stale-while-revalidate=100";
        for ask in [&gone, &kept] {
            let fields = [("cache-control", age), ("cache-tag", tag_of(ask)), ("etag", "\"a\"")];
            fill(&cache, ask, 200, &fields, &vec![7; size]).unwrap();
        }
        written(&cache, 2).await;
        cache.apply(purge.clone().softly(NOW + 5_000)).await.unwrap();
        let copy = crashed(dir.path());
        for cache in [cache, open(&config(copy.path()))] {
            let ask = gone.clone().later(8);
            let Lookup::Revalidating(found, _) = cache.lookup(&ask.request()).await else {
                panic!("{number}: {purge:?}")
            };
            let answer = found.respond(&ask.request());
            let status = answer.headers()["cache-status"].to_str().unwrap().to_owned();
            assert!(status.contains("ttl=-3"), "{status}");
            assert_eq!(body(answer).await.len(), size);
            assert!(hit(&cache, &kept.clone().later(8)).await.is_some(), "{number}: {purge:?}");
            let over = gone.clone().later(106);
            assert!(matches!(cache.lookup(&over.request()).await, Lookup::Stale(..)), "{number}");
            assert!(cache.close(Duration::from_secs(20)));
        }
    }
}

#[tokio::test]
async fn a_purge_reaches_what_waits_to_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&config(dir.path()));
    // Stored and purged before the writer looks at either.
    let (tagged, one) = (|i: usize| Ask::get(&format!("/{i}")), |i: usize| Ask::get(&format!("/one?{i}")));
    for i in 0..200 {
        for ask in [tagged(i), one(i)] {
            fill(&cache, &ask, 200, &[FRESH, ("cache-tag", "t")], &[7; 5_000]).unwrap();
        }
    }
    cache.apply(Purge::hard(Some("a.test"), Scope::Path("/one".to_owned()))).await.unwrap();
    cache.apply(Purge::hard(None, Scope::Tags(vec!["t".to_owned()]))).await.unwrap();
    fill(&cache, &Ask::get("/last"), 200, &[FRESH], b"x").unwrap();
    until("only the last is written", || cache.stats().disk_entries == 1).await;
    let copy = crashed(dir.path());
    assert!(cache.close(Duration::from_secs(20)));
    for dir in [dir.path(), copy.path()] {
        let cache = open(&config(dir));
        for i in 0..200 {
            for ask in [tagged(i), one(i)] {
                assert!(hit(&cache, &ask).await.is_none(), "{}", ask.path);
            }
        }
        assert!(hit(&cache, &Ask::get("/last")).await.is_some());
        assert!(cache.close(Duration::from_secs(20)));
    }
}

/// Fills the disk until its current generation is the older one.
async fn turn_generation(cache: &Cache) {
    let first = cache.inner.disk.as_ref().unwrap().generation();
    for i in 0..500 {
        if cache.inner.disk.as_ref().unwrap().generation() != first {
            return;
        }
        fill(cache, &Ask::get(&format!("/fill/{i}")), 200, &[FRESH], &[7; 100_000]).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no generation was turned");
}

#[tokio::test]
async fn an_older_response_with_other_tags_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&CacheConfig { disk_bytes: 4_000_000, ..config(dir.path()) });
    let tagged = |path: &str, tag: &str| {
        fill(&cache, &Ask::get(path), 200, &[FRESH, ("cache-tag", tag)], tag.as_bytes()).unwrap();
    };
    tagged("/on-disk", "old");
    tagged("/in-memory", "old");
    tagged("/beside", "old");
    written(&cache, 3).await;
    turn_generation(&cache).await;
    forget_memory(&cache);
    tagged("/on-disk", "new");
    let disk = cache.inner.disk.as_ref().unwrap();
    let newest = Ask::get("/on-disk");
    let key = crate::cache::key::Key::shared(&newest.request(), cache.inner.seed).unwrap();
    let start = Instant::now();
    loop {
        let found = disk.read(&key, 0).await.unwrap();
        if found.iter().any(|entry| entry.headers["cache-tag"] == "new") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    forget_memory(&cache);
    // This one is newer in memory alone.
    let (ask, elsewhere) = (Ask::get("/in-memory"), memory_only());
    fill(&elsewhere, &ask, 200, &[FRESH, ("cache-tag", "new")], b"new").unwrap();
    let key_of = |cache: &Cache| crate::cache::key::Key::shared(&ask.request(), cache.inner.seed).unwrap();
    let newer = Arc::clone(&elsewhere.inner.memory.get(&key_of(&elsewhere)).unwrap().variants()[0]);
    assert!(cache.inner.memory.insert(&key_of(&cache), &newer, &cache.inner.epochs));
    cache.apply(Purge::hard(None, Scope::Tags(vec!["new".to_owned()]))).await.unwrap();
    let copy = crashed(dir.path());
    for cache in [cache, open(&config(copy.path()))] {
        for path in ["/on-disk", "/in-memory"] {
            assert!(hit(&cache, &Ask::get(path)).await.is_none(), "{path}");
        }
        assert!(hit(&cache, &Ask::get("/beside")).await.is_some());
        assert!(cache.close(Duration::from_secs(20)));
    }
}

#[tokio::test]
async fn many_purges_are_carried_out_on_disk_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&config(dir.path()));
    let ask = |i: usize| Ask::get(&format!("/{i}"));
    for i in 0..300 {
        let fields = [
            ("cache-control", "max-age=600, stale-while-revalidate=600"),
            ("cache-tag", &*format!("t{i}, {}", if i % 3 == 0 { "third" } else { "none" })),
        ];
        fill(&cache, &ask(i), 200, &fields, &vec![7; if i.is_multiple_of(2) { 100 } else { 6_000 }]).unwrap();
    }
    written(&cache, 300).await;
    forget_memory(&cache);
    for i in 0..100 {
        let purge = Purge::hard(None, Scope::Tags(vec![format!("t{i}")]));
        cache.apply(purge).await.unwrap();
    }
    let third = Purge::hard(None, Scope::Tags(vec!["third".to_owned()]));
    cache.apply(third.softly(NOW + 1000)).await.unwrap();
    until("rules are carried out", || Meta::read(dir.path()).is_ok_and(|meta| meta.rules.len() < 64)).await;
    // A sweep begins with many rules: what came while the first was under way is dealt with by a second.
    for i in 0..70 {
        cache.apply(Purge::hard(None, Scope::Path(format!("/none/{i}")))).await.unwrap();
    }
    until("the others too", || cache.stats().disk_entries == 200).await;
    until("those as well", || Meta::read(dir.path()).is_ok_and(|meta| meta.rules.len() < 64)).await;
    let copy = crashed(dir.path());
    assert!(cache.close(Duration::from_secs(20)));
    for dir in [dir.path(), copy.path()] {
        let cache = open(&config(dir));
        for i in 0..300 {
            let found = cache.lookup(&ask(i).later(2).request()).await;
            match (i < 100, i % 3 == 0) {
                (true, _) => assert!(matches!(found, Lookup::Miss(_)), "{i}"),
                (false, true) => assert!(matches!(found, Lookup::Revalidating(..)), "{i}"),
                (false, false) => assert!(matches!(found, Lookup::Fresh(_)), "{i}"),
            }
        }
        assert!(cache.close(Duration::from_secs(20)));
    }
}

#[tokio::test]
async fn what_began_before_a_purge_is_not_seen_in_memory_after_it() {
    let (cache, ask) = (memory_only(), Ask::get("/x"));
    let key = crate::cache::key::Key::shared(&ask.request(), cache.inner.seed).unwrap();
    let epochs = &cache.inner.epochs;
    let kept = || {
        fill(&cache, &ask, 200, &[FRESH, ("cache-tag", "t")], b"x").unwrap();
        Arc::clone(&cache.inner.memory.get(&key).unwrap().variants()[0])
    };
    let tag = Purge::hard(None, Scope::Tags(vec!["t".to_owned()]));
    for purge in [tag.clone(), Purge::everything(), tag.softly(NOW)] {
        let late = kept();
        forget_memory(&cache);
        cache.apply(purge.clone()).await.unwrap();
        // Its fill, or its read from disk, ends only now.
        assert!(!cache.inner.memory.insert(&key, &late, epochs), "{purge:?}");
        let read = vec![late.with_body(late.body.clone())];
        assert!(cache.inner.memory.merge(&key, read, epochs).is_none(), "{purge:?}");
        assert!(cache.inner.memory.get(&key).is_none(), "{purge:?}");
        // Its bytes come from a file while another is stored in its place.
        let next = kept();
        cache.inner.memory.exchange(&key, &late, &late, epochs);
        assert!(Arc::ptr_eq(&next, &cache.inner.memory.get(&key).unwrap().variants()[0]));
    }
}

/// The counter that stands for what the upstream has now.
struct Origin(AtomicU64);

impl Origin {
    /// Fetches and stores what the upstream has.
    fn store(&self, cache: &Cache, ask: &Ask, tag: &str) {
        let moment = cache.moment();
        let version = self.0.load(Ordering::SeqCst);
        let fields = map(&[FRESH, ("cache-tag", tag)]);
        let Ok(fill) = cache.admit(&ask.request(), StatusCode::OK, &fields, ask.times(), moment) else {
            return;
        };
        read(fill.through(frames(vec![Bytes::copy_from_slice(&version.to_le_bytes())])));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_from_before_an_acknowledged_purge_answers_after_it() {
    const PATHS: usize = 12;
    let dir = tempfile::tempdir().unwrap();
    // Memory for a part of it, so that both tiers answer.
    let cache = open(&CacheConfig { memory_bytes: 64 * 1024, ..config(dir.path()) });
    let origin = Arc::new(Origin(AtomicU64::new(0)));
    let over = Arc::new(AtomicBool::new(false));
    let ask =
        |i: usize| Ask::get(&format!("/{i}")).with(&[("x", if i.is_multiple_of(2) { "a" } else { "b" })]);
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (cache, origin, over) = (cache.clone(), Arc::clone(&origin), Arc::clone(&over));
            tokio::spawn(async move {
                let mut i = writer;
                while !over.load(Ordering::Relaxed) {
                    i += 1;
                    let ask = ask(i % PATHS);
                    if hit(&cache, &ask).await.is_none() {
                        origin.store(&cache, &ask, "t");
                    }
                    if i.is_multiple_of(64) {
                        // Pushes the others out of memory.
                        fill(&cache, &Ask::get(&format!("/push/{}", i % 512)), 200, &[FRESH], &[7; 9_000])
                            .ok();
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let scopes = [
        Scope::Tags(vec!["t".to_owned()]),
        Scope::Prefix("/".to_owned()),
        Scope::All,
        Scope::Path("/3".to_owned()),
    ];
    for round in 0..120 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let scope = scopes[round % scopes.len()].clone();
        let one = matches!(scope, Scope::Path(_));
        let now = origin.0.fetch_add(1, Ordering::SeqCst) + 1;
        let host = one.then_some("a.test");
        cache.apply(Purge::hard(host, scope.clone())).await.unwrap();
        if round % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            forget_memory(&cache);
        }
        for _ in 0..4 {
            for i in (0..PATHS).filter(|i| !one || *i == 3) {
                let Some(answer) = hit(&cache, &ask(i)).await else { continue };
                let version = u64::from_le_bytes((&*body(answer).await).try_into().unwrap());
                assert!(version >= now, "round {round}, {scope:?}: /{i} is of {version}, purged at {now}");
            }
        }
    }
    over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(cache.stats().hits_disk > 0 && cache.stats().hits_memory > 0, "{:?}", cache.stats());
    assert!(cache.close(Duration::from_secs(20)));
}
