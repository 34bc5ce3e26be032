//! The cache's keys: what the description declares tells answers apart, and nobody else's request decides what a
//! caller gets (poisoning, deception, busting).

use crate::harness::{Call, Gateway, Origin, cli};

/// An origin that obeys whatever a request says, as careless upstreams do, and lets everything be stored.
fn gullible(fields: &'static str) -> Origin {
    Origin::start(move |call: &mut Call| {
        call.read_body();
        let seen = &call.seen;
        let told = [
            "host",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-scheme",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "x-host",
            "cookie",
            "accept-language",
        ];
        let told: Vec<String> = told.iter().map(|name| format!("{name}={}", seen.value(name))).collect();
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        call.ok(fields, format!("{}\n{}\n{body}\n", seen.target(), told.join("\n")));
    })
}

const STORED: &str = "Cache-Control: max-age=60\r\n";

/// A description with one operation at `/books`, with these parameters and this in its extension.
fn described(parameters: &str, extension: &str) -> String {
    format!(
        "openapi: 3.1.0\ninfo: {{ title: Shop, version: '1' }}\npaths:\n  /books:\n    get:\n      \
         x-gatewright: {extension}\n      parameters: {parameters}\n      responses: {{ '200': {{ description: ok }} }}\n"
    )
}

fn shop(origin: &Origin, parameters: &str, extension: &str) -> Gateway {
    Gateway::description(&described(parameters, extension), &["--upstream", &origin.url()])
}

const PLAIN: &str =
    "[{ name: a, in: query, schema: { type: string } }, { name: b, in: query, schema: { type: string } }]";

#[test]
fn declared_parameters_have_no_order_among_each_other() {
    let origin = gullible(STORED);
    let gateway = shop(&origin, PLAIN, "{}");
    gateway.get("/books?a=1&b=2");
    assert!(gateway.get("/books?b=2&a=1").is_hit());
    assert!(gateway.get("/books?&b=2&&a=1&").is_hit());
    for other in ["/books?a=2&b=1", "/books?a=1", "/books?a=1&b=2&c=3", "/books?a=1&a=1&b=2"] {
        assert!(!gateway.get(other).is_hit(), "{other}");
    }
}

#[test]
fn the_key_is_named_in_cache_status() {
    let origin = gullible(STORED);
    let gateway = shop(&origin, PLAIN, "{}");
    let key = |target: &str| {
        let said = gateway.get(target).cache();
        said.split_once("; key=").unwrap_or_else(|| panic!("no key: {said}")).1.to_owned()
    };
    let first = key("/books?a=1&b=2");
    assert_eq!(first.len(), 18, "{first}");
    assert_eq!((key("/books?b=2&a=1"), key("/books?a=1&b=2")), (first.clone(), first.clone()));
    assert_ne!(key("/books?a=2&b=1"), first);
}

#[test]
fn callers_who_share_an_answer_see_one_key_and_others_do_not() {
    let origin = Origin::start(|call: &mut Call| match call.seen.target().as_str() {
        "/public" => call.ok("Cache-Control: public, max-age=60\r\n", "for all"),
        _ => call.ok(STORED, "for one"),
    });
    let gateway = Gateway::config(&format!(
        "routes: [{{ path: /**, upstream: '{}', security: gateway }}]\n",
        origin.url()
    ));
    let callers = [gateway.add_key("ada"), gateway.add_key("bob")];
    let key = |caller: &str, target: &str| {
        let said = gateway.get_with(target, &format!("X-API-Key: {caller}\r\n")).cache();
        said.split_once("; key=").unwrap_or_else(|| panic!("no key: {said}")).1.to_owned()
    };
    let [ada, bob] = &callers;
    assert_eq!(key(ada, "/public"), key(bob, "/public"));
    assert_eq!(key(ada, "/own"), key(ada, "/own"));
    assert_ne!(key(ada, "/own"), key(bob, "/own"));
}

#[test]
fn what_is_not_declared_is_keyed_or_left_out_or_not_cached() {
    let origin = gullible(STORED);
    let ignoring = shop(&origin, PLAIN, "{ cache: { undeclared_query: ignore } }");
    let first = ignoring.get("/books?utm=evil&a=1");
    assert!(
        first.text().starts_with("/books?a=1\n"),
        "the upstream saw what does not count: {}",
        first.text()
    );
    assert!(ignoring.get("/books?a=1").is_hit());
    assert!(ignoring.get("/books?a=1&utm=other").is_hit());
    // An encoded spelling of a declared name is that parameter.
    assert!(ignoring.get("/books?%61=2").text().starts_with("/books?%61=2\n"));
    assert!(ignoring.get("/books?utm=1").text().starts_with("/books?\n"));

    let past = shop(&origin, PLAIN, "{ cache: { undeclared_query: bypass } }");
    for _ in 0..2 {
        let answer = past.get("/books?a=1&utm=x");
        assert!(answer.cache().contains("fwd=bypass; detail=undeclared-query"), "{}", answer.cache());
        assert!(answer.text().starts_with("/books?a=1&utm=x\n"));
    }
    past.get("/books?a=1");
    assert!(past.get("/books?a=1").is_hit());
}

