//! Messages that two servers could read in two ways: none passes the gateway, in either direction
//! (RFC 9112, sections 2.2, 3.2, 5.1, 6.1 and 6.3).

use std::io::BufRead;

use crate::harness::{Gateway, Origin, eventually};

/// What is wrong, and the bytes.
const AMBIGUOUS: &[(&str, &[u8])] = &[
    ("length and coding", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("coding and length", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("two lengths", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("a list of lengths", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 2\r\n\r\nab"),
    ("a signed length", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\na"),
    ("a hexadecimal length", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\na"),
    ("a length beyond 64 bits", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551617\r\n\r\na"),
    ("an unknown coding", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked not last", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("chunked twice", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a quoted coding", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("a coding in HTTP/1.0", b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a blank before the colon", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("a folded field", b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n 2\r\n\r\n"),
    ("a blank before the first field", b"GET / HTTP/1.1\r\n Host: h\r\nHost: h\r\n\r\n"),
    ("a field without a colon", b"GET / HTTP/1.1\r\nHost: h\r\nX-A\r\n\r\n"),
    ("a field without a name", b"GET / HTTP/1.1\r\nHost: h\r\n: 1\r\n\r\n"),
    ("bare line feeds", b"GET / HTTP/1.1\nHost: h\n\n"),
    ("a bare line feed in the fields", b"GET / HTTP/1.1\r\nHost: h\nX-A: 1\r\n\r\n"),
    ("a bare carriage return", b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r2\r\n\r\n"),
    ("a NUL in a value", b"GET / HTTP/1.1\r\nHost: h\r\nX-A: a\0b\r\n\r\n"),
    ("a NUL in a name", b"GET / HTTP/1.1\r\nHost: h\r\nX-\0A: b\r\n\r\n"),
    ("no host", b"GET / HTTP/1.1\r\n\r\n"),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("a host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("a host with a user", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    ("a target that names another host", b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"),
    ("no version", b"GET /\r\nHost: h\r\n\r\n"),
    ("an unknown version", b"GET / HTTP/1.2\r\nHost: h\r\n\r\n"),
    ("two blanks in the request line", b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a tab in the request line", b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a chunk size with a sign", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n"),
    ("a chunk size with 0x", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n"),
    ("a chunk size beyond 64 bits", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n"),
    ("a chunk longer than its size", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"),
];

#[test]
fn no_ambiguous_request_passes() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    let mut faults = String::new();
    for (what, bytes) in AMBIGUOUS {
        let mut client = gateway.client();
        client.send(bytes);
        client.send("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
        let answer = client.response("GET");
        if !matches!(answer.status, 400 | 501 | 505 | 502) || !client.is_closed() {
            faults += &format!("{what}: {} and the connection goes on\n", answer.status);
        }
    }
    for line in gateway.access_log(AMBIGUOUS.len()) {
        assert_eq!(line["blame"], "client", "the operator finds it by its id: {line}");
    }
    // A body that turns out wrong only behind its head has reached the upstream, but never as a whole request.
    for seen in origin.seen() {
        if seen.value("transfer-encoding").is_empty() || seen.target() != "/" {
            faults += &format!("passed: {}\n", String::from_utf8_lossy(&seen.head));
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
    eventually("every upload is broken off", || origin.seen().iter().all(|seen| seen.broken));
}

#[test]
fn a_refusal_of_a_head_is_a_problem_document() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    let request =
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = gateway.client().exchange(request);
    answer.problem(400, "malformed-request");
    assert_eq!(answer.value("connection"), "close");
}

#[test]
fn what_is_odd_but_clear_passes() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    for request in [
        "\r\nGET /empty-line-first HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://h/absolute HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /same-length-twice HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab",
        "POST /chunk-extension HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\nab\r\n0\r\n\r\n",
        "GET /blanks HTTP/1.1\r\nHost:   h  \r\nX-A:\t1\t \r\n\r\n",
    ] {
        let mut client = gateway.client();
        client.send(request);
        assert_eq!(client.response("GET").status, 200, "{request}");
    }
    assert_eq!(origin.await_call("/absolute").target(), "/absolute");
}

/// Answers of upstreams that are not one answer.
const WRONG_ANSWERS: &[(&str, &[u8])] = &[
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("a wrong length", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nab"),
    ("no status line", b"Content-Length: 2\r\n\r\nab"),
    ("no HTTP", b"220 mail.example ESMTP\r\n"),
    ("a status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a NUL in a value", b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n"),
    ("a field without a name", b"HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n"),
    ("a chunk size that is none", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
];

#[test]
fn no_ambiguous_answer_passes() {
    let origin = Origin::start(|call| {
        let index: usize = call.path()[1..].parse().unwrap();
        call.send(WRONG_ANSWERS[index].1);
        call.close();
    });
    let gateway = Gateway::proxy(&origin.url());
    for (index, (what, _)) in WRONG_ANSWERS.iter().enumerate() {
        let mut client = gateway.client();
        client.send(format!("GET /{index} HTTP/1.1\r\nHost: h\r\n\r\n"));
        // Wrong at the first byte of the body: the head may never have gone out.
        if client.stream.fill_buf().is_ok_and(<[u8]>::is_empty) {
            continue;
        }
        let head = client.head();
        match head.status {
            502 => assert_eq!(head.value("content-type"), "application/problem+json", "{what}"),
            // Wrong only behind the head: the answer must not look whole.
            200 => assert!(client.is_closed(), "{what} passed"),
            status => panic!("{what}: {status}"),
        }
    }
}

#[test]
fn an_answer_with_both_framings_is_read_in_one_way() {
    let origin = Origin::start(|call| {
        call.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        );
        call.pause(std::time::Duration::from_millis(100));
        call.close();
    });
    let gateway = Gateway::proxy(&origin.url());
    let answer = gateway.get("/");
    assert!(answer.status == 502 || (answer.status == 200 && answer.text() == "ok"), "{answer:?}");
}
