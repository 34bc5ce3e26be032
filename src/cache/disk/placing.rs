//! How the writer lays one response down: in the index whole, or its body in a file beside it.

use std::{io, sync::atomic::Ordering, time::Instant};

use super::{
    generation::{self, DiskKey, disk_key},
    record::{self, Placed},
    writer::Writer,
};
use crate::cache::{
    CacheStats,
    entry::{Entry, MAX_VARIANTS, Stored},
    key::Key,
    purge::{self, Facts, Fate},
    share::Amount,
    store::StoreError,
};

impl Writer {
    /// Writes a response as purges left it. `as_of`: see [`Write::Entry`](super::queue::Write::Entry).
    pub(super) fn write(&mut self, key: &Key, entry: &Entry, as_of: u64) -> Result<(), StoreError> {
        if !self.shared.epochs.valid(key.place, entry.since) {
            return Ok(());
        }
        let softened = match self.fate(key.as_bytes(), entry) {
            Fate::Kept => None,
            Fate::Stale(at_ms) => Some(entry.softened(at_ms)),
            // What it was to replace is older still.
            Fate::Gone => return self.remove(&disk_key(key, &entry.vary)),
        };
        // Looked at last: a purge that was forgotten meanwhile may have been about it.
        if self.shared.epochs.purges.horizon() > as_of {
            CacheStats::add(&self.shared.stats.disk_writes_skipped);
            return Ok(());
        }
        let entry = softened.as_ref().unwrap_or(entry);
        let name = disk_key(key, &entry.vary);
        if !entry.vary.is_empty() {
            self.make_room(key, &name)?;
        }
        let Some(record) = self.place(key.as_bytes(), entry)? else {
            CacheStats::add(&self.shared.stats.disk_writes_skipped);
            return Ok(());
        };
        self.put(&name, &record)
    }

    /// The record of a response, its body where it belongs; none when it does not fit.
    fn place(&self, key: &[u8], entry: &Entry) -> Result<Option<Vec<u8>>, StoreError> {
        let (seed, current) = (self.shared.seed, &self.generations[0]);
        let failed = |e: io::Error| StoreError(format!("a body: {e}"));
        let with_file = |name, len| {
            let record = record::encode(key, entry, Placed::File(name, len), seed);
            (record.len() <= record::MAX_HEAD).then_some(record)
        };
        match &entry.body {
            Stored::Bytes(bytes) => {
                if bytes.len() <= record::MAX_WHOLE {
                    let record = record::encode(key, entry, Placed::Here(bytes), seed);
                    if record.len() <= record::MAX_WHOLE
                        || (bytes.is_empty() && record.len() <= record::MAX_HEAD)
                    {
                        return Ok(Some(record));
                    }
                }
                let name = self.shared.epochs.tick();
                let Some(record) = with_file(name, bytes.len() as u64) else { return Ok(None) };
                current.bodies.write(name, bytes).map_err(failed)?;
                Ok(Some(record))
            }
            Stored::Parts(_) => Ok(None),
            Stored::File(file) => {
                if file.generation != current.number {
                    let Some(older) = self.generations.iter().find(|g| g.number == file.generation) else {
                        return Ok(None);
                    };
                    if current.bodies.adopt(&older.bodies, file.name).is_err() {
                        return Ok(None); // it was replaced meanwhile
                    }
                }
                Ok(with_file(file.name, file.len))
            }
        }
    }

    /// Copies a record that is still asked for out of the older generation.
    pub(super) fn promote(&mut self, key: &DiskKey) -> Result<(), StoreError> {
        let [current, older] = &self.generations[..] else { return Ok(()) };
        if !current.find(key, 1)?.is_empty() {
            return Ok(());
        }
        let Some((_, record)) = older.find(key, 1)?.pop() else { return Ok(()) };
        let Some(mut decoded) = record::decode(&record, older.number, self.shared.seed) else {
            return Ok(());
        };
        match self.fate(&decoded.key, &decoded.entry) {
            Fate::Kept => {}
            Fate::Stale(at_ms) => decoded.entry.soften(at_ms),
            Fate::Gone => return Ok(()),
        }
        let Some(record) = self.place(&decoded.key, &decoded.entry)? else { return Ok(()) };
        self.put(key, &record)
    }

    pub(super) fn remove(&mut self, key: &DiskKey) -> Result<(), StoreError> {
        for generation in &self.generations {
            if generation.remove(key)? {
                self.dirty_since.get_or_insert_with(Instant::now);
            }
        }
        Ok(())
    }

    /// What purges leave of a response: those that hold on disk, and those on their way there.
    pub(super) fn fate(&self, key: &[u8], entry: &Entry) -> Fate {
        let facts = Facts::new(key, &entry.headers);
        let recent = self.shared.epochs.purges.all();
        let rules = self.meta.rules.iter().chain(recent.iter().map(|issued| &issued.rule));
        purge::fate(rules.map(|rule| &**rule), &facts, entry.since)
    }

    fn put(&mut self, key: &DiskKey, record: &[u8]) -> Result<(), StoreError> {
        self.generations[0].put(key, record)?;
        let gone = self.keep_within(key)?;
        self.shared.stats.share_evictions.fetch_add(gone, Ordering::Relaxed);
        self.dirty_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Removes what the caller of `newest` has too much, the oldest first: what the older generation has is
    /// older than all that the current one has, or was replaced by it.
    fn keep_within(&self, newest: &DiskKey) -> Result<u64, StoreError> {
        let [current, older @ ..] = &self.generations[..] else { return Ok(0) };
        let limit = self.shared.share;
        let room = limit.entries.saturating_sub(current.own_of(newest).entries);
        let mut count = 0;
        for older in older {
            count += older.keep_within(newest, None, Amount { bytes: u64::MAX, entries: room })?.len();
        }
        let gone = current.keep_within(newest, Some(newest), limit)?;
        // What it had replaced must not come to light again.
        for (key, older) in gone.iter().flat_map(|key| older.iter().map(move |older| (key, older))) {
            older.remove(key)?;
        }
        Ok((count + gone.len()) as u64)
    }

    /// Keeps the number of a resource's responses below the bound that readers look at.
    fn make_room(&self, key: &Key, name: &DiskKey) -> Result<(), StoreError> {
        let current = &self.generations[0];
        let known = current.find(&generation::prefix(key), MAX_VARIANTS)?;
        if known.len() >= MAX_VARIANTS && known.iter().all(|(k, _)| k != name) {
            let age = |value: &[u8]| {
                let decoded = record::decode(value, current.number, self.shared.seed);
                decoded.map_or(0, |d| d.entry.policy.received_ms)
            };
            if let Some((oldest, _)) = known.iter().min_by_key(|(_, value)| age(value)) {
                for generation in &self.generations {
                    generation.remove(oldest)?;
                }
            }
        }
        Ok(())
    }
}
