//! A Bloom filter per generation: most look-ups of what is not on disk never go there.
//!
//! Bits are only ever set; a filter goes with its generation.

use std::sync::atomic::{AtomicU64, Ordering};

const PROBES: u64 = 4;

/// A set of 128-bit names that may say yes wrongly (about 1 in 100 when filled as planned), never no.
pub struct Filter(Box<[AtomicU64]>);

impl Filter {
    /// For about `names` names, 12 bits each.
    #[must_use]
    pub fn new(names: u64) -> Self {
        let words = (names.saturating_mul(12) / 64).clamp(1 << 10, 1 << 22).next_power_of_two();
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// Adds a name; false when that changed nothing.
    pub fn insert(&self, name: u128) -> bool {
        let set = |(word, bit): (usize, u64)| self.0[word].fetch_or(bit, Ordering::Relaxed) & bit == 0;
        self.places(name).fold(false, |new, place| set(place) | new)
    }

    #[must_use]
    pub fn contains(&self, name: u128) -> bool {
        self.places(name).all(|(word, bit)| self.0[word].load(Ordering::Relaxed) & bit != 0)
    }

    fn places(&self, name: u128) -> impl Iterator<Item = (usize, u64)> + use<> {
        let (first, step) = (name as u64, (name >> 64) as u64 | 1);
        let bits = self.0.len() as u64 * 64;
        (0..PROBES).map(move |i| {
            let bit = first.wrapping_add(step.wrapping_mul(i)) & (bits - 1);
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_all_that_was_put_and_little_else() {
        let filter = Filter::new(10_000);
        let name = |i: u64| xxhash_rust::xxh3::xxh3_128(&i.to_le_bytes());
        let new = (0..10_000).filter(|i| filter.insert(name(*i))).count();
        assert!(new > 9_700, "{new}");
        assert!((0..10_000).all(|i| !filter.insert(name(i))));
        assert!((0..10_000).all(|i| filter.contains(name(i))));
        let wrong = (10_000..20_000).filter(|i| filter.contains(name(*i))).count();
        assert!(wrong < 300, "{wrong}");
    }
}
