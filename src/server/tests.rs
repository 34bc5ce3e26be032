//! The server over real sockets on loopback: what a client sees, byte for byte.

mod differential;
pub(super) mod vectors;

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

use self::vectors::Expect;
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
        "/large" => return Response::new(Body::from(vec_of(8 * 1024 * 1024))),
        "/upgrade" => return upgrade(request),
        _ if request.method() == http::Method::CONNECT => {
            return Response::builder().status(501).body(Body::Empty).unwrap();
        }
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

fn vec_of(len: usize) -> bytes::Bytes {
    vec![b'x'; len].into()
}

/// Switches to a protocol that sends every byte back.
fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut bytes).await {
            stream.write_all(&bytes[..count]).await.unwrap();
        }
    });
    Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(Body::Empty)
        .unwrap()
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

    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.1.len() < count {
            let read = timeout(PATIENCE, self.0.read_buf(&mut self.1)).await;
            assert_ne!(read.expect("bytes come").unwrap(), 0, "the connection ended");
        }
        self.1.drain(..count).collect()
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
async fn when_places_are_scarce_connections_are_not_kept() {
    let mut config = Gate::quick();
    config.limits.connections = 4;
    let gate = Gate::start(config);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = gate.client().await;
        client.send(GET).await;
        assert_eq!(client.answer().await.0, 200);
        clients.push(client);
    }
    let mut last = gate.client().await;
    last.send(GET).await;
    let text = last.rest().await.to_lowercase();
    assert!(text.starts_with("http/1.1 200") && text.contains("connection: close"), "{text}");
    clients[0].send(GET).await;
    assert_eq!(clients[0].answer().await.0, 200);
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

#[tokio::test]
async fn every_vector_gets_its_answer_and_no_refused_request_reaches_the_service() {
    let gate = Gate::start(Gate::quick());
    for vector in vectors::all() {
        let (name, before) = (vector.name, gate.calls());
        let (taken, refusal) = match vector.expect {
            Expect::Take(count) => (count, None),
            Expect::Head(count, refusal) => (count, Some(refusal)),
            Expect::Body(number, refusal) => (number - 1, Some(refusal)),
        };
        let mut client = gate.client().await;
        // The server may answer, and stop reading, before all is sent.
        let _ = client.0.write_all(&vector.bytes).await;
        for _ in 0..taken {
            let (status, _) = client.answer().await;
            assert!(matches!(status, 200 | 501), "{name}: {status}");
        }
        if let Some(refusal) = refusal {
            let (status, body) = client.answer().await;
            let expected = refusal.problem(&Limits::default()).kind.status.as_u16();
            assert_eq!(status, expected, "{name}: {body}");
            assert!(body.contains(&format!("\"reason\":\"{}\"", refusal.as_str())), "{name}: {body}");
            // Reused never: whatever follows gets no answer.
            let _ = client.0.write_all(GET).await;
            assert_eq!(client.rest().await, "", "{name}: closed");
        }
        // A body that arrives later than its head finds the service at work.
        let at_work = usize::from(matches!(vector.expect, Expect::Body(..)));
        assert!((taken..=taken + at_work).contains(&(gate.calls() - before)), "{name}: calls");
    }
}

#[tokio::test]
async fn a_refused_request_is_answered_after_those_before_it() {
    let gate = Gate::start(Gate::quick());
    let mut client = gate.client().await;
    client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /bad HTTP/1.1\r\nHo").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.send(b"st : x\r\n\r\n").await;
    assert_eq!(client.answer().await.0, 200);
    assert_eq!(client.answer().await.0, 400);
    assert_eq!(client.rest().await, "");
    assert_eq!(gate.calls(), 1);
    assert_eq!(gate.server.stats().refused(Refusal::SpaceBeforeColon), 1);
}

