//! One generation on disk: an index, body files, a filter of its names, and counts of its own.
//!
//! Space is never won back inside a generation: it is dropped whole when the next but one begins. Only
//! the writer changes one; the readers look.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    bodies::{self, Bodies},
    filter::Filter,
    record,
};
use crate::cache::{
    entry::Stored,
    key::Key,
    store::{Record, Store, StoreError, StoreStats},
    vary::Vary,
};

/// Makes the index of a generation in a folder.
pub type Opener = Arc<dyn Fn(&Path) -> Result<Box<dyn Store>, StoreError> + Send + Sync>;

/// Place, id and variant of a record.
pub type DiskKey = [u8; 32];

/// Bytes of a name in the generation's list: place and id.
const NAME: usize = 24;

/// Where the counts stand in the index: too short to be a record's key.
const COUNTS: &[u8] = b"c";

/// Records of one place that are removed in one go.
const SWEEP: usize = 1024;

pub struct Generation {
    /// The moment of its making, which also names its folder.
    pub number: u64,
    pub dir: PathBuf,
    pub bodies: Bodies,
    store: Box<dyn Store>,
    filter: Filter,
    /// The list of names for the filter, and those that are not written yet.
    names: Mutex<(File, Vec<u8>)>,
    seed: u64,
    body_bytes: AtomicU64,
    entries: AtomicU64,
    index_bytes: AtomicU64,
    name_bytes: AtomicU64,
}

/// Records with the names they are stored under.
type Named = Vec<(DiskKey, Vec<u8>)>;

impl Generation {
    /// Opens or makes the generation in `dir`, for about `names` records. May panic or take long on
    /// damaged files: call it guarded.
    pub fn open(dir: &Path, number: u64, names: u64, seed: u64, opener: &Opener) -> Result<Self, StoreError> {
        let io = |e: std::io::Error| StoreError(format!("`{}`: {e}", dir.display()));
        fs::create_dir_all(dir.join("bodies")).map_err(io)?;
        let store = opener(&dir.join("index"))?;
        let mut list =
            OpenOptions::new().read(true).append(true).create(true).open(dir.join("names")).map_err(io)?;
        // Each record has two names: its place's and its own.
        let filter = Filter::new(names * 2);
        let mut known = Vec::new();
        list.read_to_end(&mut known).map_err(io)?;
        for name in known.chunks_exact(NAME) {
            insert_name(&filter, name);
        }
        // A torn last name would shift all that follow.
        list.set_len((known.len() - known.len() % NAME) as u64).map_err(io)?;
        let generation = Self {
            number,
            dir: dir.to_owned(),
            bodies: Bodies::new(dir.join("bodies"), seed),
            store,
            filter,
            names: Mutex::new((list, Vec::new())),
            seed,
            body_bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            index_bytes: AtomicU64::new(0),
            name_bytes: AtomicU64::new(known.len() as u64),
        };
        generation.read_counts()?;
        generation.measure()?;
        Ok(generation)
    }

    /// Whether it may hold something for the key.
    #[must_use]
    pub fn may_hold(&self, key: &Key) -> bool {
        self.filter.contains(key.id)
    }

    /// Whether it may hold something at the place.
    #[must_use]
    pub fn may_hold_place(&self, place: u64) -> bool {
        self.filter.contains(place_name(place))
    }

    /// The records whose keys begin with `prefix`.
    pub fn find(&self, prefix: &[u8], limit: usize) -> Result<Vec<Record>, StoreError> {
        self.store.get(prefix, limit)
    }

    /// The records whose keys come after `key`; what is no response is left out.
    pub fn after(&self, key: &[u8], limit: usize) -> Result<(Named, bool), StoreError> {
        let records = self.store.after(key, limit)?;
        let full = records.len() >= limit;
        let named = records.into_iter().filter_map(|(key, value)| Some((key.try_into().ok()?, value)));
        Ok((named.collect(), full))
    }

    /// Puts a record. The body file of the one it replaces goes, unless both name the same.
    pub fn put(&self, key: &DiskKey, value: &[u8]) -> Result<(), StoreError> {
        let name: &[u8; NAME] = key.first_chunk().expect("invariant: a key is longer than its name");
        // A name whose bits were all there needs no line: those that set them have theirs.
        if insert_name(&self.filter, name) {
            self.names.lock().unwrap_or_else(PoisonError::into_inner).1.extend_from_slice(name);
            self.name_bytes.fetch_add(NAME as u64, Ordering::Relaxed);
        }
        let old = self.store.put(key, value)?;
        let new_file = self.file_of(value);
        if let Some((_, len)) = new_file {
            self.body_bytes.fetch_add(bodies::size_on_disk(len), Ordering::Relaxed);
        }
        match old {
            Some(old) => self.release(&old, new_file.map(|(name, _)| name)),
            None => drop(self.entries.fetch_add(1, Ordering::Relaxed)),
        }
        Ok(())
    }

