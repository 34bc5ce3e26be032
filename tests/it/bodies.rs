//! Bodies through the gateway: framing, streaming, trailers, `Expect`, HEAD and answers without content
//! (RFC 9112, sections 6 and 7).

use std::{
    sync::{Mutex, mpsc},
    time::Duration,
};

use crate::harness::{Gateway, Origin, eventually};

#[test]
fn a_head_answer_keeps_its_length_and_the_connection() {
    let origin = Origin::start(|call| match call.seen.method().as_str() {
        "HEAD" => drop(call.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: \"e\"\r\n\r\n")),
        _ => call.ok("", "body"),
    });
    let gateway = Gateway::proxy(&origin.url());
    let mut client = gateway.client();
    let head = client.exchange("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(
        (head.status, head.value("content-length"), head.value("etag")),
        (200, "1000".into(), "\"e\"".into())
    );
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n").text(), "body");
}

#[test]
fn answers_without_content_have_none_and_keep_the_connection() {
    let origin = Origin::start(|call| {
        let answer = match call.path().as_str() {
            "/204" => "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\nContent-Length: 5\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        };
        call.send(answer);
    });
    let gateway = Gateway::proxy(&origin.url());
    let mut client = gateway.client();
    let answer = client.exchange("GET /204 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((answer.status, answer.value("x-a")), (204, "1".into()));
    assert!(answer.values("content-length").is_empty() && answer.values("transfer-encoding").is_empty());
    let answer = client.exchange("GET /304 HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"e\"\r\n\r\n");
    assert_eq!((answer.status, answer.value("etag")), (304, "\"e\"".into()));
    assert!(answer.values("transfer-encoding").is_empty());
    let answer = client.exchange("GET /empty HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((answer.status, answer.value("content-length")), (200, "0".into()));
}

#[test]
fn a_request_body_keeps_its_framing_and_its_bytes() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let mut client = gateway.client();
    client.send(format!("POST /sized HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", bytes.len()));
    client.send(&bytes);
    assert_eq!(client.response("POST").status, 200);
    client.send("POST /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in bytes.chunks(7000) {
        client.send(format!("{:x}\r\n", chunk.len()));
        client.send(chunk);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response("POST").status, 200);
    let [sized, chunked] = origin.seen().try_into().unwrap();
    assert_eq!(
        (sized.value("content-length"), sized.value("transfer-encoding")),
        ("100000".into(), String::new())
    );
    assert_eq!(
        (chunked.value("content-length"), chunked.value("transfer-encoding")),
        (String::new(), "chunked".into())
    );
    assert!(sized.body == bytes && chunked.body == bytes);
}

#[test]
fn an_empty_request_body_keeps_its_length() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    gateway.send("POST", "/", "Content-Length: 0\r\n", "");
    let seen = origin.one();
    assert_eq!((seen.value("content-length"), seen.value("transfer-encoding")), ("0".into(), String::new()));
}

#[test]
fn an_answer_is_passed_on_while_it_is_made() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |call| {
        call.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            wait.lock().unwrap().recv().unwrap();
            call.send(format!("{:x}\r\n{event}\r\n", event.len()));
        }
        wait.lock().unwrap().recv().unwrap();
        call.send("0\r\n\r\n");
    });
    let gateway = Gateway::proxy(&origin.url());
    let mut client = gateway.client();
    client.send("GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.head().status, 200, "the head comes before the first byte of the body");
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        go.send(()).unwrap();
        assert_eq!(String::from_utf8(client.chunk()).unwrap(), event);
    }
    go.send(()).unwrap();
    assert!(client.chunk().is_empty());
}

#[test]
fn a_request_is_passed_on_while_it_arrives() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    eventually("the first chunk is upstream", || origin.calls() == 1 && origin.one().body == b"abc");
    client.send("3\r\ndef\r\n0\r\n\r\n");
    assert_eq!(client.response("POST").status, 200);
    assert_eq!(origin.one().body, b"abcdef");
}

#[test]
fn declared_trailers_pass_in_both_directions() {
    let origin = Origin::start(|call| {
        call.read_body();
        call.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-More\r\n\r\n\
             2\r\nok\r\n0\r\nX-Sum: abc\r\nX-More: 1\r\n\r\n",
        );
    });
    let gateway = Gateway::proxy(&origin.url());
    let answer = gateway.client().exchange(
        "POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nTrailer: X-Check\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Check: yes\r\n\r\n",
    );
    let trailers: Vec<(String, &[u8])> =
        answer.trailers.iter().map(|(name, value)| (name.to_lowercase(), value.as_slice())).collect();
    assert_eq!(answer.text(), "ok");
    assert_eq!(trailers, [("x-sum".into(), &b"abc"[..]), ("x-more".into(), b"1")]);
    let seen = origin.one();
    assert_eq!(seen.trailers.len(), 1, "{:?}", seen.trailers);
    assert!(seen.trailers[0].0.eq_ignore_ascii_case("x-check") && seen.trailers[0].1 == b"yes");
}

