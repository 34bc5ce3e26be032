//! A stored response, and the responses of one resource together.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use smallvec::SmallVec;

use super::{
    control::{Policy, Storable},
    disk::BodyFile,
    epoch::Epochs,
    freshness::{self, Times},
    key::Key,
    parts::Parts,
    purge::Fate,
    status::CACHE_STATUS,
    vary::Vary,
};

/// Stored responses of one resource: the oldest goes for the next.
pub const MAX_VARIANTS: usize = 32;

/// What an upstream's own caches said is kept up to this many bytes.
const MAX_BEFORE: usize = 1024;

/// Milliseconds within which one request's refresh keeps others from starting one.
const REFRESH_CLAIM_MS: u64 = 30_000;

/// The bytes of a stored response.
#[derive(Clone, Debug)]
pub enum Stored {
    Bytes(Bytes),
    File(BodyFile),
    /// Not all of them; in memory alone.
    Parts(Parts),
}

impl Stored {
    /// Bytes of the whole representation.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.len,
            Self::Parts(parts) => parts.total(),
        }
    }
}

/// One stored response. Immutable: a validation makes a new one.
#[derive(Debug)]
pub struct Entry {
    pub vary: Vary,
    pub policy: Policy,
    pub status: StatusCode,
    /// As answered: `Age` and `Cache-Status` stand in it as placeholders, so that a hit's copy only
    /// overwrites them.
    pub headers: HeaderMap,
    /// `Cache-Status` as the upstream sent it.
    pub before: Option<Box<[u8]>>,
    pub body: Stored,
    /// Its `Date` in milliseconds since the epoch.
    made_ms: u64,
    /// The moment of [`Epochs`] at which its fill, or its read from disk, began.
    pub since: u64,
    refreshing_until: AtomicU64,
    /// The disk generation that it was last handed to; zero for none.
    generation: AtomicU64,
}

impl Entry {
    #[must_use]
    pub fn new(storable: Storable, status: StatusCode, body: Stored, since: u64) -> Self {
        Self::from_parts(storable.vary, storable.policy, status, storable.headers, body, since)
    }

    #[must_use]
    pub fn from_parts(
        vary: Vary,
        policy: Policy,
        status: StatusCode,
        mut headers: HeaderMap,
        body: Stored,
        since: u64,
    ) -> Self {
        let before = cache_status(&headers);
        let received_ms = policy.received_ms;
        let made_ms = freshness::date_ms(&headers, Times { sent_ms: received_ms, received_ms });
        headers.insert(header::AGE, HeaderValue::from_static("0"));
        headers.insert(CACHE_STATUS, HeaderValue::from_static(""));
        Self {
            vary,
            policy,
            status,
            headers,
            before,
            body,
            made_ms,
            since,
            refreshing_until: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        }
    }

    /// The same response with its bytes somewhere else.
    #[must_use]
    pub fn with_body(&self, body: Stored) -> Self {
        Self {
            vary: self.vary.clone(),
            policy: self.policy,
            status: self.status,
            headers: self.headers.clone(),
            before: self.before.clone(),
            body,
            made_ms: self.made_ms,
            since: self.since,
            refreshing_until: AtomicU64::new(0),
            generation: AtomicU64::new(self.generation.load(Ordering::Relaxed)),
        }
    }

    /// Its freshness ended at `at_ms`, if it did not end before: a soft purge. Windows for stale use begin
    /// there.
    pub fn soften(&mut self, at_ms: u64) {
        self.policy.lifetime_ms = self.policy.lifetime_ms.min(self.policy.age_ms(at_ms));
    }

    /// A copy that is softened.
    #[must_use]
    pub fn softened(&self, at_ms: u64) -> Self {
        let mut entry = self.with_body(self.body.clone());
        entry.soften(at_ms);
        entry
    }

    /// Notes the disk generation that it is in or on its way to.
    pub fn in_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// Whether it is on disk, but in an older generation than `current`.
    #[must_use]
    pub fn leaves_with(&self, current: u64) -> bool {
        let known = self.generation.load(Ordering::Relaxed);
        known != 0 && known < current
    }

