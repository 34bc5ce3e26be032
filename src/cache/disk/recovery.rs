//! Opening what a process before this one left, and getting rid of what cannot be used.
//!
//! sled may panic, hang or fail on damaged files: each generation is opened on a thread of its own with a
//! time limit, and one that does not open is moved aside.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::{Shared, generation::Generation};

/// How long the index of one generation may take to open.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// How long an index that is still locked by a handle on its way out is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(3);

/// Bytes that must fit for a closed tier to be opened again: a segment of the index.
const PROBE_BYTES: usize = 512 * 1024;

/// Bytes of a record, about, for the size of the filter.
const EXPECTED_RECORD: u64 = 2048;

/// The folder of a generation.
#[must_use]
pub fn generation_dir(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("gen-{number:016x}"))
}

/// The generations of a folder, newest first.
#[must_use]
pub fn generations(dir: &Path) -> Vec<u64> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut numbers: Vec<u64> =
        names.filter_map(|name| u64::from_str_radix(name.to_str()?.strip_prefix("gen-")?, 16).ok()).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers
}

/// Opens or makes a generation on a guard thread: an error, a panic or too long a wait is a reason.
pub fn open(shared: &Arc<Shared>, number: u64) -> Result<Arc<Generation>, String> {
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match open_once(shared, number) {
            Err(why) if why.contains("could not acquire lock") && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(50));
            }
            outcome => return outcome,
        }
    }
}

fn open_once(shared: &Arc<Shared>, number: u64) -> Result<Arc<Generation>, String> {
    let (done, wait) = mpsc::channel();
    let guarded = Arc::clone(shared);
    let open = move || {
        let dir = generation_dir(&guarded.dir, number);
        let names = guarded.generation_bytes / EXPECTED_RECORD;
        let opened = catch_unwind(AssertUnwindSafe(|| {
            Generation::open(&dir, number, names, guarded.seed, &guarded.opener)
        }));
        let outcome = match opened {
            Ok(Ok(generation)) => Ok(Arc::new(generation)),
            Ok(Err(error)) => Err(error.0),
            Err(_) => Err("the index panicked while it was opened".to_owned()),
        };
        let _ = done.send(outcome);
    };
    thread::Builder::new().name("cache-open".to_owned()).spawn(open).map_err(|e| e.to_string())?;
    match wait.recv_timeout(OPEN_LIMIT) {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("the index was not open after {} seconds", OPEN_LIMIT.as_secs())),
    }
}

/// Lets go of generations on a thread of its own, for the last handle on an index may take its time to
/// drop; the receiver hears when all are gone.
pub fn drop_apart(generations: Vec<Arc<Generation>>) -> mpsc::Receiver<()> {
    let (done, wait) = mpsc::channel();
    let drop_all = move || {
        let deadline = Instant::now() + LOCK_LIMIT;
        for generation in generations {
            // Readers may still hold it for the length of one job.
            while Arc::strong_count(&generation) > 1 && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
            let _ = catch_unwind(AssertUnwindSafe(|| drop(generation)));
        }
        let _ = done.send(());
    };
    // Without a thread the handles are dropped with the closure, here.
    let _ = thread::Builder::new().name("cache-drop".to_owned()).spawn(drop_all);
    wait
}

/// Whether the folder can be written: a disk that is full or read-only is no fault of what is on it.
pub fn probe(dir: &Path) -> io::Result<()> {
    let path = dir.join("probe");
    let outcome = fs::write(&path, vec![0; PROBE_BYTES]);
    let _ = fs::remove_file(&path);
    outcome
}

/// Moves a generation aside at once and deletes it in the background; whether it is no longer there.
pub fn trash(dir: &Path, number: u64) -> bool {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let from = generation_dir(dir, number);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let aside = dir.join(format!("trash-{number:016x}-{}-{count}", std::process::id()));
    match fs::rename(&from, &aside) {
        Ok(()) => delete(vec![aside]),
        Err(error) => return error.kind() == io::ErrorKind::NotFound,
    }
    true
}

/// Gives up all generations of a folder.
pub fn trash_generations(dir: &Path) {
    for number in generations(dir) {
        trash(dir, number);
    }
}

/// Deletes what a process before this one had moved aside.
pub fn empty_trash(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let is_trash = |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(|n| n.starts_with("trash-"));
    delete(entries.filter(is_trash).map(|entry| entry.path()).collect());
}

fn delete(dirs: Vec<PathBuf>) {
    if dirs.is_empty() {
        return;
    }
    let run = move || {
        for dir in dirs {
            if let Err(error) = fs::remove_dir_all(&dir) {
                tracing::debug!(dir = %dir.display(), %error, "old cache files were not deleted");
            }
        }
    };
    // Without a thread they stay until the next start.
    let _ = thread::Builder::new().name("cache-delete".to_owned()).spawn(run);
}
