//! Requests that need the same answer at once: one call, and nobody is hurt by another (RFC 9111, section 4).

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::harness::{Call, Client, Gateway, Origin, PATIENCE, Response, eventually};

const MIB: usize = 1 << 20;

/// A gate that a test opens and an origin's answer waits for.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn pass(&self) {
        let start = Instant::now();
        while !self.0.load(Ordering::SeqCst) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn begin(gateway: &Gateway, target: &str, fields: &str) -> Client {
    let mut client = gateway.client();
    let host = gateway.address;
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n"));
    client
}

/// How many requests the cache says have been looked up: those that wait have been, too.
#[track_caller]
fn await_in_flight(gateway: &Gateway, count: usize) {
    eventually("all requests are in flight", || {
        let metrics = gateway.admin_get("/metrics").text();
        let in_flight = metrics.lines().filter(|line| line.starts_with("gatewright_requests_in_flight{"));
        in_flight.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum::<usize>() == count
    });
}

fn words(gateway: &Gateway, count: usize) -> Vec<String> {
    let mut words: Vec<_> = gateway
        .access_log(count)
        .iter()
        .map(|line| line["cache"].as_str().unwrap_or_default().to_owned())
        .collect();
    words.sort_unstable();
    words
}

#[test]
fn a_hundred_misses_that_meet_make_one_call_and_read_while_it_drips() {
    const CLIENTS: usize = 100;
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |call| {
        call.pause(Duration::from_millis(300));
        call.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n");
        call.send("5\r\nfirst\r\n");
        opened.pass();
        for _ in 0..50 {
            call.send("a\r\n0123456789\r\n");
            call.pause(Duration::from_millis(5));
        }
        call.send("0\r\n\r\n");
    });
    let gateway = Gateway::run(&["--proxy", &origin.url(), "--workers", "2", "--access-log", "json"]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| begin(&gateway, "/drip", "")).collect();
    for client in &mut clients {
        let head = client.head();
        assert_eq!(head.status, 200);
        assert!(head.cache().contains("fwd=uri-miss"), "{}", head.cache());
        // The upstream's last byte is far away.
        assert_eq!(client.chunk(), b"first");
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.chunks().0, b"0123456789".repeat(50));
    }
    assert_eq!(origin.calls(), 1);
    let words = words(&gateway, CLIENTS);
    assert_eq!(words.iter().filter(|word| *word == "collapsed").count(), CLIENTS - 1, "{words:?}");
    assert!(gateway.get("/drip").is_hit());
    let stats = gateway.admin_get("/metrics").text();
    assert!(stats.contains("result=\"collapsed\"} 99"), "{stats}");
}

#[test]
fn those_who_come_while_it_arrives_read_along() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |call| {
        call.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n01234");
        opened.pass();
        call.send("56789");
    });
    let gateway = Gateway::proxy(&origin.url());
    let mut first = begin(&gateway, "/", "");
    assert_eq!((first.head().status, first.bytes(5).as_slice()), (200, &b"01234"[..]));
    let mut late = begin(&gateway, "/", "");
    let head = late.head();
    assert_eq!((head.value("content-length"), late.bytes(5)), ("10".to_owned(), b"01234".to_vec()));
    assert!(head.cache().contains("collapsed") && !head.cache().contains("?0"), "{}", head.cache());
    let mut part = begin(&gateway, "/", "Range: bytes=3-6\r\n");
    let head = part.head();
    assert_eq!((head.status, head.value("content-range")), (206, "bytes 3-6/10".to_owned()));
    assert_eq!(part.bytes(2), b"34");
    let head = gateway.send("HEAD", "/", "", "");
    assert_eq!((head.status, head.value("content-length")), (200, "10".to_owned()));
    gate.open();
    assert_eq!(first.bytes(5), b"56789");
    assert_eq!(late.bytes(5), b"56789");
    assert_eq!(part.bytes(2), b"56");
    assert_eq!(origin.calls(), 1);
}

