//! From start to end: what start-up prints, readiness, drain, signals, the admin listener, the demo.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::harness::{Client, Folder, Gateway, Origin, eventually, files::sample, free_port};

#[test]
fn start_up_says_all_that_a_newcomer_needs() {
    let origin = Origin::plain();
    let gateway = Gateway::run(&[&sample("bookshop.yaml"), "--upstream", &origin.url()]);
    gateway.await_log("curl ");
    let log = gateway.log();
    for word in [
        &format!("http://{}", gateway.address),
        &format!("http://{}", gateway.admin),
        &format!("http://{}/docs", gateway.address),
        "Bookshop",
        "10 operations",
        "pass",
    ] {
        assert!(log.contains(word), "no `{word}` in\n{log}");
    }
    assert!(!log.contains('\x1b'), "no colours where there is no terminal");
    let command = log.lines().find_map(|line| line.trim().strip_prefix("curl ")).expect("a curl line");
    let output =
        std::process::Command::new("sh").args(["-c", &format!("curl -sS {command}")]).output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty(), "{command}: {output:?}");
    assert_eq!(origin.calls(), 1);
}

#[test]
fn port_zero_picks_a_port_and_prints_it() {
    let origin = Origin::plain();
    let folder = Folder::new();
    let admin = format!("127.0.0.1:{}", free_port());
    let flags =
        ["--proxy", &origin.url(), "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--admin", &admin];
    let gateway = Gateway::start(folder, &flags, &[]);
    gateway.await_log("listening");
    let log = gateway.log();
    let mut ports: Vec<u16> = log
        .split("http://127.0.0.1:")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .filter(|port| *port != origin.address.port() && *port != gateway.admin.port())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 2, "{log}");
    for port in ports {
        let answer =
            Client::connect(([127, 0, 0, 1], port).into()).exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn a_drain_lets_what_is_in_flight_finish() {
    let origin = Origin::start(|call| {
        call.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        call.pause(Duration::from_millis(800));
        call.send("-last");
    });
    let mut gateway = Gateway::proxy(&origin.url());
    let mut idle = gateway.client();
    assert_eq!(idle.exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n").status, 200);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut answer = client.head();
    gateway.signal(Signal::TERM);
    assert!(idle.is_closed(), "an idle connection is closed at once");
    client.body("GET", &mut answer);
    assert_eq!(answer.text(), "first-last");
    assert_eq!(gateway.ended(), Some(0));
    assert!(TcpStream::connect(gateway.address).is_err());
}

#[test]
fn readiness_ends_before_the_listener_does() {
    let origin = Origin::plain();
    let mut gateway = Gateway::run(&["--proxy", &origin.url(), "--drain-delay", "1500ms"]);
    assert_eq!(gateway.admin_get("/ready").status, 200);
    let start = Instant::now();
    gateway.signal(Signal::TERM);
    eventually("not ready", || gateway.admin_get("/ready").status == 503);
    assert_eq!(gateway.admin_get("/health").status, 200, "healthy all the same");
    let answer = gateway.get("/");
    assert_eq!(answer.status, 200, "new connections are taken during the delay");
    assert_eq!(gateway.ended(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(1400), "the delay was {:?}", start.elapsed());
}

#[test]
fn a_drain_is_bounded_and_a_second_signal_ends_it_at_once() {
    let origin = Origin::start(|call| {
        call.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        call.peer_closes();
        call.close();
    });
    let hang = |gateway: &Gateway| {
        let mut client = gateway.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client.head();
        client
    };
    let mut bounded = Gateway::run(&["--proxy", &origin.url(), "--drain-timeout", "500ms"]);
    let _client = hang(&bounded);
    let start = Instant::now();
    assert!(bounded.stop().is_some());
    assert!((400..5000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    let mut endless = Gateway::run(&["--proxy", &origin.url(), "--drain-timeout", "10m"]);
    let _client = hang(&endless);
    endless.signal(Signal::INT);
    eventually("it drains", || TcpStream::connect(endless.address).is_err());
    assert!(endless.is_running());
    endless.signal(Signal::INT);
    let start = Instant::now();
    endless.ended();
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn the_admin_listener_tells_how_things_are() {
    let origin = Origin::plain();
    let gateway = Gateway::run(&[&sample("bookshop.yaml"), "--upstream", &origin.url()]);
    gateway.get("/books");
    gateway.get("/nothing");
    let health = gateway.admin_get("/health").json();
    assert!(health["generation"].is_number(), "{health}");
    let metrics = gateway.admin_get("/metrics");
    assert!(metrics.value("content-type").contains("text"), "{:?}", metrics.fields);
    let text = metrics.text();
    assert!(text.contains("# TYPE ") && text.contains("listBooks") && text.contains("404"), "{text}");
    // Nothing that changes anything without the token, nothing at all for another host's page.
    let request = |head: &str| Client::connect(gateway.admin).exchange(format!("{head}\r\n\r\n")).status;
    assert_eq!(request("POST /keys HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0"), 401);
    assert!(matches!(request("GET /metrics HTTP/1.1\r\nHost: evil.example"), 400 | 403 | 421));
}

#[test]
fn the_access_log_says_what_happened_and_keeps_secrets() {
    let origin = Origin::plain();
    let gateway = Gateway::run(&[
        &sample("bookshop.yaml"),
        "--upstream",
        &origin.url(),
        "--security",
        "gateway",
        "--access-log",
        "json",
    ]);
    let key = gateway.add_key("ada");
    gateway.get_with(
        "/books?q=x&api_key=s3cr3t&token=s3cr3t",
        &format!("X-API-Key: {key}\r\nX-Request-Id: id-1\r\n"),
    );
    gateway.get_with("/books", "X-Request-Id: id-2\r\nAuthorization: Bearer s3cr3t\r\n");
    let lines = gateway.access_log(2);
    let line = lines.iter().find(|line| line["request_id"] == "id-1").expect("the first call");
    for (member, value) in
        [("method", "GET"), ("path", "/books"), ("operation", "listBooks"), ("consumer", "ada")]
    {
        assert_eq!(line[member], value, "{line}");
    }
    assert_eq!(line["status"], 200);
    assert!(line["cache"].is_string() && line["timings_us"].is_object(), "{line}");
    let line = lines.iter().find(|line| line["request_id"] == "id-2").expect("the second call");
    assert_eq!((&line["status"], &line["problem"]), (&401.into(), &"credentials-invalid".into()), "{line}");
    assert!(!gateway.log().contains("s3cr3t") && !gateway.log().contains(&key), "{}", gateway.log());
}

#[test]
fn one_panic_or_hang_of_a_client_disturbs_no_other() {
    let origin = Origin::plain();
    let gateway = Gateway::proxy(&origin.url());
    let _silent: Vec<Client> = (0..200).map(|_| gateway.client()).collect();
    let _half: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = gateway.client();
            client.send("GET / HTTP/1.1\r\nHost:");
            client
        })
        .collect();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn nobody_who_listens_is_no_reason_not_to_end() {
    use std::{
        io::Read,
        process::{Command, Stdio},
    };

    let (folder, address, admin) = (Folder::new(), free_port(), free_port());
    let mut child = Command::new(env!("CARGO_BIN_EXE_gatewright"))
        .args(["run", "--proxy", "http://127.0.0.1:9", "--listen", &format!("127.0.0.1:{address}")])
        .args(["--admin", &format!("127.0.0.1:{admin}"), "--state", &folder.arg("state")])
        .env("XDG_RUNTIME_DIR", folder.path("run"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // As with `| head`: what it printed is read, then the reader goes.
    let mut first = [0; 64];
    assert!(child.stdout.as_mut().unwrap().read(&mut first).unwrap() > 0);
    drop((child.stdout.take(), child.stderr.take()));
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], address));
    eventually("it answers", || TcpStream::connect(address).is_ok());
    // The upstream is not there: a line of the access log and one of the operator's log.
    let answer = Client::connect(address).exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    answer.problem(502, "upstream-unreachable");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(Client::connect(address).exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n").status, 502);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let mut ended = None;
    eventually("it ends", || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(0));
}
