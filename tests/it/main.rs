//! Integration tests: the built binary against real servers over real sockets, all on loopback.

mod harness;
mod selftest;
