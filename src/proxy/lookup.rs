//! Lookup and Store: what the cache can answer, and what becomes of the upstream's answer.
//!
//! Asked after Guard, so that nobody gets what is not for them. The cache keeps what the upstream said;
//! Shape runs on hits and misses alike.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, Version, header, request::Parts};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    body::UpstreamBody,
    forward::{Answer, Failed},
    hop::{self, Via},
    receive::Connection,
};
use crate::{
    cache::{
        Cache, CacheRequest, Fill, Flight, Hit, Lookup as Found, Moment, Times, Turn, Validate, language,
        status,
    },
    exchange::{self, Body, BoxError},
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
    Unanswered(Lookup<'a>),
}

/// A look-up that needs the upstream, until its answer is there.
pub struct Lookup<'a> {
    /// `None`: the route has no cache.
    asked: Option<Asked<'a>>,
}

struct Asked<'a> {
    cache: &'a Cache,
    request: CacheRequest<'a>,
    why: status::Forwarded,
    /// Taken before the request is sent: what is invalidated meanwhile is not stored.
    moment: Moment,
    sent_ms: u64,
    stale: Option<Hit>,
    /// Others wait for this fetch.
    flight: Option<Flight>,
}

/// How long a request waits for another one's fetch before it makes its own.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Why the cache is asked.
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
    (now_ms, purpose): (u64, Purpose),
    word: &mut Option<&'static str>,
) -> Result<Looked<'a>, Problem> {
    let (Some(cache), Some(options)) = (&live.cache, &route.cache) else {
        return Ok(Looked::Unanswered(Lookup { asked: None }));
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
    let mut found = cache.lookup(&request).await;
    let mut flight = None;
    if matches!(found, Found::Miss(_)) {
        match cache.turn(&request) {
            Turn::Lead(own) => flight = Some(own),
            Turn::Follow(leader) => {
                leader.over(route.timeouts.first_byte.min(LONGEST_WAIT)).await;
                found = cache.lookup(&CacheRequest { now_ms: exchange::now_ms(), ..request }).await;
            }
            Turn::Alone => {}
        }
    }
    let why = status::Forwarded::of(&found);
    let asked = |why, stale| Asked {
        cache,
        request,
        why,
        moment: cache.moment(),
        sent_ms: exchange::now_ms(),
        stale,
        flight,
    };
    let (said, looked) = match found {
        Found::Fresh(hit) => ("hit", Looked::Answered(hit.respond(&request))),
        Found::Revalidating(hit, _) if purpose == Purpose::Renew => {
            ("validate", unanswered(asked(status::Forwarded::Validate(Validate::Stale), Some(hit))))
        }
        Found::Revalidating(hit, true) => ("stale", Looked::Renewing(hit.respond(&request))),
        Found::Revalidating(hit, false) => ("stale", Looked::Answered(hit.respond(&request))),
        Found::NotCached => {
            *word = Some("not-cached");
            return Err(Problem::new(
                &problem::NOT_CACHED,
                "the request takes only a stored answer, and none is fit",
            ));
        }
        Found::Stale(hit, why) => {
            ("validate", unanswered(asked(status::Forwarded::Validate(why), Some(hit))))
        }
        Found::Miss(_) | Found::Bypass(_) => {
            let word = if matches!(found, Found::Miss(_)) { "miss" } else { "bypass" };
            match why {
                Some(why) => (word, unanswered(asked(why, None))),
                None => (word, Looked::Unanswered(Lookup { asked: None })),
            }
        }
    };
    *word = Some(said);
    Ok(looked)
}

