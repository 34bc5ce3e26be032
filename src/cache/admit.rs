//! What the upstream answered, on its way into the store: new responses, validations, HEAD.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, Method, StatusCode, header};

use super::{
    Cache, CacheStats, Inner, conditional,
    control::{self, Asked, NoStore, Storable},
    date,
    entry::{Entry, Stored},
    fields,
    fill::Fill,
    freshness::{Times, single},
    hit::{Hit, HitBody, Origin},
    key::Key,
    lookup::Keyed,
    options::SetCookie,
    partial,
    request::CacheRequest,
};

/// A validation is written to disk only if what it renews lives longer than this: else a restart merely
/// validates once more, while a response that is validated at each use would be written at each use.
const WORTH_WRITING_MS: u64 = 30_000;

/// The moment at which a request was forwarded. Taken before it is sent and handed to [`Cache::admit`]:
/// what is invalidated in between is not stored.
#[derive(Clone, Copy, Debug)]
pub struct Moment(u64);

impl Cache {
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment(self.inner.epochs.now())
    }

    /// Whether the upstream's response may be stored, judged by its head. The caller reads its body
    /// through the [`Fill`]. A 206 is a part of a response to be completed. A HEAD's answer is not stored, but
    /// renews or outdates the GET's (RFC 9111, 4.3.5).
    pub fn admit(
        &self,
        request: &CacheRequest<'_>,
        status: StatusCode,
        headers: &HeaderMap,
        times: Times,
        moment: Moment,
    ) -> Result<Fill, NoStore> {
        let keyed = Keyed::of(request, self.inner.seed).map_err(|_| NoStore::Disabled)?;
        if request.method == Method::HEAD && request.options.enabled {
            self.inner.freshen_by_head(request, &keyed, status, headers, times);
            return Err(NoStore::Method);
        }
        let (status, headers, part) = match status {
            StatusCode::PARTIAL_CONTENT => {
                let (headers, part) = partial::as_whole(headers).ok_or(NoStore::Status)?;
                (StatusCode::OK, Cow::Owned(headers), Some(part))
            }
            _ => (status, Cow::Borrowed(headers), None),
        };
        let storable = match control::storable(&request.asked(), status, &headers, times) {
            Ok(storable) => storable,
            Err(why) => {
                if why.outdates_stored() && speaks_of_resource(status) {
                    self.inner.forget(request, &keyed);
                }
                return Err(why);
            }
        };
        let key = match keyed.own {
            Some(own) if !storable.for_all => own,
            _ => keyed.shared,
        };
        let limit = self.inner.limit(request);
        let expected = part.map_or_else(|| content_length(&headers), |part| Some(part.end - part.start));
        if expected.is_some_and(|length| length > limit) {
            return Err(NoStore::TooLarge);
        }
        let fill = Fill::new(Arc::clone(&self.inner), key, storable, status, moment.0, expected, limit);
        Ok(part.into_iter().fold(fill, Fill::of_part))
    }

    /// The stored response after the upstream's 304 to its conditions: renewed fields and freshness, in
    /// the store and in the hit returned (RFC 9111, 4.3.4). Nothing when the 304 is about another
    /// response: then what was stored is gone and the request must be sent again without
    /// [`Hit::conditions`].
    #[must_use]
    pub fn refresh(
        &self,
        request: &CacheRequest<'_>,
        hit: Hit,
        headers: &HeaderMap,
        times: Times,
    ) -> Option<Hit> {
        let keyed = Keyed::of(request, self.inner.seed).ok()?;
        let key = keyed.own.filter(|_| hit.own).unwrap_or(keyed.shared);
        self.inner.refresh(request, &key, hit, headers, times)
    }
}

impl Inner {
    /// Bytes of the largest response that is stored for a request.
    pub(super) fn limit(&self, request: &CacheRequest<'_>) -> u64 {
        request.options.max_object_bytes.unwrap_or(u64::MAX).min(self.max_object_bytes)
    }

