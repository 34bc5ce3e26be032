//! One route as the spine uses it: everything resolved, nothing to look up by name.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};

use crate::{
    policy::Policy,
    telemetry::{OperationMetrics, UpstreamMetrics},
    upstream::{Cap, Upstream},
};

/// One route.
#[derive(Debug)]
pub struct Route {
    /// The names of API and operation in logs, metrics and limits.
    pub api: Arc<str>,
    pub operation: Arc<str>,
    /// The template of its paths, and the names of parameters that may span segments.
    pub template: Box<str>,
    pub spans: Box<[String]>,
    pub metrics: Arc<OperationMetrics>,
    pub upstream_metrics: Arc<UpstreamMetrics>,
    /// Query parameters that carry credentials, redacted in the access log.
    pub secret_params: Vec<String>,
    /// In the order in which they run.
    pub policies: Box<[Policy]>,
    pub target: Target,
    pub rewrite: Rewrite,
    pub timeouts: Timeouts,
    /// Most bytes of a request body.
    pub body_limit: u64,
    /// Most bytes of path and query.
    pub uri_limit: usize,
    /// Most bytes of header fields and request line; [`usize::MAX`] where the listener's bound is in force.
    pub head_limit: usize,
    /// Most header fields; [`usize::MAX`] likewise.
    pub field_limit: usize,
    /// How many requests may be under way at the upstream at once.
    pub cap: Option<Cap>,
    pub encoded_slash: EncodedSlash,
    /// `None`: answers are neither stored nor taken from the store.
    pub cache: Option<crate::cache::RouteCacheOptions>,
    /// Who may purge its paths with the method `PURGE`; `None`: that is a method like any other.
    pub purge: Option<Arc<PurgeRight>>,
}

/// The right to purge with `PURGE`.
#[derive(Debug)]
pub struct PurgeRight {
    /// Finds out who calls, by the gateway's own keys and tokens.
    pub policies: Box<[Policy]>,
    /// Names of the consumers that may.
    pub consumers: Box<[String]>,
}

/// What becomes of `%2F` in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSlash {
    /// It passes, unless reading it as a slash would lead to another route.
    #[default]
    Unambiguous,
    Refuse,
    Keep,
}

/// Where a route sends its requests.
#[derive(Debug)]
pub struct Target {
    pub upstream: Arc<Upstream>,
    /// The part of the canonical path that belongs to the mount and the served base path alone.
    pub strip: Strip,
    /// The upstream's base path, put in their place; no slash at its end.
    pub prefix: Box<str>,
}

/// How much of a path's beginning is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strip {
    /// A literal beginning.
    Bytes(usize),
    /// Whole segments: the beginning holds parameters.
    Segments(usize),
}

impl Strip {
    /// Leaves out what the template `prefix` stands for.
    #[must_use]
    pub fn prefix(prefix: &str) -> Self {
        if prefix.contains('{') {
            Self::Segments(prefix.matches('/').count())
        } else {
            Self::Bytes(prefix.len())
        }
    }

    /// What is left of a path that begins with it.
    #[must_use]
    pub fn rest(self, path: &str) -> &str {
        match self {
            Self::Bytes(count) => path.get(count..).unwrap_or_default(),
            Self::Segments(count) => match path.match_indices('/').nth(count) {
                Some((at, _)) => &path[at..],
                None => "",
            },
        }
    }
}

/// The clocks of one call. `None` = no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP and TLS towards the upstream. Default 5 s.
    pub connect: Duration,
    /// From the last byte of the request to the first of the answer. Default 60 s.
    pub first_byte: Duration,
    /// The longest pause within a body, either way. Default 60 s.
    pub idle: Duration,
    /// The whole call. Default none: streams may be long.
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            total: None,
        }
    }
}

/// What the gateway itself shows to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Header(HeaderName, HeaderValue),
    /// A query parameter, name and value already escaped.
    Query(Box<str>),
}

/// How a request is rewritten on its way.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// Keep the client's `Host` instead of the upstream's authority.
    pub preserve_host: bool,
    /// Tell the upstream the client's address in `X-Forwarded-For`.
    pub client_address: bool,
    pub credentials: Box<[Credential]>,
    pub request: HeaderChanges,
    pub response: HeaderChanges,
}

/// Header fields to take out, to set and to add, in this order.
#[derive(Clone, Debug, Default)]
pub struct HeaderChanges {
    pub remove: Box<[HeaderName]>,
    pub set: Box<[(HeaderName, HeaderValue)]>,
    pub add: Box<[(HeaderName, HeaderValue)]>,
}

impl HeaderChanges {
    pub fn apply(&self, headers: &mut http::HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}
