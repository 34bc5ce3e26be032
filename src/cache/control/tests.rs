//! The rules of RFC 9111, one by one.

use http::HeaderName;

use super::*;

const NOW: u64 = 1_700_000_000_000; // Tue, 14 Nov 2023 22:13:20 GMT
const TIMES: Times = Times { sent_ms: NOW, received_ms: NOW };
const DATE: (&str, &str) = ("date", "Tue, 14 Nov 2023 22:13:20 GMT");
const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    headers
}

/// A request and its response.
struct Case<'a> {
    method: Method,
    caller: Caller,
    request: &'a [(&'a str, &'a str)],
    status: u16,
    response: &'a [(&'a str, &'a str)],
    options: RouteCacheOptions,
}

impl<'a> Case<'a> {
    fn get(response: &'a [(&'a str, &'a str)]) -> Self {
        let options = RouteCacheOptions::default();
        Self { method: Method::GET, caller: Caller::Anyone, request: &[], status: 200, response, options }
    }

    fn judge(&self) -> Result<Storable, NoStore> {
        let request = map(self.request);
        let asked =
            Asked { method: &self.method, headers: &request, caller: self.caller, options: &self.options };
        storable(&asked, StatusCode::from_u16(self.status).unwrap(), &map(self.response), TIMES)
    }

    fn refusal(&self) -> Option<NoStore> {
        self.judge().err()
    }
}

#[test]
fn rfc_9111_section_3_every_final_status_with_explicit_freshness_is_stored() {
    for status in
        [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 403, 404, 410, 499, 500, 502, 503, 504, 599]
    {
        assert_eq!(Case { status, ..Case::get(&[FRESH]) }.refusal(), None, "{status}");
    }
}

#[test]
fn statuses_of_parts_validations_and_single_callers_are_never_stored() {
    // RFC 9111, 3.3 and 4.3.4; RFC 6585, 3 to 6; RFC 9110, 15.5.2 and 15.5.8.
    for status in [206, 304, 401, 407, 428, 429, 431, 511] {
        let response = [("cache-control", "public, s-maxage=60")];
        assert_eq!(Case { status, ..Case::get(&response) }.refusal(), Some(NoStore::Status), "{status}");
    }
}

#[test]
fn rfc_9111_section_3_only_get_is_stored() {
    for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "QUERY", "PURGE"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(Case { method, ..Case::get(&[FRESH]) }.refusal(), Some(NoStore::Method));
    }
}

#[test]
fn a_get_with_a_body_is_not_stored() {
    for request in [[("content-length", "3")], [("transfer-encoding", "chunked")]] {
        assert_eq!(Case { request: &request, ..Case::get(&[FRESH]) }.refusal(), Some(NoStore::RequestBody));
    }
    assert_eq!(Case { request: &[("content-length", "0")], ..Case::get(&[FRESH]) }.refusal(), None);
}

#[test]
fn rfc_9111_section_5_2_1_5_a_request_with_no_store_stores_nothing() {
    let request = [("cache-control", "no-store")];
    let mode = RequestDirectiveMode::Ignore;
    let options = RouteCacheOptions { request_directives: mode, ..Default::default() };
    let case = Case { request: &request, options, ..Case::get(&[FRESH]) };
    assert_eq!(case.refusal(), Some(NoStore::RequestNoStore));
}

#[test]
fn rfc_9111_section_5_2_2_directives_that_forbid_storing() {
    for (section, value, expected) in [
        ("5.2.2.5", "no-store, max-age=60", Some(NoStore::ResponseNoStore)),
        ("5.2.2.5", "No-Store, s-maxage=60, public", Some(NoStore::ResponseNoStore)),
        ("5.2.2.7", "private, max-age=60", Some(NoStore::Private)),
        ("5.2.2.7", "private=\"x-a\", max-age=60", None),
        ("5.2.2.4", "no-cache=\"x-a\", max-age=60", None),
        ("5.2.2.4", "no-cache, max-age=60", Some(NoStore::AlreadyStale)), // no validator: of no use
        ("5.2.2.3", "must-understand, no-store, max-age=60", None),
        ("4.2.1", "max-age=60, max-age=10", Some(NoStore::AlreadyStale)),
        ("4.2.1", "max-age=ten", Some(NoStore::AlreadyStale)),
        ("4.2", "max-age=0", Some(NoStore::AlreadyStale)),
    ] {
        assert_eq!(Case::get(&[("cache-control", value)]).refusal(), expected, "{section}: {value}");
    }
}

