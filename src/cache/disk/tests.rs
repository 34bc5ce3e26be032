//! The disk tier through the cache, on real files: restarts, crashes, damage, errors.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Instant,
};

use bytes::Bytes;
use http::{Method, StatusCode};

use super::*;
use crate::cache::{
    Cache, CacheReport, Inner, Lookup, Miss, Purge, Scope, memory,
    purge::Fate,
    store::{Record, Store, StoreError, StoreStats},
    tests::{Ask, body, fill, map, said},
};

mod accounting;
mod crash;

const FRESH: (&str, &str) = ("cache-control", "max-age=600");

fn config(dir: &Path) -> CacheConfig {
    CacheConfig { dir: Some(dir.to_owned()), open_wait: Duration::from_secs(20), ..Default::default() }
}

fn open(dir: &Path) -> Cache {
    let (cache, diagnostics) = Cache::open(&config(dir));
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    cache
}

#[allow(clippy::needless_pass_by_value, reason = "what is closed is not used again")]
fn close(cache: Cache) {
    assert!(cache.close(Duration::from_secs(20)));
}

/// How often a long scenario runs: its full size only where `GATEWRIGHT_SOAK` is set.
fn rounds(short: usize, long: usize) -> usize {
    if std::env::var_os("GATEWRIGHT_SOAK").is_some() { long } else { short }
}

/// A body that tells its path and length.
fn content(path: &str, len: usize) -> Vec<u8> {
    path.bytes().chain("/".bytes()).cycle().take(len).collect()
}

async fn stored(cache: &Cache, path: &str) -> Option<(Bytes, String)> {
    let ask = Ask::get(path);
    match cache.lookup(&ask.request()).await {
        Lookup::Fresh(hit) => {
            let response = hit.respond(&ask.request());
            let status = said(response.headers()).to_owned();
            Some((body(response).await, status))
        }
        _ => None,
    }
}

/// Waits until `done` says so, for at most ten seconds.
async fn until(cache: &Cache, done: impl Fn(&CacheReport) -> bool) {
    let start = Instant::now();
    while !done(&cache.stats()) {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", cache.stats());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn small_large_and_streamed_bodies_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 4_000, 5_000, 70_000, 3_000_000];
    let cache = open(dir.path());
    for size in sizes {
        let path = format!("/{size}");
        fill(&cache, &Ask::get(&path), 200, &[FRESH, ("x-a", "1")], &content(&path, size)).unwrap();
    }
    close(cache);
    let cache = open(dir.path());
    assert_eq!(cache.stats().disk_entries, sizes.len() as u64);
    for size in sizes {
        let path = format!("/{size}");
        let (body, status) = stored(&cache, &path).await.unwrap_or_else(|| panic!("{path}"));
        assert_eq!(body, content(&path, size), "{path}");
        assert!(status.ends_with("detail=disk"), "{status}");
    }
    // A body that is too large for memory is read in parts, also from its middle.
    let ask = Ask::get("/3000000").with(&[("range", "bytes=1999990-2000009")]);
    let Lookup::Fresh(hit) = cache.lookup(&ask.request()).await else { panic!() };
    let part = hit.respond(&ask.request());
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(body(part).await, content("/3000000", 3_000_000)[1_999_990..2_000_010]);
    // The others are in memory from then on.
    assert_eq!(stored(&cache, "/5000").await.unwrap().1, "gatewright; hit; ttl=600");
    assert_eq!(cache.stats().disk_blobs, 0);
    close(cache);
}

#[tokio::test]
async fn variants_principals_and_validations_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let ask = |lang: &str| Ask::get("/x").with(&[("accept-language", lang)]);
    let fields = [FRESH, ("vary", "accept-language"), ("etag", "\"a\""), ("cache-status", "up; hit")];
    fill(&cache, &ask("de"), 200, &fields, b"hallo").unwrap();
    fill(&cache, &ask("en"), 200, &fields, b"hello").unwrap();
    fill(&cache, &Ask::get("/me").of(b"anna"), 200, &[FRESH], b"anna's").unwrap();
    let later = ask("de").later(1000);
    let Lookup::Stale(found, _) = cache.lookup(&later.request()).await else { panic!() };
    cache.refresh(&later.request(), found, &map(&[("x-new", "1")]), later.times()).unwrap();
    close(cache);
    let cache = open(dir.path());
    for (lang, at, expected) in [("de", 1000, "hallo"), ("en", 0, "hello")] {
        let ask = ask(lang).later(at);
        let Lookup::Fresh(hit) = cache.lookup(&ask.request()).await else { panic!("{lang}") };
        let response = hit.respond(&ask.request());
        assert!(response.headers()["cache-status"].to_str().unwrap().starts_with("up; hit, gatewright; hit"));
        assert_eq!(response.headers().contains_key("x-new"), lang == "de");
        assert_eq!(body(response).await, expected);
    }
    assert!(matches!(cache.lookup(&ask("fr").request()).await, Lookup::Miss(Miss::Vary)));
    assert!(matches!(cache.lookup(&Ask::get("/me").request()).await, Lookup::Miss(_)));
    assert!(matches!(cache.lookup(&Ask::get("/me").of(b"bert").request()).await, Lookup::Miss(_)));
    assert!(matches!(cache.lookup(&Ask::get("/me").of(b"anna").request()).await, Lookup::Fresh(_)));
    close(cache);
}

