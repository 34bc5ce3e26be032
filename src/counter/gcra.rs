//! The generic cell rate algorithm on one cell: pure, no clock, no store.
//!
//! The verdict is `governor`'s; the cell is the caller's. `governor`'s own keyed stores hold one limit
//! each: they cannot take several limits all or nothing, carry usage over to a changed limit, or bound
//! the number of keys while running. So its extension points get the state and the time of one decision.
//!
//! A cell is the theoretical arrival time (TAT): the moment at which the whole burst is free again.
//! Times are nanoseconds since a point the caller chooses.

use std::{cell::Cell as Slot, num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{NotKeyed, StateStore},
};

/// No cell may be in debt for longer (ten years): keeps every sum far from the end of `u64`.
const LONGEST: u128 = 10 * 366 * 86_400 * 1_000_000_000;

/// `limit` calls per `window`, at most `burst` of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub limit: NonZeroU32,
    pub window: Duration,
    pub burst: NonZeroU32,
    quota: Quota,
}

/// What is stored of one key. `pace` is the time one call cost when the cell was written: a limit that
/// was changed since keeps the number of calls used, not the time they were worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    tat: u64,
    pace: u64,
}

/// Where a key stands with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Calls that would be admitted right now.
    pub remaining: u32,
    /// Until the whole burst is free again.
    pub reset: Duration,
    /// Until the next call is admitted; zero when one is admitted now.
    pub retry: Duration,
}

impl Rate {
    /// `burst` is `limit` when not given.
    ///
    /// # Errors
    /// Says which of the three numbers is out of range.
    pub fn new(limit: u32, window: Duration, burst: Option<u32>) -> Result<Self, &'static str> {
        let limit = NonZeroU32::new(limit).ok_or("`limit` must be at least 1")?;
        let burst = NonZeroU32::new(burst.unwrap_or(limit.get())).ok_or("`burst` must be at least 1")?;
        let pace = window.as_nanos() / u128::from(limit.get());
        if pace == 0 {
            return Err("`window` is too short for this `limit`");
        }
        if window.as_nanos() > LONGEST || pace * u128::from(burst.get()) > LONGEST {
            return Err("`window` and `burst` must not reach beyond ten years");
        }
        let pace = Duration::from_nanos(u64::try_from(pace).map_err(|_| "`window` is too long")?);
        let quota = Quota::with_period(pace).ok_or("`window` is too short for this `limit`")?;
        Ok(Self { limit, window, burst, quota: quota.allow_burst(burst) })
    }

    /// Takes one call at `now`: the cell to store, or `None` when the call must be refused.
    #[must_use]
    pub fn take(&self, cell: Option<Cell>, now: u64) -> Option<Cell> {
        let place = Place(Slot::new(cell.map(|cell| self.tat(cell, now))));
        // Built with the time at zero, so that the limiter's start is the caller's zero.
        let limiter: RateLimiter<_, _, _, NoOpMiddleware<_>> =
            RateLimiter::new(self.quota, place, Time(Slot::new(0)));
        limiter.clock().0.set(now);
        limiter.check().ok()?;
        limiter.into_state_store().0.get().map(|tat| Cell { tat, pace: self.pace() })
    }

    /// Undoes one [`Rate::take`], whatever was taken since.
    #[must_use]
    pub fn give_back(&self, cell: Cell, now: u64) -> Cell {
        Cell { tat: self.tat(cell, now).saturating_sub(self.pace()), pace: self.pace() }
    }

    /// Where the key stands at `now`, taking nothing.
    #[must_use]
    pub fn standing(&self, cell: Option<Cell>, now: u64) -> Standing {
        let debt = cell.map_or(0, |cell| self.tat(cell, now)).saturating_sub(now);
        let (pace, capacity) = (self.pace(), self.pace() * u64::from(self.burst.get()));
        let free = capacity.saturating_sub(debt);
        Standing {
            remaining: u32::try_from(free / pace).unwrap_or(u32::MAX),
            reset: Duration::from_nanos(debt),
            retry: Duration::from_nanos((debt + pace).saturating_sub(capacity)),
        }
    }

    /// Nanoseconds that one call is worth.
    fn pace(&self) -> u64 {
        self.quota.replenish_interval().as_nanos() as u64
    }

    /// The cell's TAT at this rate's pace.
    fn tat(&self, cell: Cell, now: u64) -> u64 {
        let debt = cell.tat.saturating_sub(now);
        if cell.pace == self.pace() || debt == 0 {
            return cell.tat;
        }
        let debt = u128::from(debt) * u128::from(self.pace()) / u128::from(cell.pace.max(1));
        // More than the burst may have been used under the old limit; nobody waits longer than for a whole one.
        let capacity = u128::from(self.pace()) * u128::from(self.burst.get());
        now + debt.min(capacity) as u64
    }
}

impl Cell {
    /// Whether the cell says the same as no cell.
    #[must_use]
    pub fn is_spent(&self, now: u64) -> bool {
        self.tat <= now
    }

    /// Orders cells by how soon they are spent.
    #[must_use]
    pub fn spent_at(&self) -> u64 {
        self.tat
    }
}

