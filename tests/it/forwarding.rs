//! Heads through the gateway: what passes byte for byte, what stays at the hop, what the gateway adds
//! (RFC 9110, section 7.6).

use crate::harness::{Client, Gateway, Origin, Response, free_port, origin::Seen};

/// Sends a GET with these field lines and gives the origin's view and the answer.
fn through(gateway: &Gateway, target: &str, fields: &str) -> Response {
    gateway.client().exchange(format!("GET {target} HTTP/1.1\r\nHost: api.example\r\n{fields}\r\n"))
}

#[test]
fn fields_of_one_connection_do_not_reach_the_upstream() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    through(
        &gateway,
        "/",
        "Connection: X-Drop, keep-alive,x-DROP-too, Via, X-Forwarded-For, Host\r\nX-Drop: 1\r\nX-Drop-Too: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n\
         Proxy: http://evil.example\r\nTE: gzip, trailers\r\nUpgrade: foo/2\r\nX-Keep: 1\r\n",
    );
    let seen = origin.one();
    for name in
        ["x-drop", "x-drop-too", "keep-alive", "proxy-connection", "proxy-authorization", "proxy", "upgrade"]
    {
        assert!(seen.values(name).is_empty(), "{name} passed");
    }
    assert_eq!((seen.value("te"), seen.value("x-keep")), ("trailers".into(), "1".into()));
    // Naming what the gateway adds takes nothing of it away.
    assert!(seen.value("via").starts_with("1.1 gatewright"));
    assert_eq!(seen.value("x-forwarded-for"), "127.0.0.1");
    assert_eq!(seen.value("host"), origin.address.to_string());
}

#[test]
fn fields_of_one_connection_do_not_reach_the_client() {
    let origin = Origin::fixed(
        "HTTP/1.1 200 OK\r\nConnection: X-Gone\r\nX-Gone: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\n\
         Upgrade: x\r\nX-Stays: 1\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = Gateway::proxy(&origin.url());
    let answer = gateway.get("/");
    for name in ["x-gone", "keep-alive", "proxy-connection", "upgrade"] {
        assert!(answer.values(name).is_empty(), "{name} passed");
    }
    assert_eq!((answer.value("x-stays"), answer.text()), ("1".into(), "ok".into()));
    assert!(answer.value("via").starts_with("1.1 gatewright"));
}

#[test]
fn nothing_is_added_that_the_gateway_does_not_own_up_to() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    let answer = through(&gateway, "/", "");
    let head = String::from_utf8(origin.one().head).unwrap().to_lowercase();
    let mut names: Vec<&str> =
        head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0)).collect();
    names.sort_unstable();
    // `Accept: */*` is what its absence means (RFC 9110, section 12.5.1); the client library writes it out.
    names.retain(|name| *name != "accept");
    assert!(head.contains("\r\naccept: */*\r\n") || !head.contains("\r\naccept:"), "{head}");
    assert_eq!(
        names,
        ["host", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"]
    );
    let added: Vec<String> = answer.fields.iter().map(|(name, _)| name.to_lowercase()).collect();
    for name in &added {
        let known = ["content-type", "content-length", "via", "x-request-id", "date", "cache-status"];
        assert!(known.contains(&name.as_str()), "the answer has `{name}`");
    }
}

#[test]
fn what_strangers_claim_about_themselves_is_dropped() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    through(
        &gateway,
        "/",
        "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: gopher\r\n\
         X-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /evil\r\nX-Real-IP: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\n",
    );
    let seen = origin.one();
    assert_eq!(seen.value("x-forwarded-for"), "127.0.0.1");
    assert_eq!(seen.value("x-forwarded-host"), "api.example");
    assert_eq!(seen.value("x-forwarded-proto"), "http");
    for name in ["forwarded", "x-forwarded-port", "x-forwarded-prefix", "x-real-ip"] {
        assert!(seen.values(name).is_empty(), "{name} passed");
    }
}

