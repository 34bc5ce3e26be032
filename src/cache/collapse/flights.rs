//! The table of fetches that others may wait for, and the keys for which nobody does.
//!
//! A [`Flight`] is the leader's end, a [`Wait`] a follower's; between them lies a [`Post`] with the latest
//! news, which any runtime may wait for. The locks are held for one look into a table, never across a wait.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::{
    cache::{arrival::Arrival, key::Key, vary::Vary},
    problem::Problem,
};

/// For how many seconds a key is not waited for after its response could not be shared.
pub const PASS_SECONDS: u64 = 10;

/// How long a leader is waited for without a word; then one of those who wait makes another call.
pub const PATIENCE: Duration = Duration::from_secs(10);

const SHARDS: usize = 32;

/// Keys that pass share this many slots; one that is overwritten waits once too often.
const PASSES: usize = 4096;

/// Whose answers are the same. Compared in full, like the key of a stored response.
pub struct Seat {
    key: Key,
    /// The values of the fields in `Vary`, once these are known.
    variant: Vec<u8>,
    id: u128,
    /// Whether its own answer would serve others.
    leads: bool,
}

impl Seat {
    #[must_use]
    pub fn new(key: Key, leads: bool) -> Self {
        Self { id: key.id, key, variant: Vec::new(), leads }
    }

    /// The same for requests that have these values of the fields in `Vary`.
    pub fn narrow(&mut self, vary: &Vary, seed: u64) {
        self.variant = vary.to_bytes();
        self.id = xxh3_128_with_seed(&self.name(), seed);
    }

    fn name(&self) -> Box<[u8]> {
        [self.key.as_bytes(), &self.variant].concat().into()
    }

    fn is(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.key.as_bytes()) == Some(&self.variant)
    }
}

/// What a leader has to say.
#[derive(Clone)]
pub enum News {
    /// Nothing yet.
    Waiting,
    Arriving(Arc<Arrival>),
    /// Something may be stored now, or the leader is gone.
    LookAgain,
    /// Its answer is its own.
    Alone,
    Failed(Option<Arc<Problem>>),
}

/// Where a leader's followers hear of it.
struct Post {
    flights: Arc<Flights>,
    id: u128,
    seat: Box<[u8]>,
    news: watch::Sender<News>,
}

impl Post {
    /// Takes it out of the table, unless another took its place there.
    fn remove(self: &Arc<Self>) {
        if let Entry::Occupied(leader) = self.flights.shard(self.id).entry(self.id)
            && Arc::ptr_eq(leader.get(), self)
        {
            leader.remove();
        }
    }
}

/// The requests under way.
pub struct Flights {
    shards: [Mutex<HashMap<u128, Arc<Post>>>; SHARDS],
    /// Upper half: a part of the key's id; lower half: the second until which it passes.
    passes: Box<[AtomicU64]>,
}

/// The place of one request among them.
pub enum Place {
    Lead(Flight),
    Behind(Wait),
    /// Nobody waits for this key.
    Pass(Pass),
    /// It may not lead, and nobody does.
    Alone,
}

impl Default for Flights {
    fn default() -> Self {
        let passes = (0..PASSES).map(|_| AtomicU64::new(0)).collect();
        Self { shards: std::array::from_fn(|_| Mutex::default()), passes }
    }
}

impl Flights {
    /// Gives a request its place. `stored` says whether its answer has been stored since it was looked up:
    /// a leader that ended in between had stored it before it left the table.
    pub fn join(self: &Arc<Self>, seat: &Seat, now_ms: u64, stored: impl FnOnce(&Key) -> bool) -> Place {
        if self.passes(seat.id, now_ms) {
            let pass = Pass { flights: Arc::clone(self), id: seat.id };
            return if seat.leads { Place::Pass(pass) } else { Place::Alone };
        }
        match self.shard(seat.id).entry(seat.id) {
            Entry::Occupied(leader) if seat.is(&leader.get().seat) => Place::Behind(Wait::new(leader.get())),
            Entry::Vacant(vacant) if seat.leads => {
                let over = stored(&seat.key);
                let news = watch::Sender::new(if over { News::LookAgain } else { News::Waiting });
                let post = Arc::new(Post { flights: Arc::clone(self), id: seat.id, seat: seat.name(), news });
                if over {
                    return Place::Behind(Wait::new(&post));
                }
                vacant.insert(Arc::clone(&post));
                Place::Lead(Flight { post })
            }
            Entry::Occupied(_) | Entry::Vacant(_) => Place::Alone,
        }
    }