/// `governor`'s view of one cell.
struct Place(Slot<Option<u64>>);

impl StateStore for Place {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (verdict, tat) = decide(self.0.get().map(Nanos::new))?;
        self.0.set(Some(tat.as_u64()));
        Ok(verdict)
    }
}

/// `governor`'s view of the time of one decision.
struct Time(Slot<u64>);

impl Clock for Time {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.get())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(limit: u32, seconds: u64) -> Rate {
        Rate::new(limit, Duration::from_secs(seconds), None).unwrap()
    }

    #[test]
    fn six_a_minute_admits_six_and_counts_down() {
        let (rate, mut cell) = (rate(6, 60), None);
        let mut left = Vec::new();
        for _ in 0..6 {
            cell = rate.take(cell, 0);
            assert!(cell.is_some());
            left.push(rate.standing(cell, 0).remaining);
        }
        assert_eq!(left, [5, 4, 3, 2, 1, 0]);
        assert_eq!(rate.take(cell, 0), None);
        let standing = rate.standing(cell, 0);
        assert_eq!((standing.retry, standing.reset), (Duration::from_secs(10), Duration::from_mins(1)));
        assert_eq!(rate.take(cell, 10 * SECOND - 1), None);
        assert!(rate.take(cell, 10 * SECOND).is_some());
    }

    #[test]
    fn a_changed_limit_keeps_the_calls_that_were_used() {
        let (hundred, fifty) = (rate(100, 60), rate(50, 60));
        let mut cell = None;
        for _ in 0..30 {
            cell = hundred.take(cell, 0);
        }
        assert_eq!(hundred.standing(cell, 0).remaining, 70);
        assert_eq!(fifty.standing(cell, 0).remaining, 20);
        assert_eq!(rate(100, 3600).standing(cell, 0).remaining, 70);
        assert_eq!(rate(10, 60).standing(cell, 0).remaining, 0);
        assert_eq!(rate(10, 60).standing(cell, 0).reset, Duration::from_mins(1));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let second = Duration::from_secs(1);
        assert!(Rate::new(0, second, None).is_err());
        assert!(Rate::new(1, second, Some(0)).is_err());
        assert!(Rate::new(1, Duration::ZERO, None).is_err());
        assert!(Rate::new(u32::MAX, Duration::from_nanos(5), None).is_err());
        assert!(Rate::new(1, Duration::from_secs(u64::MAX), None).is_err());
        assert!(Rate::new(1, Duration::from_hours(8784), Some(u32::MAX)).is_err());
    }

    proptest! {
        /// A leaky bucket that refills one call per pace is what GCRA must equal.
        #[test]
        fn agrees_with_a_naive_leaky_bucket(
            limit in 1_u32..20, burst in 1_u32..20, steps in prop::collection::vec(0_u64..2_000, 1..200),
        ) {
            let rate = Rate::new(limit, Duration::from_millis(1000), Some(burst)).unwrap();
            let pace = 1_000_000_000 / u64::from(limit);
            let (mut cell, mut now) = (None, 0);
            // The moments at which each call that is still in the bucket has drained.
            let mut bucket: VecDeque<u64> = VecDeque::new();
            for step in steps {
                now += step * 1_000_000;
                while bucket.front().is_some_and(|drained| *drained <= now) {
                    bucket.pop_front();
                }
                let fits = (bucket.len() as u64) < u64::from(burst);
                prop_assert_eq!(rate.standing(cell, now).remaining > 0, fits);
                prop_assert_eq!(rate.standing(cell, now).retry.is_zero(), fits);
                let taken = rate.take(cell, now);
                prop_assert_eq!(taken.is_some(), fits);
                if let Some(next) = taken {
                    bucket.push_back(bucket.back().copied().unwrap_or(now) + pace);
                    cell = Some(next);
                }
                prop_assert_eq!(rate.standing(cell, now).remaining, burst - bucket.len() as u32);
            }
        }

        /// Whatever happens in between, a call given back leaves no trace once time has gone by.
        #[test]
        fn a_call_given_back_costs_nothing(others in 0_u32..5) {
            let rate = rate(10, 10);
            let mut plain = None;
            let mut cell = rate.take(None, SECOND);
            for _ in 0..others {
                (plain, cell) = (rate.take(plain, SECOND), rate.take(cell, SECOND));
            }
            let cell = cell.map(|cell| rate.give_back(cell, SECOND));
            prop_assert_eq!(rate.standing(cell, SECOND), rate.standing(plain, SECOND));
        }

        /// A clock that jumps never admits more than the burst at one moment and never panics.
        #[test]
        fn a_jumping_clock_admits_at_most_the_burst_at_one_moment(jumps in prop::collection::vec(any::<u32>(), 1..50)) {
            let rate = rate(5, 60);
            let mut cell = None;
            for jump in jumps {
                let now = u64::from(jump) * SECOND;
                let mut admitted = 0;
                while let Some(next) = rate.take(cell, now) {
                    cell = Some(next);
                    admitted += 1;
                }
                prop_assert!(admitted <= 5);
            }
        }
    }
}
