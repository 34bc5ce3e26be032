//! A stored response on its way to the client (RFC 9111, 4; RFC 9110, 13 to 15).
//!
//! Owns the making of the answer: `Age`, `Cache-Status`, 304, single ranges, HEAD. Whether it may be
//! used was decided before.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use smallvec::SmallVec;

use crate::exchange::Body;

use super::{
    arrival::Reader,
    conditional,
    control::Validate,
    directives::RequestDirectives,
    disk::OpenBody,
    entry::{Entry, Stored},
    key::Name,
    range::{self, Wanted},
    request::CacheRequest,
    status::{self, CACHE_STATUS, Forwarded, Whence},
};

/// Fields that describe a body and do not stand in a 304 (RFC 9110, 15.4.5).
const NOT_IN_304: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_RANGE,
];

/// How a stored response came to be the answer; shown in `Cache-Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Memory,
    Disk,
    /// Stale, as the request or `stale-while-revalidate` allows.
    Stale,
    /// Stale, after the upstream failed.
    Error,
    /// The upstream has just validated it.
    Validated(Validate),
    /// From another request's fetch, which this one waited for.
    Collapsed(Forwarded),
    /// In part; the upstream has just sent the rest.
    Mended,
}

/// The bytes of a hit.
#[derive(Debug)]
pub(super) enum HitBody {
    Bytes(Bytes),
    File(OpenBody),
    Arriving(Reader),
    /// Just what is asked for.
    Exact(Bytes),
}

/// A stored response that was found for a request.
#[derive(Debug)]
pub struct Hit {
    pub(super) entry: Arc<Entry>,
    /// Whether it lies in the principal's own store.
    pub(super) own: bool,
    pub(super) key: Name,
    pub(super) body: HitBody,
    pub(super) origin: Origin,
    pub(super) why: Validate,
    pub(super) now_ms: u64,
    /// The origin itself has just said that it is good, not a cache before it.
    pub(super) validated_by_origin: bool,
    /// The moment of its look-up.
    pub(super) since: u64,
}

