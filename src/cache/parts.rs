//! Parts of one representation, and what is missing between them (RFC 9110, 15.3.7.3).
//!
//! Pure. Whether two responses are parts of the same representation is decided before.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// Runs that are kept apart; then the shortest goes for the next.
const MAX_RUNS: usize = 16;

/// Runs of bytes in order, none of them empty, with at least one byte missing between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    total: u64,
    runs: SmallVec<[(u64, Bytes); 1]>,
}

impl Parts {
    /// One run from `start` on, of a representation of `total` bytes.
    #[must_use]
    pub fn new(total: u64, start: u64, bytes: Bytes) -> Self {
        Self { total, runs: SmallVec::from_iter([(start, bytes)]) }
    }

    /// Bytes of the whole representation.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes that are there.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.runs.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// The same with one more run; where bytes were there before, the new ones count.
    #[must_use]
    pub fn with(&self, start: u64, bytes: &Bytes) -> Self {
        let end = start + bytes.len() as u64;
        let touches = |run: &&(u64, Bytes)| run.0 <= end && end_of(run) >= start;
        let mut joined = bytes.clone();
        let mut from = start;
        let (first, last) = (self.runs.iter().find(touches), self.runs.iter().rfind(touches));
        if let (Some(first), Some(last)) = (first, last) {
            let before = &first.1[..start.saturating_sub(first.0) as usize];
            let after = &last.1[(end.min(end_of(last)) - last.0) as usize..];
            let mut all = BytesMut::with_capacity(before.len() + bytes.len() + after.len());
            [before, bytes, after].into_iter().for_each(|bytes| all.extend_from_slice(bytes));
            (from, joined) = (first.0.min(start), all.freeze());
        }
        let mut runs: SmallVec<[(u64, Bytes); 1]> =
            self.runs.iter().filter(|run| !touches(run)).cloned().collect();
        if runs.len() >= MAX_RUNS
            && let Some(shortest) = (0..runs.len()).min_by_key(|i| runs[*i].1.len())
        {
            runs.remove(shortest);
        }
        runs.insert(runs.partition_point(|run| run.0 < from), (from, joined));
        Self { total: self.total, runs }
    }

    /// The bytes from `start` to before `end`, when all of them are there.
    #[must_use]
    pub fn slice(&self, start: u64, end: u64) -> Option<Bytes> {
        let run = self.runs.iter().find(|run| run.0 <= start && end <= end_of(run))?;
        Some(run.1.slice((start - run.0) as usize..(end - run.0) as usize))
    }

    /// All bytes, when none is missing.
    #[must_use]
    pub fn whole(&self) -> Option<Bytes> {
        self.slice(0, self.total)
    }

    /// The bytes from `start` to before `end` that are there at the beginning and at the end; what is
    /// missing lies between them, though some of that may be there too.
    #[must_use]
    pub fn around(&self, start: u64, end: u64) -> (Bytes, Bytes) {
        let before = self.runs.iter().find(|run| run.0 <= start && start < end_of(run));
        let after = self.runs.iter().find(|run| run.0 < end && end <= end_of(run));
        let before = before.map(|run| run.1.slice((start - run.0) as usize..));
        let after = after.map(|run| run.1.slice(..(end - run.0) as usize));
        (before.unwrap_or_default(), after.unwrap_or_default())
    }
}

