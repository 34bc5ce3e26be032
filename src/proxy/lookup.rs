//! Lookup: what the cache can answer, and who asks the upstream for what it cannot.
//!
//! Asked after Guard, so that nobody gets what is not for them. Of the requests that need the same answer at
//! once one leads ([`crate::cache::collapse`]); what becomes of the upstream's answer is in [`super::settle`].

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use http::{HeaderMap, HeaderName, Response, header, request::Parts};
use smallvec::SmallVec;

use super::receive::Connection;
use crate::{
    cache::{
        self, Bypass, Cache, CacheRequest, Flight, Followers, Hit, Lookup as Found, Mend, Miss, Moment,
        Outcome, Pass, RouteCacheOptions, Turn, Validate, key::Name, language, status::Forwarded,
    },
    exchange::{self, Body},
    gateway::{Gateway, Live, Route},
    policy::Findings,
    problem::{self, Problem},
    route::Target,
};

/// What identifies a request to the cache; the parts that have to be made.
pub struct Identity<'a> {
    host: &'a str,
    /// As it is forwarded.
    pub query: Option<Cow<'a, str>>,
    partition: Option<[u8; 16]>,
    scheme: &'static str,
    from_trusted: bool,
}

impl<'a> Identity<'a> {
    /// The host always counts: the upstream is told it and may answer by it. Credentials that were checked
    /// here do not: who calls is told by the partition.
    #[must_use]
    pub fn of(
        host: &'a str,
        target: &'a Target<'_>,
        found: &Findings,
        route: &Route,
        (gateway, connection): (&Gateway, Connection),
    ) -> Self {
        let query = target.query.as_deref().and_then(|query| found.forwarded_query(query));
        Self {
            host,
            query: match &route.cache {
                Some(options) => query.map(|query| options.forwarded_query(query)),
                None => query,
            },
            partition: found.caller.as_ref().map(|caller| caller.partition.to_be_bytes()),
            scheme: connection.scheme,
            from_trusted: gateway.trusts(connection.peer),
        }
    }
}

/// The request in the form in which cache and upstream see it.
#[must_use]
pub fn normalised<'a>(head: &'a Parts, route: &Route) -> Cow<'a, Parts> {
    match &route.cache {
        Some(options) if !options.languages.is_empty() => {
            Cow::Owned(language::normalised(head, &options.languages))
        }
        _ => Cow::Borrowed(head),
    }
}

/// What the look-up came to.
pub enum Looked<'a> {
    Answered(Response<Body>),
    /// Answered from the store, and what is stored is to be renewed in the background (RFC 5861, section 3).
    Renewing(Response<Body>),
    /// The upstream is needed, and others wait, or will, for what it answers.
    Leading(Standing, Followers),
    Unanswered(Lookup<'a>),
}

/// A look-up that needs the upstream, until its answer is there.
pub struct Lookup<'a> {
    /// `None`: it is nothing for the cache.
    pub(super) asked: Option<Asked<'a>>,
}

/// A request to the cache with what its look-up left to be done.
pub(super) struct Asked<'a> {
    pub(super) cache: &'a Cache,
    pub(super) request: CacheRequest<'a>,
    pub(super) standing: Standing,
}

/// What a look-up left to be done; it outlives the borrows of its request.
pub struct Standing {
    pub(super) why: Forwarded,
    pub(super) key: Option<Name>,
    /// Taken before the request is sent: what is invalidated meanwhile is not stored.
    pub(super) moment: Moment,
    pub(super) sent_ms: u64,
    pub(super) stale: Option<Hit>,
    pub(super) mend: Option<Box<Mend>>,
    pub(super) role: Role,
}

/// Who else has to do with the answer.
pub(super) enum Role {
    /// Others wait for it.
    Lead(Flight),
    /// Nobody waits, since lately it was not to be shared.
    Pass(Pass),
    Alone {
        /// It waited itself, in vain.
        waited: bool,
    },
}

