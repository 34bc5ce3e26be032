//! The store by itself, through the library, for what a whole gateway would blur.
//!
//! - `fill DIR COUNT` stores so many small answers on disk.
//! - `open DIR COUNT` opens them: how long until they have joined, memory, and the time of a read.
//! - `memory MIB COUNT` stores so many in memory alone: the bytes per answer beyond what is configured.
//! - `ratio` replays made-up traces: the share of hits beside moka (TinyLFU) and LRU of as many entries.
//!
//! Release builds alone say anything: `cargo bench --bench store -- ratio`.
#![allow(clippy::unwrap_used, reason = "a failed measurement has nothing better to do than to panic")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt;
use gatewright::cache::{Cache, CacheConfig, CacheRequest, Lookup, RouteCacheOptions, Times};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use moka::policy::EvictionPolicy;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn config(dir: &Path, memory: u64) -> CacheConfig {
    CacheConfig {
        dir: Some(dir.to_owned()),
        memory_bytes: memory,
        disk_bytes: 16 << 30,
        open_wait: Duration::ZERO,
        ..CacheConfig::default()
    }
}

fn request<'a>(path: &'a str, headers: &'a HeaderMap, options: &'a RouteCacheOptions) -> CacheRequest<'a> {
    CacheRequest {
        method: &Method::GET,
        host: "bench.test",
        path,
        query: None,
        headers,
        scheme: "http",
        from_trusted: false,
        partition: None,
        options,
        now_ms: gatewright::exchange::now_ms(),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["fill", dir, count] => fill(Path::new(dir), count.parse().unwrap()),
        ["open", dir, count] => open(Path::new(dir), count.parse().unwrap()),
        ["memory", mib, count] => memory(mib.parse().unwrap(), count.parse().unwrap()),
        ["ratio"] => ratio(),
        _ => panic!("fill DIR COUNT | open DIR COUNT | memory MIB COUNT | ratio"),
    }
}

/// Stores one answer of `size` bytes, about.
fn store(cache: &Cache, path: &str, size: usize) {
    let (options, asked, mut headers) = (RouteCacheOptions::default(), HeaderMap::new(), HeaderMap::new());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=86400"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let request = request(path, &asked, &options);
    let times = Times { sent_ms: request.now_ms, received_ms: request.now_ms };
    let body = format!("{{\"path\":\"{path}\",\"filler\":\"{:0>size$}\"}}", "");
    let fill = cache.admit(&request, StatusCode::OK, &headers, times, cache.moment()).unwrap();
    let source = Full::new(Bytes::from(body)).map_err(|never| match never {});
    fill.through(Box::pin(source)).collect().now_or_never().unwrap().unwrap();
}

fn memory(mib: u64, count: u64) {
    let before = status("VmRSS");
    let config = CacheConfig { memory_bytes: mib << 20, ..CacheConfig::default() };
    let (cache, _) = Cache::open(&config);
    for i in 0..count {
        store(&cache, &format!("/items/{i}"), 10);
    }
    let (stats, rss) = (cache.stats(), status("VmRSS"));
    let beyond = (rss << 20).saturating_sub((before + mib) << 20);
    println!(
        "{} of {count} answers in memory, {} MiB by count, {mib} MiB configured; RSS {before} -> {rss} MiB: {} bytes \
         per answer beyond what is configured",
        stats.memory_entries,
        stats.memory_bytes >> 20,
        beyond / stats.memory_entries,
    );
}

/// Requests of a trace.
const REQUESTS: usize = 1_000_000;

/// Addresses of a trace that are asked for again.
const ADDRESSES: usize = 100_000;

/// Numbers of addresses: the first are asked for most. Of a hundred requests `once` are for an address that is
/// never asked for again, as crawlers and scans do.
fn trace(skew: f64, once: u32) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(7);
    let weights = (1..=ADDRESSES).map(|rank| (rank as f64).powf(-skew));
    let sums: Vec<f64> = weights
        .scan(0.0, |sum, weight| {
            Some({
                *sum += weight;
                *sum
            })
        })
        .collect();
    let total = sums[ADDRESSES - 1];
    let mut fresh = ADDRESSES..;
    (0..REQUESTS)
        .map(|_| match random.u32(0..100) < once {
            true => fresh.next().unwrap(),
            false => {
                let drawn = random.f64() * total;
                sums.partition_point(|sum| *sum < drawn)
            }
        })
        .collect()
}