#[test]
fn the_clients_address_can_be_kept_from_upstreams() {
    let origin = Origin::plain();
    let gateway = Gateway::run(&["--proxy", &origin.url(), "--hide-client-address"]);
    through(&gateway, "/", "X-Forwarded-For: 6.6.6.6\r\n");
    assert!(!String::from_utf8_lossy(&origin.one().head).contains("127.0.0.1, "), "an address passed");
    assert!(origin.one().values("x-forwarded-for").is_empty());
}

#[test]
fn the_upstream_gets_its_own_authority_unless_the_clients_is_to_be_kept() {
    let origin = Origin::plain();
    let gateway = Gateway::config(&format!(
        "routes:\n  - {{ path: /own/**, upstream: '{0}' }}\n  - {{ path: /kept/**, upstream: '{0}', preserve_host: true }}\n",
        origin.url()
    ));
    through(&gateway, "/own/x", "");
    through(&gateway, "/kept/x", "");
    assert_eq!(origin.await_call("/own/x").value("host"), origin.address.to_string());
    assert_eq!(origin.await_call("/kept/x").value("host"), "api.example");

    // HTTP/2 has it in `:authority`.
    let curl = std::process::Command::new("curl")
        .args(["-sS", "--http2-prior-knowledge", "--max-time", "10", "-H", "Host: api.example"])
        .arg(format!("http://{}/kept/two", gateway.address))
        .output()
        .expect("curl runs");
    assert!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
    assert_eq!(origin.await_call("/kept/two").value("host"), "api.example");
}

#[test]
fn repeated_fields_keep_their_number_and_order() {
    let origin = Origin::fixed(
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nLink: <x>\r\nSet-Cookie: b=2\r\nLink: <y>, <z>\r\nSet-Cookie: a=3\r\n\
         Content-Length: 0\r\n\r\n",
    );
    let gateway = Gateway::proxy(&origin.url());
    let answer =
        through(&gateway, "/", "X-A: 1\r\nX-B: 2\r\nX-A: 3, 4\r\nx-a: \r\nCookie: c=1\r\nCookie: d=2\r\n");
    assert_eq!(answer.values("set-cookie"), [b"a=1", b"b=2", b"a=3"]);
    assert_eq!(answer.values("link"), [&b"<x>"[..], b"<y>, <z>"]);
    let seen = origin.one();
    assert_eq!(seen.values("x-a"), [b"1".to_vec(), b"3, 4".to_vec(), b"".to_vec()]);
    assert_eq!(seen.values("cookie"), [b"c=1".to_vec(), b"d=2".to_vec()]);
}

#[test]
fn bytes_beyond_ascii_pass_as_they_are() {
    let origin =
        Origin::fixed(b"HTTP/1.1 200 OK\r\nX-Name: caf\xe9 \xc3\xa9\xff\r\nContent-Length: 0\r\n\r\n");
    let gateway = Gateway::proxy(&origin.url());
    let answer =
        gateway.client().exchange(b"GET / HTTP/1.1\r\nHost: h\r\nX-Who: J\xfcrgen \xf0\x9f\x92\xa9\r\n\r\n");
    assert_eq!(answer.values("x-name"), [b"caf\xe9 \xc3\xa9\xff"]);
    assert_eq!(origin.one().values("x-who"), [b"J\xfcrgen \xf0\x9f\x92\xa9".to_vec()]);
}

#[test]
fn via_names_each_hop_once() {
    let origin = Origin::plain();
    let inner = Gateway::proxy(&origin.url());
    let outer = Gateway::proxy(&format!("http://{}", inner.address));
    let answer = through(&outer, "/", "Via: 1.0 fred, 1.1 p.example\r\n");
    assert_eq!(answer.status, 200, "two gateways in a row are no loop");
    let seen = origin.one().values("via");
    let line: Vec<String> = seen.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    let hops: Vec<&str> = line.iter().flat_map(|line| line.split(", ")).collect();
    assert_eq!(hops.len(), 4, "{hops:?}");
    assert_eq!(hops[..2], ["1.0 fred", "1.1 p.example"]);
    assert!(hops[2] != hops[3], "both gateways have one name: {hops:?}");
}

