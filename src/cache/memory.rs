//! The tier in memory: quick_cache, weighed by bytes, before the disk.
//!
//! A look-up takes one shard's read lock and clones one `Arc`. Writers of one resource take turns at a
//! striped lock, so that two variants stored at once do not lose each other. Its eviction (S3-FIFO) resists
//! scans; what is stored for one caller alone is bounded by the caller's share besides.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use super::{
    CacheConfig,
    disk::generation::{DiskKey, disk_name},
    entry::{Entry, Resource},
    epoch::Epochs,
    key::Key,
    purge::Fate,
    share::{Amount, Shares, slot_of},
    stats::CacheStats,
};

/// A shard holds at least this much, so that one object does not sweep it clean.
const LEAST_SHARD_BYTES: u64 = 4 * 1024 * 1024;

/// A guess that only sizes the memory of recently dropped keys: half as many as answers of this size fit.
const EXPECTED_ENTRY_BYTES: u64 = 1024;

/// What those may take that were asked for again while they were there, or soon after they had gone. The
/// rest is where newcomers prove themselves; a larger one follows a change of what is wanted sooner, and
/// costs hits as long as nothing changes. This and the guess above were chosen by traces (`make bench`).
const PROVEN: f64 = 0.95;

const LOCKS: usize = 64;

pub struct Memory {
    resources: Cache<u128, Arc<Resource>, ByWeight, DefaultHashBuilder, Leaving>,
    locks: [Mutex<()>; LOCKS],
    shares: Arc<Shares>,
    stats: Arc<CacheStats>,
    /// Bytes of the largest resource that is kept.
    largest: u64,
}

