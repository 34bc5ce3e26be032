//! The running process: the data plane's service, signals, watched files, gauges, and the way down.

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::{engine::Engine, nodes, run::CLOSE_WITHIN, say, show};
use crate::{
    cache::CacheReport,
    diagnostic::{self, render::plural},
    exchange::Body,
    gateway::Live,
    problem::Problem,
    provider::watch,
    proxy::{Connection, Proxy},
    server::{ConnInfo, Service, Signal, Stats},
};

/// The data plane's service: every worker shares the proxy.
pub struct DataPlane(pub Arc<Proxy>);

impl Service for DataPlane {
    fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        conn: Arc<ConnInfo>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static {
        Arc::clone(&self.0).handle(connection(&conn), request)
    }

    fn refuse(&self, problem: Problem, conn: &ConnInfo) -> Response<Body> {
        self.0.refuse(connection(conn), problem)
    }
}

fn connection(conn: &ConnInfo) -> Connection {
    Connection { peer: conn.peer.ip(), worker: conn.worker, scheme: "http" }
}

/// SIGTERM and Ctrl-C drain, a second one ends at once; SIGHUP loads the configuration again.
pub async fn signals(engine: Arc<Engine>, mut signals: mpsc::Receiver<Signal>) {
    while let Some(signal) = signals.recv().await {
        match signal {
            Signal::Stop { .. } if engine.drain.is_leaving() => std::process::exit(signal.exit_code()),
            Signal::Stop { .. } => {
                say("  finishing what is in flight; once more ends at once");
                engine.drain.start();
            }
            Signal::Reload => reload(&engine).await,
        }
    }
}

/// Takes over keys that another process changed, and writes down when keys were last used.
pub async fn keep_keys(engine: Arc<Engine>) {
    let mut seconds = 0_u64;
    while !engine.drain.is_leaving() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        seconds += 1;
        let keys = Arc::clone(&engine.live.keys);
        let flush = seconds.is_multiple_of(60);
        let kept = tokio::task::spawn_blocking(move || {
            let refreshed = keys.refresh();
            if flush { refreshed.and(keys.flush()) } else { refreshed }
        });
        // Said once a minute at most: the state may stay so for a long time.
        if let Ok(Err(fault)) = kept.await
            && (flush || seconds == 1)
        {
            show(&[*fault]);
        }
    }
}

/// Looks at the files of the configuration and loads it again when they have changed.
pub async fn watch_files(engine: Arc<Engine>) {
    let mut before = engine.look();
    while !engine.drain.is_leaving() {
        tokio::time::sleep(watch::INTERVAL).await;
        if engine.has_changed(&before).is_some() {
            reload(&engine).await;
        }
        before = engine.look();
    }
}

/// Loading imports and compiles: it has a thread of its own.
async fn reload(engine: &Arc<Engine>) {
    let worker = Arc::clone(engine);
    let outcome = tokio::task::spawn_blocking(move || worker.reload()).await;
    match outcome {
        Ok(Ok((generation, said))) => {
            show(&said);
            say(&format!(
                "  generation {} serves: {}, {}",
                generation.number,
                plural(generation.operations, "operation"),
                plural(generation.warnings, "warning")
            ));
        }
        Ok(Err(said)) => {
            show(&said);
            let (errors, warnings) = diagnostic::count(&said);
            let number = engine.proxy.current.load().number;
            let tally = diagnostic::render::tally(errors, warnings);
            say(&format!("{tally}. Generation {number} keeps serving; nothing was changed."));
        }
        Err(error) => tracing::error!(%error, "loading the configuration failed"),
    }
}

/// A metric of the cache: name, help, and where it stands in the report.
type OfCache = (&'static str, &'static str, fn(&CacheReport) -> u64);

