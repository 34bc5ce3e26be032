//! Purges that reach every node: written into a log that all gateways of one Redis read.
//!
//! A purge is carried out here, then appended. Every node follows the log, carries out what others wrote, and
//! remembers in its cache's folder how far it got ([`Cache::bookmark`](super::Cache::bookmark)): one that was
//! away goes on from there. Where the log cannot tell what was missed, everything is purged. The paths that unsafe
//! methods change go the same way, many at once and behind the answers ([`outbox`]).
//!
//! Without Redis a purge is of this node alone. While it is away, that is so too, and the caller is told; the purge
//! waits here to be passed on. A node that starts while it is away cannot know what was purged meanwhile: all that
//! it has counts as stale ([`Nodes::doubt`]), so that the upstream is asked before any of it is used.

mod follow;
mod message;
pub mod outbox;

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{Cache, Purge, PurgeError, Purged};
use crate::{
    exchange::now_ms,
    shared::{Away, Log, Position, Redis, State, Status},
};
use message::News;
use outbox::Outbox;

/// Own messages that the log has not shown yet.
const MAX_OWN: usize = 1024;

/// The purges of this node and of all others; clones share it.
#[derive(Clone)]
pub struct Nodes {
    inner: Arc<Inner>,
}

struct Inner {
    cache: Cache,
    log: Log,
    /// The control plane's: a purge goes on when its caller goes away.
    runtime: Handle,
    /// The last entry that was carried out.
    position: Mutex<Option<Position>>,
    own: Mutex<VecDeque<Own>>,
    outbox: Arc<Outbox>,
    /// The last entry of the log that was seen.
    tail: AtomicU64,
    /// Whether the log was read to its end since the start, or there is none to read.
    settled: watch::Sender<bool>,
    problem: Mutex<String>,
    /// What was purged because a message was not understood: a host, or everything.
    strange: Mutex<HashSet<Option<String>>>,
    applied: AtomicU64,
    changed: AtomicU64,
    missed: AtomicU64,
    doubted: AtomicU64,
    unspread: AtomicU64,
}

/// A message of this node, until the log shows it.
#[derive(Clone)]
struct Own {
    mark: String,
    message: Vec<u8>,
    /// Whether what it asks for holds here.
    held: bool,
    /// Whether the log took it: if it does not show it then, it lost it.
    taken: bool,
}

/// What a purge did, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    pub purged: Purged,
    pub reach: Reach,
}

/// Where a purge holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Here; no others are known, for no Redis is configured.
    Alone,
    /// Here and in the log, under this number: nodes that are up follow within moments, others when they return.
    Everywhere(u64),
    /// Here alone, though others may exist; why. It waits here to be passed on.
    HereOnly(String),
}

/// What whoever purged is told when the purge holds here alone.
#[must_use]
pub fn incomplete(why: &str) -> String {
    format!(
        "other nodes may still serve what was purged here: {why}; it is passed on when Redis is back, if this \
         gateway still runs then: purge again to be sure"
    )
}

/// How far this node is, and what it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of the last entry that was carried out here; nothing before the log was read.
    pub sequence: Option<u64>,
    /// The last number in the log, as last seen.
    pub tail: Option<u64>,
    /// Purges of other nodes that were carried out here.
    pub applied: u64,
    /// Paths that unsafe methods changed on other nodes, made invalid here.
    pub changed: u64,
    /// How often everything was purged, for nobody knew what had been missed.
    pub missed: u64,
    /// How often everything was made stale, for it was not known yet what had been missed.
    pub doubted: u64,
    /// Purges of this node that did not get into the log at once.
    pub unspread: u64,
    /// Purges and changed paths that wait here for the log.
    pub waiting: u64,
    /// Why the log cannot be read; empty when it can.
    pub problem: String,
}

impl Progress {
    /// How many entries are still to be carried out, as last seen.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        Some(self.tail?.saturating_sub(self.sequence.unwrap_or(0)))
    }
}

impl Nodes {
    /// Follows the log from now on; what is carried out is `cache`'s.
    #[must_use]
    pub fn start(cache: Cache, redis: Redis, runtime: &Handle) -> Self {
        let position = cache.bookmark().and_then(|text| text.parse().ok());
        let outbox = Arc::new(Outbox::default());
        cache.tell(Arc::clone(&outbox));
        let inner = Arc::new(Inner {
            cache,
            outbox,
            log: Log::new(redis, "purges"),
            runtime: runtime.clone(),
            position: Mutex::new(position),
            own: Mutex::default(),
            tail: AtomicU64::new(0),
            settled: watch::Sender::new(false),
            problem: Mutex::default(),
            strange: Mutex::default(),
            applied: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            doubted: AtomicU64::new(0),
            unspread: AtomicU64::new(0),
        });
        runtime.spawn(follow::follow(Arc::clone(&inner)));
        runtime.spawn(outbox::send(Arc::clone(&inner)));
        Self { inner }
    }

