//! Whether the counts of what is on disk are what lies there, and whether the bounds hold.

use super::*;

/// Entries and bytes of what lies in the generations of a closed store: records and bodies.
fn measured(dir: &Path) -> (u64, u64) {
    let (mut entries, mut bytes) = (0, 0);
    for number in recovery::generations(dir) {
        let generation = recovery::generation_dir(dir, number);
        let index = engine::Sled::open(&generation.join("index")).unwrap();
        let records = index.get(&[], usize::MAX).unwrap();
        let records = records.iter().filter(|(key, _)| key.len() == size_of::<generation::DiskKey>());
        for (key, value) in records {
            entries += 1;
            bytes += (key.len() + value.len()) as u64;
        }
        bytes += dir_size(&generation.join("bodies"));
    }
    (entries, bytes)
}

fn counted(cache: &Cache) -> (u64, u64) {
    let stats = cache.stats();
    (stats.disk_entries, stats.disk_content_bytes)
}

#[tokio::test]
async fn the_bytes_on_disk_are_the_sum_of_what_is_stored_and_zero_after_a_purge() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    assert_eq!(counted(&cache), (0, 0));
    let sizes = [0, 900, 5_000, 70_000, 200_000];
    let mut bodies = 0;
    for (i, size) in (0..100).zip(sizes.into_iter().cycle()) {
        let ask = Ask { partition: [None, Some(&b"ada"[..])][i % 2], ..Ask::get(&format!("/{i}")) };
        fill(&cache, &ask, 200, &[FRESH], &content("x", size)).unwrap();
        bodies += size as u64;
    }
    until(&cache, |stats| stats.disk_entries == 100).await;
    let (_, bytes) = counted(&cache);
    assert!(bytes > bodies && bytes < bodies + 100 * 600, "{bytes} for {bodies} bytes of bodies");
    // Smaller in the place of larger and the other way round; some go.
    for i in (0..40).step_by(2) {
        let ask = Ask::get(&format!("/{i}"));
        fill(&cache, &ask, 200, &[FRESH], &content("y", sizes[4 - i % 5])).unwrap();
    }
    for i in 90..100 {
        let put = Ask::get(&format!("/{i}")).method(Method::PUT);
        cache.invalidate(&put.request(), StatusCode::OK, &map(&[])).await;
    }
    close(cache);
    let cache = open(dir.path());
    let after_restart = counted(&cache);
    assert_eq!(after_restart.0, 90);
    assert_eq!(cache.stats().disk_own_entries, 45);
    close(cache);
    assert_eq!(after_restart, measured(dir.path()));
    let cache = open(dir.path());
    cache.apply(Purge::everything()).await.unwrap();
    assert_eq!((counted(&cache), cache.stats().disk_own_entries), ((0, 0), 0));
    close(cache);
    assert_eq!(measured(dir.path()), (0, 0));
}

#[tokio::test]
async fn the_size_of_the_files_is_what_they_take() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let cache = open(dir.path());
        for i in 0..200 {
            let path = format!("/{round}/{i}");
            fill(&cache, &Ask::get(&path), 200, &[FRESH], &content(&path, i * 100)).unwrap();
        }
        until(&cache, |stats| stats.disk_entries == 200 * (round + 1)).await;
        let generations = recovery::generations(dir.path());
        let real: u64 = generations.iter().map(|n| dir_size(&recovery::generation_dir(dir.path(), *n))).sum();
        assert_eq!(cache.stats().disk_bytes, real);
        close(cache);
    }
}

/// Waits until all that was stored is written: `count` writes in all.
async fn written(cache: &Cache, count: u64) {
    until(cache, |stats| stats.disk_entries + stats.share_evictions + stats.disk_writes_skipped >= count)
        .await;
    assert_eq!(cache.stats().disk_writes_skipped, 0);
}

#[tokio::test]
async fn one_caller_takes_no_more_than_its_share_of_a_generation() {
    let dir = tempfile::tempdir().unwrap();
    let generation = 20_000_000;
    let share = generation / 4;
    let config = CacheConfig {
        disk_bytes: 2 * generation,
        memory_bytes: 1 << 20,
        caller_percent: 25,
        ..config(dir.path())
    };
    let cache = Cache::open(&config).0;
    for i in 0..100 {
        let path = format!("/all/{i}");
        fill(&cache, &Ask::get(&path), 200, &[FRESH], &content(&path, 20_000)).unwrap();
    }
    written(&cache, 100).await;
    let (_, others) = counted(&cache);
    let mine = |i: u64| Ask::get(&format!("/mine/{i}")).of(b"ada");
    let mut last = 0;
    for round in 0..2_u64 {
        let cache = if round == 0 { cache.clone() } else { Cache::open(&config).0 };
        until(&cache, |stats| stats.disk_ok).await;
        let before = cache.stats().disk_entries;
        for i in 0..600 {
            last = round * 600 + i;
            fill(&cache, &mine(last), 200, &[FRESH], &content("mine", 20_000)).unwrap();
        }
        written(&cache, before + 600).await;
        let own = counted(&cache).1 - others;
        assert!(own <= share && own > share * 9 / 10, "{own} of {share}, {:?}", cache.stats());
        assert_eq!(cache.stats().disk_generations_dropped, 0);
        close(cache);
    }
    let cache = Cache::open(&config).0;
    for i in 0..100 {
        let path = format!("/all/{i}");
        assert_eq!(stored(&cache, &path).await.unwrap().0, content(&path, 20_000), "{path}");
    }
    let mut newest = 0;
    for i in last - 200..=last {
        newest += usize::from(matches!(cache.lookup(&mine(i).request()).await, Lookup::Fresh(_)));
    }
    assert_eq!(newest, 201, "the newest of the caller's own are there");
    assert!(!matches!(cache.lookup(&mine(500).request()).await, Lookup::Fresh(_)));
    close(cache);
    assert_eq!(measured(dir.path()).1 - others, counted(&Cache::open(&config).0).1 - others);
}

