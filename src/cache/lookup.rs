//! The look-up: memory at once, disk with a deadline (RFC 9111, 4).

use std::sync::Arc;

use http::{Method, header};

use super::{
    Cache, CacheStats, Inner,
    control::{self, Caller, Reuse, Validate},
    directives::RequestDirectives,
    disk::{Late, OpenBody, Presence},
    entry::{Entry, Resource, Stored, Unselected},
    hit::{Hit, HitBody, Origin},
    key::{Key, Name},
    options::RequestDirectiveMode,
    purge::{Facts, Fate},
    request::{Bypass, CacheRequest, Lookup, Miss},
};

/// A request with its keys.
pub(super) struct Keyed {
    pub(super) shared: Key,
    /// The principal's own store, asked first.
    pub(super) own: Option<Key>,
    pub(super) caller: Caller,
}

impl Keyed {
    pub(super) fn of(request: &CacheRequest<'_>, seed: u64) -> Result<Self, Bypass> {
        let shared = Key::shared(request, seed)?;
        let caller = request.caller();
        let own = match (caller, request.partition) {
            (Caller::Principal, Some(principal)) => Some(shared.of_principal(principal, seed)),
            _ => None,
        };
        Ok(Self { shared, own, caller })
    }

    /// The stores that may answer, and whether each is the principal's own.
    pub(super) fn stores(&self) -> impl Iterator<Item = (&Key, bool)> {
        self.own.iter().map(|key| (key, true)).chain(std::iter::once((&self.shared, false)))
    }

    /// The name of the store asked first.
    fn name(&self, seed: u64) -> Name {
        self.own.as_ref().unwrap_or(&self.shared).name(seed)
    }

    /// Whether only responses that say so may come from a store.
    pub(super) fn only_shareable(&self, own: bool) -> bool {
        !own && self.caller != Caller::Anyone
    }
}

/// What a look-up came to, with the keys that its turn is taken by.
pub struct Looked {
    pub found: Lookup,
    /// Of the key, where the upstream is needed.
    pub key: Option<Name>,
    pub(super) keyed: Option<Keyed>,
}

impl Looked {
    /// Nothing was asked.
    #[must_use]
    pub fn past(request: &CacheRequest<'_>, why: Bypass) -> Self {
        let offline = request.options.offline && why != Bypass::Disabled;
        let found = if offline { Lookup::NotCached } else { Lookup::Bypass(why) };
        Self { found, key: None, keyed: None }
    }
}

/// Where a stored response was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// Whether that is the principal's own store.
    pub(super) own: bool,
    /// The moment of its look-up.
    pub(super) since: u64,
    pub(super) key: Name,
}

impl Cache {
    /// What is stored for `request`. A hit in memory is there at once: the future is ready when first
    /// polled and nothing was allocated. Only where the disk may know more does it wait, and never
    /// longer than the disk tier's deadline.
    pub async fn lookup(&self, request: &CacheRequest<'_>) -> Lookup {
        self.look(request).await.found
    }

    /// The same for a request that will ask for its [`Self::turn`].
    pub async fn look(&self, request: &CacheRequest<'_>) -> Looked {
        let looked = self.look_again(request).await;
        self.inner.count(&looked.found);
        looked
    }

    /// The same, uncounted: for a request that was counted before.
    pub(super) async fn look_again(&self, request: &CacheRequest<'_>) -> Looked {
        let asked = RequestDirectives::parse(request.headers);
        let keyed = match bypass(request).map_or_else(|| Keyed::of(request, self.inner.seed), Err) {
            Ok(keyed) => keyed,
            Err(bypass) => return Looked::past(request, bypass),
        };
        let found = match self.inner.in_memory(request, &keyed, &asked) {
            Found::Lookup(found) => found,
            // Boxed, so that the future of a hit stays small.
            found => Box::pin(self.inner.on_disk(request, &keyed, &asked, found)).await,
        };
        let found = match found {
            Lookup::Fresh(_) => return Looked { found, key: None, keyed: None },
            Lookup::Miss(miss) => self.inner.in_parts(request, &keyed, miss),
            found => found,
        };
        let key = Some(keyed.name(self.inner.seed));
        Looked { found: kept_from_upstream(found, request, &asked), key, keyed: Some(keyed) }
    }
}

/// What memory says.
enum Found {
    Lookup(Lookup),
    /// The response is known, its bytes lie in a file.
    File(bool, Arc<Entry>),
    /// Memory has nothing, the disk may.
    Disk(Miss),
}

