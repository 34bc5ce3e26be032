//! Where descriptions come from: folders, addresses, other files; and where they may not lead.

use std::time::Duration;

use crate::harness::{Client, Folder, Gateway, Origin, cli, files::sample};

fn api(title: &str, server: &str, path: &str) -> String {
    format!(
        "openapi: 3.0.3\ninfo: {{ title: {title}, version: '1' }}\nservers: [{{ url: '{server}' }}]\n\
         paths:\n  {path}: {{ get: {{ responses: {{ '200': {{ description: fine }} }} }} }}\n"
    )
}

/// Serves this text as a description at `/openapi.yaml`, and `ok` for everything else.
fn serving(text: String) -> Origin {
    let redirect = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    let [moved, round] = ["/openapi.yaml", "/round"].map(redirect);
    Origin::start(move |call| match call.path().as_str() {
        "/openapi.yaml" => call.ok("Content-Type: application/yaml\r\n", &text),
        "/moved" => {
            call.send(&moved);
        }
        "/round" => {
            call.send(&round);
        }
        "/html" => call.ok("Content-Type: text/html\r\n", "<!DOCTYPE html><title>Log in</title>"),
        "/missing" => {
            call.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        }
        "/endless" => {
            call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let block = format!("100000\r\n{}\r\n", "#".repeat(0x10_0000));
            while call.send(&block) {}
            call.close();
        }
        _ => call.ok("", "ok"),
    })
}

#[test]
fn a_description_from_an_address_is_served() {
    let origin = serving(api("Remote", "/v7", "/here"));
    let gateway = Gateway::run(&[&format!("{}/moved", origin.url())]);
    let answer = gateway.get("/v7/here");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "ok"),
        "a relative server is that of the address"
    );
    assert_eq!(origin.await_call("/v7/here").target(), "/v7/here");
    // Its author chose a server inside this machine: the user is told.
    gateway.await_log("upstream-internal");
}

#[test]
fn an_address_that_gives_no_description_is_refused() {
    let origin = serving(String::new());
    for (path, words) in [
        ("/missing", &["404"][..]),
        ("/html", &["HTML"]),
        ("/round", &["redirect"]),
        ("/endless", &["80 MB"]),
        ("/openapi.yaml", &["empty"]),
    ] {
        let url = format!("{}{path}", origin.url());
        let output = cli(["check", &url]);
        assert!(matches!(output.code, Some(1 | 2)), "{path}: {output:?}");
        for word in words {
            assert!(output.stderr.contains(word), "{path}: no `{word}` in\n{}", output.stderr);
        }
    }
    let output = cli(["check", "http://127.0.0.1:1/openapi.json"]);
    output.refused(2, "fetch-failed", &["127.0.0.1:1"]);
}

