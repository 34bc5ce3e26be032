//! The server over real sockets on loopback: what a client sees, byte for byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::*;
use crate::exchange::Body;

/// Longer than anything here takes, shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(10);

struct Gate {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    server: Server,
}

impl Gate {
    /// A server whose answers depend on the path; see [`answer`].
    fn start(config: ServerConfig) -> Self {
        let listeners = Listeners::bind(&[SocketAddr::from(([127, 0, 0, 1], 0))], config.workers).unwrap();
        let address = listeners.addresses()[0];
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = calls.clone();
        let make = move |_| {
            let seen = seen.clone();
            service_fn(move |request, _| {
                seen.fetch_add(1, Ordering::SeqCst);
                answer(request)
            })
        };
        let server = run(listeners, config, &Drain::new(), &Arc::default(), make).unwrap();
        Self { address, calls, server }
    }

    fn quick() -> ServerConfig {
        ServerConfig {
            workers: 1,
            timeouts: Timeouts {
                header_read: Duration::from_millis(300),
                keep_alive: Duration::from_millis(300),
                ..Timeouts::default()
            },
            ..ServerConfig::default()
        }
    }

    async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap(), Vec::new())
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn drained(self) -> Ended {
        self.server.drain().start();
        let join = tokio::task::spawn_blocking(move || self.server.join());
        timeout(PATIENCE, join).await.expect("the drain ends").unwrap()
    }
}

/// `/slow` takes 400 ms, `/panic` panics, `/ignore` leaves the body unread; else the body comes back.
async fn answer(request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/slow" => tokio::time::sleep(Duration::from_millis(400)).await,
        "/panic" => panic!("asked for"),
        "/ignore" => return Response::new(Body::from("ignored")),
        _ => {}
    }
    let text = format!("{} {};", request.method(), request.uri());
    match request.into_body().collect().await {
        Ok(body) => {
            let mut bytes = text.into_bytes();
            bytes.extend_from_slice(&body.to_bytes());
            Response::new(Body::from(bytes::Bytes::from(bytes)))
        }
        Err(_) => Response::builder().status(502).body(Body::from("broken body")).unwrap(),
    }
}

/// A raw client that reads one answer at a time.
struct Client(TcpStream, Vec<u8>);

impl Client {
    async fn send(&mut self, text: &[u8]) {
        self.0.write_all(text).await.unwrap();
    }

    /// Status and body of the next answer, which has a length.
    async fn answer(&mut self) -> (u16, String) {
        timeout(PATIENCE, self.read_answer()).await.expect("an answer comes")
    }

    async fn read_answer(&mut self) -> (u16, String) {
        let head = loop {
            if let Some(end) = self.1.windows(4).position(|w| w == b"\r\n\r\n") {
                break String::from_utf8(self.1.drain(..end + 4).collect()).unwrap();
            }
            let count = self.0.read_buf(&mut self.1).await.unwrap();
            assert_ne!(count, 0, "the connection ended before an answer");
        };
        let lower = head.to_lowercase();
        let length = lower
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        while self.1.len() < length {
            assert_ne!(self.0.read_buf(&mut self.1).await.unwrap(), 0, "the body is cut");
        }
        let body = String::from_utf8(self.1.drain(..length).collect()).unwrap();
        (head[9..12].parse().unwrap(), body)
    }

    /// Everything until the server closes; fails when it resets the connection instead.
    async fn rest(&mut self) -> String {
        timeout(PATIENCE, self.0.read_to_end(&mut self.1)).await.expect("the server closes").unwrap();
        String::from_utf8(std::mem::take(&mut self.1)).unwrap()
    }
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let gate = Gate::start(Gate::quick());
    let mut client = gate.client().await;
    for _ in 0..3 {
        client.send(GET).await;
        assert_eq!(client.answer().await, (200, "GET /a;".to_owned()));
    }
    client.send(b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc").await;
    assert_eq!(client.answer().await, (200, "POST /b;abc".to_owned()));
    assert_eq!(gate.server.stats().accepted(), 1);
    assert_eq!(gate.server.stats().open(), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let gate = Gate::start(Gate::quick());
    let mut client = gate.client().await;
    client
        .send(
            b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET /slow HTTP/1.1\r\nHost: x\r\n\r\n\
              POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /4 HTTP/1.1\r\nHost: x\r\n\r\n",
        )
        .await;
    for expected in ["POST /1;hi", "GET /slow;", "POST /3;abc", "GET /4;"] {
        assert_eq!(client.answer().await, (200, expected.to_owned()));
    }
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_closed_and_an_idle_one_too() {
    let gate = Gate::start(Gate::quick());
    assert_eq!(gate.client().await.rest().await, "");
    let mut client = gate.client().await;
    client.send(GET).await;
    client.answer().await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_panic_ends_its_request_alone() {
    let gate = Gate::start(Gate::quick());
    let mut client = gate.client().await;
    client.send(b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (status, body) = client.answer().await;
    assert_eq!(status, 500);
    assert!(body.contains("\"code\":\"internal\"") && !body.contains("asked for"), "{body}");
    client.send(GET).await;
    assert_eq!(client.answer().await.0, 200);
    assert_eq!(gate.server.stats().panics(), 1);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let mut config = Gate::quick();
    config.limits.connections = 1;
    let gate = Gate::start(config);
    let mut first = gate.client().await;
    first.send(GET).await;
    first.answer().await;
    let mut second = gate.client().await;
    second.send(GET).await;
    let (status, body) = second.answer().await;
    assert_eq!(status, 503);
    assert!(body.contains("overloaded"), "{body}");
    assert_eq!(second.rest().await, "");
    assert_eq!(gate.server.stats().over_limit(), 1);
    drop(first);
    // The place is given back once the server has noticed.
    let freed = async {
        while gate.server.stats().open() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
    let mut third = gate.client().await;
    third.send(GET).await;
    assert_eq!(third.answer().await.0, 200);
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_closes_the_idle_at_once() {
    let gate = Gate::start(ServerConfig { workers: 2, ..ServerConfig::default() });
    let mut idle = gate.client().await;
    idle.send(GET).await;
    idle.answer().await;
    let mut busy = gate.client().await;
    busy.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    while gate.calls() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let address = gate.address;
    let began = Instant::now();
    let drained = tokio::spawn(gate.drained());
    assert_eq!(idle.rest().await, "");
    assert!(began.elapsed() < Duration::from_millis(350), "idle connections wait for nobody");
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(Duration::from_millis(350), refused).await.expect("no new connection while closing");
    let (status, body) = busy.answer().await;
    assert_eq!((status, body.as_str()), (200, "GET /slow;"));
    assert_eq!(busy.rest().await, "");
    assert_eq!(drained.await.unwrap(), Ended::default());
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn while_leaving_new_connections_are_served_and_told_to_close() {
    let gate = Gate::start(ServerConfig { drain_delay: Duration::from_secs(60), ..Gate::quick() });
    gate.server.drain().start();
    let mut client = gate.client().await;
    client.send(GET).await;
    let text = client.rest().await.to_lowercase();
    assert!(text.starts_with("http/1.1 200"), "{text}");
    assert!(text.contains("connection: close"), "{text}");
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_and_counted() {
    let config = ServerConfig { drain_timeout: Duration::from_millis(50), ..Gate::quick() };
    let gate = Gate::start(config);
    let mut client = gate.client().await;
    client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    while gate.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(gate.drained().await, Ended { cut: 1, failed: 0 });
    assert!(client.0.read_buf(&mut client.1).await.map_or(true, |count| count == 0));
}