#[test]
fn a_leader_that_vanishes_hurts_nobody() {
    for stage in ["before the head", "in the body"] {
        let gate = Gate::default();
        let opened = gate.clone();
        let origin = Origin::start(move |call| {
            let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";
            if stage == "in the body" {
                call.send(format!("{head}5\r\nfirst\r\n"));
            }
            opened.pass();
            if stage == "before the head" {
                call.send(format!("{head}5\r\nfirst\r\n"));
            }
            call.send("4\r\nlast\r\n0\r\n\r\n");
        });
        let gateway = Gateway::run(&["--proxy", &origin.url(), "--workers", "2", "--access-log", "json"]);
        let mut leader = begin(&gateway, "/", "");
        origin.await_call("/");
        if stage == "in the body" {
            assert_eq!((leader.head().status, leader.chunk().as_slice()), (200, &b"first"[..]));
        }
        let mut followers: Vec<_> = (0..8).map(|_| begin(&gateway, "/", "")).collect();
        await_in_flight(&gateway, 9);
        drop(leader);
        // The gateway has seen it go.
        match stage {
            "in the body" => await_in_flight(&gateway, 8),
            _ => std::thread::sleep(Duration::from_millis(300)),
        }
        gate.open();
        for follower in &mut followers {
            assert_eq!(follower.response("GET").text(), "firstlast", "{stage}");
        }
        assert_eq!(origin.calls(), 1, "{stage}");
        assert!(gateway.get("/").is_hit(), "{stage}");
        let lines = gateway.access_log(10);
        assert_eq!(lines.iter().filter(|line| line["vanished"] == true).count(), 1, "{stage}: {lines:?}");
    }
}

#[test]
fn a_fetch_that_nobody_waits_for_any_more_is_cancelled() {
    for stage in ["before the head", "in the body"] {
        let cancelled = Gate::default();
        let seen = cancelled.clone();
        let origin = Origin::start(move |call| {
            if stage == "in the body" {
                call.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 100\r\n\r\nfirst");
            }
            if call.peer_closes() {
                seen.open();
            }
            call.close();
        });
        let gateway = Gateway::proxy(&origin.url());
        let leader = begin(&gateway, "/", "");
        origin.await_call("/");
        let follower = begin(&gateway, "/", "");
        await_in_flight(&gateway, 2);
        drop(leader);
        std::thread::sleep(Duration::from_millis(100));
        assert!(!cancelled.0.load(Ordering::SeqCst), "{stage}: someone waits");
        drop(follower);
        eventually(stage, || cancelled.0.load(Ordering::SeqCst));
    }
}

#[test]
fn an_upstream_that_breaks_off_breaks_off_for_all_and_nothing_is_stored() {
    let gate = Gate::default();
    let opened = gate.clone();
    let count = AtomicUsize::new(0);
    let origin = Origin::start(move |call| {
        if count.fetch_add(1, Ordering::SeqCst) > 0 {
            call.ok("Cache-Control: max-age=60\r\n", "whole");
            return;
        }
        call.send(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        );
        opened.pass();
        call.close();
    });
    let gateway = Gateway::proxy(&origin.url());
    let mut clients: Vec<_> = (0..8).map(|_| begin(&gateway, "/", "")).collect();
    for client in &mut clients {
        assert_eq!((client.head().status, client.chunk().as_slice()), (200, &b"part"[..]));
    }
    gate.open();
    for client in &mut clients {
        assert!(client.is_closed(), "the answer ended as if it were whole");
    }
    assert_eq!(origin.calls(), 1);
    let next = gateway.get("/");
    assert!(!next.is_hit() && next.text() == "whole", "{next:?}");
}

/// Reads a whole answer whose body is this long and of one letter.
fn reads(mut client: Client, chunked: bool, size: usize) -> bool {
    let head = client.head();
    assert_eq!(head.status, 200);
    let mut read = 0;
    if chunked {
        loop {
            let chunk = client.chunk();
            read += chunk.len();
            if chunk.is_empty() {
                return read == size;
            }
        }
    }
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(more @ 1..) = client.stream.read(&mut buffer) {
        read += more;
    }
    read == size
}

