//! One fetch for requests that miss the same key at once.
//!
//! The first to come leads: it forwards, and its [`Fill`](super::Fill) carries the [`Flight`]. The others
//! wait for its end, wherever their runtimes are, look up once more, and go on by themselves if that
//! gives them nothing. A leader that dies, or whose response is not stored, releases all at once; a key
//! whose response was not storable is not waited for again for a while.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, header};
use tokio::sync::watch;

use super::{Cache, control::Caller, lookup::Keyed, request::CacheRequest};

/// For how many seconds a key is not waited for after its response could not be stored.
const PASS_SECONDS: u64 = 10;

const SHARDS: usize = 32;

/// Keys that pass share this many slots; one that is overwritten waits once too often.
const PASSES: usize = 4096;

/// What a request that missed does next.
#[derive(Debug)]
pub enum Turn {
    /// Forward; others wait for the outcome. Hand it to the fill, or end it with [`Flight::pass`].
    Lead(Flight),
    /// Wait with [`Wait::over`], then look up once more and forward if that is a miss again.
    Follow(Wait),
    /// Forward; no one waits.
    Alone,
}

/// The requests under way.
pub(super) struct Flights {
    shards: [Mutex<HashMap<u128, watch::Receiver<()>>>; SHARDS],
    /// Upper half: a part of the key's id; lower half: the second until which it passes.
    passes: Box<[AtomicU64]>,
}

impl Flights {
    pub(super) fn new() -> Self {
        let passes = (0..PASSES).map(|_| AtomicU64::new(0)).collect();
        Self { shards: std::array::from_fn(|_| Mutex::default()), passes }
    }

    fn join(self: &Arc<Self>, id: u128) -> Turn {
        match self.shard(id).entry(id) {
            Entry::Occupied(leader) => Turn::Follow(Wait(leader.get().clone())),
            Entry::Vacant(vacant) => {
                let (end, followers) = watch::channel(());
                vacant.insert(followers);
                Turn::Lead(Flight { flights: Arc::clone(self), id, _end: end })
            }
        }
    }

    fn passes(&self, id: u128, now_ms: u64) -> bool {
        let slot = self.passes[id as usize % PASSES].load(Ordering::Relaxed);
        slot >> 32 == tag(id) && slot & u64::from(u32::MAX) > now_ms / 1000
    }

    fn shard(&self, id: u128) -> MutexGuard<'_, HashMap<u128, watch::Receiver<()>>> {
        self.shards[id as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of an id that tells apart those in one slot.
fn tag(id: u128) -> u64 {
    (id >> 96) as u64
}

/// The fetch that others wait for. Its end, by whatever way, releases them.
pub struct Flight {
    flights: Arc<Flights>,
    id: u128,
    /// Dropped after the flight has left the table: a request that comes then begins a new one.
    _end: watch::Sender<()>,
}

impl std::fmt::Debug for Flight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flight").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Flight {
    /// The response is not stored: no one waits for this key for a while.
    pub fn pass(self, now_ms: u64) {
        let slot = &self.flights.passes[self.id as usize % PASSES];
        let until = (now_ms / 1000 + PASS_SECONDS) & u64::from(u32::MAX);
        slot.store(tag(self.id) << 32 | until, Ordering::Relaxed);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.shard(self.id).remove(&self.id);
    }
}

/// A place behind a leader.
#[derive(Debug)]
pub struct Wait(watch::Receiver<()>);

impl Wait {
    /// Returns when the leader's fetch is over, or after `limit`.
    pub async fn over(mut self, limit: Duration) {
        // Nothing is ever sent: the end of the sender is the news.
        let _ = tokio::time::timeout(limit, self.0.changed()).await;
    }
}

impl Cache {
    /// The turn of a request whose look-up was a miss, or stale and [`Hit::is_renewable`](super::Hit): then
    /// the flight is held until the refresh is done. Only requests whose answers may be another's wait:
    /// a plain GET, without conditions or range, of no one in particular or of one principal.
    #[must_use]
    pub fn turn(&self, request: &CacheRequest<'_>) -> Turn {
        const OWN_ANSWER: [http::HeaderName; 4] =
            [header::RANGE, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::CACHE_CONTROL];
        let plain =
            request.method == Method::GET && !OWN_ANSWER.iter().any(|n| request.headers.contains_key(n));
        if !plain {
            return Turn::Alone;
        }
        let Ok(keyed) = Keyed::of(request, self.inner.seed) else { return Turn::Alone };
        let id = match (keyed.caller, &keyed.own) {
            (Caller::Unknown, _) => return Turn::Alone,
            (_, Some(own)) => own.id,
            (_, None) => keyed.shared.id,
        };
        if self.inner.flights.passes(id, request.now_ms) { Turn::Alone } else { self.inner.flights.join(id) }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::cache::{
        Lookup,
        tests::{Ask, hit, map, memory_only},
    };

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn followers_on_other_runtimes_get_what_the_leader_fetched() {
        let cache = memory_only();
        let ask = Ask::get("/x");
        let Turn::Lead(flight) = cache.turn(&ask.request()) else { panic!() };
        let follow = || {
            let (cache, ask) = (cache.clone(), ask.clone());
            let Turn::Follow(wait) = cache.turn(&ask.request()) else { panic!() };
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(async {
                    wait.over(LIMIT).await;
                    hit(&cache, &ask).await.is_some()
                })
            })
        };
        let followers: Vec<_> = (0..4).map(|_| follow()).collect();
        let fields = map(&[("cache-control", "max-age=60")]);
        let mut fill =
            cache.admit(&ask.request(), StatusCode::OK, &fields, ask.times(), cache.moment()).unwrap();
        fill.lead(flight);
        assert!(fill.finish());
        assert!(followers.into_iter().all(|follower| follower.join().unwrap()));
    }

