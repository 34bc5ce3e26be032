//! What the documentation serves.

use std::io::Read;

use http_body_util::BodyExt;

use super::*;

fn api(slug: &str, title: &str) -> DocsApi {
    let json =
        Bytes::from(format!("{{\"openapi\":\"3.1.0\",\"info\":{{\"title\":\"{}\"}}}}", slug.repeat(500)));
    DocsApi {
        slug: slug.into(),
        title: title.into(),
        release: "1.0".into(),
        summary: "**Pets** and more.\n\nSecond paragraph.".into(),
        operations: 3,
        description: Arc::new(move || json.clone()),
    }
}

fn two() -> Docs {
    Docs::new("/docs", vec![api("Pet Store", "Pets <script>alert(1)</script>"), api("problems", "Users")])
}

fn get(docs: &Docs, path: &str, fields: &[(&'static str, &str)]) -> Response<Body> {
    let headers = fields
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
        .collect();
    docs.handle(&Method::GET, path, &headers).expect("in the realm").expect("no problem")
}

fn bytes(response: Response<Body>) -> Vec<u8> {
    let body = response.into_body().collect();
    let body = futures_util::FutureExt::now_or_never(body).unwrap().unwrap();
    body.to_bytes().to_vec()
}

fn text(response: Response<Body>) -> String {
    String::from_utf8(bytes(response)).unwrap()
}

fn field<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// The addresses of attributes such as `src` in a page.
fn addresses(page: &str, attribute: &str) -> Vec<String> {
    let start = format!("{attribute}=\"");
    page.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn one_api_is_shown_at_once_and_several_get_an_index() {
    let one = Docs::new("/docs/", vec![api("pets", "Pets")]);
    let response = get(&one, "/docs", &[]);
    assert_eq!((response.status(), field(&response, "location")), (StatusCode::FOUND, "/docs/pets"));
    let page = text(get(&two(), "/docs/", &[]));
    assert!(
        page.contains("href=\"/docs/pet-store\"") && page.contains("href=\"/docs/problems-2\""),
        "{page}"
    );
    assert_eq!(two().paths().collect::<Vec<_>>(), ["/docs/pet-store", "/docs/problems-2"]);
}

#[test]
fn every_address_on_every_page_is_there() {
    let docs = two();
    let mut open = vec!["/docs".to_owned()];
    let mut seen = HashSet::new();
    while let Some(path) = open.pop() {
        if !path.starts_with('/') || !seen.insert(path.clone()) {
            assert!(path.starts_with('/') || path.starts_with("data:"), "{path} leaves the gateway");
            continue;
        }
        let response = get(&docs, &path, &[]);
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        if field(&response, "content-type").starts_with("text/html") {
            let page = text(response);
            open.extend(["href", "src", "data-description"].iter().flat_map(|name| addresses(&page, name)));
        }
    }
    assert!(seen.len() > problem::ALL.len() + 6, "{seen:?}");
}

#[test]
fn text_of_a_description_is_never_markup() {
    let docs = two();
    for path in ["/docs", "/docs/pet-store"] {
        let page = text(get(&docs, path, &[]));
        assert!(page.contains("Pets &lt;script&gt;") && !page.contains("<script>"), "{page}");
        assert!(
            !page.contains("style=") && !page.contains("javascript:") && !page.contains("onload"),
            "{page}"
        );
    }
    assert!(text(get(&docs, "/docs", &[])).contains("<p>Pets and more.</p>"));
}

#[test]
fn pages_have_a_strict_policy_and_the_reference_may_only_talk_to_its_origin() {
    let docs = two();
    for path in ["/docs", "/docs/problems", "/docs/problems/rate-limited", "/docs/pet-store"] {
        let response = get(&docs, path, &[]);
        let policy = field(&response, "content-security-policy");
        for part in ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
        {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("script-src 'self' ") && !policy.contains("http"), "{policy}");
        assert_eq!(policy.contains("script-src 'self';"), path == "/docs/pet-store");
        assert_eq!(field(&response, "x-content-type-options"), "nosniff");
        assert_eq!(field(&response, "referrer-policy"), "no-referrer");
    }
}

#[test]
fn a_file_is_compressed_when_asked_and_kept_for_ever() {
    let docs = two();
    let page = text(get(&docs, "/docs/pet-store", &[]));
    let script = addresses(&page, "src").into_iter().find(|path| path.ends_with("scalar.js")).unwrap();
    let plain = get(&docs, &script, &[("accept-encoding", "br, gzip;q=0")]);
    let packed = get(&docs, &script, &[("accept-encoding", "br, gzip")]);
    assert_eq!(field(&packed, "content-encoding"), "gzip");
    assert_eq!(field(&packed, "vary"), "Accept-Encoding");
    assert!(field(&packed, "cache-control").contains("immutable"));
    assert_eq!(field(&plain, "content-encoding"), "");
    assert_ne!(field(&plain, "etag"), field(&packed, "etag"));
    let (plain, packed) = (bytes(plain), bytes(packed));
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == plain && packed.len() * 3 < plain.len() && plain.len() > 1_000_000);
    let old = script.replace("/assets/", "/assets/0");
    assert!(docs.handle(&Method::GET, &old, &HeaderMap::new()).unwrap().is_err());
}

#[test]
fn what_the_browser_has_is_not_sent_again() {
    let docs = two();
    let first = get(&docs, "/docs/pet-store/openapi.json", &[("accept-encoding", "gzip")]);
    assert_eq!(field(&first, "content-type"), "application/json");
    let tag = field(&first, "etag").to_owned();
    let fields = [("accept-encoding", "gzip"), ("if-none-match", &*format!("\"x\", W/{tag}"))];
    let again = get(&docs, "/docs/pet-store/openapi.json", &fields);
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(field(&again, "etag"), tag);
    assert!(bytes(again).is_empty());
}

#[test]
fn head_tells_the_length_and_sends_nothing() {
    let docs = two();
    let full = bytes(get(&docs, "/docs/problems", &[])).len();
    let head = docs.handle(&Method::HEAD, "/docs/problems", &HeaderMap::new()).unwrap().unwrap();
    assert_eq!(field(&head, "content-length"), full.to_string());
    assert!(bytes(head).is_empty());
}

#[test]
fn other_methods_other_pages_and_other_realms_are_told_apart() {
    let docs = two();
    let none = HeaderMap::new();
    let refused = |method: &Method, path: &str| docs.handle(method, path, &none).unwrap().err().unwrap();
    let problem = refused(&Method::POST, "/docs/problems");
    assert_eq!(problem.kind.slug, "method-not-allowed");
    assert_eq!(problem.headers, [(header::ALLOW, HeaderValue::from_static("GET, HEAD"))]);
    for path in
        ["/docs/nothing", "/docs/problems/nothing", "/docs/pet-store/x", "/docs/assets", "/docs/assets/x"]
    {
        assert_eq!(refused(&Method::GET, path).kind.slug, "route-not-found", "{path}");
    }
    assert!(docs.handle(&Method::GET, "/documents", &none).is_none());
    assert!(docs.handle(&Method::GET, "/", &none).is_none());
}

#[test]
fn a_problem_page_says_what_to_do_and_shows_the_real_answer() {
    let page = text(get(&two(), "/docs/problems/rate-limited", &[]));
    assert!(page.contains("<h1>Too many requests</h1>"), "{page}");
    assert!(page.contains("Wait as long as <code>Retry-After</code> says."), "{page}");
    assert!(page.contains("&quot;status&quot;: 429"), "{page}");
    assert!(page.contains("https://api.example.com/docs/problems/rate-limited"), "{page}");
}