#[test]
fn rfc_9111_section_5_2_2_3_must_understand_refuses_an_unknown_status() {
    let response = [("cache-control", "must-understand, max-age=60")];
    assert_eq!(Case { status: 599, ..Case::get(&response) }.refusal(), Some(NoStore::Status));
    assert_eq!(Case { status: 404, ..Case::get(&response) }.refusal(), None);
}

#[test]
fn rfc_9111_section_3_5_credentials_need_a_response_that_may_be_shared() {
    for (value, shareable) in [
        ("max-age=60", false),
        ("max-age=60, proxy-revalidate", false),
        ("public, max-age=60", true),
        ("must-revalidate, max-age=60", true),
        ("s-maxage=60", true),
    ] {
        let response = [("cache-control", value)];
        let unknown = Case { caller: Caller::Unknown, ..Case::get(&response) };
        assert_eq!(unknown.refusal(), (!shareable).then_some(NoStore::Credentials), "{value}");
        let principal = Case { caller: Caller::Principal, ..Case::get(&response) }.judge().unwrap();
        assert_eq!(principal.for_all, shareable, "{value}");
    }
}

#[test]
fn a_response_without_freshness_is_kept_only_to_be_validated_or_where_it_may_be_assumed_fresh() {
    assert_eq!(Case::get(&[]).refusal(), Some(NoStore::NoFreshness));
    assert_eq!(Case::get(&[("etag", "\"a\"")]).judge().unwrap().policy.lifetime_ms, 0);
    let assumed = |status, response| {
        let options = RouteCacheOptions { default_ttl_ms: Some(5_000), ..Default::default() };
        Case { status, options, ..Case::get(response) }.judge().map(|s| s.policy.lifetime_ms)
    };
    assert_eq!(assumed(200, &[]).unwrap(), 5_000);
    assert_eq!(assumed(404, &[]).unwrap_err(), NoStore::NoFreshness);
    assert_eq!(assumed(201, &[]).unwrap_err(), NoStore::NoFreshness);
    assert_eq!(assumed(200, &[("pragma", "no-cache")]).unwrap_err(), NoStore::NoFreshness);
    assert_eq!(assumed(200, &[FRESH]).unwrap(), 60_000);
}

#[test]
fn rfc_9111_section_4_2_2_heuristics_are_for_cacheable_statuses_and_public_ones() {
    let modified = ("last-modified", "Tue, 14 Nov 2023 21:13:20 GMT");
    let judge = |status, response: &[(&str, &str)]| {
        let options = RouteCacheOptions { heuristic: true, ..Default::default() };
        let case =
            Case { method: Method::GET, caller: Caller::Anyone, request: &[], status, response, options };
        case.judge().map(|s| s.policy.lifetime_ms)
    };
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        assert_eq!(judge(status, &[modified, DATE]).unwrap(), 360_000, "{status}");
    }
    for status in [201, 202, 302, 307, 403, 500, 502, 503, 504, 599] {
        assert_eq!(judge(status, &[modified, DATE]).unwrap_err(), NoStore::NoFreshness, "{status}");
    }
    assert_eq!(judge(599, &[modified, DATE, ("cache-control", "public")]).unwrap(), 360_000);
}

#[test]
fn a_cookie_is_stored_around_only_where_the_upstream_states_freshness() {
    let cookie = ("set-cookie", "a=b");
    let stored = Case::get(&[FRESH, cookie]).judge().unwrap();
    assert!(!stored.headers.contains_key("set-cookie"));
    let options = RouteCacheOptions { default_ttl_ms: Some(5_000), ..Default::default() };
    assert_eq!(Case { options, ..Case::get(&[cookie]) }.refusal(), Some(NoStore::SetCookie));
    assert_eq!(Case::get(&[cookie, ("etag", "\"a\"")]).refusal(), Some(NoStore::SetCookie));
}

#[test]
fn rfc_9213_a_targeted_field_takes_the_place_of_cache_control_and_expires() {
    for (fields, expected) in [
        (vec![("cdn-cache-control", "max-age=9"), FRESH], Ok(9_000)),
        (vec![("cdn-cache-control", "no-store"), FRESH], Err(NoStore::ResponseNoStore)),
        (vec![("cdn-cache-control", "max-age=9"), ("cache-control", "no-store")], Ok(9_000)),
        (
            vec![
                ("cdn-cache-control", "public"),
                ("expires", "Tue, 14 Nov 2033 22:13:20 GMT"),
                ("etag", "\"a\""),
            ],
            Ok(0),
        ),
        (vec![("cdn-cache-control", "max-age=9,"), FRESH], Ok(60_000)),
        (vec![("cdn-cache-control", ""), FRESH], Ok(60_000)),
        (vec![("surrogate-control", "max-age=9"), FRESH], Ok(60_000)),
    ] {
        assert_eq!(Case::get(&fields).judge().map(|s| s.policy.lifetime_ms), expected, "{fields:?}");
    }
    let options = RouteCacheOptions { surrogate_control: true, ..Default::default() };
    let fields = [("surrogate-control", "max-age=9;gw"), FRESH];
    assert_eq!(Case { options, ..Case::get(&fields) }.judge().unwrap().policy.lifetime_ms, 9_000);
}