/// When and why the cache is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// Milliseconds since the epoch.
    pub now_ms: u64,
    pub purpose: Purpose,
    /// Whether the request has a body; under HTTP/2 no field need say so.
    pub has_body: bool,
}

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// For a client that waits.
    Answer,
    /// To renew what is stored; a stale answer is then no answer.
    Renew,
}

/// Asks the cache. `word` is what the access log will say of it.
pub async fn lookup<'a>(
    live: &'a Live,
    route: &'a Route,
    head: &'a Parts,
    target: &'a Target<'_>,
    identity: &'a Identity<'_>,
    Asking { now_ms, purpose, has_body }: Asking,
    word: &mut Option<&'static str>,
) -> Result<Looked<'a>, Problem> {
    let Some((cache, request)) = ask(live, route, head, target, identity, now_ms) else {
        return Ok(Looked::Unanswered(Lookup { asked: None }));
    };
    let mut asked = match has_body && head.method.is_safe() {
        true => cache::Looked::past(&request, Bypass::RequestBody),
        false => cache.look(&request).await,
    };
    let turn = match purpose {
        Purpose::Answer => cache.turn(&request, &mut asked),
        Purpose::Renew => Turn::Alone,
    };
    let (key, mut found) = (asked.key, asked.found);
    let role = match turn {
        Turn::Lead(flight) => Role::Lead(flight),
        Turn::Pass(pass) => Role::Pass(pass),
        Turn::Alone => Role::Alone { waited: false },
        // Boxed: few wait, and it would make the future of every request larger.
        Turn::Follow(follow) => match Box::pin(follow.outcome(cache, &request)).await {
            Outcome::Lead(flight) => Role::Lead(flight),
            Outcome::Alone => Role::Alone { waited: true },
            Outcome::Shared(hit) => {
                *word = Some("collapsed");
                return Ok(Looked::Answered(hit.respond(&request)));
            }
            Outcome::Failed(problem) => match (stand_in(found, &request), problem) {
                (Ok(hit), _) => {
                    *word = Some("stale");
                    return Ok(Looked::Answered(hit.respond(&request)));
                }
                (Err(_), Some(problem)) => {
                    *word = Some("collapsed");
                    return Err(Arc::unwrap_or_clone(problem));
                }
                (Err(back), None) => {
                    found = back;
                    Role::Alone { waited: true }
                }
            },
        },
    };
    let (said, looked) = looked(cache, request, (found, key), purpose, role);
    *word = said;
    looked
}

/// The stored answer that stands in for a failed upstream, or what was found.
fn stand_in(found: Found, request: &CacheRequest<'_>) -> Result<Hit, Found> {
    match found {
        Found::Stale(hit, why) => hit.on_error(request).map_err(|hit| Found::Stale(hit, why)),
        found => Err(found),
    }
}

/// For a route without a cache: what it changes may be stored for another.
static UNCACHED: LazyLock<RouteCacheOptions> =
    LazyLock::new(|| RouteCacheOptions { enabled: false, ..RouteCacheOptions::default() });

/// The request as the cache sees it, where it is one for the cache.
fn ask<'a>(
    live: &'a Live,
    route: &'a Route,
    head: &'a Parts,
    target: &'a Target<'_>,
    identity: &'a Identity<'_>,
    now_ms: u64,
) -> Option<(&'a Cache, CacheRequest<'a>)> {
    let cache = live.cache.as_ref()?;
    let options = match &route.cache {
        Some(options) => options,
        None if head.method.is_safe() => return None,
        None => &UNCACHED,
    };
    let request = CacheRequest {
        method: &head.method,
        host: identity.host,
        path: &target.path,
        query: identity.query.as_deref(),
        headers: &head.headers,
        partition: identity.partition.as_ref().map(<[u8; 16]>::as_slice),
        scheme: identity.scheme,
        from_trusted: identity.from_trusted,
        options,
        now_ms,
    };
    Some((cache, request))
}