#[tokio::test]
async fn what_memory_has_is_not_replaced_by_the_older_copy_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let ask = |lang: &str| Ask::get("/x").with(&[("accept-language", lang)]);
    let fields = [("cache-control", "max-age=5"), ("vary", "accept-language"), ("etag", "\"a\"")];
    fill(&cache, &ask("de"), 200, &fields, b"hallo").unwrap();
    until(&cache, |stats| stats.disk_entries == 1).await;
    // Too short-lived to be written once more.
    let later = ask("de").later(100);
    let Lookup::Stale(found, _) = cache.lookup(&later.request()).await else { panic!() };
    cache.refresh(&later.request(), found, &map(&[]), later.times()).unwrap();
    assert!(matches!(cache.lookup(&ask("en").request()).await, Lookup::Miss(Miss::Vary)));
    assert!(matches!(cache.lookup(&later.request()).await, Lookup::Fresh(_)));
    close(cache);
}

#[tokio::test]
async fn what_was_invalidated_or_purged_does_not_come_back_from_either_generation() {
    let dir = tempfile::tempdir().unwrap();
    let small = CacheConfig { disk_bytes: 4_000_000, ..config(dir.path()) };
    let cache = Cache::open(&small).0;
    let paths = ["/put", "/prefix/a", "/exact", "/kept"];
    for path in paths {
        fill(&cache, &Ask::get(path), 200, &[FRESH], path.as_bytes()).unwrap();
    }
    // Turns the generation, so that they lie in the older one.
    let first = cache.inner.disk.as_ref().unwrap().generation();
    let mut i = 0;
    while cache.inner.disk.as_ref().unwrap().generation() == first {
        fill(&cache, &Ask::get(&format!("/fill/{i}")), 200, &[FRESH], &[7; 100_000]).unwrap();
        i += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(i < 500);
    }
    cache.invalidate(&Ask::get("/put").method(Method::PUT).request(), StatusCode::OK, &map(&[])).await;
    let purge = |host: Option<&str>, scope| cache.apply(Purge::hard(host, scope));
    purge(None, Scope::Prefix("/prefix".to_owned())).await.unwrap();
    purge(Some("a.test"), Scope::Path("/exact".to_owned())).await.unwrap();
    // No orderly end: what was acknowledged must hold without one.
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), copy.path());
    drop(cache);
    let cache = Cache::open(&CacheConfig { dir: Some(copy.path().to_owned()), ..small }).0;
    for path in paths {
        let found = stored(&cache, path).await.map(|(body, _)| body);
        assert_eq!(found.is_some(), path == "/kept", "{path}");
    }
    cache.apply(Purge::everything()).await.unwrap();
    assert!(stored(&cache, "/kept").await.is_none());
    close(cache);
    let cache = open(copy.path());
    assert!(stored(&cache, "/kept").await.is_none());
    assert_eq!(cache.stats().disk_entries, 0);
    close(cache);
}

