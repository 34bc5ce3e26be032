//! How much of a tier the answers may take that are stored for one caller alone.
//!
//! Without a bound, one caller who asks for ever new answers of its own pushes out everyone else's. Beyond
//! its share of the bytes, or so many answers, a caller's own oldest go first. Callers are told apart by a slot of [`SLOTS`], which
//! stands in the id of the key: it needs no field of its own, in memory, on disk or in the list of names.
//! Two callers in one slot share a share: that costs hits of theirs, and bounds what is kept here.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub const SLOTS: usize = 1 << SLOT_BITS;

const SLOT_BITS: u32 = 12;

/// Set in the id of what is stored for one caller.
const OWN: u128 = 1 << 127;

const SLOT_SHIFT: u32 = 127 - SLOT_BITS;

/// Newcomers are noted up to this many without a look at those that have left.
const LEAST_SWEEP: usize = 1024;

/// Answers that are passed over because they were used, for one that goes.
const PASSES: usize = 16;

/// The id of what all callers share.
#[must_use]
pub fn shared_id(hash: u128) -> u128 {
    hash & !OWN
}

/// The id of what is stored for one caller, whose slot is taken from `caller`, a hash of its name.
#[must_use]
pub fn own_id(hash: u128, caller: u64) -> u128 {
    let slot = u128::from(caller) % SLOTS as u128;
    hash & !(u128::MAX << SLOT_SHIFT) | OWN | slot << SLOT_SHIFT
}

/// An id for the same caller, or for all, as `id` is.
#[must_use]
pub fn same_owner(hash: u128, id: u128) -> u128 {
    let owner = u128::MAX << SLOT_SHIFT;
    if id & OWN == 0 { shared_id(hash) } else { hash & !owner | id & owner }
}

/// The slot of the caller that the id is for; nothing when it is for all.
#[must_use]
pub fn slot_of(id: u128) -> Option<usize> {
    (id & OWN != 0).then_some((id >> SLOT_SHIFT) as usize % SLOTS)
}

/// What one caller has, or may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub bytes: u64,
    /// Responses, each variant counted.
    pub entries: u64,
}

impl Amount {
    /// Whether neither bytes nor entries are more than `limit` has.
    #[must_use]
    pub fn is_within(self, limit: Self) -> bool {
        self.bytes <= limit.bytes && self.entries <= limit.entries
    }
}

/// What each caller has in memory.
pub struct Shares {
    limit: Amount,
    slots: Box<[Share]>,
}

#[derive(Default)]
struct Share {
    bytes: AtomicU64,
    entries: AtomicU64,
    order: Mutex<Order>,
}

/// Ids in the order in which they came. Some are gone: they are swept out now and then.
#[derive(Default)]
struct Order {
    ids: VecDeque<u128>,
    sweep_at: usize,
}

impl Shares {
    /// `limit` is for each caller.
    #[must_use]
    pub fn new(limit: Amount) -> Self {
        Self { limit, slots: (0..SLOTS).map(|_| Share::default()).collect() }
    }

    /// What of one caller's is there and what is coming.
    pub fn add(&self, slot: usize, amount: Amount) {
        self.slots[slot].bytes.fetch_add(amount.bytes, Ordering::Relaxed);
        self.slots[slot].entries.fetch_add(amount.entries, Ordering::Relaxed);
    }

    pub fn subtract(&self, slot: usize, amount: Amount) {
        self.slots[slot].bytes.fetch_sub(amount.bytes, Ordering::Relaxed);
        self.slots[slot].entries.fetch_sub(amount.entries, Ordering::Relaxed);
    }

    /// What all callers have together.
    #[must_use]
    pub fn total(&self) -> Amount {
        self.slots.iter().map(Share::amount).fold(Amount::default(), |sum, own| Amount {
            bytes: sum.bytes + own.bytes,
            entries: sum.entries + own.entries,
        })
    }

    /// Notes an id that is new. `present` says which of those that were noted are still there.
    pub fn note(&self, slot: usize, id: u128, present: impl Fn(u128) -> bool) {
        let mut order = lock(&self.slots[slot].order);
        if order.ids.len() >= order.sweep_at.max(LEAST_SWEEP) {
            order.ids.retain(|id| present(*id));
            order.sweep_at = order.ids.len() * 2;
        }
        order.ids.push_back(id);
    }

    /// Makes a caller's oldest answers go until the rest is within the limit. `pass_over` is told an id, and
    /// whether it may stay if it was used of late; it says whether it stays, else it has taken it out. What
    /// has just come in, `newest`, stays in any case.
    pub fn keep_within(&self, slot: usize, newest: u128, pass_over: impl Fn(u128, bool) -> bool) {
        let share = &self.slots[slot];
        let mut passes = 0;
        while !share.amount().is_within(self.limit) {
            let mut order = lock(&share.order);
            let Some(oldest) = order.ids.pop_front() else { return };
            if oldest == newest || pass_over(oldest, passes < PASSES) {
                order.ids.push_back(oldest);
                passes += 1;
                if order.ids.len() < passes {
                    return; // it is too large for the share all by itself
                }
            }
        }
    }
}

impl Share {
    fn amount(&self) -> Amount {
        let [bytes, entries] = [&self.bytes, &self.entries].map(|count| count.load(Ordering::Relaxed));
        Amount { bytes, entries }
    }
}

fn lock(order: &Mutex<Order>) -> MutexGuard<'_, Order> {
    order.lock().unwrap_or_else(PoisonError::into_inner)
}