const CACHE_GAUGES: [OfCache; 11] = [
    ("cache_memory_entries", "Answers held in memory", |report| report.memory_entries),
    ("cache_memory_bytes", "Bytes that answers take in memory", |report| report.memory_bytes),
    ("cache_memory_own_bytes", "Those of them that are for one caller alone", |report| {
        report.memory_own_bytes
    }),
    ("cache_memory_own_entries", "Answers in memory for one caller alone, every variant counted", |report| {
        report.memory_own_entries
    }),
    ("cache_disk_entries", "Answers stored on disk", |report| report.disk_entries),
    ("cache_disk_own_entries", "Those of them that are for one caller alone", |report| {
        report.disk_own_entries
    }),
    ("cache_disk_bytes", "Bytes that the cache's files take on disk", |report| report.disk_bytes),
    ("cache_disk_content_bytes", "Bytes of the answers themselves on disk", |report| {
        report.disk_content_bytes
    }),
    ("cache_disk_working", "Whether the cache on disk is open and works", |report| u64::from(report.disk_ok)),
    ("cache_disk_blobs", "Files that the index should not have made", |report| report.disk_blobs),
    ("cache_disk_waiting", "Answers that wait to be written to disk", |report| report.disk_waiting),
];

const CACHE_COUNTERS: [OfCache; 13] = [
    ("cache_purges", "Purges that dropped what they covered", |report| report.purges),
    ("cache_soft_purges", "Purges that made stale what they covered", |report| report.soft_purges),
    ("cache_purged", "Answers that purges touched, as far as they were counted", |report| report.purged),
    ("cache_purges_unconfirmed", "Purges that the disk did not confirm in time", |report| {
        report.purges_unconfirmed
    }),
    ("cache_invalidations", "Paths that unsafe methods made invalid", |report| report.invalidations),
    ("cache_stores", "Answers stored", |report| report.stores),
    ("cache_evictions", "Answers that left memory for want of space", |report| report.evictions),
    ("cache_share_evictions", "Answers that went because their caller had its share", |report| {
        report.share_evictions
    }),
    ("cache_disk_generations_dropped", "Halves of the cache on disk dropped for want of space", |report| {
        report.disk_generations_dropped
    }),
    ("cache_disk_errors", "Errors that closed the cache on disk for a while", |report| report.disk_errors),
    ("cache_disk_damaged", "Stored answers that failed their checksum; they were not served", |report| {
        report.disk_corrupt
    }),
    ("cache_disk_writes_skipped", "Answers that were not written to disk", |report| {
        report.disk_writes_skipped
    }),
    ("cache_disk_reads_late", "Look-ups that the disk did not answer in time", |report| {
        report.disk_reads_late
    }),
];

/// Registers what the metrics read from other rooms.
pub fn watch_gauges(engine: &Arc<Engine>, stats: &Arc<Stats>) {
    let metrics = &engine.live.telemetry.metrics;
    let proxy = Arc::clone(&engine.proxy);
    metrics.gauge_fn("generation", "Number of the generation that serves", move || {
        proxy.current.load().number as f64
    });
    if engine.live.cache.is_some() {
        watch_cache(engine);
    }
    nodes::watch(engine);
    let open = Arc::clone(stats);
    metrics.gauge_fn("connections", "Client connections open now", move || open.open() as f64);
    let accepted = Arc::clone(stats);
    metrics.counter_fn("connections_accepted", "Client connections accepted", move || accepted.accepted());
}

fn watch_cache(engine: &Arc<Engine>) {
    let metrics = &engine.live.telemetry.metrics;
    let stats = |live: &Live| live.cache.as_ref().map(crate::cache::Cache::stats).unwrap_or_default();
    for (name, help, read) in CACHE_GAUGES {
        let live = Arc::clone(&engine.live);
        metrics.gauge_fn(name, help, move || read(&stats(&live)) as f64);
    }
    for (name, help, read) in CACHE_COUNTERS {
        let live = Arc::clone(&engine.live);
        metrics.counter_fn(name, help, move || read(&stats(&live)));
    }
}

/// Writes down what must last.
pub fn close(live: &Live) {
    if let Err(fault) = live.keys.flush() {
        show(&[*fault]);
    }
    if let Some(cache) = &live.cache {
        cache.close(CLOSE_WITHIN);
    }
    live.telemetry.access.close();
}
