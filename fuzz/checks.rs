//! What holds for whatever stands in a header field: one check for each reader of the cache. Fuzz targets feed
//! them with bytes, `tests/rules` with made-up fields.

use gatewright::cache::{
    CacheRequest, RouteCacheOptions, Times, conditional,
    control::{self, Asked, Caller, Policy, Reuse},
    date,
    directives::{Delta, MaxStale, RequestDirectives, ResponseDirectives},
    fields, freshness,
    key::Key,
    range::{self, Wanted},
    targeted,
    vary::Vary,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// The largest number of seconds (RFC 9111, 1.2.2).
const MOST_SECONDS: u64 = 1 << 31;

/// A check and its name, which is that of its fuzz target.
pub type Check = (&'static str, fn(&[u8]));

pub const ALL: &[Check] = &[
    ("cache_control", cache_control),
    ("targeted", targeted_field),
    ("dates", dates),
    ("ranges", ranges),
    ("conditions", conditions),
    ("vary", vary),
    ("storing", storing),
    ("updating", updating),
    ("keys", keys),
];

/// No number is out of bounds, and what is read once is read alike from lines of its own.
pub fn cache_control(bytes: &[u8]) {
    let headers = one(&header::CACHE_CONTROL, bytes);
    let found = ResponseDirectives::parse(&headers);
    for delta in [found.max_age, found.s_maxage, found.stale_while_revalidate, found.stale_if_error] {
        assert!(delta.seconds().is_none_or(|seconds| seconds <= MOST_SECONDS));
    }
    let asked = RequestDirectives::parse(&headers);
    for seconds in [asked.max_age, asked.min_fresh, asked.stale_if_error].into_iter().flatten() {
        assert!(seconds <= MOST_SECONDS);
    }
    if let MaxStale::Seconds(seconds) = asked.max_stale {
        assert!(seconds <= MOST_SECONDS);
    }
    // A line that follows forbids, whatever stood before it.
    let mut stricter = headers;
    stricter.append(header::CACHE_CONTROL, HeaderValue::from_static("no-store, private"));
    let stricter = ResponseDirectives::parse(&stricter);
    assert!(stricter.no_store && stricter.private);
    let _ = Delta::parse(Some(bytes));
}

/// A dictionary that is read is whole: a comma behind it spoils it.
pub fn targeted_field(bytes: &[u8]) {
    let name = HeaderName::from_static("cdn-cache-control");
    let headers = one(&name, bytes);
    let Some(found) = targeted::parse(&headers, std::slice::from_ref(&name)) else { return };
    assert!(found.max_age.seconds().is_none_or(|seconds| seconds <= MOST_SECONDS));
    let mut longer = headers[&name].as_bytes().to_vec();
    longer.push(b',');
    assert!(targeted::parse(&one(&name, &longer), &[name]).is_none());
}

/// A date that is read is written and read as the same, whenever it is.
pub fn dates(bytes: &[u8]) {
    for now_ms in [0, 1_700_000_000_000, u64::MAX] {
        if let Some(ms) = date::parse_ms(bytes, now_ms) {
            assert_eq!(date::parse_ms(date::format(ms).as_bytes(), now_ms), Some(ms));
        }
    }
}

/// A part lies within the body and holds something.
pub fn ranges(bytes: &[u8]) {
    let request = one(&header::RANGE, bytes);
    for length in [0, 1, 10, u64::MAX] {
        if let Wanted::Part(start, end) = range::wanted(&request, &HeaderMap::new(), length, 0) {
            assert!(start < end && end <= length);
        }
    }
    let mut conditional = one(&header::IF_RANGE, bytes);
    conditional.insert(header::RANGE, HeaderValue::from_static("bytes=0-0"));
    let _ = range::wanted(&conditional, &one(&header::ETAG, bytes), 10, 0);
}

/// What a list holds is found in it, and the conditions that are sent can be.
pub fn conditions(bytes: &[u8]) {
    let stored = HeaderMap::from_iter([
        (header::ETAG, HeaderValue::from_static("\"stored\"")),
        (header::LAST_MODIFIED, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT")),
    ]);
    for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
        let request = one(&name, bytes);
        let _ = conditional::not_modified(&request, &stored, u64::MAX);
        let sent: HeaderMap = conditional::validators(&request, &stored).into_iter().collect();
        assert!(conditional::client_lists(&sent, Some(&stored[header::ETAG])) || bytes.contains(&b'"'));
    }
    let own = one(&header::ETAG, bytes);
    assert!(conditional::same_representation(&own, &own));
    assert!(conditional::same_for_head(&own, &own));
}

/// A request selects what was stored for it.
pub fn vary(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (names, values) = bytes.split_at(at);
    let response = one(&header::VARY, names);
    let mut request = lines(values);
    request.append(header::ACCEPT_ENCODING, value(values));
    if let Ok(key) = Vary::of(&response, &request) {
        assert!(key.matches(&request));
        assert!(key.same_names(&Vary::from_fields(key.fields().to_vec())));
    }
}

/// Whatever a response says: what is stored has no age below zero, grows older and not younger, and is fresh
/// only while younger than its lifetime.
pub fn storing(bytes: &[u8]) {
    let (numbers, rest) = bytes.split_at(bytes.len().min(24));
    let mut padded = [0; 24];
    padded[..numbers.len()].copy_from_slice(numbers);
    let [sent_ms, received_ms, now_ms] =
        [0, 8, 16].map(|at| u64::from_le_bytes(*padded[at..].first_chunk().expect("invariant: 24 bytes")));
    let times = Times { sent_ms, received_ms };
    let response = lines(rest);
    let _ = freshness::initial_age_ms(&response, times);
    let options = RouteCacheOptions {
        heuristic: true,
        surrogate_control: true,
        grace_ms: now_ms,
        ..RouteCacheOptions::default()
    };
    let request = HeaderMap::new();
    let asked = Asked { method: &Method::GET, headers: &request, caller: Caller::Anyone, options: &options };
    for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::FOUND] {
        let Ok(storable) = control::storable(&asked, status, &response, times) else { continue };
        aging(&storable.policy, &options, now_ms);
        assert!(storable.headers.contains_key(header::DATE));
    }
}

/// The arithmetic of one policy.
pub fn aging(policy: &Policy, options: &RouteCacheOptions, now_ms: u64) {
    let later = now_ms.saturating_add(1_000);
    assert!(policy.age_ms(now_ms) >= policy.initial_age_ms);
    assert!(policy.age_ms(later) >= policy.age_ms(now_ms));
    assert!(policy.ttl_ms(later) <= policy.ttl_ms(now_ms));
    for words in ["foo", "max-stale", "max-age=99999999999", "min-fresh=99999999999", "stale-if-error=9"] {
        let asked = RequestDirectives::parse(&one(&header::CACHE_CONTROL, words.as_bytes()));
        match control::reuse(policy, &asked, options, now_ms) {
            Reuse::Fresh => assert!(policy.lifetime_ms > policy.age_ms(now_ms)),
            Reuse::Stale | Reuse::WhileRevalidating => {
                assert!(!policy.never_stale && !policy.always_validate);
            }
            Reuse::Validate(_) => {}
        }
        if policy.usable_on_error(&asked, options, now_ms) {
            assert!(!policy.never_stale && !policy.always_validate);
        }
    }
}

/// What a 304 brings is never of the connection, and never about the stored bytes.
pub fn updating(bytes: &[u8]) {
    let new = lines(bytes);
    let old = HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from_static("7"))]);
    let updated = fields::updated(&old, &new, false);
    assert_eq!(updated[header::CONTENT_LENGTH], "7");
    let stored = fields::stored(&new, &ResponseDirectives::parse(&new), false, 0);
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::SET_COOKIE, header::UPGRADE] {
        assert!(!updated.contains_key(&name) && !stored.contains_key(&name));
    }
}

