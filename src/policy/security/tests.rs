//! Rows of requirement, request and outcome: the matrix of OpenAPI's security rules.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::*;
use crate::policy::{
    Findings,
    identity::{KeyStore, consumer},
};

const KEY: &str = "key-of-ann-0123456789";
const OTHER: &str = "key-of-bob-0123456789";

/// Consumers `ann` and `bob`, each with a key.
fn consumers() -> Arc<Consumers> {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(KeyStore::open(dir.path()).unwrap());
    let config = |name: &str, key: &str| consumer::Config {
        name: name.into(),
        keys: vec![key.into()],
        ..consumer::Config::default()
    };
    Arc::new(Consumers::compile(&[config("ann", KEY), config("bob", OTHER)], &store).unwrap())
}

fn key_in(place: Place) -> Demand {
    Demand { name: "key".into(), scheme: Scheme::ApiKey(place), scopes: Vec::new() }
}

fn scheme(name: &str, scheme: Scheme) -> Demand {
    Demand { name: name.into(), scheme, scopes: Vec::new() }
}

fn header_key() -> Demand {
    key_in(Place::Header(HeaderName::from_static("x-key")))
}

fn query_key() -> Demand {
    key_in(Place::Query("apikey".into()))
}

fn compile(mode: Mode, explicit: bool, requirements: Option<&[Requirement]>) -> Compiled {
    Security::compile(Config {
        mode,
        explicit,
        public: false,
        forward_credentials: false,
        requirements,
        own_keys: &[],
        realm: "pets",
        consumers: &consumers(),
        tokens: None,
    })
}

/// `query` and header fields `name: value`, one per line.
fn ask(policy: Option<&Security>, query: Option<&str>, fields: &str) -> (u16, String, Findings) {
    let mut headers = HeaderMap::new();
    for line in fields.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
    }
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut cx = Context { query, headers: &headers, client, now_ms: 0, found: Findings::default() };
    let verdict = match policy {
        None => Verdict::Continue,
        Some(policy) => block_on(policy.apply(&mut cx)),
    };
    let (status, challenges) = match verdict {
        Verdict::Refuse(problem) => {
            let challenges = problem.headers.iter().filter(|(name, _)| name == header::WWW_AUTHENTICATE);
            let challenges: Vec<_> =
                challenges.map(|(_, value)| value.to_str().unwrap().to_owned()).collect();
            (problem.kind.status.as_u16(), challenges.join("; "))
        }
        Verdict::Continue | Verdict::Answer(_) => (200, String::new()),
    };
    (status, challenges, cx.found)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn name(found: &Findings) -> &str {
    found.caller.as_ref().map_or("", |caller| &caller.name)
}

#[test]
fn one_api_key_is_asked_for_and_judged() {
    let rules = [vec![query_key()]];
    let policy = compile(Mode::Enforce, true, Some(&rules)).policy;
    let rows = [
        (None, 401),
        (Some("apikey"), 401),
        (Some("apikey="), 401),
        (Some("apikey=wrong"), 401),
        (Some("apikey[]=key-of-ann-0123456789"), 401),
        (Some("apikey[1]=key-of-ann-0123456789"), 401),
        (Some("apikey=key-of-ann-0123456789&apikey=key-of-ann-0123456789"), 401),
        (Some("a=1&apikey=key-of-ann-0123456789"), 200),
        (Some("apikey=key%2Dof%2dann-0123456789"), 200),
    ];
    for (query, status) in rows {
        let (got, challenge, found) = ask(policy.as_ref(), query, "");
        assert_eq!(got, status, "{query:?}");
        assert_eq!(challenge, if status == 401 { "Key realm=\"pets\"" } else { "" });
        assert_eq!(name(&found), if status == 200 { "ann" } else { "" });
        assert_eq!(&*found.strip.unwrap().query, [Arc::from("apikey")]);
    }
}

