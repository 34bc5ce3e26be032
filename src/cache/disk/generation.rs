//! One generation on disk: an index, body files, a filter of its names, and counts of its own.
//!
//! Space is never won back inside a generation: it is dropped whole when the next but one begins. Only
//! the writer changes one; the readers look.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering, fence},
    },
};

use super::{
    bodies::{self, Bodies},
    filter::Filter,
    record,
    shares::{self, NAME, Name, Shares},
};
use crate::cache::{
    entry::Stored,
    key::Key,
    share::Amount,
    store::{Record, Store, StoreError, StoreStats},
    vary::Vary,
};

/// Makes the index of a generation in a folder.
pub type Opener = Arc<dyn Fn(&Path) -> Result<Box<dyn Store>, StoreError> + Send + Sync>;

/// Place, id and variant of a record.
pub type DiskKey = [u8; 32];

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
    /// The list of names for the filter.
    names: Mutex<File>,
    names_unsynced: AtomicBool,
    seed: u64,
    /// Body files that no record refers to any more, but after a crash before the next flush one would.
    outdated: Mutex<Vec<u64>>,
    shares: Mutex<Shares>,
    /// Bytes of body files.
    body_bytes: AtomicU64,
    /// Bytes of records, their keys included.
    record_bytes: AtomicU64,
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
        let list =
            OpenOptions::new().read(true).append(true).create(true).open(dir.join("names")).map_err(io)?;
        // Each record has two names: its place's and its own.
        let filter = Filter::new(names * 2);
        let mut shares = Shares::default();
        let mut known = 0;
        let mut lines = BufReader::with_capacity(256 * 1024, &list);
        let mut name = [0; NAME];
        while next_name(&mut lines, &mut name).map_err(io)? {
            insert_name(&filter, &name);
            shares.note(&name);
            known += NAME as u64;
        }
        // A torn last name would shift all that follow.
        list.set_len(known).map_err(io)?;
        let generation = Self {
            number,
            dir: dir.to_owned(),
            bodies: Bodies::new(dir.join("bodies"), seed),
            store,
            filter,
            names: Mutex::new(list),
            names_unsynced: AtomicBool::new(false),
            seed,
            outdated: Mutex::default(),
            shares: Mutex::new(shares),
            body_bytes: AtomicU64::new(0),
            record_bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            index_bytes: AtomicU64::new(0),
            name_bytes: AtomicU64::new(known),
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

    /// Makes names known before something is put under them, for this process and, whenever it ends, for the
    /// next: a record without a name would be overlooked by removals and could come to light later. Whoever
    /// makes a place invalid from now on finds it; whoever did so before is seen by a look at the epochs.
    pub fn announce<'a>(&self, keys: impl Iterator<Item = &'a DiskKey>) -> Result<(), StoreError> {
        let mut lines = Vec::new();
        for name in keys.map(name_of) {
            // A name whose bits were all there needs no line: those that set them have theirs. But what may
            // have to go for its caller's sake is looked for in this list alone.
            if insert_name(&self.filter, name) || self.is_newcomer_of_a_caller(name)? {
                lines.extend_from_slice(name);
            }
        }
        fence(Ordering::SeqCst);
        if !lines.is_empty() {
            let mut names = lock(&self.names);
            names.write_all(&lines).map_err(|e| unlisted(&e))?;
            self.names_unsynced.store(true, Ordering::Relaxed);
            self.name_bytes.fetch_add(lines.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn is_newcomer_of_a_caller(&self, name: &Name) -> Result<bool, StoreError> {
        Ok(shares::slot(name).is_some() && self.store.get(name, 1)?.is_empty())
    }

    /// Puts a record under a name that was announced. The body file of the one it replaces goes with the next
    /// flush, unless both name the same.
    pub fn put(&self, key: &DiskKey, value: &[u8]) -> Result<(), StoreError> {
        let name = name_of(key);
        let old = self.store.put(key, value)?;
        let file = self.file_of(value);
        let body = file.map_or(0, |(_, len)| bodies::size_on_disk(len));
        let record = (key.len() + value.len()) as u64;
        self.body_bytes.fetch_add(body, Ordering::Relaxed);
        self.record_bytes.fetch_add(record, Ordering::Relaxed);
        self.shares().came(name, record + body);
        match old {
            Some(old) => self.release(key, &old, file.map(|(name, _)| name)),
            None => {
                self.entries.fetch_add(1, Ordering::Relaxed);
                self.shares().note(name);
            }
        }
        Ok(())
    }

    /// Removes the oldest answers of the caller of `of` until those that are left are within `limit`, but
    /// nothing under the name of `spared`; those that went.
    pub fn keep_within(
        &self,
        of: &DiskKey,
        spared: Option<&DiskKey>,
        limit: Amount,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut gone = Vec::new();
        loop {
            let surplus = self.shares().surplus(name_of(of), spared.map(name_of), limit);
            let Some(oldest) = surplus else { return Ok(gone) };
            for (key, _) in self.store.get(&oldest, SWEEP)? {
                if self.remove(&key)? {
                    gone.push(key);
                }
            }
        }
    }

    /// Removes a record and its body file; whether there was one.
    pub fn remove(&self, key: &[u8]) -> Result<bool, StoreError> {
        let Some(old) = self.store.remove(key)? else { return Ok(false) };
        self.release(key, &old, None);
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
        // Before the index, which must not outlive them when the machine goes down.
        if self.names_unsynced.swap(false, Ordering::Relaxed) {
            lock(&self.names).sync_data().map_err(|e| unlisted(&e))?;
        }
        let counts = [&self.body_bytes, &self.entries, &self.record_bytes];
        let counts = counts.map(|count| count.load(Ordering::Relaxed).to_le_bytes());
        self.store.put(COUNTS, &counts.concat())?;
        for (key, value) in self.shares().unsaved() {
            self.store.put(&key, &value)?;
        }
        self.store.flush()?;
        std::mem::take(&mut *lock(&self.outdated)).into_iter().for_each(|name| self.bodies.remove(name));
        self.measure()
    }

    /// Bytes on disk: of bodies now, of the index as of the last flush.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let counts = [&self.body_bytes, &self.index_bytes, &self.name_bytes];
        counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Bytes of the answers themselves: records and bodies.
    #[must_use]
    pub fn content(&self) -> u64 {
        self.body_bytes.load(Ordering::Relaxed) + self.record_bytes.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// What the caller of a record has.
    #[must_use]
    pub fn own_of(&self, key: &DiskKey) -> Amount {
        self.shares().of(name_of(key))
    }

    /// Records that are for one caller alone.
    #[must_use]
    pub fn own_entries(&self) -> u64 {
        self.shares().entries()
    }

    fn measure(&self) -> Result<StoreStats, StoreError> {
        let stats = self.store.stats()?;
        self.index_bytes.store(stats.bytes, Ordering::Relaxed);
        Ok(stats)
    }

    fn read_counts(&self) -> Result<(), StoreError> {
        // One by one: the keys of records, which may begin like these, stand between them.
        let slots: Vec<u16> = self.shares().slots().collect();
        for slot in slots {
            let key = shares::key(slot);
            if let Some((_, value)) = self.store.get(&key, 1)?.iter().find(|(found, _)| *found == key) {
                self.shares().load(slot, value)?;
            }
        }
        let records = self.store.get(COUNTS, 1)?;
        let Some((_, value)) = records.iter().find(|(key, _)| key == COUNTS) else { return Ok(()) };
        if let ([bodies, entries, records], []) = value.as_chunks::<8>() {
            self.body_bytes.store(u64::from_le_bytes(*bodies), Ordering::Relaxed);
            self.entries.store(u64::from_le_bytes(*entries), Ordering::Relaxed);
            self.record_bytes.store(u64::from_le_bytes(*records), Ordering::Relaxed);
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

    /// Takes the body file of a record that is no longer there, and its bytes from the counts.
    fn release(&self, key: &[u8], old: &[u8], kept: Option<u64>) {
        let record = (key.len() + old.len()) as u64;
        subtract(&self.record_bytes, record);
        let file = self.file_of(old);
        let body = file.map_or(0, |(_, len)| bodies::size_on_disk(len));
        subtract(&self.body_bytes, body);
        if let Some((name, _)) = file
            && kept != Some(name)
        {
            lock(&self.outdated).push(name);
        }
        if let Some(name) = key.first_chunk() {
            self.shares().went(name, record + body);
        }
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        lock(&self.shares)
    }
}

fn unlisted(error: &std::io::Error) -> StoreError {
    StoreError(format!("the list of names: {error}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The part of a record's key that its variants have in common.
fn name_of(key: &DiskKey) -> &Name {
    key.first_chunk().expect("invariant: a key is longer than its name")
}

/// Reads a whole name; false at the end.
fn next_name(lines: &mut impl Read, name: &mut Name) -> std::io::Result<bool> {
    match lines.read_exact(name) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{disk::engine::Sled, share};

    fn open(dir: &Path) -> Generation {
        try_open(dir).unwrap()
    }

    /// A handle on its way out may hold the index's lock for a moment.
    fn try_open(dir: &Path) -> Result<Generation, StoreError> {
        let opener: Opener = Arc::new(|dir| Ok(Box::new(Sled::open(dir)?)));
        for _ in 0..100 {
            match Generation::open(dir, 1, 0, 0, &opener) {
                Err(error) if error.0.contains("could not acquire lock") => {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                outcome => return outcome,
            }
        }
        Generation::open(dir, 1, 0, 0, &opener)
    }

    fn key(place: u64, id: u128) -> DiskKey {
        disk_name(place, id, &Vary::default())
    }

    fn put(generation: &Generation, key: &DiskKey) {
        generation.announce([key].into_iter()).unwrap();
        generation.put(key, b"record").unwrap();
    }

    #[test]
    fn counts_of_callers_are_found_among_records_whose_keys_begin_alike() {
        let dir = tempfile::tempdir().unwrap();
        let generation = open(dir.path());
        let own = |i: u64| key(i, share::own_id(u128::from(i), 7));
        (0..3).for_each(|i| put(&generation, &own(i)));
        let place = u64::from_be_bytes(*b"s\0\0\0\0\0\0\0");
        (0..5000).for_each(|i| put(&generation, &key(place + i, share::shared_id(u128::from(i)))));
        generation.flush().unwrap();
        let had = generation.own_of(&own(0));
        assert_eq!((had.entries, generation.entries()), (3, 5003));
        drop(generation);
        let generation = open(dir.path());
        assert_eq!((generation.own_of(&own(0)), generation.own_entries()), (had, 3));
    }

    #[test]
    fn what_a_caller_has_is_found_after_a_restart_though_the_filter_knew_the_names() {
        let dir = tempfile::tempdir().unwrap();
        let generation = open(dir.path());
        let mut random = fastrand::Rng::with_seed(1);
        let others: Vec<_> = (0..60_000).map(|_| key(random.u64(..), random.u128(..) >> 1)).collect();
        generation.announce(others.iter()).unwrap();
        let own: Vec<_> =
            (0..50).map(|i| key(random.u64(..), share::own_id(random.u128(..), i % 2))).collect();
        let known = own.iter().filter(|key| !insert_name(&generation.filter, name_of(key))).count();
        assert!(known > 10, "{known}");
        own.iter().for_each(|key| put(&generation, key));
        generation.flush().unwrap();
        drop(generation);
        let generation = open(dir.path());
        let limit = Amount { bytes: u64::MAX, entries: 5 };
        assert_eq!(generation.keep_within(&own[48], Some(&own[48]), limit).unwrap().len(), 20);
        assert_eq!((generation.own_of(&own[0]).entries, generation.own_of(&own[1]).entries), (5, 25));
        let left: Vec<_> =
            (0..50).step_by(2).filter(|i| !generation.find(&own[*i], 1).unwrap().is_empty()).collect();
        assert_eq!(left, [40, 42, 44, 46, 48]);
    }

    #[test]
    fn a_count_that_cannot_be_read_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let generation = open(dir.path());
        let own = key(1, share::own_id(1, 7));
        put(&generation, &own);
        generation.flush().unwrap();
        generation.store.put(&shares::key(7), &[0; 8]).unwrap();
        generation.store.flush().unwrap();
        drop(generation);
        let error = try_open(dir.path()).err().unwrap();
        assert!(error.0.contains("one caller's own"), "{error}");
    }
}
