//! The index of one disk generation behind a trait, so that the engine is one file ([`super::disk::engine`])
//! and tests can make it fail.
//!
//! A store is an ordered map that may lose what was not flushed, and never returns what was not put. All
//! calls block; only the disk tier's own threads make them.

/// Why a store did not do what it was asked. After an error it is closed and opened anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError(pub String);

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

/// What a store takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    pub bytes: u64,
    /// Files beside the log, which must stay zero: the engine leaks them.
    pub blobs: u64,
}

/// One record: its key and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// An ordered map on disk.
pub trait Store: Send + Sync {
    /// At most `limit` records whose keys begin with `prefix`, in order.
    fn get(&self, prefix: &[u8], limit: usize) -> Result<Vec<Record>, StoreError>;

    /// At most `limit` records whose keys come after `key`, in order.
    fn after(&self, key: &[u8], limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Puts a value and returns the one it replaces.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Removes a value and returns it.
    fn remove(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// What was put and removed so far survives the end of the process.
    fn flush(&self) -> Result<(), StoreError>;

    fn stats(&self) -> Result<StoreStats, StoreError>;
}
