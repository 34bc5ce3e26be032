//! What a purge is about, in a form that can be written down and sent, and whom it concerns.
//!
//! Pure. A purge is applied by [`Cache::purge`](super::Cache::purge); applying it twice, or several in
//! another order, ends the same. What cannot be read is covered: removing too much costs a fetch, removing
//! too little breaks a promise.

use std::cell::OnceCell;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    key::{Owner, Parts},
    tags::{self, Hashes},
};
use crate::route::{Matcher, Template};

/// A purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// One host, as in [`CacheRequest::host`](super::CacheRequest::host), or all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub scope: Scope,
    /// A soft purge: what is covered counts as stale from this moment on, in milliseconds since the epoch,
    /// instead of being dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_at_ms: Option<u64>,
}

/// What is covered. Paths are canonical; queries, variants and principals are all covered where nothing
/// else is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    All,
    /// This path with one query alone, given by [`query_hash`].
    Url {
        path: String,
        query: u64,
    },
    Path(String),
    /// Every path that begins so.
    Prefix(String),
    /// Every path of a template, whoever serves it.
    Template(String),
    /// All operations of an API.
    Api(String),
    Operation {
        api: String,
        operation: String,
        /// Only where its path parameters have these values.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bound: Option<Bound>,
    },
    /// What has one of these tags.
    Tags(Vec<String>),
}

/// Values of path parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub template: String,
    /// Names of parameters that may span segments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<String>,
    /// Names and values, escaped as in a canonical path.
    pub values: Vec<(String, String)>,
}

impl Purge {
    /// Drops what it covers, on one host or on all.
    #[must_use]
    pub fn hard(host: Option<&str>, scope: Scope) -> Self {
        Self { host: host.map(str::to_owned), scope, stale_at_ms: None }
    }

    /// The same, but leaves what it covers behind as stale.
    #[must_use]
    pub fn softly(self, at_ms: u64) -> Self {
        Self { stale_at_ms: Some(at_ms), ..self }
    }

    /// A purge of everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::hard(None, Scope::All)
    }

    /// Whether it leaves nothing at all.
    #[must_use]
    pub fn is_total(&self) -> bool {
        *self == Self::everything()
    }

    /// The one path that it is about, with its host.
    #[must_use]
    pub fn place(&self) -> Option<(&str, &str)> {
        match (&self.host, &self.scope) {
            (Some(host), Scope::Path(path) | Scope::Url { path, .. }) => Some((host, path)),
            _ => None,
        }
    }
}

/// The hash of what of a query counts ([`key::query_part`](super::key::query_part)).
#[must_use]
pub fn query_hash(part: &[u8]) -> u64 {
    xxh3_64(part)
}

/// What a purge needs to know of a stored response.
pub struct Facts<'a> {
    /// `None`: its key cannot be read.
    parts: Option<Parts<'a>>,
    headers: &'a HeaderMap,
    query: OnceCell<u64>,
    tags: OnceCell<Hashes>,
}

impl<'a> Facts<'a> {
    #[must_use]
    pub fn new(key: &'a [u8], headers: &'a HeaderMap) -> Self {
        Self { parts: Parts::of(key), headers, query: OnceCell::new(), tags: OnceCell::new() }
    }

    fn query(&self) -> Option<u64> {
        self.parts.map(|parts| *self.query.get_or_init(|| query_hash(parts.query)))
    }

    fn tags(&self) -> &[u64] {
        self.tags.get_or_init(|| tags::hashes(self.headers))
    }
}

/// Whom a purge covers, compiled.
#[derive(Clone, Debug)]
pub struct Cover {
    host: Option<Box<str>>,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    All,
    Url(Box<str>, u64),
    Path(Box<str>),
    Prefix(Box<str>),
    Template(Matcher),
    Api(u64),
    Operation(Owner),
    Bound(Owner, Matcher, Box<[(String, String)]>),
    Tags(Box<[u64]>),
}

