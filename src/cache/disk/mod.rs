//! The tier on disk: sled as the index, files for larger bodies, two generations, threads of its own.
//!
//! Owns a folder: `lock`, `meta`, `gen-…` (each with `index`, `bodies`, `names`) and `trash-…` on its way
//! out. New responses go to the current generation; the older one is read, what is asked for there is
//! copied over, and it is dropped whole when the current one holds half of the bytes allowed.
//!
//! Nothing here is waited for without a deadline. What goes wrong (a full disk, a damaged file, a panic
//! in the index, the folder taken away) closes the tier, is said in [`CacheStats`] and the log, and is
//! mended in steps: opened again, then without the older generation, then empty.

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering, fence},
        mpsc,
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    CacheConfig, entry::Entry, epoch::Epochs, key::Key, purge::Rule, recent::Issued, share::Amount,
    stats::CacheStats, vary::Vary,
};
use crate::{
    diagnostic::{Diagnostic, codes},
    exchange::Body,
};

pub mod bodies;
pub mod engine;
pub mod filter;
pub mod generation;
mod listing;
mod mending;
pub mod meta;
mod placing;
pub mod queue;
mod reader;
pub mod record;
mod recovery;
mod shares;
mod stream;
mod sweep;
mod writer;

use generation::{DiskKey, Generation, Opener, disk_key};
use meta::{Lock, Meta, Unlocked, Unread};
use queue::{Done, Order, Queue, Write};
use reader::{OpenFile, Opened, Readers};

/// How long a look-up waits for the disk; then it is a miss.
const READ_DEADLINE: Duration = Duration::from_millis(250);

/// How long a purge waits for its acknowledgement.
const PURGE_DEADLINE: Duration = Duration::from_secs(10);

/// How long the answer to an unsafe method waits for its invalidation to be durable.
const REMOVE_DEADLINE: Duration = Duration::from_secs(1);

/// Records of one place that a purge counts.
pub const MAX_COUNTED: usize = 100_000;

/// Moments of one opening: more than any process draws.
const MOMENTS_BITS: u32 = 40;

/// A body in a file of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyFile {
    pub generation: u64,
    pub name: u64,
    pub len: u64,
}

/// What the filters say of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    Absent,
    /// The tier is not open.
    NotReady,
    Possible,
}

/// Why the disk has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It took too long, or too many wait.
    Late,
    /// The generation was dropped.
    Gone,
    /// The file is missing or does not match its checksum.
    Damaged,
}

/// A body that was opened.
#[derive(Clone, Debug)]
pub enum OpenBody {
    Whole(Bytes),
    Stream(FileStream),
}

/// A body that is read while it is sent.
#[derive(Clone)]
pub struct FileStream {
    readers: Arc<Readers>,
    open: OpenFile,
}

impl std::fmt::Debug for FileStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStream").field("open", &self.open).finish_non_exhaustive()
    }
}

impl OpenBody {
    /// The bytes from `start` to before `end`, cut to what there is.
    #[must_use]
    pub fn stream(self, start: u64, end: u64) -> Body {
        match self {
            Self::Whole(bytes) => {
                let len = bytes.len() as u64;
                Body::from(bytes.slice(start.min(len) as usize..end.min(len) as usize))
            }
            Self::Stream(FileStream { readers, open }) => {
                Body::stream(stream::FileBody::new(readers, open, start, end))
            }
        }
    }
}

/// What the writer publishes for the readers.
#[derive(Default)]
pub(crate) struct Live {
    /// The current generation, then the older one; none while the tier is closed.
    generations: Vec<Arc<Generation>>,
    rules: Vec<Arc<Rule>>,
}

/// What handle, writer and readers share.
pub(crate) struct Shared {
    dir: PathBuf,
    seed: u64,
    /// Bytes of one generation.
    generation_bytes: u64,
    /// What may be stored for one caller alone: bytes of one generation, entries of all.
    share: Amount,
    live: ArcSwap<Live>,
    /// The number of the current generation, or zero.
    current: AtomicU64,
    queue: Queue,
    epochs: Arc<Epochs>,
    stats: Arc<CacheStats>,
    opener: Opener,
}

/// The handle of the disk tier.
pub struct Disk {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    /// As it was when the folder was opened.
    bookmark: Option<String>,
}

impl Disk {
    /// Takes the folder and begins to open what is in it. Nothing comes back when another instance uses the
    /// folder: the diagnostics hold the error. A folder that cannot be written is tried again and again.
    pub fn open(
        dir: &Path,
        config: &CacheConfig,
        epochs: &Arc<Epochs>,
        stats: &Arc<CacheStats>,
    ) -> (Option<Self>, Vec<Diagnostic>) {
        let opener: Opener = Arc::new(|dir| Ok(Box::new(engine::Sled::open(dir)?)));
        Self::open_with(dir, config, epochs, stats, opener)
    }

