//! What the spine asks of the cache and what it is told.

use http::{HeaderMap, Method};

use super::{
    control::{Asked, Caller, Validate},
    hit::Hit,
    key::{self, Unkeyed},
    options::RouteCacheOptions,
    partial::Mend,
};

/// One request as the cache sees it; the same value serves look-up, admission and invalidation.
#[derive(Clone, Copy, Debug)]
pub struct CacheRequest<'a> {
    pub method: &'a Method,
    /// Lower case, without a default port. Where a route does not depend on the host, the same word for
    /// all hosts.
    pub host: &'a str,
    /// The canonical path, as it is matched and forwarded.
    pub path: &'a str,
    /// As forwarded, without `?`.
    pub query: Option<&'a str>,
    /// The client's fields, credentials still among them.
    pub headers: &'a HeaderMap,
    /// Names the principal whose store this is, when the gateway knows it: any bytes that no other
    /// principal has.
    pub partition: Option<&'a [u8]>,
    /// How the client came: `http` or `https`.
    pub scheme: &'a str,
    /// Whether what the client's hop claims about the request is forwarded.
    pub from_trusted: bool,
    pub options: &'a RouteCacheOptions,
    /// Milliseconds since the epoch.
    pub now_ms: u64,
}

impl<'a> CacheRequest<'a> {
    /// Who asks (RFC 9111, 3.5).
    #[must_use]
    pub fn caller(&self) -> Caller {
        if self.options.shared {
            return Caller::Anyone;
        }
        if self.partition.is_some() {
            return Caller::Principal;
        }
        let shown = |name| self.headers.contains_key(name);
        if shown(&http::header::AUTHORIZATION)
            || self.options.credentials.iter().any(shown)
            || self.options.credential_cookies.iter().any(|name| key::has_cookie(self.headers, name))
        {
            Caller::Unknown
        } else {
            Caller::Anyone
        }
    }

    #[must_use]
    pub fn asked(&self) -> Asked<'a> {
        Asked { method: self.method, headers: self.headers, caller: self.caller(), options: self.options }
    }
}

/// What the cache has for a request.
#[derive(Debug)]
pub enum Lookup {
    /// Answer with it.
    Fresh(Hit),
    /// Answer with it now. True for the one request that is to refresh it in a task of its own, as for
    /// `Stale` (RFC 5861, 3).
    Revalidating(Hit, bool),
    /// Ask the upstream with [`Hit::conditions`]: on 304 `Cache::refresh`, on failure
    /// [`Hit::on_error`], else as for a miss.
    Stale(Hit, Validate),
    /// A part is stored: ask the upstream for the rest with [`Mend::fields`].
    Partial(Box<Mend>),
    Miss(Miss),
    /// The request allows only a stored answer and there is none that is fit: 504 (RFC 9111, 5.2.1.7).
    NotCached,
    /// Neither looked up nor stored.
    Bypass(Bypass),
}

/// Why nothing stored could be used, in the words of RFC 9211, 2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Nothing is stored for the URI.
    Uri,
    /// What is stored for the URI is for other requests (`Vary`).
    Vary,
    /// Something is stored, but not for callers with credentials.
    Credentials,
    /// What is stored is not all of what is asked for.
    Partial,
    /// The disk did not answer in time, or what it holds is damaged.
    Disk,
    /// The disk tier is being opened, or closed after an error.
    DiskClosed,
}

impl Miss {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uri => "uri-miss",
            Self::Vary => "vary-miss",
            Self::Credentials => "miss",
            Self::Partial => "partial",
            Self::Disk => "miss; detail=disk",
            Self::DiskClosed => "miss; detail=disk-closed",
        }
    }
}

/// Why a request goes past the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// The route says `cache: false`.
    Disabled,
    Method,
    RequestBody,
    /// Its conditions are the origin's to judge (`If-Match`, `If-Unmodified-Since`).
    Precondition,
    UndeclaredQuery,
    KeyTooLarge,
}

impl Bypass {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Method => "method",
            Self::RequestBody => "request-body",
            Self::Precondition => "precondition",
            Self::UndeclaredQuery => "undeclared-query",
            Self::KeyTooLarge => "key-too-large",
        }
    }
}

impl From<Unkeyed> for Bypass {
    fn from(unkeyed: Unkeyed) -> Self {
        match unkeyed {
            Unkeyed::Undeclared => Self::UndeclaredQuery,
            Unkeyed::TooLarge => Self::KeyTooLarge,
        }
    }
}
