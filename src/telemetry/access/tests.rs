//! The access log's lines and what they keep to themselves.

use std::{
    io,
    sync::mpsc::{Receiver, Sender, channel},
};

use super::*;
use crate::problem;

/// Gives every write to the test.
struct Tap(Sender<Vec<u8>>);

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tapped(format: Format) -> (AccessLog, Receiver<Vec<u8>>) {
    let (send, receive) = channel();
    (AccessLog::start(format, Tap(send)).unwrap(), receive)
}

fn event() -> AccessEvent<'static> {
    let mut event = AccessEvent::new("01J9ZK", "GET", "/pets/1");
    event.at_ms = 1_709_210_096_007;
    event.query = Some("limit=5&api_key=hunter2");
    (event.status, event.total_us, event.cache) = (200, 3_250, Some("hit"));
    (event.api, event.operation, event.host) = ("petstore", "getPet", "api.example.com");
    event.client = Some([127, 0, 0, 1].into());
    event.consumer = Some("ada");
    event
}

fn line(format: Format, event: &AccessEvent<'_>) -> String {
    let mut out = Vec::new();
    format::line(&mut out, format, event);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_json_line_says_everything_and_hides_the_key() {
    let mut event = event();
    event.timings.add(Step::Receive, 12);
    event.timings.add(Step::Forward, 3_000);
    event.problem = Some(&problem::UPSTREAM_TIMEOUT);
    (event.cause, event.upstream, event.attempts) = (Some("10.0.0.5 silent"), Some("pets"), 2);
    (event.step, event.generation, event.vanished) = (Step::Forward, 7, true);
    (event.bytes_in, event.bytes_out) = (1, 2);
    let text = line(Format::Json, &event);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        value,
        serde_json::json!({
            "time": "2024-02-29T12:34:56.007Z", "request_id": "01J9ZK", "client": "127.0.0.1",
            "protocol": "HTTP/1.1", "method": "GET", "host": "api.example.com", "path": "/pets/1",
            "query": "limit=5&api_key=***", "status": 200, "duration_us": 3250, "api": "petstore",
            "operation": "getPet", "consumer": "ada", "cache": "hit", "problem": "upstream-timeout",
            "blame": "upstream", "cause": "10.0.0.5 silent", "upstream": "pets", "step": "forward",
            "generation": 7, "attempts": 2, "bytes_in": 1, "bytes_out": 2,
            "timings_us": {"receive": 12, "forward": 3000}, "vanished": true
        })
    );
}

#[test]
fn a_human_line_is_short_and_plain_without_a_terminal() {
    let mut event = event();
    assert_eq!(
        line(Format::Human { colour: false }, &event),
        "12:34:56.007 200 GET /pets/1?limit=5&api_key=*** 3.2 ms hit getPet by ada 01J9ZK\n"
    );
    (event.status, event.problem) = (429, Some(&problem::RATE_LIMITED));
    let text = line(Format::Human { colour: true }, &event);
    assert!(text.contains("\x1b[33m\x1b[1m429") && text.contains("rate-limited"), "{text:?}");
}

#[test]
fn what_a_client_sends_cannot_break_a_line_or_reach_the_terminal() {
    let mut event = event();
    event.path = "/a\n\x1b[2J\u{9b}31m\"\\\u{202e}ü";
    event.host = "x\r\ny";
    for format in [Format::Json, Format::Human { colour: false }] {
        let text = line(format, &event);
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(!text.trim_end().chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
        assert!(text.contains('ü'), "{text:?}");
    }
    let value: serde_json::Value = serde_json::from_str(&line(Format::Json, &event)).unwrap();
    assert_eq!(value["path"], event.path);
}

#[test]
fn a_long_path_is_cut_at_a_character() {
    let path = "ü".repeat(5000);
    let mut event = event();
    event.path = &path;
    assert!(line(Format::Json, &event).len() < 3000);
}

#[test]
fn lines_are_written_without_being_asked_and_after_a_pause_too() {
    let (log, written) = tapped(Format::Json);
    for _ in 0..3 {
        log.log(&event());
        let bytes = written.recv_timeout(Duration::from_secs(10)).expect("the writer writes by itself");
        assert!(bytes.ends_with(b"}\n"));
        // Let the writer fall asleep.
        thread::sleep(INTERVAL * 3);
    }
}

#[test]
fn closing_writes_what_is_left_of_all_threads() {
    let (log, written) = tapped(Format::Json);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| log.log(&event())));
        }
    });
    log.close();
    let bytes: Vec<u8> = written.try_iter().flatten().collect();
    assert_eq!(memchr::memchr_iter(b'\n', &bytes).count(), 400);
    assert_eq!(log.dropped(), 0);
}

/// A pipe nobody reads.
struct Stuck(Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_pipe_costs_lines_and_never_a_worker() {
    let (free, stuck) = channel();
    let log = AccessLog::start(Format::Json, Stuck(stuck)).unwrap();
    let path = "x".repeat(2000);
    let mut event = event();
    event.path = &path;
    // More than one buffer's limit twice over: one may be with the writer, one fills.
    for _ in 0..2 * LIMIT / 2000 + 10 {
        log.log(&event);
    }
    assert!(log.dropped() > 0);
    assert!(lock(&log.0.as_ref().unwrap().shards[shard()]).len() <= LIMIT + 4096);
    drop(free);
    log.close();
}

#[test]
fn the_format_is_read_from_its_word() {
    assert_eq!("json".parse(), Ok(Format::Json));
    assert_eq!("off".parse(), Ok(Format::Off));
    assert!("xml".parse::<Format>().unwrap_err().contains("`xml`"));
}