    /// Removes a record and its body file; whether there was one.
    pub fn remove(&self, key: &[u8]) -> Result<bool, StoreError> {
        let Some(old) = self.store.remove(key)? else { return Ok(false) };
        self.release(&old, None);
        subtract(&self.entries, 1);
        Ok(true)
    }

    /// Removes all records of a place; whether there were any.
    pub fn remove_place(&self, place: u64) -> Result<bool, StoreError> {
        if !self.may_hold_place(place) {
            return Ok(false);
        }
        let mut any = false;
        loop {
            let records = self.store.get(&place.to_be_bytes(), SWEEP)?;
            for (key, _) in &records {
                any |= self.remove(key)?;
            }
            if records.len() < SWEEP {
                return Ok(any);
            }
        }
    }

    /// What was put and removed so far survives the process.
    pub fn flush(&self) -> Result<StoreStats, StoreError> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, pending) = &mut *names;
        // Before the index: a record whose name is missing would not be found.
        file.write_all(pending).map_err(|e| StoreError(format!("the list of names: {e}")))?;
        pending.clear();
        drop(names);
        let counts = [self.body_bytes.load(Ordering::Relaxed), self.entries.load(Ordering::Relaxed)];
        self.store.put(COUNTS, &counts.map(u64::to_le_bytes).concat())?;
        self.store.flush()?;
        self.measure()
    }

    /// Bytes on disk: of bodies now, of the index as of the last flush.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let counts = [&self.body_bytes, &self.index_bytes, &self.name_bytes];
        counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    fn measure(&self) -> Result<StoreStats, StoreError> {
        let stats = self.store.stats()?;
        self.index_bytes.store(stats.bytes, Ordering::Relaxed);
        Ok(stats)
    }

    fn read_counts(&self) -> Result<(), StoreError> {
        let records = self.store.get(COUNTS, 1)?;
        let Some((_, value)) = records.iter().find(|(key, _)| key == COUNTS) else { return Ok(()) };
        if let Some(([bytes, entries], [])) = value.as_chunks::<8>().0.split_first_chunk::<2>() {
            self.body_bytes.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
            self.entries.store(u64::from_le_bytes(*entries), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Name and length of the body file that a record refers to.
    fn file_of(&self, value: &[u8]) -> Option<(u64, u64)> {
        match record::decode(value, self.number, self.seed)?.entry.body {
            Stored::File(file) => Some((file.name, file.len)),
            Stored::Bytes(_) | Stored::Parts(_) => None,
        }
    }

    /// Takes the body file of a record that is no longer there.
    fn release(&self, old: &[u8], kept: Option<u64>) {
        let Some((name, len)) = self.file_of(old) else { return };
        subtract(&self.body_bytes, bodies::size_on_disk(len));
        if kept != Some(name) {
            self.bodies.remove(name);
        }
    }
}

/// The key of a record.
#[must_use]
pub fn disk_key(key: &Key, vary: &Vary) -> DiskKey {
    disk_name(key.place, key.id, vary)
}

/// The same of a key's place and id.
#[must_use]
pub fn disk_name(place: u64, id: u128, vary: &Vary) -> DiskKey {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&place.to_be_bytes());
    bytes[8..NAME].copy_from_slice(&id.to_be_bytes());
    bytes[NAME..].copy_from_slice(&vary.hash().to_be_bytes());
    bytes
}

/// What the keys of all of a resource's records begin with.
#[must_use]
pub fn prefix(key: &Key) -> [u8; NAME] {
    let mut bytes = [0; NAME];
    bytes[..8].copy_from_slice(&key.place.to_be_bytes());
    bytes[8..].copy_from_slice(&key.id.to_be_bytes());
    bytes
}

/// Adds place and id to a filter; false when that changed nothing.
fn insert_name(filter: &Filter, name: &[u8]) -> bool {
    let Some((place, id)) = name.split_first_chunk::<8>() else { return false };
    let new_place = filter.insert(place_name(u64::from_be_bytes(*place)));
    let new_id = id.first_chunk().is_some_and(|id| filter.insert(u128::from_be_bytes(*id)));
    new_place || new_id
}

fn place_name(place: u64) -> u128 {
    u128::from(place) << 64 | u128::from(place.rotate_left(32))
}

fn subtract(counter: &AtomicU64, amount: u64) {
    let order = Ordering::Relaxed;
    let _ = counter.fetch_update(order, order, |now| Some(now.saturating_sub(amount)));
}