fn end_of(run: &(u64, Bytes)) -> u64 {
    run.0 + run.1.len() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The representation that all parts are of.
    fn text(total: u64) -> Bytes {
        (0..total).map(|i| b'a' + (i % 26) as u8).collect()
    }

    fn parts(total: u64, runs: &[(u64, u64)]) -> Parts {
        let run = |(start, end): (u64, u64)| (start, text(total).slice(start as usize..end as usize));
        let (start, bytes) = run(runs[0]);
        let first = Parts::new(total, start, bytes);
        runs[1..].iter().fold(first, |parts, next| {
            let (start, bytes) = run(*next);
            parts.with(start, &bytes)
        })
    }

    fn runs(parts: &Parts) -> Vec<(u64, u64)> {
        parts.runs.iter().map(|run| (run.0, end_of(run))).collect()
    }

    #[test]
    fn runs_that_touch_or_overlap_become_one() {
        for (given, expected) in [
            (vec![(0, 2), (5, 7)], vec![(0, 2), (5, 7)]),
            (vec![(5, 7), (0, 2)], vec![(0, 2), (5, 7)]),
            (vec![(0, 2), (2, 7)], vec![(0, 7)]),
            (vec![(2, 7), (0, 2)], vec![(0, 7)]),
            (vec![(0, 5), (3, 9)], vec![(0, 9)]),
            (vec![(3, 9), (0, 5)], vec![(0, 9)]),
            (vec![(0, 9), (3, 5)], vec![(0, 9)]),
            (vec![(3, 5), (0, 9)], vec![(0, 9)]),
            (vec![(0, 2), (4, 6), (8, 10), (2, 8)], vec![(0, 10)]),
            (vec![(0, 2), (4, 6), (8, 10), (1, 5)], vec![(0, 6), (8, 10)]),
        ] {
            let parts = parts(10, &given);
            assert_eq!(runs(&parts), expected, "{given:?}");
            let all = parts.whole();
            assert_eq!(all.is_some(), expected == [(0, 10)]);
            assert!(all.is_none_or(|all| all == text(10)));
        }
    }

    #[test]
    fn of_two_bytes_the_newer_counts() {
        let parts = Parts::new(6, 0, Bytes::from_static(b"aaaa")).with(2, &Bytes::from_static(b"bb"));
        assert_eq!(parts.slice(0, 4).unwrap(), "aabb");
    }

    #[test]
    fn what_lies_around_a_gap_is_given_with_it() {
        let parts = parts(20, &[(0, 5), (8, 10), (15, 20)]);
        let around = |start, end| {
            let (before, after) = parts.around(start, end);
            (before.len(), after.len())
        };
        assert_eq!(around(0, 20), (5, 5));
        assert_eq!(around(2, 17), (3, 2));
        assert_eq!(around(6, 9), (0, 1));
        assert_eq!(around(9, 12), (1, 0));
        assert_eq!(around(11, 13), (0, 0));
        assert_eq!(parts.around(2, 17).1, text(20).slice(15..17));
    }

    #[test]
    fn there_are_not_more_runs_than_the_bound() {
        let many: Vec<_> = (0..40).map(|i| (i * 10, i * 10 + if i == 3 { 1 } else { 5 })).collect();
        let parts = parts(1000, &many);
        assert_eq!(parts.runs.len(), MAX_RUNS);
        assert!(parts.slice(390, 395).is_some() && parts.slice(30, 31).is_none());
    }

    proptest! {
        #[test]
        fn any_runs_in_any_order_hold_what_came_and_nothing_else(
            given in prop::collection::vec((0_u64..60, 1_u64..20), 1..12),
        ) {
            const TOTAL: u64 = 80;
            let given: Vec<_> = given.into_iter().map(|(start, len)| (start, start + len)).collect();
            let parts = parts(TOTAL, &given);
            let there = |at: u64| given.iter().any(|(start, end)| (*start..*end).contains(&at));
            for at in 0..TOTAL {
                let byte = parts.slice(at, at + 1);
                prop_assert_eq!(byte.is_some(), there(at));
                prop_assert!(byte.is_none_or(|byte| byte[0] == text(TOTAL)[at as usize]));
            }
            for pair in parts.runs.windows(2) {
                prop_assert!(end_of(&pair[0]) < pair[1].0);
            }
            prop_assert_eq!(parts.size(), (0..TOTAL).filter(|at| there(*at)).count() as u64);
        }
    }
}