    /// The fields as they were stored.
    #[must_use]
    pub fn fields(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.remove(header::AGE);
        headers.remove(CACHE_STATUS);
        if let Some(before) = self.before.as_deref().and_then(|b| HeaderValue::from_bytes(b).ok()) {
            headers.insert(CACHE_STATUS, before);
        }
        headers
    }

    /// True for one caller at a time: it is to refresh the response.
    #[must_use]
    pub fn claim_refresh(&self, now_ms: u64) -> bool {
        let until = self.refreshing_until.load(Ordering::Relaxed);
        let (next, order) = (now_ms + REFRESH_CLAIM_MS, Ordering::Relaxed);
        until <= now_ms && self.refreshing_until.compare_exchange(until, next, order, order).is_ok()
    }

    /// Bytes that it takes in memory, about.
    fn weight(&self) -> u64 {
        const PER_FIELD: usize = 80; // the map's bucket and index, the value's handle
        let fields = |(name, value): (&header::HeaderName, &HeaderValue)| {
            name.as_str().len() + value.len() + PER_FIELD
        };
        let headers: usize = self.headers.iter().map(fields).sum();
        let vary: usize =
            self.vary.fields().iter().map(|(_, v)| 64 + v.as_ref().map_or(0, |v| v.len())).sum();
        let body = match &self.body {
            Stored::Bytes(bytes) => bytes.len(),
            Stored::File(_) => 0,
            Stored::Parts(parts) => parts.size() as usize,
        };
        (size_of::<Self>() + headers + vary + self.before.as_ref().map_or(0, |b| b.len()) + body) as u64
    }
}

/// All lines as one list, when it is short enough to be kept.
fn cache_status(headers: &HeaderMap) -> Option<Box<[u8]>> {
    let lines: Vec<&[u8]> = headers.get_all(CACHE_STATUS).iter().map(HeaderValue::as_bytes).collect();
    let joined = lines.join(&b", "[..]);
    (!joined.is_empty() && joined.len() <= MAX_BEFORE).then(|| joined.into_boxed_slice())
}

/// The stored responses of one key. Those with a `Vary` stand before one without (RFC 9111, 4.1: an origin may
/// have forgotten it there), the most recent by their `Date` first (section 4).
#[derive(Debug)]
pub struct Resource {
    pub key: Box<[u8]>,
    pub place: u64,
    variants: SmallVec<[Arc<Entry>; 1]>,
    weight: u64,
    used: AtomicBool,
}

/// Why a resource has nothing for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unselected {
    /// It is another resource, or all of it was invalidated.
    Nothing,
    /// Its responses are for other values of the fields in `Vary`.
    Vary,
    /// It is not for callers with credentials.
    Credentials,
}

impl Resource {
    #[must_use]
    pub fn new(key: &Key, entry: &Arc<Entry>) -> Self {
        Self::of(key.as_bytes().into(), key.place, SmallVec::from_iter([Arc::clone(entry)]))
    }

    fn of(key: Box<[u8]>, place: u64, variants: SmallVec<[Arc<Entry>; 1]>) -> Self {
        const OWN: u64 = 160; // this, the table's slot, the count of the Arc
        let entries: u64 = variants.iter().map(|entry| entry.weight()).sum();
        let weight = OWN + key.len() as u64 + entries;
        Self { key, place, variants, weight, used: AtomicBool::new(false) }
    }

    /// The same with one more response, which takes the place of those that answer the same requests. One
    /// without `Vary` answers all, but for requests that a fresh response with `Vary` is for.
    #[must_use]
    pub fn with(&self, key: &Key, entry: &Arc<Entry>, epochs: &Epochs, largest: u64) -> Self {
        let mut variants = SmallVec::from_iter([Arc::clone(entry)]);
        if *self.key == *key.as_bytes() {
            let now_ms = entry.policy.received_ms;
            let stays = |old: &&Arc<Entry>| {
                old.vary != entry.vary && (!entry.vary.is_empty() || old.policy.ttl_ms(now_ms) > 0)
            };
            let others = self.variants.iter().filter(stays);
            variants.extend(others.filter(|old| epochs.valid(self.place, old.since)).cloned());
        }
        Self::within(key, variants, largest)
    }

