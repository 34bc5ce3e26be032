//! The metrics as text: OpenMetrics 1.0, and the older Prometheus text format 0.0.4 for who asks for it.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{
    counter::Histogram,
    metrics::{Closure, Metrics, OperationMetrics},
};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What `/metrics` answers.
#[derive(Debug)]
pub struct Exposition {
    pub content_type: &'static str,
    pub text: String,
}

impl Metrics {
    /// All metrics in the format that `accept` asks for: OpenMetrics when it is named, else plain text.
    #[must_use]
    pub fn expose(self: &Arc<Self>, accept: Option<&str>) -> Exposition {
        // The registry is made per scrape: all state lies in `Metrics`, and it needs no lock this way.
        let mut registry = Registry::with_prefix("gatewright");
        registry.register_collector(Box::new(Scrape(Arc::clone(self))));
        let mut text = String::with_capacity(16 * 1024);
        text::encode(&mut text, &registry).expect("invariant: writing to a string does not fail");
        if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            return Exposition { content_type: OPEN_METRICS, text };
        }
        Exposition { content_type: PROMETHEUS_TEXT, text: plain(&text) }
    }
}

/// The older format names a counter's family with its suffix and knows neither units nor an end mark.
fn plain(open: &str) -> String {
    let counters: std::collections::HashSet<&str> =
        open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut out = String::with_capacity(open.len() + 1024);
    for line in open.lines().filter(|line| *line != "# EOF") {
        let family = ["# HELP ", "# TYPE "]
            .iter()
            .find_map(|head| Some((*head, line.strip_prefix(head)?.split_once(' ')?)));
        match family {
            Some((head, (name, rest))) if counters.contains(name) => {
                out.extend([head, name, "_total ", rest]);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[derive(Debug)]
struct Scrape(Arc<Metrics>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A gauge, not an info: the older format has no such type.
        let mut build =
            encoder.encode_descriptor("build_info", "The running version.", None, MetricType::Gauge)?;
        build.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?.encode_gauge(&1u64)?;
        let operations = self.0.operations();
        requests(&mut encoder, &operations)?;
        volumes(&mut encoder, &operations)?;
        let duration = "Time from a request's head to the last byte of its answer.";
        histograms(&mut encoder, "request_duration_seconds", duration, &operations, |hot| &hot.duration)?;
        let upstream = "Time in the forward step: the upstream's head, with retries.";
        histograms(&mut encoder, "upstream_duration_seconds", upstream, &operations, |hot| &hot.upstream)?;
        refusals(&mut encoder, &self.0)?;
        upstreams(&mut encoder, &self.0)?;
        self.0.closures().iter().try_for_each(|closure| read(&mut encoder, closure))
    }
}

fn requests(encoder: &mut DescriptorEncoder<'_>, operations: &[Arc<OperationMetrics>]) -> fmt::Result {
    let help = "Requests that ended, by operation and status code.";
    let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
    for op in operations {
        for (code, count) in op.statuses() {
            let labels = [("api", &*op.api), ("operation", &*op.operation), ("code", code.as_str())];
            counter(&mut family, &labels, count)?;
        }
    }
    let help = "Requests that have begun and not ended.";
    let mut family = encoder.encode_descriptor("requests_in_flight", help, None, MetricType::Gauge)?;
    for op in operations {
        let labels = [("api", &*op.api), ("operation", &*op.operation)];
        family.encode_family(&labels)?.encode_gauge(&op.in_flight())?;
    }
    let help = "Requests by what the cache did: hit, miss, stale and so on.";
    let mut family = encoder.encode_descriptor("cache_requests", help, None, MetricType::Counter)?;
    for op in operations {
        for (result, count) in op.hot.get().into_iter().flat_map(|hot| hot.cache.iter()) {
            let labels = [("api", &*op.api), ("operation", &*op.operation), ("result", result)];
            counter(&mut family, &labels, count)?;
        }
    }
    Ok(())
}

fn volumes(encoder: &mut DescriptorEncoder<'_>, operations: &[Arc<OperationMetrics>]) -> fmt::Result {
    type Read = fn(&super::metrics::Hot) -> u64;
    let families: [(&str, &str, Read); 3] = [
        ("request_bytes", "Bytes of request bodies.", |hot| hot.bytes_in.get()),
        ("response_bytes", "Bytes of response bodies.", |hot| hot.bytes_out.get()),
        ("requests_vanished", "Requests whose client went away before the end.", |hot| hot.vanished.get()),
    ];
    for (name, help, read) in families {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for op in operations {
            let labels = [("api", &*op.api), ("operation", &*op.operation)];
            counter(&mut family, &labels, op.hot.get().map_or(0, |hot| read(hot)))?;
        }
    }
    Ok(())
}

fn histograms(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    operations: &[Arc<OperationMetrics>],
    pick: fn(&super::metrics::Hot) -> &Histogram,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for op in operations {
        let Some(hot) = op.hot.get() else { continue };
        let (sum, count, buckets) = pick(hot).snapshot();
        if count > 0 {
            let labels = [("api", &*op.api), ("operation", &*op.operation)];
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
    }
    Ok(())
}

fn refusals(encoder: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let help = "Answers that the gateway made itself, by problem code and whose fault it was.";
    let mut family = encoder.encode_descriptor("problems", help, None, MetricType::Counter)?;
    for (kind, count) in metrics.problems() {
        counter(&mut family, &[("code", kind.slug), ("blame", kind.blame.as_str())], count)?;
    }
    let help = "Requests that a rate limit refused.";
    let mut family = encoder.encode_descriptor("limit_refused", help, None, MetricType::Counter)?;
    for ((api, limit), refused) in metrics.limits() {
        counter(&mut family, &[("api", &*api), ("limit", &*limit)], refused.get())?;
    }
    Ok(())
}

fn upstreams(encoder: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let upstreams = metrics.upstreams();
    let help = "Requests sent to an upstream; a retry counts again.";
    let mut family = encoder.encode_descriptor("upstream_requests", help, None, MetricType::Counter)?;
    for ((name, _), upstream) in &upstreams {
        counter(&mut family, &[("upstream", &**name)], upstream.requests.get())?;
    }
    let help = "Requests sent again after a failure.";
    let mut family = encoder.encode_descriptor("upstream_retries", help, None, MetricType::Counter)?;
    for ((name, _), upstream) in &upstreams {
        counter(&mut family, &[("upstream", &**name)], upstream.retries.get())?;
    }
    let help = "Requests to an upstream that failed, by reason.";
    let mut family = encoder.encode_descriptor("upstream_failures", help, None, MetricType::Counter)?;
    for ((name, _), upstream) in &upstreams {
        for (reason, count) in upstream.failures.iter() {
            counter(&mut family, &[("upstream", &**name), ("reason", reason)], count)?;
        }
    }
    Ok(())
}

fn read(encoder: &mut DescriptorEncoder<'_>, closure: &Closure) -> fmt::Result {
    let kind = if closure.counts { MetricType::Counter } else { MetricType::Gauge };
    let help = format!("{}.", closure.help.trim_end_matches('.'));
    let mut family = encoder.encode_descriptor(closure.name, &help, None, kind)?;
    for (value_of_label, value) in (closure.read)() {
        match closure.label {
            Some(label) => {
                let labels = [(label, value_of_label.as_str())];
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
            None if closure.counts => {
                family.encode_counter::<NoLabelSet, u64, u64>(&(value as u64), None)?;
            }
            None => family.encode_gauge(&value)?,
        }
    }
    Ok(())
}

fn counter<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    count: u64,
) -> fmt::Result {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        problem,
        telemetry::{AccessEvent, AccessLog, Step, Telemetry},
    };

    fn expose(metrics: &Arc<Metrics>) -> String {
        metrics.expose(Some("application/openmetrics-text;version=1.0.0,*/*;q=0.1")).text
    }

    fn line<'a>(text: &'a str, start: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start} in:\n{text}"))
    }

    #[test]
    fn a_finished_request_is_counted_under_every_family() {
        let telemetry = Telemetry::new(AccessLog::off());
        let operation = telemetry.metrics.operation("petstore", "getPet");
        let mut event = AccessEvent::new("01", "GET", "/pets/1");
        (event.status, event.total_us, event.bytes_in, event.bytes_out) = (429, 1500, 10, 20);
        (event.cache, event.problem) = (Some("miss"), Some(&problem::RATE_LIMITED));
        event.timings.add(Step::Forward, 900);
        let guard = operation.begin();
        telemetry.finish(&operation, &event);
        telemetry.metrics.limit_refused("petstore", "per-consumer").inc();
        let upstream = telemetry.metrics.upstream("pets");
        upstream.failures.inc("timeout");
        telemetry.metrics.gauge_fn("connections", "Open connections", || 3.0);
        telemetry.metrics.gauges_fn("cache_bytes", "Bytes held", "store", || vec![("memory".into(), 7.0)]);

        let text = expose(&telemetry.metrics);
        let labels = r#"api="petstore",operation="getPet""#;
        for (start, value) in [
            (format!("gatewright_requests_total{{{labels},code=\"429\"}}"), "1"),
            (format!("gatewright_requests_in_flight{{{labels}}}"), "1"),
            (format!("gatewright_request_duration_seconds_bucket{{le=\"0.001\",{labels}}}"), "0"),
            (format!("gatewright_request_duration_seconds_bucket{{le=\"0.0025\",{labels}}}"), "1"),
            (format!("gatewright_upstream_duration_seconds_count{{{labels}}}"), "1"),
            (format!("gatewright_cache_requests_total{{{labels},result=\"miss\"}}"), "1"),
            (format!("gatewright_request_bytes_total{{{labels}}}"), "10"),
            (format!("gatewright_response_bytes_total{{{labels}}}"), "20"),
            ("gatewright_problems_total{code=\"rate-limited\",blame=\"client\"}".into(), "1"),
            ("gatewright_limit_refused_total{api=\"petstore\",limit=\"per-consumer\"}".into(), "1"),
            ("gatewright_upstream_failures_total{upstream=\"pets\",reason=\"timeout\"}".into(), "1"),
            ("gatewright_connections".into(), "3.0"),
            ("gatewright_cache_bytes{store=\"memory\"}".into(), "7.0"),
        ] {
            assert_eq!(line(&text, &start), format!("{start} {value}"));
        }
        assert!(text.ends_with("# EOF\n"));
        drop(guard);
        let text = expose(&telemetry.metrics);
        assert!(text.contains(&format!("gatewright_requests_in_flight{{{labels}}} 0\n")), "{text}");
    }

    #[test]
    fn the_older_format_names_counters_with_their_suffix_and_has_no_end_mark() {
        let telemetry = Telemetry::new(AccessLog::off());
        let exposition = telemetry.metrics.expose(Some("text/plain"));
        assert_eq!(exposition.content_type, PROMETHEUS_TEXT);
        let mut lines = exposition.text.lines();
        assert!(lines.next().is_some_and(|line| line.starts_with("# HELP gatewright_build")));
        assert!(lines.next().is_some_and(|line| line.starts_with("# TYPE gatewright_build")));
        assert!(exposition.text.contains("# TYPE gatewright_requests_total counter\n"));
        assert!(exposition.text.contains("# TYPE gatewright_requests_in_flight gauge\n"));
        assert!(!exposition.text.contains("# EOF"));
    }

    #[test]
    fn the_same_labels_give_the_same_handle_and_an_orphan_is_shown_once_more() {
        let metrics = Arc::new(Metrics::default());
        let first = metrics.operation("a", "b");
        assert!(Arc::ptr_eq(&first, &metrics.operation("a", "b")));
        first.record(&AccessEvent::new("1", "GET", "/"));
        drop(first);
        assert!(expose(&metrics).contains(r#"api="a""#));
        assert!(!expose(&metrics).contains(r#"api="a""#));
    }

    #[test]
    fn a_status_nobody_registered_counts_under_its_class() {
        let metrics = Arc::new(Metrics::default());
        let operation = metrics.operation("a", "b");
        let mut event = AccessEvent::new("1", "GET", "/");
        for status in [299, 298, 0, 999] {
            event.status = status;
            operation.record(&event);
        }
        let statuses = operation.statuses();
        assert_eq!(statuses, [("1xx".to_owned(), 1), ("2xx".to_owned(), 2), ("5xx".to_owned(), 1)]);
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        let metrics = Arc::new(Metrics::default());
        let operation = metrics.operation("a\"} 1\n# EOF", "b");
        operation.record(&AccessEvent::new("1", "GET", "/"));
        let text = expose(&metrics);
        assert_eq!(text.matches("# EOF").count(), text.matches("\\n# EOF").count() + 1);
    }
}
