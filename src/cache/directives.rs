//! `Cache-Control` of requests and responses (RFC 9111, 5.2; RFC 5861), `Pragma` (5.4).
//!
//! Pure parsing: names are compared without case, quoted strings are not split, and what cannot be
//! read is taken in the stricter sense. [`super::control`] decides; targeted fields are in
//! [`super::targeted`].

use http::{HeaderMap, HeaderName, header};

/// Longer lists of named fields make the directive count as unqualified, the stricter reading.
const MAX_NAMED_FIELDS: usize = 32;

/// RFC 9111, 1.2.2: a delta that is too large counts as 2^31.
const MAX_DELTA: u64 = 1 << 31;

/// A directive's number of seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delta {
    #[default]
    Absent,
    /// Not a non-negative integer, or stated twice with two values: such a response counts as stale
    /// (RFC 9111, 4.2.1).
    Invalid,
    Seconds(u64),
}

impl Delta {
    /// Reads `delta-seconds`; leading zeros are fine, signs, points and blanks are not.
    #[must_use]
    pub fn parse(arg: Option<&[u8]>) -> Self {
        let Some(digits) = arg.filter(|a| !a.is_empty() && a.iter().all(u8::is_ascii_digit)) else {
            return Self::Invalid;
        };
        let add = |sum: u64, d: &u8| sum.saturating_mul(10).saturating_add(u64::from(d - b'0'));
        Self::Seconds(digits.iter().fold(0, add).min(MAX_DELTA))
    }

    /// The same directive once more.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == Self::Absent || self == other { other } else { Self::Invalid }
    }

    #[must_use]
    pub fn seconds(self) -> Option<u64> {
        match self {
            Self::Seconds(seconds) => Some(seconds),
            Self::Absent | Self::Invalid => None,
        }
    }
}

/// What a response says about its storing and reuse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    pub no_store: bool,
    /// Without field names.
    pub no_cache: bool,
    /// Without field names.
    pub private: bool,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    pub max_age: Delta,
    pub s_maxage: Delta,
    pub stale_while_revalidate: Delta,
    pub stale_if_error: Delta,
    /// Fields that `no-cache="…"` and `private="…"` name: they are not stored.
    pub named_fields: Vec<HeaderName>,
}

impl ResponseDirectives {
    /// All `Cache-Control` lines of a response, in order.
    #[must_use]
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            each(value.as_bytes(), |name, arg| found.take(name, arg));
        }
        found
    }

    /// Adds one directive; unknown ones are ignored (RFC 9111, 5.2.3).
    pub fn take(&mut self, name: &[u8], arg: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache |= !self.name_fields(arg);
        } else if is("private") {
            self.private |= !self.name_fields(arg);
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("max-age") {
            self.max_age = self.max_age.and(Delta::parse(arg));
        } else if is("s-maxage") {
            self.s_maxage = self.s_maxage.and(Delta::parse(arg));
        } else if is("stale-while-revalidate") {
            self.stale_while_revalidate = self.stale_while_revalidate.and(Delta::parse(arg));
        } else if is("stale-if-error") {
            self.stale_if_error = self.stale_if_error.and(Delta::parse(arg));
        }
    }

    /// Notes the fields of `no-cache="a, b"`; false when the argument names none that can be read, so
    /// that the directive then counts without them.
    fn name_fields(&mut self, arg: Option<&[u8]>) -> bool {
        let Some(arg) = arg else { return false };
        let before = self.named_fields.len();
        for name in arg.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|n| !n.is_empty()) {
            match HeaderName::from_bytes(name) {
                Ok(name) if self.named_fields.len() < MAX_NAMED_FIELDS => self.named_fields.push(name),
                _ => return false,
            }
        }
        self.named_fields.len() > before
    }
}

/// How stale an answer the client takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxStale {
    #[default]
    Not,
    Seconds(u64),
    Any,
}

/// What a request asks of caches. Parsing it allocates nothing: it stands on the hit path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    pub no_cache: bool,
    pub no_store: bool,
    pub only_if_cached: bool,
    pub max_age: Option<u64>,
    pub min_fresh: Option<u64>,
    pub max_stale: MaxStale,
    pub stale_if_error: Option<u64>,
}

impl RequestDirectives {
    /// The same without what asks for a newer answer than a fresh one.
    #[must_use]
    pub fn patient(&self) -> Self {
        Self { no_cache: false, max_age: None, min_fresh: None, ..*self }
    }

    #[must_use]
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        if !headers.contains_key(header::CACHE_CONTROL) {
            // RFC 9111, 5.4: `Pragma: no-cache` counts where there is no `Cache-Control`.
            for value in headers.get_all(header::PRAGMA) {
                each(value.as_bytes(), |name, _| found.no_cache |= name.eq_ignore_ascii_case(b"no-cache"));
            }
            return found;
        }
        for value in headers.get_all(header::CACHE_CONTROL) {
            each(value.as_bytes(), |name, arg| found.take(name, arg));
        }
        found
    }

    /// Of a repeated directive the stricter value counts; what cannot be read does not count, but for
    /// `max-age`, which then is zero.
    fn take(&mut self, name: &[u8], arg: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let seconds = || Delta::parse(arg).seconds();
        if is("no-cache") {
            self.no_cache = true;
        } else if is("no-store") {
            self.no_store = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            let age = seconds().unwrap_or(0);
            self.max_age = Some(self.max_age.map_or(age, |old| old.min(age)));
        } else if is("min-fresh") {
            self.min_fresh = self.min_fresh.max(seconds());
        } else if is("max-stale") {
            self.max_stale = match (arg, seconds()) {
                (None, _) => MaxStale::Any,
                (_, Some(seconds)) => MaxStale::Seconds(seconds),
                _ => self.max_stale,
            };
        } else if is("stale-if-error") {
            self.stale_if_error = seconds().or(self.stale_if_error);
        }
    }
}

