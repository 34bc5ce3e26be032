//! Whole configurations: what is read of right ones, and the exact text that wrong ones give.

use std::collections::HashMap;

use super::*;
use crate::diagnostic::render;

/// Variables and files of a test.
#[derive(Default)]
struct Given(HashMap<&'static str, &'static str>);

impl Lookup for Given {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|&value| value.to_owned())
    }

    fn file(&self, path: &str) -> Result<String, String> {
        self.0.get(path).map(|&text| text.to_owned()).ok_or_else(|| "no such file".to_owned())
    }
}

fn given() -> Given {
    Given(HashMap::from([("TOKEN", "s3cret"), ("EMPTY", ""), ("PORT", "9000"), ("key.txt", "from-file")]))
}

fn reads(text: &str) -> Model {
    let (model, found) = read("gatewright.yaml", text, &given());
    assert_eq!(render::text(&found, false), "");
    model.unwrap()
}

fn errors(text: &str) -> String {
    let (model, found) = read("gatewright.yaml", text, &given());
    assert!(model.is_none());
    let text = render::text(&found, false);
    assert!(!text.contains("s3cret"), "{text}");
    text
}

pub(super) const WHOLE: &str = r#"
listen: ["0.0.0.0:8080", { address: "[::]:8081" }]
admin: { address: localhost:9901, hosts: [admin.example], token: "${TOKEN}" }
state: ./state
workers: 4
access_log: json
docs: { path: /docs/, protected: true }
trusted_proxies: [10.0.0.0/8, "::1"]
forward_client_address: false
drain: { delay: 5s, timeout: 1m30s }
limits: { connections: 100, headers: 32KiB, header_count: 50, uri: 8KiB, body: off }
timeouts: { connect: 1s, total: off, header_read: 250ms }
cache: { memory: 64MiB, disk: 10MB, caller_share: 25%, caller_entries: 1000, object: 1MiB }
redis: { url: "rediss://10.0.0.9/2", username: gate, password: "${TOKEN}", prefix: shop, reply_timeout: 250ms }
consumers:
  - { name: shop, keys: [{ value: "${file:key.txt}" }], subjects: [sub-1], groups: [gold] }
