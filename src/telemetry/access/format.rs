//! One access event as a line of text: short for people, JSON for programs.
//!
//! What a client sent is bounded in length and cannot carry control characters into a terminal or break a
//! line; credentials in the query are replaced.

use std::io::Write as _;

use super::{super::redact, AccessEvent, Format};
use crate::problem::Blame;

/// Longer text from outside is cut: one request must not fill the log.
const MAX_TEXT: usize = 2048;

/// Appends the line with its newline.
pub(super) fn line(out: &mut Vec<u8>, format: Format, event: &AccessEvent<'_>) {
    match format {
        Format::Off => return,
        Format::Human { colour } => human(out, event, colour),
        Format::Json => json(out, event),
    }
    out.push(b'\n');
}

fn json(out: &mut Vec<u8>, event: &AccessEvent<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    date_time(out, event.at_ms);
    out.push(b'"');
    text(out, "request_id", event.request_id);
    if let Some(client) = event.client {
        let _ = write!(out, ",\"client\":\"{client}\"");
    }
    text(out, "protocol", protocol(event.protocol));
    text(out, "method", event.method);
    text(out, "host", event.host);
    text(out, "path", event.path);
    if let Some(query) = event.query {
        key(out, "query");
        out.push(b'"');
        redact::query(bounded(query), event.secret_params, |part| escape(out, part));
        out.push(b'"');
    }
    number(out, "status", u64::from(event.status));
    number(out, "duration_us", event.total_us);
    text(out, "api", event.api);
    text(out, "operation", event.operation);
    for (name, value) in [
        ("consumer", event.consumer),
        ("cache", event.cache),
        ("problem", event.problem.map(|kind| kind.slug)),
        ("blame", event.problem.map(|kind| kind.blame.as_str())),
        ("cause", event.cause),
        ("upstream", event.upstream),
    ] {
        if let Some(value) = value {
            text(out, name, value);
        }
    }
    text(out, "step", event.step.as_str());
    number(out, "generation", event.generation);
    number(out, "attempts", u64::from(event.attempts));
    number(out, "bytes_in", event.bytes_in);
    number(out, "bytes_out", event.bytes_out);
    out.extend_from_slice(b",\"timings_us\":{");
    for (index, (step, micros)) in event.timings.taken().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(out, "{comma}\"{}\":{micros}", step.as_str());
    }
    out.push(b'}');
    if event.vanished {
        out.extend_from_slice(b",\"vanished\":true");
    }
    out.push(b'}');
}

/// `12:03:04.123 GET    /pets/1?limit=5 200 3.2 ms hit petstore/getPet ada 01J9ZK…`
fn human(out: &mut Vec<u8>, event: &AccessEvent<'_>, colour: bool) {
    let paint = |code: &'static str| if colour { code } else { "" };
    let (dim, bold, off) = (paint("\x1b[2m"), paint("\x1b[1m"), paint("\x1b[0m"));
    out.extend_from_slice(dim.as_bytes());
    time_of_day(out, event.at_ms);
    let _ = write!(out, "{off} {}{bold}{}{off} {bold}", paint(tint(event.status)), event.status);
    escape(out, bounded(event.method));
    let _ = write!(out, "{off} ");
    escape(out, bounded(event.path));
    if let Some(query) = event.query {
        out.extend_from_slice(dim.as_bytes());
        out.push(b'?');
        redact::query(bounded(query), event.secret_params, |part| escape(out, part));
        out.extend_from_slice(off.as_bytes());
    }
    out.push(b' ');
    duration(out, event.total_us);
    if let Some(word) = event.cache {
        let tint = if word == "hit" { paint("\x1b[32m") } else { dim };
        let _ = write!(out, " {tint}{word}{off}");
    }
    if !event.operation.is_empty() {
        let _ = write!(out, " {dim}");
        escape(out, event.operation);
        out.extend_from_slice(off.as_bytes());
    }
    if let Some(consumer) = event.consumer {
        out.extend_from_slice(b" by ");
        escape(out, bounded(consumer));
    }
    if let Some(kind) = event.problem {
        let tint = paint(if kind.blame == Blame::Client { "\x1b[33m" } else { "\x1b[31m" });
        let _ = write!(out, " {tint}{}{off}", kind.slug);
    }
    if let Some(cause) = event.cause {
        out.extend_from_slice(b" (");
        escape(out, bounded(cause));
        out.push(b')');
    }
    if event.vanished {
        out.extend_from_slice(b" client went away");
    }
    let _ = write!(out, " {dim}");
    escape(out, event.request_id);
    out.extend_from_slice(off.as_bytes());
}

fn tint(status: u16) -> &'static str {
    match status {
        0..200 | 300..400 => "\x1b[36m",
        200..300 => "\x1b[32m",
        400..500 => "\x1b[33m",
        500.. => "\x1b[31m",
    }
}

fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_11 => "HTTP/1.1",
        http::Version::HTTP_2 => "HTTP/2",
        http::Version::HTTP_3 => "HTTP/3",
        _ => "HTTP",
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    out.push(b'"');
    escape(out, bounded(value));
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// JSON's escapes, and all control characters (C1 too), which terminals would obey. The human line uses
/// the same, so that a quote or a newline in it is unmistakable.
fn escape(out: &mut Vec<u8>, value: &str) {
    // Nearly every value is plain ASCII without anything to escape.
    if value.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b'"' && b != b'\\') {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    for c in value.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            // Bidirectional overrides reorder what a reader sees of the line.
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn bounded(value: &str) -> &str {
    &value[..value.floor_char_boundary(MAX_TEXT)]
}

fn duration(out: &mut Vec<u8>, micros: u64) {
    let _ = match micros {
        0..1_000 => write!(out, "{micros} µs"),
        1_000..1_000_000 => write!(out, "{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => write!(out, "{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000),
    };
}

/// RFC 3339 in UTC with milliseconds.
fn date_time(out: &mut Vec<u8>, at_ms: u64) {
    let (year, month, day) = civil(at_ms / 86_400_000);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T");
    time_of_day(out, at_ms);
    out.push(b'Z');
}

fn time_of_day(out: &mut Vec<u8>, at_ms: u64) {
    let (seconds, millis) = (at_ms / 1000 % 86_400, at_ms % 1000);
    let _ = write!(out, "{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

/// Year, month and day of a day number since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}