#[test]
fn what_is_older_than_its_lifetime_is_of_no_use_without_a_validator() {
    let old = [FRESH, ("age", "61")];
    assert_eq!(Case::get(&old).refusal(), Some(NoStore::AlreadyStale));
    assert_eq!(Case::get(&[FRESH, ("age", "61"), ("etag", "\"a\"")]).refusal(), None);
    assert_eq!(Case::get(&[FRESH, ("age", "abc")]).refusal(), Some(NoStore::AlreadyStale));
}

fn policy_of(cache_control: &str) -> Policy {
    Case::get(&[("cache-control", cache_control), ("etag", "\"a\"")]).judge().unwrap().policy
}

fn ask(cache_control: &str) -> RequestDirectives {
    RequestDirectives::parse(&map(&[("cache-control", cache_control)]))
}

#[test]
fn rfc_9111_section_4_2_a_response_is_fresh_while_its_age_is_below_its_lifetime() {
    let (policy, options) = (policy_of("max-age=60"), RouteCacheOptions::default());
    let at = |ms| reuse(&policy, &ask("x"), &options, NOW + ms);
    assert_eq!(at(0), Reuse::Fresh);
    assert_eq!(at(59_999), Reuse::Fresh);
    assert_eq!(at(60_000), Reuse::Validate(Validate::Stale));
    assert_eq!(reuse(&policy, &ask("x"), &options, NOW - 5_000), Reuse::Fresh);
}

#[test]
fn rfc_9111_section_5_2_1_request_directives_narrow_what_may_be_used() {
    use Reuse::{Fresh, Stale, Validate as V};
    // (section, response, request, seconds later, expected)
    for (section, response, request, later, expected) in [
        ("5.2.1.4", "max-age=60", "no-cache", 1, V(Validate::Request)),
        ("5.2.1.1", "max-age=60", "max-age=5", 5, Fresh),
        ("5.2.1.1", "max-age=60", "max-age=5", 6, V(Validate::Request)),
        ("5.2.1.1", "max-age=60", "max-age=0", 0, V(Validate::Request)),
        ("5.2.1.3", "max-age=60", "min-fresh=10", 50, Fresh),
        ("5.2.1.3", "max-age=60", "min-fresh=10", 51, V(Validate::Request)),
        ("5.2.1.2", "max-age=60", "max-stale", 6000, Stale),
        ("5.2.1.2", "max-age=60", "max-stale=5", 65, Stale),
        ("5.2.1.2", "max-age=60", "max-stale=5", 66, V(Validate::Stale)),
        ("5.2.1.1", "max-age=60", "max-age=61, max-stale", 62, V(Validate::Request)),
        ("5.2.2.2", "max-age=60, must-revalidate", "max-stale", 61, V(Validate::Stale)),
        ("5.2.2.8", "max-age=60, proxy-revalidate", "max-stale", 61, V(Validate::Stale)),
        ("5.2.2.10", "s-maxage=60", "max-stale", 61, V(Validate::Stale)),
        ("5.2.2.4", "max-age=60, no-cache", "max-stale", 1, V(Validate::Stale)),
        ("4.2.4", "max-age=60", "x", 61, V(Validate::Stale)),
    ] {
        let found =
            reuse(&policy_of(response), &ask(request), &RouteCacheOptions::default(), NOW + later * 1000);
        assert_eq!(found, expected, "{section}: {response} | {request} | {later}");
    }
}

#[test]
fn rfc_5861_section_3_a_stale_response_is_used_within_its_window_only() {
    use Reuse::{Validate as V, WhileRevalidating};
    for (response, later, expected) in [
        ("max-age=60, stale-while-revalidate=10", 60, WhileRevalidating),
        ("max-age=60, stale-while-revalidate=10", 69, WhileRevalidating),
        ("max-age=60, stale-while-revalidate=10", 70, V(Validate::Stale)),
        ("max-age=60, stale-while-revalidate=10, must-revalidate", 61, V(Validate::Stale)),
        ("s-maxage=60, stale-while-revalidate=10", 61, V(Validate::Stale)),
        ("max-age=60, stale-while-revalidate=x", 61, V(Validate::Stale)),
    ] {
        let found = reuse(&policy_of(response), &ask("x"), &RouteCacheOptions::default(), NOW + later * 1000);
        assert_eq!(found, expected, "{response} | {later}");
    }
}

