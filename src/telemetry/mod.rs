//! What the operator sees: metrics, the access log and the gateway's own log.
//!
//! A request makes exactly one [`AccessEvent`]; [`Telemetry::finish`] is the one place where it becomes a
//! log line and counts. Handles are resolved when a generation is compiled, so a request only adds to
//! atomics. Label sets are bounded: operations, upstreams and limits of the configuration, and closed
//! lists of words. Nothing here is ever shown to a client.

pub mod access;
mod counter;
mod exposition;
pub mod log;
pub mod metrics;
mod redact;
pub mod step;

use std::sync::Arc;

pub use access::{AccessEvent, AccessLog, Format};
pub use counter::{Counter, Histogram, Words};
pub use exposition::Exposition;
pub use metrics::{InFlight, Metrics, OperationMetrics, UpstreamMetrics};
pub use step::{Step, Timings};

/// A query for people, with the values of secret parameters replaced; `more` names further ones.
#[must_use]
pub fn redacted(query: &str, more: &[String]) -> String {
    let mut text = String::with_capacity(query.len());
    redact::query(query, more, |part| text.push_str(part));
    text
}

/// The two sinks of the access event.
#[derive(Clone, Debug)]
pub struct Telemetry {
    pub metrics: Arc<Metrics>,
    pub access: AccessLog,
}

impl Telemetry {
    #[must_use]
    pub fn new(access: AccessLog) -> Self {
        let metrics = Arc::new(Metrics::default());
        let dropped = access.clone();
        metrics.counter_fn(
            "access_log_dropped_lines",
            "Access log lines dropped because the log could not be written fast enough",
            move || dropped.dropped(),
        );
        Self { metrics, access }
    }

    /// Counts and logs the end of one request. Called by the spine's finish step alone, exactly once per
    /// request, also when the client went away.
    pub fn finish(&self, operation: &OperationMetrics, event: &AccessEvent<'_>) {
        operation.record(event);
        if let Some(kind) = event.problem {
            self.metrics.problem(kind);
        }
        self.access.log(event);
    }
}
