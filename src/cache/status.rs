//! `Cache-Status` (RFC 9211).

use http::{HeaderValue, StatusCode};
use smallvec::SmallVec;

use super::{
    control::{NoStore, Validate},
    key::Name,
    request::{Bypass, Lookup, Miss},
};

/// The name of `Cache-Status`; the `http` crate has none for it.
pub const CACHE_STATUS: http::HeaderName = http::HeaderName::from_static("cache-status");

/// How this cache calls itself.
const NAME: &str = "gatewright";

/// Why a request was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    Miss(Miss),
    Validate(Validate),
    Bypass(Bypass),
}

impl Forwarded {
    /// The reason of RFC 9211, section 2.2, and a detail.
    fn words(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Miss(miss) => (miss.as_str(), None),
            Self::Validate(why) => (word(why), None),
            Self::Bypass(Bypass::Method) => ("method", None),
            Self::Bypass(bypass) => ("bypass", Some(bypass.as_str())),
        }
    }

    /// The reason that lies in a look-up which needs the upstream.
    #[must_use]
    pub fn of(lookup: &Lookup) -> Option<Self> {
        match lookup {
            Lookup::Miss(miss) => Some(Self::Miss(*miss)),
            Lookup::Partial(_) => Some(Self::Miss(Miss::Partial)),
            Lookup::Stale(_, why) => Some(Self::Validate(*why)),
            Lookup::Bypass(bypass) => Some(Self::Bypass(*bypass)),
            Lookup::Fresh(_) | Lookup::Revalidating(..) | Lookup::NotCached => None,
        }
    }
}

/// What the member of an answer from the store begins and ends with.
#[derive(Clone, Copy, Debug)]
pub struct Whence<'a> {
    /// What the upstream's own caches said.
    pub before: Option<&'a [u8]>,
    pub key: Name,
}

/// The member of a forwarded request: `gatewright; fwd=uri-miss; fwd-status=200; stored; key="…"`. `stored`
/// is what became of the response; `None` when there was no question of storing it.
#[must_use]
pub fn forwarded(
    why: Forwarded,
    status: StatusCode,
    stored: Option<Result<(), NoStore>>,
    waited: bool,
    key: Option<Name>,
) -> HeaderValue {
    let (why, bypass) = why.words();
    let mut member = Member::forwarded(None, why);
    member.detail(bypass);
    member.fwd_status(status);
    match stored {
        Some(Ok(())) => member.push("; stored"),
        // One member has one detail.
        Some(Err(reason)) if bypass.is_none() && !why.contains("detail=") => {
            member.detail(Some(reason.as_str()));
        }
        Some(Err(_)) | None => {}
    }
    if waited {
        // RFC 9211, 2.6: it waited for another request's answer, in vain.
        member.push("; collapsed=?0");
    }
    match key {
        Some(key) => member.end(key),
        None => member.value(),
    }
}

/// The member of an answer taken from another request's fetch: `gatewright; fwd=uri-miss; fwd-status=200;
/// collapsed; key="…"`.
#[must_use]
pub fn collapsed(whence: Whence<'_>, why: Forwarded, status: StatusCode) -> HeaderValue {
    let mut member = Member::forwarded(whence.before, why.words().0);
    member.fwd_status(status);
    member.push("; collapsed");
    member.end(whence.key)
}

/// The member of an answer from the store: `gatewright; hit; ttl=30; key="…"`. `detail` tells the tier or why
/// a stale answer was given.
#[must_use]
pub fn hit(whence: Whence<'_>, ttl_s: i64, detail: Option<&str>) -> HeaderValue {
    let mut member = Member::behind(whence.before);
    member.push("; hit");
    member.ttl(ttl_s);
    member.detail(detail);
    member.end(whence.key)
}

/// The member of a stored response that stands in for an upstream that failed: the request was forwarded, so
/// it is no hit (RFC 9211, 2.1).
#[must_use]
pub fn stood_in(whence: Whence<'_>, why: Validate, ttl_s: i64) -> HeaderValue {
    let mut member = Member::forwarded(whence.before, word(why));
    member.ttl(ttl_s);
    member.detail(Some("stale-if-error"));
    member.end(whence.key)
}

