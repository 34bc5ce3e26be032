//! Fuzzes `checks::ranges`.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "one check for each target")]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::ranges(bytes));