impl Inner {
    fn in_memory(&self, request: &CacheRequest<'_>, keyed: &Keyed, asked: &RequestDirectives) -> Found {
        let mut miss = Miss::Uri;
        let since = self.epochs.now();
        for (key, own) in keyed.stores() {
            let Some(resource) = self.memory.get(key) else { continue };
            match resource.select(key, request.headers, keyed.only_shareable(own), &self.epochs) {
                Ok(entry) => {
                    self.keep_on_disk(key, entry);
                    return match &entry.body {
                        Stored::Bytes(bytes) => {
                            let body = HitBody::Bytes(bytes.clone());
                            let spot = Spot { own, since, key: key.name(self.seed) };
                            Found::Lookup(self.decide(request, asked, spot, entry, body, Origin::Memory))
                        }
                        Stored::File(_) | Stored::Parts(_) => Found::File(own, Arc::clone(entry)),
                    };
                }
                Err(Unselected::Nothing) => {}
                Err(Unselected::Vary) => miss = Miss::Vary,
                Err(Unselected::Credentials) => miss = Miss::Credentials,
            }
        }
        let Some(disk) = &self.disk else { return Found::Lookup(Lookup::Miss(miss)) };
        let presence = keyed.stores().map(|(key, _)| disk.presence(key)).max().unwrap_or(Presence::Absent);
        match presence {
            Presence::Absent => Found::Lookup(Lookup::Miss(miss)),
            Presence::NotReady => Found::Lookup(Lookup::Miss(Miss::DiskClosed)),
            Presence::Possible => Found::Disk(miss),
        }
    }

    async fn on_disk(
        &self,
        request: &CacheRequest<'_>,
        keyed: &Keyed,
        asked: &RequestDirectives,
        found: Found,
    ) -> Lookup {
        let since = self.epochs.now();
        let (mut miss, known) = match found {
            Found::Lookup(lookup) => return lookup,
            Found::File(own, entry) => (Miss::Uri, Some((own, entry))),
            Found::Disk(miss) => (miss, None),
        };
        if let Some((own, entry)) = known {
            let key = keyed.own.as_ref().filter(|_| own).unwrap_or(&keyed.shared);
            let spot = Spot { own, since, key: key.name(self.seed) };
            return match self.open(key, &entry).await {
                Some((entry, body)) => self.decide(request, asked, spot, &entry, body, Origin::Disk),
                None => Lookup::Miss(Miss::Disk),
            };
        }
        for (key, own) in keyed.stores() {
            let Ok(resource) = self.read(key).await else {
                miss = Miss::Disk;
                continue;
            };
            let Some(resource) = resource else { continue };
            match resource.select(key, request.headers, keyed.only_shareable(own), &self.epochs) {
                Ok(entry) => match self.open(key, entry).await {
                    Some((entry, body)) => {
                        let spot = Spot { own, since, key: key.name(self.seed) };
                        return self.decide(request, asked, spot, &entry, body, Origin::Disk);
                    }
                    None => miss = Miss::Disk,
                },
                Err(Unselected::Nothing) => {}
                Err(Unselected::Vary) => miss = Miss::Vary,
                Err(Unselected::Credentials) => miss = Miss::Credentials,
            }
        }
        Lookup::Miss(miss)
    }

    /// All stored responses of `key`, brought from disk into memory.
    async fn read(&self, key: &Key) -> Result<Option<Arc<Resource>>, ()> {
        let Some(disk) = &self.disk else { return Ok(None) };
        if disk.presence(key) == Presence::Absent {
            return Ok(None);
        }
        let since = self.epochs.now();
        let entries = disk.read(key, since).await.map_err(|_| ())?;
        if entries.is_empty() {
            return Ok(None);
        }
        Ok(self.memory.merge(key, entries, &self.epochs))
    }

    /// The bytes of a response; small ones that lay in a file are in memory from then on. A response
    /// whose file is gone or damaged is taken out.
    async fn open(&self, key: &Key, entry: &Arc<Entry>) -> Option<(Arc<Entry>, HitBody)> {
        let (file, disk) = match (&entry.body, &self.disk) {
            (Stored::Bytes(bytes), _) => return Some((Arc::clone(entry), HitBody::Bytes(bytes.clone()))),
            (Stored::File(file), Some(disk)) => (file, disk),
            (Stored::File(_), None) | (Stored::Parts(_), _) => return None,
        };
        match disk.open_body(file, self.memory.largest()).await {
            Ok(OpenBody::Whole(bytes)) => {
                let whole = Arc::new(entry.with_body(Stored::Bytes(bytes.clone())));
                self.memory.exchange(key, entry, &whole, &self.epochs);
                Some((whole, HitBody::Bytes(bytes)))
            }
            Ok(open) => Some((Arc::clone(entry), HitBody::File(open))),
            Err(late) => {
                if late != Late::Late {
                    self.memory.remove(key, entry);
                }
                if late == Late::Damaged {
                    disk.remove_entry(key, &entry.vary);
                }
                None
            }
        }
    }

