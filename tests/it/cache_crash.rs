//! The whole gateway, killed while it stores: what it serves after the next start (`make soak`: 200 times).
//!
//! Bodies tell their path and version; the origin's versions only grow. An answer must be some version whole
//! and unchanged, none older than a change that was acknowledged (a `PUT` through the gateway, a purge), and
//! what was stored longer than a second before the end must be there.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use crate::harness::{Gateway, Origin, PATIENCE, soak};

/// What may be lost before the end.
const LOSS: Duration = Duration::from_secs(1);

const PATHS: usize = 240;

/// A purge is of one group.
const GROUPS: usize = 8;

fn path(number: usize) -> String {
    format!("/{}/{number}", number % GROUPS)
}

fn versioned(number: usize, version: u64) -> Vec<u8> {
    let mut body = vec![0; [0, 300, 3_000, 20_000, 150_000][number % 5]];
    blake3::Hasher::new().update(format!("{number} {version}").as_bytes()).finalize_xof().fill(&mut body);
    body
}

/// What the origin has and what the clients know.
#[derive(Default)]
struct World {
    paths: Vec<Known>,
}

#[derive(Default)]
struct Known {
    /// The origin's.
    version: AtomicU64,
    /// No answer to a request sent from now on may be older.
    least: AtomicU64,
    /// Changes that began and may have reached the gateway.
    changes: AtomicU64,
    /// The newest that was seen to be stored, when, and after how many changes.
    stored: Mutex<Option<(u64, Instant, u64)>>,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self { paths: (0..PATHS).map(|_| Known::default()).collect() })
    }

    fn origin(self: &Arc<Self>) -> Origin {
        let world = Arc::clone(self);
        Origin::start(move |call| {
            call.read_body();
            let number: usize = call.path().rsplit('/').next().unwrap().parse().unwrap();
            let known = &world.paths[number];
            if call.seen.method() == "PUT" {
                let version = known.version.fetch_add(1, SeqCst) + 1;
                call.send(format!("HTTP/1.1 204 No Content\r\nX-Version: {version}\r\n\r\n"));
            } else {
                let version = known.version.load(SeqCst);
                let fields = format!("Cache-Control: max-age=600\r\nX-Version: {version}\r\n");
                call.ok(&fields, versioned(number, version));
            }
        })
    }
}

/// An answer over a connection that may break at any time.
struct Answer {
    status: u16,
    fields: HashMap<String, String>,
    body: Vec<u8>,
}

fn ask(stream: &mut BufReader<TcpStream>, head: &str) -> std::io::Result<Answer> {
    stream.get_mut().write_all(head.as_bytes())?;
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    let field = |line: &String| line.split_once(": ").map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()));
    let fields: HashMap<String, String> = lines[1..].iter().filter_map(field).collect();
    let length = fields.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Answer { status, fields, body })
}

impl Answer {
    /// The version, its body looked at byte by byte.
    fn version(&self, number: usize) -> u64 {
        assert_eq!(self.status, 200);
        let version = self.fields["x-version"].parse().unwrap();
        let expected = blake3::hash(&versioned(number, version));
        assert_eq!(blake3::hash(&self.body), expected, "{number} {version}: wrong bytes");
        version
    }

    fn cache(&self) -> &str {
        self.fields.get("cache-status").map(String::as_str).unwrap_or_default()
    }
}

/// Asks and changes until the gateway is gone.
fn load(gateway: std::net::SocketAddr, world: &World) -> std::io::Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(gateway)?);
    stream.get_ref().set_read_timeout(Some(PATIENCE))?;
    loop {
        let number = fastrand::usize(0..PATHS);
        let (known, path) = (&world.paths[number], path(number));
        if fastrand::u32(0..12) == 0 {
            known.changes.fetch_add(1, SeqCst);
            let head = format!("PUT {path} HTTP/1.1\r\nHost: crash.test\r\nContent-Length: 0\r\n\r\n");
            let answer = ask(&mut stream, &head)?;
            assert_eq!(answer.status, 204);
            known.least.fetch_max(answer.fields["x-version"].parse().unwrap(), SeqCst);
            continue;
        }
        let (least, changes) = (known.least.load(SeqCst), known.changes.load(SeqCst));
        let answer = ask(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: crash.test\r\n\r\n"))?;
        let version = answer.version(number);
        assert!(version >= least, "{number}: {version} though {least} was acknowledged: {}", answer.cache());
        if answer.cache().contains("stored") {
            *known.stored.lock().unwrap() = Some((version, Instant::now(), changes));
        }
    }
}

