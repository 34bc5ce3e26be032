//! Counts per operation, upstream and limit, and the registry that hands out their handles.
//!
//! A handle is asked for by name when a generation is compiled and kept in it; the same labels give the
//! same handle, so counts go on across generations. What no generation holds any more is shown once more
//! and then forgotten. Gauges that belong to other rooms (connections, cache size) come in as closures.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    access::AccessEvent,
    counter::{Counter, Histogram, Words},
    step::Step,
};
use crate::problem::{self, Kind};

type Labels = (Box<str>, Box<str>);
type Labelled<T> = Mutex<BTreeMap<Labels, Arc<T>>>;

/// All counts of this process.
pub struct Metrics {
    operations: Labelled<OperationMetrics>,
    limits: Labelled<Counter>,
    upstreams: Labelled<UpstreamMetrics>,
    /// One per row of `problem::ALL`.
    problems: Box<[Counter]>,
    unrouted: Arc<OperationMetrics>,
    closures: Mutex<Vec<Closure>>,
}

/// A metric that is read when it is asked for.
#[derive(Clone)]
pub(super) struct Closure {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) counts: bool,
    pub(super) label: Option<&'static str>,
    pub(super) read: Arc<dyn Fn() -> Vec<(String, f64)> + Send + Sync>,
}

/// Where requests that no route took are counted.
pub const UNROUTED: &str = "unrouted";