/// Calls `f` with each directive's name and the content of its argument. Commas inside a quoted string
/// do not split; a quote that never closes is an ordinary character, so that it hides nothing.
pub(super) fn each(value: &[u8], mut f: impl FnMut(&[u8], Option<&[u8]>)) {
    let mut rest = value;
    while !rest.is_empty() {
        let (element, after) = split_element(rest);
        rest = after;
        let element = element.trim_ascii();
        match memchr::memchr(b'=', element) {
            None if element.is_empty() => {}
            None => f(element, None),
            Some(at) => f(&element[..at], Some(unquote(&element[at + 1..]))),
        }
    }
}

/// The bytes before the next comma that stands outside quotes, and those after it.
pub(super) fn split_element(value: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while at < value.len() {
        match value[at] {
            b',' => return (&value[..at], &value[at + 1..]),
            b'"' => at += quoted_len(&value[at..]).unwrap_or(1),
            _ => at += 1,
        }
    }
    (value, &[])
}

/// The length of the quoted string that `value` begins with, when it closes.
fn quoted_len(value: &[u8]) -> Option<usize> {
    let mut at = 1;
    while at < value.len() {
        match value[at] {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// Takes the quotes off. Escapes stay: no directive's value holds a character that needs one, so an
/// escape makes it invalid.
fn unquote(arg: &[u8]) -> &[u8] {
    match arg {
        [b'"', inner @ .., b'"'] if quoted_len(arg) == Some(arg.len()) => inner,
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(lines: &[&str]) -> ResponseDirectives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, line.parse().unwrap());
        }
        ResponseDirectives::parse(&headers)
    }

    fn request(field: HeaderName, value: &str) -> RequestDirectives {
        RequestDirectives::parse(&HeaderMap::from_iter([(field, value.parse().unwrap())]))
    }

    #[test]
    fn names_are_compared_without_case() {
        assert!(response(&["No-StOrE"]).no_store);
        assert!(response(&["PRIVATE"]).private);
        assert_eq!(response(&["MaX-aGe=7"]).max_age, Delta::Seconds(7));
    }

    #[test]
    fn a_number_of_seconds_is_digits_alone() {
        for (line, expected) in [
            ("max-age=60", Delta::Seconds(60)),
            ("max-age=\"60\"", Delta::Seconds(60)),
            ("max-age=0060", Delta::Seconds(60)),
            ("max-age=99999999999999999999999", Delta::Seconds(MAX_DELTA)),
            ("max-age='60'", Delta::Invalid),
            ("max-age=60.0", Delta::Invalid),
            ("max-age=-60", Delta::Invalid),
            ("max-age=+60", Delta::Invalid),
            ("max-age=60a", Delta::Invalid),
            ("max-age= 60", Delta::Invalid),
            ("max-age=\"\\60\"", Delta::Invalid),
            ("max-age=", Delta::Invalid),
            ("max-age", Delta::Invalid),
            ("max-age =60", Delta::Absent),
        ] {
            assert_eq!(response(&[line]).max_age, expected, "{line}");
        }
    }

    #[test]
    fn two_values_of_one_directive_are_invalid_and_equal_ones_are_not() {
        assert_eq!(response(&["max-age=60, max-age=61"]).max_age, Delta::Invalid);
        assert_eq!(response(&["max-age=60", "max-age=1"]).max_age, Delta::Invalid);
        assert_eq!(response(&["max-age=60", "max-age=60"]).max_age, Delta::Seconds(60));
    }

    #[test]
    fn a_quoted_string_hides_its_commas_and_an_open_quote_hides_nothing() {
        assert_eq!(response(&["x=\"max-age=9, no-store\", max-age=1"]).max_age, Delta::Seconds(1));
        assert!(!response(&["x=\"a, no-store\""]).no_store);
        assert!(!response(&["x=\"a\\\", no-store\""]).no_store);
        assert!(response(&["x=\"a, no-store"]).no_store);
    }

    #[test]
    fn named_fields_qualify_the_directive_and_what_is_no_name_does_not() {
        let found = response(&["no-cache=\"Set-Cookie, X-A\", private=x-b"]);
        assert!(!found.no_cache && !found.private);
        assert_eq!(found.named_fields, ["set-cookie", "x-a", "x-b"]);
        assert!(response(&["no-cache=\"\""]).no_cache);
        assert!(response(&["private=\"not a name\""]).private);
        assert!(response(&["no-cache=\"a\", no-cache"]).no_cache);
    }

    #[test]
    fn request_directives_are_read_and_pragma_counts_only_alone() {
        let found = request(header::CACHE_CONTROL, "max-age=5, min-fresh=3, max-stale, only-if-cached");
        assert_eq!((found.max_age, found.min_fresh), (Some(5), Some(3)));
        assert_eq!(found.max_stale, MaxStale::Any);
        assert!(found.only_if_cached);
        assert_eq!(request(header::CACHE_CONTROL, "max-stale=9").max_stale, MaxStale::Seconds(9));
        assert_eq!(request(header::CACHE_CONTROL, "max-age=abc").max_age, Some(0));
        assert!(request(header::PRAGMA, "no-cache").no_cache);
        let both = [(header::PRAGMA, "no-cache"), (header::CACHE_CONTROL, "max-age=9")];
        let both = both.map(|(n, v)| (n, v.parse().unwrap()));
        assert!(!RequestDirectives::parse(&HeaderMap::from_iter(both)).no_cache);
    }
}
