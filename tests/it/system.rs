//! What the system can do to a gateway: addresses that swallow what is sent to them, files of other users.
//!
//! Root or user namespaces are needed to set this up; where there is neither, the tests say so and pass.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::harness::{Folder, files::sample};

const BINARY: &str = env!("CARGO_BIN_EXE_gatewright");

/// Not `eprintln!`: the test runner would keep that to itself.
fn say_loudly(what: &str) {
    let _ = std::io::stderr().write_all(format!("\n!!! NOT TESTED: {what}\n\n").as_bytes());
}

/// The options of `unshare` that give a network of one's own here.
fn own_network() -> Option<&'static str> {
    let works = |options: &&str| {
        let mut unshare = Command::new("unshare");
        unshare.args([options, "ip", "link", "set", "lo", "up"]).stdout(Stdio::null()).stderr(Stdio::null());
        unshare.status().is_ok_and(|status| status.success())
    };
    ["-n", "-rn"].into_iter().find(works)
}

/// Two addresses on loopback: the first is the gateway's, what is sent to the second is never answered, for the
/// system takes it for another machine's and forwards nothing.
const BLACK_HOLE: &str = "
set -eu
ip link set lo up
ip address add 10.98.0.1/32 dev lo
ip route add 10.98.0.2/32 dev lo src 10.98.0.1
";

/// Starts the gateway on `gatewright.yaml` and waits until it answers.
const GATEWAY: &str = r#"
"$GATEWRIGHT" run gatewright.yaml --listen 127.0.0.1:8080 --admin 127.0.0.1:9901 --state state > log 2>&1 &
gateway=$!
trap 'kill $gateway; wait $gateway || true' EXIT
for turn in $(seq 200); do
  curl -sfo /dev/null http://127.0.0.1:9901/ready && break
  sleep 0.05
done
call() { curl -s -m 10 -w '\n%{http_code} %header{proxy-status} %{time_total}\n' "$@"; }
"#;

#[test]
fn a_connection_into_the_void_is_given_up_in_time() {
    let Some(options) = own_network() else {
        return say_loudly("an address that swallows everything: no network namespace can be made here");
    };
    let folder = Folder::new();
    folder.write(
        "gatewright.yaml",
        "timeouts: { connect: 300ms }
routes:
  - { path: /void, upstream: 'http://10.98.0.2:80' }
  - { path: /health, upstream: half }
  - { path: /keys, upstream: half }
upstreams:
  half: { endpoints: ['http://10.98.0.2:80', 'http://127.0.0.1:9901'] }
",
    );
    // The admin listener is the endpoint that is up.
    let calls = r#"
call http://127.0.0.1:8080/void
head -c 1048576 /dev/zero | call --data-binary @- http://127.0.0.1:8080/void
for turn in 1 2 3 4; do call -o /dev/null http://127.0.0.1:8080/health; done
for turn in 1 2; do call -o /dev/null -d '{}' http://127.0.0.1:8080/keys; done
"#;
    let output = Command::new("unshare")
        .args([options, "bash", "-c", &format!("{BLACK_HOLE}{GATEWAY}{calls}")])
        .current_dir(folder.path("."))
        .env("GATEWRIGHT", BINARY)
        .env("XDG_RUNTIME_DIR", folder.path("."))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (text, log) = (String::from_utf8_lossy(&output.stdout), std::fs::read_to_string(folder.path("log")));
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|words| words.len() > 1 && words[0].len() == 3)
        .collect();
    assert_eq!(lines.len(), 8, "{output:?}\n{log:?}");
    for call in &lines[..2] {
        assert!(call[0] == "504" && call.contains(&"error=connection_timeout;"), "{call:?}\n{log:?}");
        let seconds: f64 = call.last().unwrap().parse().unwrap();
        assert!((0.3..5.0).contains(&seconds), "given up after {seconds} s");
    }
    assert!(lines[2..6].iter().all(|call| call[0] == "200"), "the other endpoint takes over: {lines:?}");
    // With a body as well: the admin listener asks for its token.
    assert!(lines[6..].iter().all(|call| call[0] == "401"), "{lines:?}");
}

/// The binary as a user who owns nothing; `None` where this process cannot become one.
struct Nobody {
    folder: Folder,
}

const NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

