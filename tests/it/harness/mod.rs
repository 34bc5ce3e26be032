//! What the cases stand on: the built binary, raw sockets, real upstreams. Loopback only.

pub mod files;
pub mod gateway;
pub mod nginx;
pub mod origin;
pub mod prism;
pub mod raw;
pub mod redis;
pub mod varnish;

pub use files::Folder;
pub use gateway::{Gateway, cli};
pub use nginx::Nginx;
pub use origin::{Call, Origin};
pub use raw::{Client, Response};
pub use redis::Redis;
pub use varnish::Varnish;

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

/// How long anything may take before a test calls it hung.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A loopback port that nothing listens on, never handed out twice by this process.
///
/// Below the range that the system takes for outgoing connections, so nothing else picks it by chance.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 100) as u16 * 100;
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Polls until `what` holds; a test that waits longer than [`PATIENCE`] fails with `why`.
#[track_caller]
pub fn eventually(why: &str, mut what: impl FnMut() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {why}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the long scenarios run in their full size (`make soak`).
pub fn soak() -> bool {
    std::env::var_os("GATEWRIGHT_SOAK").is_some()
}
