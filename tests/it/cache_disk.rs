//! A disk that fails under a running gateway: full, read-only, taken away, damaged. Traffic goes on and is
//! right, metrics, log and admin API say what is wrong, and the cache is whole again when the disk is.
//!
//! The disk is a small tmpfs, or a read-only mount, in a mount namespace of the gateway's own: it goes with
//! the process. Tests reach into it through `/proc/PID/root`.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::harness::{Folder, Gateway, Origin, Response, cli, eventually};

/// Larger than what lies in the index: a file.
const LARGE: usize = 20_000;

fn content(path: &str, generation: &str) -> Vec<u8> {
    let size = if path.contains("large") { LARGE } else { 900 };
    format!("{path} {generation};").bytes().cycle().take(size).collect()
}

/// Answers each path with a content of its own; a `PUT` makes the content of its path another.
fn origin() -> Origin {
    let changed = std::sync::Mutex::new(std::collections::HashSet::new());
    Origin::start(move |call| {
        call.read_body();
        let path = call.path();
        if call.seen.method() == "PUT" {
            changed.lock().unwrap().insert(path);
            call.send("HTTP/1.1 204 No Content\r\n\r\n");
        } else {
            let generation = if changed.lock().unwrap().contains(&path) { "after" } else { "before" };
            call.ok("Cache-Control: max-age=600\r\n", content(&path, generation));
        }
    })
}

/// A gateway in a mount namespace of its own, with a tmpfs as its cache's folder, mounted with `options`;
/// none, and a loud line, where that is not allowed.
fn on_a_disk_of_its_own(options: &str, upstream: &str, arguments: &[&str]) -> Option<Gateway> {
    let mount = "mount -t tmpfs -o \"$0\" tmpfs \"$1\" && shift && exec \"$@\"";
    let folder = Folder::new();
    let cache = folder.arg("state/cache");
    fs::create_dir_all(&cache).unwrap();
    let before = ["unshare", "-m", "sh", "-c", mount, options, &*cache];
    let tried = Command::new(before[0]).args(&before[1..]).arg("true").stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        // Past the harness, which keeps what a test that passes prints.
        let loud = b"SKIPPED: nothing can be mounted here, so a disk that fails is not tested (needs root)\n";
        std::io::stderr().write_all(loud).unwrap();
        return None;
    }
    let all: Vec<&str> = ["--proxy", upstream].into_iter().chain(arguments.iter().copied()).collect();
    Some(Gateway::start_behind(&before, folder, &all, &[]))
}

/// The cache's folder as the gateway sees it.
fn seen_by(gateway: &Gateway) -> PathBuf {
    let cache = gateway.folder.path("state/cache");
    Path::new(&format!("/proc/{}/root", gateway.pid())).join(cache.strip_prefix("/").unwrap())
}

/// Runs a command among the gateway's mounts, with the cache's folder as `$0`.
fn among_its_mounts(gateway: &Gateway, script: &str) {
    let pid = gateway.pid().to_string();
    let status = Command::new("nsenter")
        .args(["-t", &pid, "-m", "sh", "-ec", script, &gateway.folder.arg("state/cache")])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{script}");
}

#[track_caller]
fn right(answer: &Response, path: &str, generation: &str) {
    assert_eq!(answer.status, 200, "{path}");
    assert!(answer.body == content(path, generation), "{path}: wrong bytes, {}", answer.cache());
}

/// Asks for ever new large answers until the cache says that its disk fails.
#[track_caller]
fn ask_until_it_fails(gateway: &Gateway, name: &str) {
    for asked in 0..2000 {
        let path = format!("/large/{name}/{asked}");
        right(&gateway.get(&path), &path, "before");
        if asked % 10 == 9 && gateway.metric("gatewright_cache_disk_working") == 0.0 {
            return;
        }
    }
    panic!("the disk never failed");
}