impl Nobody {
    fn new() -> Option<Self> {
        let folder = Folder::new();
        allow(&folder.path("."), 0o755);
        let true_as_nobody = Command::new("setpriv").args(NOBODY).arg("true").stderr(Stdio::null()).status();
        if !rustix::process::geteuid().is_root() || !true_as_nobody.is_ok_and(|status| status.success()) {
            return None;
        }
        // Where the binary was built others may have no way in.
        std::fs::copy(BINARY, folder.path("gatewright")).unwrap();
        Some(Self { folder })
    }

    /// A file that only its owner may read.
    fn secret(&self, name: &str, content: impl AsRef<[u8]>) {
        allow(Path::new(&self.folder.write(name, content)), 0o600);
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        allow(Path::new(&self.folder.write(name, content)), 0o644);
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new("setpriv")
            .args(NOBODY)
            .arg(self.folder.path("gatewright"))
            .args(arguments)
            .current_dir(self.folder.path("."))
            .env("HOME", "/nonexistent")
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_its_user_may_not_read_or_write_is_named_with_what_to_do() {
    let Some(nobody) = Nobody::new() else {
        return say_loudly("files of other users: this is not root, or there is no `setpriv`");
    };
    let description = std::fs::read(sample("bookshop.yaml")).unwrap();
    nobody.secret("secret.yaml", &description);
    nobody.file("open.yaml", &description);
    nobody.secret("token", "s3cr3t");
    nobody.secret("closed/api.yaml", &description);
    nobody.secret("closed/keys.json", "{}");
    allow(&nobody.folder.path("closed"), 0o700);
    nobody.secret("gatewright-secret.yaml", "apis: [{ spec: open.yaml }]\n");
    nobody.file("of-secret.yaml", "apis:\n  - { spec: secret.yaml }\n");
    let credential = "{ header: Authorization, value: 'Bearer ${file:token}' }";
    nobody.file("of-token.yaml", format!("apis:\n  - {{ spec: open.yaml, credentials: {credential} }}\n"));
    let issuer = "issuers:\n  - { name: idp, audience: a, jwks: token }\n";
    nobody.file("of-keys.yaml", format!("apis: [{{ spec: open.yaml, security: gateway }}]\n{issuer}"));
    let run = |more: &[&'static str]| {
        let base = ["run", "open.yaml", "--listen", "127.0.0.1:0", "--admin", "off"];
        base.into_iter().chain(more.iter().copied()).collect::<Vec<_>>()
    };
    let read = "let the user that runs gatewright read it";
    for (arguments, exit, words) in [
        (vec!["check", "secret.yaml"], 2, ["file-unreadable", "secret.yaml", read]),
        (vec!["check", "closed"], 2, ["file-unreadable", "cannot read the folder", read]),
        (vec!["check", "gatewright-secret.yaml"], 2, ["file-unreadable", "gatewright-secret.yaml", read]),
        (vec!["check", "of-secret.yaml"], 2, ["file-unreadable", "of-secret.yaml:2:", read]),
        (vec!["check", "of-token.yaml"], 1, ["reference-invalid", "of-token.yaml:2:", read]),
        (vec!["check", "of-keys.yaml"], 1, ["file-unreadable", "of-keys.yaml:3:", read]),
        (
            run(&["--state", "closed/state", "--upstream-header", "Authorization: @token"]),
            1,
            ["reference-invalid", "--upstream-header", read],
        ),
        (run(&["--state", "closed"]), 1, ["state-unusable", "closed", "--state DIR"]),
        (run(&["--state", "new"]), 1, ["state-unusable", "cannot be created", "--state DIR"]),
        (run(&[]), 1, ["state-unusable", "/nonexistent/.local/state", "--state DIR"]),
        (
            vec!["keys", "list", "--state", "closed"],
            1,
            ["keys-damaged", "keys.json", "as the user that runs the gateway"],
        ),
        (
            vec!["import", "open.yaml", "-o", "new.yaml"],
            1,
            ["file-unreadable", "cannot write", "that you may write to"],
        ),
    ] {
        let output = nobody.run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {said}");
        assert!(said.contains("permission denied"), "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: no `{word}` in\n{said}");
        }
        assert!(!said.contains("s3cr3t") && !said.contains("panicked"), "{said}");
    }
    assert_eq!(nobody.run(&["check", "open.yaml"]).status.code(), Some(0), "it is not the user alone");
}