#[test]
fn a_request_that_comes_round_in_a_circle_gets_508() {
    let address = format!("127.0.0.1:{}", free_port());
    let gateway = Gateway::run(&["--proxy", &format!("http://{address}"), "--listen", &address]);
    let answer = gateway.get("/");
    answer.problem(508, "loop-detected");
}

#[test]
fn a_request_id_is_taken_from_the_caller_or_given() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    let answer = through(&gateway, "/taken", "X-Request-Id: my-id.1\r\n");
    assert_eq!(answer.value("x-request-id"), "my-id.1");
    assert_eq!(origin.await_call("/taken").value("x-request-id"), "my-id.1");
    for (path, hostile) in [("/empty", ""), ("/quote", "a\"b"), ("/long", &"x".repeat(200))] {
        let answer = through(&gateway, path, &format!("X-Request-Id: {hostile}\r\n"));
        let given = answer.value("x-request-id");
        assert_eq!(given.len(), 26, "{path}: {given}");
        assert_eq!(origin.await_call(path).value("x-request-id"), given);
    }
    // The refusals have one too.
    assert_eq!(through(&gateway, "/a/../b", "X-Request-Id: my-id.2\r\n").value("x-request-id"), "my-id.2");
}

#[test]
fn methods_pass_as_they_are_but_connect() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE", "QUERY", "get"] {
        let answer = gateway.send(method, "/m", "", "");
        assert_eq!(answer.status, 200, "{method}");
    }
    let methods: Vec<String> = origin.seen().iter().map(Seen::method).collect();
    assert_eq!(methods, ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE", "QUERY", "get"]);
    let answer =
        gateway.client().exchange("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n");
    assert!(matches!(answer.status, 400 | 405 | 501), "{}", answer.status);
    assert_eq!(origin.calls(), 8);
}

#[test]
fn an_old_client_gets_an_answer_it_can_read() {
    let origin =
        Origin::fixed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let gateway = Gateway::proxy(&origin.url());
    let answer = gateway.client().exchange("GET / HTTP/1.0\r\nHost: h\r\n\r\n");
    assert_eq!((answer.text().as_str(), answer.values("transfer-encoding").len()), ("hello", 0));
}

#[test]
fn an_old_upstream_is_understood() {
    let origin = Origin::start(|call| {
        call.send("HTTP/1.0 200 Fine\r\nContent-Type: text/plain\r\n\r\nuntil I close");
        call.close();
    });
    let gateway = Gateway::proxy(&origin.url());
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!((answer.status, answer.text().as_str()), (200, "until I close"));
    }
}

#[test]
fn connections_to_the_upstream_are_used_again() {
    let origin = Origin::plain();
    let gateway = Gateway::run(&["--proxy", &origin.url(), "--workers", "1"]);
    let mut client = gateway.client();
    for turn in 0..10 {
        client.exchange(format!("GET /{turn} HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
    assert_eq!(origin.calls(), 10);
    assert_eq!(origin.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn a_kept_connection_that_the_upstream_gave_up_costs_no_request() {
    let origin = Origin::start(|call| {
        call.ok("", "once");
        call.close();
    });
    let gateway = Gateway::run(&["--proxy", &origin.url(), "--workers", "1"]);
    let mut client: Client = gateway.client();
    for turn in 0..20 {
        let answer = client.exchange(format!("GET /{turn} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "once"), "turn {turn}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(|call| {
        let path = call.path();
        call.ok("", path);
    });
    let gateway = Gateway::proxy(&origin.url());
    let mut client = gateway.client();
    client.send(["/a", "/b", "/c"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).concat());
    let answers = [(); 3].map(|()| client.response("GET").text());
    assert_eq!(answers, ["/a", "/b", "/c"]);
}
