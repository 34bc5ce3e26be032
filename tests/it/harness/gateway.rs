//! The built binary: as a server that is ready when a test gets it and gone when the test ends, and as a
//! command that runs to its end.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Client, Folder, PATIENCE, Response, eventually, free_port};

/// The outcome of a command.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `gatewright` with these arguments to its end.
#[track_caller]
pub fn cli<A: AsRef<str>>(arguments: impl IntoIterator<Item = A>) -> Output {
    let folder = Folder::new();
    let mut command = binary(&folder);
    for argument in arguments {
        command.arg(argument.as_ref());
    }
    let mut child = command
        .stdout(File::create(folder.path("stdout")).unwrap())
        .stderr(File::create(folder.path("stderr")).unwrap())
        .spawn()
        .unwrap();
    let code = wait(&mut child, PATIENCE).unwrap_or_else(|| {
        let _ = child.kill();
        panic!("`{command:?}` did not end: {}", read(&folder.path("stderr")))
    });
    Output { code, stdout: read(&folder.path("stdout")), stderr: read(&folder.path("stderr")) }
}

impl Output {
    /// Asserts an exit code and that standard error shows a diagnostic of this code and all these words.
    #[track_caller]
    pub fn refused(&self, exit: i32, code: &str, words: &[&str]) {
        assert_eq!(self.code, Some(exit), "{self:?}");
        let heading = format!("error[{code}]: ");
        assert!(self.stderr.contains(&heading), "no `{heading}` in\n{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }

    #[track_caller]
    pub fn fine(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A running gateway.
pub struct Gateway {
    child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub folder: Folder,
    before: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Gateway {
    /// `gatewright run --proxy URL`.
    #[track_caller]
    pub fn proxy(upstream: &str) -> Self {
        Self::run(&["--proxy", upstream])
    }

    /// `gatewright run` with these arguments, ready to answer.
    #[track_caller]
    pub fn run(arguments: &[&str]) -> Self {
        Self::start(Folder::new(), arguments, &[])
    }

    /// `gatewright run` on this `gatewright.yaml`; the file lies in the gateway's folder.
    #[track_caller]
    pub fn config(text: &str) -> Self {
        let folder = Folder::new();
        let file = folder.write("gatewright.yaml", text);
        Self::start(folder, &[file.as_str()], &[])
    }

    /// `gatewright run` on this description; the file lies in the gateway's folder.
    #[track_caller]
    pub fn description(text: &str, arguments: &[&str]) -> Self {
        let folder = Folder::new();
        let file = folder.write("api.yaml", text);
        let arguments: Vec<&str> = std::iter::once(file.as_str()).chain(arguments.iter().copied()).collect();
        Self::start(folder, &arguments, &[])
    }

    /// `gatewright run` with a folder of its own, arguments and further environment.
    #[track_caller]
    pub fn start(folder: Folder, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_behind(&[], folder, arguments, environment)
    }

    /// The same, with the words of another command before it, which becomes the gateway.
    #[track_caller]
    pub fn start_behind(
        before: &[&str],
        folder: Folder,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let before: Vec<String> = before.iter().map(|word| (*word).to_owned()).collect();
        let environment: Vec<_> =
            environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let given = |flag| arguments.iter().skip_while(|argument| **argument != flag).nth(1);
        let [address, admin] = ["--listen", "--admin"].map(|flag| {
            given(flag)
                .and_then(|value| value.parse().ok())
                .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())))
        });
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let child = spawn(&before, &folder, &arguments, &environment, [address, admin]);
        let mut gateway = Self { child, address, admin, folder, before, arguments, environment };
        gateway.await_ready();
        gateway
    }

    /// Starts the same command again, on the same ports and state, after it ended.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.child.try_wait().unwrap().is_some(), "it still runs");
        let addresses = [self.address, self.admin];
        self.child = spawn(&self.before, &self.folder, &self.arguments, &self.environment, addresses);
        self.await_ready();
    }

    #[track_caller]
    fn await_ready(&mut self) {
        eventually("the gateway is ready", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the gateway ended with {status}:\n{}", self.log());
            }
            std::net::TcpStream::connect(self.admin).is_ok() && self.admin_get("/ready").status == 200
        });
    }

    /// What it printed so far, both streams as they came.
    pub fn log(&self) -> String {
        read(&self.folder.path("log"))
    }

    /// Waits until it has printed `text`.
    #[track_caller]
    pub fn await_log(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < PATIENCE, "no `{text}` in\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The access log's lines (`--access-log json`), once there are at least `count`.
    #[track_caller]
    pub fn access_log(&self, count: usize) -> Vec<serde_json::Value> {
        let mut lines = Vec::new();
        eventually("lines of the access log", || {
            let log = self.log();
            let parsed = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            lines = parsed.filter(|line| line.get("request_id").is_some()).collect();
            lines.len() >= count
        });
        lines
    }

    /// A metric without labels, as it stands now.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let mut answer = self.admin_get("/metrics");
        // Whoever polls may come too often for the admin API.
        while answer.status == 429 {
            std::thread::sleep(Duration::from_millis(100));
            answer = self.admin_get("/metrics");
        }
        let text = answer.text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    /// Waits until what is stored on disk has joined.
    #[track_caller]
    pub fn await_cache(&self) {
        eventually("the cache on disk is open", || self.metric("gatewright_cache_disk_working") == 1.0);
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send("GET", target, "", "")
    }

    #[track_caller]
    pub fn get_with(&self, target: &str, fields: &str) -> Response {
        self.send("GET", target, fields, "")
    }

    /// One exchange on a connection of its own. `fields` are whole lines, each with its CRLF.
    #[track_caller]
    pub fn send(&self, method: &str, target: &str, fields: &str, body: &str) -> Response {
        exchange(self.address, method, target, fields, body)
    }

    #[track_caller]
    pub fn admin_get(&self, target: &str) -> Response {
        exchange(self.admin, "GET", target, "", "")
    }

    /// The arguments by which other commands reach this gateway.
    pub fn connect(&self) -> [String; 4] {
        ["--admin".into(), self.admin.to_string(), "--state".into(), self.folder.arg("state")]
    }

    /// `gatewright keys add NAME` against this gateway; gives the key.
    #[track_caller]
    pub fn add_key(&self, consumer: &str) -> String {
        let arguments = ["keys".to_owned(), "add".to_owned(), consumer.to_owned()];
        let output = cli(arguments.into_iter().chain(self.connect())).fine();
        key_in(&output.stdout)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        let _ = kill_process(pid, signal);
    }

    /// SIGTERM, then the exit code.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// SIGKILL.
    #[track_caller]
    pub fn crash(&mut self) {
        self.signal(Signal::KILL);
        self.ended();
    }

    /// The exit code, once it has ended.
    #[track_caller]
    pub fn ended(&mut self) -> Option<i32> {
        wait(&mut self.child, PATIENCE).unwrap_or_else(|| panic!("it does not end:\n{}", self.log()))
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// A figure of `/proc/PID/status` in KiB, such as `VmRSS` or `VmHWM`.
    pub fn memory_kib(&self, figure: &str) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.child.id())));
        let line = status.lines().find_map(|line| line.strip_prefix(figure)).unwrap_or_default();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- the gateway printed ---\n{}", self.log());
        }
    }
}

