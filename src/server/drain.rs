//! The way down in four phases, one handle for all who must know.
//!
//! Running → Leaving (still serving; readiness turns 503 and HTTP/1 answers say `Connection: close`) →
//! Closing (no new connections; what is in flight finishes) → Done. Phases only go forward.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tokio::sync::watch;

/// How far the way down has been gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Running,
    Leaving,
    Closing,
    Done,
}

impl Phase {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Leaving => "leaving",
            Self::Closing => "closing",
            Self::Done => "done",
        }
    }
}

/// The shared phase; cheap to clone and, for a request, cheap to ask.
#[derive(Clone, Debug)]
pub struct Drain(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Beside the channel, so that a request asks with one load instead of a lock.
    phase: AtomicU8,
    changed: watch::Sender<Phase>,
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    #[must_use]
    pub fn new() -> Self {
        let changed = watch::Sender::new(Phase::Running);
        Self(Arc::new(Shared { phase: AtomicU8::new(Phase::Running as u8), changed }))
    }

    /// Begins the way down; the workers take it from there.
    pub fn start(&self) {
        self.advance(Phase::Leaving);
    }

    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Leaving,
            2 => Phase::Closing,
            _ => Phase::Done,
        }
    }

    /// True from the moment readiness must say no.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.phase() >= Phase::Leaving
    }

    /// Resolves once `phase` is reached, at once when it lies behind.
    pub async fn reached(&self, phase: Phase) {
        let mut changed = self.0.changed.subscribe();
        // An error would mean the sender is gone, and `self` holds it.
        let _ = changed.wait_for(|now| *now >= phase).await;
    }

    /// Goes forward to `phase`; never back.
    pub(super) fn advance(&self, phase: Phase) {
        self.0.changed.send_if_modified(|now| {
            let forward = phase > *now;
            if forward {
                *now = phase;
                self.0.phase.store(phase as u8, Ordering::Release);
                tracing::debug!(phase = phase.as_str(), "drain");
            }
            forward
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_forward_and_wake_those_who_wait() {
        let drain = Drain::new();
        let waits = tokio::spawn({
            let drain = drain.clone();
            async move { drain.reached(Phase::Closing).await }
        });
        drain.start();
        assert!(drain.is_leaving());
        drain.advance(Phase::Closing);
        drain.start();
        assert_eq!(drain.phase(), Phase::Closing);
        waits.await.unwrap();
        drain.reached(Phase::Leaving).await;
    }
}
