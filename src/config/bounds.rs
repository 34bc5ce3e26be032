//! Bounds on a request's head: the whole gateway's, and those of a route, which can only be narrower.
//!
//! The listener judges a head before it is known which route the request takes. A route's wider bound would
//! never be reached, so it is an error.

use super::{
    model::{Model, Policy, RouteLimits},
    read::Spanned,
    value::Size,
};
use crate::diagnostic::{Diagnostic, codes};

/// No longer target can be read.
const LONGEST_URI: u64 = 64 * 1024;

/// What the listener takes, whatever the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of header fields and request line.
    pub bytes: usize,
    /// Header fields.
    pub fields: usize,
    /// Bytes of path and query.
    pub uri: usize,
}

impl Default for Head {
    fn default() -> Self {
        Self { bytes: 64 * 1024, fields: 100, uri: 16 * 1024 }
    }
}

impl Head {
    /// The bounds that a configuration sets for all of the gateway.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        model.limits.as_ref().map_or_else(Self::default, |limits| Self::default().with(&limits.route))
    }

    /// With those that are written.
    #[must_use]
    pub fn with(self, limits: &RouteLimits) -> Self {
        let size = |size: &Spanned<Size>| usize::try_from(size.value.0).unwrap_or(usize::MAX);
        Self {
            bytes: limits.headers.as_ref().map_or(self.bytes, size),
            fields: limits.header_count.as_ref().map_or(self.fields, |count| count.value),
            uri: limits.uri.as_ref().map_or(self.uri, size),
        }
    }
}

/// Reports bounds of a route that are wider than those of the whole gateway.
pub fn check(policy: &Policy, model: &Model, found: &mut Vec<Diagnostic>) {
    let Some(limits) = &policy.limits else { return };
    let whole = Head::of(model);
    let own = whole.with(limits);
    let places = [
        limits.headers.as_ref().map(|size| &size.place),
        limits.header_count.as_ref().map(|count| &count.place),
        limits.uri.as_ref().map(|size| &size.place),
    ];
    let rows = [
        ("headers", "bytes", own.bytes, whole.bytes),
        ("header_count", "fields", own.fields, whole.fields),
        ("uri", "bytes", own.uri, whole.uri),
    ];
    for ((key, unit, own, whole), place) in rows.into_iter().zip(places) {
        let Some(place) = place.filter(|_| own > whole) else { continue };
        let title = format!("`limits.{key}` is {own} {unit} here, the gateway as a whole takes {whole}");
        let help = format!(
            "a request is judged by that first: write `limits: {{ {key}: {own} }}` at the root of gatewright.yaml, \
             or at most {whole} here"
        );
        found.push(Diagnostic::error(codes::BOUND_WITHOUT_EFFECT, title).at((**place).clone()).help(help));
    }
    if let Some(max) = limits.max_requests.as_ref().filter(|max| max.value == 0) {
        let help = "the least is 1; `security` and `methods` close a route";
        let title = "`limits.max_requests` is 0";
        found.push(Diagnostic::error(codes::VALUE_INVALID, title).at((*max.place).clone()).help(help));
    }
}

/// Reports what not even the listener can take.
pub fn check_root(model: &Model, found: &mut Vec<Diagnostic>) {
    let uri = model.limits.as_ref().and_then(|limits| limits.route.uri.as_ref());
    if let Some(uri) = uri.filter(|uri| uri.value.0 > LONGEST_URI) {
        let title = format!("`limits.uri` is {} bytes, more than can be read", uri.value.0);
        let help = format!("write at most {LONGEST_URI}");
        found.push(Diagnostic::error(codes::BOUND_WITHOUT_EFFECT, title).at((*uri.place).clone()).help(help));
    }
}
