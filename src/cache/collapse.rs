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

use std::sync::Arc;

use http::{HeaderName, Method, header};

use super::{
    Cache, CacheStats, Inner, RequestDirectiveMode,
    arrival::{Arrival, Reader},
    control::Caller,
    directives::RequestDirectives,
    entry::Entry,
    hit::{Hit, HitBody, Origin},
    lookup::{Keyed, Looked, Spot},
    range::{self, Wanted},
    request::{CacheRequest, Lookup, Miss},
    status::Forwarded,
    vary::Vary,
};
use crate::{exchange, problem::Problem};
use flights::{News, Place, Seat, Wait};

pub use flights::{Flight, Flights, Followers, Pass};

mod flights;

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

/// A place behind a leader.
pub struct Follow {
    wait: Wait,
    /// What its look-up came to.
    why: Forwarded,
}

impl Follow {
    /// Waits for what comes of the leader's fetch, and of those of its heirs. Bounded by the leaders' own
    /// clocks, and by [`MOST_LEADERS`] times [`flights::PATIENCE`] where none of them says anything.
    pub async fn outcome(mut self, cache: &Cache, request: &CacheRequest<'_>) -> Outcome {
        let mut request = *request;
        for _ in 0..MOST_LEADERS {
            let news = self.wait.over().await;
            request.now_ms = exchange::now_ms();
            let share = match news {
                News::Failed(problem) => return Outcome::Failed(problem),
                News::Alone => return Outcome::Alone,
                News::Arriving(arrival) => cache.share(&request, &arrival, self.why),
                News::LookAgain | News::Waiting => Share::Over,
            };
            let variant = match share {
                Share::Fits(hit) => return self.shares(cache, hit),
                Share::Unfit => return Outcome::Alone,
                Share::Variant(vary) => Some(vary),
                Share::Over => None,
            };
            let mut looked = cache.look_again(&request).await;
            if let Lookup::Fresh(hit) = looked.found {
                return self.shares(cache, hit);
            }
            if variant.is_none() {
                self.wait.depose();
            }
            match cache.place(&request, &mut looked, variant.as_ref()) {
                Place::Lead(flight) => return Outcome::Lead(flight),
                Place::Behind(wait) => self.wait = wait,
                Place::Pass(_) | Place::Alone => return Outcome::Alone,
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

impl Cache {
    /// The turn of a request that needs the upstream, as its look-up says.
    #[must_use]
    pub fn turn(&self, request: &CacheRequest<'_>, looked: &mut Looked) -> Turn {
        let why = match &looked.found {
            Lookup::Miss(miss) => Forwarded::Miss(*miss),
            Lookup::Partial(_) => Forwarded::Miss(Miss::Partial),
            Lookup::Stale(hit, why) if hit.is_renewable() => Forwarded::Validate(*why),
            _ => return Turn::Alone,
        };
        match self.place(request, looked, None) {
            Place::Lead(flight) => Turn::Lead(flight),
            Place::Behind(wait) => Turn::Follow(Box::new(Follow { wait, why })),
            Place::Pass(pass) => Turn::Pass(pass),
            Place::Alone => Turn::Alone,
        }
    }

    fn place(&self, request: &CacheRequest<'_>, looked: &mut Looked, variant: Option<&Vary>) -> Place {
        let inner = &*self.inner;
        let keyed = looked.keyed.take();
        let Some(mut seat) = keyed.and_then(|keyed| seat(request, &looked.found, keyed, inner)) else {
            return Place::Alone;
        };
        if let Some(vary) = variant {
            seat.narrow(vary, inner.seed);
        }
        let missed = matches!(looked.found, Lookup::Miss(_) | Lookup::Partial(_));
        inner.flights.join(&seat, request.now_ms, |key| {
            let known = inner.memory.get(key).filter(|_| missed);
            known.is_some_and(|known| known.select(key, request.headers, false, &inner.epochs).is_ok())
        })
    }

    fn share(&self, request: &CacheRequest<'_>, arrival: &Arc<Arrival>, why: Forwarded) -> Share {
        let Some((entry, reader)) = arrival.join() else { return Share::Over };
        if !entry.vary.matches(request.headers) {
            return Share::Variant(entry.vary.of_request(request.headers));
        }
        if !is_near(request, &entry, &reader) {
            return Share::Unfit;
        }
        let asked = RequestDirectives::parse(request.headers);
        let spot = Spot { own: false, since: self.inner.epochs.now(), key: arrival.key };
        let (body, origin) = (HitBody::Arriving(reader), Origin::Collapsed(why));
        match self.inner.decide(request, &asked, spot, &entry, body, origin) {
            Lookup::Fresh(hit) => Share::Fits(hit),
            _ => Share::Over,
        }
    }
}

/// Where a request belongs, unless its answer is nobody else's: one with directives of its own goes alone,
/// like one with credentials of an unknown owner; and one with `Range` or conditions only follows, unless
/// those of something stored take their place.
fn seat(request: &CacheRequest<'_>, found: &Lookup, keyed: Keyed, cache: &Inner) -> Option<Seat> {
    const PARTIAL: [HeaderName; 3] = [header::RANGE, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];
    let asked = RequestDirectives::parse(request.headers);
    let honoured = request.options.request_directives == RequestDirectiveMode::Honour;
    let special = asked.no_cache || asked.max_age.is_some() || asked.min_fresh.is_some();
    if asked.no_store || (honoured && special) {
        return None;
    }
    let stored = matches!(found, Lookup::Stale(hit, _) if hit.replaces_conditions(request.headers));
    let partial = || PARTIAL.iter().any(|name| request.headers.contains_key(name));
    let leads = request.method == Method::GET && (stored || !partial());
    let key = match (keyed.caller, keyed.own) {
        (Caller::Unknown, _) => return None,
        (_, Some(own)) => own,
        (_, None) => keyed.shared,
    };
    // Which fields its answer varies by is known from the variants that are stored.
    let known = match found {
        Lookup::Miss(Miss::Vary) => cache.memory.get(&key),
        _ => None,
    };
    let mut seat = Seat::new(key, leads);
    if let Some(other) = known.as_ref().and_then(|resource| resource.variants().first()) {
        seat.narrow(&other.vary.of_request(request.headers), cache.seed);
    }
    Some(seat)
}

/// Whether what is asked for is about to arrive: all of it, or a part that is known and not far ahead.
fn is_near(request: &CacheRequest<'_>, entry: &Entry, reader: &Reader) -> bool {
    if !request.headers.contains_key(header::RANGE) {
        return true;
    }
    let Some(length) = reader.total() else { return false };
    match range::wanted(request.headers, &entry.headers, length, request.now_ms) {
        Wanted::Part(start, _) => start <= reader.arrived() + NEAR,
        Wanted::Whole | Wanted::Unsatisfiable => true,
    }
}

#[cfg(test)]
mod tests;
