//! The harness itself: what it reads strictly, and that its real servers start.

use std::net::TcpListener;

use crate::harness::{Client, Nginx, Origin, files, prism::Prism};

#[test]
fn the_client_reads_chunks_trailers_and_repeated_fields() {
    let origin = Origin::fixed(
        "HTTP/1.1 200 OK\r\nA: 1\r\na:2\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n\
         3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nT: v\r\n\r\n",
    );
    let response = Client::connect(origin.address).exchange("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((response.status, response.text().as_str()), (200, "abcd"));
    assert_eq!(response.values("a"), [b"1", b"2"]);
    assert_eq!(response.trailers, [("T".to_owned(), b"v".to_vec())]);
    assert_eq!(origin.one().target(), "/x");
}

#[test]
#[should_panic(expected = "no CRLF")]
fn the_client_refuses_a_bare_line_feed() {
    let origin = Origin::fixed("HTTP/1.1 200 OK\nContent-Length: 0\n\n");
    Client::connect(origin.address).exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
}

#[test]
#[should_panic(expected = "ambiguous framing")]
fn the_client_refuses_two_framings() {
    let origin = Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n");
    Client::connect(origin.address).exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
}

#[test]
fn the_origin_records_bodies_of_both_framings() {
    let origin = Origin::plain();
    let mut client = Client::connect(origin.address);
    client.exchange("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    client.exchange(
        "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n",
    );
    let [first, second] = origin.seen().try_into().unwrap();
    assert_eq!((first.body.as_slice(), second.body.as_slice()), (&b"abc"[..], &b"de"[..]));
    assert_eq!(second.trailers, [("X".to_owned(), b"y".to_vec())]);
}

#[test]
fn nginx_and_prism_start_and_answer() {
    let nginx = Nginx::start("location / { return 200 hello; }");
    let answer = Client::connect(nginx.address).exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(answer.text(), "hello");
    let prism = Prism::start(&files::project("openapi/bookshop.yaml"));
    let request = "GET /quote HTTP/1.1\r\nHost: h\r\nX-API-Key: any\r\n\r\n";
    let answer = Client::connect(prism.address).exchange(request);
    assert_eq!((answer.status, answer.json()["book"].is_string()), (200, true));
}

#[test]
fn a_port_is_free_when_it_is_handed_out() {
    TcpListener::bind(("127.0.0.1", crate::harness::free_port())).unwrap();
}
