//! The schema under a validator that others wrote: it takes what the reader takes, and refuses what is plainly wrong.

use std::{collections::HashSet, path::Path};

use super::*;
use crate::config::{
    self, Lookup,
    span::{self, Document, Node},
};

/// Every variable is set, every file can be read.
struct Anything;

impl Lookup for Anything {
    fn variable(&self, _: &str) -> Option<String> {
        Some("9000".to_owned())
    }

    fn file(&self, _: &str) -> Result<String, String> {
        Ok("text".to_owned())
    }
}

/// A configuration as an editor sees it: YAML's core schema, before any reference is replaced.
fn seen(text: &str) -> Value {
    fn value(node: &Node) -> Value {
        match &node.value {
            span::Value::Scalar { text, plain: true } => match text.as_str() {
                "" | "~" | "null" => Value::Null,
                "true" | "false" => Value::Bool(text == "true"),
                _ => text.parse::<i64>().map_or_else(|_| text.as_str().into(), Value::from),
            },
            span::Value::Scalar { text, plain: false } => text.as_str().into(),
            span::Value::List(items) => items.iter().map(value).collect(),
            span::Value::Map(members) => {
                Value::Object(members.iter().map(|(key, node)| (key.text.clone(), value(node))).collect())
            }
        }
    }
    let (document, found) = Document::parse("gatewright.yaml", text, &HashSet::new());
    value(&document.unwrap_or_else(|| panic!("{found:?}")).root)
}

/// Why the schema refuses a configuration.
fn refusals(text: &str) -> Vec<String> {
    let validator = jsonschema::validator_for(&document()).unwrap();
    validator.iter_errors(&seen(text)).map(|error| format!("{} {error}", error.instance_path())).collect()
}

fn project(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The committed schema is what the records say. `UPDATE=1` writes it.
#[test]
fn the_committed_schema_is_not_stale() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/gatewright.schema.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, text()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == text(), "deploy/gatewright.schema.json is stale: run `make docs`");
}

#[test]
fn it_is_a_schema() {
    assert!(jsonschema::meta::is_valid(&document()));
}

/// The configurations of the project: README's, the one for production, and the one of this room's tests.
fn samples() -> Vec<String> {
    let readme = project("README.md");
    let mut samples: Vec<String> = readme
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        // That is a description.
        .filter(|text| !text.starts_with("paths:"))
        .map(str::to_owned)
        .collect();
    assert!(!samples.is_empty(), "README.md shows no configuration");
    samples.push(project("deploy/gatewright.yaml"));
    samples.push(config::tests::WHOLE.to_owned());
    samples
}

#[test]
fn it_takes_the_configurations_of_the_project() {
    for text in samples() {
        let (model, found) = config::read("gatewright.yaml", &text, &Anything);
        assert!(model.is_some(), "{found:?}\n{text}");
        assert_eq!(refusals(&text), [""; 0], "{text}");
        // As `gatewright import` writes it, too.
        let written = config::write::write(&model.unwrap(), "");
        assert_eq!(refusals(&written), [""; 0], "{written}");
    }
}

/// What can be said in several ways.
const RIGHT: &[&str] = &[
    "{}",
    "listen: ['127.0.0.1:80', { address: 'localhost:81' }, '${ADDRESS}']",
    "admin: off",
    "admin: false",
    "docs: /reference",
    "docs: { path: /reference, protected: '${PROTECTED:-true}' }",
    "workers: '${WORKERS}'",
    "workers: '4'",
    "limits: { headers: 1024, uri: 8KiB, body: off, max_requests: 5 }",
    "cache: { memory: 10 mb, disk: '${SIZE}' }",
    "timeouts: { connect: 1m30s, total: off, idle: '${IDLE:-5s}' }",
    "routes: [{ path: /a, upstream: HTTP://h, host: a.example, rate_limit: off, cache: off }]",
    "routes: [{ path: /a, upstream: 'http://h', host: [a.example, '*'], rate_limit: { limit: 1, window: 1s, per: [key, api] } }]",
    "apis: [{ spec: a.yaml, server_variables: { port: 8080, secure: true }, security: '${MODE}' }]",
    "apis: [{ spec: a.yaml, request_headers: { set: { X-A: 1, X-B: [a, b] }, remove: [X-C] } }]",
];

#[test]
fn it_takes_every_way_of_writing_that_the_reader_takes() {
    for text in RIGHT {
        let (model, found) = config::read("gatewright.yaml", text, &Variables);
        assert!(model.is_some(), "{text}: {found:?}");
        assert_eq!(refusals(text), [""; 0], "{text}");
    }
}

/// Variables with values that fit where [`RIGHT`] uses them.
struct Variables;

impl Lookup for Variables {
    fn variable(&self, name: &str) -> Option<String> {
        let value = match name {
            "ADDRESS" => "[::1]:80",
            "WORKERS" => "2",
            "SIZE" => "1GiB",
            "MODE" => "enforce",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn file(&self, path: &str) -> Result<String, String> {
        Err(format!("no file `{path}`"))
    }
}

#[test]
fn it_refuses_what_is_plainly_wrong() {
    for (text, place) in [
        ("listne: []", ""),
        ("listen: '127.0.0.1:80'", "/listen"),
        ("listen: ['127.0.0.1']", "/listen/0"),
        ("workers: four", "/workers"),
        ("workers: -1", "/workers"),
        ("access_log: xml", "/access_log"),
        ("timeouts: { connect: 5 }", "/timeouts/connect"),
        ("timeouts: { connect: 5 seconds }", "/timeouts/connect"),
        ("limits: { body: lots }", "/limits/body"),
        ("apis: [{ mount: /a }]", "/apis/0"),
        ("apis: [{ spec: a.yaml, mount: a }]", "/apis/0/mount"),
        ("apis: [{ spec: a.yaml, security: lax }]", "/apis/0/security"),
        ("routes: [{ path: /a, upstream: u, limits: { connections: 1 } }]", "/routes/0/limits"),
        ("upstreams: { u: { endpoints: [] } }", "/upstreams/u/endpoints"),
        ("upstreams: { u: { endpoints: ['10.0.0.1:80'] } }", "/upstreams/u/endpoints/0"),
        ("admin: { address: '127.0.0.1:80', tokn: x }", "/admin"),
    ] {
        assert!(config::read("gatewright.yaml", text, &Anything).0.is_none(), "the reader takes {text}");
        let refusals = refusals(text);
        assert!(
            refusals.iter().any(|refusal| refusal.starts_with(&format!("{place} "))),
            "{text}: {refusals:?}"
        );
    }
}