/// Sends a body of one letter.
fn flood(call: &mut Call, chunked: bool, size: usize) {
    let length = match chunked {
        true => "Transfer-Encoding: chunked".to_owned(),
        false => format!("Content-Length: {size}"),
    };
    call.send(format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{length}\r\n\r\n"));
    let block = vec![b'x'; MIB];
    for _ in 0..size / MIB {
        if chunked {
            call.send("100000\r\n");
        }
        if !call.send(&block) {
            return;
        }
        if chunked {
            call.send("\r\n");
        }
    }
    if chunked {
        call.send("0\r\n\r\n");
    }
}

#[test]
fn a_client_that_stops_reading_holds_nobody_back_and_takes_no_memory() {
    // Stored, so that who stopped may go on; and far beyond what is stored.
    for (chunked, size, stored) in [(false, 12 * MIB, true), (true, 192 * MIB, false)] {
        let gate = Gate::default();
        let opened = gate.clone();
        let origin = Origin::start(move |call| {
            opened.pass();
            flood(call, chunked, size);
        });
        let gateway = Gateway::proxy(&origin.url());
        let at_rest = gateway.memory_kib("VmRSS") as usize * 1024;
        let stopped = [begin(&gateway, "/", ""), begin(&gateway, "/", "")];
        origin.await_call("/");
        let others: Vec<_> = (0..4).map(|_| begin(&gateway, "/", "")).collect();
        await_in_flight(&gateway, 6);
        gate.open();
        std::thread::scope(|scope| {
            let others: Vec<_> =
                others.into_iter().map(|client| scope.spawn(move || reads(client, chunked, size))).collect();
            for other in others {
                assert!(other.join().unwrap(), "not every byte came");
            }
        });
        assert_eq!(origin.calls(), 1);
        let most = gateway.memory_kib("VmHWM") as usize * 1024;
        assert!(most < at_rest + 64 * MIB, "{} MiB at rest, {} MiB at most", at_rest / MIB, most / MIB);
        if stored {
            for client in stopped {
                assert!(reads(client, chunked, size), "who stopped goes on");
            }
        }
        let hits = || gateway.get("/").is_hit();
        let hit = match stored {
            // It is too large for memory, and on its way to the disk.
            true => (0..100).any(|_| {
                std::thread::sleep(Duration::from_millis(50));
                hits()
            }),
            false => hits(),
        };
        assert_eq!(hit, stored);
    }
}

#[test]
fn what_is_not_shared_is_asked_for_at_once_by_all() {
    const CLIENTS: usize = 20;
    for fields in
        ["Cache-Control: no-store\r\n", "Cache-Control: max-age=0\r\n", "Cache-Control: private\r\n", ""]
    {
        let (begun, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, at_once) = (begun.clone(), most.clone());
        let origin = Origin::start(move |call| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            if number == 1 {
                call.pause(Duration::from_millis(300));
            } else {
                // All others are here before the second is answered.
                let start = Instant::now();
                while count.load(Ordering::SeqCst) < CLIENTS && start.elapsed() < Duration::from_secs(5) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                at_once.fetch_max(count.load(Ordering::SeqCst), Ordering::SeqCst);
            }
            call.ok(fields, format!("answer {number}"));
        });
        let gateway = Gateway::proxy(&origin.url());
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| begin(&gateway, "/", "")).collect();
        let answers: Vec<Response> = clients.iter_mut().map(|client| client.response("GET")).collect();
        assert_eq!(most.load(Ordering::SeqCst), CLIENTS, "{fields}");
        let mut texts: Vec<_> = answers.iter().map(Response::text).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), CLIENTS, "{fields}: an answer was shared");
        let waited = answers.iter().filter(|answer| answer.cache().contains("collapsed=?0")).count();
        assert_eq!(waited, CLIENTS - 1, "{fields}");
        // Nobody waits for this key for a while.
        assert!(!gateway.get("/").cache().contains("collapsed"), "{fields}");
    }
}

#[test]
fn each_variant_is_fetched_once() {
    let origin = Origin::start(|call| {
        call.pause(Duration::from_millis(200));
        let language = call.seen.value("accept-language");
        call.ok("Cache-Control: max-age=60\r\nVary: Accept-Language\r\n", language);
    });
    let gateway = Gateway::run(&["--proxy", &origin.url(), "--workers", "2"]);
    let languages = ["de", "en", "fr"];
    let mut clients: Vec<_> = (0..30)
        .map(|i| {
            (languages[i % 3], begin(&gateway, "/", &format!("Accept-Language: {}\r\n", languages[i % 3])))
        })
        .collect();
    for (language, client) in &mut clients {
        assert_eq!(client.response("GET").text(), *language);
    }
    assert_eq!(origin.calls(), 3);
}

#[test]
fn callers_with_credentials_share_nothing_that_is_not_theirs() {
    let origin = Origin::start(|call| {
        call.pause(Duration::from_millis(200));
        let who = call.seen.value("authorization");
        call.ok("Cache-Control: max-age=60\r\n", format!("for {who}"));
    });
    let gateway = Gateway::proxy(&origin.url());
    let fields = ["", "Authorization: Basic YQ==\r\n", "Authorization: Basic Yg==\r\n"];
    let mut clients: Vec<_> = (0..12).map(|i| (fields[i % 3], begin(&gateway, "/", fields[i % 3]))).collect();
    for (fields, client) in &mut clients {
        let who = fields.trim_start_matches("Authorization: ").trim();
        assert_eq!(client.response("GET").text(), format!("for {who}"));
    }
    assert_eq!(origin.calls(), 9, "one for those without credentials, eight for the others");
}