/// What a failing disk must look like from outside.
#[track_caller]
fn says_what_is_wrong(gateway: &Gateway, words: &str) {
    assert!(gateway.metric("gatewright_cache_disk_errors_total") >= 1.0);
    gateway.await_log("the cache on disk is closed for a while");
    eventually("the admin API says what is wrong", || {
        std::thread::sleep(Duration::from_millis(100));
        let disk = &gateway.admin_get("/cache").json()["disk"];
        disk["problem"].as_str().is_some_and(|problem| problem.contains(words)) && disk["working"] == false
    });
    let words_of = cli(["cache".to_owned(), "stats".to_owned()].into_iter().chain(gateway.connect()));
    assert!(words_of.fine().stdout.contains(words));
    // A miss says why, and is answered.
    let answer = gateway.get("/elsewhere");
    right(&answer, "/elsewhere", "before");
    assert!(answer.cache().contains("detail=disk-closed"), "{}", answer.cache());
    right(&gateway.get("/kept"), "/kept", "before");
    assert!(gateway.get("/kept").is_hit(), "memory answers");
}

#[track_caller]
fn is_whole_again(gateway: &mut Gateway) {
    gateway.await_cache();
    gateway.await_log("the cache on disk is open again");
    assert_eq!(gateway.admin_get("/cache").json()["disk"]["problem"], "");
    let before = gateway.metric("gatewright_cache_disk_entries");
    right(&gateway.get("/large/new"), "/large/new", "before");
    eventually("it is written", || gateway.metric("gatewright_cache_disk_entries") > before);
}

#[test]
fn a_full_disk_costs_hits_only_and_nothing_that_was_removed_comes_back() {
    let origin = origin();
    let Some(mut gateway) = on_a_disk_of_its_own("size=8m", &origin.url(), &[]) else { return };
    for path in ["/kept", "/changed", "/purged/1"] {
        right(&gateway.get(path), path, "before");
    }
    eventually("they are on disk", || gateway.metric("gatewright_cache_disk_entries") == 3.0);
    let ballast = seen_by(&gateway).join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file); // an open one would keep its room
    ask_until_it_fails(&gateway, "full");
    says_what_is_wrong(&gateway, "No space left");
    // Acknowledged while nothing can be written.
    assert_eq!(gateway.send("PUT", "/changed", "", "").status, 204);
    right(&gateway.get("/changed"), "/changed", "after");
    let purge = ["cache".to_owned(), "purge".to_owned(), "--prefix".to_owned()];
    let prefix = format!("http://{}/purged/", gateway.address);
    let purged = cli(purge.into_iter().chain([prefix]).chain(gateway.connect()));
    fs::remove_file(&ballast).unwrap();
    is_whole_again(&mut gateway);
    right(&gateway.get("/changed"), "/changed", "after");
    if purged.code == Some(0) {
        assert!(!gateway.get("/purged/1").is_hit(), "it was acknowledged");
    } else {
        assert!(purged.stderr.contains("purge again"), "{purged:?}");
    }
}

