//! Long bodies in constant memory: backpressure from a slow peer reaches the other one.
//!
//! Short in `make test`, full size in `make soak` (10 GB each way).

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::harness::{Gateway, Origin, eventually, soak};

const MIB: u64 = 1 << 20;

fn size() -> u64 {
    if soak() { 10_240 * MIB } else { 256 * MIB }
}

/// How much more memory than at rest the gateway may hold, and how much may be under way in all buffers
/// from one end to the other, the systems' own included.
const MEMORY: u64 = 32 * MIB;
const UNDER_WAY: u64 = 24 * MIB;

/// Reads to the end, asserting nothing; gives the count.
fn drain(stream: &mut impl Read) -> u64 {
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return total,
            Ok(read) => total += read as u64,
        }
    }
}

/// Waits until `counter` no longer moves, and gives where it stopped.
fn settled(counter: &AtomicU64) -> u64 {
    let mut last = counter.load(Ordering::SeqCst);
    eventually("the sender is held back", || {
        std::thread::sleep(Duration::from_millis(300));
        let before = std::mem::replace(&mut last, counter.load(Ordering::SeqCst));
        before == last && last > 0
    });
    last
}

#[test]
fn a_long_answer_to_a_slow_client_is_not_held_in_memory() {
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let origin = Origin::start(move |call| {
        call.send(format!(
            "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\r\n",
            size()
        ));
        let block = vec![b'x'; MIB as usize];
        while count.load(Ordering::SeqCst) < size() && call.send(&block) {
            count.fetch_add(MIB, Ordering::SeqCst);
        }
        call.peer_closes();
        call.close();
    });
    let gateway = Gateway::proxy(&origin.url());
    let at_rest = gateway.memory_kib("VmRSS") * 1024;
    let mut client = gateway.client();
    client.send("GET /long HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(client.head().status, 200);
    let held_at = settled(&sent);
    assert!(held_at < UNDER_WAY, "{} MiB went out to a client that reads nothing", held_at / MIB);
    assert_eq!(drain(&mut client.stream), size());
    let most = gateway.memory_kib("VmHWM") * 1024;
    assert!(most < at_rest + MEMORY, "{} MiB at rest, {} MiB at most", at_rest / MIB, most / MIB);
}

#[test]
fn a_long_request_to_a_slow_upstream_is_not_held_in_memory() {
    let received = Arc::new(AtomicU64::new(0));
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (count, wait) = (received.clone(), std::sync::Mutex::new(wait));
    let origin = Origin::start(move |call| {
        wait.lock().unwrap().recv().unwrap();
        let mut body = call.socket().by_ref().take(size());
        count.store(drain(&mut body), Ordering::SeqCst);
        call.ok("", "thanks");
    });
    let gateway = Gateway::config(&format!(
        "routes:\n  - {{ path: /**, upstream: '{}', limits: {{ body: 100GB }} }}\n",
        origin.url()
    ));
    let at_rest = gateway.memory_kib("VmRSS") * 1024;
    let mut client = gateway.client();
    client.send(format!("POST /long HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", size()));
    let sent = Arc::new(AtomicU64::new(0));
    let (mut socket, count) = (client.socket().try_clone().unwrap(), sent.clone());
    let sender = std::thread::spawn(move || {
        let block = vec![b'x'; MIB as usize];
        while count.load(Ordering::SeqCst) < size() {
            socket.write_all(&block).unwrap();
            count.fetch_add(MIB, Ordering::SeqCst);
        }
    });
    let held_at = settled(&sent);
    assert!(held_at < UNDER_WAY, "{} MiB went out to an upstream that reads nothing", held_at / MIB);
    go.send(()).unwrap();
    sender.join().unwrap();
    assert_eq!(client.response("POST").text(), "thanks");
    assert_eq!(received.load(Ordering::SeqCst), size());
    let most = gateway.memory_kib("VmHWM") * 1024;
    assert!(most < at_rest + MEMORY, "{} MiB at rest, {} MiB at most", at_rest / MIB, most / MIB);
}

#[test]
fn many_calls_leave_no_memory_behind() {
    let origin = Origin::plain();
    let gateway = Gateway::run(&["--proxy", &origin.url(), "--access-log", "off"]);
    let rounds = if soak() { 200_000 } else { 3_000 };
    let run = |count: usize| {
        let mut client = gateway.client();
        for turn in 0..count {
            let path = format!("/{turn}?x={}", turn * 7);
            assert_eq!(client.exchange(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).status, 200);
        }
    };
    run(rounds / 3);
    let warm = gateway.memory_kib("VmRSS") * 1024;
    run(rounds);
    let after = gateway.memory_kib("VmRSS") * 1024;
    assert!(after < warm + 16 * MIB, "{} MiB when warm, {} MiB after", warm / MIB, after / MIB);
}
