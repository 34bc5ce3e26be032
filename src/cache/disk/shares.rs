//! What the answers take in one generation that are stored for one caller alone ([`crate::cache::share`]).
//!
//! Bytes and entries are kept in the index with the generation's counts; the order comes from its list of names.

use std::collections::{HashMap, VecDeque};

use crate::cache::{
    share::{Amount, slot_of},
    store::StoreError,
};

/// Bytes of a name in the generation's list: place and id.
pub const NAME: usize = 24;

pub type Name = [u8; NAME];

/// What the keys of the counts of callers begin with: too short to be a record's key.
const PREFIX: &[u8] = b"s";

#[derive(Default)]
pub struct Shares(HashMap<u16, Share>);

#[derive(Default)]
struct Share {
    amount: Amount,
    /// Oldest first. Those that were removed meanwhile are still among them.
    order: VecDeque<Name>,
    unsaved: bool,
}

impl Shares {
    /// Notes that something of this name came in.
    pub fn note(&mut self, name: &Name) {
        if let Some(slot) = slot(name) {
            self.0.entry(slot).or_default().order.push_back(*name);
        }
    }

    /// Counts a record that was put under a name.
    pub fn came(&mut self, name: &Name, bytes: u64) {
        self.change(name, |now| Amount { bytes: now.bytes + bytes, entries: now.entries + 1 });
    }

    /// Counts a record that was removed, or replaced, under a name.
    pub fn went(&mut self, name: &Name, bytes: u64) {
        self.change(name, |now| Amount {
            bytes: now.bytes.saturating_sub(bytes),
            entries: now.entries.saturating_sub(1),
        });
    }

    fn change(&mut self, name: &Name, change: impl FnOnce(Amount) -> Amount) {
        if let Some(slot) = slot(name) {
            let share = self.0.entry(slot).or_default();
            share.amount = change(share.amount);
            share.unsaved = true;
        }
    }

    /// What the caller of a name has.
    #[must_use]
    pub fn of(&self, name: &Name) -> Amount {
        slot(name).and_then(|slot| self.0.get(&slot)).map_or(Amount::default(), |share| share.amount)
    }

    /// The records of all callers together.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.0.values().map(|share| share.amount.entries).sum()
    }

    /// A name that has to go for the caller of `of` to be within `limit`, the oldest first; never `spared`.
    pub fn surplus(&mut self, of: &Name, spared: Option<&Name>, limit: Amount) -> Option<Name> {
        let share = self.0.get_mut(&slot(of)?)?;
        if share.amount.is_within(limit) {
            return None;
        }
        let mut oldest = share.order.pop_front();
        // It is there once for each of its variants, and for each time that it was removed and came back.
        let met = oldest.is_some() && oldest.as_ref() == spared;
        while met && oldest.as_ref() == spared {
            oldest = share.order.pop_front();
        }
        share.order.extend(spared.filter(|_| met));
        oldest
    }

    /// The counts that changed since the last call, as records of the index.
    pub fn unsaved(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let record = |(slot, share): (&u16, &mut Share)| {
            let Amount { bytes, entries } = share.amount;
            let value = [bytes, entries].map(u64::to_le_bytes).concat();
            std::mem::take(&mut share.unsaved).then(|| (key(*slot), value))
        };
        self.0.iter_mut().filter_map(record).collect()
    }

    /// The callers that names were noted of.
    pub fn slots(&self) -> impl Iterator<Item = u16> {
        self.0.keys().copied()
    }

    /// Takes a count from the index.
    ///
    /// # Errors
    /// When it is none: the generation is damaged, and nothing of it would be bounded.
    pub fn load(&mut self, slot: u16, value: &[u8]) -> Result<(), StoreError> {
        let ([bytes, entries], []) = value.as_chunks::<8>() else {
            return Err(StoreError("a count of what is one caller's own cannot be read".to_owned()));
        };
        let [bytes, entries] = [*bytes, *entries].map(u64::from_le_bytes);
        self.0.entry(slot).or_default().amount = Amount { bytes, entries };
        Ok(())
    }
}

/// The key of a caller's counts.
#[must_use]
pub fn key(slot: u16) -> Vec<u8> {
    [PREFIX, &slot.to_be_bytes()].concat()
}

/// The slot of the caller that a name is for; nothing when it is for all.
#[must_use]
pub fn slot(name: &Name) -> Option<u16> {
    let id = name.last_chunk().map(|id| u128::from_be_bytes(*id))?;
    slot_of(id).map(|slot| slot as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::share::own_id;

    fn name(i: u128, caller: u64) -> Name {
        let mut name = [0; NAME];
        name[8..].copy_from_slice(&own_id(i, caller).to_be_bytes());
        name
    }

    #[test]
    fn the_oldest_of_a_caller_go_first_and_what_is_spared_stays_however_often_it_came() {
        let mut shares = Shares::default();
        let [a, b, c, other] = [name(1, 7), name(2, 7), name(3, 7), name(4, 8)];
        for name in [&a, &a, &b, &a, &c, &other] {
            shares.note(name);
            shares.came(name, 10);
        }
        assert_eq!((shares.of(&a), shares.of(&other).entries), (Amount { bytes: 50, entries: 5 }, 1));
        assert_eq!(shares.entries(), 6);
        let limit = |bytes, entries| Amount { bytes, entries };
        assert_eq!(shares.surplus(&a, Some(&a), limit(50, 5)), None);
        assert_eq!(shares.surplus(&a, Some(&a), limit(u64::MAX, 4)), Some(b));
        shares.went(&b, 10);
        assert_eq!(shares.surplus(&a, Some(&a), limit(39, u64::MAX)), Some(c));
        shares.went(&c, 10);
        assert_eq!(shares.surplus(&a, Some(&a), limit(0, 0)), None, "nothing else is left");
        assert_eq!(shares.surplus(&a, None, limit(0, 0)), Some(a));
        assert_eq!(shares.surplus(&a, None, limit(0, 0)), None);
        assert_eq!(shares.of(&other), limit(10, 1));
    }

    #[test]
    fn counts_are_written_once_and_read_back() {
        let mut shares = Shares::default();
        shares.came(&name(1, 7), 300);
        shares.came(&name(2, 7), 20);
        let saved = shares.unsaved();
        assert_eq!(saved.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [key(7)]);
        assert!(shares.unsaved().is_empty());
        let mut next = Shares::default();
        next.load(7, &saved[0].1).unwrap();
        assert_eq!(next.of(&name(3, 7)), Amount { bytes: 320, entries: 2 });
        assert!(next.load(7, &saved[0].1[..8]).is_err());
    }
}
