//! Conditional requests answered from the store (RFC 9110, 13; RFC 9111, 4.3.2) and the conditions that
//! validate a stored response (4.3.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use smallvec::SmallVec;

use super::{date, freshness::single};

/// Whether the client's conditions are met by a stored success, so that it gets a 304.
#[must_use]
pub fn not_modified(request: &HeaderMap, stored: &HeaderMap, received_ms: u64) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        // Takes the place of `If-Modified-Since` (RFC 9110, 13.1.3).
        return client_lists(request, stored.get(header::ETAG));
    }
    let date = |headers, name| single(headers, &name).and_then(|value| date::parse_ms(value, received_ms));
    let Some(since) = date(request, header::IF_MODIFIED_SINCE) else { return false };
    let modified = date(stored, header::LAST_MODIFIED).or_else(|| date(stored, header::DATE));
    modified.unwrap_or(received_ms) <= since
}

/// Whether the client's `If-None-Match` holds `etag`, or anything at all.
#[must_use]
pub fn client_lists(request: &HeaderMap, etag: Option<&HeaderValue>) -> bool {
    let etag = etag.map(HeaderValue::as_bytes);
    request.get_all(header::IF_NONE_MATCH).iter().any(|line| lists(line.as_bytes(), etag))
}

/// Whether `If-Range` allows a part of the stored response: the same strong validator (RFC 9110, 13.1.5).
#[must_use]
pub fn if_range_holds(request: &HeaderMap, stored: &HeaderMap, now_ms: u64) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else { return true };
    let condition = condition.as_bytes();
    if condition.starts_with(b"\"") {
        return stored.get(header::ETAG).is_some_and(|etag| etag.as_bytes() == condition);
    }
    if condition.starts_with(b"W/") {
        return false;
    }
    // A date is strong when the response was made at least a second after it (RFC 9110, 8.8.2.2).
    let date = |name| single(stored, &name).and_then(|value| date::parse_ms(value, now_ms));
    match (date::parse_ms(condition, now_ms), date(header::LAST_MODIFIED), date(header::DATE)) {
        (Some(asked), Some(modified), Some(made)) => asked == modified && made >= modified + 1000,
        _ => false,
    }
}

/// The validator by which two responses are surely of the same bytes (RFC 9110, 8.8.1): a strong entity tag,
/// or, where there is none at all, a date that is strong. `now_ms` is for dates of two digits' years.
#[must_use]
pub fn strong_validator(headers: &HeaderMap, now_ms: u64) -> Option<HeaderValue> {
    if let Some(etag) = headers.get(header::ETAG) {
        return etag.as_bytes().starts_with(b"\"").then(|| etag.clone());
    }
    let modified = headers.get(header::LAST_MODIFIED)?;
    let date = |name| single(headers, &name).and_then(|value| date::parse_ms(value, now_ms));
    let strong = date(header::DATE)? >= date(header::LAST_MODIFIED)? + 1000;
    strong.then(|| modified.clone())
}

/// Whether a stored response can be validated.
#[must_use]
pub fn has_validator(stored: &HeaderMap) -> bool {
    stored.contains_key(header::ETAG) || stored.contains_key(header::LAST_MODIFIED)
}

/// The conditions that ask whether `stored` is still good, in place of the client's own; none when it has no
/// validator. The client's list of entity tags is asked about too, so that it gets its 304 where its copy is
/// the current one and not the stored (RFC 9111, 4.3.2).
#[must_use]
pub fn validators(request: &HeaderMap, stored: &HeaderMap) -> SmallVec<[(HeaderName, HeaderValue); 2]> {
    let mut conditions = SmallVec::new();
    let etag = stored.get(header::ETAG);
    if let Some(etag) = etag.filter(|_| asks_for_others(request, stored)) {
        conditions.push((header::IF_NONE_MATCH, joined(request, etag)));
        // `If-Modified-Since` asks about one response alone (RFC 9111, 4.3.1).
        return conditions;
    }
    conditions.extend(etag.map(|etag| (header::IF_NONE_MATCH, etag.clone())));
    let modified = stored.get(header::LAST_MODIFIED);
    conditions.extend(modified.map(|date| (header::IF_MODIFIED_SINCE, date.clone())));
    conditions
}

/// Whether the client has copies of its own, and not of what is stored.
#[must_use]
pub fn asks_for_others(request: &HeaderMap, stored: &HeaderMap) -> bool {
    request.contains_key(header::IF_NONE_MATCH)
        && stored.get(header::ETAG).is_some_and(|etag| !client_lists(request, Some(etag)))
}

/// The client's entity tags and one more.
fn joined(request: &HeaderMap, etag: &HeaderValue) -> HeaderValue {
    let mut list = Vec::new();
    for line in request.get_all(header::IF_NONE_MATCH) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(etag.as_bytes());
    HeaderValue::from_bytes(&list).expect("invariant: made of header values")
}

/// RFC 9111, 4.3.4: whether a 304 with these fields is about the stored response. A strong entity tag is only
/// about one that is the same and strong too.
#[must_use]
pub fn same_representation(stored: &HeaderMap, new: &HeaderMap) -> bool {
    match (stored.get(header::ETAG), new.get(header::ETAG)) {
        (Some(old), Some(new)) if is_weak(new.as_bytes()) => weak_eq(old.as_bytes(), new.as_bytes()),
        (Some(old), Some(new)) => old == new,
        (None, Some(_)) => false,
        (_, None) => match (stored.get(header::LAST_MODIFIED), new.get(header::LAST_MODIFIED)) {
            (Some(old), Some(new)) => old == new,
            // Without a validator it can only be about the response that was asked about.
            _ => true,
        },
    }
}