#[test]
fn alternatives_are_joined_by_or_and_schemes_of_one_by_and() {
    let (a, b) = (header_key(), query_key());
    let q = "apikey=key-of-bob-0123456789";
    let h = "x-key: key-of-ann-0123456789";
    let undefined = || scheme("ghost", Scheme::Undefined);
    let digest = || scheme("digest", Scheme::Other("http digest".into()));
    type Rules = Vec<Requirement>;
    // Rules, then the status for: nothing, key in header, key in query, both, a wrong key in the header.
    let rows: Vec<(&str, Rules, [u16; 5])> = vec![
        ("one", vec![vec![a.clone()]], [401, 200, 401, 200, 401]),
        ("or", vec![vec![a.clone()], vec![b.clone()]], [401, 200, 200, 200, 401]),
        ("and", vec![vec![a.clone(), b.clone()]], [401, 401, 401, 200, 401]),
        ("and, or", vec![vec![a.clone(), b.clone()], vec![b.clone()]], [401, 401, 200, 200, 401]),
        ("optional", vec![vec![a.clone()], vec![]], [200, 200, 200, 200, 200]),
        ("optional first", vec![vec![], vec![a.clone()]], [200, 200, 200, 200, 200]),
        ("none", vec![], [200; 5]),
        ("only empty", vec![vec![]], [200; 5]),
        ("undefined", vec![vec![undefined()]], [403; 5]),
        ("undefined and key", vec![vec![undefined(), a.clone()]], [403; 5]),
        ("undefined or key", vec![vec![undefined()], vec![a.clone()]], [401, 200, 401, 200, 401]),
        ("undefined or nothing", vec![vec![undefined()], vec![]], [200; 5]),
        ("unsupported", vec![vec![digest()]], [403; 5]),
        ("unsupported or key", vec![vec![digest()], vec![a.clone()]], [401, 200, 401, 200, 401]),
        ("unsupported and key", vec![vec![a.clone(), digest()]], [403; 5]),
        ("oauth2 without issuers", vec![vec![scheme("o", Scheme::OAuth2)]], [403; 5]),
        ("bearer without issuers", vec![vec![scheme("o", Scheme::Bearer)]], [403; 5]),
        ("bearer or key", vec![vec![scheme("o", Scheme::Bearer)], vec![b]], [401, 401, 200, 200, 401]),
        ("mutual tls", vec![vec![scheme("m", Scheme::Other("mutualTLS".into()))]], [403; 5]),
    ];
    for (title, rules, expected) in rows {
        let policy = compile(Mode::Enforce, true, Some(&rules)).policy;
        let got = [(None, ""), (None, h), (Some(q), ""), (Some(q), h), (None, "x-key: wrong-key")]
            .map(|(query, fields)| ask(policy.as_ref(), query, fields).0);
        assert_eq!(got, expected, "{title}");
    }
}

#[test]
fn an_optional_caller_is_still_recognised_and_a_wrong_key_is_not_forwarded() {
    let rules = [vec![], vec![header_key()]];
    let policy = compile(Mode::Enforce, true, Some(&rules)).policy;
    let (_, _, found) = ask(policy.as_ref(), None, "x-key: key-of-ann-0123456789");
    assert_eq!(name(&found), "ann");
    let (status, _, found) = ask(policy.as_ref(), None, "x-key: wrong");
    assert_eq!((status, name(&found)), (200, ""));
    assert_eq!(&*found.strip.unwrap().headers, [HeaderName::from_static("x-key")]);
}

#[test]
fn an_undefined_scheme_is_closed_in_every_mode_but_an_explicit_pass() {
    let rules = [vec![scheme("ghost", Scheme::Undefined)]];
    let rows = [
        (Mode::Pass, false, 403),
        (Mode::Pass, true, 200),
        (Mode::Enforce, true, 403),
        (Mode::Gateway, true, 403),
    ];
    for (mode, explicit, status) in rows {
        let compiled = compile(mode, explicit, Some(&rules));
        let got = ask(compiled.policy.as_ref(), None, "x-api-key: key-of-ann-0123456789").0;
        assert_eq!(got, status, "{mode:?} {explicit}");
        assert_eq!(compiled.gaps.iter().any(|gap| gap.closes), status == 403);
    }
}

#[test]
fn pass_checks_nothing_and_removes_nothing() {
    let rules = [vec![header_key()]];
    for explicit in [false, true] {
        assert!(compile(Mode::Pass, explicit, Some(&rules)).policy.is_none());
    }
    assert!(compile(Mode::Enforce, true, None).policy.is_none());
}

