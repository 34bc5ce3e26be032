//! The HTTP cache: a shared cache by RFC 9111 that survives restarts.
//!
//! Owns what is stored and whether it may be used. Does not fetch, route or shape: the spine asks
//! [`Cache::lookup`], forwards what it must, and hands the answer to [`Cache::admit`] or
//! [`Cache::refresh`]. The rules are pure ([`control`] and its neighbours); memory ([`memory`]) stands
//! before the disk ([`disk`]), which has threads of its own: a hit in memory never waits for it, and a
//! disk that fails costs hits, never answers.
//!
//! One request: `lookup` → (`Hit::respond` | forward → `admit` → `Fill` | forward → 304 → `refresh` |
//! forward → 206 → `mend`), with `turn` before forwarding: another request may be about to bring the same;
//! an unsafe method: forward → `invalidate`.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::diagnostic::Diagnostic;

pub mod options;
pub mod request;

pub mod control;
pub mod date;
pub mod directives;
pub mod freshness;
pub mod targeted;

pub mod conditional;
pub mod fields;
pub mod key;
pub mod language;
pub mod parts;
pub mod purge;
pub mod query;
pub mod range;
pub mod tags;
pub mod vary;

mod admit;
mod arrival;
pub mod collapse;
mod invalidate;
pub mod listing;
mod lookup;
mod partial;

pub mod disk;
pub mod entry;
pub mod epoch;
pub mod fill;
pub mod hit;
pub mod memory;
pub mod nodes;
pub mod recent;
pub mod reloads;
pub mod share;
pub mod stats;
pub mod status;
pub mod store;

pub use admit::Moment;
pub use collapse::{Flight, Followers, Outcome, Pass, Turn};
pub use control::{NoStore, Validate};
pub use fill::Fill;
pub use freshness::Times;
pub use hit::{Hit, Origin};
pub use invalidate::{PurgeError, Purged};
pub use key::Owner;
pub use lookup::Looked;
pub use nodes::{Nodes, Progress, Reach, Spread, incomplete};
pub use options::{RequestDirectiveMode, RouteCacheOptions, SetCookie, UndeclaredQuery};
pub use partial::{Mend, Mended, Rest};
pub use purge::{Bound, Cover, Purge, Scope, query_hash};
pub use query::{Absent, DeclaredQuery, Param};
pub use request::{Bypass, CacheRequest, Lookup, Miss};
pub use stats::{CacheReport, CacheStats};

/// Fills in flight may hold at least this many bytes, however small the memory tier is.
const LEAST_FILL_BUDGET: u64 = 16 * 1024 * 1024;

/// Bounds of the cache and its place on disk.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// The folder of the disk tier; none keeps everything in memory.
    pub dir: Option<PathBuf>,
    /// Bytes of the tier in memory.
    pub memory_bytes: u64,
    /// Bytes on disk, index and bodies together.
    pub disk_bytes: u64,
    /// Of a hundred, how much of either tier what is stored for one caller alone may take.
    pub caller_percent: u8,
    /// How many responses either tier may hold that are stored for one caller alone.
    pub caller_entries: u64,
    /// Larger responses are not stored.
    pub max_object_bytes: u64,
    /// How long `open` waits for the disk tier; later it joins while requests are served.
    pub open_wait: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            dir: None,
            memory_bytes: 64 * 1024 * 1024,
            disk_bytes: 1024 * 1024 * 1024,
            caller_percent: 50,
            caller_entries: 50_000,
            max_object_bytes: 16 * 1024 * 1024,
            open_wait: Duration::from_millis(100),
        }
    }
}

/// A handle on the cache; clones share it. Runs in any tokio runtime, also a `current_thread` one.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    memory: memory::Memory,
    disk: Option<disk::Disk>,
    epochs: Arc<epoch::Epochs>,
    stats: Arc<CacheStats>,
    /// Of the hashes of keys; kept with the disk tier.
    seed: u64,
    max_object_bytes: u64,
    /// Bytes that fills may still take.
    budget: AtomicU64,
    flights: Arc<collapse::Flights>,
    reloads: reloads::Reloads,
    /// Whether parts of responses were ever kept: else nobody looks for them.
    has_parts: AtomicBool,
    /// Takes what other nodes are to hear of.
    outbox: OnceLock<Arc<nodes::outbox::Outbox>>,
}