    /// Purges here, then on all other nodes. It is done when it holds here and is in the log, or when it is
    /// known that it is not; that takes no longer than the disk's deadline and Redis' together. It goes on when
    /// the caller goes away.
    ///
    /// # Errors
    /// When this node's disk did not confirm; other nodes are told all the same.
    pub async fn purge(&self, purge: Purge) -> Result<Spread, PurgeError> {
        let (inner, runtime) = (Arc::clone(&self.inner), self.inner.runtime.clone());
        // Looking through memory takes its time: not on a thread that others need.
        let task = self.inner.runtime.spawn_blocking(move || runtime.block_on(inner.purge(purge)));
        task.await.unwrap_or(Err(PurgeError))
    }

    /// Waits until what was missed is carried out: for `connect` until Redis is there, then for at most `read`.
    /// Whether nothing is missing now. Where no Redis is configured, it never is.
    pub async fn settled(&self, connect: Duration, read: Duration) -> bool {
        let mut settled = self.inner.settled.subscribe();
        let mut news = self.inner.log.news();
        let (start, mut is_settled) = (Instant::now(), false);
        loop {
            is_settled |= *settled.borrow_and_update();
            let limit = match self.inner.log.status().state {
                State::Up if !is_settled => connect + read,
                State::Connecting | State::Down if !is_settled => connect,
                _ => return is_settled,
            };
            let left = limit.saturating_sub(start.elapsed());
            let change = async {
                tokio::select! {
                    _ = settled.changed() => {}
                    _ = news.changed() => {}
                }
            };
            if timeout(left, change).await.is_err() {
                return *self.inner.settled.borrow();
            }
        }
    }

    /// Whether the disk holds, or may hold, what an earlier process stored.
    #[must_use]
    pub fn has_old(&self) -> bool {
        let report = self.inner.cache.stats();
        report.disk_entries > 0 || !report.disk_ok
    }

    /// Makes all that is stored stale, since others may have purged some of it: the upstream is asked before it
    /// is used. What they purged goes when the log can be read.
    pub async fn doubt(&self) {
        self.inner.doubted.fetch_add(1, Ordering::Relaxed);
        if self.inner.cache.apply(Purge::everything().softly(now_ms())).await.is_err() {
            tracing::warn!("the disk did not confirm in time that what is stored counts as stale");
        }
    }

    /// Sends what waits, for at most `limit`; what does not get through is lost to other nodes.
    pub async fn close(&self, limit: Duration) {
        let inner = &self.inner;
        let all = async {
            while let Some((news, held)) = inner.outbox.take() {
                if let Err(why) = inner.append(news.write(), held).await {
                    tracing::warn!("what changed here last was not told to other nodes: {why}");
                    return;
                }
            }
        };
        if timeout(limit, all).await.is_err() {
            tracing::warn!("what changed here last was not told to other nodes in time");
        }
    }

    /// How the connection to Redis is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.log.status()
    }

    #[must_use]
    pub fn progress(&self) -> Progress {
        let inner = &self.inner;
        let tail = inner.tail.load(Ordering::Relaxed);
        Progress {
            sequence: lock(&inner.position).as_ref().map(|position| position.sequence),
            tail: (tail > 0).then_some(tail),
            applied: inner.applied.load(Ordering::Relaxed),
            changed: inner.changed.load(Ordering::Relaxed),
            missed: inner.missed.load(Ordering::Relaxed),
            doubted: inner.doubted.load(Ordering::Relaxed),
            unspread: inner.unspread.load(Ordering::Relaxed),
            waiting: inner.outbox.waiting() as u64,
            problem: lock(&inner.problem).clone(),
        }
    }
}

impl Inner {
    async fn purge(&self, purge: Purge) -> Result<Spread, PurgeError> {
        let purged = self.cache.apply(purge.clone()).await;
        if self.log.status().state == State::Off {
            return purged.map(|purged| Spread { purged, reach: Reach::Alone });
        }
        let news = News::Purge(purge);
        let reach = match self.append(news.write(), purged.is_ok()).await {
            Ok(sequence) => Reach::Everywhere(sequence),
            Err(why) => {
                self.unspread.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("a purge reached this node alone and waits to be passed on: {why}");
                if let News::Purge(purge) = news {
                    self.outbox.purge(purge, purged.is_ok());
                }
                Reach::HereOnly(why.0)
            }
        };
        purged.map(|purged| Spread { purged, reach })
    }

    /// Writes a message into the log; `held`: what it asks for holds here.
    async fn append(&self, message: Vec<u8>, held: bool) -> Result<u64, Away> {
        let mark = Log::mark();
        let own = Own { mark: mark.clone(), message: message.clone(), held, taken: false };
        {
            let mut all = lock(&self.own);
            // One that is forgotten is carried out again.
            if all.len() == MAX_OWN {
                all.pop_front();
            }
            all.push_back(own);
        }
        let sequence = self.log.append(&mark, &message).await?;
        if let Some(own) = lock(&self.own).iter_mut().find(|own| own.mark == mark) {
            own.taken = true;
        }
        Ok(sequence)
    }

    /// The log shows an entry: whether this node wrote it, and it holds here.
    fn is_held(&self, position: &Position) -> bool {
        let mut own = lock(&self.own);
        let at = own.iter().position(|own| own.mark == position.mark);
        at.and_then(|at| own.remove(at)).is_some_and(|own| own.held)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
