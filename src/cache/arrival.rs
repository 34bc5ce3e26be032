//! A body that is stored while it arrives, and read by all who wait for it.
//!
//! Nobody owns the fetch. A [`Reader`] takes what is there; at the front it asks the source itself, in
//! whichever task and runtime it lives, and wakes the others. So a client that vanishes takes nothing with
//! it and one that is slow holds nobody back: the fetch goes on as long as one reader reads, and with the
//! last reader goes the source, which cancels the upstream's call.
//!
//! While the body is being stored all of it is kept, which is what the store needs anyway, within its bounds
//! on the object and on all fills together; who is far behind reads from there. When storing is given up (it
//! is larger than its head said, or the budget is used up), no more than a [`WINDOW`] comes in before the
//! slowest reader has taken it. Then the others wait, but whoever keeps them waiting and takes less than
//! [`STEP`] within [`PATIENCE`] is cut off: nobody is slowed below that pace.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    entry::Entry,
    fill::{Fill, Taken},
    key::Name,
};
use crate::exchange::{Body, BoxError, StreamBody};
use bell::Bell;
use kept::Kept;

mod bell;
mod kept;

/// Bytes between the slowest and the fastest reader of a body that is not kept whole.
const WINDOW: u64 = 4 * 1024 * 1024;

/// The pace of the slowest reader of such a body, while others wait for it: so much in that time.
const STEP: u64 = WINDOW / 2;
const PATIENCE: Duration = Duration::from_secs(5);

/// The position of a reader that was cut off: it needs nothing any more.
const CUT_OFF: u64 = u64::MAX;

/// A body under way.
pub struct Arrival {
    state: Mutex<State>,
    bell: Arc<Bell>,
    /// [`super::key::Key::place`] of what it is stored as.
    pub(super) place: u64,
    pub(super) key: Name,
    /// The position behind its last byte, where the head says so.
    ends_at: Option<u64>,
}

struct State {
    /// `None` when it ended.
    source: Option<StreamBody>,
    keeping: Keeping,
    kept: Kept,
    taken: Taken,
    /// Where each reader stands; `None` for those who left.
    readers: Vec<Option<u64>>,
    trailers: Option<HeaderMap>,
    /// Whether it is complete, or what it broke off with.
    end: Option<Result<(), Arc<str>>>,
    /// The slowest reader holds others back: where it stood, and when.
    pace: Option<(u64, Instant)>,
    /// Someone waits for it right now.
    held_back: bool,
}

/// Which bytes are kept, and why.
enum Keeping {
    /// All: they are being stored.
    Storing(Fill),
    /// All: they were stored.
    Stored,
    /// Those that a reader still needs.
    Window,
}

impl Arrival {
    /// Reads `source`, the body from `start` on, for the first reader and all who join; stores it as `fill`
    /// says.
    pub(super) fn begin(fill: Fill, source: StreamBody, start: u64) -> Body {
        if source.is_end_stream() {
            fill.finish(Bytes::new());
            return Body::Empty;
        }
        Body::Stream(Box::pin(Self::first(fill, source, start)))
    }

    fn first(fill: Fill, source: StreamBody, start: u64) -> Reader {
        let expected = fill.expected;
        let arrival = Arc::new(Self {
            bell: Arc::default(),
            place: fill.place(),
            key: fill.key(),
            ends_at: expected.map(|expected| start + expected),
            state: Mutex::new(State {
                source: Some(source),
                kept: Kept::new(start, expected),
                taken: Taken::nothing(&fill.inner),
                keeping: Keeping::Storing(fill),
                readers: vec![Some(start)],
                trailers: None,
                end: None,
                pace: None,
                held_back: false,
            }),
        });
        if let Keeping::Storing(fill) = &arrival.state().keeping {
            fill.arrives(&arrival);
        }
        Reader::new(arrival, 0, start)
    }