#[tokio::test]
async fn a_head_that_arrives_too_slowly_is_told_408() {
    let gate = Gate::start(Gate::quick());
    let mut client = gate.client().await;
    let began = Instant::now();
    // Slower than the whole head may take, faster than an idle client would be noticed.
    for byte in GET {
        if client.0.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    assert_eq!(client.answer().await.0, 408);
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(gate.calls(), 0);

    let mut client = gate.client().await;
    client.send(GET).await;
    client.answer().await;
    client.send(b"GET /second HTTP/1.1\r\n").await;
    assert_eq!(client.answer().await.0, 408);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_head_in_single_bytes_and_a_body_after_it_arrive_unchanged() {
    let gate = Gate::start(ServerConfig { workers: 1, ..ServerConfig::default() });
    let mut client = gate.client().await;
    for _ in 0..2 {
        for byte in b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        {
            client.send(&[*byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.answer().await, (200, "POST /b;abc".to_owned()));
    }
}

#[tokio::test]
async fn a_large_head_and_a_large_body_pass() {
    let gate = Gate::start(Gate::quick());
    let mut client = gate.client().await;
    let (cookie, body) = ("c".repeat(50_000), "b".repeat(3_000_000));
    let head =
        format!("POST /b HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nContent-Length: {}\r\n\r\n", body.len());
    client.send(head.as_bytes()).await;
    client.send(body.as_bytes()).await;
    let (status, text) = client.answer().await;
    assert_eq!((status, text.len()), (200, body.len() + "POST /b;".len()));
    client.send(GET).await;
    assert_eq!(client.answer().await.0, 200);
}

#[tokio::test]
async fn an_answer_reaches_a_client_that_is_still_sending_its_body() {
    let gate = Gate::start(Gate::quick());
    let mut client = gate.client().await;
    client.send(b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n").await;
    let body = vec_of(900_000);
    let _ = client.0.write_all(&body).await;
    assert_eq!(client.answer().await, (200, "ignored".to_owned()));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let gate = Gate::start(ServerConfig { workers: 1, ..ServerConfig::default() });
    let mut client = gate.client().await;
    client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    while gate.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(client);
    let began = Instant::now();
    while gate.server.stats().open() > 0 {
        assert!(began.elapsed() < Duration::from_millis(350), "before the answer was ready");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let mut config = Gate::quick();
    config.timeouts.write_stall = Duration::from_millis(200);
    let gate = Gate::start(config);
    let mut client = gate.client().await;
    client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let cut = async {
        while gate.calls() == 0 || gate.server.stats().open() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, cut).await.expect("the connection is given up");
}

#[tokio::test]
async fn after_an_upgrade_bytes_pass_unseen_and_those_sent_ahead_are_kept() {
    let gate = Gate::start(Gate::quick());
    let mut client = gate.client().await;
    client
        .send(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nahead\n")
        .await;
    assert_eq!(client.answer().await.0, 101);
    assert_eq!(client.bytes(6).await, b"ahead\n");
    // No timer of HTTP touches the other protocol.
    tokio::time::sleep(Duration::from_millis(400)).await;
    client.send(b"GET\n\0\xff\r\r").await;
    assert_eq!(client.bytes(8).await, b"GET\n\0\xff\r\r");
    assert_eq!(gate.server.stats().open(), 1);
}

#[tokio::test]
async fn a_drain_waits_for_upgraded_connections() {
    let gate = Gate::start(Gate::quick());
    let mut client = gate.client().await;
    client.send(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
    assert_eq!(client.answer().await.0, 101);
    let drained = tokio::spawn(gate.drained());
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.send(b"still here").await;
    assert_eq!(client.bytes(10).await, b"still here");
    assert!(!drained.is_finished());
    drop(client);
    assert_eq!(drained.await.unwrap(), Ended::default());
}

#[tokio::test]
async fn an_upgrade_that_is_declined_leaves_a_connection_for_the_next_request() {
    let gate = Gate::start(Gate::quick());
    let mut client = gate.client().await;
    client
        .send(b"GET /a HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert_eq!(client.answer().await, (200, "GET /a;".to_owned()));
    assert_eq!(client.answer().await, (200, "GET /b;".to_owned()));
    client.send(b"GET /c HTTP/1.1\nHost: x\n\n").await;
    assert_eq!(client.answer().await.0, 400);
}

#[tokio::test]
async fn a_body_that_goes_wrong_later_is_answered_400_whatever_the_service_says() {
    let gate = Gate::start(Gate::quick());
    let mut client = gate.client().await;
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    while gate.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.send(b"3;\nabc\r\n0\r\n\r\n").await;
    client.send(GET).await;
    let (status, body) = client.answer().await;
    assert_eq!(status, 400);
    assert!(body.contains("bare-lf"), "{body}");
    assert_eq!(client.rest().await, "");
    assert_eq!(gate.calls(), 1);
}

#[tokio::test]
async fn a_connection_taken_just_before_closing_is_still_served() {
    let gate = Gate::start(ServerConfig { workers: 1, ..ServerConfig::default() });
    let mut client = gate.client().await;
    while gate.server.stats().open() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let drained = tokio::spawn(gate.drained());
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.send(GET).await;
    assert!(client.rest().await.contains("GET /a;"));
    assert_eq!(drained.await.unwrap(), Ended::default());
}

async fn http2_client(
    gate: &Gate,
) -> (hyper::client::conn::http2::SendRequest<http_body_util::Empty<bytes::Bytes>>, tokio::task::JoinHandle<()>)
{
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let stream = TcpStream::connect(gate.address).await.unwrap();
    let (send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (send, tokio::spawn(async move { drop(connection.await) }))
}

async fn http2_get(
    send: &mut hyper::client::conn::http2::SendRequest<http_body_util::Empty<bytes::Bytes>>,
    path: &str,
) -> Result<(u16, bytes::Bytes), hyper::Error> {
    let uri = format!("http://x{path}");
    let request = Request::get(uri).body(http_body_util::Empty::new()).unwrap();
    let response = timeout(PATIENCE, send.send_request(request)).await.unwrap()?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

#[tokio::test]
async fn http2_by_prior_knowledge_is_served_and_an_idle_connection_closed() {
    let gate = Gate::start(Gate::quick());
    let (mut send, connection) = http2_client(&gate).await;
    let mut other = send.clone();
    let (a, b) = tokio::join!(http2_get(&mut send, "/slow"), http2_get(&mut other, "/a"));
    assert_eq!(a.unwrap(), (200, "GET http://x/slow;".into()));
    assert_eq!(b.unwrap(), (200, "GET http://x/a;".into()));
    assert_eq!(http2_get(&mut send, "/panic").await.unwrap().0, 500);
    timeout(PATIENCE, connection).await.expect("idle connections are closed").unwrap();
}

#[tokio::test]
async fn an_http2_request_in_doubt_is_refused_and_its_connection_kept() {
    let gate = Gate::start(Gate::quick());
    let (mut send, _connection) = http2_client(&gate).await;
    let request = Request::get("http://x/a").header("host", "y").body(http_body_util::Empty::new()).unwrap();
    let response = timeout(PATIENCE, send.send_request(request)).await.unwrap().unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(gate.calls(), 0);
    assert_eq!(gate.server.stats().refused(Refusal::HostMismatch), 1);
    assert_eq!(http2_get(&mut send, "/a").await.unwrap().0, 200);
}

#[tokio::test]
async fn http2_drains_too() {
    let gate = Gate::start(ServerConfig { workers: 1, ..ServerConfig::default() });
    let (mut send, idle) = http2_client(&gate).await;
    http2_get(&mut send, "/a").await.unwrap();
    let (mut send, _connection) = http2_client(&gate).await;
    let busy = tokio::spawn(async move { http2_get(&mut send, "/slow").await });
    while gate.calls() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let began = Instant::now();
    let drained = tokio::spawn(gate.drained());
    idle.await.unwrap();
    assert_eq!(busy.await.unwrap().unwrap().0, 200);
    assert_eq!(drained.await.unwrap(), Ended::default());
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn the_admin_listener_serves_a_router_until_the_drain_is_done() {
    let control = Control::new().unwrap();
    let listeners = Listeners::bind(&[SocketAddr::from(([127, 0, 0, 1], 0))], 1).unwrap();
    let address = listeners.addresses()[0];
    let peer = |info: axum::extract::ConnectInfo<SocketAddr>| async move { info.0.ip().to_string() };
    let router = axum::Router::new().route("/peer", axum::routing::get(peer));
    let drain = Drain::new();
    control.serve_admin(listeners, Gate::quick(), router, &drain).unwrap();
    drain.start();
    drain.advance(Phase::Closing);
    control.block_on(async {
        let mut client = Client(TcpStream::connect(address).await.unwrap(), Vec::new());
        client.send(b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(client.answer().await, (200, "127.0.0.1".to_owned()));
    });
    control.shutdown();
}