    fn refresh(
        &self,
        request: &CacheRequest<'_>,
        key: &Key,
        mut hit: Hit,
        new: &HeaderMap,
        times: Times,
    ) -> Option<Hit> {
        // Without an entity tag a 304 does not tell the client's copy from this one.
        let unclear = !new.contains_key(header::ETAG)
            && conditional::asks_for_others(request.headers, &hit.entry.headers);
        if unclear || !conditional::same_representation(&hit.entry.headers, new) {
            self.remove(key, &hit.entry);
            return None;
        }
        let entry = Arc::clone(&hit.entry);
        hit.origin = Origin::Validated(hit.why);
        hit.validated_by_origin = !new.contains_key(header::AGE);
        hit.now_ms = request.now_ms.max(times.received_ms);
        let body = match &hit.body {
            HitBody::Bytes(bytes) => Stored::Bytes(bytes.clone()),
            _ => hit.stored().clone(),
        };
        match renewed(request, &entry, new, times) {
            Ok(storable) => {
                let long = storable.policy.lifetime_ms >= WORTH_WRITING_MS;
                let next = Arc::new(Entry::new(storable, entry.status, body, hit.since));
                hit.entry = Arc::clone(&next);
                self.store(key, &next, long);
                CacheStats::add(&self.stats.refreshes);
            }
            Err(why) => {
                if why.outdates_stored() {
                    self.remove(key, &entry);
                }
                let headers = fields::updated(&entry.fields(), new, keeps_cookies(request));
                let mut policy = entry.policy;
                (policy.received_ms, policy.initial_age_ms) = (times.received_ms, 0);
                let storable = Storable { policy, vary: entry.vary.clone(), headers, for_all: false };
                hit.entry = Arc::new(Entry::new(storable, entry.status, body, entry.since));
            }
        }
        Some(hit)
    }

    /// RFC 9111, 4.3.5: a HEAD's 200 about the same representation renews the stored GET, one about
    /// another outdates it.
    fn freshen_by_head(
        &self,
        request: &CacheRequest<'_>,
        keyed: &Keyed,
        status: StatusCode,
        new: &HeaderMap,
        times: Times,
    ) {
        if status != StatusCode::OK {
            return;
        }
        let since = self.epochs.now();
        for key in keyed.own.iter().chain([&keyed.shared]) {
            let Some(resource) = self.memory.get(key) else { continue };
            let Ok(entry) = resource.select(key, request.headers, false, &self.epochs) else { continue };
            let length = single(new, &header::CONTENT_LENGTH);
            let same_length = length.is_none() || content_length(new) == Some(entry.body.size());
            if !same_length || !conditional::same_for_head(&entry.headers, new) {
                self.remove(key, entry);
            } else if let Ok(storable) = renewed(request, entry, new, times) {
                let next = Entry::new(storable, entry.status, entry.body.clone(), since);
                self.store(key, &Arc::new(next), false);
            }
            return;
        }
    }

    /// What is stored for the request no longer counts: the upstream's newer answer may not be stored.
    fn forget(&self, request: &CacheRequest<'_>, keyed: &Keyed) {
        for key in keyed.own.iter().chain([&keyed.shared]) {
            self.forget_parts(key);
            let Some(resource) = self.memory.get(key) else { continue };
            if let Ok(entry) = resource.select(key, request.headers, false, &self.epochs) {
                self.remove(key, entry);
            }
        }
    }

    fn remove(&self, key: &Key, entry: &Arc<Entry>) {
        self.memory.remove(key, entry);
        if let Some(disk) = &self.disk {
            disk.remove_entry(key, &entry.vary);
        }
    }
}

/// The stored response's fields and policy, brought up to date by a head that is about it.
pub(super) fn renewed(
    request: &CacheRequest<'_>,
    entry: &Entry,
    new: &HeaderMap,
    times: Times,
) -> Result<Storable, NoStore> {
    let mut headers = fields::updated(&entry.fields(), new, keeps_cookies(request));
    // Not stored, but part of the arithmetic.
    for age in new.get_all(header::AGE) {
        headers.append(header::AGE, age.clone());
    }
    if !new.contains_key(header::DATE) {
        headers.insert(header::DATE, date::format(times.received_ms));
    }
    let asked = Asked { method: &Method::GET, ..request.asked() };
    let mut storable = control::storable(&asked, entry.status, &headers, times)?;
    // A validation may come for a request that the stored response's `Vary` was not computed for.
    storable.vary = if storable.vary.same_names(&entry.vary) { entry.vary.clone() } else { storable.vary };
    Ok(storable)
}

fn keeps_cookies(request: &CacheRequest<'_>) -> bool {
    request.options.set_cookie == SetCookie::Keep
}

/// Whether a status says what the resource is now. A failure, or a refusal of this request, says nothing of
/// what others may get, and must not cost them what is stored.
fn speaks_of_resource(status: StatusCode) -> bool {
    status.is_success()
        || status.is_redirection()
        || matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    std::str::from_utf8(single(headers, &header::CONTENT_LENGTH)?).ok()?.parse().ok()
}
