//! Incomplete responses: parts that came as 206, served where they suffice and completed where they do not
//! (RFC 9111, 3.3 and 3.4).
//!
//! They lie in memory alone, under keys of their own beside those of complete responses, so that nothing
//! that looks for a complete one meets them. One that is no longer fresh counts as absent: it is neither
//! validated nor served stale. Parts are combined, and what is missing is asked for, only under the same
//! strong validator.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame};

use super::{
    Cache, CacheStats, Flight, Inner, Times,
    admit::{content_length, renewed},
    arrival::Arrival,
    conditional::strong_validator,
    control::{self, Reuse, Storable, Validate},
    directives::RequestDirectives,
    entry::{Entry, Stored},
    fields,
    fill::Fill,
    hit::{Hit, HitBody, Origin},
    key::Key,
    lookup::{Keyed, Spot},
    parts::Parts,
    range::{self, Extent, Wanted},
    request::{CacheRequest, Lookup, Miss},
};
use crate::exchange::{Body, BoxError, StreamBody};

/// A request of which a part of the answer is stored; the upstream is to be asked for the rest.
#[derive(Debug)]
pub struct Mend {
    entry: Arc<Entry>,
    spot: Spot,
    /// Of the whole: from where to before where.
    start: u64,
    end: u64,
    before: Bytes,
    after: Bytes,
    validator: HeaderValue,
}

/// What the upstream's answer to [`Mend::fields`] is.
pub enum Mended {
    /// The rest.
    Rest(Box<Rest>),
    /// An answer of its own, to be handled as any other.
    Own,
    /// Not what was asked for: to be asked again without [`Mend::fields`].
    Again,
}

/// The missing part, and what it is put between.
pub struct Rest {
    fill: Fill,
    entry: Arc<Entry>,
    mend: Mend,
}

impl Mend {
    /// The fields that ask for what is missing, in place of the client's own `Range` and `If-Range`.
    #[must_use]
    pub fn fields(&self) -> [(HeaderName, HeaderValue); 2] {
        let Extent { start, end, total } = self.gap();
        let last = if end == total { String::new() } else { (end - 1).to_string() };
        let range = HeaderValue::try_from(format!("bytes={start}-{last}"));
        let range = range.expect("invariant: digits and ASCII words");
        [(header::RANGE, range), (header::IF_RANGE, self.validator.clone())]
    }

    fn gap(&self) -> Extent {
        let start = self.start + self.before.len() as u64;
        let end = self.end - self.after.len() as u64;
        Extent { start, end, total: self.entry.body.size() }
    }
}

impl Rest {
    /// Others wait for the answer; see [`Fill::lead`].
    pub fn lead(&mut self, flight: Flight) {
        self.fill.lead(flight);
    }

    /// See [`Fill::is_reusable`].
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.fill.is_reusable()
    }

    /// The answer: what was there, with the upstream's part between.
    #[must_use]
    pub fn respond(self, request: &CacheRequest<'_>, body: StreamBody) -> Response<Body> {
        let Self { fill, entry, mend } = self;
        let Extent { start, end, .. } = mend.gap();
        let joined =
            Joined { before: mend.before, missing: Some(body), left: end - start, after: mend.after };
        let body = Arrival::begin(fill, Box::pin(joined), mend.start);
        let Spot { own, since, key } = mend.spot;
        let now_ms = request.now_ms.max(entry.policy.received_ms);
        let (nothing, why, validated_by_origin) = (HitBody::Exact(Bytes::new()), Validate::Stale, false);
        let origin = Origin::Mended;
        let hit = Hit { entry, own, key, body: nothing, origin, why, now_ms, validated_by_origin, since };
        hit.respond_with(request, Some(body))
    }
}

impl Cache {
    /// What the upstream's answer to a request with [`Mend::fields`] is. What is stored goes when the answer
    /// says that it is of another representation.
    #[must_use]
    pub fn mend(
        &self,
        request: &CacheRequest<'_>,
        mend: Mend,
        status: StatusCode,
        headers: &HeaderMap,
        times: Times,
    ) -> Mended {
        let Ok(keyed) = Keyed::of(request, self.inner.seed) else { return Mended::Own };
        let key = keyed.own.filter(|_| mend.spot.own).unwrap_or(keyed.shared);
        if status == StatusCode::PARTIAL_CONTENT
            && let Some(rest) = self.inner.rest(request, &key, mend, headers, times)
        {
            return Mended::Rest(Box::new(rest));
        }
        let outdated = matches!(status.as_u16(), 200 | 206 | 304 | 416);
        if outdated {
            self.inner.forget_parts(&key);
        }
        if outdated && status != StatusCode::OK { Mended::Again } else { Mended::Own }
    }
}

