//! The threads that read: index look-ups and blocks of body files, each with a bounded queue.
//!
//! A request waits for its answer with a deadline; a queue that is full answers at once that it is late.

use std::{
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    BodyFile, Late, Live, Shared,
    bodies::{BLOCK, Bodies},
    generation::{self, DiskKey},
    listing::{self, Chunk},
    queue::Write,
    record::{self, Decoded},
};
use crate::cache::{
    entry::{Entry, MAX_VARIANTS},
    key::Key,
    purge::{self, Facts, Fate},
    recent::Issued,
    store::StoreError,
};

const THREADS: usize = 2;

/// Jobs that wait at one thread.
const QUEUE: usize = 1024;

/// The open file of a body whose first block is good.
#[derive(Clone, Debug)]
pub struct OpenFile {
    pub file: Arc<File>,
    pub name: u64,
    pub len: u64,
}

/// What a reader found of a body.
pub enum Opened {
    Whole(Bytes),
    File(OpenFile),
}

enum Job {
    Find { key: Box<Key>, since: u64, reply: oneshot::Sender<Result<Vec<Entry>, Late>> },
    Open { file: BodyFile, whole: u64, reply: oneshot::Sender<Result<Opened, Late>> },
    List { after: DiskKey, limit: usize, reply: oneshot::Sender<Result<Chunk, Late>> },
    Blocks { open: OpenFile, first: u64, count: u64, reply: oneshot::Sender<io::Result<Bytes>> },
}

/// The reading threads. They end when this is dropped.
pub struct Readers {
    queues: Vec<mpsc::SyncSender<Job>>,
}

impl Readers {
    pub fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let mut queues = Vec::new();
        for i in 0..THREADS {
            let (queue, jobs) = mpsc::sync_channel(QUEUE);
            let shared = Arc::clone(shared);
            std::thread::Builder::new()
                .name(format!("cache-read-{i}"))
                .spawn(move || jobs.into_iter().for_each(|job| run(&shared, job)))?;
            queues.push(queue);
        }
        Ok(Self { queues })
    }

    pub async fn find(&self, key: &Key, since: u64, limit: Duration) -> Result<Vec<Entry>, Late> {
        let (reply, answer) = oneshot::channel();
        self.send(key.id as usize, Job::Find { key: Box::new(key.clone()), since, reply })?;
        wait(answer, limit).await?
    }

    pub async fn open(&self, file: BodyFile, whole: u64, limit: Duration) -> Result<Opened, Late> {
        let (reply, answer) = oneshot::channel();
        self.send(file.name as usize, Job::Open { file, whole, reply })?;
        wait(answer, limit).await?
    }

    /// The records behind one key, in order: see [`listing`].
    pub async fn list(&self, after: DiskKey, max: usize, limit: Duration) -> Result<Chunk, Late> {
        let (reply, answer) = oneshot::channel();
        self.send(0, Job::List { after, limit: max, reply })?;
        wait(answer, limit).await?
    }

    /// The content of some blocks of a body.
    pub async fn blocks(&self, open: OpenFile, first: u64, count: u64, limit: Duration) -> io::Result<Bytes> {
        let (reply, answer) = oneshot::channel();
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the disk did not answer in time");
        self.send(open.name as usize, Job::Blocks { open, first, count, reply }).map_err(late)?;
        wait(answer, limit).await.map_err(late)?
    }

    fn send(&self, choice: usize, job: Job) -> Result<(), Late> {
        self.queues[choice % self.queues.len()].try_send(job).map_err(|_| Late::Late)
    }
}

async fn wait<T>(answer: oneshot::Receiver<T>, limit: Duration) -> Result<T, Late> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(_)) | Err(_) => Err(Late::Late),
    }
}

