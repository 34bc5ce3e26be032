//! How old a response is and how long it stays fresh (RFC 9111, 4.2). Pure arithmetic in milliseconds.

use http::{HeaderMap, HeaderName, header};

use super::{
    date,
    directives::{Delta, ResponseDirectives},
};

/// A day: no heuristic guesses further (RFC 9111, 4.2.2 asks for a bound, not for which).
const MAX_HEURISTIC_MS: u64 = 24 * 60 * 60 * 1000;

/// When the request went to the upstream and when its answer's head came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Milliseconds since the epoch.
    pub sent_ms: u64,
    /// Milliseconds since the epoch.
    pub received_ms: u64,
}

/// What may be assumed where a response says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assume {
    /// A configured lifetime in milliseconds.
    pub ttl_ms: Option<u64>,
    /// A tenth of the time since `Last-Modified`.
    pub heuristic: bool,
}

/// A freshness lifetime and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The upstream said so, in milliseconds.
    Explicit(u64),
    /// Guessed or configured, in milliseconds.
    Assumed(u64),
    /// Nothing is known.
    None,
}

impl Lifetime {
    #[must_use]
    pub fn ms(self) -> u64 {
        match self {
            Self::Explicit(ms) | Self::Assumed(ms) => ms,
            Self::None => 0,
        }
    }
}

/// RFC 9111, 4.2.1: `s-maxage`, else `max-age`, else `Expires`, else what is configured or guessed.
/// `targeted` directives stand in place of `Cache-Control` and `Expires` (RFC 9213, 2.2).
#[must_use]
pub fn lifetime(
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    targeted: bool,
    assume: Assume,
    times: Times,
) -> Lifetime {
    use Delta::{Absent, Invalid, Seconds};
    match (directives.s_maxage, directives.max_age) {
        (Seconds(seconds), _) | (Absent, Seconds(seconds)) => return Lifetime::Explicit(seconds * 1000),
        (Invalid, _) | (Absent, Invalid) => return Lifetime::Explicit(0),
        (Absent, Absent) => {}
    }
    if !targeted && headers.contains_key(header::EXPIRES) {
        return Lifetime::Explicit(expires_after_ms(headers, times));
    }
    match assume.ttl_ms {
        Some(ttl) => Lifetime::Assumed(ttl),
        None if assume.heuristic => heuristic(headers, times),
        None => Lifetime::None,
    }
}

/// `Expires` less `Date`; several `Expires` or one that is no date are in the past (RFC 9111, 5.3).
fn expires_after_ms(headers: &HeaderMap, times: Times) -> u64 {
    let Some(expires) = date_of(headers, &header::EXPIRES, times.received_ms) else { return 0 };
    expires.saturating_sub(date_ms(headers, times))
}

/// A tenth of the time between `Last-Modified` and `Date` (RFC 9111, 4.2.2).
fn heuristic(headers: &HeaderMap, times: Times) -> Lifetime {
    match date_of(headers, &header::LAST_MODIFIED, times.received_ms) {
        Some(modified) => {
            let age = date_ms(headers, times).saturating_sub(modified);
            Lifetime::Assumed((age / 10).min(MAX_HEURISTIC_MS))
        }
        None => Lifetime::None,
    }
}

/// `corrected_initial_age` of RFC 9111, 4.2.3, or nothing when `Age` cannot be read: then the response
/// counts as stale, which is safer than the field's being ignored.
#[must_use]
pub fn initial_age_ms(headers: &HeaderMap, times: Times) -> Option<u64> {
    let apparent = times.received_ms.saturating_sub(date_ms(headers, times));
    let delay = times.received_ms.saturating_sub(times.sent_ms);
    let stated = match headers.contains_key(header::AGE) {
        false => 0,
        true => Delta::parse(single(headers, &header::AGE)).seconds()? * 1000,
    };
    Some(apparent.max(stated.saturating_add(delay)))
}

/// The response's `Date`, or when it was received if it has none that can be read (RFC 9110, 6.6.1).
#[must_use]
pub fn date_ms(headers: &HeaderMap, times: Times) -> u64 {
    // The clock of `Date` has whole seconds: a part of one is no age.
    let received = times.received_ms;
    match date_of(headers, &header::DATE, received) {
        Some(date) if date > received || received - date >= 1000 => date,
        _ => received,
    }
}

/// The date in a field that stands exactly once.
fn date_of(headers: &HeaderMap, name: &HeaderName, now_ms: u64) -> Option<u64> {
    single(headers, name).and_then(|value| date::parse_ms(value, now_ms))
}