/// RFC 9111, 4.3.5: whether a HEAD's 200 is about the stored response: each validator that it has is the same.
#[must_use]
pub fn same_for_head(stored: &HeaderMap, new: &HeaderMap) -> bool {
    [header::ETAG, header::LAST_MODIFIED]
        .iter()
        .all(|name| new.get(name).is_none_or(|value| stored.get(name) == Some(value)))
}

/// Whether a list of entity tags holds `etag` by weak comparison (RFC 9110, 8.8.3.2); `*` holds any.
fn lists(line: &[u8], etag: Option<&[u8]>) -> bool {
    if line.trim_ascii() == b"*" {
        return true;
    }
    let Some(etag) = etag else { return false };
    let mut rest = line;
    while !rest.is_empty() {
        let end = element_end(rest);
        if weak_eq(rest[..end].trim_ascii(), etag) {
            return true;
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    false
}

/// The place of the next comma outside a quoted tag. Entity tags have no escapes.
fn element_end(list: &[u8]) -> usize {
    let mut quoted = false;
    for (i, byte) in list.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => return i,
            _ => {}
        }
    }
    list.len()
}

fn is_weak(tag: &[u8]) -> bool {
    tag.starts_with(b"W/")
}

fn weak_eq(a: &[u8], b: &[u8]) -> bool {
    let opaque = |tag: &[u8]| -> usize { if is_weak(tag) { 2 } else { 0 } };
    !a.is_empty() && a[opaque(a)..] == b[opaque(b)..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::map;

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn if_none_match_compares_weakly_over_the_whole_list() {
        let stored = map(&[("etag", "\"a,b\"")]);
        for (line, expected) in [
            ("\"a,b\"", true),
            ("W/\"a,b\"", true),
            ("\"x\", \"y\" ,\"a,b\"", true),
            ("*", true),
            ("\"a\"", false),
            ("\"A,B\"", false),
            ("", false),
            ("\"x, \"a,b\"", false),
        ] {
            assert_eq!(not_modified(&map(&[("if-none-match", line)]), &stored, 0), expected, "{line}");
        }
        assert!(not_modified(&map(&[("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")]), &stored, 0));
    }

    #[test]
    fn if_none_match_takes_precedence_over_if_modified_since() {
        let stored = map(&[("etag", "\"a\""), ("last-modified", OLD)]);
        let request = map(&[("if-none-match", "\"b\""), ("if-modified-since", NEW)]);
        assert!(!not_modified(&request, &stored, 0));
    }

    #[test]
    fn if_modified_since_compares_dates_and_ignores_what_is_none() {
        let stored = map(&[("last-modified", OLD)]);
        for (date, expected) in [
            (OLD, true),
            (NEW, true),
            ("Sunday, 06-Nov-94 08:49:37 GMT", true),
            ("Sun, 06 Nov 1994 08:49:36 GMT", false),
            ("0", false),
            ("tomorrow", false),
        ] {
            assert_eq!(not_modified(&map(&[("if-modified-since", date)]), &stored, 0), expected, "{date}");
        }
        assert!(not_modified(&map(&[("if-modified-since", NEW)]), &map(&[("date", OLD)]), 0));
        assert!(!not_modified(&map(&[("if-modified-since", OLD)]), &map(&[]), u64::MAX));
    }

    #[test]
    fn if_range_needs_a_strong_validator() {
        let stored = map(&[("etag", "\"a\""), ("last-modified", OLD), ("date", NEW)]);
        for (condition, expected) in
            [("\"a\"", true), ("\"b\"", false), ("W/\"a\"", false), (OLD, true), (NEW, false)]
        {
            assert_eq!(if_range_holds(&map(&[("if-range", condition)]), &stored, 0), expected, "{condition}");
        }
        assert!(!if_range_holds(&map(&[("if-range", "W/\"a\"")]), &map(&[("etag", "W/\"a\"")]), 0));
        let weak = map(&[("last-modified", OLD), ("date", OLD)]);
        assert!(!if_range_holds(&map(&[("if-range", OLD)]), &weak, 0));
    }

    #[test]
    fn a_validator_is_strong_when_it_cannot_be_that_of_two_versions() {
        for (fields, expected) in [
            (vec![("etag", "\"a\"")], Some("\"a\"")),
            (vec![("etag", "W/\"a\"")], None),
            (vec![("etag", "W/\"a\""), ("last-modified", OLD), ("date", NEW)], None),
            (vec![("last-modified", OLD), ("date", NEW)], Some(OLD)),
            (vec![("last-modified", OLD), ("date", OLD)], None),
            (vec![("last-modified", OLD)], None),
            (vec![], None),
        ] {
            let validator = strong_validator(&map(&fields), 0);
            assert_eq!(validator.as_ref().map(|v| v.to_str().unwrap()), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_304_with_another_validator_is_about_another_response() {
        let stored = map(&[("etag", "\"a\""), ("last-modified", OLD)]);
        assert!(same_representation(&stored, &map(&[("etag", "\"a\"")])));
        assert!(!same_representation(&stored, &map(&[("etag", "\"b\"")])));
        assert!(!same_representation(&stored, &map(&[("last-modified", NEW)])));
        assert!(same_representation(&stored, &map(&[])));
    }
}
