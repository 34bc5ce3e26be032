//! Upstreams that fail: the right problem document, the right word in `Proxy-Status` (RFC 9209), and error
//! answers of their own left as they are. Then what clients send too much of.

use std::{net::TcpListener, time::Duration};

use crate::harness::{Client, Gateway, Origin, eventually, free_port};

/// A gateway with short timeouts before this upstream.
fn impatient(upstream: &str) -> Gateway {
    Gateway::config(&format!(
        "routes:
  - path: /**
    upstream: '{upstream}'
    timeouts: {{ connect: 300ms, first_byte: 400ms, idle: 400ms }}
  - path: /total/**
    upstream: '{upstream}'
    timeouts: {{ total: 500ms }}
"
    ))
}

#[test]
fn an_upstream_that_is_not_there_is_a_502() {
    let gateway = Gateway::proxy(&format!("http://127.0.0.1:{}", free_port()));
    let answer = gateway.get("/");
    let problem = answer.problem(502, "upstream-unreachable");
    assert!(answer.value("proxy-status").contains("error=connection_refused"), "{:?}", answer.fields);
    assert!(
        !problem["detail"].as_str().unwrap().contains("127.0.0.1"),
        "no address for the client: {problem}"
    );
    assert_eq!(problem["request_id"], answer.value("x-request-id"));
    // The connection to the client lives on.
    let mut client = gateway.client();
    for _ in 0..2 {
        client.exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n").problem(502, "upstream-unreachable");
    }
}

#[test]
fn an_upstream_that_hangs_up_is_a_502() {
    let origin = Origin::start(|call| match call.path().as_str() {
        "/reset" => call.reset(),
        _ => call.close(),
    });
    let gateway = Gateway::proxy(&origin.url());
    for path in ["/close", "/reset"] {
        let answer = gateway.get(path);
        answer.problem(502, "upstream-protocol-error");
        assert!(
            answer.value("proxy-status").contains("error=connection_terminated"),
            "{path}: {:?}",
            answer.fields
        );
    }
}

#[test]
fn a_request_that_may_have_done_something_is_not_sent_twice() {
    let origin = Origin::start(|call| {
        call.read_body();
        call.close();
    });
    let gateway = Gateway::proxy(&origin.url());
    gateway.send("POST", "/order", "", "one book").problem(502, "upstream-protocol-error");
    assert_eq!(origin.calls(), 1);
}

#[test]
fn an_upstream_whose_head_is_too_large_is_a_502() {
    let origin = Origin::fixed(format!(
        "HTTP/1.1 200 OK\r\nX-Big: {}\r\nContent-Length: 0\r\n\r\n",
        "x".repeat(2_000_000)
    ));
    Gateway::proxy(&origin.url()).get("/").problem(502, "upstream-protocol-error");
    let many: String = (0..1000).map(|index| format!("X-{index}: 1\r\n")).collect();
    let origin = Origin::fixed(format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n"));
    Gateway::proxy(&origin.url()).get("/").problem(502, "upstream-protocol-error");
}

#[test]
fn an_upstream_that_switches_protocols_unasked_is_a_502() {
    let origin =
        Origin::fixed("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: odd\r\n\r\n");
    let gateway = Gateway::proxy(&origin.url());
    gateway.get_with("/", "Connection: upgrade\r\nUpgrade: odd\r\n").problem(502, "upstream-protocol-error");
}

#[test]
fn an_upstream_of_http_1_0_is_answered_for_in_http_1_1() {
    let origin = Origin::start(|call| {
        call.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
        call.close();
    });
    let gateway = Gateway::proxy(&origin.url());
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!((answer.status, answer.text().as_str()), (200, "until the end"));
        assert_eq!(answer.value("transfer-encoding"), "chunked");
    }
}

#[test]
fn a_client_that_stops_in_the_middle_of_its_body_is_told_so() {
    let origin = Origin::start(|call| {
        call.read_body();
        call.close();
    });
    let gateway = impatient(&origin.url());
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    client.response("POST").problem(408, "request-timeout");
    assert_eq!(gateway.access_log(1)[0]["blame"], "client");
}

#[test]
fn an_upstream_that_does_not_answer_is_a_504() {
    let origin = Origin::start(|call| {
        call.read_body();
        call.peer_closes();
        call.close();
    });
    let gateway = impatient(&origin.url());
    let answer = gateway.get("/silent");
    answer.problem(504, "upstream-timeout");
    assert!(answer.value("proxy-status").contains("error=http_response_timeout"), "{:?}", answer.fields);
    gateway.send("POST", "/silent", "", "body").problem(504, "upstream-timeout");
    gateway.get("/total/silent").problem(504, "upstream-timeout");
}

#[test]
fn the_bound_on_the_first_byte_holds_behind_a_body_too() {
    let origin = Origin::start(|call| {
        call.read_body();
        call.peer_closes();
        call.close();
    });
    let gateway = Gateway::config(&format!(
        "routes:\n  - {{ path: /**, upstream: '{}', timeouts: {{ first_byte: 300ms }} }}\n",
        origin.url()
    ));
    // Its patience is far below the other bounds.
    let answer = gateway.send("POST", "/", "", "body");
    answer.problem(504, "upstream-timeout");
    assert!(answer.value("proxy-status").contains("error=http_response_timeout"), "{:?}", answer.fields);
}

#[test]
fn an_upstream_that_stops_half_way_is_cut_off() {
    let origin = Origin::start(|call| {
        call.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
        call.peer_closes();
        call.close();
    });
    let gateway = impatient(&origin.url());
    let mut client = gateway.client();
    client.send("GET /stalls HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((client.head().status, client.bytes(4).as_slice()), (200, &b"part"[..]));
    assert!(client.is_closed());
    let line = &gateway.access_log(1)[0];
    assert!(line["cause"].as_str().unwrap().contains("idle_timeout"), "{line}");
    assert!(line.get("vanished").is_none(), "it was the upstream that went away: {line}");
}

#[test]
fn an_upstream_that_takes_its_time_but_moves_is_waited_for() {
    let origin = Origin::start(|call| {
        call.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n");
        for _ in 0..8 {
            call.pause(Duration::from_millis(100));
            call.send("x");
        }
    });
    let gateway = impatient(&origin.url());
    assert_eq!(gateway.get("/slow").text(), "xxxxxxxx", "each byte starts the idle clock anew");
    let mut client = gateway.client();
    client.send("GET /total/slow HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.head().status, 200);
    assert!(client.bytes(1) == b"x" && !client.is_closed(), "some of it came");
}

#[test]
fn an_upstream_that_does_not_accept_is_a_504() {
    // A queue of one that is full: the system drops further connection attempts.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let address = TcpListener::from(full.try_clone().unwrap()).local_addr().unwrap();
    let _waiting: Vec<_> =
        (0..3).map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100))).collect();
    let answer = impatient(&format!("http://{address}")).get("/");
    answer.problem(504, "upstream-timeout");
    assert!(answer.value("proxy-status").contains("error=connection_timeout"), "{:?}", answer.fields);
}

#[test]
fn error_answers_of_the_upstream_pass_untouched() {
    let origin = Origin::start(|call| {
        let status: u16 = call.path()[1..].parse().unwrap();
        call.send(format!(
            "HTTP/1.1 {status} Odd\r\nContent-Type: text/x-odd\r\nContent-Length: 4\r\n\r\nodd\n"
        ));
    });
    let gateway = Gateway::proxy(&origin.url());
    for status in [400, 404, 418, 429, 500, 502, 503, 504, 599] {
        let answer = gateway.get(&format!("/{status}"));
        assert_eq!((answer.status, answer.text().as_str()), (status, "odd\n"));
        assert_eq!(answer.value("content-type"), "text/x-odd");
        assert!(!answer.value("proxy-status").contains("error="), "{status} is the upstream's own");
    }
}

#[test]
fn too_much_of_anything_is_refused_with_its_own_status() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    gateway.get(&format!("/{}", "a".repeat(20_000))).problem(414, "uri-too-long");
    gateway.get_with("/", &format!("X-Big: {}\r\n", "x".repeat(100_000))).problem(431, "headers-too-large");
    let many: String = (0..500).map(|index| format!("X-{index}: 1\r\n")).collect();
    gateway.get_with("/", &many).problem(431, "headers-too-large");
    assert_eq!(origin.calls(), 0);
}

#[test]
fn a_body_beyond_the_bound_is_refused() {
    let origin = Origin::plain();
    let gateway = Gateway::config(&format!(
        "routes:\n  - {{ path: /**, upstream: '{}', limits: {{ body: 10 }} }}\n",
        origin.url()
    ));
    assert_eq!(gateway.send("POST", "/fits", "", "0123456789").status, 200);
    gateway.send("POST", "/sized", "", "0123456789a").problem(413, "body-too-large");
    let mut client = gateway.client();
    client.send("POST /asks HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(client.head().status, 413, "refused before the client sends it");
    let chunked = "POST /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n";
    gateway.client().exchange(chunked).problem(413, "body-too-large");
    for seen in origin.seen() {
        assert!(seen.body.len() <= 10, "{} bytes passed", seen.body.len());
    }
    eventually("what began is broken off", || {
        origin.seen().iter().all(|seen| seen.target() == "/fits" || seen.broken)
    });
}

#[test]
fn a_client_that_dribbles_its_head_is_given_up() {
    let origin = Origin::plain();
    let gateway = Gateway::config(&format!(
        "timeouts: {{ header_read: 500ms }}\nroutes:\n  - {{ path: /**, upstream: '{}' }}\n",
        origin.url()
    ));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ");
    let answer = client.head();
    assert_eq!((answer.status, answer.value("connection")), (408, "close".into()));
    assert_eq!(gateway.get("/").status, 200, "others are served meanwhile");
}

#[test]
fn an_endpoint_that_is_down_costs_nothing_while_another_is_up() {
    let origin = Origin::plain();
    let gateway = Gateway::config(&format!(
        "routes:\n  - {{ path: /**, upstream: pair }}\nupstreams:\n  pair: {{ endpoints: ['{}', 'http://127.0.0.1:{}'] }}\n",
        origin.url(),
        free_port()
    ));
    for _ in 0..4 {
        assert_eq!(gateway.get("/").status, 200);
        assert_eq!(gateway.send("POST", "/", "", "").status, 200, "nothing was sent to the one that is down");
    }
    assert_eq!(origin.calls(), 8);
}

#[test]
fn a_body_goes_to_the_endpoint_that_is_up() {
    let origin = Origin::start(|call| {
        call.read_body();
        call.ok("", call.seen.body.len().to_string());
    });
    let gateway = Gateway::config(&format!(
        "routes:\n  - {{ path: /**, upstream: pair }}\nupstreams:\n  pair: {{ endpoints: ['http://127.0.0.1:{}', '{}'] }}\n",
        free_port(),
        origin.url()
    ));
    let sized: String =
        (0..1_u32 << 18).map(|n| format!("{:04x}", n.wrapping_mul(40_503) >> 7 & 0xffff)).collect();
    assert_eq!(sized.len(), 1 << 20);
    for _ in 0..20 {
        assert_eq!(gateway.send("POST", "/sized", "", &sized).text(), sized.len().to_string());
    }
    let chunked = "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n";
    for _ in 0..4 {
        let mut client = gateway.client();
        client.send(format!("POST /chunked HTTP/1.1\r\nHost: h\r\n{chunked}\r\n"));
        assert_eq!(client.head().status, 100, "asked for where it can be sent");
        client.send("5\r\nthe b\r\n3\r\nody\r\n0\r\n\r\n");
        assert_eq!(client.response("POST").text(), "8");
    }
    let seen = origin.seen();
    assert_eq!(seen.len(), 24);
    assert!(seen[..20].iter().all(|seen| seen.body == sized.as_bytes()), "byte for byte");
    assert!(seen[20..].iter().all(|seen| seen.body == b"the body"));
}

#[test]
fn a_body_that_was_begun_is_not_sent_again() {
    let closes = || {
        Origin::start(|call| {
            call.read_body();
            call.close();
        })
    };
    let origins = [closes(), closes()];
    let gateway = Gateway::config(&format!(
        "routes:\n  - {{ path: /**, upstream: pair }}\nupstreams:\n  pair: {{ endpoints: ['{}', '{}'] }}\n",
        origins[0].url(),
        origins[1].url()
    ));
    gateway.send("PUT", "/", "", "once").problem(502, "upstream-protocol-error");
    assert_eq!(origins.iter().map(Origin::calls).sum::<usize>(), 1);
}

#[test]
fn a_client_that_speaks_tls_is_told_at_once_that_the_port_does_not() {
    let gateway = Gateway::proxy(&Origin::plain().url());
    for address in [gateway.address, gateway.admin] {
        // The beginning of a ClientHello: no line end in it, and more is announced than ever comes.
        let mut client = Client::connect(address);
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
        let answer = client.response("GET");
        let problem = answer.problem(400, "malformed-request");
        assert_eq!(problem["reason"], "tls-on-cleartext-port");
        assert!(problem["detail"].as_str().unwrap().contains("speaks HTTP, not HTTPS"), "{problem}");
        assert_eq!(answer.value("connection"), "close");
        assert!(client.is_closed());
    }
    gateway.await_log("call it with `http://`");
    let url = format!("https://{}/", gateway.address);
    let curl = std::process::Command::new("curl").args(["-sk", "--max-time", "5", &url]).output().unwrap();
    assert_eq!(curl.status.code(), Some(35), "a handshake that failed, not a time that ran out: {curl:?}");
    assert_eq!(gateway.get("/").status, 200);
}
