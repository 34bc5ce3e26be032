//! The store by itself, through the library: `fill DIR COUNT`, `open DIR COUNT`.
//!
//! Release builds alone say anything: `cargo bench --bench store -- fill /tmp/x 1000000`.
#![allow(clippy::unwrap_used, reason = "a failed measurement has nothing better to do than to panic")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use gatewright::cache::{Cache, CacheConfig, CacheRequest, Lookup, RouteCacheOptions, Times};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

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
        _ => panic!("fill DIR COUNT | open DIR COUNT"),
    }
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
    let options = RouteCacheOptions::default();
    let asked = HeaderMap::new();
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=86400"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let first = cache.stats().disk_entries;
    for i in first..count {
        let path = format!("/items/{i}");
        let request = request(&path, &asked, &options);
        let times = Times { sent_ms: request.now_ms, received_ms: request.now_ms };
        let body = format!("{{\"id\":{i},\"filler\":\"{i:0>200}\"}}");
        let mut fill = cache.admit(&request, StatusCode::OK, &headers, times, cache.moment()).unwrap();
        fill.data(&body.into());
        assert!(fill.finish());
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