/// The value of a field that stands exactly once.
#[must_use]
pub fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    lines.next().is_none().then_some(first.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000; // Tue, 14 Nov 2023 22:13:20 GMT
    const TIMES: Times = Times { sent_ms: NOW - 2_000, received_ms: NOW };
    const DATE: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn life(fields: &[(&str, &str)], assume: Assume) -> Lifetime {
        let headers = map(fields);
        lifetime(&headers, &ResponseDirectives::parse(&headers), false, assume, TIMES)
    }

    const NOTHING: Assume = Assume { ttl_ms: None, heuristic: false };
    const HEURISTIC: Assume = Assume { ttl_ms: None, heuristic: true };

    #[test]
    fn s_maxage_wins_over_max_age_and_that_over_expires() {
        let expires = ("expires", "Tue, 14 Nov 2023 22:14:20 GMT");
        let all = [("cache-control", "max-age=5, s-maxage=9"), expires, ("date", DATE)];
        assert_eq!(life(&all, NOTHING), Lifetime::Explicit(9_000));
        let two = [("cache-control", "max-age=5"), expires];
        assert_eq!(life(&two, NOTHING), Lifetime::Explicit(5_000));
        assert_eq!(life(&[expires, ("date", DATE)], NOTHING), Lifetime::Explicit(60_000));
        // A date that is ahead counts as it stands (RFC 9111, 4.2.1).
        let ahead = [expires, ("date", "Tue, 14 Nov 2023 22:14:10 GMT")];
        assert_eq!(life(&ahead, NOTHING), Lifetime::Explicit(10_000));
        let before_date = [expires, ("date", "Tue, 14 Nov 2023 22:15:00 GMT")];
        assert_eq!(life(&before_date, NOTHING), Lifetime::Explicit(0));
        let invalid = [("cache-control", "max-age=x"), expires];
        assert_eq!(life(&invalid, NOTHING), Lifetime::Explicit(0));
    }

    #[test]
    fn an_expires_that_is_no_date_or_stands_twice_is_in_the_past() {
        for value in ["0", "-1", "", "Tue, 14 Nov 2033 22:14:20 UTC", "yesterday"] {
            assert_eq!(life(&[("expires", value)], HEURISTIC), Lifetime::Explicit(0), "{value}");
        }
        let date = ("expires", "Tue, 14 Nov 2033 22:14:20 GMT");
        assert_eq!(life(&[date, date], HEURISTIC), Lifetime::Explicit(0));
    }

    #[test]
    fn a_heuristic_is_a_tenth_of_the_age_and_at_most_a_day() {
        let hour = [("date", DATE), ("last-modified", "Tue, 14 Nov 2023 21:13:20 GMT")];
        assert_eq!(life(&hour, HEURISTIC), Lifetime::Assumed(360_000));
        let years = [("date", DATE), ("last-modified", "Tue, 14 Nov 2000 21:13:20 GMT")];
        assert_eq!(life(&years, HEURISTIC), Lifetime::Assumed(MAX_HEURISTIC_MS));
        assert_eq!(life(&hour, NOTHING), Lifetime::None);
        assert_eq!(life(&hour, Assume { ttl_ms: Some(7), heuristic: true }), Lifetime::Assumed(7));
    }

    #[test]
    fn the_initial_age_is_the_larger_of_apparent_age_and_age_with_delay() {
        assert_eq!(initial_age_ms(&map(&[("date", DATE)]), TIMES), Some(2_000));
        assert_eq!(initial_age_ms(&map(&[("date", DATE), ("age", "30")]), TIMES), Some(32_000));
        let slow = [("date", "Tue, 14 Nov 2023 22:12:20 GMT"), ("age", "30")];
        assert_eq!(initial_age_ms(&map(&slow), TIMES), Some(60_000));
        let ahead = [("date", "Tue, 14 Nov 2033 22:12:20 GMT")];
        assert_eq!(initial_age_ms(&map(&ahead), TIMES), Some(2_000));
    }

    #[test]
    fn an_age_that_cannot_be_read_leaves_no_initial_age() {
        for value in ["abc", "-1", "1.5", "1, 2", "", "7;a=b"] {
            assert_eq!(initial_age_ms(&map(&[("age", value)]), TIMES), None, "{value}");
        }
        assert_eq!(initial_age_ms(&map(&[("age", "0"), ("age", "0")]), TIMES), None);
    }
}