#[test]
fn basic_takes_a_consumers_name_and_key() {
    let rules = [vec![scheme("b", Scheme::Basic)]];
    let policy = compile(Mode::Enforce, true, Some(&rules)).policy;
    let basic = |text: &str| {
        use base64::Engine;
        format!("authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
    };
    let rows = [
        (basic("ann:key-of-ann-0123456789"), 200),
        (basic("ann:key-of-bob-0123456789"), 401),
        (basic("ann:wrong"), 401),
        (basic("ann"), 401),
        (basic(":"), 401),
        ("authorization: Basic !!!".to_owned(), 401),
        ("authorization: Bearer x".to_owned(), 401),
        (String::new(), 401),
    ];
    for (fields, status) in rows {
        let (got, challenge, found) = ask(policy.as_ref(), None, &fields);
        assert_eq!(got, status, "{fields}");
        assert_eq!(challenge.is_empty(), status == 200);
        assert_eq!(&*found.strip.unwrap().headers, [header::AUTHORIZATION]);
    }
    let (_, challenge, _) = ask(policy.as_ref(), None, "");
    assert_eq!(challenge, "Basic realm=\"pets\", charset=\"UTF-8\"");
}

#[test]
fn gateway_mode_takes_its_own_keys_whatever_the_description_says() {
    let rules = [vec![scheme("o", Scheme::OAuth2)]];
    let rows = [
        ("", 401, ""),
        ("x-api-key: key-of-ann-0123456789", 200, "ann"),
        ("authorization: Bearer key-of-ann-0123456789", 200, "ann"),
        ("authorization: bearer   key-of-ann-0123456789", 200, "ann"),
        ("authorization: Bearer key-of-ann-0123456789\nx-api-key: key-of-ann-0123456789", 200, "ann"),
        ("authorization: Bearer key-of-ann-0123456789\nx-api-key: key-of-bob-0123456789", 401, ""),
        ("authorization: Bearer wrong\nx-api-key: key-of-ann-0123456789", 401, ""),
        ("x-api-key: key-of-ann-0123456789\nx-api-key: key-of-ann-0123456789", 401, ""),
        ("authorization: Bearer key-of-ann-0123456789\nauthorization: Bearer x", 401, ""),
        ("authorization: Bearer\tkey-of-ann-0123456789", 401, ""),
        ("authorization: Basic eDp5", 401, ""),
        ("authorization: Bearer a.b.c", 401, ""),
    ];
    for requirements in [None, Some(&[][..]), Some(&rules[..])] {
        let compiled = compile(Mode::Gateway, true, requirements);
        assert!(compiled.gaps.is_empty());
        for (fields, status, who) in rows {
            let (got, challenge, found) = ask(compiled.policy.as_ref(), None, fields);
            assert_eq!((got, name(&found)), (status, who), "{fields}");
            assert_eq!(challenge.contains("Key realm=\"pets\"; Bearer realm=\"pets\""), status == 401);
            assert_eq!(found.strip.unwrap().headers.len(), 2);
        }
    }
    let policy = compile(Mode::Gateway, true, None).policy;
    let (_, challenge, _) = ask(policy.as_ref(), None, "authorization: Bearer wrong");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    let (_, challenge, _) = ask(policy.as_ref(), None, "");
    assert!(!challenge.contains("error"), "{challenge}");
}

#[test]
fn public_operations_and_forwarded_credentials_are_as_asked_for() {
    let people = consumers();
    let rules = [vec![header_key()]];
    let config = Config {
        mode: Mode::Gateway,
        explicit: true,
        public: true,
        forward_credentials: true,
        requirements: Some(&rules),
        own_keys: &[Place::Query("k".into())],
        realm: "pets",
        consumers: &people,
        tokens: None,
    };
    assert!(Security::compile(config).policy.is_none());
    let policy = Security::compile(Config { public: false, ..config }).policy;
    let (status, _, found) = ask(policy.as_ref(), Some("k=key-of-ann-0123456789"), "");
    assert_eq!(status, 200);
    assert!(found.strip.is_none());
    assert_eq!(ask(policy.as_ref(), None, "x-api-key: key-of-ann-0123456789").0, 401);
}

#[test]
fn warnings_are_one_per_scheme_and_show_the_lines_to_add() {
    let gap = |name: &str, scheme: Scheme, closes| Gap { name: name.into(), scheme, closes };
    let oidc = Scheme::OpenIdConnect("https://id.test/.well-known/openid-configuration".into());
    let gaps = [
        ("GET /a", gap("login", oidc.clone(), true)),
        ("GET /b", gap("login", oidc, true)),
        ("GET /a", gap("ghost", Scheme::Undefined, true)),
        ("GET /c", gap("tls", Scheme::Other("mutualTLS".into()), false)),
    ];
    let warnings = warnings(gaps.iter().map(|(operation, gap)| (*operation, gap)));
    let titles: Vec<_> = warnings.iter().map(|warning| warning.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "the security scheme `ghost` is not defined: `GET /a` is closed",
            "the security scheme `login` (openIdConnect) cannot be checked here: 2 operations are closed, such as `GET /a`",
            "the security scheme `tls` (mutualTLS) cannot be checked here: 1 operation can be called by the other alternatives only",
        ]
    );
    assert!(warnings[1].help.contains("    issuer: https://id.test\n"), "{}", warnings[1].help);
}