/// Does one job. A panic of the index is an error of the disk tier, not the end of the thread.
fn run(shared: &Shared, job: Job) {
    let outcome = catch_unwind(AssertUnwindSafe(|| match job {
        // Of what no one waits for any more nothing is done.
        Job::Find { reply, .. } if reply.is_closed() => Ok(()),
        Job::List { reply, .. } if reply.is_closed() => Ok(()),
        Job::Find { key, since, reply } => answer(reply, find(shared, &key, since)),
        Job::List { after, limit, reply } => answer(reply, listing::chunk(shared, &after, limit)),
        Job::Open { file, whole, reply } => {
            let _ = reply.send(open(shared, file, whole));
            Ok(())
        }
        Job::Blocks { open, first, count, reply } => {
            let content = Bodies::read(shared.seed, &open.file, open.name, open.len, first, count);
            if content.is_err() {
                shared.stats.disk_damaged();
            }
            let _ = reply.send(content);
            Ok(())
        }
    }));
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => shared.queue.fail(error.0),
        Err(_) => shared.queue.fail("the index panicked".to_owned()),
    }
}

fn answer<T>(
    reply: oneshot::Sender<Result<T, Late>>,
    found: Result<T, StoreError>,
) -> Result<(), StoreError> {
    let (answer, outcome) = match found {
        Ok(found) => (Ok(found), Ok(())),
        Err(error) => (Err(Late::Late), Err(error)),
    };
    let _ = reply.send(answer);
    outcome
}

/// All responses of a key.
fn find(shared: &Shared, key: &Key, since: u64) -> Result<Vec<Entry>, StoreError> {
    let judge = Judge::now(shared);
    if shared.queue.is_leaving(key.place) {
        return Ok(Vec::new());
    }
    let live = &judge.live;
    let prefix = generation::prefix(key);
    let mut found = Vec::new();
    // Newest first: what an older generation has of the same name is out of date, also where the newer is gone.
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for (i, generation) in live.generations.iter().enumerate() {
        if !generation.may_hold(key) {
            continue;
        }
        for (name, value) in generation.find(&prefix, MAX_VARIANTS)? {
            let Ok(disk_key) = <DiskKey>::try_from(&name[..]) else { continue };
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let Some(mut decoded) = record::decode(&value, generation.number, shared.seed) else {
                shared.stats.disk_damaged();
                shared.queue.write(Write::Remove(disk_key));
                continue;
            };
            if decoded.key != key.as_bytes() || !judge.spares(&mut decoded) {
                continue;
            }
            if i > 0 {
                shared.queue.write(Write::Promote(disk_key));
            }
            decoded.entry.since = since;
            decoded.entry.in_generation(generation.number);
            found.push(decoded.entry);
        }
    }
    Ok(found)
}

/// What is on disk at one moment, with the purges that it is under.
pub(super) struct Judge {
    pub live: Arc<Live>,
    recent: Arc<Vec<Arc<Issued>>>,
}

impl Judge {
    pub fn now(shared: &Shared) -> Self {
        // In this order: a purge leaves the first list only after it is in the second.
        let recent = shared.epochs.purges.all();
        Self { live: shared.live.load_full(), recent }
    }

    /// Whether purges leave something of a record; it is made stale where they say so.
    pub fn spares(&self, decoded: &mut Decoded) -> bool {
        let facts = Facts::new(&decoded.key, &decoded.entry.headers);
        let rules = self.live.rules.iter().chain(self.recent.iter().map(|issued| &issued.rule));
        match purge::fate(rules.map(|rule| &**rule), &facts, decoded.entry.since) {
            Fate::Kept => true,
            Fate::Stale(at_ms) => {
                decoded.entry.soften(at_ms);
                true
            }
            Fate::Gone => false,
        }
    }
}

fn open(shared: &Shared, wanted: BodyFile, whole: u64) -> Result<Opened, Late> {
    let live = shared.live.load_full();
    let generation = live.generations.iter().find(|g| g.number == wanted.generation).ok_or(Late::Gone)?;
    let BodyFile { name, len, .. } = wanted;
    let damaged = |_| {
        shared.stats.disk_damaged();
        Late::Damaged
    };
    let file = generation.bodies.open(name).map_err(damaged)?;
    if len <= whole {
        let blocks = len.div_ceil(BLOCK);
        return Bodies::read(shared.seed, &file, name, len, 0, blocks).map(Opened::Whole).map_err(damaged);
    }
    Bodies::read(shared.seed, &file, name, len, 0, 1).map_err(damaged)?;
    Ok(Opened::File(OpenFile { file: Arc::new(file), name, len }))
}
