//! What the answers take in one generation that are stored for one caller alone ([`crate::cache::share`]).
//!
//! The bytes are kept in the index with the generation's counts; the order comes from its list of names.

use std::collections::{HashMap, VecDeque};

use crate::cache::share::{SLOTS, slot_of};

/// Bytes of a name in the generation's list: place and id.
pub const NAME: usize = 24;

pub type Name = [u8; NAME];

/// What the keys of the counts of callers begin with: too short to be a record's key.
pub const PREFIX: &[u8] = b"s";

#[derive(Default)]
pub struct Shares(HashMap<u16, Share>);

#[derive(Default)]
struct Share {
    bytes: u64,
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

    /// Notes that what is under a name takes `added` bytes more and `removed` bytes less.
    pub fn change(&mut self, name: &Name, added: u64, removed: u64) {
        if let Some(slot) = slot(name) {
            let share = self.0.entry(slot).or_default();
            share.bytes = (share.bytes + added).saturating_sub(removed);
            share.unsaved = true;
        }
    }

    /// A name that has to go for its caller to be within `limit` bytes, the oldest first; never `newest`.
    pub fn surplus(&mut self, newest: &Name, limit: u64) -> Option<Name> {
        let share = self.0.get_mut(&slot(newest)?)?;
        if share.bytes <= limit {
            return None;
        }
        let oldest = share.order.pop_front()?;
        if oldest != *newest {
            return Some(oldest);
        }
        share.order.push_back(oldest);
        if share.order.len() > 1 { share.order.pop_front() } else { None }
    }

    /// The counts that changed since the last call, as records of the index.
    pub fn unsaved(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let record = |(slot, share): (&u16, &mut Share)| {
            let key = [PREFIX, &slot.to_be_bytes()].concat();
            std::mem::take(&mut share.unsaved).then(|| (key, share.bytes.to_le_bytes().to_vec()))
        };
        self.0.iter_mut().filter_map(record).collect()
    }

    /// Takes a count from the index.
    pub fn load(&mut self, key: &[u8], value: &[u8]) {
        let slot = key.strip_prefix(PREFIX).and_then(|slot| slot.try_into().ok()).map(u16::from_be_bytes);
        if let (Some(slot), Ok(bytes)) = (slot, value.try_into())
            && usize::from(slot) < SLOTS
        {
            self.0.entry(slot).or_default().bytes = u64::from_le_bytes(bytes);
        }
    }
}

fn slot(name: &Name) -> Option<u16> {
    let id = name.last_chunk().map(|id| u128::from_be_bytes(*id))?;
    slot_of(id).map(|slot| slot as u16)
}