#[test]
fn a_disk_that_turns_read_only_costs_hits_only() {
    let origin = origin();
    let Some(mut gateway) = on_a_disk_of_its_own("size=64m", &origin.url(), &[]) else { return };
    right(&gateway.get("/kept"), "/kept", "before");
    eventually("it is on disk", || gateway.metric("gatewright_cache_disk_entries") == 1.0);
    // What is open for writing stays so; what is opened from now on cannot be written.
    among_its_mounts(&gateway, "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"");
    ask_until_it_fails(&gateway, "read-only");
    says_what_is_wrong(&gateway, "Read-only");
    among_its_mounts(&gateway, "umount \"$0\"");
    is_whole_again(&mut gateway);
}

#[test]
fn a_disk_that_is_read_only_at_the_start_is_taken_when_it_can_be_written() {
    let origin = origin();
    let Some(mut gateway) = on_a_disk_of_its_own("size=64m,ro", &origin.url(), &[]) else { return };
    gateway.await_log("the cache folder cannot be used");
    right(&gateway.get("/kept"), "/kept", "before");
    says_what_is_wrong(&gateway, "Read-only");
    among_its_mounts(&gateway, "mount -o remount,rw \"$0\"");
    is_whole_again(&mut gateway);
}

#[test]
fn a_folder_that_is_taken_away_costs_hits_only_and_is_made_again() {
    let origin = origin();
    let mut gateway = Gateway::run(&["--proxy", &origin.url()]);
    right(&gateway.get("/kept"), "/kept", "before");
    eventually("it is on disk", || gateway.metric("gatewright_cache_disk_entries") == 1.0);
    let cache = gateway.folder.path("state/cache");
    // Nothing can be made in its place for as long as the test looks.
    fs::rename(&cache, gateway.folder.path("aside")).unwrap();
    fs::write(&cache, "in the way").unwrap();
    ask_until_it_fails(&gateway, "gone");
    says_what_is_wrong(&gateway, "cannot be written");
    fs::remove_file(&cache).unwrap();
    is_whole_again(&mut gateway);
    assert_eq!(gateway.stop(), Some(0));
    gateway.restart();
    gateway.await_cache();
    right(&gateway.get("/large/new"), "/large/new", "before");
}

/// The files below a folder whose path has this in it.
fn files(folder: &Path, part: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(part) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Turns one bit over in each of `count` places of a file.
fn flip(path: &Path, count: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    for i in 0..count.min(length) {
        let (at, mut byte) = (length / count.min(length) * i + fastrand::u64(0..4).min(length / 8), [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1 << fastrand::u8(0..8)], at).unwrap();
    }
}

fn cut(path: &Path, part: f64) {
    let file = File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len((length as f64 * part) as u64).unwrap();
}

const ANSWERS: usize = 120;

fn ask_for_all(gateway: &Gateway) {
    let mut client = gateway.client();
    for i in 0..ANSWERS {
        let path = format!("/{}/{i}", ["small", "large"][i % 2]);
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address);
        right(&client.exchange(head), &path, "before");
    }
}

#[test]
fn files_that_are_damaged_under_a_running_gateway_never_give_a_wrong_byte() {
    let origin = origin();
    let text =
        format!("routes:\n  - {{ path: /**, upstream: '{}' }}\ncache: {{ memory: 64KiB }}\n", origin.url());
    let gateway = Gateway::config(&text);
    ask_for_all(&gateway);
    eventually("all are on disk", || gateway.metric("gatewright_cache_disk_entries") == ANSWERS as f64);
    let cache = gateway.folder.path("state/cache");
    let bodies = files(&cache, "/bodies/");
    assert_eq!(bodies.len(), ANSWERS / 2);
    for (i, body) in bodies.iter().enumerate() {
        match i % 3 {
            0 => flip(body, 1),
            1 => cut(body, 0.5),
            _ => fs::remove_file(body).unwrap(),
        }
    }
    for index in files(&cache, "/index/db") {
        flip(&index, 200);
    }
    ask_for_all(&gateway);
    assert!(gateway.metric("gatewright_cache_disk_damaged_total") >= 50.0);
    gateway.await_log("failed their checksum");
    eventually("the cache works", || {
        ask_for_all(&gateway);
        gateway.metric("gatewright_cache_disk_working") == 1.0
            && gateway.get("/large/1").is_hit()
            && gateway.get("/large/119").is_hit()
    });
}

#[test]
fn files_that_were_damaged_between_two_starts_never_keep_a_gateway_from_starting() {
    type Damage = fn(&Path);
    let origin = origin();
    let damages: [(&str, Damage); 8] = [
        ("/index/db", |path| flip(path, 1)),
        ("/index/db", |path| flip(path, 300)),
        ("/index/db", |path| cut(path, 0.6)),
        ("/index/", |path| fs::write(path, "").unwrap()),
        ("/names", |path| flip(path, 50)),
        ("/names", |path| cut(path, 0.31)),
        ("/meta", |path| flip(path, 1)),
        ("/bodies/", |path| cut(path, 0.9)),
    ];
    let mut gateway = Gateway::proxy(&origin.url());
    for (part, damage) in damages {
        ask_for_all(&gateway);
        assert_eq!(gateway.stop(), Some(0));
        let files = files(&gateway.folder.path("state/cache"), part);
        assert!(!files.is_empty(), "{part}");
        files.iter().for_each(|path| damage(path));
        gateway.restart();
        ask_for_all(&gateway);
        gateway.await_cache();
        ask_for_all(&gateway);
        assert!(gateway.get("/large/1").is_hit(), "{part}: what is stored anew is a hit");
    }
    assert!(gateway.log().contains("damaged"), "it says what it found");
}