issuers:
  - { name: idp, issuer: https://idp.example, audience: api, jwks: https://idp.example/jwks.json, leeway: 30s }
  - { name: own, key: { pem: key.pem, algorithm: RS256 }, token_type: at+jwt }
apis:
  - spec: openapi/petstore.yaml
    host: [api.Example.com, "*.example.org"]
    mount: /petstore/
    server_variables: { region: eu }
    upstream: pets
    security: enforce
    credentials: { header: Authorization, value: "Bearer ${TOKEN}" }
    rate_limit: [{ limit: 100, window: 1m, per: [consumer, operation] }, { limit: 5, window: 1s, per: address }]
    cache:
      { ttl: 1m, default_ttl: 30s, offline: false, undeclared_query: bypass, heuristic: true, grace: 1m, request_directives: ignore,
        reload_interval: 5s, reload_limit: 3, targeted: [Edge-Cache-Control, CDN-Cache-Control], surrogate_control: true,
        set_cookie: refuse }
    response_headers: { add: { Link: [a, b] }, set: { X-A: "1" }, remove: [Server] }
routes:
  - { path: /legacy/**, methods: [GET, POST], upstream: "http://127.0.0.1:${PORT}" }
  - { path: "/files/{path}/raw", spans: [path], upstream: pets, encoded_slash: keep, rate_limit: off }
upstreams:
  pets: { endpoints: [http://10.0.0.5:8000, "https://b.example/base/"], max_requests: 10 }
"#;

#[test]
fn a_whole_configuration_is_read() {
    let model = reads(WHOLE);
    assert_eq!(model.listen[1].address.to_string(), "[::]:8081");
    let Some(Switch::On(admin)) = &model.admin else { panic!() };
    assert_eq!(admin.address.as_ref().unwrap().to_string(), "127.0.0.1:9901");
    assert_eq!(admin.token, Some(Secret("s3cret".into())));
    assert_eq!(format!("{:?}", admin.token), "Some(Secret(…))");
    assert_eq!(model.drain.as_ref().unwrap().timeout.unwrap().as_secs(), 90);
    assert_eq!(model.limits.as_ref().unwrap().route.headers, Some(Size(32 * 1024).into()));
    assert_eq!(model.limits.as_ref().unwrap().route.body, Some(Switch::Off));
    assert_eq!(model.timeouts.as_ref().unwrap().route.total, Some(Switch::Off));
    assert_eq!(model.consumers[0].keys[0].value, Secret("from-file".into()));
    assert_eq!(
        model.issuers[1].key.as_ref().unwrap().pem.as_ref().unwrap().value,
        Pem::File("key.pem".into())
    );
    let api = &model.apis[0];
    let hosts: Vec<_> = api.host.as_ref().unwrap().0.iter().map(|host| host.0.as_str()).collect();
    assert_eq!(hosts, ["api.example.com", "*.example.org"]);
    assert_eq!(api.mount.as_ref().unwrap().0, "/petstore");
    assert_eq!((api.spec.place.line, api.spec.place.pointer.as_str()), (21, "/apis/0/spec"));
    let Some(Many(credentials)) = &api.policy.credentials else { panic!() };
    assert_eq!(credentials[0].value.0, "Bearer s3cret");
    let Some(Switch::On(Many(limits))) = &api.policy.rate_limit else { panic!() };
    assert_eq!((limits[1].limit.value, limits.len()), (5, 2));
    assert_eq!(api.policy.response_headers.as_ref().unwrap().add.as_ref().unwrap().0.len(), 2);
    let Some(UpstreamRef::Url(url)) = model.routes[0].policy.upstream.as_ref().map(|to| &to.value) else {
        panic!()
    };
    assert_eq!(url.as_str(), "http://127.0.0.1:9000/");
    assert!(matches!(model.routes[1].policy.rate_limit, Some(Switch::Off)));
    assert_eq!(reads("").apis.len(), 0);
}

#[test]
fn what_is_written_is_read_as_the_same() {
    let text = write::write(&reads(WHOLE), "Made by `gatewright import`.\n\nSecond line.");
    assert!(
        text.starts_with("# Made by `gatewright import`.\n#\n# Second line.\n\n# Where clients are served"),
        "{text}"
    );
    let again = write::write(&reads(&text), "Made by `gatewright import`.\n\nSecond line.");
    assert_eq!(text, again);
}

#[test]
fn a_small_configuration_is_written_with_its_reference() {
    let api = model::Api {
        spec: String::from("petstore.yaml").into(),
        policy: Policy {
            upstream: Some(UpstreamRef::Name("petstore".into()).into()),
            credentials: Some(Many(vec![model::Credential {
                place: Default::default(),
                header: Some(http::header::AUTHORIZATION.into()),
                query: None,
                value: Secret("Bearer ${TOKEN}".into()),
            }])),
            ..Policy::default()
        },
        ..model::Api::default()
    };
    let endpoint = ServerUrl("http://127.0.0.1:9000".parse().unwrap());
    let upstream = model::Upstream {
        place: Default::default(),
        endpoints: Filled(vec![endpoint.into()]),
        preserve_host: None,
        max_requests: None,
    };
    let upstreams = Some(Named(vec![(String::from("petstore").into(), upstream)]));
    let text = write::write(&Model { apis: vec![api], upstreams, ..Model::default() }, "");
    let (written, _) = text.split_once("\n# Lines to put").unwrap();
    assert_eq!(
        written,
        r#"
# The APIs that are served, each from its description.
apis:
  -
    # The OpenAPI description: a file, a folder or an address.
    spec: petstore.yaml
    # Where requests go: the name of an upstream, or an address. Default: the description's server.
    upstream: petstore
    # What the gateway shows the upstream, in place of the caller's credentials.
    credentials:
      # The header field, such as `Authorization`.
      header: authorization
      # The whole value, such as `Bearer ${TOKEN}`.
      value: "Bearer ${TOKEN}"

# Servers behind the gateway, by name.
upstreams:
  petstore:
    # Their addresses, such as `http://10.0.0.5:8000`. A path is put before that of each request.
    endpoints: [http://127.0.0.1:9000]
"#
    );
    reads(&text);
}

#[test]
fn references_have_defaults_and_an_escape() {
    let model = reads(r#"{state: "${NONE:-a}/${EMPTY:-b}/${TOKEN:-c}/$${x}/$", docs: "${NONE:-off}"}"#);
    assert_eq!(model.state.unwrap().value, "a/b/s3cret/${x}/$");
}

#[test]
fn the_nearest_policy_wins_key_by_key() {
    let policy = |json: serde_json::Value| {
        let (policy, found) = read_extension("api.yaml", "/x-gatewright", &json);
        assert_eq!(found, []);
        policy.unwrap()
    };
    let outer = policy(serde_json::json!({
        "security": "enforce", "timeouts": {"connect": "1s", "total": "10s"}, "cache": {"shared": true}, "docs": false
    }));
    let inner = policy(serde_json::json!({"timeouts": {"total": "off"}, "cache": "off", "docs": true}));
    let merged = inner.under(&outer);
    let timeouts = merged.timeouts.unwrap();
    assert_eq!((timeouts.connect.unwrap().as_secs(), timeouts.total), (1, Some(Switch::Off)));
    assert!(matches!(merged.cache, Some(Switch::Off)));
    assert!(merged.security.is_some() && merged.docs == Some(true));
    assert!(outer.cache.is_some_and(|cache| matches!(cache, Switch::On(_))));
}

#[test]
fn a_description_cannot_reach_outside() {
    let json =
        serde_json::json!({"credentials": {"header": "X", "value": "${TOKEN}"}, "tls": {}, "upstraem": "x"});
    let (policy, found) = read_extension("api.yaml", "/paths/~1a/get/x-gatewright", &json);
    assert!(policy.is_none());
    assert_eq!(
        render::text(&found, false),
        "\
error[reference-invalid]: `${…}` is not allowed in a description
 --> api.yaml   /paths/~1a/get/x-gatewright/credentials/value
  help: a description comes from elsewhere and must not read variables or files; write this in gatewright.yaml

error[not-supported-yet]: `tls` is not supported yet
 --> api.yaml   /paths/~1a/get/x-gatewright/tls
  help: take it out: what it asks for would not happen

error[unknown-key]: `upstraem` is no key here
 --> api.yaml   /paths/~1a/get/x-gatewright/upstraem
  help: did you mean `upstream`?

"
    );
}

#[test]
fn a_route_can_only_narrow_what_the_listener_judges() {
    let text = "limits: { headers: 8KiB, uri: 64KiB }\nroutes:\n  - { path: /a, upstream: http://h, limits: { headers: 9KiB, \
                header_count: 101, uri: 64KiB, body: off } }\n  - { path: /b, upstream: http://h, limits: { headers: 8KiB, \
                header_count: 100, max_requests: 0 } }\n";
    assert_eq!(
        errors(text)
            .lines()
            .filter(|line| line.starts_with("error") || line.contains("help"))
            .collect::<Vec<_>>(),
        [
            "error[bound-without-effect]: `limits.headers` is 9216 bytes here, the gateway as a whole takes 8192",
            "  help: a request is judged by that first: write `limits: { headers: 9216 }` at the root of \
             gatewright.yaml, or at most 8192 here",
            "error[bound-without-effect]: `limits.header_count` is 101 fields here, the gateway as a whole takes 100",
            "  help: a request is judged by that first: write `limits: { header_count: 101 }` at the root of \
             gatewright.yaml, or at most 100 here",
            "error[value-invalid]: `limits.max_requests` is 0",
            "  help: the least is 1; `security` and `methods` close a route",
        ]
    );
    assert!(errors("limits: { uri: 65KiB }").contains(
        "error[bound-without-effect]: `limits.uri` is 66560 bytes, more than can be read\n --> gatewright.yaml:1:16   /limits/uri"
    ));
}

#[test]
fn every_key_has_a_reference_that_is_a_sentence() {
    fn walk(keys: &[KeyDoc], path: &str) -> usize {
        let one = |key: &KeyDoc| {
            let doc = key.doc.trim_end();
            assert!(doc.ends_with('.'), "{path}/{}: {doc}", key.name);
            1 + walk(key.keys, key.name) + walk(key.more, key.name)
        };
        keys.iter().map(one).sum()
    }
    assert!(walk(keys(), "") > 100);
}

#[test]
fn every_wrong_value_says_what_was_expected_and_found() {
    assert_eq!(
        errors(
            "apis:\n  - spec: a.yaml\n    cache: { default_ttl: 30 }\n    mount: pets\n    security: enforced\n"
        ),
        "\
error[value-invalid]: expected a duration such as `30s`, found `30`
 --> gatewright.yaml:3:27   /apis/0/cache/default_ttl
  |
3 |     cache: { default_ttl: 30 }
  |                           ^^
  help: write a whole number and `ms`, `s`, `m`, `h` or `d`, such as `1h30m`

error[value-invalid]: expected a path such as `/petstore`, found `pets`
 --> gatewright.yaml:4:12   /apis/0/mount
  |
4 |     mount: pets
  |            ^^^^
  help: it does not begin with `/`

error[value-invalid]: expected one of `pass`, `enforce`, `gateway`, found `enforced`
 --> gatewright.yaml:5:15   /apis/0/security
  |
5 |     security: enforced
  |               ^^^^^^^^
  help: did you mean `enforce`?

"
    );
}

#[test]
fn unknown_and_planned_keys_are_errors_with_a_suggestion() {
    assert_eq!(
        errors(
            "tracing: { url: redis://127.0.0.1:6379 }\nlistne: [\"0.0.0.0:80\"]\napis:\n  - spec: a.yaml\n    \
             ratelimit: { limit: 1, window: 1s }\n    password: s3cret\n    rate_limit: { limit: 5, windw: 1m }\n"
        ),
        "\
error[not-supported-yet]: `tracing` is not supported yet
 --> gatewright.yaml:1:1   /tracing
  |
1 | tracing: { url: redis://127.0.0.1:6379 }
  | ^^^^^^^
  help: take it out: what it asks for would not happen

error[unknown-key]: `listne` is no key here
 --> gatewright.yaml:2:1   /listne
  |
2 | listne: [************]
  | ^^^^^^
  help: did you mean `listen`?

error[unknown-key]: `ratelimit` is no key here
 --> gatewright.yaml:5:5   /apis/0/ratelimit
  |
5 |     ratelimit: { limit: 1, window: 1s }
  |     ^^^^^^^^^
  help: did you mean `rate_limit`?

error[unknown-key]: `password` is no key here
 --> gatewright.yaml:6:5   /apis/0/password
  |
6 |     password: ******
  |     ^^^^^^^^
  help: keys here: `all_servers`, `cache`, `credentials`, `docs`, `encoded_slash`, `forward_client_address`, `forward_credentials`, `host`, `limits`, `mount`, `name`, `preserve_host`, `public`, `rate_limit`, `request_headers`, `response_headers`, `security`, `server`, `server_variables`, `spans`, `spec`, `strip_base`, `timeouts`, `upstream`

error[key-missing]: the key `window` is missing
 --> gatewright.yaml:7:17   /apis/0/rate_limit
  |
7 |     rate_limit: { limit: 5, windw: ** }
  |                 ^^^^^^^^^^^^^^^^^^^^^^^
  help: add `window:` with a duration such as `30s`

error[unknown-key]: `windw` is no key here
 --> gatewright.yaml:7:29   /apis/0/rate_limit/windw
  |
7 |     rate_limit: { limit: 5, windw: ** }
  |                             ^^^^^
  help: did you mean `window`?

"
    );
}

#[test]
fn what_keys_say_together_is_checked() {
    assert_eq!(
        errors(
            r#"apis:
  - { spec: a.yaml, name: pets, upstream: petz }
  - { spec: b.yaml, name: pets, credentials: { value: s3cret } }
routes:
  - { path: "/a/{id}", spans: [name] }
upstreams:
  pets: { endpoints: [http://a] }
consumers:
  - { name: shop, keys: [{ hash: a, value: s3cret }] }
issuers:
  - { name: idp, key: { algorithm: RS256 } }
"#
        ),
        "\
error[unknown-upstream]: the upstream `petz` is not defined
 --> gatewright.yaml:2:43   /apis/0/upstream
  |
2 |   - { spec: a.yaml, name: pets, upstream: petz }
  |                                           ^^^^ no upstream has this name
  help: did you mean `pets`? upstreams defined here: `pets`

error[name-twice]: an API has the name `pets` already
 --> gatewright.yaml:3:27   /apis/1/name
  |
3 |   - { spec: b.yaml, name: pets, credentials: { value: ****** } }
  |                           ^^^^
  help: the first stands on line 2; give each its own name

error[keys-conflict]: there is neither `header` nor `query`
 --> gatewright.yaml:3:46   /apis/1/credentials
  |
3 |   - { spec: b.yaml, name: pets, credentials: { value: ****** } }
  |                                              ^^^^^^^^^^^^^^^^^
  help: write exactly one of the two

error[key-missing]: the key `upstream` is missing
 --> gatewright.yaml:5:5   /routes/0
  |
5 |   - { path: \"/a/{id}\", spans: [name] }
  |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  help: add `upstream:` with the name of an upstream or an address

error[value-invalid]: `name` is no parameter of `/a/{id}`
 --> gatewright.yaml:5:32   /routes/0/spans/0
  |
5 |   - { path: \"/a/{id}\", spans: [name] }
  |                                ^^^^
  help: name a parameter of the path

error[unknown-key]: `hash` is no key here
 --> gatewright.yaml:9:28   /consumers/0/keys/0/hash
  |
9 |   - { name: shop, keys: [{ hash: *, value: ****** }] }
  |                            ^^^^
  help: keys here: `value`

error[keys-conflict]: there is neither `pem` nor `secret`
  --> gatewright.yaml:11:23   /issuers/0/key
   |
11 |   - { name: idp, key: { algorithm: RS256 } }
   |                       ^^^^^^^^^^^^^^^^^^^^
  help: write exactly one of the two

"
    );
}

/// One line each: the configuration, then what the first error says and helps with.
#[test]
fn each_kind_of_value_has_its_own_words() {
    for (text, title, help) in [
        (
            "listen: [8080]",
            "expected an address such as `127.0.0.1:8080`, found `8080`",
            "did you mean `127.0.0.1:8080` (this machine) or `0.0.0.0:8080` (all networks)?",
        ),
        (
            "listen: 127.0.0.1:80",
            "expected a list, found `127.0.0.1:80`",
            "write it in brackets: `[…]`, or with `-` before each item",
        ),
        (
            "listen: [{ port: 80 }]",
            "the key `address` is missing",
            "add `address:` with an address such as `127.0.0.1:8080`",
        ),
        (
            "workers: -1",
            "expected a whole number, found `-1`",
            "from 0 to 18446744073709551615, in digits alone",
        ),
        ("workers: [1]", "expected a whole number, found a list", ""),
        ("state:", "expected a text, found nothing", ""),
        ("state: ''", "expected a text, found ``", "it must not be empty"),
        ("access_log: jsn", "expected one of `human`, `json`, `off`, found `jsn`", "did you mean `json`?"),
        ("forward_client_address: yes", "expected `true` or `false`, found `yes`", ""),
        (
            "cache: on",
            "expected `off` or a mapping, found `on`",
            "keys here: `memory`, `disk`, `caller_share`, `caller_entries`, `object`",
        ),
        (
            "cache: { caller_share: 0.5 }",
            "expected a share such as `50%`, found `0.5`",
            "write a whole number from 1 to 100 with `%`",
        ),
        (
            "cache: { caller_share: 101% }",
            "expected a share such as `50%`, found `101%`",
            "write a whole number from 1 to 100 with `%`",
        ),
        (
            "cache: { caller_entries: 0 }",
            "expected a whole number, found `0`",
            "from 1 to 18446744073709551615, in digits alone",
        ),
        (
            "cache: { memory: 64 MiBs }",
            "expected a size such as `64KiB`, `10MB` or `1048576`, found `64 MiBs`",
            "write a whole number, in bytes or with `KB`, `MB`, `GB`, `KiB`, `MiB` or `GiB`",
        ),
        (
            "drain: { delay: 99999999999d }",
            "expected a duration such as `30s`, found `99999999999d`",
            "write a whole number and `ms`, `s`, `m`, `h` or `d`, such as `1h30m`",
        ),
        (
            "trusted_proxies: [10.0.0.0/40]",
            "expected an address range such as `10.0.0.0/8`, found `10.0.0.0/40`",
            "",
        ),
        (
            "docs: { path: 'docs/{x}' }",
            "expected a path such as `/petstore`, found `docs/{x}`",
            "it does not begin with `/`",
        ),
        (
            "admin: { hosts: ['a:80'] }",
            "expected a host name such as `api.example.com` or `*.example.com`, found `a:80`",
            "leave the port out: it is the listener's",
        ),
        (
            "admin: { token: '${NONE}' }",
            "the environment variable `NONE` is not set",
            "set it, or give a default: `${NONE:-…}`",
        ),
        (
            "admin: { token: '${EMPTY}' }",
            "expected a secret such as `${NAME}` or `${file:PATH}`, found something else",
            "the value came from outside and is not shown",
        ),
        (
            "admin: { token: '${file:none}' }",
            "the file `none` cannot be read: no such file",
            "the path is relative to this file's folder",
        ),
        (
            "workers: '${TOKEN}'",
            "expected a whole number, found `${TOKEN}`",
            "the value came from outside and is not shown",
        ),
        ("state: '${A'", "`${` has no `}`", "write `$${` for the characters `${`"),
        (
            "upstreams: { a: { endpoints: [10.0.0.5:80] } }",
            "expected an address such as `http://10.0.0.5:8000`, found `10.0.0.5:80`",
            "did you mean `http://10.0.0.5:80`?",
        ),
        (
            "upstreams: { a: { endpoints: ['http://u:s3cret@h/'] } }",
            "expected an address such as `http://10.0.0.5:8000`, found something else",
            "take the credentials out and write them under `credentials`",
        ),
        (
            "routes: [{ path: /a, upstream: 'ftp://h' }]",
            "expected the name of an upstream, or an address such as `http://10.0.0.5:8000`, found `ftp://h`",
            "only `http` and `https` can be called",
        ),
        (
            "routes: [{ path: '/a/../b', upstream: 'http://h' }]",
            "expected a path such as `/legacy/**` or `/users/{id}`, found `/a/../b`",
            "it holds a dot segment (`.` or `..`)",
        ),
        (
            "routes: [{ path: /a, upstream: 'http://h', methods: [get] }]",
            "expected a method such as `GET`, found `get`",
            "did you mean `GET`? methods are case-sensitive",
        ),
        (
            "routes: [{ path: /a, upstream: 'http://h', request_headers: { remove: [Host] } }]",
            "expected the name of a header field, found `Host`",
            "the gateway sets this field itself",
        ),
        (
            "routes: [{ path: /a, upstream: 'http://h', request_headers: { set: { 'X Y': s3cret } } }]",
            "expected the name of a header field, found `X Y`",
            "letters, digits and `-` make a name",
        ),
        (
            "routes: [{ path: /a, upstream: 'http://h', rate_limit: { limit: 0, window: 1s } }]",
            "the limit is 0",
            "the least is 1; `security` and `methods` close a route",
        ),
        ("upstreams: { a: { endpoints: [] } }", "the list is empty", "at least one item is needed"),
        ("apis: [a.yaml]", "expected a mapping, found a text", ""),
        ("- a", "expected a mapping, found a list", ""),
        (
            "openapi: 3.1.0\npaths: {}",
            "this is an OpenAPI description, not a configuration",
            "run it as it is: `gatewright run gatewright.yaml`, or name it under `apis:` as `spec: gatewright.yaml`",
        ),
        ("state: a\nstate: b", "the key `state` stands twice in one mapping", "remove or rename one of them"),
        (
            "a: [",
            "the text cannot be read as YAML: unclosed bracket '['",
            "the mistake is at this place or just before it",
        ),
    ] {
        let (_, found) = read("gatewright.yaml", text, &given());
        assert!(!render::text(&found, false).contains("s3cret"), "{found:?}");
        let first = found.first().unwrap_or_else(|| panic!("{text}"));
        assert_eq!((first.title.as_str(), first.help.as_str()), (title, help), "{text}");
    }
}

/// Any one character is changed or left out, but for those of the secrets.
#[test]
fn a_slip_of_the_pen_never_shows_a_secret() {
    let text = r#"
admin: { address: 127.0.0.1:9901, token: s3cret-1 }
consumers:
  - name: shop
    keys:
      - value: "s3cret-2"
apis:
  - spec: a.yaml
    credentials: { header: Authorization, value: Bearer s3cret-3 }
    request_headers: { set: { X-A: s3cret-4, X-B: [s3cret-5] } }
issuers:
  - name: idp
    key:
      algorithm: HS256
      secret: |
        s3cret-6
"#;
    let shown = |text: &str| render::text(&read("gatewright.yaml", text, &given()).1, false);
    assert_eq!(shown(text), "");
    for (at, old) in text.char_indices() {
        let in_secret = text[..at].ends_with("s3cret-")
            || (0..7)
                .any(|back| text.get(at - back.min(at)..).is_some_and(|from| from.starts_with("s3cret-")));
        if in_secret {
            continue;
        }
        let (before, after) = (&text[..at], &text[at + old.len_utf8()..]);
        for new in
            ["", "x", " ", ":", "\n", "{", "}", "\"", "#", "-", ",", "[", "&", "*", "!", "|", "$", "\t"]
        {
            let changed = format!("{before}{new}{after}");
            assert!(!shown(&changed).contains("s3cret-"), "{changed}\n{}", shown(&changed));
        }
    }
}
