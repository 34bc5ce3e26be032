//! What stays in memory, what goes, and whether the counts are right.

use std::sync::atomic::Ordering;

use crate::cache::{
    Cache, CacheConfig, Purge, Scope,
    tests::{Ask, fill, hit},
};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn memory(bytes: u64) -> Cache {
    Cache::open(&CacheConfig { memory_bytes: bytes, ..Default::default() }).0
}

fn store(cache: &Cache, ask: &Ask) {
    assert_eq!(fill(cache, ask, 200, &[FRESH], &[b'x'; 500]), Ok(true));
}

/// Bytes that one answer of [`store`] takes.
fn weight() -> u64 {
    let cache = memory(1 << 20);
    store(&cache, &Ask::get("/hot/000"));
    cache.stats().memory_bytes
}

async fn present(cache: &Cache, asks: impl Iterator<Item = Ask>) -> usize {
    let mut count = 0;
    for ask in asks {
        count += usize::from(hit(cache, &ask).await.is_some());
    }
    count
}

#[tokio::test]
async fn a_scan_does_not_push_out_what_is_asked_for_again_and_again() {
    let room = 4_000;
    let cache = memory(room * weight());
    let hot = || (0..1000).map(|i| Ask::get(&format!("/hot/{i:03}")));
    hot().for_each(|ask| store(&cache, &ask));
    for _ in 0..2 {
        assert_eq!(present(&cache, hot()).await, 1000);
    }
    // Ten times what fits, each asked for once. The least recently used would all be gone.
    for i in 0..room * 10 {
        store(&cache, &Ask::get(&format!("/scan/{i}")));
    }
    let left = present(&cache, hot()).await;
    assert!(left >= 950, "{left} of 1000 are left");
    // What is no longer asked for does not stay for ever: a new hot set takes its place.
    let new = || (0..2000).map(|i| Ask::get(&format!("/new/{i:03}")));
    for _ in 0..5 {
        for ask in new() {
            if hit(&cache, &ask).await.is_none() {
                store(&cache, &ask);
            }
        }
    }
    let kept = present(&cache, new()).await;
    assert!(kept >= 1800, "{kept} of 2000 are kept");
}

#[tokio::test]
async fn the_bytes_in_memory_are_the_sum_of_what_is_stored_and_zero_after_a_purge() {
    let cache = memory(64 << 20);
    let one = weight();
    let asks = |caller: Option<&'static [u8]>| {
        (0..100).map(move |i| Ask { partition: caller, ..Ask::get(&format!("/hot/{i:03}")) })
    };
    asks(None).for_each(|ask| store(&cache, &ask));
    assert_eq!((cache.stats().memory_entries, cache.stats().memory_bytes), (100, 100 * one));
    // The same again takes their place.
    asks(None).for_each(|ask| store(&cache, &ask));
    assert_eq!(cache.stats().memory_bytes, 100 * one);
    assert_eq!((cache.stats().memory_own_bytes, cache.stats().evictions), (0, 0));
    for caller in [&b"ada"[..], b"bob"] {
        asks(Some(caller)).for_each(|ask| store(&cache, &ask));
        asks(Some(caller)).for_each(|ask| store(&cache, &ask));
    }
    let stats = cache.stats();
    assert_eq!(stats.memory_entries, 300);
    assert_eq!(stats.memory_bytes, 100 * one + stats.memory_own_bytes);
    assert_eq!((stats.memory_own_bytes % 200, stats.memory_own_entries), (0, 200));
    assert!(stats.memory_own_bytes > 200 * one, "a key with a caller is longer");
    let prefix = Purge::hard(None, Scope::Prefix("/hot/0".to_owned()));
    assert_eq!(cache.apply(prefix).await.unwrap().responses, 300);
    let stats = cache.stats();
    assert_eq!((stats.memory_entries, stats.memory_bytes), (0, 0));
    assert_eq!((stats.memory_own_bytes, stats.memory_own_entries), (0, 0));
}

#[tokio::test]
async fn the_bytes_in_memory_stay_within_the_bound_and_evictions_are_counted() {
    let bound = 1000 * weight();
    let cache = memory(bound);
    for i in 0..5000 {
        let caller: Option<&[u8]> = [None, Some(&b"ada"[..]), Some(b"bob")][i % 3];
        store(&cache, &Ask { partition: caller, ..Ask::get(&format!("/{i}")) });
        assert!(cache.stats().memory_bytes <= bound);
    }
    let stats = cache.stats();
    assert!(stats.memory_bytes > bound * 9 / 10, "{stats:?}");
    assert_eq!(stats.memory_entries + stats.evictions + stats.share_evictions, 5000);
    cache.apply(Purge::everything()).await.unwrap();
    assert_eq!((cache.stats().memory_bytes, cache.stats().memory_own_bytes), (0, 0));
}

