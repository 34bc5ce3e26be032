//! Gatewright: an API gateway and ingress that runs an OpenAPI description as its configuration.
//!
//! `src/README.md` is the map: the life of a request, the rooms, the invariants. The modules stand in
//! layer order: each may use those above it and never those below (`tests/tidy.rs` reads the `use` lines).

// These panic when nobody reads any more.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod diagnostic;
pub mod exchange;
pub mod problem;
pub mod telemetry;

pub mod shared;

pub mod cache;
pub mod counter;
pub mod policy;
pub mod route;
pub mod upstream;

pub mod gateway;

pub mod config;
pub mod openapi;
pub mod proxy;

pub mod admin;
pub mod docs;
pub mod provider;
pub mod server;

pub mod cli;
