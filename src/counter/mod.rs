//! Counting calls against limits: the arithmetic ([`gcra`], pure) and where the counts live ([`memory`]).
//!
//! Knows neither requests nor consumers: `policy/rate_limit.rs` turns a request into [`Take`]s. A store
//! shared by several nodes would be one more file here with the same `take`.

pub mod gcra;
pub mod memory;

pub use gcra::{Rate, Standing};
pub use memory::{Admission, CellKey, LimitId, Limiters, Take};
