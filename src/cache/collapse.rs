//! One fetch for the requests that miss the same key at once.
//!
//! The first to come leads: it forwards, and tells the others through its [`Flight`] what came of it. They
//! wait for the head of the answer, wherever their runtimes are:
//!
//! - it may be shared: they read its body while it arrives ([`super::arrival`]), those that come later too;
//! - it may not be stored or reused: all go on at once, and for a while nobody waits for this key;
//! - it is for other values of `Vary`: those who ask for the same other variant gather behind a leader of
//!   their own;
//! - the upstream could not be had: they fail with it, instead of trying one after the other what has just
//!   failed, each with a timeout of its own;
//! - the leader died, or is not heard of for long: one of them leads.
//!
//! Whom a look-up would not give the answer never waits for it: a flight is for one key and one principal,
//! and what is shared is judged for each request as if it had been stored.

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
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{
    Cache, CacheStats, Inner, RequestDirectiveMode,
    arrival::Arrival,
    control::Caller,
    directives::RequestDirectives,
    hit::{Hit, HitBody, Origin},
    key::Key,
    lookup::{Keyed, decide},
    range::{self, Wanted},
    request::{CacheRequest, Lookup, Miss},
    status::Forwarded,
    vary::Vary,
};
use crate::{exchange, problem::Problem};

/// For how many seconds a key is not waited for after its response could not be shared.
const PASS_SECONDS: u64 = 10;

const SHARDS: usize = 32;

/// Keys that pass share this many slots; one that is overwritten waits once too often.
const PASSES: usize = 4096;

/// How long a leader is waited for without a word; then one of those who wait makes another call.
const PATIENCE: Duration = Duration::from_secs(10);

/// Leaders that one request waits for; then it goes alone.
const MOST_LEADERS: usize = 4;

/// A range that begins further ahead of what has arrived is not waited for.
const NEAR: u64 = 1024 * 1024;

/// What a request that needs the upstream does next.
pub enum Turn {
    /// Forward; others wait for what comes of it. Hand it to the fill, or end it in a word.
    Lead(Flight),
    /// Wait with [`Follow::outcome`].
    Follow(Box<Follow>),
    /// Forward; no one waits, since lately the answers were not to be shared.
    Pass(Pass),
    /// Forward; its answer is its own.
    Alone,
}

/// What came of waiting.
pub enum Outcome {
    Lead(Flight),
    /// Answer with it.
    Shared(Hit),
    /// The upstream failed: with an answer (`None`) or without one.
    Failed(Option<Arc<Problem>>),
    Alone,
}

/// What a leader has to say.
#[derive(Clone, Default)]
enum News {
    /// Nothing yet.
    #[default]
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
    seat: Box<[u8]>,
    news: watch::Sender<News>,
}

/// The requests under way.
pub(super) struct Flights {
    shards: [Mutex<HashMap<u128, Arc<Post>>>; SHARDS],
    /// Upper half: a part of the key's id; lower half: the second until which it passes.
    passes: Box<[AtomicU64]>,
}

/// Whose answers are the same. Compared in full, like the key of a stored response.
struct Seat {
    key: Key,
    /// The values of the fields in `Vary`, once these are known.
    variant: Vec<u8>,
    id: u128,
    /// Whether its own answer would serve others.
    leads: bool,
}

impl Flights {
    pub(super) fn new() -> Self {
        let passes = (0..PASSES).map(|_| AtomicU64::new(0)).collect();
        Self { shards: std::array::from_fn(|_| Mutex::default()), passes }
    }

    /// The seat's turn. `stored` says whether its answer has been stored since it was looked up: a leader
    /// that ended in between had stored it before it left the table.
    fn join(
        self: &Arc<Self>,
        seat: Seat,
        why: Forwarded,
        now_ms: u64,
        stored: impl FnOnce(&Key) -> bool,
    ) -> Turn {
        if self.passes(seat.id, now_ms) {
            return if seat.leads { Turn::Pass(self.pass(seat.id)) } else { Turn::Alone };
        }
        match self.shard(seat.id).entry(seat.id) {
            Entry::Occupied(leader) if !seat.is(&leader.get().seat) => Turn::Alone,
            Entry::Occupied(leader) => self.follow(seat, why, leader.get()),
            Entry::Vacant(_) if !seat.leads => Turn::Alone,
            Entry::Vacant(vacant) => {
                let over = stored(&seat.key);
                let news = if over { News::LookAgain } else { News::Waiting };
                let post = Arc::new(Post { seat: seat.name(), news: watch::Sender::new(news) });
                if over {
                    return self.follow(seat, why, &post);
                }
                vacant.insert(Arc::clone(&post));
                Turn::Lead(Flight { pass: self.pass(seat.id), post })
            }
        }
    }

