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

const WHOLE: &str = r#"
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
cache: { memory: 64MiB, disk: 10MB }
consumers:
  - { name: shop, keys: [{ value: "${file:key.txt}" }, { hash: abc }], subjects: [sub-1], groups: [gold] }
issuers:
  - { name: idp, issuer: https://idp.example, audience: api, jwks: https://idp.example/jwks.json, leeway: 30s }
  - name: own
    keys: [{ kid: a, pem: key.pem, algorithm: RS256 }, { secret: "${TOKEN}", algorithm: HS256 }]
apis:
  - spec: openapi/petstore.yaml
    host: [api.Example.com, "*.example.org"]
    mount: /petstore/
    server_variables: { region: eu }
    upstream: pets
    security: enforce
    credentials: { header: Authorization, value: "Bearer ${TOKEN}" }
    rate_limit: [{ limit: 100, window: 1m, per: [consumer, operation] }, { limit: 5, window: 1s, per: address }]
    cache: { default_ttl: 30s, undeclared_query: bypass }
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
    assert_eq!(model.limits.as_ref().unwrap().headers, Some(Size(32 * 1024)));
    assert_eq!(model.limits.as_ref().unwrap().route.body, Some(Switch::Off));
    assert_eq!(model.timeouts.as_ref().unwrap().route.total, Some(Switch::Off));
    assert_eq!(model.consumers[0].keys[0].value, Some(Secret("from-file".into())));
    assert_eq!(model.issuers[1].keys[0].pem.as_ref().unwrap().value, Pem::File("key.pem".into()));
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
    assert_eq!(model.routes[1].policy.rate_limit.is_some(), true);
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
    let upstream = model::Upstream { endpoints: vec![endpoint.into()], ..model::Upstream::default() };
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
fn every_key_has_a_reference_that_is_a_sentence() {
    fn walk(keys: &[KeyDoc], path: &str) -> usize {
        let one = |key: &KeyDoc| {
            let doc = key.doc.trim_end();
            assert!(doc.ends_with('.') && !key.what.is_empty(), "{path}/{}: {doc}", key.name);
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