    pub(super) fn open_with(
        dir: &Path,
        config: &CacheConfig,
        epochs: &Arc<Epochs>,
        stats: &Arc<CacheStats>,
        opener: Opener,
    ) -> (Option<Self>, Vec<Diagnostic>) {
        let (folder, mut diagnostics) = match prepare(dir) {
            Ok(prepared) => prepared,
            Err(diagnostic) => return (None, vec![*diagnostic]),
        };
        epochs.advance(folder.meta.opened << MOMENTS_BITS);
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            seed: folder.meta.seed,
            generation_bytes: (config.disk_bytes / 2).max(1),
            share: Amount {
                bytes: config.disk_bytes / 200 * u64::from(config.caller_percent.min(100)),
                entries: config.caller_entries,
            },
            live: ArcSwap::default(),
            current: AtomicU64::new(0),
            queue: Queue::default(),
            epochs: Arc::clone(epochs),
            stats: Arc::clone(stats),
            opener,
        });
        let bookmark = folder.meta.bookmark.clone();
        let (opened, ready) = mpsc::channel();
        let threads =
            writer::start(Arc::clone(&shared), folder, opened).and_then(|()| Readers::start(&shared));
        let readers = match threads {
            Ok(readers) => Arc::new(readers),
            Err(error) => {
                shared.queue.close(mpsc::channel().0);
                return (None, vec![unavailable(dir, &format!("its threads cannot be started: {error}"))]);
            }
        };
        match ready.recv_timeout(config.open_wait) {
            Ok(found) => diagnostics.extend(found),
            Err(_) => diagnostics.push(
                Diagnostic::warning(codes::CACHE_OPENING, "the cache on disk is still being opened")
                    .file(dir.display().to_string())
                    .help("requests are served; the log says when what is stored joins"),
            ),
        }
        (Some(Self { shared, readers, bookmark }), diagnostics)
    }

    /// The seed of hashes and checksums of this folder.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// The number of the current generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.current.load(Ordering::Relaxed)
    }

    /// Bytes that it may take.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.shared.generation_bytes.saturating_mul(2)
    }

    /// Whether something may be on disk for the key. No lock, no wait.
    #[must_use]
    pub fn presence(&self, key: &Key) -> Presence {
        let live = self.shared.live.load();
        if live.generations.is_empty() {
            Presence::NotReady
        } else if live.generations.iter().any(|generation| generation.may_hold(key)) {
            Presence::Possible
        } else {
            Presence::Absent
        }
    }

    /// The responses stored for a key. They count as of the moment `since`.
    pub async fn read(&self, key: &Key, since: u64) -> Result<Vec<Entry>, Late> {
        let found = self.readers.find(key, since, READ_DEADLINE).await;
        self.note(found)
    }

    /// Opens a body; one of at most `whole` bytes is read.
    pub async fn open_body(&self, file: &BodyFile, whole: u64) -> Result<OpenBody, Late> {
        let opened = self.readers.open(*file, whole, READ_DEADLINE).await;
        Ok(match self.note(opened)? {
            Opened::Whole(bytes) => OpenBody::Whole(bytes),
            Opened::File(open) => OpenBody::Stream(FileStream { readers: Arc::clone(&self.readers), open }),
        })
    }

    /// Queues a response to be written; false when it is skipped. `as_of` is a moment: no purge up to it has
    /// left anything of the response undone.
    pub fn put(&self, key: &Key, entry: &Arc<Entry>, as_of: u64) -> bool {
        entry.in_generation(self.generation().max(1));
        let taken = self.shared.queue.write(Write::Entry(Box::new(key.clone()), Arc::clone(entry), as_of));
        if !taken {
            CacheStats::add(&self.shared.stats.disk_writes_skipped);
        }
        taken
    }

    /// Responses that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.shared.queue.waiting()
    }

    /// Removes one response, or its whole place where that cannot be queued.
    pub fn remove_entry(&self, key: &Key, vary: &Vary) {
        let open = self.generation() != 0;
        if !open || !self.shared.queue.write(Write::Remove(disk_key(key, vary))) {
            self.order_removal(key.place, oneshot::channel().0);
        }
    }

    /// Removes all of a place. The future says whether that became durable in time; there is none when
    /// the disk has nothing there.
    pub fn remove_place(&self, place: u64) -> Option<impl Future<Output = bool> + Send + use<>> {
        // After its epoch, and before a look at what was announced: the writer does both the other way round.
        fence(Ordering::SeqCst);
        let live = self.shared.live.load();
        let possible =
            live.generations.is_empty() || live.generations.iter().any(|g| g.may_hold_place(place));
        possible.then(|| {
            let (done, wait) = oneshot::channel();
            self.order_removal(place, done);
            async { acknowledged(wait, REMOVE_DEADLINE).await.is_some() }
        })
    }

    fn order_removal(&self, place: u64, done: Done) {
        self.shared.queue.order(Order::RemovePlace(place, done));
        // Behind the order: a read that began before it does not know of it, and must not count.
        self.shared.epochs.invalidate(place);
    }

    /// Carries a purge out, which is about one `place` or about several. `outdated` are further records that
    /// must not answer. The records that it touched, as far as they are known; nothing when that did not
    /// become durable in time.
    pub async fn purge(
        &self,
        issued: &Arc<Issued>,
        place: Option<u64>,
        outdated: Vec<DiskKey>,
    ) -> Option<Vec<DiskKey>> {
        let (done, wait) = oneshot::channel();
        let issued = Arc::clone(issued);
        self.shared.queue.order(match place {
            Some(place) => Order::PurgePlace(place, issued, done),
            None => Order::Purge(issued, outdated, done),
        });
        acknowledged(wait, PURGE_DEADLINE).await
    }

    /// The text that [`Self::set_bookmark`] left before the folder was opened this time.
    #[must_use]
    pub fn bookmark(&self) -> Option<&str> {
        self.bookmark.as_deref()
    }

    /// Keeps a text; not before all that was removed and purged until now is durable.
    pub fn set_bookmark(&self, text: String) {
        self.shared.queue.bookmark(text);
    }

    /// Writes what is queued and closes; false when `limit` was not enough.
    pub fn close(&self, limit: Duration) -> bool {
        let (done, wait) = mpsc::channel();
        self.shared.queue.close(done);
        // A queue that was closed before drops the sender at once.
        !matches!(wait.recv_timeout(limit), Err(mpsc::RecvTimeoutError::Timeout))
    }

    fn note<T>(&self, found: Result<T, Late>) -> Result<T, Late> {
        if matches!(found, Err(Late::Late)) {
            CacheStats::add(&self.shared.stats.disk_reads_late);
        }
        found
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shared.queue.close(mpsc::channel().0);
    }
}

