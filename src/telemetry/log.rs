//! The gateway's own log: what happens beside requests, on standard error.
//!
//! People get plain lines, programs JSON. `GATEWRIGHT_LOG` filters (`debug`, `gatewright=debug,hyper=warn` …).

use std::{
    io::IsTerminal,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use tracing_subscriber::{EnvFilter, fmt};

/// The variable that holds the filter.
pub const ENV: &str = "GATEWRIGHT_LOG";
const DEFAULT: &str = "info,hyper=warn,hyper_util=warn,h2=warn,reqwest=warn,rustls=warn,sled=warn";

/// Starts the log; a second call changes nothing.
///
/// # Errors
/// When `GATEWRIGHT_LOG` holds no valid filter: what was wrong with it. The log then runs with the default.
pub fn init() -> Result<(), String> {
    let given = std::env::var(ENV).ok().filter(|text| !text.trim().is_empty());
    let (filter, outcome) = filter(given.as_deref());
    let terminal = std::io::stderr().is_terminal();
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal);
    // Where nobody reads any more, saying that would panic.
    let log = log.log_internal_errors(false);
    // A subscriber that is there already (a test's, an embedding program's) stays.
    let _ = if terminal {
        log.compact().with_target(false).try_init()
    } else {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    outcome
}

/// Keeps one thing from being said more than once a second, so that a flood of refusals does not become a
/// flood of lines. Counts go on elsewhere: in the metrics and the access log.
#[derive(Debug, Default)]
pub struct Hush {
    /// The second since the Unix epoch in which it was last said.
    said: AtomicU64,
    unsaid: AtomicU64,
}

impl Hush {
    #[must_use]
    pub const fn new() -> Self {
        Self { said: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }

    /// Whether to say it at `now_ms`, and then how often it was kept back since the last time.
    pub fn turn(&self, now_ms: u64) -> Option<u64> {
        if self.said.swap(now_ms / 1000, Relaxed) == now_ms / 1000 {
            self.unsaid.fetch_add(1, Relaxed);
            return None;
        }
        Some(self.unsaid.swap(0, Relaxed))
    }
}

fn filter(given: Option<&str>) -> (EnvFilter, Result<(), String>) {
    let default = || EnvFilter::new(DEFAULT);
    match given.map(EnvFilter::try_new) {
        None => (default(), Ok(())),
        Some(Ok(filter)) => (filter, Ok(())),
        Some(Err(error)) => (default(), Err(format!("`{ENV}` holds no log filter: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_second_that_says_how_much_was_kept_back() {
        let hush = Hush::new();
        assert_eq!(hush.turn(5_000), Some(0));
        assert_eq!((hush.turn(5_001), hush.turn(5_999)), (None, None));
        assert_eq!(hush.turn(6_000), Some(2));
        assert_eq!(hush.turn(9_000), Some(0));
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_reported_and_replaced() {
        let (used, outcome) = filter(Some("gatewright=loudly"));
        assert!(outcome.is_err_and(|text| text.contains(ENV)));
        assert_eq!(used.to_string(), EnvFilter::new(DEFAULT).to_string());
        assert!(filter(Some("debug")).1.is_ok());
    }
}
