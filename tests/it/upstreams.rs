//! Before real servers: nginx as Debian ships it, and Prism serving real descriptions.

use std::{path::Path, time::Duration};

use crate::harness::{
    Client, Folder, Gateway, Nginx, Response,
    files::{project, read, spec, specs},
    prism::Prism,
};

/// The same request straight to the upstream.
fn direct(address: std::net::SocketAddr, method: &str, target: &str, fields: &str) -> Response {
    Client::connect(address)
        .exchange(format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n"))
}

#[test]
fn files_of_nginx_arrive_as_they_are() {
    let nginx = Nginx::start("location /moved { return 302 /file.txt; } location /gone { return 410; }");
    let text: Vec<u8> =
        (0..3_000_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()).collect();
    nginx.folder.write("www/file.txt", &text);
    nginx.folder.write("www/empty.txt", "");
    let gateway = Gateway::run(&["--proxy", &nginx.url(), "--no-cache"]);
    let whole = gateway.get("/file.txt");
    assert!(whole.status == 200 && whole.body == text, "{} bytes of {}", whole.body.len(), text.len());
    let tag = whole.value("etag");
    assert!(!tag.is_empty() && !whole.value("last-modified").is_empty());
    let part = gateway.get_with("/file.txt", "Range: bytes=100-199\r\n");
    assert_eq!((part.status, part.body.as_slice()), (206, &text[100..200]));
    assert_eq!(part.value("content-range"), format!("bytes 100-199/{}", text.len()));
    let many = gateway.get_with("/file.txt", "Range: bytes=0-1,5-6\r\n");
    assert!(many.status == 206 && many.value("content-type").starts_with("multipart/byteranges"));
    assert_eq!(gateway.get_with("/file.txt", "Range: bytes=99999999-\r\n").status, 416);
    let same = gateway.get_with("/file.txt", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((same.status, same.body.len(), same.value("etag")), (304, 0, tag.clone()));
    assert_eq!(gateway.get_with("/file.txt", "If-Match: \"other\"\r\n").status, 412);
    let head = gateway.send("HEAD", "/file.txt", "", "");
    assert_eq!((head.status, head.value("content-length")), (200, text.len().to_string()));
    assert_eq!(gateway.get("/empty.txt").value("content-length"), "0");
    for (target, status) in [("/moved", 302), ("/gone", 410), ("/missing", 404)] {
        let (ours, theirs) = (gateway.get(target), direct(nginx.address, "GET", target, ""));
        assert_eq!((ours.status, &ours.body), (status, &theirs.body), "{target}");
        assert_eq!(ours.value("server"), theirs.value("server"), "the upstream's own field stays");
    }
    assert_eq!(gateway.send("POST", "/file.txt", "", "x").status, 405);
}

#[test]
fn an_upload_reaches_nginx_whole() {
    let nginx = Nginx::start(
        "client_max_body_size 64m;
         location / { dav_methods PUT DELETE; create_full_put_path on; }",
    );
    let gateway = Gateway::run(&["--proxy", &nginx.url()]);
    let body = "0123456789abcdef".repeat(500_000);
    assert_eq!(gateway.send("PUT", "/deep/up.txt", "", &body).status, 201);
    assert_eq!(read(&nginx.folder.path("www/deep/up.txt")), body.as_bytes());
    assert_eq!(gateway.get("/deep/up.txt").body, body.as_bytes());
    assert_eq!(gateway.send("DELETE", "/deep/up.txt", "", "").status, 204);
}

#[test]
fn nginx_restarting_costs_an_error_and_no_more() {
    let gateway;
    {
        let nginx = Nginx::start("location / { return 200 first; }");
        gateway = Gateway::run(&["--proxy", &nginx.url(), "--no-cache"]);
        assert_eq!(gateway.get("/").text(), "first");
    }
    assert_eq!(gateway.get("/").status, 502);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(gateway.get("/").status, 502, "and it says so again");
}

/// A value for each path parameter that mocks accept for numbers and words alike.
fn fill(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, inner)) = rest.split_once('{') {
        out += before;
        out.push('1');
        rest = inner.split_once('}').map_or("", |(_, after)| after);
    }
    out + rest
}

/// Calls every GET of a description through the gateway and straight at Prism: the same answers.
///
/// Prism serves at the root whatever the servers' base path is; an nginx between the two takes it off.
fn compare(description: &Path, base: &str, least: usize) {
    let folder = Folder::new();
    let name = description.file_name().unwrap().to_str().unwrap().trim_end_matches(".gz");
    let file = folder.write(name, read(description));
    let prism = Prism::start(Path::new(&file));
    let nginx = Nginx::start(&format!(
        "underscores_in_headers on; location {base}/ {{ proxy_pass {}/; }}",
        prism.url()
    ));
    let flags = [file.as_str(), "--upstream", &nginx.url(), "--all-servers", "--no-cache"].map(str::to_owned);
    let gateway = Gateway::run(&flags.each_ref().map(String::as_str));
    let listed = ["routes", &file, "--format", "json"];
    let routes = crate::harness::cli(listed).fine().json();
    let mut compared = 0;
    for route in routes.as_array().unwrap().iter().filter(|route| route["method"] == "GET") {
        let target = fill(route["path"].as_str().unwrap());
        let fields = "Accept: application/json\r\nX-API-Key: k\r\napi_key: k\r\nAuthorization: Bearer t\r\n";
        let theirs = direct(prism.address, "GET", target.strip_prefix(base).unwrap(), fields);
        let ours = gateway.get_with(&target, fields);
        assert_eq!(ours.status, theirs.status, "{target}: {} / {}", ours.text(), theirs.text());
        assert_eq!(ours.value("content-type"), theirs.value("content-type"), "{target}");
        compared += 1;
    }
    assert!(compared >= least, "only {compared} operations of {name}");
}

#[test]
fn prism_answers_the_same_through_the_gateway() {
    compare(&project("openapi/bookshop.yaml"), "", 7);
    if specs().is_some() {
        compare(&spec("3.0-petstore.yaml", ""), "/api/v3", 8);
    }
}

#[test]
fn prism_with_a_2_0_and_a_3_1_description_answers_the_same() {
    compare(&spec("2.0-petstore.json", "weather-2.0.json"), "/v2", 3);
    if specs().is_some() {
        compare(&spec("3.1-petstore.json", ""), "/v2", 8);
    }
}
