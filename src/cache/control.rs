//! The rules of a shared cache (RFC 9111; RFC 5861; RFC 9213): may this response be stored, may that
//! stored one be used now.
//!
//! Pure: no clock, no store. [`storable`] runs once per fill and leaves a [`Policy`] of plain numbers;
//! [`reuse`] runs per look-up on those numbers alone.

use http::{HeaderMap, Method, StatusCode, header};

use super::{
    directives::{MaxStale, RequestDirectives, ResponseDirectives},
    fields,
    freshness::{self, Assume, Lifetime, Times},
    options::{RequestDirectiveMode, RouteCacheOptions, SetCookie},
    tags, targeted,
    vary::{Unfit, Vary},
};

/// Who asks, as far as the cache must know (RFC 9111, 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// No credentials, or the route is shared between all callers.
    Anyone,
    /// Credentials that the gateway does not know the owner of: only responses that say they may be
    /// shared are stored, and only such ones are used.
    Unknown,
    /// A principal with a store of its own.
    Principal,
}

/// A request, as far as the rules read it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    pub caller: Caller,
    pub options: &'a RouteCacheOptions,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoStore {
    Disabled,
    Method,
    RequestBody,
    RequestNoStore,
    Status,
    ResponseNoStore,
    Private,
    Credentials,
    SetCookie,
    VaryStar,
    VaryExcessive,
    TagsExcessive,
    NoFreshness,
    AlreadyStale,
    TooLarge,
    Busy,
    Off,
}

impl NoStore {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Method => "method",
            Self::RequestBody => "request-body",
            Self::RequestNoStore => "request-no-store",
            Self::Status => "status",
            Self::ResponseNoStore => "no-store",
            Self::Private => "private",
            Self::Credentials => "credentials",
            Self::SetCookie => "set-cookie",
            Self::VaryStar => "vary-star",
            Self::VaryExcessive => "vary-excessive",
            Self::TagsExcessive => "tags-excessive",
            Self::NoFreshness => "no-freshness",
            Self::AlreadyStale => "already-stale",
            Self::TooLarge => "too-large",
            Self::Busy => "busy",
            Self::Off => "off",
        }
    }

    /// Whether the reason lies in the response, so that what is stored for the request no longer counts.
    #[must_use]
    pub fn outdates_stored(self) -> bool {
        matches!(
            self,
            Self::ResponseNoStore
                | Self::Private
                | Self::SetCookie
                | Self::VaryStar
                | Self::TagsExcessive
                | Self::NoFreshness
                | Self::AlreadyStale
                | Self::TooLarge
        )
    }
}

/// All that later look-ups need of a response's freshness, in milliseconds since the epoch or of length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// `response_time` of RFC 9111, 4.2.3: when it was received or last validated.
    pub received_ms: u64,
    /// `corrected_initial_age`.
    pub initial_age_ms: u64,
    /// `freshness_lifetime`.
    pub lifetime_ms: u64,
    /// Window of `stale-while-revalidate` behind the lifetime (RFC 5861, 3).
    pub revalidate_ms: u64,
    /// Window of `stale-if-error` behind the lifetime (RFC 5861, 4).
    pub error_ms: u64,
    /// `no-cache`: never used without validation.
    pub always_validate: bool,
    /// `must-revalidate`, `proxy-revalidate` or `s-maxage`: never used stale (RFC 9111, 4.2.4).
    pub never_stale: bool,
    /// `public`, `s-maxage` or `must-revalidate`: may answer requests with credentials (3.5).
    pub shareable: bool,
}

impl Policy {
    /// `current_age` of RFC 9111, 4.2.3. A clock that was put back does not make it younger than it was.
    #[must_use]
    pub fn age_ms(&self, now_ms: u64) -> u64 {
        self.initial_age_ms.saturating_add(now_ms.saturating_sub(self.received_ms))
    }