#[tokio::test]
async fn space_is_bounded_and_what_is_asked_for_outlives_its_generation() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = 12_000_000;
    let config = CacheConfig { disk_bytes: bytes, memory_bytes: 1 << 20, ..config(dir.path()) };
    let cache = Cache::open(&config).0;
    fill(&cache, &Ask::get("/hot"), 200, &[FRESH], b"hot").unwrap();
    fill(&cache, &Ask::get("/hot-file"), 200, &[FRESH], &content("/hot-file", 20_000)).unwrap();
    let start = Instant::now();
    let mut i = 0;
    while cache.stats().disk_generations_dropped < 3 {
        fill(&cache, &Ask::get(&format!("/{i}")), 200, &[FRESH], &content("x", 50_000)).unwrap();
        assert!(stored(&cache, "/hot").await.is_some(), "after {i}");
        assert_eq!(stored(&cache, "/hot-file").await.unwrap().0, content("/hot-file", 20_000));
        i += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", cache.stats());
    }
    close(cache);
    let size = dir_size(dir.path());
    assert!(size < bytes * 3 / 2, "{size}");
    let cache = Cache::open(&config).0;
    assert_eq!(stored(&cache, "/hot").await.unwrap().0, "hot");
    assert!(stored(&cache, "/0").await.is_none());
    assert_eq!(cache.stats().disk_blobs, 0);
    close(cache);
}

#[tokio::test]
async fn many_records_of_the_largest_size_never_become_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let long = "h".repeat(5_500);
    for i in 0..600 {
        let path = format!("/{i}");
        let (fields, body) = match i % 2 {
            0 => ([FRESH, ("x-long", &*long)], content(&path, 9_000)),
            _ => ([FRESH, ("x-long", "short")], content(&path, 3_600)),
        };
        fill(&cache, &Ask::get(&path), 200, &fields, &body).unwrap();
        if i % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    until(&cache, |stats| stats.disk_entries + stats.disk_writes_skipped >= 600).await;
    assert!(cache.stats().disk_entries > 500, "{:?}", cache.stats());
    close(cache);
    let blobs = |dir: PathBuf| fs::read_dir(dir.join("index/blobs")).unwrap().count();
    let numbers = recovery::generations(dir.path());
    assert!(numbers.iter().all(|n| blobs(recovery::generation_dir(dir.path(), *n)) == 0));
}

#[test]
fn a_second_instance_is_refused_with_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let (second, diagnostics) = Cache::open(&config(dir.path()));
    assert_eq!(diagnostics.len(), 1);
    assert!(diagnostics[0].is_error());
    assert_eq!(diagnostics[0].code, codes::CACHE_IN_USE);
    assert!(diagnostics[0].label.contains(&std::process::id().to_string()));
    drop(second);
    close(first);
    close(open(dir.path()));
}

#[tokio::test]
async fn a_folder_that_cannot_be_had_is_said_and_memory_works() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let (cache, diagnostics) = Cache::open(&config(&file.join("cache")));
    assert_eq!(diagnostics[0].code, codes::CACHE_UNAVAILABLE);
    assert!(!diagnostics[0].is_error(), "the gateway starts");
    assert_eq!(fill(&cache, &Ask::get("/x"), 200, &[FRESH], b"x"), Ok(true));
    assert!(cache.stats().disk_problem.contains("cannot be made"));
    // It is taken as soon as it can be had.
    fs::remove_file(&file).unwrap();
    until(&cache, |stats| stats.disk_ok).await;
    fill(&cache, &Ask::get("/y"), 200, &[FRESH], b"y").unwrap();
    until(&cache, |stats| stats.disk_entries == 1).await;
    close(cache);
    assert_eq!(stored(&open(&file.join("cache")), "/y").await.unwrap().0, "y");
}

/// Fills a store of small and large bodies and gives its folder.
async fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    for i in 0..200 {
        let path = format!("/{i}");
        let size = if i % 4 == 0 { 30_000 } else { 700 };
        fill(&cache, &Ask::get(&path), 200, &[FRESH], &content(&path, size)).unwrap();
    }
    close(cache);
    dir
}

/// Opens the damaged store: it must come up, serve nothing wrong, and take new responses.
async fn check_damaged(dir: &Path, what: &str) -> (u64, Vec<Diagnostic>) {
    let (cache, diagnostics) = Cache::open(&config(dir));
    assert!(
        diagnostics.iter().all(|d| d.code == codes::CACHE_DAMAGED && !d.is_error()),
        "{what}: {diagnostics:?}"
    );
    let mut found = 0;
    for i in 0..200 {
        let path = format!("/{i}");
        let size = if i % 4 == 0 { 30_000 } else { 700 };
        if let Some((body, _)) = stored(&cache, &path).await {
            assert_eq!(body, content(&path, size), "{what}: {path}");
            found += 1;
        }
    }
    fill(&cache, &Ask::get("/new"), 200, &[FRESH], b"new").unwrap();
    until(&cache, |stats| stats.disk_ok && stats.disk_entries > 0).await;
    close(cache);
    let cache = open(dir);
    assert_eq!(stored(&cache, "/new").await.unwrap().0, "new", "{what}");
    close(cache);
    (found, diagnostics)
}

