//! The admin API as its callers see it.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::{
    diagnostic::{Diagnostic, codes},
    telemetry::Metrics,
};

const SECRET: &str = "the-token";
const NEAR: &str = "127.0.0.1:5000";
const FAR: &str = "10.1.2.3:5000";

/// A gateway that answers fixed things and refuses consumers called `bad`.
#[derive(Default)]
struct Fake {
    leaving: AtomicBool,
    metrics: Arc<Metrics>,
}

fn generation() -> Generation {
    Generation {
        number: 3,
        created_ms: 1,
        source: "gatewright.yaml".into(),
        current: true,
        apis: 1,
        operations: 19,
        warnings: 2,
    }
}

fn key() -> Key {
    Key {
        id: "k1".into(),
        consumer: "ada".into(),
        created_ms: 1,
        expires_ms: None,
        revoked_ms: None,
        last_used_ms: None,
    }
}

impl Control for Fake {
    fn health(&self) -> Health {
        Health {
            status: if self.ready() { Status::Serving } else { Status::Leaving },
            version: "0".into(),
            generation: 3,
            generation_age_seconds: 1,
            uptime_seconds: 2,
        }
    }
    fn ready(&self) -> bool {
        !self.leaving.load(Ordering::Relaxed)
    }
    fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }
    fn generations(&self) -> Vec<Generation> {
        vec![generation()]
    }
    fn upstreams(&self) -> Vec<UpstreamState> {
        Vec::new()
    }
    fn cache(&self) -> CacheState {
        CacheState::default()
    }
    fn redis(&self) -> RedisState {
        RedisState {
            state: RedisStatus::Off,
            server: None,
            since_ms: 1,
            why: None,
            connects: 0,
            failures: 0,
            purges: None,
        }
    }
    fn keys(&self) -> Vec<Key> {
        vec![key()]
    }
    fn reload(&self) -> Result<Generation, Vec<Diagnostic>> {
        Err(vec![
            Diagnostic::error(codes::UNKNOWN_KEY, "unknown key `lisen`")
                .file("gatewright.yaml")
                .help("`listen`"),
        ])
    }
    fn add_key(&self, new: &NewKey) -> Result<CreatedKey, Vec<Diagnostic>> {
        assert_ne!(new.consumer, "panic");
        Ok(CreatedKey { key: key(), secret: "gw_k1_x".into() })
    }
    fn revoke_key(&self, id: &str) -> Result<Key, Vec<Diagnostic>> {
        assert_eq!(id, "k1");
        Ok(key())
    }
    fn purge(&self, what: &Purge) -> Result<Purged, Vec<Diagnostic>> {
        let away = what.api.as_deref() == Some("away");
        Ok(Purged {
            answers: u64::from(what.url.as_deref() == Some("http://a/b")),
            all_counted: what.soft,
            reach: if away { Reach::HereOnly } else { Reach::Everywhere },
            sequence: (!away).then_some(7),
            why: away.then(|| "no reply within 1s".to_owned()),
        })
    }
    fn stored(&self, which: &Listing) -> Result<StoredPage, Vec<Diagnostic>> {
        Ok(StoredPage { next: which.tag.clone(), ..StoredPage::default() })
    }
    fn variants(&self, _: &str) -> Result<Vec<Variant>, Vec<Diagnostic>> {
        Ok(Vec::new())
    }
}

fn app(address: &str) -> Router {
    router(Arc::new(Fake::default()), Access::new(Token::of(SECRET), address.parse().unwrap(), Vec::new()))
}