    /// Milliseconds of freshness left; negative when stale.
    #[must_use]
    pub fn ttl_ms(&self, now_ms: u64) -> i64 {
        i64::try_from(self.lifetime_ms)
            .unwrap_or(i64::MAX)
            .saturating_sub(i64::try_from(self.age_ms(now_ms)).unwrap_or(i64::MAX))
    }

    /// Whether it answers other requests as it is when it has just come: some freshness is left, and it need
    /// not be validated at each use.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.lifetime_ms > self.initial_age_ms && !self.always_validate
    }

    /// Whether it may be served, stale, after the upstream failed (RFC 5861, 4; RFC 9111, 4.2.4).
    #[must_use]
    pub fn usable_on_error(
        &self,
        asked: &RequestDirectives,
        options: &RouteCacheOptions,
        now_ms: u64,
    ) -> bool {
        let of_request = match options.request_directives {
            RequestDirectiveMode::Honour => asked.stale_if_error.unwrap_or(0) * 1000,
            RequestDirectiveMode::Ignore => 0,
        };
        let window = self.error_ms.max(options.grace_ms).max(of_request);
        let staleness = u64::try_from(-self.ttl_ms(now_ms)).unwrap_or(0);
        window > 0 && staleness <= window && !self.never_stale && !self.always_validate
    }
}

/// A response that may be stored.
#[derive(Clone, Debug)]
pub struct Storable {
    pub policy: Policy,
    pub vary: Vary,
    /// The fields that are kept.
    pub headers: HeaderMap,
    /// For all callers; else for the principal alone.
    pub for_all: bool,
}

/// RFC 9111, 3: whether the response to `asked` may be stored, and under which policy.
pub fn storable(
    asked: &Asked<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    times: Times,
) -> Result<Storable, NoStore> {
    let options = asked.options;
    request_allows(asked)?;
    let special = targeted_directives(headers, options);
    let targeted = special.is_some();
    let directives = special.unwrap_or_else(|| ResponseDirectives::parse(headers));
    status_allows(status, &directives)?;
    let understood = directives.must_understand;
    if directives.no_store && !understood {
        return Err(NoStore::ResponseNoStore);
    }
    if directives.private {
        return Err(NoStore::Private);
    }
    let lifetime = overruled(status, headers, &directives, options, times).unwrap_or_else(|| {
        let assume = assumed(status, headers, &directives, options);
        freshness::lifetime(headers, &directives, targeted, assume, times)
    });
    let policy = policy(&directives, headers, lifetime, times);
    let for_all = match asked.caller {
        Caller::Unknown if !policy.shareable => return Err(NoStore::Credentials),
        Caller::Anyone | Caller::Unknown => true,
        Caller::Principal => policy.shareable,
    };
    let cookie =
        headers.contains_key(header::SET_COOKIE) && !directives.named_fields.contains(&header::SET_COOKIE);
    let cookie_bars = match options.set_cookie {
        SetCookie::Keep => false,
        SetCookie::Drop => !matches!(lifetime, Lifetime::Explicit(_)),
        SetCookie::Refuse => true,
    };
    if cookie && cookie_bars {
        return Err(NoStore::SetCookie);
    }
    if lifetime == Lifetime::None && !directives.public && !cacheable_by_default(status) {
        return Err(NoStore::NoFreshness);
    }
    worth_keeping(&policy, lifetime, headers, options)?;
    let vary = Vary::of(headers, asked.headers).map_err(|unfit| match unfit {
        Unfit::Star => NoStore::VaryStar,
        Unfit::Excessive => NoStore::VaryExcessive,
    })?;
    let keep_cookies = options.set_cookie == SetCookie::Keep;
    let headers = fields::stored(headers, &directives, keep_cookies, times.received_ms);
    if !tags::fit(&headers) {
        return Err(NoStore::TagsExcessive);
    }
    Ok(Storable { policy, vary, headers, for_all })
}