    fn passes(&self, id: u128, now_ms: u64) -> bool {
        let slot = self.passes[id as usize % PASSES].load(Ordering::Relaxed);
        slot >> 32 == tag(id) && slot & u64::from(u32::MAX) > now_ms / 1000
    }

    fn pass(&self, id: u128, now_ms: u64) {
        let until = (now_ms / 1000 + PASS_SECONDS) & u64::from(u32::MAX);
        self.passes[id as usize % PASSES].store(tag(id) << 32 | until, Ordering::Relaxed);
    }

    fn shard(&self, id: u128) -> MutexGuard<'_, HashMap<u128, Arc<Post>>> {
        self.shards[id as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of an id that tells apart those in one slot.
fn tag(id: u128) -> u64 {
    (id >> 96) as u64
}

/// A key whose answers were not to be shared.
pub struct Pass {
    flights: Arc<Flights>,
    id: u128,
}

impl Pass {
    /// They still are not: no one waits for this key for a while.
    pub fn extend(&self, now_ms: u64) {
        self.flights.pass(self.id, now_ms);
    }
}

/// The fetch that others wait for. Its end, by whatever way, releases them.
pub struct Flight {
    post: Arc<Post>,
}

impl Flight {
    /// The response is not shared: no one waits for this key for a while.
    pub fn pass(self, now_ms: u64) {
        self.post.flights.pass(self.post.id, now_ms);
        self.post.news.send_replace(News::Alone);
    }

    /// The response is not shared, which says nothing of the next one.
    pub fn leave(self) {
        self.post.news.send_replace(News::Alone);
    }

    /// What is stored is fresh again.
    pub fn renewed(self) {
        self.post.news.send_replace(News::LookAgain);
    }

    /// The upstream failed; with a problem if it did not even answer.
    pub fn fail(self, problem: Option<Arc<Problem>>) {
        self.post.news.send_replace(News::Failed(problem));
    }

    /// The response may be read along.
    pub fn arrives(&self, arrival: &Arc<Arrival>) {
        self.post.news.send_replace(News::Arriving(Arc::clone(arrival)));
    }

    #[must_use]
    pub fn followers(&self) -> Followers {
        Followers(Arc::clone(&self.post))
    }

    #[must_use]
    pub fn is_followed(&self) -> bool {
        !self.post.news.is_closed()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Out of the table first: a request that comes then begins a new one.
        self.post.remove();
        self.post.news.send_if_modified(|news| {
            let over = matches!(news, News::Waiting | News::Arriving(_));
            if over {
                *news = News::LookAgain;
            }
            over
        });
    }
}

/// Those who wait for a leader's answer.
#[derive(Clone)]
pub struct Followers(Arc<Post>);

impl Followers {
    #[must_use]
    pub fn any(&self) -> bool {
        !self.0.news.is_closed()
    }

    /// Returns when the last one is gone.
    pub async fn gone(&self) {
        self.0.news.closed().await;
    }
}

/// A receiver of one leader's news. As long as there is one, what arrives goes on arriving.
pub struct Wait {
    post: Arc<Post>,
    news: Option<watch::Receiver<News>>,
}

impl Wait {
    fn new(post: &Arc<Post>) -> Self {
        Self { post: Arc::clone(post), news: Some(post.news.subscribe()) }
    }

    /// The leader's word, or none after [`PATIENCE`].
    pub async fn over(&mut self) -> News {
        let Some(news) = &mut self.news else { return News::LookAgain };
        let word = news.wait_for(|news| !matches!(news, News::Waiting));
        match tokio::time::timeout(PATIENCE, word).await {
            Ok(Ok(news)) => news.clone(),
            Ok(Err(_)) => News::LookAgain,
            Err(_) => News::Waiting,
        }
    }

    /// No one else is to wait for this leader.
    pub fn depose(&self) {
        self.post.remove();
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.news = None;
        let news = self.post.news.borrow().clone();
        if let News::Arriving(arrival) = news {
            arrival.rest();
        }
    }
}
