//! Whom a purge covers.

use http::{HeaderMap, Method};

use super::*;
use crate::cache::{
    CacheRequest, RouteCacheOptions,
    key::{Key, query_part},
    tests::map,
};

/// A stored response of `getPet` in the API `pets` on `a.test`.
fn key(target: &str) -> Key {
    key_of("a.test", target, ("pets", "getPet"), None)
}

fn key_of(host: &str, target: &str, (api, operation): (&str, &str), partition: Option<&[u8]>) -> Key {
    let options = RouteCacheOptions { owner: Owner::of(api, operation), ..Default::default() };
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let request = CacheRequest {
        method: &Method::GET,
        host,
        path,
        query,
        headers: &HeaderMap::new(),
        scheme: "http",
        from_trusted: false,
        partition: None,
        options: &options,
        now_ms: 0,
    };
    let shared = Key::shared(&request, 7).unwrap();
    partition.map_or(shared.clone(), |principal| shared.of_principal(principal, 7))
}

fn hard(host: Option<&str>, scope: Scope) -> Purge {
    Purge::hard(host, scope)
}

fn covers_with(purge: &Purge, key: &Key, headers: &HeaderMap) -> bool {
    // As it was sent, so that nothing is lost on the way.
    let sent: Purge = serde_json::from_str(&serde_json::to_string(purge).unwrap()).unwrap();
    assert_eq!(sent, *purge);
    Cover::of(&sent).covers(&Facts::new(key.as_bytes(), headers))
}

fn covers(purge: &Purge, key: &Key) -> bool {
    covers_with(purge, key, &HeaderMap::new())
}

#[test]
fn a_path_is_covered_with_any_query_for_any_principal() {
    let purge = hard(Some("a.test"), Scope::Path("/pets/7".into()));
    assert_eq!(purge.place(), Some(("a.test", "/pets/7")));
    for target in ["/pets/7", "/pets/7?", "/pets/7?x=1"] {
        assert!(covers(&purge, &key(target)), "{target}");
    }
    assert!(covers(&purge, &key_of("a.test", "/pets/7", ("x", "y"), Some(b"anna"))));
    for target in ["/pets/77", "/pets/7/", "/pets", "/Pets/7"] {
        assert!(!covers(&purge, &key(target)), "{target}");
    }
    let other = key_of("b.test", "/pets/7", ("pets", "getPet"), None);
    assert!(!covers(&purge, &other));
    let everywhere = hard(None, Scope::Path("/pets/7".into()));
    assert!(covers(&everywhere, &other) && everywhere.place().is_none());
}

#[test]
fn an_address_is_covered_with_its_query_alone() {
    let options = RouteCacheOptions::default();
    let url = |query| {
        let query = query_hash(query_part(query, &options).unwrap().as_ref());
        hard(Some("a.test"), Scope::Url { path: "/pets".into(), query })
    };
    assert!(covers(&url(Some("x=1")), &key("/pets?x=1")));
    assert!(covers(&url(Some("x=1")), &key_of("a.test", "/pets?x=1", ("x", "y"), Some(b"anna"))));
    for other in ["/pets", "/pets?x=2", "/pets?x=1&y=2", "/other?x=1"] {
        assert!(!covers(&url(Some("x=1")), &key(other)), "{other}");
    }
    assert!(covers(&url(None), &key("/pets")) && !covers(&url(None), &key("/pets?")));
}

#[test]
fn a_prefix_is_text() {
    let purge = hard(None, Scope::Prefix("/pets/".into()));
    assert!(covers(&purge, &key("/pets/7/photos?x")) && covers(&purge, &key("/pets/")));
    assert!(!covers(&purge, &key("/pets")) && !covers(&purge, &key("/v1/pets/7")));
    assert!(!covers(&hard(Some("b.test"), Scope::Prefix("/".into())), &key("/pets/7")));
}

#[test]
fn a_template_is_covered_whoever_serves_it() {
    let purge = hard(None, Scope::Template("/pets/{id}/photos".into()));
    assert!(covers(&purge, &key("/pets/7/photos?x=1")));
    assert!(covers(&purge, &key_of("b.test", "/pets/7/photos", ("x", "y"), None)));
    assert!(!covers(&purge, &key("/pets/7")) && !covers(&purge, &key("/pets/7/8/photos")));
    assert!(covers(&hard(None, Scope::Template("/pets/**".into())), &key("/pets/7/8")));
}

