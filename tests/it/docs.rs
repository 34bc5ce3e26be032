//! What `/docs` serves: the page, the effective descriptions, and nothing from elsewhere.

use crate::harness::{Gateway, Origin, files::sample};

#[test]
fn the_page_comes_from_the_gateway_alone() {
    let gateway = Gateway::run(&[&sample("bookshop.yaml")]);
    let page = gateway.get("/docs");
    let page = if page.status / 100 == 3 { gateway.get(&page.value("location")) } else { page };
    assert!(page.status == 200 && page.value("content-type").starts_with("text/html"), "{page:?}");
    let policy = page.value("content-security-policy");
    for rule in ["default-src 'none'", "script-src 'self'", "connect-src 'self'"] {
        assert!(policy.contains(rule), "no `{rule}` in {policy}");
    }
    assert!(!policy.contains("unsafe-eval"), "{policy}");
    let html = page.text();
    assert!(!html.contains("https://"), "the page refers to another host: {html}");
    assert!(!html.contains("<script>"), "an inline script: {html}");
}

#[test]
fn the_effective_description_is_what_this_gateway_does() {
    let gateway = Gateway::run(&[&sample("bookshop.yaml"), "--security", "gateway"]);
    let index = gateway.get("/docs/bookshop/openapi.json");
    assert_eq!(index.status, 200, "{}", index.text());
    let document = index.json();
    let server = document["servers"][0]["url"].as_str().unwrap();
    assert!(
        server.is_empty() || server.starts_with('/') || server.contains(&gateway.address.to_string()),
        "{server}"
    );
    let quote = &document["paths"]["/quote"]["get"];
    for status in ["200", "401", "429", "502", "504"] {
        assert!(quote["responses"].get(status).is_some(), "no {status} in {}", quote["responses"]);
    }
    assert!(document["paths"]["/books/{isbn}"]["get"].is_object());
    assert!(!document.to_string().contains("x-gatewright"), "the gateway's own settings are not for readers");
}

#[test]
fn an_operation_with_a_security_of_its_own_shows_it() {
    let origin = Origin::plain();
    let api = "
openapi: 3.0.3
info: { title: Mixed, version: '1' }
servers: [{ url: http://127.0.0.1:9 }]
security: [{ account: [] }]
components: { securitySchemes: { account: { type: http, scheme: basic } } }
paths:
  /described: { get: { responses: { '200': { description: fine } } } }
  /keyed: { get: { x-gatewright: { security: gateway }, responses: { '200': { description: fine } } } }
  /open: { get: { x-gatewright: { security: gateway, public: true }, responses: { '200': { description: fine } } } }
";
    let gateway = Gateway::description(api, &["--upstream", &origin.url()]);
    let document = gateway.get("/docs/mixed/openapi.json").json();
    let of = |path: &str| document["paths"][path]["get"].clone();
    let status = |path: &str| gateway.get(path).status;
    assert_eq!((status("/described"), status("/keyed"), status("/open")), (200, 401, 200));
    assert_eq!(of("/described").get("security"), None, "as the whole document");
    assert_eq!(document["security"], serde_json::json!([{ "account": [] }]));
    let keyed = serde_json::json!([{ "gatewrightKey": [] }, { "gatewrightToken": [] }]);
    assert_eq!((&of("/keyed")["security"], &of("/open")["security"]), (&keyed, &serde_json::json!([])));
    for (path, refuses) in [("/described", false), ("/keyed", true), ("/open", false)] {
        assert_eq!(of(path)["responses"].get("401").is_some(), refuses, "{path}");
    }
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    assert_eq!(schemes.keys().collect::<Vec<_>>(), ["account", "gatewrightKey", "gatewrightToken"]);
}

#[test]
fn the_docs_can_be_moved_and_left_out() {
    let origin = Origin::plain();
    let moved = Gateway::run(&[&sample("bookshop.yaml"), "--docs", "/reference"]);
    assert!(matches!(moved.get("/reference").status, 200 | 301..=308));
    assert_eq!(moved.get("/docs").status, 404);
    let off = Gateway::run(&[&sample("bookshop.yaml"), "--docs", "off"]);
    assert_eq!(off.get("/docs").status, 404);
    let api = "openapi: 3.0.3\ninfo: { title: Own docs, version: '1' }\nservers: [{ url: http://127.0.0.1:9 }]\n\
               paths: { /docs: { get: { responses: { '200': { description: fine } } } } }\n";
    let gateway = Gateway::description(api, &["--upstream", &origin.url()]);
    assert_eq!(gateway.get("/docs").text(), "ok\n", "a route of the description wins");
    gateway.await_log("docs");
}