impl Cache {
    /// Opens the cache. It always comes up: where the disk tier cannot be had, the diagnostics say why
    /// (an error when another instance uses the folder, a warning when it cannot be written or what was
    /// stored is lost) and the cache works in memory.
    #[must_use]
    pub fn open(config: &CacheConfig) -> (Self, Vec<Diagnostic>) {
        let stats = Arc::new(CacheStats::default());
        let slots = usize::try_from(config.memory_bytes / 256).unwrap_or(usize::MAX).clamp(1 << 12, 1 << 20);
        let epochs = Arc::new(epoch::Epochs::new(slots, 1));
        let (disk, diagnostics) = match &config.dir {
            Some(dir) => disk::Disk::open(dir, config, &epochs, &stats),
            None => (None, Vec::new()),
        };
        let seed = disk.as_ref().map_or_else(random_seed, disk::Disk::seed);
        let inner = Inner {
            memory: memory::Memory::new(config, Arc::clone(&stats)),
            disk,
            epochs,
            stats,
            seed,
            max_object_bytes: config.max_object_bytes,
            budget: AtomicU64::new(config.memory_bytes.max(LEAST_FILL_BUDGET).max(config.max_object_bytes)),
            flights: Arc::default(),
            reloads: reloads::Reloads::default(),
            has_parts: AtomicBool::new(false),
            outbox: OnceLock::new(),
        };
        (Self { inner: Arc::new(inner) }, diagnostics)
    }

    /// Counters as they stand now.
    #[must_use]
    pub fn stats(&self) -> CacheReport {
        let (entries, bytes) = self.inner.memory.size();
        self.inner.stats.memory_entries.store(entries, Ordering::Relaxed);
        self.inner.stats.memory_bytes.store(bytes, Ordering::Relaxed);
        let waiting = self.inner.disk.as_ref().map_or(0, disk::Disk::waiting);
        self.inner.stats.disk_waiting.store(waiting, Ordering::Relaxed);
        let own = self.inner.memory.own();
        self.inner.stats.memory_own_bytes.store(own.bytes, Ordering::Relaxed);
        self.inner.stats.memory_own_entries.store(own.entries, Ordering::Relaxed);
        self.inner.stats.report()
    }

    /// The text that [`Self::set_bookmark`] left in an earlier run. It is there only if what was stored then is.
    #[must_use]
    pub fn bookmark(&self) -> Option<&str> {
        self.inner.disk.as_ref().and_then(disk::Disk::bookmark)
    }

    /// Has a text kept beside what is stored, as soon as all purges and invalidations until now are durable:
    /// how far someone got with them. A crash before that leaves the one before.
    pub fn set_bookmark(&self, text: String) {
        if let Some(disk) = &self.inner.disk {
            disk.set_bookmark(text);
        }
    }

    /// Has what unsafe methods invalidate noted for other nodes.
    pub(crate) fn tell(&self, outbox: Arc<nodes::outbox::Outbox>) {
        // One that is there already is as good.
        let _ = self.inner.outbox.set(outbox);
    }

    /// Bytes that the tiers may take: memory, disk.
    #[must_use]
    pub fn limits(&self) -> (u64, u64) {
        (self.inner.memory.capacity(), self.inner.disk.as_ref().map_or(0, disk::Disk::capacity))
    }

    /// Writes what is queued and closes the disk tier, for at most `limit`; false when that was not
    /// enough. Blocks: call it where no request waits.
    pub fn close(&self, limit: Duration) -> bool {
        self.inner.disk.as_ref().is_none_or(|disk| disk.close(limit))
    }
}

impl Inner {
    /// Keeps a response in both tiers; false when neither takes it, or what it stands for was
    /// invalidated since it began.
    fn store(&self, key: &key::Key, entry: &Arc<entry::Entry>, to_disk: bool) -> bool {
        self.forget_parts(key);
        let as_of = self.epochs.now();
        let mut kept = self.is_untouched(key, entry);
        if kept {
            let on_disk = to_disk && self.disk.as_ref().is_some_and(|disk| disk.put(key, entry, as_of));
            let in_memory = self.memory.insert(key, entry, &self.epochs);
            // Looked at once more: memory did not keep what was purged meanwhile, and the disk will not.
            let untouched = self.is_untouched(key, entry);
            if !untouched {
                self.memory.remove(key, entry);
            }
            kept = untouched && (in_memory || on_disk);
        }
        CacheStats::add(if kept { &self.stats.stores } else { &self.stats.abandoned });
        kept
    }

    /// Whether nothing was invalidated or purged since a response began that is in no tier yet.
    fn is_untouched(&self, key: &key::Key, entry: &entry::Entry) -> bool {
        self.epochs.unbroken(key.place, entry.since)
            || (self.epochs.valid(key.place, entry.since) && self.epochs.spares(key, entry))
    }

    /// Takes bytes from the budget of fills.
    fn take_budget(&self, bytes: u64) -> bool {
        let order = Ordering::Relaxed;
        self.budget.fetch_update(order, order, |left| left.checked_sub(bytes)).is_ok()
    }
}

fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    // Without random bytes the keys are merely guessable; they are compared in full all the same.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