    fn follow(self: &Arc<Self>, seat: Seat, why: Forwarded, leader: &Arc<Post>) -> Turn {
        let wait = Wait::behind(leader);
        Turn::Follow(Box::new(Follow { flights: Arc::clone(self), seat, why, wait }))
    }

    fn pass(self: &Arc<Self>, id: u128) -> Pass {
        Pass { flights: Arc::clone(self), id }
    }

    fn passes(&self, id: u128, now_ms: u64) -> bool {
        let slot = self.passes[id as usize % PASSES].load(Ordering::Relaxed);
        slot >> 32 == tag(id) && slot & u64::from(u32::MAX) > now_ms / 1000
    }

    /// Takes a leader out of the table, unless another took its place there.
    fn depose(&self, id: u128, post: &Arc<Post>) {
        if let Entry::Occupied(leader) = self.shard(id).entry(id)
            && Arc::ptr_eq(leader.get(), post)
        {
            leader.remove();
        }
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
        let slot = &self.flights.passes[self.id as usize % PASSES];
        let until = (now_ms / 1000 + PASS_SECONDS) & u64::from(u32::MAX);
        slot.store(tag(self.id) << 32 | until, Ordering::Relaxed);
    }
}

/// The fetch that others wait for. Its end, by whatever way, releases them.
pub struct Flight {
    pass: Pass,
    post: Arc<Post>,
}

impl Flight {
    /// The response is not shared: no one waits for this key for a while.
    pub fn pass(self, now_ms: u64) {
        self.pass.extend(now_ms);
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

    /// Those who wait for it.
    #[must_use]
    pub fn followers(&self) -> Followers {
        Followers(Arc::clone(&self.post))
    }

    pub(super) fn is_followed(&self) -> bool {
        !self.post.news.is_closed()
    }

    pub(super) fn arrives(&self, arrival: &Arc<Arrival>) {
        self.post.news.send_replace(News::Arriving(Arc::clone(arrival)));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Out of the table first: a request that comes then begins a new one.
        self.pass.flights.depose(self.pass.id, &self.post);
        self.post.news.send_if_modified(|news| {
            let over = matches!(news, News::Waiting | News::Arriving(_));
            if over {
                *news = News::LookAgain;
            }
            over
        });
    }
}

/// Whether anyone waits for a leader's answer.
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

/// A place behind a leader.
pub struct Follow {
    flights: Arc<Flights>,
    seat: Seat,
    why: Forwarded,
    wait: Wait,
}

impl Follow {
    /// Waits for what comes of the leader's fetch, and of those of its heirs. Bounded by the leaders' own
    /// clocks, and by [`MOST_LEADERS`] times [`PATIENCE`] where none of them says anything.
    pub async fn outcome(mut self, cache: &Cache, request: &CacheRequest<'_>) -> Outcome {
        let mut request = *request;
        for _ in 0..MOST_LEADERS {
            let news = self.wait.over().await;
            request.now_ms = exchange::now_ms();
            match &news {
                News::Failed(problem) => return Outcome::Failed(problem.clone()),
                News::Alone => return Outcome::Alone,
                News::Arriving(_) | News::LookAgain | News::Waiting => {}
            }
            let share = match news {
                News::Arriving(arrival) => cache.share(&request, &arrival, self.why),
                _ => Share::Over,
            };
            let variant = match share {
                Share::Fits(hit) => return self.shares(cache, hit),
                Share::Unfit => return Outcome::Alone,
                Share::Variant(vary) => Some(vary),
                Share::Over => None,
            };
            let found = match cache.find(&request).await {
                Lookup::Fresh(hit) => return self.shares(cache, hit),
                found => found,
            };
            if variant.is_none() {
                self.flights.depose(self.seat.id, &self.wait.post);
            }
            match cache.next_turn(&request, &found, variant.as_ref(), self.why) {
                Turn::Lead(flight) => return Outcome::Lead(flight),
                Turn::Follow(behind) => self = *behind,
                Turn::Pass(_) | Turn::Alone => return Outcome::Alone,
            }
        }
        Outcome::Alone
    }

    fn shares(&self, cache: &Cache, mut hit: Hit) -> Outcome {
        CacheStats::add(&cache.inner.stats.collapsed);
        hit.origin = Origin::Collapsed(self.why);
        Outcome::Shared(hit)
    }
}

/// A receiver of one leader's news. As long as there is one, what arrives goes on arriving.
struct Wait {
    post: Arc<Post>,
    news: Option<watch::Receiver<News>>,
}

impl Wait {
    fn behind(post: &Arc<Post>) -> Self {
        Self { post: Arc::clone(post), news: Some(post.news.subscribe()) }
    }