impl Inner {
    /// What is known of the whole is newer than its parts.
    pub(super) fn forget_parts(&self, key: &Key) {
        if self.has_parts.load(Ordering::Relaxed) {
            self.memory.forget(&key.of_parts(self.seed));
        }
    }

    /// What stored parts can do for a request that found nothing else.
    pub(super) fn in_parts(&self, request: &CacheRequest<'_>, keyed: &Keyed, miss: Miss) -> Lookup {
        if request.method != Method::GET || !self.has_parts.load(Ordering::Relaxed) {
            return Lookup::Miss(miss);
        }
        let since = self.epochs.now();
        for (key, own) in keyed.stores() {
            let spot = Spot { own, since, key: key.name(self.seed) };
            let key = key.of_parts(self.seed);
            let Some(resource) = self.memory.get(&key) else { continue };
            let selected =
                resource.select(&key, request.headers, keyed.only_shareable(own), &self.epochs).ok();
            let Some(entry) = selected else { continue };
            let asked = RequestDirectives::parse(request.headers);
            if control::reuse(&entry.policy, &asked, request.options, request.now_ms) == Reuse::Fresh {
                return self.of_parts(request, entry, spot);
            }
        }
        Lookup::Miss(miss)
    }

    fn of_parts(&self, request: &CacheRequest<'_>, entry: &Arc<Entry>, spot: Spot) -> Lookup {
        let (Stored::Parts(parts), incomplete) = (&entry.body, Lookup::Miss(Miss::Partial)) else {
            return Lookup::Miss(Miss::Uri);
        };
        let ranged = request.headers.contains_key(header::RANGE);
        let now_ms = request.now_ms;
        let (start, end) = match range::wanted(request.headers, &entry.headers, parts.total(), now_ms) {
            Wanted::Part(start, end) => (start, end),
            Wanted::Whole if !ranged => (0, parts.total()),
            Wanted::Whole | Wanted::Unsatisfiable => return incomplete,
        };
        let entry = Arc::clone(entry);
        // Only a request for a part may be answered with what is not complete (RFC 9111, 3.3).
        if let Some(bytes) = parts.slice(start, end).filter(|_| ranged) {
            let (body, origin, why) = (HitBody::Exact(bytes), Origin::Memory, Validate::Stale);
            let (Spot { own, since, key }, validated_by_origin) = (spot, false);
            let hit = Hit { entry, own, key, body, origin, why, now_ms, validated_by_origin, since };
            return Lookup::Fresh(hit);
        }
        let conditional = request.headers.contains_key(header::IF_NONE_MATCH)
            || request.headers.contains_key(header::IF_MODIFIED_SINCE);
        let (before, after) = parts.around(start, end);
        match strong_validator(&entry.headers, now_ms) {
            Some(validator) if !conditional && end - start <= self.limit(request) => {
                Lookup::Partial(Box::new(Mend { entry, spot, start, end, before, after, validator }))
            }
            _ => incomplete,
        }
    }

    /// What a 206 to [`Mend::fields`] brings, if it fits.
    fn rest(
        self: &Arc<Self>,
        request: &CacheRequest<'_>,
        key: &Key,
        mend: Mend,
        headers: &HeaderMap,
        times: Times,
    ) -> Option<Rest> {
        let gap = mend.gap();
        let fits = range::content_range(headers) == Some(gap)
            && content_length(headers).is_none_or(|length| length == gap.end - gap.start)
            && strong_validator(headers, times.received_ms).as_ref() == Some(&mend.validator);
        if !fits {
            return None;
        }
        let storable = renewed(request, &mend.entry, headers, times).ok()?;
        let body = mend.entry.body.clone();
        let entry = Arc::new(Entry::new(storable.clone(), StatusCode::OK, body, mend.spot.since));
        let fill = Fill::new(
            Arc::clone(self),
            key.clone(),
            storable,
            StatusCode::OK,
            mend.spot.since,
            Some(mend.end - mend.start),
            self.limit(request),
        );
        let wanted = Extent { start: mend.start, end: mend.end, total: gap.total };
        Some(Rest { fill: fill.of_part(wanted), entry, mend })
    }