#[tokio::test]
async fn an_index_that_does_not_open_starts_empty_and_says_so() {
    let good = filled().await;
    let index = |dir: &Path| recovery::generation_dir(dir, recovery::generations(dir)[0]).join("index");
    type Harm = (&'static str, fn(&Path));
    let harms: [Harm; 3] = [
        ("conf overwritten", |index| fs::write(index.join("conf"), b"\xff\xff\xff\xff garbage").unwrap()),
        ("db is a folder", |index| {
            fs::remove_file(index.join("db")).unwrap();
            fs::create_dir(index.join("db")).unwrap();
        }),
        ("index is a file", |index| {
            fs::remove_dir_all(index).unwrap();
            fs::write(index, b"x").unwrap();
        }),
    ];
    for (what, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(good.path(), dir.path());
        harm(&index(dir.path()));
        let (found, diagnostics) = check_damaged(dir.path(), what).await;
        assert_eq!((found, diagnostics.len()), (0, 1), "{what}");
        assert!(diagnostics[0].title.contains("damaged and starts empty"));
    }
    let dir = tempfile::tempdir().unwrap();
    copy_dir(good.path(), dir.path());
    fs::write(dir.path().join("meta"), "{}\n0\n").unwrap();
    let (found, diagnostics) = check_damaged(dir.path(), "meta").await;
    assert_eq!((found, diagnostics.len()), (0, 1));
}

#[tokio::test]
async fn cut_and_flipped_files_never_give_a_wrong_byte() {
    let good = filled().await;
    let files = files_of(good.path());
    let mut random = 1_u64;
    for round in 0..rounds(24, 1000) {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(good.path(), dir.path());
        let mut what = String::new();
        for (i, file) in files.iter().enumerate() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let path = dir.path().join(file);
            let mut bytes = fs::read(&path).unwrap();
            let hit = (random >> 60) == 0 || i == round % files.len();
            if bytes.is_empty() || !hit || file.ends_with("lock") {
                continue;
            }
            let at = (random >> 20) as usize % bytes.len();
            what += &format!("{} at {at} of {}; ", file.display(), bytes.len());
            match round % 2 {
                0 => bytes.truncate(at),
                _ => bytes[at] ^= 1 << (random >> 8 & 7),
            }
            fs::write(&path, bytes).unwrap();
        }
        check_damaged(dir.path(), &what).await;
    }
}

#[tokio::test]
async fn a_damaged_body_is_a_miss_and_is_forgotten() {
    let dir = filled().await;
    let bodies =
        files_of(dir.path()).into_iter().filter(|f| f.components().any(|c| c.as_os_str() == "bodies"));
    for file in bodies {
        let mut bytes = fs::read(dir.path().join(&file)).unwrap();
        bytes[12_345] ^= 1;
        fs::write(dir.path().join(&file), bytes).unwrap();
    }
    let cache = open(dir.path());
    for i in (0..200).step_by(4) {
        assert!(stored(&cache, &format!("/{i}")).await.is_none());
    }
    assert_eq!(cache.stats().disk_corrupt, 50);
    until(&cache, |stats| stats.disk_entries == 150).await;
    close(cache);
}

#[tokio::test]
async fn a_folder_that_is_taken_away_costs_hits_only_and_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cache");
    let mode = || fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
    let cache = open(&folder);
    assert_eq!(mode(), 0o700, "for its owner alone");
    fill(&cache, &Ask::get("/a"), 200, &[FRESH], b"a").unwrap();
    until(&cache, |stats| stats.disk_entries == 1).await;
    fs::remove_dir_all(&folder).unwrap();
    fill(&cache, &Ask::get("/b"), 200, &[FRESH], b"b").unwrap();
    until(&cache, |stats| !stats.disk_ok).await;
    assert!(!cache.stats().disk_problem.is_empty());
    assert_eq!(stored(&cache, "/b").await.unwrap().0, "b");
    until(&cache, |stats| stats.disk_ok).await;
    assert_eq!(mode(), 0o700, "the new one too");
    fill(&cache, &Ask::get("/c"), 200, &[FRESH], b"c").unwrap();
    close(cache);
    let cache = open(&folder);
    assert_eq!(stored(&cache, "/c").await.unwrap().0, "c");
    close(cache);
}

