//! The counts of this process: a bounded, sharded map from key to cell.
//!
//! Lives longer than any generation: a limit that is configured again under the same identity finds its
//! cells. Several limits are taken under the locks of all their shards, so a refused call costs nothing.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::gcra::{Cell, Rate, Standing};

const SHARDS: usize = 64;

/// Cells kept at most by default: about 50 MB when full.
pub const DEFAULT_CAPACITY: usize = 1 << 19;

/// A limit's identity within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitId(u32);

/// One counted key: a limit and whom it is counted for (a hash of 128 bits, or an address).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CellKey {
    pub limit: LimitId,
    pub who: u128,
}

/// One call to be counted.
#[derive(Clone, Copy, Debug)]
pub struct Take {
    pub key: CellKey,
    pub rate: Rate,
}

/// The answer to a set of takes: all were admitted and counted, or none was counted.
#[derive(Clone, Debug)]
pub struct Admission {
    pub admitted: bool,
    /// One per take, after the decision.
    pub standings: SmallVec<[Standing; 2]>,
}

/// All local counts.
#[derive(Debug)]
pub struct Limiters {
    birth: Instant,
    names: Mutex<HashMap<String, LimitId>>,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    shard_capacity: usize,
}

impl Default for Limiters {
    fn default() -> Self {
        Self::with_capacity(DEFAULT_CAPACITY)
    }
}

impl Limiters {
    /// Keeps at most about `cells` keys. Where more are live, those nearest to being free are forgotten.
    #[must_use]
    pub fn with_capacity(cells: usize) -> Self {
        Self {
            birth: Instant::now(),
            names: Mutex::default(),
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_capacity: (cells / SHARDS).max(8),
        }
    }

    /// The id of a limit; the same identity gets the same id in every generation. For compile time.
    pub fn id(&self, identity: &str) -> LimitId {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = names.get(identity) {
            return *id;
        }
        let id = LimitId(u32::try_from(names.len()).expect("invariant: fewer limits than 2^32"));
        names.insert(identity.to_owned(), id);
        id
    }

    /// Nanoseconds on the clock of the cells: monotonic, so a change of the wall clock frees and blocks nobody.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.birth.elapsed().as_nanos() as u64
    }

    /// Counts all of `takes` at `now`, or none.
    #[must_use]
    pub fn take(&self, takes: &[Take], now: u64) -> Admission {
        let mut locked = self.lock(takes.iter().map(|take| take.key));
        let mut next: SmallVec<[Option<Cell>; 2]> = SmallVec::with_capacity(takes.len());
        for take in takes {
            let cell = locked.shard(self.index(take.key)).cells.get(&take.key).copied();
            next.push(take.rate.take(cell, now));
        }
        let admitted = next.iter().all(Option::is_some);
        let mut standings = SmallVec::with_capacity(takes.len());
        for (take, next) in takes.iter().zip(next) {
            let shard = locked.shard(self.index(take.key));
            let cell = match next {
                Some(cell) if admitted => {
                    shard.put(take.key, cell, now, self.shard_capacity);
                    Some(cell)
                }
                _ => shard.cells.get(&take.key).copied(),
            };
            standings.push(take.rate.standing(cell, now));
        }
        Admission { admitted, standings }
    }

    /// Undoes takes that were admitted.
    pub fn give_back(&self, takes: &[Take], now: u64) {
        let mut locked = self.lock(takes.iter().map(|take| take.key));
        for take in takes {
            if let Some(cell) = locked.shard(self.index(take.key)).cells.get_mut(&take.key) {
                *cell = take.rate.give_back(*cell, now);
            }
        }
    }

    /// How many keys are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).cells.len()).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn index(&self, key: CellKey) -> usize {
        use std::hash::BuildHasher;
        // The map within the shard takes the low bits of a hash of its own.
        (self.hasher.hash_one(key) >> 32) as usize % SHARDS
    }

    /// Locks the shards of `keys` in ascending order, each once: no two callers can wait for each other.
    fn lock(&self, keys: impl Iterator<Item = CellKey>) -> Locked<'_> {
        let mut places: SmallVec<[usize; 4]> = keys.map(|key| self.index(key)).collect();
        places.sort_unstable();
        places.dedup();
        let guard = |i: usize| (i, self.shards[i].lock().unwrap_or_else(PoisonError::into_inner));
        Locked(places.into_iter().map(guard).collect())
    }
}

struct Locked<'a>(SmallVec<[(usize, MutexGuard<'a, Shard>); 2]>);

impl Locked<'_> {
    fn shard(&mut self, index: usize) -> &mut Shard {
        let found = self.0.iter_mut().find(|(place, _)| *place == index);
        &mut found.expect("invariant: every shard of the call is locked").1
    }
}