/// Changes a group at the origin and purges it, again and again.
fn purge(gateway: &Gateway, world: &World, over: &AtomicBool) {
    let token = std::fs::read_to_string(gateway.folder.path("state/admin.token")).unwrap();
    while !over.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(fastrand::u64(50..300)));
        let group = fastrand::usize(0..GROUPS);
        let of_group = || (group..PATHS).step_by(GROUPS).map(|number| &world.paths[number]);
        let versions: Vec<u64> = of_group()
            .map(|known| {
                known.changes.fetch_add(1, SeqCst);
                known.version.fetch_add(1, SeqCst) + 1
            })
            .collect();
        let body = format!("{{\"prefix\":\"http://crash.test/{group}/\"}}");
        let Ok(stream) = TcpStream::connect(gateway.admin) else { return };
        let head = format!(
            "POST /cache/purge HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            gateway.admin,
            token.trim(),
            body.len()
        );
        let Ok(answer) = ask(&mut BufReader::new(stream), &head) else { return };
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        of_group().zip(versions).for_each(|(known, version)| {
            known.least.fetch_max(version, SeqCst);
        });
    }
}

/// What is there after the start that follows a kill at `ended`; how many answers.
fn check(gateway: &Gateway, world: &World, ended: Instant) -> usize {
    let mut stream = BufReader::new(TcpStream::connect(gateway.address).unwrap());
    let mut hits = 0;
    for (number, known) in world.paths.iter().enumerate() {
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: crash.test\r\nCache-Control: only-if-cached\r\n\r\n",
            path(number)
        );
        let answer = ask(&mut stream, &head).unwrap();
        let stored = known.stored.lock().unwrap().take();
        // Stored early enough, and nothing began to change it since.
        let sure =
            stored.filter(|(_, at, changes)| *at + LOSS < ended && *changes == known.changes.load(SeqCst));
        if answer.status == 504 {
            assert!(sure.is_none(), "{number}: lost, though stored {:?} before", sure.map(|s| ended - s.1));
            continue;
        }
        let (version, least) = (answer.version(number), known.least.load(SeqCst));
        assert!(answer.cache().contains("hit"), "{}", answer.cache());
        assert!(version >= least, "{number}: {version} is back, though {least} was acknowledged");
        assert!(sure.is_none_or(|(stored, ..)| version >= stored));
        hits += 1;
    }
    hits
}

#[test]
fn a_kill_under_load_costs_a_second_at_most_and_never_a_byte() {
    let world = World::new();
    let origin = world.origin();
    let mut gateway = Gateway::run(&["--proxy", &origin.url(), "--access-log", "off"]);
    let (rounds, mut hits) = (if soak() { 200 } else { 20 }, 0);
    for round in 0..rounds {
        let over = AtomicBool::new(false);
        let mut ended = Instant::now();
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..3).map(|_| scope.spawn(|| load(gateway.address, &world))).collect();
            let purges = scope.spawn(|| purge(&gateway, &world, &over));
            std::thread::sleep(Duration::from_millis(1050 + 70 * (round % 8)));
            assert_eq!(gateway.metric("gatewright_cache_disk_writes_skipped_total"), 0.0);
            ended = Instant::now();
            gateway.signal(rustix::process::Signal::KILL);
            over.store(true, SeqCst);
            for client in clients {
                // The connection broke; a failed assertion is a panic and comes out here.
                assert!(client.join().unwrap().is_err());
            }
            purges.join().unwrap();
        });
        gateway.ended();
        gateway.restart();
        gateway.await_cache();
        hits += check(&gateway, &world, ended);
    }
    assert!(hits > 50 * rounds as usize, "{hits} answers after {rounds} kills");
}