impl Memory {
    #[must_use]
    pub fn new(config: &CacheConfig, stats: Arc<CacheStats>) -> Self {
        let bytes = config.memory_bytes.max(64 * 1024);
        let shards = (bytes / LEAST_SHARD_BYTES).clamp(1, 32);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usize::try_from(bytes / EXPECTED_ENTRY_BYTES).unwrap_or(usize::MAX))
            .weight_capacity(bytes)
            .hot_allocation(PROVEN)
            .shards(shards as usize)
            .build()
            .expect("invariant: capacity and weight are set");
        let share = bytes / 100 * u64::from(config.caller_percent.min(100));
        let shares = Arc::new(Shares::new(Amount { bytes: share, entries: config.caller_entries }));
        let leaving = Leaving { shares: Arc::clone(&shares), stats: Arc::clone(&stats) };
        let resources = Cache::with_options(options, ByWeight, DefaultHashBuilder::default(), leaving);
        let largest = resources.shard_capacity() / 4;
        Self { resources, locks: std::array::from_fn(|_| Mutex::new(())), shares, stats, largest }
    }

    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<Resource>> {
        let found = self.resources.get(&key.id)?;
        if slot_of(key.id).is_some() {
            found.touch();
        }
        Some(found)
    }

    /// Keeps a response beside the resource's others; false when it is too large, or was purged since it
    /// began.
    pub fn insert(&self, key: &Key, entry: &Arc<Entry>, epochs: &Epochs) -> bool {
        let _turn = self.turn(key.id);
        if !epochs.spares(key, entry) {
            return false;
        }
        let next = match self.resources.peek(&key.id) {
            Some(resource) => resource.with(key, entry, epochs, self.room()),
            None => Resource::new(key, entry),
        };
        let fits = next.weight() <= self.largest;
        if fits {
            self.put(key.id, Arc::new(next));
        } else {
            self.take(key.id);
        }
        fits
    }

    /// Puts `next` in the place of `known`, which is the same response, if that is still there.
    pub fn exchange(&self, key: &Key, known: &Arc<Entry>, next: &Arc<Entry>, epochs: &Epochs) {
        let _turn = self.turn(key.id);
        let Some(resource) = self.resources.peek(&key.id) else { return };
        if resource.variants().iter().any(|entry| Arc::ptr_eq(entry, known)) {
            let resource = resource.with(key, next, epochs, self.room());
            if resource.weight() <= self.largest {
                self.put(key.id, Arc::new(resource));
            }
        }
    }

    /// Keeps what was read from disk beside what is there; nothing when all of it was purged meanwhile.
    pub fn merge(&self, key: &Key, mut read: Vec<Entry>, epochs: &Epochs) -> Option<Arc<Resource>> {
        let _turn = self.turn(key.id);
        read.retain(|entry| epochs.spares(key, entry));
        if read.is_empty() {
            return None;
        }
        let known = self.resources.peek(&key.id);
        let merged = Arc::new(Resource::merged(known.as_deref(), key, read, epochs, self.room()));
        if merged.weight() <= self.largest {
            self.put(key.id, Arc::clone(&merged));
        }
        Some(merged)
    }

    /// Puts what `fate` leaves of a resource in its place; the responses that it touched.
    fn settle(&self, id: u128, resource: &Resource, fate: impl Fn(&Entry) -> Fate) -> Vec<Arc<Entry>> {
        let Some((left, touched)) = resource.purged(fate) else { return Vec::new() };
        match left {
            Some(left) => self.put(id, Arc::new(left)),
            None => self.take(id),
        }
        touched
    }

    /// Takes all responses of a key away.
    pub fn forget(&self, key: &Key) {
        let _turn = self.turn(key.id);
        self.take(key.id);
    }

    /// Takes one response away.
    pub fn remove(&self, key: &Key, entry: &Arc<Entry>) {
        let _turn = self.turn(key.id);
        match self.resources.peek(&key.id).and_then(|resource| resource.without(entry)) {
            Some(rest) => self.put(key.id, Arc::new(rest)),
            None => self.take(key.id),
        }
    }

    /// Does with every response what `fate` says; the names of those that it touched. The purge must have
    /// been issued: a writer looks for purges in its turn, before what it writes can be seen, so that after
    /// one turn at each lock those that did not see it are done, and what they wrote is met below.
    pub fn purge(&self, fate: impl Fn(&[u8], &Entry) -> Fate) -> Vec<DiskKey> {
        for id in 0..LOCKS as u128 {
            drop(self.turn(id));
        }
        // First all that are touched, each shard at one moment; then one after the other, in turn with
        // those who write it.
        let found = RefCell::new(Vec::new());
        self.resources.retain(|id, resource| {
            if resource.variants().iter().any(|entry| fate(&resource.key, entry) != Fate::Kept) {
                found.borrow_mut().push(*id);
            }
            true
        });
        let mut touched = Vec::new();
        for id in found.into_inner() {
            let _turn = self.turn(id);
            let Some(resource) = self.resources.peek(&id) else { continue };
            let entries = self.settle(id, &resource, |entry| fate(&resource.key, entry));
            touched.extend(entries.iter().map(|entry| disk_name(resource.place, id, &entry.vary)));
        }
        touched
    }

    /// Calls `see` with every resource, in no order.
    pub fn each(&self, mut see: impl FnMut(u128, &Arc<Resource>)) {
        for (id, resource) in self.resources.iter() {
            see(id, &resource);
        }
    }

    /// Bytes of the largest object that fits.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.largest
    }

    /// Bytes that it may take.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.resources.capacity()
    }

    /// Resources and their bytes.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        (self.resources.len() as u64, self.resources.weight())
    }

    /// What is stored for one caller alone, of all callers together.
    #[must_use]
    pub fn own(&self) -> Amount {
        self.shares.total()
    }

    fn put(&self, id: u128, resource: Arc<Resource>) {
        let Some(slot) = slot_of(id) else {
            return self.resources.insert_with_lifecycle(id, resource, &mut Coming(Some(id)));
        };
        let present = |id: u128| self.resources.contains_key(&id);
        if !present(id) {
            self.shares.note(slot, id, present);
        }
        self.shares.add(slot, amount(&resource));
        self.resources.insert_with_lifecycle(id, resource, &mut Coming(Some(id)));
        self.shares.keep_within(slot, id, |oldest, may_stay| {
            let Some(resource) = self.resources.peek(&oldest) else { return false };
            let stays = may_stay && resource.take_used();
            if !stays {
                self.take(oldest);
                CacheStats::add(&self.stats.share_evictions);
            }
            stays
        });
    }

    fn take(&self, id: u128) {
        if let Some((_, resource)) = self.resources.remove(&id) {
            left(&self.shares, id, &resource);
        }
    }

    /// Bytes that the responses of one resource may take, its key left aside.
    fn room(&self) -> u64 {
        self.largest.saturating_sub(16 * 1024)
    }

    fn turn(&self, id: u128) -> MutexGuard<'_, ()> {
        self.locks[id as usize % LOCKS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<u128, Arc<Resource>> for ByWeight {
    fn weight(&self, _: &u128, resource: &Arc<Resource>) -> u64 {
        resource.weight()
    }
}

/// The id that is being put in: one of the same id is replaced, not evicted.
#[derive(Default)]
struct Coming(Option<u128>);

/// Counts what goes.
#[derive(Clone)]
struct Leaving {
    shares: Arc<Shares>,
    stats: Arc<CacheStats>,
}

impl Lifecycle<u128, Arc<Resource>> for Leaving {
    type RequestState = Coming;

    /// Called for what is evicted and for what is replaced.
    fn on_evict(&self, coming: &mut Coming, id: u128, resource: Arc<Resource>) {
        left(&self.shares, id, &resource);
        if coming.0 != Some(id) {
            CacheStats::add(&self.stats.evictions);
        }
    }
}

fn left(shares: &Shares, id: u128, resource: &Resource) {
    if let Some(slot) = slot_of(id) {
        shares.subtract(slot, amount(resource));
    }
}

fn amount(resource: &Resource) -> Amount {
    Amount { bytes: resource.weight(), entries: resource.variants().len() as u64 }
}

#[cfg(test)]
mod tests;