#[tokio::test]
async fn one_caller_cannot_push_out_what_others_have() {
    let one = weight();
    let cache = memory(4000 * one);
    let others = || (0..1500).map(|i| Ask::get(&format!("/all/{i:03}")));
    others().for_each(|ask| store(&cache, &ask));
    assert_eq!(present(&cache, others()).await, 1500);
    let own = |i: usize| Ask::get(&format!("/mine/{i}")).of(b"ada");
    for i in 0..40_000 {
        store(&cache, &own(i));
        // Its own favourite, too.
        if i % 50 == 0 && hit(&cache, &own(0)).await.is_none() {
            assert_eq!(i, 0, "what a caller asks for again stays within its share");
        }
    }
    let stats = cache.stats();
    assert!(stats.memory_own_bytes <= 2000 * one, "{stats:?}");
    assert!(stats.memory_own_bytes > 1900 * one, "{stats:?}");
    assert!(stats.share_evictions > 37_000, "{stats:?}");
    assert_eq!(present(&cache, others()).await, 1500);
    assert!(hit(&cache, &own(39_999)).await.is_some(), "the newest is there");
    assert!(hit(&cache, &own(20_000)).await.is_none());
}

#[tokio::test]
async fn one_caller_has_no_more_answers_than_it_may() {
    let config = CacheConfig { caller_entries: 5, ..Default::default() };
    let cache = Cache::open(&config).0;
    let ada = |i: usize| Ask::get(&format!("/mine/{i}")).of(b"ada");
    let bob = || (0..5).map(|i| Ask::get(&format!("/mine/{i}")).of(b"bob"));
    let all = || (0..20).map(|i| Ask::get(&format!("/all/{i}")));
    bob().chain(all()).for_each(|ask| store(&cache, &ask));
    (0..20).for_each(|i| store(&cache, &ada(i)));
    // The same again is no further answer.
    (15..20).for_each(|i| store(&cache, &ada(i)));
    let stats = cache.stats();
    assert_eq!((stats.memory_own_entries, stats.share_evictions), (10, 15), "{stats:?}");
    assert_eq!(present(&cache, bob().chain(all())).await, 25);
    assert_eq!(present(&cache, (0..15).map(ada)).await, 0);
    // What was used of late stays for what was not.
    cache.apply(Purge::hard(None, Scope::Path("/mine/19".to_owned()))).await.unwrap();
    assert!(hit(&cache, &ada(15)).await.is_some());
    store(&cache, &ada(20));
    store(&cache, &ada(21));
    for i in 15..22 {
        assert_eq!(hit(&cache, &ada(i)).await.is_some(), i != 16 && i != 19, "{i}");
    }
    assert_eq!(cache.stats().memory_own_entries, 10);
}

#[tokio::test]
async fn every_variant_of_one_caller_counts() {
    let config = CacheConfig { caller_entries: 5, ..Default::default() };
    let cache = Cache::open(&config).0;
    let ask = |path: &str, language| Ask::get(path).of(b"ada").with(&[("accept-language", language)]);
    for path in ["/a", "/b", "/c"] {
        for language in ["de", "en"] {
            let fields = [FRESH, ("vary", "accept-language")];
            assert_eq!(fill(&cache, &ask(path, language), 200, &fields, b"x"), Ok(true));
        }
    }
    let stats = cache.stats();
    assert_eq!((stats.memory_entries, stats.memory_own_entries), (2, 4), "{stats:?}");
    assert!(hit(&cache, &ask("/a", "en")).await.is_none());
    assert!(hit(&cache, &ask("/c", "de")).await.is_some());
}

#[test]
fn counts_hold_when_many_threads_store_and_purge_at_once() {
    let cache = memory(2 << 20);
    let callers: [Option<&'static [u8]>; 3] = [None, Some(b"ada"), Some(b"bob")];
    std::thread::scope(|scope| {
        for seed in 0..4_u64 {
            let cache = &cache;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for i in 0..4000 {
                    let path = format!("/{}", random.usize(0..3000));
                    let ask = Ask { partition: callers[random.usize(0..3)], ..Ask::get(&path) };
                    let _ = fill(cache, &ask, 200, &[FRESH], &vec![b'x'; random.usize(0..3000)]);
                    if i % 500 == 0 {
                        let scope = Scope::Prefix(format!("/{}", random.usize(0..10)));
                        runtime.block_on(cache.apply(Purge::hard(None, scope))).unwrap();
                    }
                }
            });
        }
    });
    let stats = cache.stats();
    assert!(stats.memory_bytes > 1 << 20 && stats.memory_own_bytes <= stats.memory_bytes, "{stats:?}");
    let own = cache.inner.memory.purge(|_, _| crate::cache::purge::Fate::Gone).len() as u64;
    assert_eq!(own, stats.memory_entries);
    let stats = cache.stats();
    assert_eq!((stats.memory_bytes, stats.memory_own_bytes, stats.memory_own_entries), (0, 0, 0));
    assert!(cache.inner.stats.evictions.load(Ordering::Relaxed) > 0);
}