/// One call: `GET /path`, the peer, further fields, the body.
async fn call(
    app: &Router,
    line: &str,
    peer: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> (StatusCode, HeaderMap, String) {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    if !fields.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:9901");
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (parts.status, parts.headers, text)
}

const JSON: (&str, &str) = ("content-type", "application/json");
const BEARER: (&str, &str) = ("authorization", "Bearer the-token");

fn code(text: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"));
    value["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn on_loopback_everybody_may_read() {
    let app = app("127.0.0.1:9901");
    for path in [
        "/health",
        "/ready",
        "/metrics",
        "/keys",
        "/generations",
        "/upstreams",
        "/cache",
        "/redis",
        "/openapi.json",
        "/openapi.yaml",
    ] {
        let (status, headers, text) = call(&app, &format!("GET {path}"), NEAR, &[], "").await;
        assert_eq!(status, StatusCode::OK, "{path} {text}");
        assert_eq!(headers["cache-control"], "no-store");
    }
    let (_, headers, text) = call(&app, "GET /metrics", NEAR, &[], "").await;
    assert!(text.starts_with("# HELP") && text.contains("\n# TYPE"), "{text}");
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
}

#[tokio::test]
async fn off_loopback_only_probes_go_without_the_token() {
    let app = app("0.0.0.0:9901");
    for path in ["/metrics", "/keys", "/generations", "/openapi.json", "/nothing"] {
        let (status, headers, text) = call(&app, &format!("GET {path}"), FAR, &[], "").await;
        assert_eq!(
            (status, code(&text).as_str()),
            (StatusCode::UNAUTHORIZED, "credentials-missing"),
            "{path}"
        );
        assert_eq!(headers["www-authenticate"], "Bearer realm=\"gatewright admin\"");
    }
    for path in ["/health", "/ready"] {
        assert_eq!(call(&app, &format!("GET {path}"), FAR, &[], "").await.0, StatusCode::OK, "{path}");
    }
    assert_eq!(call(&app, "GET /metrics", FAR, &[BEARER], "").await.0, StatusCode::OK);
}

#[tokio::test]
async fn changing_needs_the_token_everywhere() {
    let app = app("127.0.0.1:9901");
    let new = r#"{"consumer":"ada"}"#;
    for (line, body) in [
        ("POST /keys", new),
        ("DELETE /keys/k1", ""),
        ("POST /config/reload", ""),
        ("POST /cache/purge", r#"{"all":true}"#),
        ("GET /cache/entries", ""),
        ("GET /cache/entry?url=/", ""),
    ] {
        let (status, _, text) = call(&app, line, NEAR, &[JSON], body).await;
        assert_eq!(
            (status, code(&text).as_str()),
            (StatusCode::UNAUTHORIZED, "credentials-missing"),
            "{line}"
        );
        let wrong = [JSON, ("authorization", "Bearer the-tokem")];
        let (status, _, text) = call(&app, line, NEAR, &wrong, body).await;
        assert_eq!(
            (status, code(&text).as_str()),
            (StatusCode::UNAUTHORIZED, "credentials-invalid"),
            "{line}"
        );
    }
    let (status, _, text) = call(&app, "POST /keys", NEAR, &[JSON, BEARER], new).await;
    assert_eq!(status, StatusCode::CREATED);
    assert!(text.contains("gw_k1_x"), "{text}");
    assert_eq!(call(&app, "DELETE /keys/k1", NEAR, &[BEARER], "").await.0, StatusCode::OK);
    let (_, _, text) =
        call(&app, "POST /cache/purge", NEAR, &[JSON, BEARER], r#"{"url":"http://a/b","soft":true}"#).await;
    assert_eq!(text, r#"{"answers":1,"all_counted":true,"reach":"everywhere","sequence":7}"#);
    let (status, _, text) = call(&app, "POST /cache/purge", NEAR, &[JSON, BEARER], r#"{"api":"away"}"#).await;
    assert_eq!((status, code(&text).as_str()), (StatusCode::SERVICE_UNAVAILABLE, "purge-incomplete"));
    assert!(text.contains("no reply within 1s") && text.contains(r#""reach":"here_only""#), "{text}");
    let (_, _, text) = call(&app, "GET /cache/entries?tag=a%20b", NEAR, &[BEARER], "").await;
    assert_eq!(text, r#"{"answers":[],"next":"a b","without_disk":false}"#);
    for query in ["limit=x", "colour=red"] {
        let (_, _, text) = call(&app, &format!("GET /cache/entries?{query}"), NEAR, &[BEARER], "").await;
        assert_eq!(code(&text), "malformed-request", "{text}");
    }
}

#[tokio::test]
async fn a_name_that_could_be_rebound_reaches_nothing() {
    let app = app("127.0.0.1:9901");
    for (line, host) in
        [("GET /health", "evil.example"), ("POST /keys", "evil.example:9901"), ("GET /keys", "")]
    {
        let (status, _, text) = call(&app, line, NEAR, &[("host", host), BEARER], "").await;
        assert_eq!((status, code(&text).as_str()), (StatusCode::MISDIRECTED_REQUEST, "misdirected-request"));
    }
    let two = [("host", "localhost"), ("host", "evil.example")];
    assert_eq!(call(&app, "GET /health", NEAR, &two, "").await.0, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(
        call(&app, "GET http://evil.example/health", NEAR, &[], "").await.0,
        StatusCode::MISDIRECTED_REQUEST
    );
}

#[tokio::test]
async fn a_refused_reload_lists_what_is_wrong() {
    let (status, headers, text) =
        call(&app("127.0.0.1:9901"), "POST /config/reload", NEAR, &[BEARER], "").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(headers["content-type"], "application/problem+json");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["code"], "change-refused");
    assert_eq!(value["detail"], "unknown key `lisen`");
    assert_eq!(value["diagnostics"][0]["file"], "gatewright.yaml");
}

#[tokio::test]
async fn bad_input_is_refused_with_its_reason() {
    let app = app("127.0.0.1:9901");
    let big = format!("\"{}\"", "x".repeat(MAX_BODY));
    for (fields, body, expected) in [
        (vec![BEARER], r#"{"consumer":"ada"}"#, "media-type-unsupported"),
        (vec![BEARER, JSON], "{", "malformed-request"),
        (vec![BEARER, JSON], r#"{"consumer":"ada","scope":1}"#, "malformed-request"),
        (vec![BEARER, JSON], &big, "body-too-large"),
        (vec![BEARER, JSON], r#"{"consumer":"panic"}"#, "internal"),
    ] {
        let (_, _, text) = call(&app, "POST /keys", NEAR, &fields, body).await;
        assert_eq!(code(&text), expected, "{text}");
    }
    let (status, headers, text) = call(&app, "PUT /keys", NEAR, &[BEARER], "").await;
    assert_eq!((status, code(&text).as_str()), (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"));
    assert!(headers["allow"].to_str().unwrap().contains("POST"));
    let (status, _, text) = call(&app, "POST /health", NEAR, &[BEARER], "").await;
    assert_eq!((status, code(&text).as_str()), (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"));
    let (status, _, text) = call(&app, "GET /nothing", NEAR, &[], "").await;
    assert_eq!((status, code(&text).as_str()), (StatusCode::NOT_FOUND, "route-not-found"));
}

#[tokio::test]
async fn wrong_tokens_are_slowed_down_and_the_right_one_never() {
    let app = app("127.0.0.1:9901");
    let wrong = [("authorization", "Bearer x")];
    let mut codes = Vec::new();
    for _ in 0..15 {
        codes.push(code(&call(&app, "POST /config/reload", NEAR, &wrong, "").await.2));
    }
    assert_eq!(codes[0], "credentials-invalid");
    assert_eq!(codes[14], "rate-limited");
    let (status, _, _) = call(&app, "DELETE /keys/k1", NEAR, &[BEARER], "").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_flood_is_stopped_by_peer_and_probes_go_on() {
    let app = app("127.0.0.1:9901");
    let mut last = (StatusCode::OK, HeaderMap::new(), String::new());
    // The forged address changes with every call and must not matter.
    for n in 0..2000 {
        let forged = format!("192.0.2.{}", n % 250);
        last = call(&app, "GET /cache", NEAR, &[("x-forwarded-for", &forged)], "").await;
        if last.0 != StatusCode::OK {
            break;
        }
    }
    assert_eq!((last.0, code(&last.2).as_str()), (StatusCode::TOO_MANY_REQUESTS, "rate-limited"));
    assert!(last.1.contains_key("retry-after"));
    assert_eq!(call(&app, "GET /health", NEAR, &[], "").await.0, StatusCode::OK);
    assert_eq!(call(&app, "GET /cache", "127.0.0.2:1", &[], "").await.0, StatusCode::OK);
}

#[tokio::test]
async fn readiness_ends_with_the_stop_signal_and_health_does_not() {
    let fake = Arc::new(Fake::default());
    fake.leaving.store(true, Ordering::Relaxed);
    let access = Access::new(Token::of(SECRET), "127.0.0.1:9901".parse().unwrap(), Vec::new());
    let app = router(fake, access);
    let (status, _, text) = call(&app, "GET /ready", NEAR, &[], "").await;
    assert_eq!((status, text.as_str()), (StatusCode::SERVICE_UNAVAILABLE, r#"{"ready":false}"#));
    let (status, _, text) = call(&app, "GET /health", NEAR, &[], "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains(r#""status":"leaving""#), "{text}");
}

/// The committed description is what the handlers say. `UPDATE=1` writes it.
#[test]
fn the_committed_description_is_not_stale() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/admin.yaml");
    let text = description_yaml();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == text, "openapi/admin.yaml is stale: run `UPDATE=1 cargo test admin`");
}

#[test]
fn the_description_names_every_call_and_which_need_the_token() {
    let value = serde_json::to_value(description()).unwrap();
    let paths: Vec<_> = value["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        paths,
        [
            "/cache",
            "/cache/entries",
            "/cache/entry",
            "/cache/purge",
            "/config/reload",
            "/generations",
            "/health",
            "/keys",
            "/keys/{id}",
            "/metrics",
            "/openapi.json",
            "/openapi.yaml",
            "/ready",
            "/redis",
            "/upstreams"
        ]
    );
    for (path, item) in value["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let forced = operation["security"] == serde_json::json!([{ "token": [] }]);
            assert_eq!(forced, method != "get" || path.starts_with("/cache/"), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(response["description"].is_string(), "{method} {path} {status}");
            }
        }
    }
    assert_eq!(value["components"]["securitySchemes"]["token"]["scheme"], "bearer");
}
