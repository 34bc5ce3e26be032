//! What a server may spend on its clients: connections, bytes, time.

use std::time::Duration;

/// Everything the accept loops and connections are told; fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Worker threads, each with its own runtime and listening sockets.
    pub workers: usize,
    pub limits: Limits,
    pub timeouts: Timeouts,
    /// How long new connections are still taken after a drain began, so that balancers notice first.
    pub drain_delay: Duration,
    /// How long requests in flight may take to finish once no new connection is taken.
    pub drain_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl ServerConfig {
    /// With every bound brought to where the parsers below can keep it.
    #[must_use]
    pub(super) fn sane(mut self) -> Self {
        let limits = &mut self.limits;
        limits.head_bytes = limits.head_bytes.max(1024);
        // The longest `http::Uri`.
        limits.uri_bytes = limits.uri_bytes.clamp(1, 65_534);
        limits.headers = limits.headers.max(1);
        self
    }
}

/// Bounds on size and number. Each has an answer of its own when it is passed.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client connections over all workers; one more gets a 503 and is closed.
    pub connections: usize,
    /// Bytes of one request head, request line and field section; 431 beyond. At least 1 KiB.
    pub head_bytes: usize,
    /// Fields in one request head; 431 beyond.
    pub headers: usize,
    /// Bytes of the request target; 414 beyond.
    pub uri_bytes: usize,
    /// HTTP/2 streams a client may have open at once on one connection.
    pub h2_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            head_bytes: 64 * 1024,
            headers: 100,
            uri_bytes: 16 * 1024,
            h2_streams: 128,
        }
    }
}

/// Bounds on time. A body's own timers belong to the request, not to the connection.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// From the first byte of a head (of a connection: from accept) to its end; 408 and close.
    pub header_read: Duration,
    /// How long a connection without a request in flight is kept; closed silently.
    pub keep_alive: Duration,
    /// How long a client may leave a response unread before the connection is cut.
    pub write_stall: Duration,
    /// HTTP/2: how often a silent peer is pinged, and how long it may take to answer.
    pub h2_ping: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header_read: Duration::from_secs(10),
            keep_alive: Duration::from_secs(65),
            write_stall: Duration::from_secs(60),
            h2_ping: Duration::from_secs(20),
        }
    }
}
