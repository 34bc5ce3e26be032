//! The latest purges, for what is under way when they come: a fill, a read from disk, a queued write.
//!
//! Each purge is noted here before it is applied anywhere. Whoever puts something into a tier looks here
//! afterwards, so one of the two always meets the other. A purge is forgotten only when both tiers have it
//! for good; what began before one that is forgotten counts as covered.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;

use super::purge::{Facts, Fate, Purge, Rule, fate};

/// Purges that are remembered though they are through.
const REMEMBERED: usize = 512;

/// Purges that are not through: one more becomes one of everything.
const MAX_OPEN: usize = 2048;

/// A purge on its way through the tiers.
#[derive(Debug)]
pub struct Issued {
    pub rule: Arc<Rule>,
    /// Nothing in memory began before it.
    in_memory: AtomicBool,
    /// It holds on disk whatever happens, or there is no disk.
    on_disk: AtomicBool,
}

impl Issued {
    fn new(rule: Rule) -> Self {
        Self { rule: Arc::new(rule), in_memory: AtomicBool::new(false), on_disk: AtomicBool::new(false) }
    }

    pub fn holds_in_memory(&self) {
        self.in_memory.store(true, Ordering::Release);
    }

    pub fn holds_on_disk(&self) {
        self.on_disk.store(true, Ordering::Release);
    }

    fn is_through(&self) -> bool {
        self.in_memory.load(Ordering::Acquire) && self.on_disk.load(Ordering::Acquire)
    }
}

/// The list. Reading it takes no lock.
#[derive(Debug, Default)]
pub struct Recent {
    list: ArcSwap<Vec<Arc<Issued>>>,
    turn: Mutex<()>,
    /// The latest moment of a purge that was forgotten.
    horizon: AtomicU64,
}

impl Recent {
    /// Notes a purge; `draw` gives its moment. Too many that do not get through become one of everything.
    pub fn issue(&self, purge: Purge, draw: impl FnOnce() -> u64) -> Arc<Issued> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.list.load().iter().filter(|issued| !issued.is_through()).count();
        let mut rule = Rule::new(u64::MAX, if open >= MAX_OPEN { Purge::everything() } else { purge });
        let mut list = self.kept_beside(&rule);
        // There before its moment is: who begins after that moment has seen it.
        list.push(Arc::new(Issued::new(rule.clone())));
        self.list.store(Arc::new(list.clone()));
        rule.before = draw();
        let issued = Arc::new(Issued::new(rule));
        list.pop();
        list.push(Arc::clone(&issued));
        self.list.store(Arc::new(list));
        issued
    }

    /// The list without what can be forgotten when `rule` joins it.
    fn kept_beside(&self, rule: &Rule) -> Vec<Arc<Issued>> {
        let list = self.list.load();
        if rule.purge.is_total() {
            // It covers what all the others cover.
            return Vec::new();
        }
        let mut spare = (list.len() + 1).saturating_sub(REMEMBERED);
        let kept = list.iter().filter(|old| {
            let forget = spare > 0 && old.is_through();
            if forget {
                spare -= 1;
                self.horizon.fetch_max(old.rule.before, Ordering::AcqRel);
            }
            !forget
        });
        kept.cloned().collect()
    }

    /// The latest moment of a purge that is not remembered here any more.
    #[must_use]
    pub fn horizon(&self) -> u64 {
        self.horizon.load(Ordering::Acquire)
    }

    /// What the purges that are remembered leave of a response that began at `since`.
    #[must_use]
    pub fn fate(&self, facts: &Facts<'_>, since: u64) -> Fate {
        fate(self.list.load().iter().map(|issued| &*issued.rule), facts, since)
    }

    /// All that are remembered, in the order of their moments.
    #[must_use]
    pub fn all(&self) -> Arc<Vec<Arc<Issued>>> {
        self.list.load_full()
    }

    /// A purge of everything before `moment` holds on disk: so do all others from before.
    pub fn all_hold_on_disk(&self, moment: u64) {
        self.list.load().iter().filter(|issued| issued.rule.before <= moment).for_each(|i| i.holds_on_disk());
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::cache::Scope;

    fn path(text: &str) -> Purge {
        Purge::hard(None, Scope::Path(text.to_owned()))
    }

    fn through(recent: &Recent, purge: Purge, moment: u64) {
        let issued = recent.issue(purge, || moment);
        issued.holds_in_memory();
        issued.holds_on_disk();
    }

    #[test]
    fn a_purge_is_remembered_until_it_is_through_and_others_came() {
        let recent = Recent::default();
        let open = recent.issue(path("/open"), || 1);
        open.holds_in_memory();
        for moment in 2..2 + REMEMBERED as u64 * 2 {
            through(&recent, path("/x"), moment);
        }
        assert_eq!(recent.all().len(), REMEMBERED);
        assert!(recent.all().iter().any(|issued| issued.rule.before == 1), "not on disk yet");
        let gone = recent.horizon();
        assert!(
            gone > 1
                && recent.all().iter().all(|issued| issued.rule.before == 1 || issued.rule.before > gone)
        );
        open.holds_on_disk();
        through(&recent, path("/x"), 5000);
        assert!(recent.all().iter().all(|issued| issued.rule.before > 1));
    }

    #[test]
    fn too_many_that_do_not_get_through_become_one_of_everything() {
        let recent = Recent::default();
        for moment in 0..MAX_OPEN as u64 {
            assert!(!recent.issue(path("/x"), || moment).rule.purge.is_total());
        }
        let all = recent.issue(path("/x"), || 9999);
        assert!(all.rule.purge.is_total());
        assert_eq!(recent.all().len(), 1);
        let headers = HeaderMap::new();
        assert_eq!(recent.fate(&Facts::new(b"", &headers), 9998), Fate::Gone);
        assert_eq!(recent.fate(&Facts::new(b"", &headers), 9999), Fate::Kept);
    }
}