    /// The leader's word, or none after [`PATIENCE`].
    async fn over(&mut self) -> News {
        let Some(news) = &mut self.news else { return News::LookAgain };
        let word = news.wait_for(|news| !matches!(news, News::Waiting));
        match tokio::time::timeout(PATIENCE, word).await {
            Ok(Ok(news)) => news.clone(),
            Ok(Err(_)) => News::LookAgain,
            Err(_) => News::Waiting,
        }
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

/// Whether a request may read what arrives.
enum Share {
    Fits(Hit),
    /// It is for other values of these fields.
    Variant(Vary),
    /// It is all there, no longer stored, invalidated or no longer fresh.
    Over,
    /// The part that is asked for is far away.
    Unfit,
}

impl Seat {
    /// Where the request belongs, unless its answer is nobody else's: one with directives of its own goes
    /// alone, like one with credentials of an unknown owner; and one with `Range` or conditions only follows,
    /// unless those of something stored take their place.
    fn of(request: &CacheRequest<'_>, found: &Lookup, cache: &Inner) -> Option<Self> {
        const PARTIAL: [http::HeaderName; 3] =
            [header::RANGE, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];
        let asked = RequestDirectives::parse(request.headers);
        let honoured = request.options.request_directives == RequestDirectiveMode::Honour;
        let special = asked.no_cache || asked.max_age.is_some() || asked.min_fresh.is_some();
        if asked.no_store || (honoured && special) {
            return None;
        }
        let partial = || PARTIAL.iter().any(|name| request.headers.contains_key(name));
        let stored = matches!(found, Lookup::Stale(..));
        let leads = request.method == Method::GET && (stored || !partial());
        let keyed = Keyed::of(request, cache.seed).ok()?;
        let key = match (keyed.caller, keyed.own) {
            (Caller::Unknown, _) => return None,
            (_, Some(own)) => own,
            (_, None) => keyed.shared,
        };
        let known = match found {
            Lookup::Miss(Miss::Vary) => cache.memory.get(&key),
            _ => None,
        };
        let mut seat = Self { id: key.id, key, variant: Vec::new(), leads };
        if let Some(other) = known.as_ref().and_then(|resource| resource.variants().first()) {
            seat.narrow(&other.vary.of_request(request.headers), cache.seed);
        }
        Some(seat)
    }

    /// The same for requests that have the same values of the fields in `vary`.
    fn narrow(&mut self, vary: &Vary, seed: u64) {
        self.variant = vary.to_bytes();
        self.id = xxh3_128_with_seed(&self.name(), seed);
    }

    fn name(&self) -> Box<[u8]> {
        [self.key.as_bytes(), &self.variant].concat().into()
    }

    /// Whether it has this name.
    fn is(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.key.as_bytes()) == Some(&self.variant)
    }
}

impl Cache {
    /// The turn of a request that needs the upstream, as its look-up says.
    #[must_use]
    pub fn turn(&self, request: &CacheRequest<'_>, found: &Lookup) -> Turn {
        let why = match found {
            Lookup::Miss(miss) => Forwarded::Miss(*miss),
            Lookup::Stale(hit, why) if hit.is_renewable() => Forwarded::Validate(*why),
            _ => return Turn::Alone,
        };
        self.next_turn(request, found, None, why)
    }

    fn next_turn(
        &self,
        request: &CacheRequest<'_>,
        found: &Lookup,
        variant: Option<&Vary>,
        why: Forwarded,
    ) -> Turn {
        let inner = &self.inner;
        let Some(mut seat) = Seat::of(request, found, inner) else { return Turn::Alone };
        if let Some(vary) = variant {
            seat.narrow(vary, inner.seed);
        }
        let missed = matches!(found, Lookup::Miss(_));
        inner.flights.join(seat, why, request.now_ms, |key| {
            let resource = inner.memory.get(key).filter(|_| missed);
            resource.is_some_and(|known| known.select(key, request.headers, false, &inner.epochs).is_ok())
        })
    }

    fn share(&self, request: &CacheRequest<'_>, arrival: &Arc<Arrival>, why: Forwarded) -> Share {
        let Some((entry, reader)) = arrival.join() else { return Share::Over };
        if !entry.vary.matches(request.headers) {
            return Share::Variant(entry.vary.of_request(request.headers));
        }
        if !self.inner.epochs.unbroken(arrival.place, entry.since) {
            return Share::Over;
        }
        let near = match (request.headers.contains_key(header::RANGE), reader.total()) {
            (false, _) => true,
            (true, None) => false,
            (true, Some(length)) => match range::wanted(request.headers, &entry.headers, length) {
                Wanted::Part(start, _) => start <= reader.arrived() + NEAR,
                Wanted::Whole | Wanted::Unsatisfiable => true,
            },
        };
        if !near {
            return Share::Unfit;
        }
        let asked = RequestDirectives::parse(request.headers);
        let (since, body) = (self.inner.epochs.now(), HitBody::Arriving(reader));
        match decide(request, &asked, (false, since), &entry, body, Origin::Collapsed(why)) {
            Lookup::Fresh(hit) => Share::Fits(hit),
            _ => Share::Over,
        }
    }
}

#[cfg(test)]
mod tests;
