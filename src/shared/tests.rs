//! Connection and log against real servers, which each test starts for itself, and against one that misbehaves.

use std::{
    fs::File,
    io::Write,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Handle;

use super::*;
use crate::upstream::transport;

const EVERYTHING: &[u8] = b"everything";

/// A `redis-server` in a folder of its own, on loopback.
struct Server {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    folder: tempfile::TempDir,
}

impl Server {
    /// Without persistence.
    fn start() -> Self {
        Self::with(&["--save", ""])
    }

    fn with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let child = spawn(&folder, port, &arguments);
        let server = Self { child, port, arguments, folder };
        server.await_ready();
        server
    }

    /// Ends it without warning and starts it again.
    fn crash_and_return(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.folder, self.port, &self.arguments);
        self.await_ready();
    }

    fn await_ready(&self) {
        let start = Instant::now();
        while self.try_command("PING", &[]).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn try_command(&self, name: &str, arguments: &[&str]) -> redis::RedisResult<redis::Value> {
        let mut connection = redis::Client::open(("127.0.0.1", self.port))?.get_connection()?;
        redis::cmd(name).arg(arguments).query(&mut connection)
    }

    fn command(&self, name: &str, arguments: &[&str]) -> redis::Value {
        self.try_command(name, arguments).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn config(&self) -> Config {
        self.config_of("")
    }

    /// `user:password@` before the host.
    fn config_of(&self, user: &str) -> Config {
        let address = Address::parse(&format!("redis://{user}127.0.0.1:{}", self.port)).unwrap();
        let patient = Duration::from_secs(10);
        Config { connect_timeout: patient, reply_timeout: patient, ..Config::new(address) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &tempfile::TempDir, port: u16, arguments: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir", folder.path().to_str().unwrap()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("redis-server is installed")
}

/// A handle that uses a server, and a log on it, connected.
async fn connected(config: Config) -> (Redis, Log) {
    let (redis, log) = unconnected(config);
    until(&redis, State::Up).await;
    (redis, log)
}

fn unconnected(config: Config) -> (Redis, Log) {
    let redis = Redis::new(Some(Handle::current()), transport::tls);
    let log = Log::new(redis.clone(), "purges");
    redis.configure(Some(config));
    (redis, log)
}

async fn until(redis: &Redis, state: State) {
    let start = Instant::now();
    while redis.status().state != state {
        assert!(start.elapsed() < Duration::from_secs(20), "not {state:?}: {:?}", redis.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads to the end of the log: the messages behind a position, and the last entry.
async fn rest(log: &Log, mut position: Option<Position>) -> (Vec<String>, Position) {
    let mut messages = Vec::new();
    loop {
        match log.read(position.as_ref(), EVERYTHING).await.unwrap() {
            Read::Next { entries, tail } if entries.is_empty() => return (messages, tail),
            Read::Next { entries, .. } => {
                position = entries.last().map(|entry| entry.position.clone());
                messages.extend(entries.into_iter().map(|e| String::from_utf8(e.message).unwrap()));
            }
            lost @ Read::Lost { .. } => panic!("{lost:?}"),
        }
    }
}

async fn lost(log: &Log, position: Option<&Position>) -> (&'static str, Position) {
    match log.read(position, EVERYTHING).await.unwrap() {
        Read::Lost { why, tail } => (why, tail),
        next @ Read::Next { .. } => panic!("{next:?}"),
    }
}

async fn append(log: &Log, message: &str) -> u64 {
    log.append(&Log::mark(), message.as_bytes()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reader_reads_every_message_in_order() {
    let server = Server::start();
    let (_, first) = connected(server.config()).await;
    let (_, second) = connected(server.config()).await;
    let (messages, at_once) = rest(&first, None).await;
    assert_eq!((messages, at_once.sequence), (vec![String::new()], 1), "a log begins with an empty message");
    for number in 0..150 {
        let log = if number % 2 == 0 { &first } else { &second };
        assert_eq!(append(log, &number.to_string()).await, number + 2, "no gaps");
    }
    let expected: Vec<String> = (0..150).map(|n| n.to_string()).collect();
    for log in [&first, &second] {
        let (messages, tail) = rest(log, Some(at_once.clone())).await;
        assert_eq!((messages, tail.sequence), (expected.clone(), 151));
    }
    // Who has read nothing yet and finds the beginning has missed nothing.
    assert_eq!(rest(&first, None).await.0.len(), 151);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_news_at_once() {
    let server = Server::start();
    let (_, writer) = connected(server.config()).await;
    let (_, reader) = connected(server.config()).await;
    let mut news = reader.news();
    news.mark_unchanged();
    append(&writer, "x").await;
    tokio::time::timeout(Duration::from_secs(10), news.changed()).await.expect("news").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_trimmed_or_emptied_is_noticed() {
    let server = Server::start();
    let (_, log) = connected(server.config()).await;
    let (_, position) = rest(&log, None).await;
    append(&log, "a").await;
    append(&log, "b").await;
    server.command("XTRIM", &["{gatewright}:purges", "MAXLEN", "1"]);
    let (why, tail) = lost(&log, Some(&position)).await;
    assert!(why.contains("no longer reaches back") && tail.sequence == 3, "{why} {tail}");
    assert!(lost(&log, None).await.0.contains("no longer reaches back"), "nor does it to the beginning");
    for emptied in ["FLUSHALL", "XTRIM"] {
        let (_, position) = rest(&log, Some(tail_of(&log).await)).await;
        match emptied {
            "XTRIM" => server.command(emptied, &["{gatewright}:purges", "MAXLEN", "0"]),
            _ => server.command(emptied, &[]),
        };
        assert!(lost(&log, Some(&position)).await.0.contains("not the one"), "{emptied}");
        append(&log, "c").await;
        let (_, now) = rest(&log, Some(tail_of(&log).await)).await;
        assert!(now.sequence > 1);
    }
}

/// The last entry, as a reader that is lost finds it.
async fn tail_of(log: &Log) -> Position {
    let nowhere = Position { sequence: u64::from(u32::MAX), mark: "0".to_owned() };
    lost(log, Some(&nowhere)).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_went_back_is_told_to_those_who_were_away() {
    let mut server = Server::with(&["--save", ""]);
    let (redis, log) = connected(server.config()).await;
    append(&log, "a").await;
    let (_, away) = rest(&log, None).await;
    server.command("SAVE", &[]);
    append(&log, "lost").await;
    let (messages, ahead) = rest(&log, Some(away.clone())).await;
    assert_eq!(messages, ["lost"]);
    let connects = redis.status().connects;
    server.crash_and_return();
    let start = Instant::now();
    while redis.status().connects == connects {
        assert!(start.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Another message takes the number of the lost one.
    assert_eq!(append(&log, "other").await, ahead.sequence);
    let (why, tail) = lost(&log, Some(&ahead)).await;
    assert!(why.contains("not the one"), "{why}");
    // Two readers that were ahead say it once.
    assert_eq!(lost(&log, Some(&ahead)).await.1, tail);
    let (messages, _) = rest(&log, Some(away)).await;
    assert_eq!(messages, ["other", "everything"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_into_the_log_cannot_stop_it() {
    let server = Server::start();
    let (_, log) = connected(server.config()).await;
    let (_, position) = rest(&log, None).await;
    let too_large = vec![b'x'; MAX_MESSAGE + 1];
    let refused = log.append(&Log::mark(), &too_large).await.unwrap_err();
    assert!(refused.0.contains("65536"), "{refused}");
    for number in 2..72 {
        let (id, large) = (format!("{number}-0"), String::from_utf8(too_large.repeat(4)).unwrap());
        server.command("XADD", &["{gatewright}:purges", &id, "n", "1", "m", &large]);
    }
    // Also one that is numbered as Redis numbers by itself.
    server.command("XADD", &["{gatewright}:purges", "*", "odd", "entry"]);
    append(&log, &"y".repeat(MAX_MESSAGE)).await;
    let (messages, _) = rest(&log, Some(position)).await;
    assert_eq!(messages.len(), 72);
    assert!(messages[..71].iter().all(|message| message == "?"));
    server.command("DEL", &["{gatewright}:purges"]);
    server.command("SET", &["{gatewright}:purges", "x"]);
    let why = log.read(None, EVERYTHING).await.unwrap_err();
    assert!(why.0.contains("WRONGTYPE"), "{why}");
    server.command("DEL", &["{gatewright}:purges"]);
    append(&log, "again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_waited_for_once() {
    let server = Server::start();
    let reply_timeout = Duration::from_millis(300);
    let (redis, log) = connected(Config { reply_timeout, ..server.config() }).await;
    server.signal(Signal::STOP);
    let start = Instant::now();
    let why = log.append(&Log::mark(), b"x").await.unwrap_err();
    assert!(start.elapsed() >= reply_timeout && start.elapsed() < Duration::from_secs(5));
    assert_eq!(why.0, "no reply within 300ms");
    for _ in 0..100 {
        assert_eq!(log.append(&Log::mark(), b"x").await.unwrap_err().0, "no reply within 300ms");
    }
    // A hundred more waits would have taken half a minute.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(redis.status().state, State::Down);
    server.signal(Signal::CONT);
    until(&redis, State::Up).await;
    append(&log, "x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_connects_when_the_server_comes_and_comes_back() {
    let mut server = Server::start();
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let (redis, log) = unconnected(server.config());
    until(&redis, State::Down).await;
    let status = redis.status();
    assert_eq!((status.why.as_str(), status.connects), ("the connection was refused", 0));
    assert_eq!(status.server, format!("redis://127.0.0.1:{}", server.port));
    assert_eq!(log.append(&Log::mark(), b"x").await.unwrap_err().0, "the connection was refused");
    for connects in 1..=2 {
        server.crash_and_return();
        while redis.status().connects < connects {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        until(&redis, State::Up).await;
        append(&log, "x").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_configuration_changes_the_server() {
    let (one, two) = (Server::start(), Server::start());
    let (redis, log) = connected(one.config()).await;
    append(&log, "one").await;
    let (_, position) = rest(&log, None).await;
    redis.configure(Some(one.config()));
    assert_eq!(redis.status().connects, 1, "the same stays connected");
    redis.configure(Some(two.config()));
    until(&redis, State::Up).await;
    assert!(redis.status().server.ends_with(&two.port.to_string()));
    assert!(lost(&log, Some(&position)).await.0.contains("not the one"), "it is another log");
    redis.configure(Some(Config { prefix: "other".into(), ..two.config() }));
    until(&redis, State::Up).await;
    append(&log, "x").await;
    let redis::Value::Int(there) = two.command("EXISTS", &["{other}:purges"]) else { panic!() };
    assert_eq!(there, 1);
    redis.configure(None);
    assert_eq!(redis.status().state, State::Off);
    assert_eq!(log.append(&Log::mark(), b"x").await.unwrap_err().0, "no Redis is configured");
    // Nothing stays connected.
    let start = Instant::now();
    loop {
        let redis::Value::BulkString(clients) = two.command("CLIENT", &["LIST"]) else { panic!() };
        if !String::from_utf8(clients).unwrap().contains("name=gatewright") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_no_more_than_the_reference_says() {
    let server = Server::start();
    let rights = [
        "resetchannels",
        "-@all",
        "+hello",
        "+info",
        "+subscribe",
        "+publish",
        "+evalsha",
        "+script|load",
        "+xadd",
        "+xrange",
        "+xrevrange",
        "+del",
        "~{shop}:*",
    ];
    let user = |name: &str, more: &[&str]| {
        let words = [&["SETUSER", name, "on", ">hunter2"], &rights[..], more].concat();
        server.command("ACL", &words);
    };
    user("gate", &["&{shop}:*"]);
    let config = |user: &str| Config { prefix: "shop".into(), ..server.config_of(user) };
    let (_, log) = connected(config("gate:hunter2@")).await;
    append(&log, "x").await;
    assert_eq!(rest(&log, None).await.0.len(), 2);
    // Without the channel news comes late, and nothing else is missing.
    user("deaf", &[]);
    let (_, log) = connected(config("deaf:hunter2@")).await;
    append(&log, "y").await;
    assert_eq!(rest(&log, None).await.0.len(), 3);
    // Keys of another prefix are refused, and the connection stays.
    let (redis, log) = connected(server.config_of("gate:hunter2@")).await;
    let why = log.read(None, EVERYTHING).await.unwrap_err();
    assert!(why.0.contains("NOPERM"), "{why}");
    assert_eq!(redis.status().state, State::Up);
    for user in ["gate:wrong@", "nobody:wrong@"] {
        let (redis, _) = unconnected(config(user));
        until(&redis, State::Down).await;
        let why = redis.status().why;
        assert!(why.starts_with("user or password was not accepted"), "{why}");
        assert!(!format!("{:?}", redis.status()).contains("wrong@"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sends_too_much_is_left() {
    for (greeting, expected) in [
        ("$100000000\r\n", "too large"),
        ("*100000000\r\n", "too many values"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "what is no reply"),
        ("-ERR unknown command 'HELLO'\r\n", "older than Redis 6"),
        ("-DENIED \u{1b}[2J\r\n", "DENIED  [2J"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(greeting.as_bytes());
                // Held until the client leaves.
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
        });
        let (redis, _) =
            unconnected(Config::new(Address::parse(&format!("redis://127.0.0.1:{port}")).unwrap()));
        until(&redis, State::Down).await;
        let why = redis.status().why;
        assert!(why.contains(expected), "{greeting:?}: {why}");
        redis.configure(None);
    }
}