/// A store in memory that fails, panics or sleeps when told to.
#[derive(Default)]
struct Faults {
    records: Mutex<std::collections::BTreeMap<Vec<u8>, Vec<u8>>>,
    fail_writes: AtomicBool,
    panic_reads: AtomicBool,
    read_ms: AtomicU64,
    opened: AtomicU64,
}

struct Faulty(Arc<Faults>);

impl Store for Faulty {
    fn get(&self, prefix: &[u8], limit: usize) -> Result<Vec<Record>, StoreError> {
        std::thread::sleep(Duration::from_millis(self.0.read_ms.load(Ordering::Relaxed)));
        assert!(!self.0.panic_reads.load(Ordering::Relaxed), "told to");
        let records = self.0.records.lock().unwrap();
        let found = records.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn after(&self, key: &[u8], limit: usize) -> Result<Vec<Record>, StoreError> {
        let records = self.0.records.lock().unwrap();
        let found = records.range::<[u8], _>((std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded));
        Ok(found.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0.fail_writes.load(Ordering::Relaxed) {
            true => Err(StoreError("no space left on device".to_owned())),
            false => Ok(self.0.records.lock().unwrap().insert(key.to_vec(), value.to_vec())),
        }
    }

    fn remove(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.records.lock().unwrap().remove(key))
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn stats(&self) -> Result<StoreStats, StoreError> {
        Ok(StoreStats::default())
    }
}

/// A cache over one store that can be made to fail.
fn faulty(dir: &Path) -> (Cache, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let given = Arc::clone(&faults);
    let opener: Opener = Arc::new(move |_| {
        given.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Faulty(Arc::clone(&given))))
    });
    let (stats, epochs) = (Arc::new(CacheStats::default()), Arc::new(Epochs::new(1 << 12, 1)));
    let (disk, diagnostics) = Disk::open_with(dir, &config(dir), &epochs, &stats, opener);
    assert!(diagnostics.is_empty());
    let disk = disk.unwrap();
    let inner = Inner {
        seed: disk.seed(),
        memory: memory::Memory::new(
            &CacheConfig { memory_bytes: 1 << 20, ..config(dir) },
            Arc::clone(&stats),
        ),
        disk: Some(disk),
        epochs,
        stats,
        max_object_bytes: 1 << 20,
        budget: AtomicU64::new(1 << 30),
        flights: Arc::default(),
        reloads: crate::cache::reloads::Reloads::default(),
        has_parts: AtomicBool::new(false),
        outbox: OnceLock::new(),
    };
    (Cache { inner: Arc::new(inner) }, faults)
}

#[tokio::test]
async fn a_write_error_closes_the_tier_for_a_while_and_it_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, faults) = faulty(dir.path());
    assert_eq!(faults.opened.load(Ordering::Relaxed), 1);
    faults.fail_writes.store(true, Ordering::Relaxed);
    fill(&cache, &Ask::get("/a"), 200, &[FRESH], b"a").unwrap();
    until(&cache, |stats| !stats.disk_ok).await;
    assert!(cache.stats().disk_problem.contains("no space left"));
    // Traffic goes on, and what lies only on disk is a miss that says so.
    assert_eq!(stored(&cache, "/a").await.unwrap().0, "a");
    assert!(matches!(cache.lookup(&Ask::get("/z").request()).await, Lookup::Miss(Miss::DiskClosed)));
    faults.fail_writes.store(false, Ordering::Relaxed);
    until(&cache, |stats| stats.disk_ok).await;
    assert!(faults.opened.load(Ordering::Relaxed) > 1);
    fill(&cache, &Ask::get("/b"), 200, &[FRESH], b"b").unwrap();
    until(&cache, |stats| stats.disk_entries > 0).await;
}

