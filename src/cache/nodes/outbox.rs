//! What this node has to tell the others and the log has not taken yet.
//!
//! Paths that unsafe methods changed are noted here on the way of their answers, which costs a short lock and no
//! wait; purges come here when Redis did not take them. A task sends what is here: changed paths many at once and
//! at most one message a second, so that a node that writes all the time does not fill the log. What is too much
//! becomes one purge of everything.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    Inner,
    message::{News, Place},
};
use crate::{
    cache::Purge,
    shared::{MAX_MESSAGE, State},
};

/// The pause after a message of changed paths.
const PAUSE: Duration = Duration::from_secs(1);

/// How often it is tried without a reason.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes of paths that wait, with what stands around each.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Purges that wait.
const MAX_PURGES: usize = 1024;

/// Bytes around a path in a message, with those that escaping adds where it is needed at all.
const AROUND: usize = 16;

/// Changed paths of one message: half of its bound, for what escaping adds.
const BATCH_BYTES: usize = MAX_MESSAGE / 2;

/// What waits.
#[derive(Debug, Default)]
pub struct Outbox {
    held_back: Mutex<Waiting>,
    /// Whether there is anyone to tell.
    open: AtomicBool,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// With each, whether it holds here.
    purges: VecDeque<(Purge, bool)>,
    places: HashSet<Place>,
    bytes: usize,
}

