//! sled as a [`Store`]: the one file that names it.
//!
//! What it must not be trusted with (its threads, its space, its recovery) is kept from it: no flusher of
//! its own, small values only, errors and panics caught by the callers, whole generations dropped.

use std::{
    ops::Bound,
    path::{Path, PathBuf},
};

use crate::cache::store::{Record, Store, StoreError, StoreStats};

/// Pages that sled keeps in memory, per generation.
const PAGE_CACHE_BYTES: u64 = 4 * 1024 * 1024;

pub struct Sled {
    db: sled::Db,
    dir: PathBuf,
}

impl Sled {
    /// Opens or makes the store in `dir`. May panic or take long on damaged files: call it guarded.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(PAGE_CACHE_BYTES)
            // The writer flushes; sled's own thread ends for good at its first error.
            .flush_every_ms(None)
            .mode(sled::Mode::HighThroughput);
        Ok(Self { db: config.open().map_err(|e| error(&e))?, dir: dir.to_owned() })
    }
}

impl Store for Sled {
    fn get(&self, prefix: &[u8], limit: usize) -> Result<Vec<Record>, StoreError> {
        let records = self.db.scan_prefix(prefix).take(limit);
        records.map(|r| r.map(|(k, v)| (k.to_vec(), v.to_vec())).map_err(|e| error(&e))).collect()
    }

    fn after(&self, key: &[u8], limit: usize) -> Result<Vec<Record>, StoreError> {
        let records = self.db.range::<&[u8], _>((Bound::Excluded(key), Bound::Unbounded)).take(limit);
        records.map(|r| r.map(|(k, v)| (k.to_vec(), v.to_vec())).map_err(|e| error(&e))).collect()
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.insert(key, value).map(|old| old.map(|v| v.to_vec())).map_err(|e| error(&e))
    }

    fn remove(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.remove(key).map(|old| old.map(|v| v.to_vec())).map_err(|e| error(&e))
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map(drop).map_err(|e| error(&e))
    }

    /// Its own `size_on_disk` walks all blobs; a look at its few files is enough, and tells when the folder
    /// was taken away.
    fn stats(&self) -> Result<StoreStats, StoreError> {
        let io = |e: std::io::Error| StoreError(format!("the index is gone: {e}"));
        let mut bytes = std::fs::metadata(self.dir.join("db")).map_err(io)?.len();
        for file in std::fs::read_dir(&self.dir).map_err(io)? {
            let file = file.map_err(io)?;
            let other = file.file_name() != "db" && file.file_type().is_ok_and(|kind| kind.is_file());
            bytes += if other { file.metadata().map_or(0, |metadata| metadata.len()) } else { 0 };
        }
        let blobs = std::fs::read_dir(self.dir.join("blobs")).map(|files| files.count() as u64).unwrap_or(0);
        Ok(StoreStats { bytes, blobs })
    }
}

fn error(error: &sled::Error) -> StoreError {
    StoreError(error.to_string())
}
