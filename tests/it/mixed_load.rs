//! All kinds of traffic at once over a cache that is too small for it: every answer is right, and memory does not
//! grow.
//!
//! Seconds in `make test`, ten minutes in `make soak`.

use std::{
    io::Read,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::harness::{Client, Gateway, Nginx, soak};

const CLIENTS: u64 = 6;
const LARGE: usize = 300_000;
const MIB: u64 = 1 << 20;

/// How much more memory may be held in the last fifth of the time than in the second.
const GROWTH: u64 = 24 * MIB;

fn time() -> Duration {
    Duration::from_secs(if soak() { 600 } else { 10 })
}

/// Short answers that say what they are for, and long ones of one file under many addresses.
const ORIGIN: &str = "
    location /short/ {
        add_header Cache-Control 'max-age=2, stale-while-revalidate=2'; add_header Vary Accept-Language;
        add_header Cache-Tag short; etag on; return 200 '$uri for $http_accept_language';
    }
    location /personal/ { add_header Cache-Control no-store; return 200 '$uri for $http_authorization'; }
    location /long/ { add_header Cache-Control 'max-age=3'; rewrite ^ /long.bin break; }";

/// Numbers that look random and are the same in each run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

/// One caller's next request, and whether its connection can be used again.
fn call(client: &mut Client, dice: &mut Dice, name: u64) -> bool {
    let (kind, number) = (dice.below(100), dice.below(5_000));
    let language = ["en", "de", "fr"][dice.below(3) as usize];
    let short = format!("/short/{number}");
    let long = format!("/long/{}", number % 400);
    let lines = |method: &str, target: &str, fields: &str| {
        format!("{method} {target} HTTP/1.1\r\nHost: h\r\nAccept-Language: {language}\r\n{fields}\r\n")
    };
    match kind {
        0..60 => {
            let answer = client.exchange(lines("GET", &short, ""));
            assert_eq!((answer.status, answer.text()), (200, format!("{short} for {language}")));
        }
        60..70 => {
            let fields = format!("Authorization: Basic {name}\r\n");
            let answer = client.exchange(lines("GET", &format!("/personal/{}", number % 9), &fields));
            assert_eq!(answer.text(), format!("/personal/{} for Basic {name}", number % 9));
        }
        70..74 => {
            let answer = client.exchange(lines("GET", &short, "Cache-Control: no-cache\r\n"));
            assert_eq!(answer.text(), format!("{short} for {language}"));
        }
        74..78 => {
            client.send(lines("POST", &short, "Content-Length: 3\r\n") + "new");
            assert_eq!(client.response("POST").status, 200);
        }
        78..82 => {
            client.send(lines("HEAD", &short, ""));
            assert_eq!(client.response("HEAD").status, 200);
        }
        82..90 => {
            let answer = client.exchange(lines("GET", &long, ""));
            assert_eq!((answer.status, answer.body.len()), (200, LARGE), "{long}");
            assert!(answer.body.iter().enumerate().all(|(at, found)| *found == byte(at)), "{long}");
        }
        90..96 => {
            let (start, length) = (dice.below(LARGE as u64 - 2000) as usize, 1 + dice.below(2000) as usize);
            let range = format!("Range: bytes={start}-{}\r\n", start + length - 1);
            let answer = client.exchange(lines("GET", &long, &range));
            assert_eq!((answer.status, answer.body.len()), (206, length), "{long} {range}");
            assert!((start..).zip(&answer.body).all(|(at, found)| *found == byte(at)), "{long} {range}");
        }
        _ => {
            // Goes away in the middle of the answer.
            client.send(lines("GET", &long, ""));
            let mut some = [0; 4096];
            let _ = client.stream.read(&mut some);
            return false;
        }
    }
    true
}

#[test]
fn a_mix_of_all_traffic_is_answered_rightly_and_leaves_no_memory_behind() {
    let nginx = Nginx::start(ORIGIN);
    let long: Vec<u8> = (0..LARGE).map(byte).collect();
    nginx.folder.write("www/long.bin", long);
    let gateway = Gateway::config(&format!(
        "cache: {{ memory: 8MiB, disk: 64MiB }}\naccess_log: 'off'\n\
         routes:\n  - {{ path: /**, upstream: '{}' }}\n",
        nginx.url()
    ));
    let (over, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let most = std::thread::scope(|scope| {
        for name in 1..=CLIENTS {
            let (gateway, over, calls) = (&gateway, &over, &calls);
            scope.spawn(move || {
                let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ name);
                let mut client = gateway.client();
                while !over.load(Ordering::Relaxed) {
                    if !call(&mut client, &mut dice, name) {
                        client = gateway.client();
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // The most that is held in each fifth of the time.
        let mut most = [0; 5];
        while began.elapsed() < time() {
            let fifth = began.elapsed().as_millis() * 5 / time().as_millis();
            let held = gateway.memory_kib("VmRSS") * 1024;
            let most = &mut most[fifth.min(4) as usize];
            *most = held.max(*most);
            std::thread::sleep(Duration::from_millis(50));
        }
        over.store(true, Ordering::Relaxed);
        most
    });
    let shown = most.map(|bytes| bytes / MIB);
    println!("{} calls; MiB held at most in each fifth: {shown:?}", calls.load(Ordering::Relaxed));
    assert!(most[4] < most[1] + GROWTH, "MiB held at most in each fifth of the time: {shown:?}");
}
