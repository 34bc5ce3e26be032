//! Bounds that an API, an operation or a route sets for itself, below those of the whole gateway.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::harness::{Folder, Gateway, Origin, PATIENCE, cli, eventually};

const API: &str = "
openapi: 3.0.3
info: { title: Bounded, version: '1' }
servers: [{ url: http://127.0.0.1:9 }]
x-gatewright: { limits: { headers: 2KiB } }
paths:
  /api: { get: { responses: { '200': { description: fine } } } }
  /path:
    x-gatewright: { limits: { header_count: 3 } }
    get: { responses: { '200': { description: fine } } }
    put:
      x-gatewright: { limits: { header_count: 4, headers: 1KiB, uri: 20 } }
      responses: { '200': { description: fine } }
";

#[test]
fn each_operation_keeps_to_the_bounds_nearest_to_it() {
    let origin = Origin::plain();
    let gateway = Gateway::description(API, &["--upstream", &origin.url()]);
    let fields = |count: usize, bytes: usize| format!("X: {}\r\n", "x".repeat(bytes / count)).repeat(count);
    // `Host` is one field more.
    for (method, target, count, bytes, status) in [
        ("GET", "/api", 1, 1900, 200),
        ("GET", "/api", 1, 2100, 431),
        ("GET", "/api", 90, 900, 200),
        ("GET", "/path", 2, 10, 200),
        ("GET", "/path", 3, 10, 431),
        ("GET", "/path", 1, 2100, 431),
        ("PUT", "/path", 3, 10, 200),
        ("PUT", "/path", 4, 10, 431),
        ("PUT", "/path", 1, 1100, 431),
        ("PUT", "/path?0123456789abcdef", 1, 10, 414),
    ] {
        let answer = gateway.send(method, target, &fields(count, bytes), "");
        assert_eq!(answer.status, status, "{method} {target} {count} {bytes}: {}", answer.text());
        if status == 431 {
            answer.problem(431, "headers-too-large");
        }
    }
    // By HTTP/2 as well, where the host is no field.
    let curl = |fields: &[String]| {
        let url = format!("http://{}/path", gateway.address);
        let output = std::process::Command::new("curl")
            .args([
                "-s",
                "--http2-prior-knowledge",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-A",
                "",
                "-H",
                "Accept:",
            ])
            .args(fields.iter().flat_map(|field| ["-H", field.as_str()]))
            .arg(url)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(curl(&["a: 1".into(), "b: 1".into(), "c: 1".into()]), "200");
    assert_eq!(curl(&["a: 1".into(), "b: 1".into(), "c: 1".into(), "d: 1".into()]), "431");
    assert_eq!(curl(&[format!("a: {}", "x".repeat(2100))]), "431");
    assert!(origin.seen().iter().all(|seen| seen.head.len() < 2400), "none of the refused ones went on");
}

#[test]
fn the_bytes_of_a_head_are_counted_as_they_came() {
    let origin = Origin::plain();
    let gateway = Gateway::config(&format!(
        "routes:\n  - {{ path: /**, upstream: '{}', limits: {{ headers: 1KiB }} }}\n",
        origin.url()
    ));
    let head = |bytes: usize| {
        let rest = "POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nX-Fill: \r\n\r\n".len();
        format!(
            "POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nX-Fill: {}\r\n\r\n",
            "x".repeat(bytes - rest)
        )
    };
    assert_eq!(gateway.client().exchange(head(1024)).status, 200);
    gateway.client().exchange(head(1025)).problem(431, "headers-too-large");
}

#[test]
fn a_bound_that_the_listener_would_not_let_through_is_an_error() {
    let folder = Folder::new();
    let wide = API.replace("headers: 1KiB", "headers: 65KiB");
    let file = folder.write("api.yaml", wide);
    cli(["check", &file]).refused(
        1,
        "bound-without-effect",
        &[
            "api.yaml:12:",
            "`limits.headers` is 66560 bytes here",
            "takes 65536",
            "at the root of gatewright.yaml",
        ],
    );
    let config = format!("limits: {{ headers: 65KiB }}\napis:\n  - {{ spec: {file} }}\n");
    cli(["check", &folder.write("gatewright.yaml", config)]).fine();
}

/// An origin that answers when it is told to, and how many calls are in its hands now and at most.
struct Slow {
    origin: Origin,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Slow {
    /// Requests with `/hold` wait for `release` before they answer.
    fn start(release: Arc<AtomicUsize>) -> Self {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (now.clone(), most.clone());
        let origin = Origin::start(move |call| {
            call.read_body();
            counts.1.fetch_max(counts.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            call.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
            let start = std::time::Instant::now();
            while call.path().contains("hold")
                && release.load(Ordering::SeqCst) == 0
                && start.elapsed() < PATIENCE
            {
                call.pause(Duration::from_millis(2));
            }
            call.pause(Duration::from_millis(5));
            counts.0.fetch_sub(1, Ordering::SeqCst);
            call.send("cd");
        });
        Self { origin, now, most }
    }
}

#[test]
fn requests_beyond_the_cap_of_their_route_are_told_to_come_back() {
    let release = Arc::new(AtomicUsize::new(0));
    let slow = Slow::start(release.clone());
    let config = |max: usize| {
        format!(
            "routes:\n  - {{ path: /hold, upstream: u, limits: {{ max_requests: {max} }} }}\n  - {{ path: /free, upstream: u }}\n\
             upstreams:\n  u: {{ endpoints: ['{}'] }}\n",
            slow.origin.url()
        )
    };
    let gateway = Gateway::config(&config(2));
    let begin = || {
        let mut client = gateway.client();
        client.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = client.head();
        (client, head.status)
    };
    // Their heads have come, their bodies not: they are under way.
    let (mut first, second) = (begin(), begin());
    assert_eq!((first.1, second.1), (200, 200));
    let answer = gateway.get("/hold");
    answer.problem(503, "upstream-unavailable");
    assert_eq!(answer.value("retry-after"), "1");
    assert!(answer.value("proxy-status").contains("error=connection_limit_reached"), "{:?}", answer.fields);
    assert_eq!(gateway.get("/free").status, 200, "another route is not concerned");

    // A new generation knows what the one before has under way.
    gateway.folder.replace("gatewright.yaml", config(3));
    let mut third = None;
    eventually("the wider cap is in force", || {
        let client = begin();
        let taken = client.1 == 200;
        third = taken.then_some(client);
        taken
    });
    assert_eq!(gateway.get("/hold").status, 503, "three are under way, two of them since before");
    gateway.folder.replace("gatewright.yaml", config(1) + "\n");
    gateway.await_log("generation 3");

    // A client that goes away makes room, and so does an answer that has ended.
    drop((second, third));
    release.store(1, Ordering::SeqCst);
    assert_eq!(first.0.bytes(4), b"abcd");
    eventually("there is room again", || gateway.get("/hold").status == 200);
    eventually("nothing is left", || slow.now.load(Ordering::SeqCst) == 0);
    assert_eq!(slow.most.load(Ordering::SeqCst), 3, "what was refused never reached the upstream");
}

#[test]
fn a_cap_is_exact_when_many_come_at_once() {
    let slow = Slow::start(Arc::new(AtomicUsize::new(1)));
    let gateway = Gateway::config(&format!(
        "routes:\n  - {{ path: /**, upstream: '{}', limits: {{ max_requests: 3 }} }}\n",
        slow.origin.url()
    ));
    let (start, callers) = (Barrier::new(8), 8);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..callers)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = gateway.client();
                    start.wait();
                    (0..40)
                        .map(|_| {
                            client.exchange("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx").status
                        })
                        .collect::<Vec<u16>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    assert!(statuses.contains(&200) && statuses.contains(&503));
    assert_eq!(slow.most.load(Ordering::SeqCst), 3, "as many as may be, and never more");
    // All places came back.
    eventually("all end", || slow.now.load(Ordering::SeqCst) == 0);
    assert_eq!(gateway.get("/").status, 200);
}
