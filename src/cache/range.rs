//! Single byte ranges: what a request asks for, and what a 206 holds (RFC 9110, 14; RFC 9111, 3.3).

use http::{HeaderMap, header};

use super::{conditional::if_range_holds, freshness::single};

/// What a `Range` field asks of a body of known length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: no range, several at once, another unit, or one that cannot be read. A recipient may
    /// ignore `Range` (RFC 9110, 14.2).
    Whole,
    /// From the first to before the second byte position; never empty.
    Part(u64, u64),
    /// Nothing of the body lies in the range.
    Unsatisfiable,
}

/// Reads the request's `Range`, subject to `If-Range`, against a stored 200 of `length` bytes.
#[must_use]
pub fn wanted(request: &HeaderMap, stored: &HeaderMap, length: u64, now_ms: u64) -> Wanted {
    let mut lines = request.get_all(header::RANGE).iter();
    let (Some(range), None) = (lines.next(), lines.next()) else { return Wanted::Whole };
    if !if_range_holds(request, stored, now_ms) {
        return Wanted::Whole;
    }
    parse(range.as_bytes(), length)
}

/// A part of a representation of `total` bytes: from `start` to before `end`, not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub start: u64,
    pub end: u64,
    pub total: u64,
}

/// What the `Content-Range` of a 206 says (RFC 9110, 14.4); nothing where it does not say all, or what
/// cannot be.
#[must_use]
pub fn content_range(headers: &HeaderMap) -> Option<Extent> {
    let value = single(headers, &header::CONTENT_RANGE)?;
    let spec = value.get(6..).filter(|_| value[..6].eq_ignore_ascii_case(b"bytes "))?;
    let dash = memchr::memchr(b'-', spec)?;
    let slash = dash + memchr::memchr(b'/', &spec[dash..])?;
    let number = |digits| number(digits).flatten();
    let (first, last) = (number(&spec[..dash])?, number(&spec[dash + 1..slash])?);
    let total = number(&spec[slash + 1..])?;
    let sane = first <= last && last < total;
    sane.then(|| Extent { start: first, end: last + 1, total })
}

fn parse(value: &[u8], length: u64) -> Wanted {
    let Some(spec) = value.get(6..).filter(|_| value[..6].eq_ignore_ascii_case(b"bytes=")) else {
        return Wanted::Whole;
    };
    let spec = spec.trim_ascii();
    let Some(dash) = memchr::memchr(b'-', spec) else { return Wanted::Whole };
    match (number(&spec[..dash]), number(&spec[dash + 1..])) {
        (Some(Some(first)), Some(last)) => {
            let last = last.unwrap_or(u64::MAX);
            if last < first {
                Wanted::Whole
            } else if first >= length {
                Wanted::Unsatisfiable
            } else {
                Wanted::Part(first, last.saturating_add(1).min(length))
            }
        }
        (Some(None), Some(Some(suffix))) => {
            let start = length.saturating_sub(suffix);
            if start == length { Wanted::Unsatisfiable } else { Wanted::Part(start, length) }
        }
        _ => Wanted::Whole,
    }
}

/// Digits, nothing (`Some(None)`), or something else (`None`).
fn number(digits: &[u8]) -> Option<Option<u64>> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, d: &u8| sum.saturating_mul(10).saturating_add(u64::from(d - b'0'));
    Some((!digits.is_empty()).then(|| digits.iter().fold(0, add)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_range_is_cut_to_the_body_and_everything_odd_is_the_whole() {
        for (value, expected) in [
            ("bytes=0-1", Wanted::Part(0, 2)),
            ("Bytes=2-", Wanted::Part(2, 10)),
            ("bytes=-3", Wanted::Part(7, 10)),
            ("bytes=-30", Wanted::Part(0, 10)),
            ("bytes=5-99999999999999999999999", Wanted::Part(5, 10)),
            ("bytes=9-9", Wanted::Part(9, 10)),
            ("bytes=10-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=3-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("by", Wanted::Whole),
        ] {
            assert_eq!(parse(value.as_bytes(), 10), expected, "{value}");
        }
    }

    #[test]
    fn a_content_range_counts_only_when_it_says_all_and_what_can_be() {
        let of = |value: &str| content_range(&crate::cache::tests::map(&[("content-range", value)]));
        assert_eq!(of("bytes 2-4/10"), Some(Extent { start: 2, end: 5, total: 10 }));
        assert_eq!(of("Bytes 9-9/10"), Some(Extent { start: 9, end: 10, total: 10 }));
        for wrong in [
            "bytes 2-4/*",
            "bytes */10",
            "bytes 4-2/10",
            "bytes 2-10/10",
            "bytes 2-4",
            "bytes=2-4/10",
            "items 2-4/10",
            "bytes -4/10",
            "bytes 2-/10",
            "bytes 2-4/10, bytes 5-6/10",
            "bytes 0-18446744073709551615/18446744073709551616",
            "",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        let twice = [("content-range", "bytes 2-4/10"), ("content-range", "bytes 2-4/10")];
        assert_eq!(content_range(&crate::cache::tests::map(&twice)), None);
    }

    #[test]
    fn nothing_of_an_empty_body_can_be_asked_for() {
        assert_eq!(parse(b"bytes=0-", 0), Wanted::Unsatisfiable);
        assert_eq!(parse(b"bytes=-1", 0), Wanted::Unsatisfiable);
    }
}