/// The parts of RFC 9111, 3 that lie in the request.
pub fn request_allows(asked: &Asked<'_>) -> Result<(), NoStore> {
    if !asked.options.enabled {
        return Err(NoStore::Disabled);
    }
    if asked.method != Method::GET {
        return Err(NoStore::Method);
    }
    if has_body(asked.headers) {
        return Err(NoStore::RequestBody);
    }
    if RequestDirectives::parse(asked.headers).no_store {
        return Err(NoStore::RequestNoStore);
    }
    Ok(())
}

/// A body on a GET has no meaning (RFC 9110, 9.3.1), but an upstream may read it: keep it off the cache.
#[must_use]
pub fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

fn targeted_directives(headers: &HeaderMap, options: &RouteCacheOptions) -> Option<ResponseDirectives> {
    targeted::parse(headers, &options.targets).or_else(|| {
        let value = headers.get("surrogate-control").filter(|_| options.surrogate_control)?;
        let mut found = ResponseDirectives::default();
        super::directives::each(value.as_bytes(), |name, arg| {
            // Parameters after `;` name other surrogates.
            let arg = arg.map(|a| a.split(|b| *b == b';').next().unwrap_or(a));
            found.take(name.split(|b| *b == b';').next().unwrap_or(name), arg);
        });
        Some(found)
    })
}

/// Final statuses, but not those that a cache must not store: parts and validations (RFC 9111, 3.3 and
/// 4.3.4 handle them apart), those of RFC 6585, and refusals of what one caller sent along: credentials,
/// conditions, ranges, expectations.
fn status_allows(status: StatusCode, directives: &ResponseDirectives) -> Result<(), NoStore> {
    let never =
        matches!(status.as_u16(), 0..=199 | 206 | 304 | 401 | 407 | 412 | 416 | 417 | 428 | 429 | 431 | 511);
    let unknown = directives.must_understand && !understood(status);
    if never || unknown { Err(NoStore::Status) } else { Ok(()) }
}

/// The statuses of RFC 9110 whose caching this file knows; `must-understand` asks (RFC 9111, 5.2.2.3).
fn understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200..=205 | 300..=303 | 305 | 307 | 308 | 400..=406 | 408..=417 | 421 | 422 | 426 | 500..=505)
}

/// RFC 9110, 15.1.
fn cacheable_by_default(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// The lifetime that the operator gives in place of the upstream's. It counts from the response's arrival, so
/// the age that it came with is added.
fn overruled(
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    options: &RouteCacheOptions,
    times: Times,
) -> Option<Lifetime> {
    let ttl = options.ttl_ms?;
    let fit = status.as_u16() < 400 && (cacheable_by_default(status) || directives.public);
    let age = || freshness::initial_age_ms(headers, times).unwrap_or(0);
    fit.then(|| Lifetime::Explicit(ttl.saturating_add(age())))
}

/// What may be assumed of a response without freshness (RFC 9111, 4.2.2). A configured lifetime is for
/// successes alone: an error that goes on being answered is worse than one request more.
fn assumed(
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    options: &RouteCacheOptions,
) -> Assume {
    let pragma =
        headers.get_all(header::PRAGMA).iter().any(|v| v.as_bytes().eq_ignore_ascii_case(b"no-cache"));
    if pragma || directives.no_cache {
        return Assume::default();
    }
    let fit = cacheable_by_default(status) || directives.public;
    Assume {
        ttl_ms: options.default_ttl_ms.filter(|_| fit && status.as_u16() < 400),
        heuristic: options.heuristic && fit,
    }
}

fn policy(directives: &ResponseDirectives, headers: &HeaderMap, lifetime: Lifetime, times: Times) -> Policy {
    let ms = |delta: super::directives::Delta| delta.seconds().unwrap_or(0) * 1000;
    let age = freshness::initial_age_ms(headers, times);
    let s_maxage = directives.s_maxage != super::directives::Delta::Absent;
    Policy {
        received_ms: times.received_ms,
        initial_age_ms: age.unwrap_or(0),
        lifetime_ms: if age.is_some() { lifetime.ms() } else { 0 },
        revalidate_ms: ms(directives.stale_while_revalidate),
        error_ms: ms(directives.stale_if_error),
        always_validate: directives.no_cache,
        never_stale: directives.must_revalidate || directives.proxy_revalidate || s_maxage,
        shareable: directives.public || directives.must_revalidate || s_maxage,
    }
}

/// A response that can neither be used as it is nor be validated only takes space.
fn worth_keeping(
    policy: &Policy,
    lifetime: Lifetime,
    headers: &HeaderMap,
    options: &RouteCacheOptions,
) -> Result<(), NoStore> {
    let fresh = policy.lifetime_ms > policy.initial_age_ms && !policy.always_validate;
    let validator = headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    let stale_use =
        policy.revalidate_ms.max(policy.error_ms).max(options.grace_ms) > 0 && !policy.never_stale;
    if fresh || validator || (stale_use && policy.lifetime_ms > 0) {
        return Ok(());
    }
    Err(if lifetime == Lifetime::None { NoStore::NoFreshness } else { NoStore::AlreadyStale })
}

/// Why a stored response must be validated, in the words of RFC 9211, 2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validate {
    /// Its freshness is over, or it says `no-cache`.
    Stale,
    /// The request asks for it.
    Request,
}