impl Hit {
    /// Seconds since the upstream made or validated it.
    #[must_use]
    pub fn age_s(&self) -> u64 {
        self.entry.policy.age_ms(self.now_ms) / 1000
    }

    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.entry.status
    }

    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether a validation makes it fresh again, so that others do well to wait for it.
    #[must_use]
    pub fn is_renewable(&self) -> bool {
        self.entry.policy.lifetime_ms > 0 && !self.entry.policy.always_validate
    }

    /// Whether it answers others as it is.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.entry.policy.ttl_ms(self.now_ms) > 0 && !self.entry.policy.always_validate
    }

    /// The fields that validate it, to be put in place of the client's own `If-None-Match` and
    /// `If-Modified-Since` in the request to the upstream (RFC 9111, 4.3.1); none when it has no
    /// validator: then the request goes out as the client made it.
    #[must_use]
    pub fn conditions(&self, request: &HeaderMap) -> SmallVec<[(HeaderName, HeaderValue); 2]> {
        conditional::validators(request, &self.entry.headers)
    }

    /// Whether [`Self::conditions`] are all that the upstream is asked, so that its 304 is about this alone.
    #[must_use]
    pub fn replaces_conditions(&self, request: &HeaderMap) -> bool {
        let stored = &self.entry.headers;
        conditional::has_validator(stored) && !conditional::asks_for_others(request, stored)
    }

    /// Whether the upstream's 304 is for the client's own copy, not for this: it was not asked about this, or
    /// it names an entity tag of the client's.
    #[must_use]
    pub fn leaves_to_client(&self, request: &HeaderMap, new: &HeaderMap) -> bool {
        let stored = &self.entry.headers;
        let others = || conditional::asks_for_others(request, stored);
        let named =
            || new.get(header::ETAG).is_some_and(|etag| conditional::client_lists(request, Some(etag)));
        !conditional::has_validator(stored) || (others() && named())
    }

    /// The hit once more, to stand in for an upstream that failed (no connection, a timeout, or a 500, 502,
    /// 503 or 504), if it may (RFC 5861, 4); else as it was.
    pub fn on_error(self, request: &CacheRequest<'_>) -> Result<Self, Self> {
        let asked = RequestDirectives::parse(request.headers);
        match self.entry.policy.usable_on_error(&asked, request.options, request.now_ms) {
            true => Ok(Self { origin: Origin::Error, ..self }),
            false => Err(self),
        }
    }

    /// The answer to `request`: 304 if its conditions say so, 206 for a single range, without a body for
    /// HEAD.
    #[must_use]
    pub fn respond(self, request: &CacheRequest<'_>) -> Response<Body> {
        self.respond_with(request, None)
    }

    /// The same, where just the bytes that are asked for come from elsewhere.
    pub(super) fn respond_with(self, request: &CacheRequest<'_>, exact: Option<Body>) -> Response<Body> {
        let mut headers = self.entry.headers.clone();
        if self.validated_by_origin {
            // RFC 9111, 5.1: `Age` says that the origin did not validate it for this request.
            headers.remove(header::AGE);
        } else {
            headers.insert(header::AGE, HeaderValue::from(self.age_s()));
        }
        headers.insert(CACHE_STATUS, self.cache_status());
        if self.entry.status.is_success()
            && conditional::not_modified(request.headers, &self.entry.headers, self.entry.policy.received_ms)
        {
            for name in &NOT_IN_304 {
                headers.remove(name);
            }
            return response(StatusCode::NOT_MODIFIED, headers, Body::Empty);
        }
        let length = self.length();
        if request.method == Method::HEAD {
            if let Some(length) = length.filter(|_| self.entry.status != StatusCode::NO_CONTENT) {
                headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
            }
            return response(self.entry.status, headers, Body::Empty);
        }
        // Where the length is not known yet, a range is answered with the whole (RFC 9110, 14.2).
        let may_be_part = self.entry.status == StatusCode::OK && request.headers.contains_key(header::RANGE);
        let length = length.filter(|_| may_be_part);
        let wanted = match length {
            Some(length) => range::wanted(request.headers, &self.entry.headers, length, self.now_ms),
            None => Wanted::Whole,
        };
        let length = length.unwrap_or_default();
        match wanted {
            Wanted::Whole => response(self.entry.status, headers, exact.unwrap_or_else(|| self.body.whole())),
            Wanted::Part(start, end) => {
                headers.insert(header::CONTENT_RANGE, text(format!("bytes {start}-{}/{length}", end - 1)));
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
                let body = exact.unwrap_or_else(|| self.body.part(start, end));
                response(StatusCode::PARTIAL_CONTENT, headers, body)
            }
            Wanted::Unsatisfiable => {
                for name in &NOT_IN_304 {
                    headers.remove(name);
                }
                headers.insert(header::CONTENT_RANGE, text(format!("bytes */{length}")));
                response(StatusCode::RANGE_NOT_SATISFIABLE, headers, Body::Empty)
            }
        }
    }

    /// Bytes of the whole, where that is known.
    fn length(&self) -> Option<u64> {
        match &self.body {
            HitBody::Arriving(reader) => reader.total(),
            HitBody::Bytes(_) | HitBody::File(_) | HitBody::Exact(_) => Some(self.entry.body.size()),
        }
    }

    fn cache_status(&self) -> HeaderValue {
        let ttl = self.entry.policy.ttl_ms(self.now_ms).div_euclid(1000);
        let whence = Whence { before: self.entry.before.as_deref(), key: self.key };
        match self.origin {
            Origin::Memory => status::hit(whence, ttl, None),
            Origin::Disk => status::hit(whence, ttl, Some("disk")),
            Origin::Stale => status::hit(whence, ttl, Some("stale")),
            Origin::Error => status::stood_in(whence, self.why, ttl),
            Origin::Validated(why) => status::validated(whence, why, ttl),
            Origin::Mended => status::mended(whence, ttl),
            Origin::Collapsed(why) => status::collapsed(whence, why, self.entry.status),
        }
    }

    /// The stored fields, for what is merged with them.
    pub(super) fn stored(&self) -> &Stored {
        &self.entry.body
    }
}

impl HitBody {
    fn whole(self) -> Body {
        match self {
            Self::Bytes(bytes) | Self::Exact(bytes) => Body::from(bytes),
            Self::File(open) => open.stream(0, u64::MAX),
            Self::Arriving(reader) => Body::Stream(Box::pin(reader)),
        }
    }

    fn part(self, start: u64, end: u64) -> Body {
        match self {
            // The range was cut to the length, and bytes in memory are shorter than `usize`.
            Self::Bytes(bytes) => Body::from(bytes.slice(start as usize..end as usize)),
            Self::File(open) => open.stream(start, end),
            Self::Arriving(reader) => Body::Stream(Box::pin(reader.part(start, end))),
            Self::Exact(bytes) => Body::from(bytes),
        }
    }
}

fn response(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("invariant: digits and ASCII words")
}