#[tokio::test]
async fn a_removal_during_a_failure_is_carried_out_when_the_tier_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, faults) = faulty(dir.path());
    fill(&cache, &Ask::get("/a"), 200, &[FRESH], b"a").unwrap();
    until(&cache, |stats| stats.disk_entries == 1).await;
    faults.fail_writes.store(true, Ordering::Relaxed);
    fill(&cache, &Ask::get("/b"), 200, &[FRESH], b"b").unwrap();
    until(&cache, |stats| !stats.disk_ok).await;
    let waiting = cache.inner.disk.as_ref().unwrap().remove_place(crate::cache::key::place(
        "a.test",
        "/a",
        cache.inner.seed,
    ));
    faults.fail_writes.store(false, Ordering::Relaxed);
    let _ = waiting.unwrap().await;
    until(&cache, |stats| stats.disk_ok).await;
    assert_eq!(faults.records.lock().unwrap().keys().filter(|key| key.len() == 32).count(), 0);
}

#[tokio::test]
async fn a_slow_or_panicking_index_is_a_miss_within_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, faults) = faulty(dir.path());
    fill(&cache, &Ask::get("/a"), 200, &[FRESH], b"a").unwrap();
    until(&cache, |stats| stats.disk_entries == 1).await;
    cache.inner.memory.purge(|_, _| Fate::Gone);
    faults.read_ms.store(1500, Ordering::Relaxed);
    let start = Instant::now();
    assert!(matches!(cache.lookup(&Ask::get("/a").request()).await, Lookup::Miss(Miss::Disk)));
    assert!(start.elapsed() < Duration::from_millis(1400), "{:?}", start.elapsed());
    assert_eq!(cache.stats().disk_reads_late, 1);
    faults.read_ms.store(0, Ordering::Relaxed);
    faults.panic_reads.store(true, Ordering::Relaxed);
    assert!(matches!(cache.lookup(&Ask::get("/a").request()).await, Lookup::Miss(Miss::Disk)));
    until(&cache, |stats| stats.disk_errors > 0).await;
    faults.panic_reads.store(false, Ordering::Relaxed);
    until(&cache, |stats| stats.disk_ok).await;
    assert_eq!(stored(&cache, "/a").await.unwrap().0, "a");
}

#[tokio::test]
async fn a_full_disk_costs_hits_only_and_heals_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"])
        .arg(dir.path())
        .stderr(Stdio::null())
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        // Past the harness, which keeps what a test that passes prints.
        let loud = b"SKIPPED: a tmpfs cannot be mounted here, so the full disk is not tested\n";
        std::io::Write::write_all(&mut std::io::stderr(), loud).unwrap();
        return;
    }
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let _unmount = Unmount(dir.path().to_owned());
    let ballast = dir.path().join("ballast");
    let cache = open(&dir.path().join("cache"));
    fill(&cache, &Ask::get("/before"), 200, &[FRESH], b"before").unwrap();
    until(&cache, |stats| stats.disk_entries == 1).await;
    let mut room = 6 << 20;
    while room > 4096 {
        let old = fs::read(&ballast).unwrap_or_default();
        if fs::write(&ballast, [&old[..], &vec![1; room]].concat()).is_err() {
            fs::write(&ballast, &old).unwrap();
            room /= 2;
        }
    }
    let mut i = 0;
    while cache.stats().disk_ok {
        let path = format!("/{i}");
        fill(&cache, &Ask::get(&path), 200, &[FRESH], &content(&path, 20_000)).unwrap();
        assert_eq!(stored(&cache, &path).await.unwrap().0, content(&path, 20_000));
        i += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(i < 500, "{:?}", cache.stats());
    }
    assert!(!cache.stats().disk_problem.is_empty());
    fs::remove_file(&ballast).unwrap();
    let start = Instant::now();
    while !cache.stats().disk_ok {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", cache.stats());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fill(&cache, &Ask::get("/after"), 200, &[FRESH], b"after").unwrap();
    close(cache);
    let cache = open(&dir.path().join("cache"));
    assert_eq!(stored(&cache, "/after").await.unwrap().0, "after");
    close(cache);
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        // What was moved aside is being deleted.
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("trash-") {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(dir).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn copy_dir(from: &Path, to: &Path) {
    for file in files_of(from) {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(file), target).unwrap();
    }
    for generation in recovery::generations(from) {
        let _ = fs::create_dir_all(recovery::generation_dir(to, generation).join("index/blobs"));
    }
}

fn dir_size(dir: &Path) -> u64 {
    files_of(dir).iter().map(|file| fs::metadata(dir.join(file)).map_or(0, |m| m.len())).sum()
}