/// A request has one key, and another path another.
pub fn keys(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (query, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let options = RouteCacheOptions::default();
    let headers = lines(rest.as_bytes());
    let key = |path| {
        let request = CacheRequest {
            method: &Method::GET,
            host: "a.test",
            path,
            query: Some(query),
            headers: &headers,
            partition: None,
            scheme: "http",
            from_trusted: false,
            options: &options,
            now_ms: 0,
        };
        Key::shared(&request, 7).map(|key| key.as_bytes().to_vec())
    };
    assert_eq!(key("/a"), key("/a"));
    if let (Ok(a), Ok(b)) = (key("/a"), key("/b")) {
        assert_ne!(a, b);
    }
}

fn one(name: &HeaderName, bytes: &[u8]) -> HeaderMap {
    HeaderMap::from_iter([(name.clone(), value(bytes))])
}

/// `name: value` line by line; lines that are none are left out.
fn lines(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        if let Ok(name) = HeaderName::from_bytes(&line[..colon]) {
            headers.append(name, value(&line[colon + 1..]));
        }
    }
    headers
}

/// What no field may hold stands as a question mark.
fn value(bytes: &[u8]) -> HeaderValue {
    let fine = |byte: &u8| if (*byte < 32 && *byte != b'\t') || *byte == 127 { b'?' } else { *byte };
    let bytes: Vec<u8> = bytes.trim_ascii().iter().map(fine).collect();
    HeaderValue::from_bytes(&bytes).expect("invariant: no control characters")
}