#[test]
fn arrays_and_objects_count_by_their_style() {
    let origin = gullible(STORED);
    let parameters = "[{ name: deep, in: query, style: deepObject, schema: { type: object } },
        { name: tags, in: query, schema: { type: array, items: { type: string } } },
        { name: colour, in: query, schema: { type: object, additionalProperties: false, properties: { r: {}, g: {} } } }]";
    let gateway = shop(&origin, parameters, "{ cache: { undeclared_query: bypass } }");
    for (first, same) in [
        ("deep[x]=1&deep[y]=2", "deep[y]=2&deep[x]=1"),
        ("tags=1&tags=2&r=3", "r=3&tags=1&tags=2"),
        ("g=1&r=2", "r=2&g=1"),
    ] {
        assert!(gateway.get(&format!("/books?{first}")).cache().contains("stored"), "{first}");
        assert!(gateway.get(&format!("/books?{same}")).is_hit(), "{same}");
    }
    for other in ["deep[x]=2&deep[y]=1", "tags=2&tags=1&r=3", "g=2&r=1"] {
        assert!(!gateway.get(&format!("/books?{other}")).is_hit(), "{other}");
    }
    assert!(gateway.get("/books?colour=1").cache().contains("undeclared-query"));
}

#[test]
fn defaults_are_folded_only_where_that_is_asked_for() {
    let origin = gullible(STORED);
    let parameters = "[{ name: limit, in: query, schema: { type: integer, default: 20 } }]";
    for (extension, folds) in [("{}", false), ("{ cache: { fold_defaults: true } }", true)] {
        let gateway = shop(&origin, parameters, extension);
        gateway.get("/books");
        assert_eq!(gateway.get("/books?limit=20").is_hit(), folds);
        assert!(!gateway.get("/books?limit=21").is_hit());
    }
}

#[test]
fn declared_fields_and_cookies_tell_answers_apart() {
    let origin = gullible(STORED);
    let parameters = "[{ name: X-Tenant, in: header, schema: { type: string } }, { name: theme, in: cookie, schema: { type: string } }]";
    let gateway = shop(&origin, parameters, "{}");
    gateway.get_with("/books", "X-Tenant: a\r\n");
    assert!(gateway.get_with("/books", "X-Tenant: a\r\nX-Other: 1\r\n").is_hit());
    assert!(!gateway.get_with("/books", "X-Tenant: b\r\n").is_hit());
    gateway.get_with("/books", "Cookie: x=1; theme=dark\r\n");
    assert!(gateway.get_with("/books", "Cookie: theme=dark; x=2\r\n").is_hit());
    assert!(!gateway.get_with("/books", "Cookie: theme=light\r\n").is_hit());
}

#[test]
fn fields_that_nobody_keys_do_not_poison() {
    let origin = gullible(STORED);
    let gateway = Gateway::proxy(&origin.url());
    for (place, field) in [
        "X-Forwarded-Host: evil.example",
        "X-Host: evil.example",
        "X-Original-URL: /evil",
        "X-Rewrite-URL: /evil",
        "X-HTTP-Method-Override: DELETE",
        "X-Forwarded-Scheme: evil",
        "X-Forwarded-Proto: evil",
        "Forwarded: host=evil.example;proto=evil",
        "x-ORIGINAL-url: /evil",
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/page{place}");
        gateway.get_with(&target, &format!("{field}\r\n"));
        let victim = gateway.get(&target);
        assert!(
            !victim.text().contains("evil") && !victim.text().contains("DELETE"),
            "{field}: {}",
            victim.text()
        );
        // The attacker's own answer may well be stored, for requests that say the same.
        assert!(gateway.get(&target).is_hit());
    }
}

#[test]
fn a_trusted_hops_claims_tell_answers_apart() {
    let origin = gullible(STORED);
    let gateway = Gateway::config(&format!(
        "trusted_proxies: [127.0.0.0/8]\nroutes:\n  - {{ path: /**, upstream: '{}' }}\n",
        origin.url()
    ));
    let asked = |fields: &str| gateway.get_with("/", fields);
    assert!(asked("X-Forwarded-Proto: http\r\n").text().contains("x-forwarded-proto=http\n"));
    let secure = asked("X-Forwarded-Proto: https\r\n");
    assert!(!secure.is_hit() && secure.text().contains("x-forwarded-proto=https\n"), "{}", secure.text());
    assert!(!asked("X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n").is_hit());
    assert!(asked("X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.7\r\n").is_hit());
}

