//! Which endpoint is asked first. One balancer so far: plain round robin.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The index of the next endpoint in turn; `len` is at least one.
pub(super) fn round_robin(turn: &AtomicUsize, len: usize) -> usize {
    if len == 1 { 0 } else { turn.fetch_add(1, Ordering::Relaxed) % len }
}