async fn acknowledged(wait: oneshot::Receiver<Vec<DiskKey>>, limit: Duration) -> Option<Vec<DiskKey>> {
    tokio::time::timeout(limit, wait).await.ok()?.ok()
}

/// The folder as the start found it.
struct Folder {
    lock: Option<Lock>,
    meta: Meta,
    /// Why it cannot be used as it is; it is tried again.
    problem: Option<String>,
}

/// Makes and locks the folder and reads its small file; what another format or damage left is given up.
fn prepare(dir: &Path) -> Result<(Folder, Vec<Diagnostic>), Box<Diagnostic>> {
    let (mut lock, mut problem, mut diagnostics) = (None, None, Vec::new());
    match make_folder(dir).map_err(Unlocked::Io).and_then(|()| Lock::take(dir)) {
        Ok(taken) => lock = Some(taken),
        Err(Unlocked::Io(error)) => problem = Some(format!("it cannot be made or locked: {error}")),
        Err(Unlocked::Taken(owner)) => return Err(Box::new(in_use(dir, &owner))),
    }
    let mut meta = Meta { seed: super::random_seed(), opened: 0, rules: Vec::new(), bookmark: None };
    match Meta::read(dir) {
        Ok(known) => meta = known,
        Err(Unread::Io(error)) => problem = problem.or(Some(format!("it cannot be read: {error}"))),
        Err(unread) if problem.is_none() => {
            if let Unread::Unusable(why) = unread {
                diagnostics.push(damaged(dir, &why));
            }
            recovery::trash_generations(dir);
        }
        Err(_) => {}
    }
    meta.opened += 1;
    if problem.is_none() {
        problem = meta.write(dir).err().map(|error| format!("it cannot be written: {error}"));
    }
    diagnostics.extend(problem.iter().map(|why| unavailable(dir, why)));
    Ok((Folder { lock, meta, problem }, diagnostics))
}

fn in_use(dir: &Path, owner: &str) -> Diagnostic {
    let who = if owner.is_empty() { "another process".to_owned() } else { format!("process {owner}") };
    Diagnostic::error(codes::CACHE_IN_USE, "the cache folder is used by another instance")
        .file(dir.display().to_string())
        .label(format!("locked by {who}"))
        .help("stop the other instance, or give this one a folder of its own with `--state DIR`")
}

/// Makes the folder for its owner alone: what is stored was meant for callers who showed a credential.
fn make_folder(dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn unavailable(dir: &Path, why: &str) -> Diagnostic {
    Diagnostic::warning(
        codes::CACHE_UNAVAILABLE,
        "the cache folder cannot be used; answers are kept in memory",
    )
    .file(dir.display().to_string())
    .label(why)
    .help("make the folder writable for this user: it is tried again while requests are served")
}

fn damaged(dir: &Path, why: &str) -> Diagnostic {
    Diagnostic::warning(codes::CACHE_DAMAGED, "the cache on disk was damaged and starts empty")
        .file(dir.display().to_string())
        .label(why)
        .help("nothing to do: it fills again; if it comes back, check the disk")
}

#[cfg(test)]
mod tests;
