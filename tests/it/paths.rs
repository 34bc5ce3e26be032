//! The request target: one spelling, matched and sent byte for byte, or refused (RFC 3986, section 6.2.2).

use crate::harness::{Gateway, Origin, origin::Seen};

#[test]
fn what_is_clear_is_sent_as_it_was_matched() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    // As sent by the client, as seen upstream.
    let vectors = [
        ("/", "/"),
        ("/a//b///", "/a//b///"),
        ("//evil.example/x", "//evil.example/x"),
        ("/a/.../b", "/a/.../b"),
        ("/.well-known/x", "/.well-known/x"),
        ("/%7Euser/%41%2d", "/~user/A-"),
        ("/gr%c3%bc%c3%9fe", "/gr%C3%BC%C3%9Fe"),
        ("/a%20b+c", "/a%20b+c"),
        ("/a;v=1/@x:y,z=(1)'!*$&", "/a;v=1/@x:y,z=(1)'!*$&"),
        ("/100%25", "/100%25"),
        ("/%252e%252e/x", "/%252e%252e/x"),
        ("/a?b=%7B1%7D&&c=d+e&f", "/a?b=%7B1%7D&&c=d+e&f"),
        ("/a?", "/a?"),
        ("/a?x=../../etc&y=%2e%2e%2f&z=http://h/?q", "/a?x=../../etc&y=%2e%2e%2f&z=http://h/?q"),
        ("/a?q=%zz", "/a?q=%zz"),
        ("/o'r?q='x'", "/o'r?q=%27x%27"),
    ];
    for (index, (sent, expected)) in vectors.iter().enumerate() {
        let answer = gateway.get(sent);
        assert_eq!(answer.status, 200, "{sent}: {}", answer.text());
        assert_eq!(origin.seen()[index].target(), *expected, "{sent}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    for target in [
        "/a/../b",
        "/..",
        "/a/..",
        "/./a",
        "/a/.",
        "/a/%2e%2e/b",
        "/a/%2E%2e",
        "/a/.%2e/b",
        "/%2e",
        "/a/..;/b",
        "/a/..%2fb",
        "/a%2f..%2fb",
        "/a\\b",
        "/a%5cb",
        "/a%5C..%5Cb",
        "/a%00b",
        "/a%0d%0aX:1",
        "/a%7f",
        "/%",
        "/%4",
        "/%zz",
        "/a#b",
        "/a?b#c",
    ] {
        gateway.get(target).problem(400, "malformed-request");
    }
    for raw in [&b"/a\x01b"[..], b"/a\x7fb", b"/a\tb"] {
        let request = [b"GET ", raw, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        assert_eq!(gateway.client().exchange(request).status, 400, "{raw:?}");
    }
    assert_eq!(origin.calls(), 0, "{:?}", origin.seen().last().map(Seen::target));
}

const API: &str = "
openapi: 3.0.3
info: { title: Paths, version: '1' }
servers: [{ url: http://upstream.example/base }]
paths:
  /public/{name}: { get: { operationId: public, responses: { '200': { description: fine } } } }
  /public/{name}/secret: { get: { operationId: secret, responses: { '200': { description: fine } } } }
  /users/me/posts: { get: { operationId: mine, responses: { '200': { description: fine } } } }
  /users/{id}/posts: { get: { operationId: posts, responses: { '200': { description: fine } } } }
  /users/me: { get: { operationId: me, responses: { '200': { description: fine } } } }
  /users/{id}/likes: { get: { operationId: likes, responses: { '200': { description: fine } } } }
  /files/{id}.json: { get: { operationId: json, responses: { '200': { description: fine } } } }
  /files/{id}: { get: { operationId: file, responses: { '200': { description: fine } } } }
  /files/{id}:lock: { post: { operationId: lock, responses: { '200': { description: fine } } } }
  /at/{lat},{lon}: { get: { operationId: at, responses: { '200': { description: fine } } } }
  /slash/: { get: { operationId: slash, responses: { '200': { description: fine } } } }
";

#[test]
fn operations_are_told_apart_as_the_description_says() {
    let origin = Origin::plain();
    let gateway =
        Gateway::description(API, &["--upstream", &origin.url(), "--access-log", "json", "--workers", "1"]);
    let vectors = [
        ("GET", "/base/public/a", 200, "public"),
        ("GET", "/base/users/me/posts", 200, "mine"),
        ("GET", "/base/users/7/posts", 200, "posts"),
        ("GET", "/base/users/me/likes", 200, "likes"),
        ("GET", "/base/files/a.json", 200, "json"),
        ("GET", "/base/files/a.txt", 200, "file"),
        ("POST", "/base/files/a:lock", 200, "lock"),
        ("GET", "/base/at/1.5,-2", 200, "at"),
        ("GET", "/base/slash/", 200, "slash"),
        ("DELETE", "/base/users/me", 405, ""),
        ("GET", "/base/slash", 404, ""),
        ("GET", "/base/public/", 404, ""),
        ("GET", "/base/at/1", 404, ""),
        ("GET", "/public/a", 404, ""),
        ("GET", "/base", 404, ""),
    ];
    for (method, path, status, _) in vectors {
        let answer = gateway.send(method, path, "", "");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        match status {
            405 => assert!(!answer.value("allow").is_empty(), "{method} {path}"),
            404 => drop(answer.problem(404, "route-not-found")),
            _ => {}
        }
    }
    let log = gateway.access_log(vectors.len());
    for ((method, path, _, operation), line) in vectors.iter().zip(&log) {
        assert_eq!(line["operation"].as_str().unwrap_or_default(), *operation, "{method} {path}");
    }
    for seen in origin.seen() {
        assert!(seen.target().starts_with("/base/"), "the base path is the server's: {}", seen.target());
    }
}

#[test]
fn an_encoded_slash_never_reaches_another_operation() {
    let origin = Origin::plain();
    let gateway = Gateway::description(API, &["--upstream", &origin.url()]);
    gateway.get("/base/public/a%2Fsecret").problem(400, "malformed-request");
    assert_eq!(origin.calls(), 0);
    // Where reading it as a slash leads nowhere else, it is data.
    assert_eq!(gateway.get("/base/public/a%2fb").status, 200);
    assert_eq!(origin.one().target(), "/base/public/a%2Fb");
}

#[test]
fn the_base_path_follows_the_flags() {
    let origin = Origin::plain();
    let own_path = format!("{}/v9", origin.url());
    let url = origin.url();
    for (flags, called, expected) in [
        (vec!["--upstream", &url], "/base/users/me", "/base/users/me"),
        (vec!["--upstream", &own_path], "/v9/users/me", "/v9/users/me"),
        (vec!["--upstream", &own_path, "--strip-base"], "/users/me", "/v9/users/me"),
        (vec!["--upstream", &own_path, "--mount", "/m"], "/m/v9/users/me", "/v9/users/me"),
    ] {
        let gateway = Gateway::description(API, &flags);
        let answer = gateway.get(called);
        assert_eq!(answer.status, 200, "{flags:?}: {}", answer.text());
        assert_eq!(origin.seen().last().unwrap().target(), expected, "{flags:?}");
    }
}
