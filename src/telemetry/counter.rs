//! The atomics under the metrics: a counter, a histogram, and counts by a closed set of words.
//!
//! Nothing here locks: the histogram of the metrics crate takes a mutex per observation, these only add.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the latency buckets in microseconds: from a cache hit to a slow upstream.
const BOUNDS: [u64; 15] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// A latency histogram with fixed buckets from 250 µs to 10 s.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One per bound and one for everything slower; not cumulative.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, micros: u64) {
        let index = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[index].fetch_add(1, Relaxed);
        self.sum_micros.fetch_add(micros, Relaxed);
    }

    /// Sum in seconds, count, and the buckets as (upper bound in seconds, count within).
    #[must_use]
    pub fn snapshot(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.buckets.iter().map(|count| count.load(Relaxed))).collect();
        // The count is the buckets' sum, so that the two never disagree within one scrape.
        let count = buckets.iter().map(|(_, count)| count).sum();
        (self.sum_micros.load(Relaxed) as f64 / 1e6, count, buckets)
    }
}

/// Counts by word, for words that are constants of the program: cache results, failure reasons.
///
/// The first `N` distinct words have a count each, any further ones share `other`, so the label set
/// stays bounded whatever a caller does.
#[derive(Debug)]
pub struct Words<const N: usize> {
    slots: [(OnceLock<&'static str>, AtomicU64); N],
    other: AtomicU64,
}

impl<const N: usize> Default for Words<N> {
    fn default() -> Self {
        Self { slots: std::array::from_fn(|_| Default::default()), other: AtomicU64::new(0) }
    }
}

impl<const N: usize> Words<N> {
    pub fn inc(&self, word: &'static str) {
        for (name, count) in &self.slots {
            if *name.get_or_init(|| word) == word {
                count.fetch_add(1, Relaxed);
                return;
            }
        }
        self.other.fetch_add(1, Relaxed);
    }

    /// Every word counted so far.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let other = Some(("other", self.other.load(Relaxed))).filter(|(_, count)| *count > 0);
        self.slots
            .iter()
            .map_while(|(name, count)| name.get().map(|name| (*name, count.load(Relaxed))))
            .chain(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [0, 250, 251, 10_000_000, 10_000_001] {
            histogram.observe(micros);
        }
        let (sum, count, buckets) = histogram.snapshot();
        assert_eq!(count, 5);
        assert!((sum - 20.000_502).abs() < 1e-9, "{sum}");
        assert_eq!(buckets[0], (0.000_25, 2));
        assert_eq!(buckets[1], (0.0005, 1));
        assert_eq!(buckets[14], (10.0, 1));
        assert_eq!(buckets[15], (f64::INFINITY, 1));
    }

    #[test]
    fn more_words_than_places_share_one_count() {
        let words = Words::<2>::default();
        for word in ["hit", "miss", "hit", "stale", "expired"] {
            words.inc(word);
        }
        assert_eq!(words.iter().collect::<Vec<_>>(), [("hit", 2), ("miss", 1), ("other", 2)]);
    }
}
