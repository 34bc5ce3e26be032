//! What lies on disk, in the order of its names, a piece at a time.

use std::collections::HashSet;

use super::{Disk, Late, READ_DEADLINE, Shared, generation::DiskKey, reader::Judge, record};
use crate::cache::{entry::Entry, store::StoreError};

/// A record as it counts now.
pub struct Listed {
    pub name: DiskKey,
    pub key: Vec<u8>,
    pub entry: Entry,
}

/// A piece of the list.
pub struct Chunk {
    pub records: Vec<Listed>,
    /// All records up to this name were looked at; nothing when those were the last.
    pub upto: Option<DiskKey>,
}

impl Disk {
    /// What is stored behind `after`: at most `limit` records of each generation are looked at.
    ///
    /// # Errors
    /// When the disk does not answer in time.
    pub async fn list(&self, after: DiskKey, limit: usize) -> Result<Chunk, Late> {
        let found = self.readers.list(after, limit, READ_DEADLINE * 4).await;
        self.note(found)
    }

    /// Whether the tier is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.generation() != 0
    }
}

pub(super) fn chunk(shared: &Shared, after: &DiskKey, limit: usize) -> Result<Chunk, StoreError> {
    let judge = Judge::now(shared);
    let mut upto: Option<DiskKey> = None;
    let (mut records, mut seen) = (Vec::new(), HashSet::new());
    for generation in &judge.live.generations {
        let (found, more) = generation.after(after, limit)?;
        if let Some((last, _)) = found.last().filter(|_| more) {
            upto = Some(upto.map_or(*last, |known| known.min(*last)));
        }
        for (name, value) in found {
            let place = u64::from_be_bytes(*name.first_chunk().expect("invariant: a name holds its place"));
            // Newest first: what an older generation has of the same is out of date.
            if !seen.insert(name) || shared.queue.is_leaving(place) {
                continue;
            }
            let Some(mut decoded) = record::decode(&value, generation.number, shared.seed) else { continue };
            if judge.spares(&mut decoded) {
                records.push(Listed { name, key: decoded.key, entry: decoded.entry });
            }
        }
    }
    records.retain(|record: &Listed| upto.is_none_or(|upto| record.name <= upto));
    records.sort_by_key(|record| record.name);
    Ok(Chunk { records, upto })
}
