//! A response on its way into the store: the spine tees each frame of its body into a [`Fill`].
//!
//! What is dropped before its end was aborted and is not stored (RFC 9111, 3.3). Trailers are discarded
//! (3.1 allows it).

use std::sync::{Arc, atomic::Ordering};

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::{
    Inner,
    collapse::Flight,
    control::Storable,
    entry::{Entry, Stored},
    key::Key,
    stats::CacheStats,
};

/// What is reserved at once for a body that states its length.
const FIRST_RESERVE: u64 = 1024 * 1024;

/// A response that is being stored.
pub struct Fill {
    inner: Arc<Inner>,
    parts: Option<Parts>,
    /// Bytes taken from the budget of all fills.
    taken: u64,
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
    expected: Option<u64>,
    body: BytesMut,
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
        let reserve = expected.unwrap_or(0).min(FIRST_RESERVE) as usize;
        let body = BytesMut::with_capacity(reserve);
        let parts = Parts { key, storable, status, since, expected, body };
        Self { inner, parts: Some(parts), taken: 0, limit, flight: None }
    }

    /// Takes the next bytes of the body. Gives up, without a word, where they exceed a bound.
    pub fn data(&mut self, bytes: &Bytes) {
        let Some(parts) = &mut self.parts else { return };
        let more = bytes.len() as u64;
        let length = parts.body.len() as u64 + more;
        let too_large = length > self.limit || parts.expected.is_some_and(|expected| length > expected);
        if too_large || !self.inner.take_budget(more) {
            self.give_up();
            return;
        }
        self.taken += more;
        parts.body.extend_from_slice(bytes);
    }

    /// The body came to its end: stores the response. False when it was given up or is incomplete.
    pub fn finish(mut self) -> bool {
        let Some(parts) = self.parts.take() else { return false };
        let complete = parts.expected.is_none_or(|expected| expected == parts.body.len() as u64);
        if !complete {
            CacheStats::add(&self.inner.stats.abandoned);
            return false;
        }
        let body = Stored::Bytes(compact(parts.body));
        let entry = Arc::new(Entry::new(parts.storable, parts.status, body, parts.since));
        self.inner.store(&parts.key, &entry, true)
    }

    /// Whether the response can still be stored.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.parts.is_some()
    }

    /// Lets others wait for this fill.
    pub fn lead(&mut self, flight: Flight) {
        self.flight = Some(flight);
    }

    fn give_up(&mut self) {
        // No one waits any longer for what is not stored.
        self.flight = None;
        if self.parts.take().is_some() {
            CacheStats::add(&self.inner.stats.abandoned);
        }
        self.inner.budget.fetch_add(std::mem::take(&mut self.taken), Ordering::Relaxed);
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// The bytes without the room that the buffer kept for more.
fn compact(body: BytesMut) -> Bytes {
    let spare = body.capacity() - body.len();
    if spare > body.len() / 8 + 64 { Bytes::copy_from_slice(&body) } else { body.freeze() }
}
