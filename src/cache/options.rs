//! What a route may say about its caching, compiled once per generation.
//!
//! Owns the settings and their safe defaults; [`super::control`] and [`super::key`] read them.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::query::DeclaredQuery;

use super::key::Owner;

/// A route's caching, as the configuration and `x-gatewright` state it. The default is safe for an
/// API: explicit freshness only, the whole query in the key, request directives honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteCacheOptions {
    /// `cache: false` bypasses the cache both ways.
    pub enabled: bool,
    /// Whose answers they are.
    pub owner: Owner,
    /// Milliseconds that a success counts as fresh from when it came, whatever lifetime the upstream states.
    pub ttl_ms: Option<u64>,
    /// Milliseconds that an answer without freshness of its own counts as fresh (RFC 9111, 4.2.2 allows
    /// it for statuses that are cacheable by default). It never overrides what the upstream says.
    pub default_ttl_ms: Option<u64>,
    /// Ten per cent of the time since `Last-Modified`, at most a day, where nothing else is said.
    pub heuristic: bool,
    /// One stored answer for all callers, whatever their credentials: the operator vouches for it.
    pub shared: bool,
    /// Declared query parameters; `None` without a description: then the query as sent is the key. A
    /// credential in the query belongs among them.
    pub query: Option<Arc<DeclaredQuery>>,
    pub undeclared_query: UndeclaredQuery,
    /// Languages that `Accept-Language` is brought to before anything else; none: it stays as sent.
    pub languages: Arc<[HeaderValue]>,
    /// Declared header parameters: their values join the key.
    pub headers: Arc<[HeaderName]>,
    /// Declared cookie parameters: their values join the key.
    pub cookies: Arc<[Box<str>]>,
    /// Header fields that carry credentials beside `Authorization` (`X-API-Key` …); RFC 9111, 3.5 is
    /// applied to them too.
    pub credentials: Arc<[HeaderName]>,
    /// Cookies that are credentials, likewise.
    pub credential_cookies: Arc<[Box<str>]>,
    pub request_directives: RequestDirectiveMode,
    /// Milliseconds after its validation within which a stored answer is used even where the request
    /// asks for a new one: the bound on busting. Zero honours every request.
    pub busting_floor_ms: u64,
    /// Requests a second that may ask for a new answer of one key though a stored one is fresh.
    pub reload_limit: u32,
    /// Milliseconds that an answer may be served after its end of freshness when the upstream fails,
    /// beside what `stale-if-error` allows.
    pub grace_ms: u64,
    /// Nothing goes upstream: what is stored answers, fresh or not, unless it forbids that.
    pub offline: bool,
    /// Targeted fields that win over `Cache-Control`, most specific first (RFC 9213, 2.2).
    pub targets: Arc<[HeaderName]>,
    /// What becomes of `Set-Cookie` in what is stored.
    pub set_cookie: SetCookie,
    /// `Surrogate-Control` as an older targeted field.
    pub surrogate_control: bool,
    /// Bytes of one object that this route may store, below the cache's own bound.
    pub max_object_bytes: Option<u64>,
}

impl Default for RouteCacheOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            owner: Owner::default(),
            ttl_ms: None,
            default_ttl_ms: None,
            heuristic: false,
            shared: false,
            query: None,
            undeclared_query: UndeclaredQuery::Key,
            languages: Arc::default(),
            headers: Arc::default(),
            cookies: Arc::default(),
            credentials: Arc::default(),
            credential_cookies: Arc::default(),
            request_directives: RequestDirectiveMode::Honour,
            busting_floor_ms: 0,
            reload_limit: 10,
            grace_ms: 0,
            offline: false,
            targets: Arc::new([HeaderName::from_static("cdn-cache-control")]),
            set_cookie: SetCookie::Drop,
            surrogate_control: false,
            max_object_bytes: None,
        }
    }
}

/// What becomes of `Set-Cookie` where an answer that has it may be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetCookie {
    /// The answer is stored without it: a cookie is for the one who asked.
    #[default]
    Drop,
    /// It is stored and given to all, as RFC 9111, 3.1 and 7.3 have it.
    Keep,
    /// The answer is not stored.
    Refuse,
}

/// What happens to a query parameter that the description does not declare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UndeclaredQuery {
    /// It joins the key, after the declared ones, as sent.
    #[default]
    Key,
    /// It does not count and is not forwarded.
    Ignore,
    /// A request that has one goes past the cache.
    Bypass,
}

/// Whether `Cache-Control` of a request is obeyed (RFC 9111, 5.2.1 leaves it to the cache).
/// `no-store` of a request always keeps its answer from being stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestDirectiveMode {
    #[default]
    Honour,
    Ignore,
}
