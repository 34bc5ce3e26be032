//! From a request to its route: one generated `axum::Router` per virtual host and the candidates behind it.
//!
//! Owns path templates, their precedence, conflicts, the canonical form of targets and the map of hosts.
//! Knows nothing of upstreams and policies: a route is a number of the caller's. Pure, no I/O.
//!
//! [`compile`] registers one Axum route per *shape*: segments that hold a parameter become `{p1}`, `{p2}` …,
//! methods are merged. What Axum cannot say (`{id}.json`, `{a}-{b}`, conditions, methods) is an ordered list
//! of candidates behind the shape. Axum cannot go back once it chose a shape, so when none of its candidates
//! fits, the remaining templates are tried in order of precedence by walking the same segments again
//! (`table.rs`): in memory that grows with the routes, where lists of all overlaps grow with their square.
//!
//! # Which template wins
//!
//! Among the templates whose path, method and conditions fit, the first of this order wins; the order of
//! declaration plays no part:
//!
//! 1. segment by segment from the left: literal, before one that holds parameters, before one that spans
//!    several segments, before `**`; whole segments first, so `/{a}/x` comes before `/{a}.json/{b}`;
//! 2. then from the left: a segment with literal text (`{id}.json`) before a plain parameter, more text first;
//! 3. of one template: the method itself, before `GET` for `HEAD`, before any method; more conditions first,
//!    one with a value before one that asks for presence.
//!
//! A path that a template without parameters names answers 405 when that template lacks the method; it never
//! falls to a wider one. A suffix, a condition or a method that does not fit does.

mod canonical;
mod conditions;
mod hosts;
mod pattern;
mod table;
mod template;

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderValue, Method};
use smallvec::SmallVec;

pub use canonical::{Refusal, Target, canonical, decode_slashes};
pub use conditions::Conditions;
pub use hosts::{HostError, Hosts, normalise};
pub use pattern::Matcher;
pub use table::{Conflict, HostRoutes, compile};
pub use template::{Part, Template, TemplateError};

/// One route of a virtual host.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    pub methods: Methods,
    pub template: Template,
    pub conditions: Conditions,
    /// Names of parameters whose value may span several segments (`{topic}` of `/v1/{topic}:publish`).
    pub spans: Vec<String>,
    /// What [`Found::Route`] gives back. A route of several methods is several specs of one id.
    pub id: u32,
}

/// The methods a route takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Methods {
    Any,
    /// `GET` answers `HEAD` too where its template has no route for `HEAD`.
    One(Method),
}

/// What [`HostRoutes::find`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'r, 'p> {
    Route {
        id: u32,
        params: Params<'r, 'p>,
    },
    /// The path is served, but not for this method. `allow` is the value of the `Allow` field: the methods
    /// for which this path, query and header fields would find a route.
    MethodNotAllowed {
        allow: HeaderValue,
    },
    NotFound,
}

/// The parameters of the template that matched, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params<'r, 'p> {
    names: &'r [Box<str>],
    values: SmallVec<[&'p str; 8]>,
}

impl<'r, 'p> Params<'r, 'p> {
    /// The value of the first parameter of this name, escaped as in the path.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'p str> {
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// Names and values; a name that the template uses twice comes twice. The rest behind `**` has the name `**`.
    pub fn iter(&self) -> impl Iterator<Item = (&'r str, &'p str)> {
        self.names.iter().map(AsRef::as_ref).zip(self.values.iter().copied())
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// What is known of a request when it is routed.
#[derive(Clone, Copy)]
struct Asked<'p, 'a> {
    method: &'a Method,
    /// Canonical.
    path: &'p str,
    query: Option<&'a str>,
    headers: &'a HeaderMap,
}