    /// One more reader from the first byte on, and the head it gets; none when it is no longer being stored.
    pub(super) fn join(self: &Arc<Self>) -> Option<(Arc<Entry>, Reader)> {
        let mut state = self.state();
        let Keeping::Storing(fill) = &mut state.keeping else { return None };
        let head = fill.head()?;
        let free = state.readers.iter().position(Option::is_none);
        let slot = free.unwrap_or(state.readers.len());
        if free.is_none() {
            state.readers.push(None);
        }
        state.readers[slot] = Some(0);
        drop(state);
        Some((head, Reader::new(Arc::clone(self), slot, 0)))
    }

    /// Ends the fetch when nobody reads and nobody is about to.
    pub(super) fn rest(&self) {
        let mut state = self.state();
        let awaited = matches!(&state.keeping, Keeping::Storing(fill) if fill.is_waited_for());
        if !awaited && state.source.is_some() && state.readers.iter().all(Option::is_none) {
            state.ends(Err("everyone who read it left".into()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Asks the source for the next frame: bytes, or something else to look at.
    fn pull(&mut self, bell: &Arc<Bell>) -> Poll<Result<Option<Bytes>, BoxError>> {
        let Some(source) = &mut self.source else { return Poll::Ready(Ok(None)) };
        let waker = Waker::from(Arc::clone(bell));
        let frame = ready!(source.as_mut().poll_frame(&mut Context::from_waker(&waker)));
        let over = source.is_end_stream();
        Poll::Ready(match frame.transpose() {
            Ok(frame) => {
                let ended = over || frame.is_none();
                let data = frame.and_then(|frame| match frame.into_data() {
                    Ok(data) => Some(data),
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        None
                    }
                });
                if let Some(data) = &data {
                    self.take(data);
                }
                if ended {
                    self.store();
                    self.ends(Ok(()));
                }
                Ok(data)
            }
            Err(error) => {
                self.ends(Err(error.to_string().into()));
                Err(error)
            }
        })
    }

    fn take(&mut self, data: &[u8]) {
        let more = data.len() as u64;
        if let Keeping::Storing(fill) = &self.keeping {
            let fits = fill.takes(self.kept.len() + more);
            if fits && self.taken.grow(more) {
                self.kept.push(data);
                if fill.expected == Some(self.kept.len()) {
                    self.store();
                }
                return;
            }
            let given_up = std::mem::replace(&mut self.keeping, Keeping::Window);
            if let (Keeping::Storing(fill), false) = (given_up, fits) {
                fill.refuse();
            }
        }
        // The one who asked is at the front and has these bytes.
        match self.keeping {
            Keeping::Window if self.readers.iter().flatten().count() > 1 => self.kept.push(data),
            Keeping::Window => self.kept.pass(more),
            Keeping::Storing(_) | Keeping::Stored => {}
        }
    }

    fn store(&mut self) {
        if matches!(self.keeping, Keeping::Storing(_)) {
            let whole = self.kept.close();
            if let Keeping::Storing(fill) = std::mem::replace(&mut self.keeping, Keeping::Stored) {
                fill.finish(whole);
            }
            self.taken.shrink(0);
        }
    }

    fn ends(&mut self, how: Result<(), Arc<str>>) {
        self.source = None;
        self.end = Some(how);
        if matches!(self.keeping, Keeping::Storing(_)) {
            self.keeping = Keeping::Window;
        }
    }

    /// Notes where a reader stands, or that it left; whether that makes room for those who wait.
    fn stands(&mut self, slot: usize, at: Option<u64>) -> bool {
        self.readers[slot] = at;
        if !matches!(self.keeping, Keeping::Window) {
            return false;
        }
        self.release(self.readers.iter().flatten().copied().min().unwrap_or(CUT_OFF));
        self.kept.len() < WINDOW && std::mem::take(&mut self.held_back)
    }

    /// Until when the reader that asks must wait for the slowest, before more may come in.
    fn waits(&mut self, clock: impl FnOnce() -> Instant) -> Option<Instant> {
        let len = self.kept.len();
        if !matches!(self.keeping, Keeping::Window) || len < WINDOW {
            self.pace = self.pace.filter(|_| len >= WINDOW / 2);
            return None;
        }
        let (now, slowest) = (clock(), self.kept.end() - len);
        let (_, since) = *match &mut self.pace {
            Some(pace) if slowest < pace.0 + STEP => pace,
            pace => pace.insert((slowest, now)),
        };
        if now >= since + PATIENCE {
            self.cut_off();
            return None;
        }
        self.held_back = true;
        Some(since + PATIENCE)
    }

    /// Cuts those off who keep the others waiting.
    fn cut_off(&mut self) {
        let least = self.kept.end() - WINDOW / 2;
        self.readers.iter_mut().flatten().filter(|at| **at < least).for_each(|at| *at = CUT_OFF);
        self.release(least);
        self.pace = None;
    }

    fn release(&mut self, before: u64) {
        self.kept.release(before);
        self.taken.shrink(self.kept.len());
    }
}

/// One client's view of an arriving body, or of a part of it.
pub struct Reader {
    arrival: Arc<Arrival>,
    slot: usize,
    at: u64,
    until: u64,
    ended: bool,
    /// Runs while the slowest reader is waited for.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Reader {
    fn new(arrival: Arc<Arrival>, slot: usize, at: u64) -> Self {
        Self { arrival, slot, at, until: u64::MAX, ended: false, patience: None }
    }

    /// Bytes of the whole body, where the head says so.
    pub(super) fn total(&self) -> Option<u64> {
        self.arrival.ends_at
    }

    /// How many bytes have come.
    pub(super) fn arrived(&self) -> u64 {
        self.arrival.state().kept.end()
    }

    /// The bytes from `start` to before `end` alone.
    pub(super) fn part(mut self, start: u64, end: u64) -> Self {
        self.arrival.state().stands(self.slot, Some(start));
        (self.at, self.until) = (start, end);
        self
    }
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { arrival, slot, at, until, ended, patience } = &mut *self;
        let mut state = arrival.state();
        let data = loop {
            if *ended || *at >= *until {
                return Poll::Ready(None);
            }
            if state.readers[*slot] == Some(CUT_OFF) {
                *ended = true;
                return Poll::Ready(Some(Err("too slow beside the other readers of one fetch".into())));
            }
            if let Some(piece) = state.kept.piece(*at, *until) {
                break piece;
            }
            if let Some(end) = state.end.clone() {
                *ended = true;
                return Poll::Ready(match end {
                    Ok(()) => state.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))),
                    Err(why) => Some(Err((*why).into())),
                });
            }
            // Before the source is asked, so that no word of it is missed.
            arrival.bell.wait(*slot, cx.waker());
            if let Some(deadline) = state.waits(Instant::now) {
                let sleep = patience.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                sleep.as_mut().reset(deadline);
                ready!(sleep.as_mut().poll(cx));
                continue;
            }
            let front = state.kept.end();
            let pulled = ready!(state.pull(&arrival.bell));
            arrival.bell.ring(Some(*slot));
            match pulled {
                Ok(Some(data)) if *at == front => {
                    break data.slice(..data.len().min((*until - *at) as usize));
                }
                Ok(_) => {}
                Err(error) => {
                    *ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        };
        *at += data.len() as u64;
        *patience = None;
        *ended = *at >= *until
            || (*at == state.kept.end() && matches!(state.end, Some(Ok(()))) && state.trailers.is_none());
        if state.stands(*slot, Some(*at)) {
            arrival.bell.ring(Some(*slot));
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        let end = self.arrival.ends_at.map_or(self.until, |end| end.min(self.until));
        match end {
            u64::MAX => SizeHint::default(),
            end => SizeHint::with_exact(end.saturating_sub(self.at)),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.arrival.state().stands(self.slot, None) {
            self.arrival.bell.ring(Some(self.slot));
        }
        self.arrival.rest();
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("at", &self.at).field("until", &self.until).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