    /// The responses read from disk for `key`, with those that memory already has: of the same kind, what
    /// is in memory is newer.
    #[must_use]
    pub fn merged(known: Option<&Self>, key: &Key, read: Vec<Entry>, epochs: &Epochs, largest: u64) -> Self {
        let mut variants: SmallVec<[Arc<Entry>; 1]> = match known {
            Some(known) if *known.key == *key.as_bytes() => {
                known.variants.iter().filter(|old| epochs.valid(key.place, old.since)).cloned().collect()
            }
            _ => SmallVec::new(),
        };
        for entry in read {
            if variants.iter().all(|known| known.vary != entry.vary) {
                variants.push(Arc::new(entry));
            }
        }
        variants.sort_by_key(|entry| std::cmp::Reverse(entry.policy.received_ms));
        Self::within(key, variants, largest)
    }

    /// As many of the first responses as the bounds allow, but always one.
    fn within(key: &Key, mut variants: SmallVec<[Arc<Entry>; 1]>, largest: u64) -> Self {
        let mut left = largest;
        let fits = variants.iter().take_while(|entry| {
            let weight = entry.weight();
            let fits = weight <= left;
            left = left.saturating_sub(weight);
            fits
        });
        let count = fits.count().clamp(1, MAX_VARIANTS);
        variants.truncate(count);
        variants.sort_by_key(|entry| (entry.vary.is_empty(), std::cmp::Reverse(entry.made_ms)));
        Self::of(key.as_bytes().into(), key.place, variants)
    }

    /// The same without one response; nothing when it was the last.
    #[must_use]
    pub fn without(&self, entry: &Arc<Entry>) -> Option<Self> {
        let variants: SmallVec<_> =
            self.variants.iter().filter(|old| !Arc::ptr_eq(old, entry)).cloned().collect();
        (!variants.is_empty()).then(|| Self::of(self.key.clone(), self.place, variants))
    }

    /// What a purge leaves of it, with the responses that it touched; nothing when it touched none.
    #[must_use]
    pub fn purged(&self, fate: impl Fn(&Entry) -> Fate) -> Option<(Option<Self>, Vec<Arc<Entry>>)> {
        let (mut left, mut touched) = (SmallVec::new(), Vec::new());
        for entry in &self.variants {
            match fate(entry) {
                Fate::Kept => {
                    left.push(Arc::clone(entry));
                    continue;
                }
                Fate::Stale(at_ms) => left.push(Arc::new(entry.softened(at_ms))),
                Fate::Gone => {}
            }
            touched.push(Arc::clone(entry));
        }
        let rest = || (!left.is_empty()).then(|| Self::of(self.key.clone(), self.place, left));
        (!touched.is_empty()).then(|| (rest(), touched))
    }

    /// The first response that may answer a request with these `headers`.
    pub fn select(
        &self,
        key: &Key,
        headers: &HeaderMap,
        only_shareable: bool,
        epochs: &Epochs,
    ) -> Result<&Arc<Entry>, Unselected> {
        if *self.key != *key.as_bytes() {
            return Err(Unselected::Nothing);
        }
        let mut reason = Unselected::Nothing;
        for entry in &self.variants {
            if !epochs.valid(self.place, entry.since) {
                continue;
            }
            if !entry.vary.matches(headers) {
                reason = Unselected::Vary;
            } else if only_shareable && !entry.policy.shareable {
                reason = Unselected::Credentials;
            } else {
                return Ok(entry);
            }
        }
        Err(reason)
    }

    #[must_use]
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Notes that it was asked for; writes only once, so that cores do not fight over it.
    pub fn touch(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was asked for since the last call.
    #[must_use]
    pub fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    #[must_use]
    pub fn variants(&self) -> &[Arc<Entry>] {
        &self.variants
    }
}
