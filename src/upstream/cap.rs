//! Caps on the requests of one route that are under way at its upstream, counted across generations.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The registry: live counts by the identity of their route. A count that no generation and no request holds
/// any more goes.
#[derive(Debug, Default)]
pub struct Caps(Mutex<HashMap<Box<str>, Weak<AtomicUsize>>>);

/// The cap of one route in one generation.
#[derive(Clone, Debug)]
pub struct Cap {
    pub max: usize,
    count: Arc<AtomicUsize>,
}

/// Counts one request (head and body) for as long as it lives.
#[derive(Debug)]
pub struct Slot(Arc<AtomicUsize>);

impl Caps {
    /// The cap of the route that `identity` names: what is under way from an earlier generation counts on.
    pub fn adopt(&self, identity: &str, max: usize) -> Cap {
        let mut live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = live.get(identity).and_then(Weak::upgrade) {
            return Cap { max, count };
        }
        live.retain(|_, count| count.strong_count() > 0);
        let count = Arc::new(AtomicUsize::new(0));
        live.insert(identity.into(), Arc::downgrade(&count));
        Cap { max, count }
    }
}

impl Cap {
    /// A place for one request, or none when all are taken.
    #[must_use]
    pub fn enter(&self) -> Option<Slot> {
        let one_more = |count: usize| (count < self.max).then_some(count + 1);
        // Not an addition taken back when it was one too many: meanwhile it would refuse somebody else.
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Slot(Arc::clone(&self.count)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn requests_of_an_earlier_generation_count_under_the_cap_of_the_next() {
        let caps = Caps::default();
        let old = caps.adopt("pets GET /pets", 2);
        let held = [old.enter().unwrap(), old.enter().unwrap()];
        assert!(old.enter().is_none());
        drop(old);
        let new = caps.adopt("pets GET /pets", 3);
        let third = new.enter().unwrap();
        assert!(new.enter().is_none());
        assert!(caps.adopt("pets PUT /pets", 1).enter().is_some(), "another route has its own");
        drop((held, third));
        assert!(new.enter().is_some());
        drop(new);
        assert_eq!(caps.adopt("x", 1).count.load(Ordering::Relaxed), 0);
        assert_eq!(caps.0.lock().unwrap().len(), 1, "what nobody holds is forgotten");
    }

    #[test]
    fn many_at_once_never_pass_the_cap_and_no_place_is_lost() {
        let cap = Caps::default().adopt("r", 3);
        let highest = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if let Some(slot) = cap.enter() {
                            highest.fetch_max(cap.count.load(Ordering::Relaxed), Ordering::Relaxed);
                            drop(slot);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&highest.into_inner()));
        assert_eq!((0..5).filter_map(|_| cap.enter().map(std::mem::forget)).count(), 3);
    }
}
