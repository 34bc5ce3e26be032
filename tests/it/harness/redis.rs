//! A real `redis-server` on loopback, in a folder of its own.

use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Folder, PATIENCE, eventually, free_port};

/// A running server; it ends with the test.
pub struct Redis {
    child: Child,
    pub address: SocketAddr,
    pub folder: Folder,
    arguments: Vec<String>,
}

impl Redis {
    /// One that forgets everything when it ends.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(Folder::new(), &["--save", ""])
    }

    /// One that writes down every change before it answers.
    #[track_caller]
    pub fn durable() -> Self {
        Self::with(Folder::new(), &["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
    }

    #[track_caller]
    pub fn with(folder: Folder, arguments: &[&str]) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let child = spawn(&folder, address, &arguments);
        let redis = Self { child, address, folder, arguments };
        redis.await_ready();
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// SIGKILL.
    #[track_caller]
    pub fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, after it ended.
    #[track_caller]
    pub fn restart(&mut self) {
        self.child = spawn(&self.folder, self.address, &self.arguments);
        self.await_ready();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    #[track_caller]
    fn await_ready(&self) {
        eventually("redis-server answers", || {
            self.try_command("PING").is_some_and(|reply| reply == "+PONG\r\n")
        });
    }

    /// The reply to a command of words without blanks, as it comes, up to 64 KiB of it.
    #[track_caller]
    pub fn command(&self, words: &str) -> String {
        self.try_command(words).unwrap_or_else(|| panic!("redis-server does not answer `{words}`"))
    }

    fn try_command(&self, words: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(format!("{words}\r\nQUIT\r\n").as_bytes()).ok()?;
        let mut reply = String::new();
        stream.take(64 * 1024).read_to_string(&mut reply).ok()?;
        reply.strip_suffix("+OK\r\n").map(str::to_owned)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- redis-server printed ---");
            println!("{}", std::fs::read_to_string(self.folder.path("redis.log")).unwrap_or_default());
        }
    }
}

fn spawn(folder: &Folder, address: SocketAddr, arguments: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(folder.path("redis.log")).unwrap();
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--dir", &folder.arg(".")])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("redis-server is installed")
}