    /// Keeps a part, together with those that are there; what is complete then is stored as such.
    pub(super) fn store_part(
        &self,
        key: &Key,
        mut storable: Storable,
        extent: Extent,
        bytes: Bytes,
        since: u64,
    ) -> bool {
        self.has_parts.store(true, Ordering::Relaxed);
        let parts_key = key.of_parts(self.seed);
        let known = self.memory.get(&parts_key);
        let known =
            known.as_ref().and_then(|known| known.variants().iter().find(|it| it.vary == storable.vary));
        let known = known.filter(|known| self.epochs.valid(key.place, known.since));
        let mut parts = Parts::new(extent.total, extent.start, bytes.clone());
        if let Some((entry, known)) = known.and_then(|known| same_parts(known, &storable, extent.total)) {
            storable.headers = fields::updated(&entry.fields(), &storable.headers, true);
            parts = known.with(extent.start, &bytes);
        }
        if let Some(whole) = parts.whole() {
            let entry = Entry::new(storable, StatusCode::OK, Stored::Bytes(whole), since);
            return self.store(key, &Arc::new(entry), true);
        }
        let mut entry = Arc::new(Entry::new(storable, StatusCode::OK, Stored::Parts(parts), since));
        if !self.memory.insert(&parts_key, &entry, &self.epochs) {
            // The others are too many with it.
            let alone = Parts::new(extent.total, extent.start, bytes);
            entry = Arc::new(entry.with_body(Stored::Parts(alone)));
            if !self.memory.insert(&parts_key, &entry, &self.epochs) {
                CacheStats::add(&self.stats.abandoned);
                return false;
            }
        }
        let unbroken = self.epochs.unbroken(key.place, since);
        if !unbroken {
            self.memory.remove(&parts_key, &entry);
        }
        CacheStats::add(if unbroken { &self.stats.stores } else { &self.stats.abandoned });
        unbroken
    }
}

/// The known parts, when the new one is of the same representation (RFC 9110, 15.3.7.3).
fn same_parts<'a>(known: &'a Arc<Entry>, new: &Storable, total: u64) -> Option<(&'a Arc<Entry>, &'a Parts)> {
    let Stored::Parts(parts) = &known.body else { return None };
    let validator = |headers| strong_validator(headers, new.policy.received_ms);
    let same = parts.total() == total && validator(&known.headers)? == validator(&new.headers)?;
    same.then_some((known, parts))
}

/// The head of a 206 as that of the whole that it is a part of, and which part; none when it does not say.
pub(super) fn as_whole(headers: &HeaderMap) -> Option<(HeaderMap, Extent)> {
    let extent = range::content_range(headers)?;
    if content_length(headers).is_some_and(|length| length != extent.end - extent.start) {
        return None;
    }
    let mut headers = headers.clone();
    headers.remove(header::CONTENT_RANGE);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(extent.total));
    Some((headers, extent))
}

/// Stored bytes with the upstream's between; an error if those are not as many as are missing.
struct Joined {
    before: Bytes,
    missing: Option<StreamBody>,
    left: u64,
    after: Bytes,
}

impl HttpBody for Joined {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.before.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.before)))));
        }
        while let Some(missing) = &mut self.missing {
            let frame = ready!(missing.as_mut().poll_frame(cx)?);
            // Trailers are those of the part.
            let Some(data) = frame.map(Frame::into_data) else {
                self.missing = None;
                break;
            };
            if let Ok(data) = data {
                let Some(left) = self.left.checked_sub(data.len() as u64) else {
                    return Poll::Ready(Some(Err("the part is longer than its head says".into())));
                };
                self.left = left;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
        if self.left > 0 {
            return Poll::Ready(Some(Err("the part is shorter than its head says".into())));
        }
        let after = std::mem::take(&mut self.after);
        Poll::Ready((!after.is_empty()).then(|| Ok(Frame::data(after))))
    }

    fn is_end_stream(&self) -> bool {
        let missing = self.missing.as_ref().is_some_and(|missing| !missing.is_end_stream());
        self.before.is_empty() && self.after.is_empty() && !missing && self.left == 0
    }
}

#[cfg(test)]
mod tests;
