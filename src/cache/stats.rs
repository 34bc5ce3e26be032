//! Counters of the cache that telemetry reads: plain atomics, no lock.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counters since the start of the process.
        #[derive(Debug, Default)]
        pub struct CacheStats {
            $($(#[doc = $doc])+ pub $name: AtomicU64,)+
            /// Whether there is a disk tier and it works.
            pub disk_ok: AtomicBool,
            /// What is wrong with the disk tier; empty when nothing is.
            pub disk_problem: Mutex<String>,
        }

        /// [`CacheStats`] at one moment.
        #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct CacheReport {
            $($(#[doc = $doc])+ pub $name: u64,)+
            pub disk_ok: bool,
            pub disk_problem: String,
        }

        impl CacheStats {
            #[must_use]
            pub fn report(&self) -> CacheReport {
                CacheReport {
                    $($name: self.$name.load(Ordering::Relaxed),)+
                    disk_ok: self.disk_ok.load(Ordering::Relaxed),
                    disk_problem: self.disk_problem.lock().map(|p| p.clone()).unwrap_or_default(),
                }
            }
        }
    };
}

counters! {
    /// Answers from memory.
    hits_memory,
    /// Answers from disk.
    hits_disk,
    /// Look-ups that found something stale or to be validated.
    stale,
    /// Look-ups that found nothing.
    misses,
    /// Answers taken from another request's fetch.
    collapsed,
    /// Requests that went past the cache.
    bypasses,
    /// Responses stored.
    stores,
    /// Validations that renewed what was stored.
    refreshes,
    /// Responses whose storing was given up: aborted, too large, invalidated meanwhile.
    abandoned,
    /// Places invalidated by unsafe methods.
    invalidations,
    /// Purges that drop what they cover.
    purges,
    /// Purges that make stale what they cover.
    soft_purges,
    /// Responses that purges dropped or made stale, as far as they were counted.
    purged,
    /// Purges that the disk did not confirm in time.
    purges_unconfirmed,
    /// Resources that memory dropped for others.
    evictions,
    /// Resources in memory and responses on disk that went because their caller had its share.
    share_evictions,
    /// Resources in memory.
    memory_entries,
    /// Bytes in memory.
    memory_bytes,
    /// Those of them that are stored for one caller alone.
    memory_own_bytes,
    /// Responses in memory that are stored for one caller alone.
    memory_own_entries,
    /// Responses on disk.
    disk_entries,
    /// Those of them that are stored for one caller alone.
    disk_own_entries,
    /// Bytes that the files on disk take.
    disk_bytes,
    /// Bytes of the responses themselves on disk: records and bodies.
    disk_content_bytes,
    /// Responses that wait to be written to disk.
    disk_waiting,
    /// Generations dropped for want of space.
    disk_generations_dropped,
    /// Writes skipped because the queue was full or the tier not there.
    disk_writes_skipped,
    /// Reads that did not end in time or found the queue full.
    disk_reads_late,
    /// Errors of the disk tier.
    disk_errors,
    /// Records that failed their checksum.
    disk_corrupt,
    /// Files in sled's blob folders: anything but zero is a fault.
    disk_blobs,
}

impl CacheStats {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn disk_works(&self) {
        if !self.disk_ok.swap(true, Ordering::Relaxed)
            && let Ok(mut problem) = self.disk_problem.lock()
        {
            problem.clear();
        }
    }

    /// Counts a record or body that failed its checksum, and says so with each doubling of the count.
    pub(super) fn disk_damaged(&self) {
        let count = self.disk_corrupt.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(
                count,
                "stored answers failed their checksum and are fetched anew; check the disk"
            );
        }
    }

    pub(super) fn disk_fails(&self, what: impl Into<String>) {
        Self::add(&self.disk_errors);
        self.disk_still_fails(what);
    }

    pub(super) fn disk_still_fails(&self, what: impl Into<String>) {
        self.disk_ok.store(false, Ordering::Relaxed);
        if let Ok(mut problem) = self.disk_problem.lock() {
            *problem = what.into();
        }
    }
}