fn unanswered(asked: Asked<'_>) -> Looked<'_> {
    Looked::Unanswered(Lookup { asked: Some(asked) })
}

/// What becomes of the upstream's answer.
pub enum Settled<'a> {
    Answer(Response<Body>),
    /// The upstream confirmed something other than what is stored: ask again, without conditions.
    Again(Lookup<'a>),
}

impl<'a> Lookup<'a> {
    /// Puts the conditions of a stored answer in place of the caller's own (RFC 9111, section 4.3.1).
    pub fn condition(&self, headers: &mut HeaderMap) {
        let Some(asked) = &self.asked else { return };
        let Some(hit) = &asked.stale else { return };
        let conditions = hit.conditions(asked.request.headers);
        if conditions.is_empty() {
            return;
        }
        const OWN: [HeaderName; 4] =
            [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::RANGE, header::IF_RANGE];
        for name in &OWN {
            headers.remove(name);
        }
        for (name, value) in conditions {
            headers.insert(name, value);
        }
    }

    /// Turns the upstream's answer, or its absence, into the answer for the client.
    pub async fn settle(
        self,
        answer: Result<Answer, Failed>,
        via: &Via,
        word: &mut Option<&'static str>,
    ) -> Result<Settled<'a>, Problem> {
        let Some(mut asked) = self.asked else {
            let answer = answer.map_err(|failed| failed.problem)?;
            return Ok(Settled::Answer(passed(answer.response, via).map(Body::stream)));
        };
        let stale = asked.stale.take();
        let answer = match answer {
            Ok(answer) => answer,
            Err(failed) => {
                let hit = stale.and_then(|hit| hit.on_error(&asked.request)).ok_or(failed.problem)?;
                *word = Some("stale");
                return Ok(Settled::Answer(hit.respond(&asked.request)));
            }
        };
        let times = Times { sent_ms: asked.sent_ms, received_ms: exchange::now_ms() };
        let response = passed(answer.response, via);
        if let Some(hit) = stale {
            let not_modified = response.status() == StatusCode::NOT_MODIFIED;
            if not_modified && !hit.leaves_to_client(asked.request.headers, response.headers()) {
                let refreshed = asked.cache.refresh(&asked.request, hit, response.headers(), times);
                return Ok(match refreshed {
                    Some(hit) => {
                        *word = Some("validated");
                        Settled::Answer(hit.respond(&asked.request))
                    }
                    None => Settled::Again(Lookup { asked: Some(asked) }),
                });
            }
            let failed = matches!(response.status().as_u16(), 500 | 502 | 503 | 504);
            if failed && let Some(hit) = hit.on_error(&asked.request) {
                *word = Some("stale");
                return Ok(Settled::Answer(hit.respond(&asked.request)));
            }
        }
        Ok(Settled::Answer(asked.store(response, times).await))
    }
}

impl Asked<'_> {
    /// Stores the answer while it streams, if it may be stored, and says so in `Cache-Status`.
    async fn store(self, mut response: Response<UpstreamBody>, times: Times) -> Response<Body> {
        let status = response.status();
        if !self.request.method.is_safe() {
            // Boxed: it is rare, and its future would make that of every request larger.
            Box::pin(self.cache.invalidate(&self.request, status, response.headers())).await;
        }
        let fill = match self.why {
            status::Forwarded::Bypass(_) => None,
            _ => Some(self.cache.admit(&self.request, status, response.headers(), times, self.moment)),
        };
        let outcome = fill.as_ref().map(|fill| fill.as_ref().map(|_| ()).map_err(|why| *why));
        response.headers_mut().append(status::CACHE_STATUS, status::forwarded(self.why, status, outcome));
        match fill {
            Some(Ok(mut fill)) => {
                if let Some(flight) = self.flight {
                    fill.lead(flight);
                }
                response.map(|body| store_through(body, fill))
            }
            _ => {
                if let Some(flight) = self.flight {
                    flight.pass(times.received_ms);
                }
                response.map(Body::stream)
            }
        }
    }
}

/// The upstream's answer without the fields of its hop, with this hop's `Via`; how it came (HTTP/1.0, HTTP/2)
/// says nothing about the client's connection.
fn passed(mut response: Response<UpstreamBody>, via: &Via) -> Response<UpstreamBody> {
    let version = std::mem::replace(response.version_mut(), Version::HTTP_11);
    let headers = response.headers_mut();
    // Transfer-Encoding decided where the body ended (RFC 9112, section 6.3): a length beside it is a lie.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    hop::strip(headers);
    hop::add_via(headers, version, via);
    response
}

fn store_through(body: UpstreamBody, fill: Fill) -> Body {
    if body.is_end_stream() {
        fill.finish();
        return Body::Empty;
    }
    Body::stream(Storing { body, fill: Some(fill) })
}

/// An upstream's body that is stored while it goes by. Dropped early, it stores nothing.
struct Storing {
    body: UpstreamBody,
    fill: Option<Fill>,
}

impl HttpBody for Storing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        use std::task::Poll;
        let this = &mut *self;
        let polled = std::pin::Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(data), Some(fill)) = (frame.data_ref(), &mut this.fill) {
                    fill.data(data);
                }
                // Nothing comes behind trailers, and nobody may ask for it.
                if (frame.is_trailers() || this.body.is_end_stream())
                    && let Some(fill) = this.fill.take()
                {
                    fill.finish();
                }
            }
            Poll::Ready(None) => {
                if let Some(fill) = this.fill.take() {
                    fill.finish();
                }
            }
            Poll::Ready(Some(Err(_))) => this.fill = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