impl Cover {
    #[must_use]
    pub fn of(purge: &Purge) -> Self {
        let matcher = |text: &str, spans: &[String]| {
            Template::parse_with_tail(text).ok().map(|template| Matcher::new(&template, spans))
        };
        let what = match &purge.scope {
            Scope::All => What::All,
            Scope::Url { path, query } => What::Url(path.as_str().into(), *query),
            Scope::Path(path) => What::Path(path.as_str().into()),
            Scope::Prefix(prefix) => What::Prefix(prefix.as_str().into()),
            Scope::Template(text) => matcher(text, &[]).map_or(What::All, What::Template),
            Scope::Api(name) => What::Api(Owner::api(name)),
            Scope::Operation { api, operation, bound } => {
                let owner = Owner::of(api, operation);
                let bound = bound.as_ref().and_then(|bound| {
                    let matcher = matcher(&bound.template, &bound.spans)?;
                    Some(What::Bound(owner, matcher, bound.values.as_slice().into()))
                });
                bound.unwrap_or(What::Operation(owner))
            }
            Scope::Tags(tags) => What::Tags(tags.iter().map(|tag| tags::hash(tag.as_bytes())).collect()),
        };
        Self { host: purge.host.as_deref().map(Box::from), what }
    }

    #[must_use]
    pub fn covers(&self, facts: &Facts<'_>) -> bool {
        let Some(parts) = &facts.parts else { return true };
        self.host.as_deref().is_none_or(|host| host == parts.host)
            && match &self.what {
                What::All => true,
                What::Url(path, query) => **path == *parts.path && facts.query() == Some(*query),
                What::Path(path) => **path == *parts.path,
                What::Prefix(prefix) => parts.path.starts_with(&**prefix),
                What::Template(matcher) => matcher.matches(parts.path).is_some(),
                What::Api(api) => parts.owner.api == *api,
                What::Operation(owner) => parts.owner == *owner,
                // A path of an older template is the operation's too, and its parameters are not known.
                What::Bound(owner, matcher, wanted) => {
                    let same = |found: &crate::route::Params<'_, '_>| {
                        wanted.iter().all(|(name, value)| found.get(name) == Some(value))
                    };
                    parts.owner == *owner && matcher.matches(parts.path).is_none_or(|found| same(&found))
                }
                What::Tags(wanted) => facts.tags().iter().any(|tag| wanted.contains(tag)),
            }
    }
}

/// What purges leave of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Kept,
    /// Its freshness ended at this moment, in milliseconds since the epoch.
    Stale(u64),
    Gone,
}

impl Fate {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Gone, _) | (_, Self::Gone) => Self::Gone,
            (Self::Stale(a), Self::Stale(b)) => Self::Stale(a.min(b)),
            (Self::Kept, fate) | (fate, Self::Kept) => fate,
        }
    }
}

/// A purge with its moment ([`Epochs`](super::epoch::Epochs)): it is about what began before.
#[derive(Clone, Debug)]
pub struct Rule {
    pub before: u64,
    pub purge: Purge,
    cover: Cover,
}

impl Rule {
    #[must_use]
    pub fn new(before: u64, purge: Purge) -> Self {
        Self { before, cover: Cover::of(&purge), purge }
    }

    /// What it leaves of a response that began at `since`.
    #[must_use]
    pub fn fate(&self, facts: &Facts<'_>, since: u64) -> Fate {
        if since >= self.before || !self.cover.covers(facts) {
            return Fate::Kept;
        }
        self.purge.stale_at_ms.map_or(Fate::Gone, Fate::Stale)
    }
}

/// What several purges leave of a response that began at `since`.
#[must_use]
pub fn fate<'r>(rules: impl IntoIterator<Item = &'r Rule>, facts: &Facts<'_>, since: u64) -> Fate {
    let mut fate = Fate::Kept;
    for rule in rules {
        fate = fate.and(rule.fate(facts, since));
        if fate == Fate::Gone {
            break;
        }
    }
    fate
}

#[cfg(test)]
mod tests;