/// How a stored response may be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    Fresh,
    /// Stale, and the request takes that (`max-stale`).
    Stale,
    /// Stale, and to be refreshed beside answering (RFC 5861, 3).
    WhileRevalidating,
    Validate(Validate),
}

/// RFC 9111, 4: whether a stored response may answer a request with these directives at `now_ms`.
#[must_use]
pub fn reuse(policy: &Policy, asked: &RequestDirectives, options: &RouteCacheOptions, now_ms: u64) -> Reuse {
    let asked = match options.request_directives {
        RequestDirectiveMode::Honour => *asked,
        RequestDirectiveMode::Ignore => RequestDirectives::default(),
    };
    let ttl = policy.ttl_ms(now_ms);
    if options.offline {
        // A cache that is disconnected may serve what is stale (RFC 9111, 4.2.4); what a request would rather
        // have cannot be had.
        return match policy.always_validate || (policy.never_stale && ttl <= 0) {
            true => Reuse::Validate(Validate::Stale),
            false if ttl > 0 => Reuse::Fresh,
            false => Reuse::Stale,
        };
    }
    let ms = |seconds: u64| i64::try_from(seconds * 1000).unwrap_or(i64::MAX);
    let recent = now_ms.saturating_sub(policy.received_ms) < options.busting_floor_ms;
    let too_old = asked.max_age.is_some_and(|max| max == 0 || policy.age_ms(now_ms) / 1000 > max);
    let too_soon_stale = asked.min_fresh.is_some_and(|least| ttl < ms(least));
    if (asked.no_cache || too_old || too_soon_stale) && !recent {
        return Reuse::Validate(Validate::Request);
    }
    if policy.always_validate {
        return Reuse::Validate(Validate::Stale);
    }
    if ttl > 0 {
        return Reuse::Fresh;
    }
    let accepted = match asked.max_stale {
        MaxStale::Not => false,
        MaxStale::Seconds(seconds) => -ttl <= ms(seconds),
        MaxStale::Any => true,
    };
    // Who states the age that it takes, but not `max-stale`, wants nothing stale (RFC 9111, 5.2.1.1).
    let in_window = asked.max_age.is_none() && -ttl < i64::try_from(policy.revalidate_ms).unwrap_or(i64::MAX);
    match policy.never_stale {
        false if accepted => Reuse::Stale,
        false if in_window => Reuse::WhileRevalidating,
        _ => Reuse::Validate(Validate::Stale),
    }
}

#[cfg(test)]
mod tests;
