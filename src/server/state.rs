//! What a connection's stream, its exchanges and its task tell one another.
//!
//! All of them run on one task (HTTP/1) or ask only for counts (HTTP/2), so plain relaxed atomics do.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::refusal::Refusal;

/// Exchanges are numbered from 1, as hyper calls the service for them, which under HTTP/1 is the order of
/// the heads that the stream passed on.
#[derive(Debug, Default)]
pub(super) struct State {
    active: AtomicU32,
    begun: AtomicU64,
    answered: AtomicU64,
    upgraded: AtomicU64,
    /// The exchange that is refused, and why; 0 for none.
    refused: AtomicU64,
    refusal: AtomicU8,
    closing: AtomicBool,
    moved: AtomicU64,
}

impl State {
    /// Requests have been taken: they are in flight until each [`State::ends`].
    pub(super) fn takes(&self, requests: u32) {
        self.active.fetch_add(requests, Relaxed);
    }

    pub(super) fn ends(&self) {
        self.active.fetch_sub(1, Relaxed);
    }

    pub(super) fn is_active(&self) -> bool {
        self.active.load(Relaxed) > 0
    }

    /// An exchange begins; gives its number.
    pub(super) fn begins(&self) -> u64 {
        self.begun.fetch_add(1, Relaxed) + 1
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// The answer of an exchange is known, and whether it leaves HTTP.
    pub(super) fn answers(&self, exchange: u64, upgraded: bool) {
        if upgraded {
            self.upgraded.store(exchange, Relaxed);
        }
        self.answered.store(exchange, Relaxed);
    }

    /// Whether the exchange ended in an upgrade; `None` before it is answered.
    pub(super) fn upgraded(&self, exchange: u64) -> Option<bool> {
        (self.answered.load(Relaxed) >= exchange).then(|| self.upgraded.load(Relaxed) == exchange)
    }

    pub(super) fn refuse(&self, exchange: u64, refusal: Refusal) {
        self.refusal.store(refusal as u8, Relaxed);
        self.refused.store(exchange, Relaxed);
    }

    pub(super) fn refusal(&self, exchange: u64) -> Option<Refusal> {
        (self.refused.load(Relaxed) == exchange).then(|| Refusal::from_index(self.refusal.load(Relaxed)))?
    }

    /// The connection must not take another request.
    pub(super) fn close(&self) {
        self.closing.store(true, Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// Bytes were read or written, to tell a silent peer from a slow one.
    pub(super) fn moves(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Relaxed)
    }
}
