//! API keys: made, shown once, used, listed, revoked; and the three meanings of `security`.

use std::os::unix::fs::PermissionsExt;

use crate::harness::{
    Gateway, Origin, cli,
    files::{read, sample},
    gateway::key_in,
};

const API: &str = "
openapi: 3.1.0
info: { title: Guarded, version: '1' }
servers: [{ url: http://127.0.0.1:9 }]
security: [{ header: [] }]
paths:
  /header: { get: { responses: { '200': { description: fine } } } }
  /query: { get: { security: [{ query: [] }], responses: { '200': { description: fine } } } }
  /both: { get: { security: [{ header: [], query: [] }], responses: { '200': { description: fine } } } }
  /either: { get: { security: [{ header: [] }, { query: [] }], responses: { '200': { description: fine } } } }
  /open: { get: { security: [], responses: { '200': { description: fine } } } }
  /optional: { get: { security: [{}, { header: [] }], responses: { '200': { description: fine } } } }
  /mutual: { get: { security: [{ mutual: [] }], responses: { '200': { description: fine } } } }
  /undefined: { get: { security: [{ nobody: [] }], responses: { '200': { description: fine } } } }
components:
  securitySchemes:
    header: { type: apiKey, in: header, name: X-Key }
    query: { type: apiKey, in: query, name: key }
    mutual: { type: mutualTLS }
";

#[test]
fn protect_prints_a_key_and_refuses_callers_without_it() {
    let origin = Origin::plain();
    let gateway = Gateway::run(&[&sample("bookshop.yaml"), "--upstream", &origin.url(), "--protect"]);
    gateway.await_log("X-API-Key");
    let line = gateway.log().lines().find(|line| line.contains("curl")).expect("a curl line").to_owned();
    let answer = gateway.get("/books");
    answer.problem(401, "credentials-missing");
    assert!(!answer.values("www-authenticate").is_empty());
    assert_eq!(origin.calls(), 0);
    let key = key_in(line.split("X-API-Key:").nth(1).expect("the key in the curl line"));
    assert_eq!(gateway.get_with("/books", &format!("X-API-Key: {key}\r\n")).status, 200);
    assert_eq!(
        gateway.get_with("/books/9780141439518", &format!("Authorization: Bearer {key}\r\n")).status,
        200
    );
    for seen in origin.seen() {
        let head = String::from_utf8_lossy(&seen.head).into_owned();
        assert!(!head.contains(&key), "the key went upstream: {head}");
    }
    gateway
        .get_with("/books", &format!("X-API-Key: {}\r\n", key.replace(&key[key.len() - 1..], "_")))
        .problem(401, "credentials-invalid");
    let stored = std::fs::read_dir(gateway.folder.path("state")).unwrap().flatten().map(|entry| entry.path());
    for file in stored.filter(|path| path.is_file()) {
        assert!(!String::from_utf8_lossy(&read(&file)).contains(&key), "{} holds the key", file.display());
    }
}

#[test]
fn a_key_lives_from_its_making_to_its_revocation() {
    let origin = Origin::plain();
    let gateway =
        Gateway::run(&[&sample("bookshop.yaml"), "--upstream", &origin.url(), "--security", "gateway"]);
    let connect = gateway.connect();
    let command = |words: &[&str]| cli(words.iter().copied().chain(connect.iter().map(String::as_str)));
    let key = gateway.add_key("ada");
    let with_key = format!("X-API-Key: {key}\r\n");
    assert_eq!(gateway.get_with("/quote", &with_key).status, 200, "it works at once");
    let list = command(&["keys", "list"]).fine().stdout;
    assert!(list.contains("ada") && !list.contains(&key), "{list}");
    let id = list.lines().find(|line| line.contains("ada")).unwrap();
    let id = id.split_whitespace().find(|word| key.contains(word) && word.len() > 4).expect("the key's id");
    command(&["keys", "revoke", id]).fine();
    gateway.get_with("/quote", &with_key).problem(401, "credentials-invalid");
    let output = command(&["keys", "revoke", "no-such-key"]);
    assert_eq!(output.code, Some(1), "{output:?}");
}

#[test]
fn keys_made_while_no_gateway_runs_are_there_when_one_starts() {
    let origin = Origin::plain();
    let mut gateway =
        Gateway::run(&[&sample("bookshop.yaml"), "--upstream", &origin.url(), "--security", "gateway"]);
    let early = gateway.add_key("early");
    assert_eq!(gateway.stop(), Some(0));
    let output = cli(["keys", "add", "late", "--state", &gateway.folder.arg("state")]).fine();
    let late = key_in(&output.stdout);
    gateway.restart();
    for key in [early, late] {
        assert_eq!(gateway.get_with("/books", &format!("X-API-Key: {key}\r\n")).status, 200);
    }
}

#[test]
fn a_key_ends_when_it_was_meant_to() {
    let gateway = Gateway::run(&[
        &sample("bookshop.yaml"),
        "--upstream",
        "http://127.0.0.1:9",
        "--security",
        "gateway",
    ]);
    let words = ["keys", "add", "brief", "--expires", "1s"].map(String::from);
    let key = key_in(&cli(words.into_iter().chain(gateway.connect())).fine().stdout);
    let status = || gateway.get_with("/quote", &format!("X-API-Key: {key}\r\n")).status;
    assert_eq!(status(), 502, "admitted");
    crate::harness::eventually("the key expires", || status() == 401);
}

#[test]
fn the_admin_token_is_for_its_owner_alone() {
    let gateway = Gateway::run(&[&sample("bookshop.yaml")]);
    let state = gateway.folder.path("state");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700, "the folder");
    let mut secrets = 0;
    for entry in std::fs::read_dir(&state).unwrap().flatten() {
        let secret = entry.file_name().to_string_lossy().contains("token");
        assert!(
            !secret || mode(&entry.path()) == 0o600,
            "{} is {:o}",
            entry.path().display(),
            mode(&entry.path())
        );
        secrets += u32::from(secret);
    }
    assert_eq!(secrets, 1);
    assert!(matches!(cli(["keys", "add", "x", "--admin", &gateway.admin.to_string()]).code, Some(1 | 2)));
}

#[test]
fn enforce_checks_what_the_description_requires() {
    let origin = Origin::plain();
    let gateway = Gateway::description(API, &["--upstream", &origin.url(), "--security", "enforce"]);
    let key = gateway.add_key("ada");
    let header = format!("X-Key: {key}\r\n");
    let query = |path: &str| format!("{path}?a=1&key={key}&b=2");
    for path in ["/header", "/query", "/both", "/either"] {
        gateway.get(path).problem(401, "credentials-missing");
    }
    assert_eq!(gateway.get_with("/header", &header).status, 200);
    assert_eq!(gateway.get(&query("/query")).status, 200);
    assert_eq!(gateway.get_with("/both", &header).status, 401);
    assert_eq!(gateway.get_with(&query("/both"), &header).status, 200);
    assert_eq!(gateway.get_with("/either", &header).status, 200);
    assert_eq!(gateway.get(&query("/either")).status, 200);
    assert_eq!(gateway.get("/open").status, 200);
    assert_eq!(gateway.get("/optional").status, 200);
    // The right key in the wrong place is none.
    assert_eq!(gateway.get_with("/query", &header).status, 401);
    assert_eq!(gateway.get_with("/header", &format!("X-Key: {key}\r\nX-Key: {key}\r\n")).status, 401);
    assert_eq!(gateway.get(&format!("/query?key={key}&key={key}")).status, 401);
    assert_eq!(gateway.get(&format!("/query?key[]={key}")).status, 401);
    gateway.get_with("/header", "X-Key: wrong\r\n").problem(401, "credentials-invalid");
    for seen in origin.seen() {
        let head = String::from_utf8_lossy(&seen.head).into_owned();
        assert!(!head.contains(&key), "a checked credential went upstream: {head}");
    }
    let seen = origin.await_call("/query");
    assert_eq!(seen.target(), "/query?a=1&b=2", "the other parameters keep their order");
}

#[test]
fn what_cannot_be_checked_is_closed_and_says_how_to_open_it() {
    let origin = Origin::plain();
    let gateway = Gateway::description(API, &["--upstream", &origin.url(), "--security", "enforce"]);
    let key = gateway.add_key("ada");
    for path in ["/mutual", "/undefined"] {
        let answer = gateway.get_with(path, &format!("X-Key: {key}\r\n"));
        answer.problem(403, "security-unsupported");
    }
    assert_eq!(origin.calls(), 0);
    gateway.await_log("warning[security-u");
}

#[test]
fn pass_forwards_credentials_unchecked() {
    let origin = Origin::plain();
    let gateway = Gateway::description(API, &["--upstream", &origin.url()]);
    assert_eq!(gateway.get("/header").status, 200);
    gateway.get_with("/both?key=k", "X-Key: mine\r\nAuthorization: Basic eDp5\r\nCookie: s=1\r\n");
    let seen = origin.await_call("/both");
    assert_eq!((seen.target(), seen.value("x-key")), ("/both?key=k".into(), "mine".into()));
    assert_eq!((seen.value("authorization"), seen.value("cookie")), ("Basic eDp5".into(), "s=1".into()));
    // Only an explicit `security: pass` opens what names a scheme that does not exist.
    gateway.get("/undefined").problem(403, "security-unsupported");
}

#[test]
fn the_gateway_shows_its_own_credential_to_the_upstream() {
    let origin = Origin::plain();
    let gateway = Gateway::start(
        crate::harness::Folder::new(),
        &["--proxy", &origin.url(), "--upstream-header", "Authorization: env:UPSTREAM_TOKEN"],
        &[("UPSTREAM_TOKEN", "Bearer up-s3cr3t")],
    );
    gateway.get_with("/", "Authorization: Bearer mine\r\n");
    assert_eq!(origin.one().value("authorization"), "Bearer up-s3cr3t");
    assert!(!gateway.log().contains("up-s3cr3t"));
}