#[test]
fn an_api_and_an_operation_are_covered_wherever_their_paths_are() {
    let api = hard(None, Scope::Api("pets".into()));
    assert!(covers(&api, &key("/a")) && covers(&api, &key_of("b.test", "/b", ("pets", "listPets"), None)));
    assert!(!covers(&api, &key_of("a.test", "/a", ("users", "getPet"), None)));
    let operation =
        hard(None, Scope::Operation { api: "pets".into(), operation: "getPet".into(), bound: None });
    assert!(covers(&operation, &key("/a?x=1")));
    assert!(!covers(&operation, &key_of("a.test", "/a", ("pets", "listPets"), None)));
    assert!(!covers(&operation, &key_of("a.test", "/a", ("users", "getPet"), None)));
}

#[test]
fn an_operation_can_be_narrowed_by_its_path_parameters() {
    let bound = |spans: &[&str], values: &[(&str, &str)]| {
        let bound = Bound {
            template: "/v1/{shop}/pets/{petId}".into(),
            spans: spans.iter().map(ToString::to_string).collect(),
            values: values.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        };
        hard(None, Scope::Operation { api: "pets".into(), operation: "getPet".into(), bound: Some(bound) })
    };
    let seven = bound(&[], &[("petId", "7")]);
    for target in ["/v1/a/pets/7", "/v1/b/pets/7?full=1"] {
        assert!(covers(&seven, &key(target)), "{target}");
    }
    assert!(!covers(&seven, &key("/v1/a/pets/8")) && !covers(&seven, &key("/v1/7/pets/70")));
    assert!(!covers(&seven, &key_of("a.test", "/v1/a/pets/7", ("pets", "getPhoto"), None)));
    let both = bound(&[], &[("petId", "7"), ("shop", "a")]);
    assert!(covers(&both, &key("/v1/a/pets/7")) && !covers(&both, &key("/v1/b/pets/7")));
    // Stored under an older template of the operation: nobody knows its parameters any more.
    assert!(covers(&seven, &key("/old/pets/9")));
    assert!(covers(&bound(&["shop"], &[("shop", "a/b")]), &key("/v1/a/b/pets/7")));
}

#[test]
fn a_tag_is_covered_in_either_field_and_any_case() {
    let purge = hard(None, Scope::Tags(vec!["Pet-7".into(), "all".into()]));
    for (name, value) in [("cache-tag", "x, pet-7"), ("surrogate-key", "x PET-7 y"), ("cache-tag", "ALL")] {
        assert!(covers_with(&purge, &key("/a"), &map(&[(name, value)])), "{name}: {value}");
    }
    for (name, value) in [("cache-tag", "pet-77"), ("surrogate-key", "x"), ("x-tag", "pet-7")] {
        assert!(!covers_with(&purge, &key("/a"), &map(&[(name, value)])), "{name}: {value}");
    }
    assert!(!covers(&purge, &key("/pet-7")));
    let elsewhere = Purge { host: Some("b.test".into()), ..purge };
    assert!(!covers_with(&elsewhere, &key("/a"), &map(&[("cache-tag", "all")])));
}

#[test]
fn what_cannot_be_read_is_covered() {
    let headers = HeaderMap::new();
    let none = Facts::new(b"no key", &headers);
    assert!(Cover::of(&hard(Some("a.test"), Scope::Path("/x".into()))).covers(&none));
    assert!(covers(&hard(None, Scope::Template("/{".into())), &key("/x")));
    let bound = Bound { template: "/{".into(), spans: Vec::new(), values: Vec::new() };
    let scope = Scope::Operation { api: "pets".into(), operation: "getPet".into(), bound: Some(bound) };
    assert!(covers(&hard(None, scope), &key("/x")));
}

#[test]
fn several_purges_leave_what_the_hardest_and_the_earliest_leave() {
    let headers = HeaderMap::new();
    let key = key("/x");
    let facts = Facts::new(key.as_bytes(), &headers);
    let rule = |before, path: &str, stale_at_ms| {
        Rule::new(before, Purge { stale_at_ms, ..hard(None, Scope::Path(path.into())) })
    };
    let soft = [rule(10, "/x", Some(500)), rule(20, "/x", Some(900)), rule(30, "/y", None)];
    assert_eq!(fate(&soft, &facts, 5), Fate::Stale(500));
    assert_eq!(fate(&soft, &facts, 10), Fate::Stale(900), "began at the moment of the first");
    assert_eq!(fate(&soft, &facts, 20), Fate::Kept);
    let all = soft.into_iter().chain([rule(15, "/x", None)]).collect::<Vec<_>>();
    assert_eq!(fate(&all, &facts, 5), Fate::Gone);
    assert_eq!(fate(&all, &facts, 16), Fate::Stale(900));
}