#[derive(Debug, Default)]
struct Shard {
    cells: HashMap<CellKey, Cell, RandomState>,
    /// The number of cells at which spent ones are looked for: a sweep is paid for by the inserts before it.
    sweep_at: usize,
}

impl Shard {
    fn put(&mut self, key: CellKey, cell: Cell, now: u64, capacity: usize) {
        if self.cells.len() >= self.sweep_at.clamp(8, capacity) && !self.cells.contains_key(&key) {
            self.sweep(now, capacity);
        }
        self.cells.insert(key, cell);
    }

    /// Forgets what is spent; where that frees too little, also the eighth that is spent soonest.
    fn sweep(&mut self, now: u64, capacity: usize) {
        self.cells.retain(|_, cell| !cell.is_spent(now));
        let room = (capacity / 8).max(1);
        if self.cells.len() + room > capacity {
            let mut ends: Vec<u64> = self.cells.values().map(Cell::spent_at).collect();
            let (_, bound, _) = ends.select_nth_unstable(room.min(self.cells.len()) - 1);
            let bound = *bound;
            self.cells.retain(|_, cell| cell.spent_at() > bound);
        }
        self.sweep_at = (self.cells.len() * 2).max(64);
        if self.cells.capacity() > 4 * self.sweep_at {
            self.cells.shrink_to(self.sweep_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    fn take(limit: LimitId, who: u128, calls: u32) -> Take {
        let rate = Rate::new(calls, Duration::from_mins(1), None).unwrap();
        Take { key: CellKey { limit, who }, rate }
    }

    #[test]
    fn a_refused_call_costs_nothing_in_any_limit() {
        let limiters = Limiters::default();
        let (wide, narrow) = (take(limiters.id("wide"), 1, 10), take(limiters.id("narrow"), 1, 2));
        for _ in 0..2 {
            assert!(limiters.take(&[wide, narrow], 0).admitted);
        }
        for _ in 0..5 {
            let refused = limiters.take(&[wide, narrow], 0);
            assert!(!refused.admitted);
            assert_eq!((refused.standings[0].remaining, refused.standings[1].remaining), (8, 0));
        }
        assert_eq!(limiters.take(&[wide], 0).standings[0].remaining, 7);
    }

    #[test]
    fn the_same_identity_finds_its_counts_again() {
        let limiters = Limiters::default();
        assert!(limiters.take(&[take(limiters.id("api/x"), 7, 10)], 0).admitted);
        let again = limiters.take(&[take(limiters.id("api/x"), 7, 5)], 0);
        assert_eq!(again.standings[0].remaining, 3);
        assert_eq!(limiters.take(&[take(limiters.id("api/y"), 7, 5)], 0).standings[0].remaining, 4);
    }

    #[test]
    fn calls_given_back_can_be_made_again() {
        let limiters = Limiters::default();
        let one = take(limiters.id("x"), 1, 1);
        assert!(limiters.take(&[one], 5).admitted);
        assert!(!limiters.take(&[one], 5).admitted);
        limiters.give_back(&[one], 5);
        assert!(limiters.take(&[one], 5).admitted);
    }

    #[test]
    fn exactly_the_limit_is_admitted_under_concurrency() {
        let limiters = Arc::new(Limiters::default());
        let (a, b) = (take(limiters.id("a"), 1, 1000), take(limiters.id("b"), 2, 1500));
        let threads: Vec<_> = (0..4)
            .map(|i| {
                let limiters = Arc::clone(&limiters);
                let pair = if i % 2 == 0 { [a, b] } else { [b, a] };
                std::thread::spawn(move || (0..1000).filter(|_| limiters.take(&pair, 0).admitted).count())
            })
            .collect();
        let admitted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(admitted, 1000);
        assert_eq!(limiters.take(&[b], 0).standings[0].remaining, 499);
    }

    #[test]
    fn keys_are_bounded_and_those_with_most_debt_stay() {
        let limiters = Limiters::with_capacity(64 * 16);
        let id = limiters.id("x");
        let heavy = take(id, 0, 10);
        while limiters.take(&[heavy], 0).admitted {}
        for who in 1..20_000 {
            let _ = limiters.take(&[take(id, who, 10)], 0);
        }
        assert!(limiters.len() <= 64 * 16, "{}", limiters.len());
        assert!(!limiters.take(&[heavy], 0).admitted);
    }

    #[test]
    fn spent_keys_are_forgotten_as_new_ones_come() {
        let limiters = Limiters::default();
        let id = limiters.id("x");
        for round in 0..100_u64 {
            for who in 0..500 {
                let _ = limiters.take(&[take(id, u128::from(round * 500 + who), 10)], round * 60_000_000_000);
            }
        }
        assert!(limiters.len() < 64 * 130, "{}", limiters.len());
    }
}