impl Outbox {
    /// Notes paths of a host that an unsafe method changed.
    pub fn changed(&self, host: &str, paths: &[String]) {
        if !self.open.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.lock();
        for path in paths {
            waiting.add(host.to_owned(), path.clone());
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Notes a purge that Redis did not take; `held`: whether it holds here.
    pub fn purge(&self, purge: Purge, held: bool) {
        if self.open.load(Ordering::Relaxed) {
            self.lock().add_purge(purge, held);
            self.filled.notify_one();
        }
    }

    /// How many purges and paths wait.
    pub fn waiting(&self) -> usize {
        let waiting = self.lock();
        waiting.purges.len() + waiting.places.len()
    }

    /// Says whether there is anyone to tell; where there is not, nothing waits.
    pub(super) fn open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
        if !open {
            *self.lock() = Waiting::default();
        }
    }

    /// The next message, purges first, and whether it holds here.
    pub(super) fn take(&self) -> Option<(News, bool)> {
        let mut waiting = self.lock();
        if let Some((purge, held)) = waiting.purges.pop_front() {
            return Some((News::Purge(purge), held));
        }
        let (mut bytes, mut batch) = (0, Vec::new());
        for place in &waiting.places {
            bytes += size(place);
            if bytes > BATCH_BYTES && !batch.is_empty() {
                break;
            }
            batch.push(place.clone());
        }
        for place in &batch {
            waiting.places.remove(place);
            waiting.bytes -= size(place);
        }
        (!batch.is_empty()).then_some((News::Changed(batch), true))
    }

    /// Takes back what was not sent.
    fn put_back(&self, news: News, held: bool) {
        let mut waiting = self.lock();
        match news {
            News::Purge(purge) => waiting.purges.push_front((purge, held)),
            News::Changed(places) => places.into_iter().for_each(|(host, path)| waiting.add(host, path)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.held_back.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn add(&mut self, host: String, path: String) {
        let place = (host, path);
        let bytes = size(&place);
        if self.covers_all() {
            return;
        }
        if self.bytes + bytes > MAX_BYTES {
            self.give_up();
        } else if self.places.insert(place) {
            self.bytes += bytes;
        }
    }

    fn add_purge(&mut self, purge: Purge, held: bool) {
        if self.covers_all() || self.purges.iter().any(|(waits, _)| *waits == purge) {
            return;
        }
        if self.purges.len() >= MAX_PURGES {
            self.give_up();
        } else {
            self.purges.push_back((purge, held));
        }
    }

    /// Whether a purge of everything waits, which is all that others need to hear.
    fn covers_all(&self) -> bool {
        self.purges.iter().any(|(purge, _)| purge.is_total())
    }

    /// Too much waits: one purge of everything in its place. It is also for here where one of those is that does
    /// not hold here.
    fn give_up(&mut self) {
        tracing::warn!("too much waits to be told to other nodes: they will purge everything");
        let held = self.purges.iter().all(|(_, held)| *held);
        *self = Self::default();
        self.purges.push_back((Purge::everything(), held));
    }
}

fn size((host, path): &Place) -> usize {
    host.len() + path.len() + AROUND
}

/// Sends what waits, as long as the process runs.
pub(super) async fn send(inner: Arc<Inner>) {
    let mut news = inner.log.news();
    let mut waits = false;
    loop {
        news.mark_unchanged();
        let state = inner.log.status().state;
        inner.outbox.open(state != State::Off);
        waits |= state != State::Up && inner.outbox.waiting() > 0;
        while state == State::Up
            && let Some((next, held)) = inner.outbox.take()
        {
            if let Err(why) = inner.append(next.write(), held).await {
                inner.outbox.put_back(next, held);
                if !waits {
                    tracing::warn!("what changed here is not told to other nodes yet: {why}; it waits");
                }
                waits = true;
                // Redis may refuse for a while without going away.
                sleep(LOOK).await;
                break;
            }
            if waits {
                tracing::info!("what waited here is told to other nodes");
            }
            waits = false;
            if matches!(next, News::Changed(_)) {
                sleep(PAUSE).await;
            }
        }
        tokio::select! {
            () = inner.outbox.filled.notified() => {}
            _ = timeout(LOOK, news.changed()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Scope;

    fn open() -> Outbox {
        let outbox = Outbox::default();
        outbox.open(true);
        outbox
    }

    fn paths(numbers: std::ops::Range<usize>) -> Vec<String> {
        numbers.map(|number| format!("/pets/{number}")).collect()
    }

    #[test]
    fn changed_paths_wait_once_each_and_leave_in_messages_within_the_bound() {
        let outbox = open();
        (0..2).for_each(|_| outbox.changed("a.test", &paths(0..5000)));
        assert_eq!(outbox.waiting(), 5000);
        let (mut told, mut messages) = (HashSet::new(), 0);
        while let Some((news, held)) = outbox.take() {
            assert!(held && news.write().len() <= MAX_MESSAGE);
            let News::Changed(places) = news else { panic!("{news:?}") };
            told.extend(places);
            messages += 1;
        }
        assert_eq!((told.len(), outbox.waiting()), (5000, 0));
        assert!(messages > 1, "{messages}");
        assert_eq!(outbox.lock().bytes, 0);
    }

    #[test]
    fn what_is_put_back_is_sent_again() {
        let outbox = open();
        outbox.purge(Purge::hard(None, Scope::Path("/a".into())), false);
        outbox.changed("a.test", &paths(0..3));
        for _ in 0..2 {
            let (purge, held) = outbox.take().unwrap();
            assert!(!held && matches!(purge, News::Purge(_)), "purges go first");
            let (changed, _) = outbox.take().unwrap();
            assert!(outbox.take().is_none());
            outbox.put_back(changed, true);
            outbox.put_back(purge, held);
            assert_eq!(outbox.waiting(), 4);
        }
    }

    #[test]
    fn what_is_too_much_becomes_a_purge_of_everything() {
        let everything = Some((News::Purge(Purge::everything()), true));
        let outbox = open();
        let long = "x".repeat(8000);
        (0..1000).for_each(|i| outbox.changed("a.test", &[format!("/{long}{i}")]));
        assert_eq!((outbox.take(), outbox.take()), (everything.clone(), None));
        (0..=MAX_PURGES).for_each(|i| outbox.purge(Purge::hard(None, Scope::Path(format!("/{i}"))), true));
        outbox.changed("a.test", &paths(0..3));
        assert_eq!((outbox.take(), outbox.take()), (everything, None));
    }

    #[test]
    fn nothing_waits_where_there_is_nobody_to_tell() {
        let outbox = Outbox::default();
        outbox.changed("a.test", &paths(0..3));
        outbox.purge(Purge::everything(), true);
        assert_eq!(outbox.waiting(), 0);
        outbox.open(true);
        outbox.changed("a.test", &paths(0..3));
        outbox.open(false);
        assert_eq!(outbox.waiting(), 0);
    }
}