#[test]
fn rfc_5861_section_4_a_stale_response_stands_in_for_an_error_within_its_window() {
    for (response, request, grace, later, expected) in [
        ("max-age=60, stale-if-error=10", "x", 0, 70, true),
        ("max-age=60, stale-if-error=10", "x", 0, 71, false),
        ("max-age=60", "stale-if-error=10", 0, 70, true),
        ("max-age=60", "x", 10_000, 70, true),
        ("max-age=60", "x", 0, 61, false),
        ("max-age=60, must-revalidate", "stale-if-error=10", 10_000, 61, false),
        ("max-age=60, no-cache, stale-if-error=10", "x", 0, 1, false),
    ] {
        let options = RouteCacheOptions { grace_ms: grace, ..Default::default() };
        let found = policy_of(response).usable_on_error(&ask(request), &options, NOW + later * 1000);
        assert_eq!(found, expected, "{response} | {request} | {grace} | {later}");
    }
}

#[test]
fn a_cache_that_is_offline_serves_all_that_does_not_forbid_it() {
    use Reuse::{Fresh, Stale, Validate as V};
    let options = RouteCacheOptions { offline: true, ..Default::default() };
    for (section, response, request, later, expected) in [
        ("4.2.4", "max-age=60", "x", 59, Fresh),
        ("4.2.4", "max-age=60", "x", 60_000, Stale),
        ("3 of RFC 5861", "max-age=60, stale-while-revalidate=60", "x", 61, Stale),
        ("5.2.1", "max-age=60", "no-cache", 1, Fresh),
        ("5.2.1", "max-age=60", "max-age=5", 61, Stale),
        ("5.2.2.2", "max-age=60, must-revalidate", "x", 59, Fresh),
        ("5.2.2.2", "max-age=60, must-revalidate", "x", 61, V(Validate::Stale)),
        ("5.2.2.8", "max-age=60, proxy-revalidate", "max-stale", 61, V(Validate::Stale)),
        ("5.2.2.10", "s-maxage=60", "x", 61, V(Validate::Stale)),
        ("5.2.2.4", "max-age=60, no-cache", "x", 1, V(Validate::Stale)),
    ] {
        let found = reuse(&policy_of(response), &ask(request), &options, NOW + later * 1000);
        assert_eq!(found, expected, "{section}: {response} | {request} | {later}");
    }
}

#[test]
fn request_directives_can_be_ignored_or_bounded_against_busting() {
    let policy = policy_of("max-age=60");
    let ignore = RouteCacheOptions { request_directives: RequestDirectiveMode::Ignore, ..Default::default() };
    assert_eq!(reuse(&policy, &ask("no-cache"), &ignore, NOW + 1000), Reuse::Fresh);
    assert_eq!(reuse(&policy, &ask("max-stale"), &ignore, NOW + 61_000), Reuse::Validate(Validate::Stale));
    let floor = RouteCacheOptions { busting_floor_ms: 5_000, ..Default::default() };
    assert_eq!(reuse(&policy, &ask("no-cache"), &floor, NOW + 4_999), Reuse::Fresh);
    assert_eq!(reuse(&policy, &ask("no-cache"), &floor, NOW + 5_000), Reuse::Validate(Validate::Request));
}

proptest::proptest! {
    #[test]
    fn no_numbers_make_the_arithmetic_overflow_or_a_stale_response_fresh(
        received in 0..u64::MAX / 4,
        initial in 0..u64::MAX / 4,
        lifetime in 0..u64::MAX,
        now in 0..u64::MAX / 4,
        request in "(no-cache|max-age|min-fresh|max-stale|stale-if-error)(=[0-9]{0,30})?",
    ) {
        let policy = Policy { received_ms: received, initial_age_ms: initial, lifetime_ms: lifetime, ..Policy::default() };
        let found = reuse(&policy, &ask(&request), &RouteCacheOptions::default(), now);
        if found == Reuse::Fresh {
            proptest::prop_assert!(lifetime > policy.age_ms(now));
        }
        let _ = policy.usable_on_error(&ask(&request), &RouteCacheOptions::default(), now);
    }
}
