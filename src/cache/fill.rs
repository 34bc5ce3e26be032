//! A response on its way into the store: what is known of it, and what becomes of its bytes.
//!
//! The bytes come by an [`Arrival`], which others may read. What is dropped before its end was aborted
//! and is not stored (RFC 9111, 3.3). Trailers are discarded (3.1 allows it).

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use http::StatusCode;

use super::{
    Inner,
    arrival::Arrival,
    collapse::Flight,
    control::Storable,
    entry::{Entry, Stored},
    key::{Key, Name},
    range::Extent,
    stats::CacheStats,
};
use crate::exchange::{self, Body, StreamBody};

/// A response that is being stored.
pub struct Fill {
    pub(super) inner: Arc<Inner>,
    /// `None` when it was stored.
    parts: Option<Box<Parts>>,
    /// Bytes of the body, where the head says so.
    pub(super) expected: Option<u64>,
    limit: u64,
    /// Those who wait for it; released when it is dropped, which is after it was stored.
    flight: Option<Flight>,
}

struct Parts {
    key: Key,
    storable: Storable,
    status: StatusCode,
    /// The moment its request was sent: what was invalidated since then is not stored.
    since: u64,
    /// What those who join while it arrives are given as its head.
    head: Option<Arc<Entry>>,
    /// The part of the whole that the body is.
    part: Option<Extent>,
}

impl Fill {
    pub(super) fn new(
        inner: Arc<Inner>,
        key: Key,
        storable: Storable,
        status: StatusCode,
        since: u64,
        expected: Option<u64>,
        limit: u64,
    ) -> Self {
        let parts = Box::new(Parts { key, storable, status, since, head: None, part: None });
        Self { inner, parts: Some(parts), expected, limit, flight: None }
    }

    /// The body is a part of the whole that the head is about.
    #[must_use]
    pub(super) fn of_part(mut self, extent: Extent) -> Self {
        if let Some(parts) = &mut self.parts {
            parts.part = Some(extent);
        }
        self
    }

    /// Stores the response while its body is read.
    #[must_use]
    pub fn through(self, source: StreamBody) -> Body {
        let start = self.parts.as_ref().and_then(|parts| parts.part).map_or(0, |part| part.start);
        Arrival::begin(self, source, start)
    }

    /// Lets others read it while it arrives; only what is [`Self::is_reusable`] does them any good.
    pub fn lead(&mut self, flight: Flight) {
        self.flight = Some(flight);
    }

    /// Whether it answers others as it is: fresh when it came, and not to be validated at each use.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.parts.as_ref().is_some_and(|parts| parts.storable.policy.is_reusable())
    }

    /// Whether it was neither invalidated nor purged since it began.
    pub(super) fn is_untouched(&self, head: &Entry) -> bool {
        self.parts.as_ref().is_some_and(|parts| self.inner.is_untouched(&parts.key, head))
    }

    /// What its key is called, which is that of all callers where they all may have it.
    #[must_use]
    pub fn key(&self) -> Name {
        self.parts.as_ref().map_or(Name(0), |parts| parts.key.name(self.inner.seed))
    }

    /// Whether a body of `length` bytes can be stored.
    pub(super) fn takes(&self, length: u64) -> bool {
        length <= self.limit && self.expected.is_none_or(|expected| length <= expected)
    }

    /// Its body is too large after all, and so will the next one be.
    pub(super) fn refuse(mut self) {
        if let Some(flight) = self.flight.take() {
            flight.pass(exchange::now_ms());
        }
    }

    /// Tells those who wait that it arrives here.
    pub(super) fn arrives(&self, arrival: &Arc<Arrival>) {
        if let Some(flight) = &self.flight {
            flight.arrives(arrival);
        }
    }

    /// Whether someone has yet to hear that.
    pub(super) fn is_waited_for(&self) -> bool {
        self.flight.as_ref().is_some_and(Flight::is_followed)
    }

    /// The head as a stored response has it, its body left aside.
    pub(super) fn head(&mut self) -> Option<Arc<Entry>> {
        let Parts { storable, status, since, head, .. } = self.parts.as_deref_mut()?;
        let entry = || Entry::new(storable.clone(), *status, Stored::Bytes(Bytes::new()), *since);
        Some(Arc::clone(head.get_or_insert_with(|| Arc::new(entry()))))
    }

    /// The body came to its end: stores the response. False when it is incomplete or not kept.
    pub(super) fn finish(mut self, body: Bytes) -> bool {
        if self.expected.is_some_and(|expected| expected != body.len() as u64) {
            return false;
        }
        let Some(parts) = self.parts.take() else { return false };
        let Parts { key, storable, status, since, part, .. } = *parts;
        if let Some(extent) = part {
            return self.inner.store_part(&key, storable, extent, body, since);
        }
        let entry = Arc::new(Entry::new(storable, status, Stored::Bytes(body), since));
        self.inner.store(&key, &entry, true)
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if self.parts.is_some() {
            CacheStats::add(&self.inner.stats.abandoned);
        }
    }
}

/// Bytes taken from the budget of all bodies that arrive; given back when dropped.
pub(super) struct Taken {
    inner: Arc<Inner>,
    bytes: u64,
}

impl Taken {
    pub(super) fn nothing(inner: &Arc<Inner>) -> Self {
        Self { inner: Arc::clone(inner), bytes: 0 }
    }

    /// Takes more; false when there is not so much left.
    pub(super) fn grow(&mut self, by: u64) -> bool {
        let taken = self.inner.take_budget(by);
        self.bytes += if taken { by } else { 0 };
        taken
    }

    /// Gives back what is above `bytes`.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        self.inner.budget.fetch_add(back, Ordering::Relaxed);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shrink(0);
    }
}