#[test]
fn bodies_odd_paths_and_odd_fields_do_not_poison() {
    let origin = gullible(STORED);
    let gateway = Gateway::proxy(&origin.url());
    // A body that some upstreams read on GET.
    let with_body = gateway.send("GET", "/body", "", "evil");
    assert!(with_body.text().contains("evil") && with_body.cache().contains("detail=request-body"));
    let victim = gateway.get("/body");
    assert!(!victim.is_hit() && !victim.text().contains("evil"));
    // Paths that upstreams may read as others: refused, or stored under what they are.
    gateway.get("/static/x.css");
    for odd in [
        "/static/..%2fx.css",
        "/static/%2e%2e/x.css",
        "/static\\x.css",
        "/static/x.css%00",
        "/static/x.css\u{7f}",
    ] {
        let answer = gateway.get(odd);
        assert!(answer.status == 400 && !answer.is_hit(), "{odd}: {}", answer.status);
    }
    for other in
        ["/static/x.css;.js", "/static/x.css%3f", "/static/x.css?", "/static//x.css", "/Static/x.css"]
    {
        assert!(!gateway.get(other).is_hit(), "{other}");
    }
    // Fields that no server would read leave nothing behind, whatever is said to them.
    for odd in [
        "X-Oversized: ".to_owned() + &"a".repeat(100_000),
        "X Bad: 1".into(),
        "\u{1}: 1".into(),
        "Host: evil.example".into(),
    ] {
        let answer = gateway.get_with("/field", &format!("{odd}\r\n"));
        assert!((400..=431).contains(&answer.status), "{}", answer.status);
    }
    let victim = gateway.get("/field");
    assert!(victim.status == 200 && !victim.is_hit());
}

#[test]
fn a_host_of_ones_own_is_a_store_of_ones_own() {
    let origin = gullible(STORED);
    let gateway = Gateway::config(&format!(
        "routes:\n  - {{ path: /**, upstream: '{}', preserve_host: true }}\n",
        origin.url()
    ));
    let mut client = gateway.client();
    let evil = client.exchange("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert!(evil.text().contains("evil.example"));
    let victim = client.exchange("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    assert!(!victim.is_hit() && !victim.text().contains("evil"));
}

#[test]
fn two_callers_never_see_each_others_answers() {
    // The upstream says "store it" of answers that are for one caller, and lures with a name of a style sheet.
    let origin = gullible(STORED);
    let gateway = Gateway::run(&["--proxy", &origin.url(), "--security", "gateway"]);
    let [ada, bob] = ["ada", "bob"].map(|name| format!("X-API-Key: {}\r\n", gateway.add_key(name)));
    for target in ["/me", "/me/x.css", "/me/%3bx.css", "/me;x.css"] {
        assert!(!gateway.get_with(target, &ada).is_hit(), "{target}");
        assert!(!gateway.get_with(target, &bob).is_hit(), "{target}: an answer for another caller");
        assert!(gateway.get_with(target, &ada).is_hit(), "{target}");
        gateway.get(target).problem(401, "credentials-missing");
    }
    // Where the upstream checks: an answer to someone with credentials is for nobody else.
    for credential in ["Authorization: Bearer a\r\n", "X-Session: a\r\n", "Cookie: sid=a\r\n"] {
        let origin = gullible(STORED);
        let text = described("[]", "{}").replace(
            "paths:",
            "security: [{ key: [] }, { cookie: [] }, { bearer: [] }]\ncomponents: { securitySchemes: { key: { type: apiKey, in: header, name: X-Session }, \
             cookie: { type: apiKey, in: cookie, name: sid }, bearer: { type: http, scheme: bearer } } }\npaths:",
        );
        let gateway = Gateway::description(&text, &["--upstream", &origin.url(), "--security", "pass"]);
        for fields in
            [credential.to_owned(), credential.replace(" a", " b").replace("=a", "=b"), credential.into()]
        {
            assert!(!gateway.get_with("/books", &fields).is_hit(), "{fields}");
        }
        assert!(!gateway.get("/books").is_hit());
    }
}

#[test]
fn few_languages_make_few_variants() {
    let origin = gullible("Cache-Control: max-age=60\r\nVary: Accept-Language\r\n");
    let gateway = shop(&origin, "[]", "{ cache: { languages: [en, de] } }");
    let asked = |languages: &str| gateway.get_with("/books", &format!("Accept-Language: {languages}\r\n"));
    assert!(asked("de-AT, en;q=0.5").text().contains("accept-language=de\n"));
    assert!(asked("fr, de;q=0.9, en;q=0.8").is_hit());
    assert!(asked("en-GB").text().contains("accept-language=en\n"));
    assert!(asked("it").text().contains("accept-language=\n"));
    assert!(gateway.get("/books").is_hit());
    assert_eq!(origin.calls(), 3);
}

#[test]
fn what_the_keys_are_made_of_is_checked() {
    let folder = crate::harness::Folder::new();
    let file = folder.write(
        "gatewright.yaml",
        "routes:\n  - path: /**\n    upstream: http://127.0.0.1:9\n    cache: { languages: ['de,en'] }\n",
    );
    cli(["check", &file]).refused(1, "value-invalid", &["de,en", "language"]);
}
