//! Integration tests: the built binary against real servers over real sockets, all on loopback.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod harness;
mod selftest;

// the command line
mod bad_input;
mod contract;
mod readme;
mod sources;

// the proxy
mod bodies;
mod bounds;
mod endurance;
mod failures;
mod forwarding;
mod paths;
mod smuggling;
mod system;
mod upstreams;

// what stands around it
mod browser;
mod cache;
mod cache_crash;
mod cache_disk;
mod cache_keys;
mod cache_tests;
mod collapse;
mod demo;
mod deploy;
mod docs;
mod keys;
mod lifecycle;
mod limits;
mod mixed_load;
mod nodes;
mod purge;
mod ranges;
mod redis;
mod reload;
mod rules;
mod tokens;
