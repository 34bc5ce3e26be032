//! The tier in memory: quick_cache, weighed by bytes, before the disk.
//!
//! A look-up takes one shard's read lock and clones one `Arc`. Writers of one resource take turns at a
//! striped lock, so that two variants stored at once do not lose each other.

use std::{
    cell::Cell,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use super::{
    entry::{Entry, Resource},
    epoch::Epochs,
    key::Key,
    stats::CacheStats,
};

/// A shard holds at least this much, so that one object does not sweep it clean.
const LEAST_SHARD_BYTES: u64 = 4 * 1024 * 1024;

/// A guess that only sizes the table of recently dropped keys.
const EXPECTED_ENTRY_BYTES: u64 = 4 * 1024;

const LOCKS: usize = 64;

pub struct Memory {
    resources: Cache<u128, Arc<Resource>, ByWeight, DefaultHashBuilder, Evictions>,
    locks: [Mutex<()>; LOCKS],
    /// Bytes of the largest resource that is kept.
    largest: u64,
}

impl Memory {
    #[must_use]
    pub fn new(bytes: u64, stats: Arc<CacheStats>) -> Self {
        let bytes = bytes.max(64 * 1024);
        let shards = (bytes / LEAST_SHARD_BYTES).clamp(1, 32);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usize::try_from(bytes / EXPECTED_ENTRY_BYTES).unwrap_or(usize::MAX))
            .weight_capacity(bytes)
            .shards(shards as usize)
            .build()
            .expect("invariant: capacity and weight are set");
        let resources =
            Cache::with_options(options, ByWeight, DefaultHashBuilder::default(), Evictions(stats));
        let largest = resources.shard_capacity() / 4;
        Self { resources, locks: std::array::from_fn(|_| Mutex::new(())), largest }
    }

    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<Resource>> {
        self.resources.get(&key.id)
    }

    /// Keeps a response beside the resource's others; false when it is too large.
    pub fn insert(&self, key: &Key, entry: &Arc<Entry>, epochs: &Epochs) -> bool {
        let _turn = self.turn(key);
        let next = match self.resources.peek(&key.id) {
            Some(resource) => resource.with(key, entry, epochs, self.room()),
            None => Resource::new(key, entry),
        };
        let fits = next.weight() <= self.largest;
        if fits {
            self.resources.insert(key.id, Arc::new(next));
        } else {
            self.resources.remove(&key.id);
        }
        fits
    }

    /// Keeps what was read from disk beside what is there.
    pub fn merge(&self, key: &Key, read: Vec<Entry>, epochs: &Epochs) -> Arc<Resource> {
        let _turn = self.turn(key);
        let known = self.resources.peek(&key.id);
        let merged = Arc::new(Resource::merged(known.as_deref(), key, read, epochs, self.room()));
        if merged.weight() <= self.largest {
            self.resources.insert(key.id, Arc::clone(&merged));
        }
        merged
    }

    /// Takes all responses of a key away.
    pub fn forget(&self, key: &Key) {
        self.resources.remove(&key.id);
    }

    /// Takes one response away.
    pub fn remove(&self, key: &Key, entry: &Arc<Entry>) {
        let _turn = self.turn(key);
        match self.resources.peek(&key.id).and_then(|resource| resource.without(entry)) {
            Some(rest) => self.resources.insert(key.id, Arc::new(rest)),
            None => drop(self.resources.remove(&key.id)),
        }
    }

    /// Drops every resource whose key `matches`; how many.
    pub fn purge(&self, matches: impl Fn(&[u8]) -> bool) -> u64 {
        let dropped = Cell::new(0);
        self.resources.retain(|_, resource| {
            let gone = matches(&resource.key);
            dropped.set(dropped.get() + u64::from(gone));
            !gone
        });
        dropped.get()
    }

    /// Bytes of the largest object that fits.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.largest
    }

    /// Resources and their bytes.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        (self.resources.len() as u64, self.resources.weight())
    }

    /// Bytes that the responses of one resource may take, its key left aside.
    fn room(&self) -> u64 {
        self.largest.saturating_sub(16 * 1024)
    }

    fn turn(&self, key: &Key) -> MutexGuard<'_, ()> {
        self.locks[key.id as usize % LOCKS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<u128, Arc<Resource>> for ByWeight {
    fn weight(&self, _: &u128, resource: &Arc<Resource>) -> u64 {
        resource.weight()
    }
}

/// Counts what goes for want of space.
#[derive(Clone)]
struct Evictions(Arc<CacheStats>);

impl Lifecycle<u128, Arc<Resource>> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: u128, _: Arc<Resource>) {
        self.0.evictions.fetch_add(1, Ordering::Relaxed);
    }
}
