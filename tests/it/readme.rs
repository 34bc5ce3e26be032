//! README's commands, extracted and run: what it shows must work as it stands there.
//!
//! A fenced block that opens with ```` ```sh test ```` is run by `bash -e` in an empty folder where
//! `gatewright` is the built binary and `openapi/` the samples; what it starts in the background ends with it.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::harness::{Folder, PATIENCE, files::project};

fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "```sh test" {
            blocks.push(
                lines.by_ref().take_while(|line| line.trim() != "```").map(|l| format!("{l}\n")).collect(),
            );
        }
    }
    blocks
}

#[test]
fn the_commands_of_the_readme_work() {
    let text = std::fs::read_to_string(project("README.md")).unwrap();
    let blocks = blocks(&text);
    assert!(!blocks.is_empty(), "README.md has no block ```sh test");
    for block in blocks {
        run(&block);
    }
}

#[test]
fn the_reader_of_blocks_takes_marked_ones_alone() {
    assert_eq!(blocks("a\n```sh\nno\n```\n```sh test\none\ntwo\n```\n```\nno\n```\n"), ["one\ntwo\n"]);
}

fn run(block: &str) {
    let folder = Folder::new();
    let binary = Path::new(env!("CARGO_BIN_EXE_gatewright"));
    std::os::unix::fs::symlink(project("openapi"), folder.path("openapi")).unwrap();
    std::fs::create_dir(folder.path("run")).unwrap();
    let log = File::create(folder.path("log")).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = Command::new("bash")
        .args(["-euo", "pipefail", "-c", block])
        .current_dir(folder.path("."))
        .env("PATH", format!("{}:{path}", binary.parent().unwrap().display()))
        .env("XDG_STATE_HOME", folder.path("state"))
        .env("XDG_RUNTIME_DIR", folder.path("run"))
        .env("HOME", folder.path("home"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        // a group of its own, so that what it left running can be ended with it
        .process_group(0)
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if start.elapsed() > 3 * PATIENCE {
            break None;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let group = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    let _ = child.wait();
    let output = std::fs::read_to_string(folder.path("log")).unwrap_or_default();
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}\n--- block\n{block}--- output\n{output}"
    );
}
