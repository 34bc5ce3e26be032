//! What telemetry reads of the server: plain counters, no labels, no locks.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

use super::refusal::Refusal;

/// Counts over all workers since the process began; `open` is a level.
#[derive(Debug)]
pub struct Stats {
    open: AtomicUsize,
    accepted: AtomicU64,
    over_limit: AtomicU64,
    accept_errors: AtomicU64,
    panics: AtomicU64,
    /// By the reason's place in [`Refusal::ALL`].
    refusals: [AtomicU64; Refusal::ALL.len()],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            over_limit: AtomicU64::new(0),
            accept_errors: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            refusals: [const { AtomicU64::new(0) }; Refusal::ALL.len()],
        }
    }
}

impl Stats {
    /// Client connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections taken, those refused at the limit included.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections answered 503 or dropped because `limits.connections` was reached.
    pub fn over_limit(&self) -> u64 {
        self.over_limit.load(Ordering::Relaxed)
    }

    /// Failures of accept(2) itself, such as no file descriptor left.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }

    /// Requests that ended in a panic and were answered 500.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Heads and bodies of HTTP/1 requests refused for `reason`.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refusals[reason as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count_refusal(&self, reason: Refusal) {
        self.refusals[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_accept_error(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an accepted connection; `Err` when it is one more than `limit`.
    pub(super) fn enter(self: &Arc<Self>, limit: usize, alive: &mpsc::Sender<()>) -> Result<Open, OverLimit> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        if self.open.fetch_add(1, Ordering::Relaxed) < limit {
            return Ok(Open { stats: self.clone(), _alive: alive.clone() });
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.over_limit.fetch_add(1, Ordering::Relaxed);
        Err(OverLimit)
    }
}

/// One more connection than may be open.
#[derive(Debug)]
pub(super) struct OverLimit;

/// A connection's place in the count. Its stream owns it, also after an upgrade, and gives it back at its end.
#[derive(Debug)]
pub(super) struct Open {
    stats: Arc<Stats>,
    /// The worker waits until all of these are gone.
    _alive: mpsc::Sender<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stats.open.fetch_sub(1, Ordering::Relaxed);
    }
}