impl Default for Metrics {
    fn default() -> Self {
        Self {
            operations: Mutex::default(),
            limits: Mutex::default(),
            upstreams: Mutex::default(),
            problems: problem::ALL.iter().map(|_| Counter::default()).collect(),
            unrouted: Arc::new(OperationMetrics::new("", UNROUTED)),
            closures: Mutex::default(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// The handle of an operation; the same labels give the same handle.
    #[must_use]
    pub fn operation(&self, api: &str, operation: &str) -> Arc<OperationMetrics> {
        get_or_insert(&self.operations, api, operation, || OperationMetrics::new(api, operation))
    }

    /// The handle for requests that match no route.
    #[must_use]
    pub fn unrouted(&self) -> &Arc<OperationMetrics> {
        &self.unrouted
    }

    #[must_use]
    pub fn upstream(&self, name: &str) -> Arc<UpstreamMetrics> {
        get_or_insert(&self.upstreams, name, "", UpstreamMetrics::default)
    }

    /// Counts the requests that a limit refused; `limit` is its name in the configuration.
    #[must_use]
    pub fn limit_refused(&self, api: &str, limit: &str) -> Arc<Counter> {
        get_or_insert(&self.limits, api, limit, Counter::default)
    }

    /// Counts a refusal that the gateway made. [`super::Telemetry::finish`] does it for requests; only a
    /// refusal before there is a request (a bad head, too many connections) is counted by its maker.
    pub fn problem(&self, kind: &'static Kind) {
        if let Some(index) = problem::ALL.iter().position(|row| std::ptr::eq(*row, kind)) {
            self.problems[index].inc();
        }
    }

    /// A gauge that is read at every scrape. `name` is without the prefix `gatewright_`.
    pub fn gauge_fn(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.add(Closure {
            name,
            help,
            counts: false,
            label: None,
            read: Arc::new(move || vec![(String::new(), read())]),
        });
    }

    /// A counter that another room keeps. `name` is without prefix and without `_total`.
    pub fn counter_fn(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.add(Closure {
            name,
            help,
            counts: true,
            label: None,
            read: Arc::new(move || vec![(String::new(), read() as f64)]),
        });
    }

    /// A gauge with one label; the closure gives (label value, value) and must keep that list bounded.
    pub fn gauges_fn(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        read: impl Fn() -> Vec<(String, f64)> + Send + Sync + 'static,
    ) {
        self.add(Closure { name, help, counts: false, label: Some(label), read: Arc::new(read) });
    }

    fn add(&self, closure: Closure) {
        let mut closures = lock(&self.closures);
        // Registered again (a listener that was reopened): the newer one counts.
        closures.retain(|old| old.name != closure.name);
        closures.push(closure);
    }

    pub(super) fn closures(&self) -> Vec<Closure> {
        lock(&self.closures).clone()
    }

    /// All operations that had a request, then forgets those that no generation holds.
    pub(super) fn operations(&self) -> Vec<Arc<OperationMetrics>> {
        let all = drain(&self.operations).into_iter().map(|(_, operation)| operation);
        all.chain([Arc::clone(&self.unrouted)]).filter(|operation| operation.hot.get().is_some()).collect()
    }

    pub(super) fn upstreams(&self) -> Vec<(Labels, Arc<UpstreamMetrics>)> {
        drain(&self.upstreams)
    }

    pub(super) fn limits(&self) -> Vec<(Labels, Arc<Counter>)> {
        drain(&self.limits)
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = (&'static Kind, u64)> + '_ {
        problem::ALL.iter().copied().zip(self.problems.iter().map(Counter::get)).filter(|(_, n)| *n > 0)
    }
}

/// The counts of one operation of one API.
#[derive(Debug)]
pub struct OperationMetrics {
    pub(super) api: Box<str>,
    pub(super) operation: Box<str>,
    in_flight: AtomicI64,
    /// Made at the first request: of the thousands of operations of a large description few are called.
    pub(super) hot: OnceLock<Box<Hot>>,
}

/// The counts of an operation that has been called.
#[derive(Debug)]
pub(super) struct Hot {
    statuses: [AtomicU64; STATUSES.len() + 5],
    pub(super) duration: Histogram,
    pub(super) upstream: Histogram,
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    pub(super) vanished: Counter,
    pub(super) cache: Words<12>,
}

/// Status codes with a count of their own (the registered ones and a few in wide use); any other counts
/// under its class, so that an upstream cannot widen the label set.
const STATUSES: [u16; 72] = [
    100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307,
    308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421,
    422, 423, 424, 425, 426, 428, 429, 431, 444, 451, 499, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510,
    511, 520, 521, 522, 523, 524, 525, 526, 530,
];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl OperationMetrics {
    fn new(api: &str, operation: &str) -> Self {
        Self {
            api: api.into(),
            operation: operation.into(),
            in_flight: AtomicI64::new(0),
            hot: OnceLock::new(),
        }
    }

    /// Counts a request as in flight until the guard is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.hot();
        InFlight(Arc::clone(self))
    }

    /// Counts the end of a request.
    pub(super) fn record(&self, event: &AccessEvent<'_>) {
        let hot = self.hot();
        let class = usize::from(event.status / 100).clamp(1, 5) - 1;
        let slot = STATUSES.binary_search(&event.status).unwrap_or(STATUSES.len() + class);
        hot.statuses[slot].fetch_add(1, Relaxed);
        hot.duration.observe(event.total_us);
        let upstream = event.timings.get(Step::Forward);
        if upstream > 0 {
            hot.upstream.observe(u64::from(upstream));
        }
        hot.bytes_in.add(event.bytes_in);
        hot.bytes_out.add(event.bytes_out);
        if event.vanished {
            hot.vanished.inc();
        }
        if let Some(word) = event.cache {
            hot.cache.inc(word);
        }
    }

    fn hot(&self) -> &Hot {
        self.hot.get_or_init(|| {
            Box::new(Hot {
                statuses: std::array::from_fn(|_| AtomicU64::new(0)),
                duration: Histogram::default(),
                upstream: Histogram::default(),
                bytes_in: Counter::default(),
                bytes_out: Counter::default(),
                vanished: Counter::default(),
                cache: Words::default(),
            })
        })
    }

    pub(super) fn in_flight(&self) -> i64 {
        self.in_flight.load(Relaxed)
    }

    /// (status code or class, count) of what occurred.
    pub(super) fn statuses(&self) -> Vec<(String, u64)> {
        let Some(hot) = self.hot.get() else { return Vec::new() };
        let names =
            STATUSES.iter().map(ToString::to_string).chain(CLASSES.iter().map(|class| (*class).to_owned()));
        names
            .zip(hot.statuses.iter().map(|count| count.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

/// One request that has begun and not ended.
#[derive(Debug)]
pub struct InFlight(Arc<OperationMetrics>);

impl InFlight {
    #[must_use]
    pub fn operation(&self) -> &Arc<OperationMetrics> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The counts of one upstream, whoever sends to it (requests, health probes apart).
#[derive(Debug, Default)]
pub struct UpstreamMetrics {
    /// Attempts, so a retried request counts twice.
    pub requests: Counter,
    pub retries: Counter,
    /// By reason: `connect`, `timeout`, `protocol` … as the upstream room names them.
    pub failures: Words<16>,
}

fn get_or_insert<T>(map: &Labelled<T>, a: &str, b: &str, make: impl FnOnce() -> T) -> Arc<T> {
    Arc::clone(lock(map).entry((a.into(), b.into())).or_insert_with(|| Arc::new(make())))
}

/// Everything in the map; what only the map holds goes out with this reading.
fn drain<T>(map: &Labelled<T>) -> Vec<(Labels, Arc<T>)> {
    let mut map = lock(map);
    let orphans: Vec<_> =
        map.iter().filter(|(_, held)| Arc::strong_count(held) == 1).map(|(key, _)| key.clone()).collect();
    let all = map.iter().map(|(key, held)| (key.clone(), Arc::clone(held))).collect();
    for key in &orphans {
        map.remove(key);
    }
    all
}

/// A panic elsewhere must not take the metrics along.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