#[test]
fn a_stale_answer_is_validated_once_for_all() {
    let origin = Origin::start(|call| {
        call.pause(Duration::from_millis(200));
        if call.seen.value("if-none-match").is_empty() {
            call.ok("Cache-Control: max-age=1\r\nETag: \"a\"\r\n", "body");
        } else {
            call.send("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nETag: \"a\"\r\n\r\n");
        }
    });
    let gateway = Gateway::proxy(&origin.url());
    assert_eq!(gateway.get("/").text(), "body");
    std::thread::sleep(Duration::from_millis(1100));
    let mut clients: Vec<_> = (0..20)
        .map(|i| begin(&gateway, "/", if i % 2 == 0 { "" } else { "If-None-Match: \"a\"\r\n" }))
        .collect();
    for (i, client) in clients.iter_mut().enumerate() {
        let answer = client.response("GET");
        assert_eq!(
            (answer.status, answer.text().as_str()),
            if i % 2 == 0 { (200, "body") } else { (304, "") }
        );
        assert!(answer.cache().contains("fwd=stale"), "{}", answer.cache());
    }
    assert_eq!(origin.calls(), 2);
}

#[test]
fn a_failed_upstream_is_tried_once_for_all_who_wait() {
    let origin = Origin::start(|call| {
        call.pause(Duration::from_millis(300));
        if call.path() == "/stale" && call.seen.value("if-none-match").is_empty() {
            call.ok("Cache-Control: max-age=1, stale-if-error=60\r\nETag: \"a\"\r\n", "stale");
            return;
        }
        match call.seen.target().as_str() {
            "/stale?503" => drop(call.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")),
            _ => {
                call.send("nonsense\r\n\r\n");
                call.close();
            }
        }
    });
    let gateway = Gateway::proxy(&origin.url());
    let all = |target: &str| {
        let mut clients: Vec<_> = (0..10).map(|_| begin(&gateway, target, "")).collect();
        clients.iter_mut().map(|client| client.response("GET")).collect::<Vec<_>>()
    };
    let answers = all("/broken");
    let ids: std::collections::BTreeSet<_> = answers
        .iter()
        .map(|answer| answer.problem(502, "upstream-protocol-error")["request_id"].to_string())
        .collect();
    assert_eq!((origin.calls(), ids.len()), (1, 10), "one call, each its own problem");
    for target in ["/stale", "/stale?503"] {
        assert_eq!(gateway.get(target).text(), "stale");
        std::thread::sleep(Duration::from_millis(1100));
        let before = origin.calls();
        for answer in all(target) {
            assert_eq!((answer.status, answer.text().as_str()), (200, "stale"));
            assert!(answer.cache().contains("stale-if-error"), "{}", answer.cache());
        }
        assert_eq!(origin.calls(), before + 1, "{target}");
    }
}

#[test]
fn a_drain_waits_for_those_who_read_what_another_worker_fetches() {
    // Which worker takes a connection is the system's choice: one round in two has it as it must be.
    for round in 0..6 {
        let gate = Gate::default();
        let opened = gate.clone();
        let origin = Origin::start(move |call| {
            call.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 9\r\n\r\nfirst");
            opened.pass();
            call.send("last");
        });
        let mut gateway = Gateway::run(&["--proxy", &origin.url(), "--workers", "2", "--drain-delay", "0s"]);
        let [leader, mut follower] = [(); 2].map(|()| {
            let mut client = begin(&gateway, "/", "");
            assert_eq!((client.head().status, client.bytes(5).as_slice()), (200, &b"first"[..]));
            client
        });
        drop(leader);
        gateway.signal(rustix::process::Signal::TERM);
        std::thread::sleep(Duration::from_millis(300));
        gate.open();
        assert_eq!(follower.bytes(4), b"last", "round {round}");
        assert_eq!(gateway.ended(), Some(0));
    }
}

#[test]
fn a_body_on_a_get_is_nobody_elses() {
    let origin = Origin::start(|call| {
        call.read_body();
        call.pause(Duration::from_millis(200));
        let body = String::from_utf8_lossy(&call.seen.body).into_owned();
        call.ok("Cache-Control: max-age=60\r\n", format!("for {body}"));
    });
    let gateway = Gateway::proxy(&origin.url());
    std::thread::scope(|scope| {
        let calls =
            ["a", "b", ""].map(|body| (body, scope.spawn(|| gateway.send("GET", "/", "", body).text())));
        for (body, call) in calls {
            assert_eq!(call.join().unwrap(), format!("for {body}"));
        }
    });
    assert_eq!(gateway.get("/").text(), "for ");
}
