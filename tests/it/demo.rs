//! `gatewright demo`: what it prints can be done, and does what it says.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
};

use crate::harness::{Client, Folder, Response, eventually, free_port, gateway::key_in};

/// A running demo.
pub struct Demo {
    child: Child,
    folder: Folder,
    pub address: std::net::SocketAddr,
}

impl Demo {
    pub fn start() -> Self {
        let folder = Folder::new();
        let [address, admin] = [(); 2].map(|()| std::net::SocketAddr::from(([127, 0, 0, 1], free_port())));
        std::fs::create_dir(folder.path("run")).unwrap();
        let log = File::create(folder.path("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gatewright"))
            .args(["demo", "--listen", &address.to_string(), "--admin", &admin.to_string()])
            .env("XDG_STATE_HOME", folder.path("xdg"))
            .env("XDG_RUNTIME_DIR", folder.path("run"))
            .env("HOME", folder.path("home"))
            .env("TMPDIR", folder.path("."))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let demo = Self { child, folder, address };
        eventually("the demo is ready", || {
            demo.log().contains("curl") && std::net::TcpStream::connect(admin).is_ok()
        });
        demo
    }

    /// The key that the demo made.
    pub fn key(&self) -> String {
        key_in(self.log().split("X-API-Key:").nth(1).expect("a key"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }

    fn get(&self, target: &str, fields: &str) -> Response {
        let host = self.address;
        Client::connect(host).exchange(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- the demo printed ---\n{}", self.log());
        }
    }
}

#[test]
fn a_minute_with_the_demo_shows_key_hit_refusal_limit_and_docs() {
    let demo = Demo::start();
    let key = format!("X-API-Key: {}\r\n", demo.key());
    demo.get("/books", "").problem(401, "credentials-missing");
    let [first, second] = [(); 2].map(|()| demo.get("/books", &key));
    assert_eq!((first.status, first.is_hit(), second.is_hit()), (200, false, true), "{first:?}");
    assert_eq!(first.json()["total"], 12);
    let statuses: Vec<u16> = (0..4).map(|_| demo.get("/quote", &key).status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    let docs = demo.get("/docs", "");
    let docs = if docs.status / 100 == 3 { demo.get(&docs.value("location"), "") } else { docs };
    assert!(docs.status == 200 && docs.value("content-type").starts_with("text/html"), "{docs:?}");
}

#[test]
fn the_commands_that_the_demo_prints_work() {
    let demo = Demo::start();
    let log = demo.log();
    let command = |line: &&str| line.starts_with("curl ") || line.starts_with("for ");
    let commands: Vec<&str> = log.lines().map(str::trim).filter(command).collect();
    assert!(commands.len() >= 3, "{log}");
    for command in commands {
        let output = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_demo_leaves_nothing_behind() {
    let mut demo = Demo::start();
    let pid = rustix::process::Pid::from_child(&demo.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    eventually("the demo ends", || demo.child.try_wait().unwrap().is_some());
    assert_eq!(demo.child.wait().unwrap().code(), Some(0));
    let (mut folders, mut left) = (vec![demo.folder.path(".")], Vec::new());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
            if path.is_dir() { folders.push(path) } else { left.push(path) }
        }
    }
    assert!(left.len() == 1 && left[0].ends_with("log"), "{left:?}");
}
