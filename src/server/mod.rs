//! From the socket to a `Request`: accept, strict HTTP/1 heads, connection limits, timers, drain.
//!
//! Owns the listening sockets, one worker thread per core with its own runtime, the I/O wrapper that
//! judges the bytes of every HTTP/1 head before hyper parses them (RFC 9112), and the way down. It knows
//! nothing of routes or policies: what a request means is the [`Service`]'s business. TLS and the PROXY
//! protocol will sit between [`accept`] and [`connection`], which takes any stream.

mod accept;
mod config;
mod connection;
mod control;
mod drain;
mod listen;
mod service;
mod stats;
mod worker;

pub use config::{Limits, ServerConfig, Timeouts};
pub use control::{Control, Signal, raise_file_limit, signals};
pub use drain::{Drain, Phase};
pub use listen::{BindError, BindReason, Listeners};
pub use service::{ConnInfo, RouterService, Service, service_fn};
pub use stats::Stats;
pub use worker::{Ended, Server, run};

#[cfg(test)]
mod tests;