    /// What memory answers is never read from disk: it is written once more before its generation goes.
    fn keep_on_disk(&self, key: &Key, entry: &Arc<Entry>) {
        let Some(disk) = self.disk.as_ref().filter(|disk| entry.leaves_with(disk.generation())) else {
            return;
        };
        let as_of = self.epochs.now();
        let fate = self.epochs.purges.fate(&Facts::new(key.as_bytes(), &entry.headers), entry.since);
        // Looked at once more, after that: a purge that is forgotten by now has taken it out of memory.
        let still = self.memory.get(key);
        let known = still.is_some_and(|resource| resource.variants().iter().any(|e| Arc::ptr_eq(e, entry)));
        if known && fate != Fate::Gone {
            disk.put(key, entry, as_of);
        }
    }

    /// How what was found may be used. Of too many requests for a new answer some are not heard.
    pub(super) fn decide(
        &self,
        request: &CacheRequest<'_>,
        asked: &RequestDirectives,
        Spot { own, since, key }: Spot,
        entry: &Arc<Entry>,
        body: HitBody,
        origin: Origin,
    ) -> Lookup {
        let (entry, now_ms) = (Arc::clone(entry), request.now_ms);
        let (why, validated_by_origin) = (Validate::Stale, false);
        let mut hit = Hit { entry, own, key, body, origin, why, now_ms, validated_by_origin, since };
        let reuse = |asked: &_| control::reuse(&hit.entry.policy, asked, request.options, now_ms);
        let mut reuse_now = reuse(asked);
        if reuse_now == Reuse::Validate(Validate::Request)
            && !self.reloads.take(key, now_ms, request.options.reload_limit)
        {
            reuse_now = reuse(&asked.patient());
        }
        match reuse_now {
            Reuse::Fresh => Lookup::Fresh(hit),
            Reuse::Stale => {
                hit.origin = Origin::Stale;
                Lookup::Fresh(hit)
            }
            Reuse::WhileRevalidating => {
                hit.origin = Origin::Stale;
                let claimed = hit.entry.claim_refresh(request.now_ms);
                Lookup::Revalidating(hit, claimed)
            }
            Reuse::Validate(why) => {
                hit.why = why;
                Lookup::Stale(hit, why)
            }
        }
    }

    fn count(&self, lookup: &Lookup) {
        let counter = match lookup {
            Lookup::Fresh(hit) | Lookup::Revalidating(hit, _) => match hit.origin {
                Origin::Disk => &self.stats.hits_disk,
                _ => &self.stats.hits_memory,
            },
            Lookup::Stale(..) => &self.stats.stale,
            Lookup::Miss(_) | Lookup::Partial(_) | Lookup::NotCached => &self.stats.misses,
            Lookup::Bypass(_) => &self.stats.bypasses,
        };
        CacheStats::add(counter);
    }
}

fn bypass(request: &CacheRequest<'_>) -> Option<Bypass> {
    if !request.options.enabled {
        Some(Bypass::Disabled)
    } else if request.method != Method::GET && request.method != Method::HEAD {
        Some(Bypass::Method)
    } else if control::has_body(request.headers) {
        Some(Bypass::RequestBody)
    } else if request.headers.contains_key(header::IF_MATCH)
        || request.headers.contains_key(header::IF_UNMODIFIED_SINCE)
    {
        Some(Bypass::Precondition)
    } else {
        None
    }
}

/// What must not be forwarded: a request that says so (RFC 9111, 5.2.1.7), and all of a route that is offline.
fn kept_from_upstream(lookup: Lookup, request: &CacheRequest<'_>, asked: &RequestDirectives) -> Lookup {
    let honoured = request.options.request_directives == RequestDirectiveMode::Honour;
    match lookup {
        Lookup::Miss(_) | Lookup::Partial(_) | Lookup::Stale(..)
            if request.options.offline || (asked.only_if_cached && honoured) =>
        {
            Lookup::NotCached
        }
        lookup => lookup,
    }
}