#[test]
fn trailers_cannot_smuggle_in_what_belongs_in_a_head() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    let answer = gateway.client().exchange(
        "POST / HTTP/1.1\r\nHost: h\r\nTrailer: Host, Content-Length, Authorization\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nHost: evil\r\nContent-Length: 99\r\nAuthorization: Basic eDp5\r\n\r\n",
    );
    assert!(matches!(answer.status, 200 | 400), "{}", answer.status);
    for (name, _) in origin.seen().into_iter().flat_map(|seen| seen.trailers) {
        let name = name.to_lowercase();
        assert!(!matches!(name.as_str(), "host" | "content-length" | "authorization"), "{name} passed");
    }
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    let mut client = gateway.client();
    client.send("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.send("hello");
    assert_eq!(client.response("PUT").status, 200);
    assert_eq!(origin.one().body, b"hello");
}

#[test]
fn a_client_that_asks_first_is_refused_without_sending() {
    let origin = Origin::plain();
    let gateway =
        Gateway::config(&format!("routes:\n  - {{ path: /here/**, upstream: '{}' }}\n", origin.url()));
    let mut client = gateway.client();
    client.send("PUT /elsewhere HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.head().status, 404, "no 100 before the refusal");
    let answer = gateway.send("PUT", "/here/x", "Expect: the-unexpected\r\n", "hello");
    answer.problem(417, "expectation-failed");
    assert_eq!(origin.calls(), 0);
}

#[test]
fn interim_answers_of_the_upstream_do_not_end_the_call() {
    let origin = Origin::start(|call| {
        call.read_body();
        call.send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n");
        call.ok("", "final");
    });
    let gateway = Gateway::proxy(&origin.url());
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.text().as_str()), (200, "final"));
}

#[test]
fn a_client_that_goes_away_cancels_the_upstream_call() {
    let (report, gone) = mpsc::channel();
    let report = Mutex::new(report);
    let origin = Origin::start(move |call| {
        if call.path() == "/body" {
            call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
        }
        let closed = call.peer_closes();
        report.lock().unwrap().send((call.path(), closed)).unwrap();
        call.close();
    });
    let gateway = Gateway::run(&["--proxy", &origin.url(), "--access-log", "json"]);
    for path in ["/head", "/body"] {
        let mut client = gateway.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        origin.await_call(path);
        if path == "/body" {
            assert_eq!(client.head().status, 200);
        }
        drop(client);
        assert_eq!(gone.recv_timeout(Duration::from_secs(10)), Ok((path.to_owned(), true)));
    }
    // Each is in the access log all the same, once.
    let lines = gateway.access_log(2);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().all(|line| line["vanished"] == true), "{lines:?}");
    assert_eq!(lines[0]["status"], 499);
}

#[test]
fn an_upload_that_breaks_off_is_not_completed_upstream() {
    for framing in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let origin = Origin::plain();
        let gateway = Gateway::proxy(&origin.url());
        let mut client = gateway.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}"));
        origin.await_call("/");
        drop(client);
        eventually("the upload is broken off", || origin.one().broken);
    }
}

#[test]
fn an_answer_that_breaks_off_does_not_look_complete() {
    let origin = Origin::start(|call| {
        match call.path().as_str() {
            "/sized" => call.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"),
            _ => call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"),
        };
        call.pause(Duration::from_millis(100));
        match call.seen.target().ends_with("reset") {
            true => call.reset(),
            false => call.close(),
        }
    });
    let gateway = Gateway::proxy(&origin.url());
    for target in ["/sized", "/chunked", "/sized?reset", "/chunked?reset"] {
        let mut client = gateway.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let head = client.head();
        assert_eq!(head.status, 200);
        match head.values("transfer-encoding").is_empty() {
            true => assert_eq!(client.bytes(4), b"part"),
            false => assert_eq!(client.chunk(), b"part"),
        }
        assert!(client.is_closed(), "{target}: the answer went on or ended as if it were whole");
    }
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let origin = Origin::start(|call| {
        call.send("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
        call.pause(Duration::from_millis(200));
        call.close();
    });
    let gateway = Gateway::proxy(&origin.url());
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    client.send([b'x'; 1000]);
    let answer = client.response("POST");
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}
