//! `Cache-Status` (RFC 9211).

use http::{HeaderValue, StatusCode};
use smallvec::SmallVec;

use super::{
    control::{NoStore, Validate},
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

/// The member of a forwarded request: `gatewright; fwd=uri-miss; fwd-status=200; stored`. `stored` is
/// what became of the response; `None` when there was no question of storing it.
#[must_use]
pub fn forwarded(
    why: Forwarded,
    status: StatusCode,
    stored: Option<Result<(), NoStore>>,
    waited: bool,
) -> HeaderValue {
    let (why, bypass) = why.words();
    let mut text = own(why);
    detail(&mut text, bypass);
    fwd_status(&mut text, status);
    match stored {
        Some(Ok(())) => text.extend_from_slice(b"; stored"),
        // One member has one detail.
        Some(Err(reason)) if bypass.is_none() && !why.contains("detail=") => {
            detail(&mut text, Some(reason.as_str()));
        }
        Some(Err(_)) | None => {}
    }
    if waited {
        // RFC 9211, 2.6: it waited for another request's answer, in vain.
        text.extend_from_slice(b"; collapsed=?0");
    }
    value(&text)
}

/// The member of an answer taken from another request's fetch: `gatewright; fwd=uri-miss; fwd-status=200;
/// collapsed`.
#[must_use]
pub fn collapsed(before: Option<&[u8]>, why: Forwarded, status: StatusCode) -> HeaderValue {
    let mut text = own(why.words().0);
    fwd_status(&mut text, status);
    text.extend_from_slice(b"; collapsed");
    behind(before, &text)
}

/// The member of an answer from the store: `gatewright; hit; ttl=30`. `before` is what the upstream's
/// own caches said; `detail` tells the tier or why a stale answer was given.
#[must_use]
pub fn hit(before: Option<&[u8]>, ttl_s: i64, detail: Option<&str>) -> HeaderValue {
    let mut text = Text::new();
    if let Some(before) = before {
        text.extend_from_slice(before);
        text.extend_from_slice(b", ");
    }
    text.extend_from_slice(NAME.as_bytes());
    text.extend_from_slice(b"; hit; ttl=");
    text.extend_from_slice(itoa::Buffer::new().format(ttl_s).as_bytes());
    self::detail(&mut text, detail);
    value(&text)
}

/// The member of a stored response that stands in for an upstream that failed: the request was forwarded, so
/// it is no hit (RFC 9211, 2.1).
#[must_use]
pub fn stood_in(before: Option<&[u8]>, why: Validate, ttl_s: i64) -> HeaderValue {
    let own = format!("{NAME}; fwd={}; ttl={ttl_s}; detail=stale-if-error", word(why));
    behind(before, own.as_bytes())
}

/// The member of a stored response that the upstream has just validated.
#[must_use]
pub fn validated(before: Option<&[u8]>, why: Validate, ttl_s: i64) -> HeaderValue {
    behind(before, format!("{NAME}; fwd={}; fwd-status=304; stored; ttl={ttl_s}", word(why)).as_bytes())
}

/// The member of a stored part that the upstream has just completed: `gatewright; fwd=partial;
/// fwd-status=206; stored; ttl=60`.
#[must_use]
pub fn mended(before: Option<&[u8]>, ttl_s: i64) -> HeaderValue {
    behind(before, format!("{NAME}; fwd=partial; fwd-status=206; stored; ttl={ttl_s}").as_bytes())
}

/// The own member behind those of the upstream's caches.
fn behind(before: Option<&[u8]>, own: &[u8]) -> HeaderValue {
    let mut text = Text::new();
    if let Some(before) = before {
        text.extend_from_slice(before);
        text.extend_from_slice(b", ");
    }
    text.extend_from_slice(own);
    value(&text)
}

type Text = SmallVec<[u8; 128]>;

fn own(why: &str) -> Text {
    let mut text = Text::new();
    for part in [NAME, "; fwd=", why] {
        text.extend_from_slice(part.as_bytes());
    }
    text
}

fn fwd_status(text: &mut Text, status: StatusCode) {
    text.extend_from_slice(b"; fwd-status=");
    text.extend_from_slice(status.as_str().as_bytes());
}

fn detail(text: &mut Text, detail: Option<&str>) {
    if let Some(detail) = detail {
        text.extend_from_slice(b"; detail=");
        text.extend_from_slice(detail.as_bytes());
    }
}

fn word(why: Validate) -> &'static str {
    match why {
        Validate::Stale => "stale",
        Validate::Request => "request",
    }
}

fn value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).expect("invariant: made of header values and visible characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_words() {
        let miss = Forwarded::Miss(Miss::Uri);
        assert_eq!(
            forwarded(miss, StatusCode::OK, Some(Ok(())), false),
            "gatewright; fwd=uri-miss; fwd-status=200; stored"
        );
        assert_eq!(
            forwarded(miss, StatusCode::OK, Some(Err(NoStore::Private)), true),
            "gatewright; fwd=uri-miss; fwd-status=200; detail=private; collapsed=?0"
        );
        assert_eq!(
            forwarded(Forwarded::Bypass(Bypass::Method), StatusCode::CREATED, None, false),
            "gatewright; fwd=method; fwd-status=201"
        );
        assert_eq!(
            forwarded(
                Forwarded::Bypass(Bypass::Disabled),
                StatusCode::OK,
                Some(Err(NoStore::Disabled)),
                false
            ),
            "gatewright; fwd=bypass; detail=disabled; fwd-status=200"
        );
        assert_eq!(
            collapsed(Some(b"up; hit"), miss, StatusCode::OK),
            "up; hit, gatewright; fwd=uri-miss; fwd-status=200; collapsed"
        );
        assert_eq!(hit(None, 30, None), "gatewright; hit; ttl=30");
        assert_eq!(
            hit(Some(b"up; hit"), -5, Some("stale")),
            "up; hit, gatewright; hit; ttl=-5; detail=stale"
        );
        assert_eq!(
            validated(None, Validate::Stale, 9),
            "gatewright; fwd=stale; fwd-status=304; stored; ttl=9"
        );
    }
}
