//! What waits for the writer: orders, which are never lost, and writes, which are dropped when there are
//! too many.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use tokio::sync::oneshot;

use super::generation::DiskKey;
use crate::cache::{
    entry::{Entry, Stored},
    key::Key,
    recent::Issued,
};

const MAX_WRITES: usize = 4096;

/// Bytes of bodies that wait to be written.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// More orders than this become one of everything.
pub const MAX_ORDERS: usize = 100_000;

/// Writes that are handed out at once, so that orders wait for no more.
const BATCH: usize = 64;

/// A write that may be skipped.
pub enum Write {
    /// No purge up to the moment has left anything of it undone; those after it are still to be looked at.
    Entry(Box<Key>, Arc<Entry>, u64),
    /// Copies a record of the older generation that is still asked for into the current one.
    Promote(DiskKey),
    /// Removes one record; its place in the row matters, since it may follow a write of the same.
    Remove(DiskKey),
}

/// What an order did, once it is durable: the records that it touched, as far as they are known.
pub type Done = oneshot::Sender<Vec<DiskKey>>;

/// A change that must be made; acknowledged when it is durable.
pub enum Order {
    RemovePlace(u64, Done),
    /// A purge that is about one place: carried out there at once.
    PurgePlace(u64, Arc<Issued>, Done),
    /// Any other purge: a rule for all that is read from now on. These records go at once.
    Purge(Arc<Issued>, Vec<DiskKey>, Done),
    /// Too many others, among them removals of these places. Nobody waits for it.
    Everything(Vec<u64>),
}

impl Order {
    /// One order in the place of too many.
    pub fn instead_of(orders: Vec<Self>) -> Self {
        let places = orders.into_iter().flat_map(|order| match order {
            Self::RemovePlace(place, _) => vec![place],
            Self::Everything(places) => places,
            Self::PurgePlace(..) | Self::Purge(..) => Vec::new(),
        });
        Self::Everything(places.collect())
    }
}

/// What the writer is woken for.
#[derive(Default)]
pub struct Work {
    pub orders: Vec<Order>,
    pub writes: Vec<Write>,
    pub bookmark: Option<String>,
    /// A reader met an error.
    pub failed: Option<String>,
    /// The end: acknowledged when all is written.
    pub close: Option<mpsc::Sender<()>>,
}

#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    orders: Vec<Order>,
    /// Places whose removal was ordered and does not hold yet, each with the number of orders.
    leaving: HashMap<u64, u32>,
    writes: VecDeque<Write>,
    bytes: u64,
    bookmark: Option<String>,
    failed: Option<String>,
    close: Option<mpsc::Sender<()>>,
    closed: bool,
}

impl Queue {
    /// Queues a write; false when there is no room for it.
    pub fn write(&self, write: Write) -> bool {
        let mut state = self.state();
        let bytes = size(&write);
        if state.closed || state.writes.len() >= MAX_WRITES || state.bytes + bytes > MAX_BYTES {
            return false;
        }
        state.bytes += bytes;
        state.writes.push_back(write);
        self.filled.notify_one();
        true
    }

    pub fn order(&self, order: Order) {
        let mut state = self.state();
        if state.closed {
            return; // its acknowledgement is dropped, which says that it was not done
        }
        if state.orders.len() >= MAX_ORDERS {
            state.orders = vec![Order::instead_of(std::mem::take(&mut state.orders))];
        }
        if let Order::RemovePlace(place, _) = &order {
            *state.leaving.entry(*place).or_default() += 1;
        }
        state.orders.push(order);
        self.filled.notify_one();
    }

    /// Has a text kept once all orders before it are durable. One that still waits gives way.
    pub fn bookmark(&self, text: String) {
        let mut state = self.state();
        if !state.closed {
            state.bookmark = Some(text);
            self.filled.notify_one();
        }
    }

    /// Whether the removal of a place was ordered and does not hold yet: what lies there is as good as gone.
    #[must_use]
    pub fn is_leaving(&self, place: u64) -> bool {
        self.state().leaving.contains_key(&place)
    }

