//! A process that is killed while it writes: what is wrong, lost or undone afterwards.
//!
//! A child of its own stores, replaces, invalidates and purges, and keeps a journal of what it was told had
//! happened. The parent kills it, opens the store and holds it against the journal.

use std::{collections::HashMap, fs::File, io::Write as _};

use super::*;
use crate::exchange::now_ms;

/// Names the folder of the child's store.
const CHILD_DIR: &str = "GATEWRIGHT_TEST_CACHE_DIR";

/// What may be lost, in milliseconds before the end.
const LOSS: u64 = 1000;

/// Paths that the child works on; each is in one of ten groups.
const PATHS: u64 = 600;

fn path(number: u64) -> String {
    format!("/{}/{number}", number % 10)
}

/// The body of one version of a path: no other has a byte of it in the same place but by chance.
fn versioned(number: u64, version: u64) -> Vec<u8> {
    let size = [0, 100, 3_000, 6_000, 90_000, 300_000][number as usize % 6];
    let mut body = vec![0; size];
    let name = format!("{} {version}", path(number));
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut body);
    body
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
#[ignore = "run by the test that kills it"]
async fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    let cache = open(&dir.join("cache"));
    let mut journal = File::options().append(true).open(dir.join("journal")).unwrap();
    // One write each: what is in the journal is there after the kill.
    let mut note = |line: String| journal.write_all(format!("{line} {}\n", now_ms()).as_bytes()).unwrap();
    let mut random = fastrand::Rng::new();
    note("begin".to_owned());
    // Versions of a later run are above those of an earlier.
    for version in now_ms() * 1000.. {
        let number = random.u64(0..PATHS);
        let ask = Ask { now_ms: now_ms(), ..Ask::get(&path(number)) };
        match random.u32(0..100) {
            0..90 => {
                let version_field = version.to_string();
                let fields = [FRESH, ("x-version", &*version_field)];
                if fill(&cache, &ask, 200, &fields, &versioned(number, version)).unwrap() {
                    note(format!("stored {number} {version}"));
                }
            }
            90..98 => {
                note(format!("removing {number} {version}"));
                cache.invalidate(&ask.method(Method::PUT).request(), StatusCode::OK, &map(&[])).await;
                note(format!("removed {number} {version}"));
            }
            _ => {
                let scope = Scope::Prefix(format!("/{}/", number % 10));
                note(format!("purging {} {version}", number % 10));
                cache.apply(Purge::hard(None, scope)).await.unwrap();
                note(format!("purged {} {version}", number % 10));
            }
        }
        assert_eq!(cache.stats().disk_writes_skipped, 0);
        if version % 4 == 0 || cache.stats().disk_waiting > 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What the journal knows of a path.
#[derive(Clone, Default)]
struct Known {
    /// Versions that were stored and when, since the last removal that was acknowledged.
    stored: Vec<(u64, u64)>,
    /// A removal began and is not known to have ended.
    removing: bool,
}

/// What the journal says of the paths by their numbers, and the newest version in it.
fn journal(dir: &Path) -> (HashMap<u64, Known>, u64) {
    let text = fs::read_to_string(dir.join("journal")).unwrap();
    let mut paths: HashMap<u64, Known> = HashMap::new();
    let mut newest = 0;
    for line in text.lines().filter(|line| !line.starts_with("begin")) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let (what, version, at) = (number(1), number(2), number(3));
        newest = newest.max(version);
        let of_group = |paths: &mut HashMap<u64, Known>, change: fn(&mut Known)| {
            paths.iter_mut().filter(|(path, _)| *path % 10 == what).for_each(|(_, known)| change(known));
        };
        match words[0] {
            "stored" => paths.entry(what).or_default().stored.push((version, at)),
            "removing" => paths.entry(what).or_default().removing = true,
            "removed" => drop(paths.remove(&what)),
            "purging" => of_group(&mut paths, |known| known.removing = true),
            "purged" => of_group(&mut paths, |known| *known = Known::default()),
            other => panic!("{other}"),
        }
    }
    (paths, newest)
}

/// Holds what is stored against the journal of a process that was killed at `ended`, and writes a new one of
/// what is there. `newest` is the newest version of the journals before.
async fn check(dir: &Path, ended: u64, newest: &mut u64) -> usize {
    let cache = open(&dir.join("cache"));
    let (paths, of_this) = journal(dir);
    *newest = of_this.max(*newest);
    let mut left = String::new();
    for number in 0..PATHS {
        let known = paths.get(&number).cloned().unwrap_or_default();
        // Of those that were stored early enough, the newest must be there, unless a newer one is.
        let sure = known.stored.iter().rev().find(|(_, at)| at + LOSS < ended).map(|(version, _)| *version);
        let Some(found) = version_of(&cache, number).await else {
            let lost = sure.filter(|_| !known.removing);
            assert_eq!(lost, None, "{number}: stored more than {LOSS} ms before the end, and lost");
            continue;
        };
        // The last that was stored may not have come into the journal.
        let is_known = known.stored.iter().any(|(version, _)| *version == found);
        assert!(
            is_known || found > *newest,
            "{number}: {found} was removed, and is back: {:?}",
            known.stored
        );
        assert!(sure.is_none_or(|sure| found >= sure), "{number}: {found} is older than {sure:?}");
        left += &format!("stored {number} {found} 0\n");
    }
    let stats = cache.stats();
    assert_eq!((stats.disk_corrupt, stats.disk_blobs), (0, 0));
    close(cache);
    fs::write(dir.join("journal"), &left).unwrap();
    *newest = journal(dir).1.max(*newest);
    left.lines().count()
}

/// The version that is stored, its body looked at byte by byte.
async fn version_of(cache: &Cache, number: u64) -> Option<u64> {
    let ask = Ask { now_ms: now_ms(), ..Ask::get(&path(number)) };
    match cache.lookup(&ask.request()).await {
        Lookup::Fresh(hit) => {
            let response = hit.respond(&ask.request());
            let version = response.headers()["x-version"].to_str().unwrap().parse::<u64>().unwrap();
            let bytes = body(response).await;
            assert_eq!(blake3::hash(&bytes), blake3::hash(&versioned(number, version)), "{number}");
            Some(version)
        }
        Lookup::Miss(Miss::Uri) => None,
        other => panic!("{number}: {other:?}, {:?}", cache.stats()),
    }
}

#[tokio::test]
async fn a_killed_process_loses_at_most_its_last_second_and_undoes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut hits, mut newest, all) = (0, 0, rounds(20, 200));
    for round in 0..all {
        if round % 3 == 0 {
            let cache = open(&dir.path().join("cache"));
            cache.apply(Purge::everything()).await.unwrap();
            close(cache);
            fs::write(dir.path().join("journal"), "").unwrap();
        }
        let before = fs::metadata(dir.path().join("journal")).unwrap().len();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "cache::disk::tests::crash::child_that_writes_until_it_is_killed"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(File::create(dir.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while fs::metadata(dir.path().join("journal")).unwrap().len() == before {
            assert!(started.elapsed() < Duration::from_secs(20) && child.try_wait().unwrap().is_none());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(1100 + 97 * (round as u64 % 8))).await;
        let (ended, status) = (now_ms(), child.try_wait().unwrap());
        let said = fs::read_to_string(dir.path().join("stderr")).unwrap();
        assert!(status.is_none(), "the child failed: {said}");
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        hits += check(dir.path(), ended, &mut newest).await;
    }
    assert!(hits > 100 * all, "{hits} answers after {all} kills");
}
