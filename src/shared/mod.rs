//! State that several gateways share, in Redis: one connection, and logs of messages on it.
//!
//! Owns the address ([`Address`]), the connection and its return after a failure ([`Redis`]), and a bounded log
//! whose readers know when they missed something ([`Log`]). What a message means is its writer's business.
//!
//! The connection lives on the control plane's runtime. A call may come from any runtime, waits no longer than
//! the configured deadline, and fails at once while the server is away. Sentinel and Cluster would be further
//! ways to dial: callers name keys (one hash tag per prefix) and scripts, never a server.

mod address;
mod bounds;
mod dial;
mod link;
mod log;

pub use address::{Address, Config, check_prefix};
pub use link::{Away, Redis, State, Status};
pub use log::{Entry, Log, MAX_MESSAGE, Position, Read};

#[cfg(test)]
mod tests;
