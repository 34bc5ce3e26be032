//! From the socket to a `Request`: accept, strict HTTP/1 heads, connection limits, timers, drain.
//!
//! Owns the listening sockets, one worker thread per core with its own runtime, the I/O wrapper that
//! judges the bytes of every HTTP/1 head before hyper parses them (RFC 9112), and the way down. It knows
//! nothing of routes or policies: what a request means is the [`Service`]'s business. TLS and the PROXY
//! protocol will sit between [`accept`] and [`connection`], which takes any stream.

mod config;
mod listen;
mod worker;

mod accept;
mod connection;
mod exchange;
mod goodbye;
mod service;
mod state;

mod chunk;
mod head;
mod head2;
mod inspect;
mod refusal;
mod strict_io;

mod control;
mod drain;
mod stats;

pub use config::{Limits, ServerConfig, Timeouts};
pub use control::{Control, Signal, raise_file_limit, signals};
pub use drain::{Drain, Phase};
pub use listen::{BindError, BindReason, Listeners};
pub use refusal::Refusal;
pub use service::{ConnInfo, RouterService, Service, service_fn};
pub use stats::Stats;
pub use worker::{Ended, Server, run};

#[cfg(test)]
mod tests;