/// The key in a text that shows one: its longest word of letters, digits, `_`, `-` and `.`.
#[track_caller]
pub fn key_in(text: &str) -> String {
    let word = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.');
    let key = text.split(word).max_by_key(|word| word.len()).unwrap_or_default();
    assert!(key.len() >= 20, "no key in {text:?}");
    key.to_owned()
}

#[track_caller]
fn exchange(address: SocketAddr, method: &str, target: &str, fields: &str, body: &str) -> Response {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n{length}{fields}\r\n");
    Client::connect(address).exchange(head + body)
}

fn spawn(
    before: &[String],
    folder: &Folder,
    arguments: &[String],
    environment: &[(String, String)],
    [address, admin]: [SocketAddr; 2],
) -> Child {
    let log = File::options().create(true).append(true).open(folder.path("log")).unwrap();
    let mut command = prepared(before.first().map_or(BINARY, String::as_str), folder);
    if let Some(rest) = before.get(1..) {
        command.args(rest).arg(BINARY);
    }
    command.arg("run").args(arguments);
    for (flag, value) in [("--listen", address.to_string()), ("--admin", admin.to_string())] {
        if !arguments.iter().any(|argument| argument == flag) {
            command.args([flag, &value]);
        }
    }
    if !arguments.iter().any(|argument| argument == "--state") {
        command.args(["--state", &folder.arg("state")]);
    }
    command.envs(environment.iter().map(|(k, v)| (k, v)));
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// The binary in a folder of its own: nothing of the user's home is read or written.
fn binary(folder: &Folder) -> Command {
    prepared(BINARY, folder)
}

const BINARY: &str = env!("CARGO_BIN_EXE_gatewright");

fn prepared(program: &str, folder: &Folder) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder.path("."));
    std::fs::create_dir_all(folder.path("run")).unwrap();
    command.env("XDG_STATE_HOME", folder.path("xdg")).env("XDG_RUNTIME_DIR", folder.path("run"));
    command.env("HOME", folder.path("home"));
    command.env("RUST_BACKTRACE", "0").env_remove("GATEWRIGHT_ADMIN").stdin(Stdio::null());
    command
}

/// The exit code (`None` inside when a signal ended it), or `None` when the time is over.
fn wait(child: &mut Child, patience: Duration) -> Option<Option<i32>> {
    let start = Instant::now();
    while start.elapsed() < patience {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
