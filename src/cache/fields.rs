//! Which header fields of a response are stored (RFC 9111, 3.1) and which a validation updates (3.2).

use http::{HeaderMap, HeaderName, header};

use super::{date, directives::ResponseDirectives};

/// Fields of one connection or one exchange: never stored (RFC 9110, 7.6.1; RFC 9111, 3.1).
const NEVER_STORED: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    // Accounted for in the policy; a hit states its own.
    "age",
];

/// Limits are counted per caller and moment: replaying them lies to the next caller.
const NEVER_STORED_PREFIXES: &[&str] = &["ratelimit", "x-ratelimit", "x-rate-limit"];

/// Fields that describe the stored bytes: a 304 does not change those.
const NEVER_UPDATED: &[&str] =
    &["content-encoding", "content-length", "content-range", "content-md5", "content-digest", "digest"];

/// The fields of `headers` that may be stored. `Date` is added where the upstream sent none
/// (RFC 9110, 6.6.1). `Set-Cookie` belongs to the one who asked and stays only where `keep_cookies` says so.
#[must_use]
pub fn stored(
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    keep_cookies: bool,
    received_ms: u64,
) -> HeaderMap {
    let listed = connection_listed(headers);
    // Room for `Date`, `Age` and `Cache-Status`, so that a hit's copy need not grow.
    let mut kept = HeaderMap::with_capacity(headers.len() + 3);
    for (name, value) in headers {
        if may_store(name, keep_cookies) && !listed.contains(name) && !directives.named_fields.contains(name)
        {
            kept.append(name.clone(), value.clone());
        }
    }
    if !kept.contains_key(header::DATE) {
        kept.insert(header::DATE, date::format(received_ms));
    }
    kept
}

/// The stored fields after a 304 or a HEAD's 200: each field that the new head carries replaces all
/// lines of that name.
#[must_use]
pub fn updated(old: &HeaderMap, new: &HeaderMap, keep_cookies: bool) -> HeaderMap {
    let mut merged = old.clone();
    let listed = connection_listed(new);
    for name in new.keys() {
        if NEVER_UPDATED.contains(&name.as_str()) || !may_store(name, keep_cookies) || listed.contains(name) {
            continue;
        }
        merged.remove(name);
        for value in new.get_all(name) {
            merged.append(name.clone(), value.clone());
        }
    }
    merged
}

fn may_store(name: &HeaderName, keep_cookies: bool) -> bool {
    if *name == header::SET_COOKIE {
        return keep_cookies;
    }
    let name = name.as_str();
    !NEVER_STORED.contains(&name) && !NEVER_STORED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The fields that `Connection` names (RFC 9110, 7.6.1).
fn connection_listed(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::map;

    #[test]
    fn what_belongs_to_one_connection_or_caller_is_not_stored() {
        let headers = map(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("proxy-authenticate", "Basic"),
            ("set-cookie", "a=b"),
            ("ratelimit", "\"d\";r=1"),
            ("ratelimit-policy", "\"d\";q=1"),
            ("x-ratelimit-remaining", "3"),
            ("age", "9"),
            ("x-kept", "1"),
            ("x-kept", "2"),
        ]);
        let kept = stored(&headers, &ResponseDirectives::default(), false, 0);
        assert_eq!(kept.get_all("x-kept").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept", "date"]);
    }

    #[test]
    fn fields_named_by_no_cache_and_private_are_not_stored() {
        let headers =
            map(&[("cache-control", "private=\"x-me\", no-cache=\"x-you\""), ("x-me", "1"), ("x-you", "2")]);
        let kept = stored(&headers, &ResponseDirectives::parse(&headers), false, 0);
        assert!(!kept.contains_key("x-me") && !kept.contains_key("x-you"));
    }

    #[test]
    fn a_date_is_added_only_where_there_is_none() {
        let none = stored(&HeaderMap::new(), &ResponseDirectives::default(), false, 784_111_777_000);
        assert_eq!(none[header::DATE], "Sun, 06 Nov 1994 08:49:37 GMT");
        let own = stored(&map(&[("date", "x")]), &ResponseDirectives::default(), false, 0);
        assert_eq!(own[header::DATE], "x");
    }

    #[test]
    fn an_update_replaces_all_lines_of_a_field_but_not_those_of_the_bytes() {
        let old = map(&[
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-b", "1"),
            ("content-length", "5"),
            ("content-encoding", "br"),
        ]);
        let new = map(&[
            ("x-a", "3"),
            ("x-c", "1"),
            ("content-length", "0"),
            ("content-encoding", "gzip"),
            ("set-cookie", "s=1"),
        ]);
        let merged = updated(&old, &new, false);
        let expected =
            [("x-a", "3"), ("x-b", "1"), ("x-c", "1"), ("content-length", "5"), ("content-encoding", "br")];
        assert_eq!(merged, map(&expected));
    }
}