/// Which of the first `count` answers of a caller there are.
async fn present(cache: &Cache, caller: &'static [u8], count: u64) -> Vec<u64> {
    let mut found = Vec::new();
    for i in 0..count {
        let ask = Ask::get(&format!("/mine/{i}")).of(caller);
        if matches!(cache.lookup(&ask.request()).await, Lookup::Fresh(_)) {
            found.push(i);
        }
    }
    found
}

fn store_own(cache: &Cache, caller: &'static [u8], which: std::ops::Range<u64>) {
    for i in which {
        let ask = Ask::get(&format!("/mine/{i}")).of(caller);
        fill(cache, &ask, 200, &[FRESH], &content("mine", 500)).unwrap();
    }
}

#[tokio::test]
async fn one_caller_has_no_more_answers_on_disk_than_it_may_before_and_after_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let config = CacheConfig { caller_entries: 5, ..config(dir.path()) };
    let cache = Cache::open(&config).0;
    for i in 0..20 {
        fill(&cache, &Ask::get(&format!("/all/{i}")), 200, &[FRESH], b"x").unwrap();
    }
    store_own(&cache, b"bob", 0..5);
    store_own(&cache, b"ada", 0..20);
    close(cache);
    let cache = Cache::open(&config).0;
    let stats = cache.stats();
    assert_eq!((stats.disk_entries, stats.disk_own_entries), (30, 10));
    assert_eq!(present(&cache, b"ada", 20).await, [15, 16, 17, 18, 19]);
    assert_eq!(present(&cache, b"bob", 20).await, [0, 1, 2, 3, 4]);
    // What was there before counts, and goes first.
    store_own(&cache, b"ada", 20..22);
    close(cache);
    let cache = Cache::open(&config).0;
    assert_eq!(cache.stats().disk_own_entries, 10);
    assert_eq!(present(&cache, b"ada", 30).await, [17, 18, 19, 20, 21]);
    assert_eq!(present(&cache, b"bob", 20).await, [0, 1, 2, 3, 4]);
    assert!(stored(&cache, "/all/0").await.is_some());
    // A smaller bound holds from the caller's next answer on.
    close(cache);
    let cache = Cache::open(&CacheConfig { caller_entries: 2, ..config }).0;
    store_own(&cache, b"ada", 22..23);
    until(&cache, |stats| stats.disk_own_entries == 7).await;
    close(cache);
    assert_eq!(measured(dir.path()).0, 27);
}

#[tokio::test]
async fn the_bound_of_answers_is_one_for_both_generations() {
    let dir = tempfile::tempdir().unwrap();
    let config = CacheConfig { caller_entries: 5, disk_bytes: 4_000_000, ..config(dir.path()) };
    let cache = Cache::open(&config).0;
    store_own(&cache, b"ada", 0..5);
    store_own(&cache, b"bob", 0..5);
    until(&cache, |stats| stats.disk_own_entries == 10).await;
    let first = cache.inner.disk.as_ref().unwrap().generation();
    let mut i = 0;
    while cache.inner.disk.as_ref().unwrap().generation() == first {
        fill(&cache, &Ask::get(&format!("/fill/{i}")), 200, &[FRESH], &[7; 100_000]).unwrap();
        i += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(i < 500);
    }
    // The one that was replaced in the current generation, then the oldest.
    store_own(&cache, b"ada", 0..1);
    store_own(&cache, b"ada", 5..8);
    until(&cache, |stats| stats.share_evictions >= 2 * 4 - 1).await;
    close(cache);
    let cache = Cache::open(&config).0;
    assert_eq!(cache.stats().disk_own_entries, 10);
    assert_eq!(present(&cache, b"ada", 10).await, [0, 4, 5, 6, 7]);
    assert_eq!(present(&cache, b"bob", 10).await, [0, 1, 2, 3, 4]);
    close(cache);
}