/// What is to be done about what was found, and the word for it.
fn looked<'a>(
    cache: &'a Cache,
    request: CacheRequest<'a>,
    (found, key): (Found, Option<Name>),
    purpose: Purpose,
    role: Role,
) -> (Option<&'static str>, Result<Looked<'a>, Problem>) {
    let needs = |why, stale, mend| {
        let followers = match &role {
            Role::Lead(flight) => Some(flight.followers()),
            Role::Pass(_) | Role::Alone { .. } => None,
        };
        let (moment, sent_ms) = (cache.moment(), exchange::now_ms());
        let standing = Standing { why, key, moment, sent_ms, stale, mend, role };
        match followers {
            Some(followers) => Looked::Leading(standing, followers),
            None => Looked::Unanswered(Lookup { asked: Some(Asked { cache, request, standing }) }),
        }
    };
    let (word, looked) = match found {
        Found::Fresh(hit) => (Some("hit"), Looked::Answered(hit.respond(&request))),
        Found::Revalidating(hit, _) if purpose == Purpose::Renew => {
            (Some("validate"), needs(Forwarded::Validate(Validate::Stale), Some(hit), None))
        }
        Found::Revalidating(hit, true) => (Some("stale"), Looked::Renewing(hit.respond(&request))),
        Found::Revalidating(hit, false) => (Some("stale"), Looked::Answered(hit.respond(&request))),
        Found::NotCached => {
            return (Some("not-cached"), Err(not_cached(request.options)));
        }
        Found::Stale(hit, why) => (Some("validate"), needs(Forwarded::Validate(why), Some(hit), None)),
        Found::Partial(mend) => (Some("partial"), needs(Forwarded::Miss(Miss::Partial), None, Some(mend))),
        Found::Miss(miss) => (Some("miss"), needs(Forwarded::Miss(miss), None, None)),
        Found::Bypass(Bypass::Disabled) => (None, needs(Forwarded::Bypass(Bypass::Disabled), None, None)),
        Found::Bypass(bypass) => (Some("bypass"), needs(Forwarded::Bypass(bypass), None, None)),
    };
    (word, Ok(looked))
}

fn not_cached(options: &RouteCacheOptions) -> Problem {
    let detail = match options.offline {
        true => {
            "the upstream is not asked (`cache: { offline: true }`), and nothing is stored that may answer"
        }
        false => "the request takes only a stored answer, and none is fit",
    };
    Problem::new(&problem::NOT_CACHED, detail)
}

impl<'a> Lookup<'a> {
    /// The look-up once more, from the request it was made for.
    #[must_use]
    pub fn resume(
        live: &'a Live,
        route: &'a Route,
        head: &'a Parts,
        target: &'a Target<'_>,
        identity: &'a Identity<'_>,
        standing: Standing,
    ) -> Self {
        let asked = ask(live, route, head, target, identity, standing.sent_ms);
        Self { asked: asked.map(|(cache, request)| Asked { cache, request, standing }) }
    }

    /// Puts the conditions of a stored answer, or the range that is missing in it, in place of the caller's
    /// own (RFC 9111, sections 4.3.1 and 3.4).
    pub fn condition(&self, headers: &mut HeaderMap) {
        const OWN: [HeaderName; 4] =
            [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::RANGE, header::IF_RANGE];
        let Some(asked) = &self.asked else { return };
        let Standing { stale, mend, .. } = &asked.standing;
        let mut conditions = match stale {
            Some(hit) => hit.conditions(asked.request.headers),
            None => SmallVec::new(),
        };
        conditions.extend(mend.iter().flat_map(|mend| mend.fields()));
        if conditions.is_empty() {
            return;
        }
        for name in &OWN {
            headers.remove(name);
        }
        for (name, value) in conditions {
            headers.insert(name, value);
        }
    }
}