fn ratio() {
    println!("| trace | entries | Gatewright | moka | LRU |\n| --- | ---: | ---: | ---: | ---: |");
    for (name, skew, once) in [
        ("Zipf 0.8", 0.8, 0),
        ("Zipf 1.0", 1.0, 0),
        ("Zipf 0.8, 30 % asked once", 0.8, 30),
        ("Zipf 1.0, 30 % asked once", 1.0, 30),
    ] {
        let trace = trace(skew, once);
        for mib in [4, 16] {
            let (own, entries) = own_hits(&trace, mib);
            let moka = moka_hits(&trace, entries, EvictionPolicy::tiny_lfu());
            let lru = moka_hits(&trace, entries, EvictionPolicy::lru());
            let percent = |hits: usize| hits as f64 * 100.0 / REQUESTS as f64;
            println!(
                "| {name} | {entries} | {:.1} % | {:.1} % | {:.1} % |",
                percent(own),
                percent(moka),
                percent(lru)
            );
        }
    }
}

/// Hits of this cache, and how many entries it holds in the end.
fn own_hits(trace: &[usize], mib: u64) -> (usize, u64) {
    let config = CacheConfig { memory_bytes: mib << 20, ..CacheConfig::default() };
    let (cache, _) = Cache::open(&config);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (options, asked, mut hits) = (RouteCacheOptions::default(), HeaderMap::new(), 0);
    for number in trace {
        let path = format!("/items/{number}");
        match runtime.block_on(cache.lookup(&request(&path, &asked, &options))) {
            Lookup::Fresh(_) => hits += 1,
            _ => store(&cache, &path, 200),
        }
    }
    (hits, cache.stats().memory_entries)
}

fn moka_hits(trace: &[usize], entries: u64, policy: EvictionPolicy) -> usize {
    let cache = moka::sync::Cache::builder().max_capacity(entries).eviction_policy(policy).build();
    let mut hits = 0;
    for (i, number) in trace.iter().enumerate() {
        if cache.get(number).is_some() {
            hits += 1;
        } else {
            cache.insert(*number, ());
        }
        if i % 64 == 0 {
            // Its own housekeeping is by time; here a request takes no time.
            cache.run_pending_tasks();
        }
    }
    hits
}

fn status(figure: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn fill(dir: &Path, count: u64) {
    let (cache, said) = Cache::open(&config(dir, 64 << 20));
    println!("{said:?}");
    while !cache.stats().disk_ok {
        std::thread::sleep(Duration::from_millis(10));
    }
    let start = Instant::now();
    let first = cache.stats().disk_entries;
    for i in first..count {
        store(&cache, &format!("/items/{i}"), 200);
        while i > cache.stats().disk_entries + 3000 {
            std::thread::sleep(Duration::from_millis(1));
        }
        if i % 100_000 == 0 {
            let stats = cache.stats();
            println!(
                "{i}: {:?} rss {} MiB disk {} MB",
                start.elapsed(),
                status("VmRSS"),
                stats.disk_bytes / 1_000_000
            );
        }
    }
    println!("{:?}", cache.stats());
    let begin = Instant::now();
    println!("closed {} in {:?}", cache.close(Duration::from_secs(60)), begin.elapsed());
    println!("filled in {:?}, peak {} MiB", start.elapsed(), status("VmHWM"));
}

fn open(dir: &Path, count: u64) {
    println!("before {} MiB", status("VmRSS"));
    let start = Instant::now();
    let (cache, said) = Cache::open(&config(dir, 64 << 20));
    println!("open returned after {:?}: {said:?}", start.elapsed());
    while !cache.stats().disk_ok {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("joined after {:?}, {} MiB, peak {}", start.elapsed(), status("VmRSS"), status("VmHWM"));
    let options = RouteCacheOptions::default();
    let asked = HeaderMap::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut hits, mut n) = (0, 0);
    let start = Instant::now();
    for i in (0..count).step_by(7) {
        let path = format!("/items/{i}");
        let request = request(&path, &asked, &options);
        n += 1;
        hits += u64::from(matches!(runtime.block_on(cache.lookup(&request)), Lookup::Fresh(_)));
    }
    println!("{hits} of {n} hits, {:?} each; {} MiB", start.elapsed() / n, status("VmRSS"));
    let stats = cache.stats();
    println!("{stats:?}");
    let begin = Instant::now();
    println!("closed {} in {:?}", cache.close(Duration::from_secs(60)), begin.elapsed());
}
