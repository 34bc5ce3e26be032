//! The files of `deploy/`: the example runs, the unit does what it says, the image takes what there is.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use crate::harness::{Folder, Gateway, Origin, cli, eventually, files::project};

fn read(name: &str) -> String {
    std::fs::read_to_string(project("deploy").join(name)).unwrap()
}

/// The example for production with a description beside it, before this upstream.
fn example(upstream: &str) -> Folder {
    let folder = Folder::new();
    let description = std::fs::read_to_string(project("openapi/bookshop.yaml")).unwrap();
    folder.write("api.yaml", description);
    let addresses = r#"["http://10.0.0.5:8000", "http://10.0.0.6:8000"]"#;
    let text = read("gatewright.yaml");
    assert!(text.contains(addresses));
    folder.write("gatewright.yaml", text.replace(addresses, &format!("['{upstream}']")));
    folder
}

/// The values of a setting of the unit, in order.
fn settings(name: &str) -> Vec<String> {
    let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
    read("gatewright.service").lines().filter_map(value).collect()
}

fn setting(name: &str) -> String {
    let values = settings(name);
    assert_eq!(values.len(), 1, "{name}: {values:?}");
    values.into_iter().next().unwrap()
}

/// The arguments of a command line of the unit, its folders replaced by those of a test.
fn arguments(name: &str, folder: &Folder) -> Vec<String> {
    let line = setting(name);
    let line = line.strip_prefix("/usr/local/bin/gatewright ").expect("the installed binary");
    let line = line.replace("/etc/gatewright", folder.arg("").trim_end_matches('/'));
    line.replace("${STATE_DIRECTORY}", &folder.arg("state")).split(' ').map(str::to_owned).collect()
}

#[test]
fn the_example_for_production_has_nothing_to_complain_of() {
    let folder = example("http://127.0.0.1:9");
    let check = |token: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatewright"));
        command.args(["check", "--deny-warnings", "gatewright.yaml"]).current_dir(folder.path("."));
        command.env_remove("API_TOKEN").envs(token.map(|token| ("API_TOKEN", token)));
        command.output().unwrap()
    };
    let output = check(Some("t"));
    assert!(output.status.success(), "{output:?}");
    let output = check(None);
    assert!(String::from_utf8_lossy(&output.stderr).contains("`API_TOKEN` is not set"), "{output:?}");
    folder.write("gatewright.yaml", read("gatewright.yaml"));
    assert!(check(Some("t")).status.success(), "as it stands");
}

#[test]
fn the_unit_starts_reloads_and_stops() {
    let origin = Origin::plain();
    let folder = example(&origin.url());
    let start = arguments("ExecStart", &folder);
    let reload = arguments("ExecReload", &folder);
    assert_eq!(start[0], "run");
    let words: Vec<&str> = start[1..].iter().map(String::as_str).collect();
    let mut gateway = Gateway::start(folder, &words, &[("API_TOKEN", "t0ken")]);
    let key = gateway.add_key("website");
    let status = |fields: &str| {
        let head = format!("GET /books HTTP/1.1\r\nHost: api.example.com\r\n{fields}\r\n");
        gateway.client().exchange(head).status
    };
    let with_key = format!("X-API-Key: {key}\r\n");
    assert_eq!((status(""), status(&with_key)), (401, 200));
    assert_eq!(origin.seen().last().unwrap().value("authorization"), "Bearer t0ken");

    cli(&reload).fine();
    let good = std::fs::read_to_string(gateway.folder.path("gatewright.yaml")).unwrap();
    gateway.folder.replace("gatewright.yaml", good.replace("upstream: api", "upstream: apj"));
    let output = cli(&reload);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("apj") && status(&with_key) == 200, "{output:?}");
    gateway.folder.replace("gatewright.yaml", good);
    eventually("the good one is back", || cli(&reload).code == Some(0));
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn the_unit_waits_for_the_drain() {
    let seconds = |text: &str| text.trim_end_matches('s').parse::<u64>().map(Duration::from_secs).unwrap();
    let example = read("gatewright.yaml");
    let drain = example.lines().find_map(|line| line.strip_prefix("drain: { delay: ")).unwrap();
    let (delay, timeout) = drain.trim_end_matches(" }").split_once(", timeout: ").unwrap();
    let stop = seconds(&setting("TimeoutStopSec"));
    // Closing the stores takes a few seconds more.
    assert!(stop >= seconds(delay) + seconds(timeout) + Duration::from_secs(5), "{stop:?} for {drain}");
    let connections: u64 = setting("LimitNOFILE").parse().unwrap();
    assert!(connections >= 3 * 16_384, "a client, its upstream and files");
}

#[test]
fn systemd_finds_the_unit_sound_and_well_closed() {
    let analyze =
        |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).stdin(Stdio::null()).output();
    if !analyze(&["--version"]).is_ok_and(|output| output.status.success()) {
        let _ = std::io::stderr()
            .write_all(b"\n!!! NOT TESTED: the systemd unit, there is no `systemd-analyze`\n\n");
        return;
    }
    let folder = Folder::new();
    // The binary is not installed here.
    let unit =
        read("gatewright.service").replace("/usr/local/bin/gatewright", env!("CARGO_BIN_EXE_gatewright"));
    let file = folder.write("gatewright.service", unit);
    let output = analyze(&["verify", "--man=no", &file]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("gatewright")).collect();
    assert!(output.status.success() && ours.is_empty(), "{output:?}");
    // From 0 (nothing is open to it) to 10, in tenths.
    let output = analyze(&["security", "--offline=true", "--threshold=20", &file]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_image_is_made_of_what_there_is_and_runs_without_rights() {
    let text = read("Dockerfile");
    let stages: Vec<&str> = text.split("\nFROM ").skip(1).collect();
    let [build, run] = stages.as_slice() else { panic!("two stages, not {}", stages.len()) };
    let manifest = std::fs::read_to_string(project("Cargo.toml")).unwrap();
    let rust =
        manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(build.starts_with(&format!("rust:{rust}-bookworm AS build\n")), "{build}");
    assert!(run.starts_with("debian:bookworm-slim\n"), "the same Debian, for its C library: {run}");
    let mut copied = 0;
    for line in build.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let words: Vec<&str> = line.split(' ').collect();
        for source in &words[..words.len() - 1] {
            assert!(project(source).exists(), "{source}");
            copied += 1;
        }
    }
    assert_eq!(copied, 4);
    let user = run.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(user.parse::<u32>().unwrap() > 0 && run.contains(&format!("--uid {user} ")), "{user}");
    // The folder of the state is the one that the command names, and its command line is understood.
    let command = run.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    let words: Vec<String> = serde_json::from_str(command).unwrap();
    let state = words.last().unwrap();
    assert!(run.contains(&format!("\nVOLUME {state}\n")) && run.contains(&format!("-m 0700 {state}\n")));
    cli(&words).refused(2, "file-unreadable", &["/etc/gatewright/gatewright.yaml"]);
}