#[test]
fn a_folder_keeps_its_apis_apart() {
    let origin = Origin::plain();
    let folder = Folder::new();
    folder.write("apis/one.yaml", api("One", "http://127.0.0.1:9/one", "/here"));
    folder.write("apis/two.yaml", api("Two", "http://127.0.0.1:9/two", "/here"));
    folder.write("apis/same.yaml", api("Same", "http://127.0.0.1:9/one", "/here"));
    let path = folder.arg("apis");
    let gateway = Gateway::start(folder, &[&path, "--upstream", &origin.url()], &[]);
    assert_eq!(gateway.get("/two/here").status, 200);
    let listed = cli(["routes", &path, "--format", "json"]).fine().json();
    let paths: std::collections::BTreeSet<String> =
        listed.as_array().unwrap().iter().map(|route| route["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(paths.len(), 3, "{paths:?}");
    for path in &paths {
        assert_eq!(gateway.get(path).status, 200, "{path}");
    }
}

#[test]
fn a_description_never_makes_the_gateway_read_or_call_elsewhere() {
    let origin = Origin::plain();
    let folder = Folder::new();
    folder
        .write("secret.yaml", "get: { operationId: leaked, responses: { '200': { description: s3cr3t } } }");
    std::fs::create_dir(folder.path("api")).unwrap();
    std::os::unix::fs::symlink(folder.path("secret.yaml"), folder.path("api/link.yaml")).unwrap();
    let references = [
        "../secret.yaml".to_owned(),
        folder.arg("secret.yaml"),
        format!("file://{}", folder.arg("secret.yaml")),
        "link.yaml".to_owned(),
        "..%2fsecret.yaml".to_owned(),
        "/etc/hostname".to_owned(),
        format!("{}/item.yaml", origin.url()),
        format!("//{}/item.yaml", origin.address),
    ];
    for reference in references {
        let text = format!(
            "openapi: 3.0.3\ninfo: {{ title: Curious, version: '1' }}\nservers: [{{ url: http://127.0.0.1:9 }}]\n\
             paths:\n  /a: {{ $ref: '{reference}' }}\n  /b: {{ get: {{ responses: {{ '200': {{ description: fine }} }} }} }}\n"
        );
        let file = folder.write("api/api.yaml", text);
        let output = cli(["routes", &file, "--format", "json"]);
        assert!(
            !output.stdout.contains("leaked") && !output.stderr.contains("s3cr3t"),
            "{reference}: {output:?}"
        );
        assert_eq!(output.json().as_array().unwrap().len(), 1, "{reference}: the other path is served");
        assert!(output.stderr.contains("unresolved"), "{reference}: {}", output.stderr);
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(origin.calls(), 0, "an address was called unasked");
}

#[test]
fn hosts_are_told_apart() {
    let origin = Origin::start(|call| {
        let path = call.path();
        call.ok("", path);
    });
    let gateway = Gateway::config(&format!(
        "routes:
  - {{ path: /x, host: one.example, upstream: '{0}/one' }}
  - {{ path: /x, host: '*.two.example', upstream: '{0}/two' }}
  - {{ path: /x, upstream: '{0}/any' }}
",
        origin.url()
    ));
    for (host, expected) in [
        ("one.example", "/one/x"),
        ("ONE.example:8080", "/one/x"),
        ("a.two.example", "/two/x"),
        ("two.example", "/any/x"),
        ("elsewhere.example", "/any/x"),
    ] {
        let answer = gateway.client().exchange(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.text(), expected, "{host}");
    }
}

#[test]
fn the_environment_fills_in_a_configuration() {
    let origin = Origin::plain();
    let folder = Folder::new();
    let text = "routes:
  - { path: /**, upstream: '${TARGET}', credentials: { header: X-Secret, value: 'v ${file:secret} ${ABSENT:-d}' } }
";
    let file = folder.write("gatewright.yaml", text);
    folder.write("secret", "from-file\n");
    let gateway = Gateway::start(folder, &[&file], &[("TARGET", &origin.url())]);
    gateway.get("/");
    assert_eq!(origin.one().value("x-secret"), "v from-file d");
    let folder = Folder::new();
    let file =
        folder.write("gatewright.yaml", "routes:\n  - { path: /**, upstream: '${NOT_SET_ANYWHERE}' }\n");
    let output = cli(["check", &file]);
    assert!(output.code == Some(1) && output.stderr.contains("NOT_SET_ANYWHERE"), "{output:?}");
}

#[test]
fn http_2_is_spoken_to_clients_that_want_it() {
    let origin = Origin::plain();
    let gateway =
        Gateway::run(&[&sample("bookshop.yaml"), "--upstream", &origin.url(), "--access-log", "json"]);
    let curl = |arguments: &[&str]| {
        let output = std::process::Command::new("curl")
            .args(["-sS", "--http2-prior-knowledge", "-w", "%{http_version} %{http_code}", "-o", "-"])
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let base = format!("http://{}", gateway.address);
    assert_eq!(curl(&[&format!("{base}/books")]), "ok\n2 200");
    assert_eq!(curl(&["-d", "{\"isbn\":1}", &format!("{base}/books")]), "ok\n2 200");
    assert!(curl(&[&format!("{base}/none")]).ends_with("2 404"));
    let seen = origin.await_call("/books");
    assert_eq!(seen.value("host"), origin.address.to_string());
    assert!(seen.value("via").starts_with("2 gatewright"), "{}", seen.value("via"));
    assert_eq!(origin.seen()[1].body, b"{\"isbn\":1}");
    assert_eq!(gateway.access_log(3)[0]["protocol"], "HTTP/2");
    // Both versions on one port.
    let answer = Client::connect(gateway.address).exchange("GET /books HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(answer.status, 200);
}