/// The member of a stored response that the upstream has just validated.
#[must_use]
pub fn validated(whence: Whence<'_>, why: Validate, ttl_s: i64) -> HeaderValue {
    let mut member = Member::forwarded(whence.before, word(why));
    member.fwd_status(StatusCode::NOT_MODIFIED);
    member.push("; stored");
    member.ttl(ttl_s);
    member.end(whence.key)
}

/// The member of a stored part that the upstream has just completed: `gatewright; fwd=partial;
/// fwd-status=206; stored; ttl=60; key="…"`.
#[must_use]
pub fn mended(whence: Whence<'_>, ttl_s: i64) -> HeaderValue {
    let mut member = Member::forwarded(whence.before, "partial");
    member.fwd_status(StatusCode::PARTIAL_CONTENT);
    member.push("; stored");
    member.ttl(ttl_s);
    member.end(whence.key)
}

/// The own member behind those of the upstream's caches, on the stack until it is done.
struct Member(SmallVec<[u8; 128]>);

impl Member {
    fn behind(before: Option<&[u8]>) -> Self {
        let mut text = SmallVec::new();
        if let Some(before) = before {
            text.extend_from_slice(before);
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(NAME.as_bytes());
        Self(text)
    }

    fn forwarded(before: Option<&[u8]>, why: &str) -> Self {
        let mut member = Self::behind(before);
        member.push("; fwd=");
        member.push(why);
        member
    }

    fn push(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn fwd_status(&mut self, status: StatusCode) {
        self.push("; fwd-status=");
        self.push(status.as_str());
    }

    fn ttl(&mut self, seconds: i64) {
        self.push("; ttl=");
        self.push(itoa::Buffer::new().format(seconds));
    }

    fn detail(&mut self, detail: Option<&str>) {
        if let Some(detail) = detail {
            self.push("; detail=");
            self.push(detail);
        }
    }

    /// The parameter that is on every member of a request with a key.
    fn end(mut self, Name(key): Name) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.push("; key=\"");
        self.0.extend((0..16).rev().map(|digit| DIGITS[(key >> (4 * digit)) as usize & 0xf]));
        self.push("\"");
        self.value()
    }

    fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).expect("invariant: made of header values and visible characters")
    }
}

fn word(why: Validate) -> &'static str {
    match why {
        Validate::Stale => "stale",
        Validate::Request => "request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Name = Name(0xdead_beef);
    const ALONE: Whence<'_> = Whence { before: None, key: KEY };

    fn behind(before: &[u8]) -> Whence<'_> {
        Whence { before: Some(before), key: KEY }
    }

    #[test]
    fn each_outcome_has_its_words() {
        let miss = Forwarded::Miss(Miss::Uri);
        assert_eq!(
            forwarded(miss, StatusCode::OK, Some(Ok(())), false, Some(KEY)),
            "gatewright; fwd=uri-miss; fwd-status=200; stored; key=\"00000000deadbeef\""
        );
        assert_eq!(
            forwarded(miss, StatusCode::OK, Some(Err(NoStore::Private)), true, None),
            "gatewright; fwd=uri-miss; fwd-status=200; detail=private; collapsed=?0"
        );
        assert_eq!(
            forwarded(Forwarded::Bypass(Bypass::Method), StatusCode::CREATED, None, false, None),
            "gatewright; fwd=method; fwd-status=201"
        );
        assert_eq!(
            forwarded(
                Forwarded::Bypass(Bypass::Disabled),
                StatusCode::OK,
                Some(Err(NoStore::Disabled)),
                false,
                None
            ),
            "gatewright; fwd=bypass; detail=disabled; fwd-status=200"
        );
        assert_eq!(
            collapsed(behind(b"up; hit"), miss, StatusCode::OK),
            "up; hit, gatewright; fwd=uri-miss; fwd-status=200; collapsed; key=\"00000000deadbeef\""
        );
        assert_eq!(hit(ALONE, 30, None), "gatewright; hit; ttl=30; key=\"00000000deadbeef\"");
        assert_eq!(
            hit(behind(b"up; hit"), -5, Some("stale")),
            "up; hit, gatewright; hit; ttl=-5; detail=stale; key=\"00000000deadbeef\""
        );
        assert_eq!(
            validated(ALONE, Validate::Stale, 9),
            "gatewright; fwd=stale; fwd-status=304; stored; ttl=9; key=\"00000000deadbeef\""
        );
    }
}