    /// Notes that one order to remove a place was carried out for good.
    pub fn left(&self, place: u64) {
        let leaving = &mut self.state().leaving;
        match leaving.get_mut(&place) {
            Some(orders) if *orders > 1 => *orders -= 1,
            _ => drop(leaving.remove(&place)),
        }
    }

    /// Writes that wait.
    pub fn waiting(&self) -> u64 {
        self.state().writes.len() as u64
    }

    /// Tells the writer that a reader met an error.
    pub fn fail(&self, error: String) {
        self.state().failed = Some(error);
        self.filled.notify_one();
    }

    /// Takes no more; `done` hears when all is written.
    pub fn close(&self, done: mpsc::Sender<()>) {
        let mut state = self.state();
        if !state.closed {
            state.closed = true;
            state.close = Some(done);
        }
        self.filled.notify_one();
    }

    /// Waits for work, for at most `limit`. The end is handed out last.
    pub fn take(&self, limit: Duration) -> Work {
        let idle = |s: &mut State| {
            let nothing = s.orders.is_empty() && s.writes.is_empty() && s.bookmark.is_none();
            nothing && s.failed.is_none() && s.close.is_none()
        };
        let (mut state, _) =
            self.filled.wait_timeout_while(self.state(), limit, idle).unwrap_or_else(PoisonError::into_inner);
        let count = state.writes.len().min(BATCH);
        let writes: Vec<Write> = state.writes.drain(..count).collect();
        state.bytes -= writes.iter().map(size).sum::<u64>();
        let close = if state.writes.is_empty() { state.close.take() } else { None };
        let (orders, bookmark) = (std::mem::take(&mut state.orders), state.bookmark.take());
        Work { orders, writes, bookmark, failed: state.failed.take(), close }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(write: &Write) -> u64 {
    match write {
        Write::Entry(_, entry, _) => match &entry.body {
            Stored::Bytes(bytes) => bytes.len() as u64,
            Stored::File(_) | Stored::Parts(_) => 0,
        },
        Write::Promote(_) | Write::Remove(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_refused_when_full_and_orders_are_not() {
        let queue = Queue::default();
        let taken = (0..MAX_WRITES + 5).filter(|_| queue.write(Write::Promote([0; 32]))).count();
        assert_eq!(taken, MAX_WRITES);
        queue.order(Order::RemovePlace(0, oneshot::channel().0));
        let work = queue.take(Duration::ZERO);
        assert_eq!((work.orders.len(), work.writes.len()), (1, BATCH));
        assert!(queue.write(Write::Promote([0; 32])));
    }

    #[test]
    fn the_end_comes_after_all_writes_and_lets_nothing_in() {
        let queue = Queue::default();
        (0..BATCH + 1).for_each(|_| assert!(queue.write(Write::Promote([0; 32]))));
        let (done, _waiting) = mpsc::channel();
        queue.close(done);
        assert!(!queue.write(Write::Promote([0; 32])));
        assert!(queue.take(Duration::ZERO).close.is_none());
        assert!(queue.take(Duration::ZERO).close.is_some());
    }

    #[test]
    fn too_many_orders_become_one_of_everything() {
        let queue = Queue::default();
        (0..=MAX_ORDERS).for_each(|_| queue.order(Order::RemovePlace(0, oneshot::channel().0)));
        let work = queue.take(Duration::ZERO);
        assert!(matches!(&work.orders[0], Order::Everything(places) if places.len() == MAX_ORDERS));
        assert_eq!(work.orders.len(), 2);
    }

    #[test]
    fn a_place_is_leaving_until_all_orders_to_remove_it_hold() {
        let queue = Queue::default();
        (0..2).for_each(|_| queue.order(Order::RemovePlace(7, oneshot::channel().0)));
        queue.take(Duration::ZERO);
        assert!(queue.is_leaving(7) && !queue.is_leaving(8));
        queue.left(7);
        assert!(queue.is_leaving(7));
        queue.left(7);
        assert!(!queue.is_leaving(7));
    }
}