    #[tokio::test]
    async fn a_leader_that_dies_releases_all_and_the_next_leads() {
        let cache = memory_only();
        let ask = Ask::get("/x");
        let Turn::Lead(flight) = cache.turn(&ask.request()) else { panic!() };
        let Turn::Follow(wait) = cache.turn(&ask.request()) else { panic!() };
        drop(flight);
        wait.over(LIMIT).await;
        assert!(matches!(cache.lookup(&ask.request()).await, Lookup::Miss(_)));
        assert!(matches!(cache.turn(&ask.request()), Turn::Lead(_)));
    }

    #[tokio::test]
    async fn a_leader_that_takes_too_long_is_not_waited_for() {
        let cache = memory_only();
        let ask = Ask::get("/x");
        let Turn::Lead(_flight) = cache.turn(&ask.request()) else { panic!() };
        let Turn::Follow(wait) = cache.turn(&ask.request()) else { panic!() };
        wait.over(Duration::from_millis(1)).await;
    }

    #[test]
    fn what_could_not_be_stored_is_not_waited_for_again_for_a_while() {
        let cache = memory_only();
        let ask = Ask::get("/x");
        let Turn::Lead(flight) = cache.turn(&ask.request()) else { panic!() };
        flight.pass(ask.now_ms);
        assert!(matches!(cache.turn(&ask.request()), Turn::Alone));
        assert!(matches!(cache.turn(&Ask::get("/y").request()), Turn::Lead(_)));
        assert!(matches!(cache.turn(&ask.later(PASS_SECONDS).request()), Turn::Lead(_)));
    }

    #[test]
    fn requests_with_an_answer_of_their_own_go_alone_and_principals_do_not_mix() {
        let cache = memory_only();
        let ask = Ask::get("/x");
        for field in [
            ("range", "bytes=0-1"),
            ("if-none-match", "\"a\""),
            ("authorization", "x"),
            ("cache-control", "no-store"),
        ] {
            assert!(matches!(cache.turn(&ask.clone().with(&[field]).request()), Turn::Alone), "{field:?}");
        }
        let _anna = cache.turn(&ask.clone().of(b"anna").request());
        assert!(matches!(cache.turn(&ask.clone().of(b"bert").request()), Turn::Lead(_)));
        assert!(matches!(cache.turn(&ask.of(b"anna").request()), Turn::Follow(_)));
    }
}
