//! Store: what becomes of the upstream's answer, for its own client and for those who wait for the same.
//!
//! The cache keeps what the upstream said; Shape runs on hits and misses alike.

use std::sync::Arc;

use http::{Response, StatusCode, Version, header};

use super::{
    body::UpstreamBody,
    forward::{Answer, Failed},
    hop::{self, Via},
    lookup::{Asked, Lookup, Role},
};
use crate::{
    cache::{Bypass, Fill, Flight, Mended, Rest, Times, status, status::Forwarded},
    exchange::{self, Body},
    problem::Problem,
};

/// What becomes of the upstream's answer.
pub enum Settled<'a> {
    Answer(Response<Body>),
    /// The upstream confirmed something other than what is stored: ask again, without conditions.
    Again(Box<Lookup<'a>>),
}

impl<'a> Settled<'a> {
    fn again(asked: Asked<'a>) -> Self {
        Self::Again(Box::new(Lookup { asked: Some(asked) }))
    }
}

impl<'a> Lookup<'a> {
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
        let stale = asked.standing.stale.take();
        let answer = match answer {
            Ok(answer) => answer,
            Err(failed) => {
                asked.fails(Some(&failed));
                let hit = stale.and_then(|hit| hit.on_error(&asked.request).ok()).ok_or(failed.problem)?;
                *word = Some("stale");
                return Ok(Settled::Answer(hit.respond(&asked.request)));
            }
        };
        let times = Times { sent_ms: asked.standing.sent_ms, received_ms: exchange::now_ms() };
        let response = passed(answer.response, via);
        if let Some(mend) = asked.standing.mend.take() {
            let (status, headers) = (response.status(), response.headers());
            match asked.cache.mend(&asked.request, *mend, status, headers, times) {
                Mended::Rest(rest) => return Ok(Settled::Answer(asked.complete(*rest, response))),
                Mended::Again => return Ok(Settled::again(asked)),
                Mended::Own => {}
            }
        }
        if let Some(hit) = stale {
            let not_modified = response.status() == StatusCode::NOT_MODIFIED;
            if not_modified && !hit.leaves_to_client(asked.request.headers, response.headers()) {
                let refreshed = asked.cache.refresh(&asked.request, hit, response.headers(), times);
                return Ok(match refreshed {
                    Some(hit) => {
                        asked.standing.role.renewed(hit.is_fresh(), times.received_ms);
                        *word = Some("validated");
                        Settled::Answer(hit.respond(&asked.request))
                    }
                    None => Settled::again(asked),
                });
            }
            let failed = matches!(response.status().as_u16(), 500 | 502 | 503 | 504);
            if failed && let Ok(hit) = hit.on_error(&asked.request) {
                asked.fails(None);
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
        let standing = self.standing;
        if !self.request.method.is_safe() {
            // Boxed: it is rare, and its future would make that of every request larger.
            Box::pin(self.cache.invalidate(&self.request, status, response.headers())).await;
        }
        let fill = match standing.why {
            Forwarded::Bypass(_) => None,
            _ => Some(self.cache.admit(&self.request, status, response.headers(), times, standing.moment)),
        };
        let outcome = fill.as_ref().map(|fill| fill.as_ref().map(|_| ()).map_err(|why| *why));
        if standing.why != Forwarded::Bypass(Bypass::Disabled) {
            let waited = matches!(standing.role, Role::Alone { waited: true });
            let key = fill.as_ref().and_then(|fill| fill.as_ref().ok()).map(Fill::key).or(standing.key);
            let member = status::forwarded(standing.why, status, outcome, waited, key);
            response.headers_mut().append(status::CACHE_STATUS, member);
        }
        let Some(Ok(mut fill)) = fill else {
            standing.role.not_shared(status, times.received_ms);
            return response.map(Body::stream);
        };
        if fill.is_reusable() {
            standing.role.shared(|flight| fill.lead(flight));
        } else {
            standing.role.not_shared(status, times.received_ms);
        }
        response.map(|body| fill.through(Box::pin(body)))
    }

    /// Puts what is stored around the part that came, and stores it all.
    fn complete(self, mut rest: Rest, response: Response<UpstreamBody>) -> Response<Body> {
        if rest.is_reusable() {
            self.standing.role.shared(|flight| rest.lead(flight));
        } else {
            self.standing.role.not_shared(response.status(), self.request.now_ms);
        }
        rest.respond(&self.request, Box::pin(response.into_body()))
    }

    /// Tells those who wait that the upstream failed. What was the fault of this one call is not theirs.
    fn fails(&mut self, failed: Option<&Failed>) {
        let role = std::mem::replace(&mut self.standing.role, Role::Alone { waited: false });
        let Role::Lead(flight) = role else { return };
        match failed {
            None => flight.fail(None),
            Some(failed) if failed.reason.is_some() => flight.fail(Some(Arc::new(failed.problem.clone()))),
            Some(_) => flight.leave(),
        }
    }
}

impl Role {
    /// Those who wait are given the answer.
    fn shared(self, lead: impl FnOnce(Flight)) {
        if let Self::Lead(flight) = self {
            lead(flight);
        }
    }

    /// What is stored was confirmed, which does those who wait no good if it is not `fresh` now.
    fn renewed(self, fresh: bool, now_ms: u64) {
        match self {
            Self::Lead(flight) if fresh => flight.renewed(),
            role if !fresh => role.not_shared(StatusCode::NOT_MODIFIED, now_ms),
            _ => {}
        }
    }

    /// The answer is one request's own: those who wait go on at once, and for a while nobody waits; but an
    /// error says nothing of the next answer.
    fn not_shared(self, status: StatusCode, now_ms: u64) {
        match self {
            Self::Lead(flight) if status.is_server_error() => flight.leave(),
            Self::Lead(flight) => flight.pass(now_ms),
            Self::Pass(pass) if !status.is_server_error() => pass.extend(now_ms),
            Self::Pass(_) | Self::Alone { .. } => {}
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
