//! How often requests may ask for a new answer while the stored one is fresh.
//!
//! Whoever sends `no-cache` with each request would wear the upstream out, though its answers may be stored.
//! So only some requests a second are heard for one key; the others are answered as if they had not asked,
//! which RFC 9111, 5.2.1 leaves to the cache. The table is fixed: two keys may share a counter, which makes
//! them be heard less often.

use std::sync::atomic::{AtomicU64, Ordering};

use super::key::Name;

const SLOTS: usize = 4096;

/// Bits of a count; the second that it is of stands above.
const COUNT_BITS: u32 = 32;

/// Counters of this second.
#[derive(Debug)]
pub struct Reloads(Box<[AtomicU64]>);

impl Default for Reloads {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Reloads {
    /// Whether one more request is heard in the second of `now_ms`, of which `limit` are.
    pub fn take(&self, Name(key): Name, now_ms: u64, limit: u32) -> bool {
        let second = now_ms / 1000;
        let order = Ordering::Relaxed;
        let counted = self.0[key as usize % SLOTS].fetch_update(order, order, |seen| {
            let count = if seen >> COUNT_BITS == second { seen & u64::from(u32::MAX) } else { 0 };
            (count < u64::from(limit)).then_some(second << COUNT_BITS | (count + 1))
        });
        counted.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_heard_so_often_in_each_second() {
        let (reloads, now) = (Reloads::default(), 1_700_000_000_000);
        let heard = |key, at| (0..5).filter(|_| reloads.take(Name(key), at, 3)).count();
        assert_eq!((heard(1, now), heard(1, now + 999), heard(2, now)), (3, 0, 3));
        assert_eq!(heard(1, now + 1000), 3);
        assert!(!reloads.take(Name(9), now, 0));
    }
}
