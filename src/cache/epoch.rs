//! What was invalidated since when: a fixed table of counters instead of a list that grows.
//!
//! Every invalidation draws a number from one counter and leaves it in the slot of its place. Whoever
//! began before (a fill, a read from disk, a stored entry) finds a larger number than its own and does
//! not count. Two places may share a slot: that costs a miss, never an answer that was invalidated.
//! Purges draw theirs from the same counter and are noted in [`Recent`].

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    entry::Entry,
    key::Key,
    purge::{Facts, Fate, Purge},
    recent::{Issued, Recent},
};

/// Counters of invalidation by place.
#[derive(Debug)]
pub struct Epochs {
    clock: AtomicU64,
    /// The moment of the latest purge: what began before it and is not finished must ask for its fate.
    floor: AtomicU64,
    slots: Box<[AtomicU64]>,
    pub purges: Recent,
}

impl Epochs {
    /// `slots` is rounded up to a power of two; the clock goes on from `start`, which must be beyond all
    /// that any stored record has.
    #[must_use]
    pub fn new(slots: usize, start: u64) -> Self {
        let slots = (0..slots.next_power_of_two()).map(|_| AtomicU64::new(0)).collect();
        let purges = Recent::default();
        Self { clock: AtomicU64::new(start), floor: AtomicU64::new(0), slots, purges }
    }

    /// The moment that something begins.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.clock.load(Ordering::Acquire)
    }

    /// Whether what is stored for `place` since then still counts.
    #[must_use]
    pub fn valid(&self, place: u64, since: u64) -> bool {
        self.slot(place).load(Ordering::Acquire) <= since
    }

    /// Whether what began at `since` for `place` and ends now surely still counts.
    #[must_use]
    pub fn unbroken(&self, place: u64, since: u64) -> bool {
        self.valid(place, since) && self.floor.load(Ordering::SeqCst) <= since
    }

    /// Whether purges leave a response as it is that is in no tier yet.
    #[must_use]
    pub fn spares(&self, key: &Key, entry: &Entry) -> bool {
        let facts = || Facts::new(key.as_bytes(), &entry.headers);
        self.floor.load(Ordering::SeqCst) <= entry.since || self.fate(&facts(), entry.since) == Fate::Kept
    }

    /// What purges leave of a response that began at `since` and was in no tier meanwhile. One that is older
    /// than the purges that are remembered is gone.
    fn fate(&self, facts: &Facts<'_>, since: u64) -> Fate {
        let fate = self.purges.fate(facts, since);
        // Looked at last: a purge may have been forgotten meanwhile.
        if self.purges.horizon() > since { Fate::Gone } else { fate }
    }

    /// Makes all that began so far for `place` invalid.
    pub fn invalidate(&self, place: u64) -> u64 {
        let moment = self.tick();
        self.slot(place).fetch_max(moment, Ordering::AcqRel);
        moment
    }

    /// Begins a purge of what began so far.
    pub fn issue(&self, purge: Purge) -> Arc<Issued> {
        self.purges.issue(purge, || {
            let moment = self.tick();
            self.floor.fetch_max(moment, Ordering::SeqCst);
            moment
        })
    }

    /// The clock as a source of numbers that no one else has.
    pub fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Moves the clock on to `start` where it is behind.
    pub fn advance(&self, start: u64) {
        self.clock.fetch_max(start, Ordering::AcqRel);
    }

    fn slot(&self, place: u64) -> &AtomicU64 {
        &self.slots[place as usize & (self.slots.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_before_an_invalidation_of_its_place_does_not_count() {
        let epochs = Epochs::new(8, 100);
        let before = epochs.now();
        assert!(epochs.valid(3, before));
        epochs.invalidate(3);
        assert!(!epochs.valid(3, before));
        assert!(epochs.valid(4, before));
        assert!(epochs.valid(3, epochs.now()));
    }

    #[test]
    fn a_purge_is_asked_of_by_all_that_is_under_way_and_touches_nothing_stored() {
        let epochs = Epochs::new(8, 0);
        let before = epochs.now();
        epochs.issue(Purge::everything());
        assert!((0..20).all(|place| !epochs.unbroken(place, before) && epochs.valid(place, before)));
        assert!(epochs.unbroken(3, epochs.now()));
        let headers = http::HeaderMap::new();
        assert_eq!(epochs.fate(&Facts::new(b"", &headers), before), Fate::Gone);
        assert_eq!(epochs.fate(&Facts::new(b"", &headers), epochs.now()), Fate::Kept);
    }
}
