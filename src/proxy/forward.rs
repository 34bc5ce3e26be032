//! Forward: one request to one endpoint through reqwest, its answer's head back.
//!
//! The URL sent is checked to be the path that was matched: two views of one path are the classic way past
//! a gateway. A request is sent a second time only when it surely did nothing the first time: it has no body,
//! its method is idempotent, and the kept-alive connection it went to was just being closed; or no connection
//! was made at all, and the upstream has another endpoint: a body that was not begun goes there too.

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::Instant;
use url::Url;

use super::body::{Upload, UploadState, UpstreamBody};
use crate::{
    gateway::route::{Credential, Route, Target, Timeouts},
    problem::{self, Problem},
    upstream::{Endpoint, Failure, Permit, failure::Reason},
};

/// What goes out: the head as the upstream shall see it.
pub struct Outgoing<'a> {
    pub method: &'a Method,
    /// Canonical path as matched.
    pub path: &'a str,
    /// Canonical query, without what was checked and removed here.
    pub query: Option<&'a str>,
    pub headers: HeaderMap,
}

/// An upstream's answer with what is known of the way there.
pub struct Answer {
    pub response: http::Response<UpstreamBody>,
    pub attempts: u32,
    pub upload: Option<Arc<Upload>>,
}

/// A call that did not come to an answer.
pub struct Failed {
    pub problem: Problem,
    pub reason: Option<Reason>,
    pub attempts: u32,
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self { problem, reason: None, attempts: 0 }
    }
}

/// Sends the request and waits for the head of the answer. `outgoing` makes the head; a request that is sent
/// again is made again, which costs nothing where it is not.
pub async fn forward<'a>(
    route: &Route,
    worker: usize,
    body: Option<Incoming>,
    outgoing: impl Fn(&Endpoint) -> Outgoing<'a>,
) -> Result<Answer, Failed> {
    let upstream = &route.target.upstream;
    let slot = match &route.cap {
        Some(cap) => Some(cap.enter().ok_or_else(|| at_cap("the operation is at its cap on requests"))?),
        None => None,
    };
    let full = || at_cap("every endpoint of the upstream is at its cap on requests");
    let mut permit = upstream.admit().ok_or_else(full)?;
    let timeouts = &route.timeouts;
    let deadline = timeouts.total.map(|total| Instant::now() + total);
    let upload = body.map(|incoming| Upload::new(incoming, route.body_limit, timeouts.idle));
    let request_to = |endpoint: &Endpoint| request(endpoint, route, outgoing(endpoint), upload.as_ref());
    let request = request_to(permit.endpoint())?;
    let can_repeat = upload.is_none() && request.method().is_idempotent();
    let clock = Clock { timeouts, deadline, upload: upload.as_deref() };
    let mut attempts = 1;
    let mut result = send(&permit, worker, request, &clock).await;
    if can_repeat && result.as_ref().is_err_and(Failure::is_stale_connection) {
        attempts = 2;
        result = send(&permit, worker, request_to(permit.endpoint())?, &clock).await;
    }
    // Where no connection came about nothing was sent: each other endpoint is asked once.
    for _ in 1..upstream.endpoints.len() {
        let whole = upload.as_deref().is_none_or(Upload::is_untouched);
        if !(whole && result.as_ref().is_err_and(Failure::was_not_sent)) {
            break;
        }
        permit.endpoint().failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let Some(next) = upstream.admit_behind(&permit) else { break };
        permit = next;
        attempts += 1;
        result = send(&permit, worker, request_to(permit.endpoint())?, &clock).await;
    }
    match result {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let failure = Failure::new(Reason::Protocol, "101 to a request that asked for no other protocol");
            Err(failed(failure, &permit, upload.as_deref(), route.body_limit, attempts))
        }
        Ok(response) => {
            let response = http::Response::<reqwest::Body>::from(response)
                .map(|body| UpstreamBody::new(body, timeouts.idle, deadline, permit, slot));
            Ok(Answer { response, attempts, upload })
        }
        Err(failure) => Err(failed(failure, &permit, upload.as_deref(), route.body_limit, attempts)),
    }
}

/// The refusal of one request more than may be under way (RFC 9209, section 2.3.12).
fn at_cap(detail: &'static str) -> Problem {
    Problem::new(&problem::UPSTREAM_UNAVAILABLE, detail)
        .retry_after(1)
        .proxy_error("connection_limit_reached")
}

/// The request of one attempt as reqwest takes it.
fn request(
    endpoint: &Endpoint,
    route: &Route,
    out: Outgoing<'_>,
    upload: Option<&Arc<Upload>>,
) -> Result<reqwest::Request, Problem> {
    let credentials = &route.rewrite.credentials;
    let url = target_url(&endpoint.wire, &route.target, out.path, out.query, credentials)?;
    let mut request = reqwest::Request::new(out.method.clone(), url);
    *request.headers_mut() = out.headers;
    *request.body_mut() = upload.map(|upload| reqwest::Body::wrap(upload.body()));
    Ok(request)
}

/// The upstream's URL for a matched path; refuses anything that would not be sent byte for byte.
///
/// Only path and query are parsed: the origin was, when the upstream was made. Setting a path never touches the
/// authority, also when it begins with `//`.
fn target_url(
    origin: &Url,
    target: &Target,
    path: &str,
    query: Option<&str>,
    credentials: &[Credential],
) -> Result<Url, Problem> {
    let path = upstream_path(target, path);
    let query = upstream_query(query, credentials);
    let mut url = origin.clone();
    url.set_path(&path);
    url.set_query(query.as_deref());
    if url.path() != path || url.query() != query.as_deref() {
        let detail = "the request target would not reach the upstream as it was checked";
        let cause = format!("`{path}` became `{}`", url.path());
        return Err(Problem::new(&problem::MALFORMED_REQUEST, detail).cause(cause));
    }
    Ok(url)
}

/// The upstream's base path and what follows it; most often what came, as it came.
fn upstream_path<'a>(target: &Target, path: &'a str) -> Cow<'a, str> {
    let rest = target.strip.rest(path);
    let slash = !rest.starts_with('/') && (!rest.is_empty() || target.prefix.is_empty());
    if target.prefix.is_empty() && !slash {
        return Cow::Borrowed(rest);
    }
    let slash = if slash { "/" } else { "" };
    Cow::Owned([&target.prefix, slash, rest].concat())
}

/// The query with the credentials that the gateway shows; most often what came, as it came.
fn upstream_query<'a>(query: Option<&'a str>, credentials: &[Credential]) -> Option<Cow<'a, str>> {
    let mut query = query.map(Cow::Borrowed);
    for credential in credentials {
        if let Credential::Query(pair) = credential {
            query = Some(match query {
                Some(query) => Cow::Owned([&query, "&", pair].concat()),
                None => Cow::Owned(pair.to_string()),
            });
        }
    }
    query
}

/// A client that pauses is found out by its body's own clock, which must strike before that of the call.
const GRACE: Duration = Duration::from_millis(100);

/// The bounds in time of one call.
struct Clock<'a> {
    timeouts: &'a Timeouts,
    deadline: Option<Instant>,
    upload: Option<&'a Upload>,
}

impl Clock<'_> {
    /// When to give up, and why, as far as is known now: the bound on the first byte counts from the last
    /// byte of the request, so a long upload is no slow upstream.
    fn next(&self, start: Instant) -> (Instant, Reason) {
        let silence = match self.upload {
            Some(upload) if upload.state() == UploadState::Running => {
                let opening = if upload.bytes() == 0 { self.timeouts.connect } else { Duration::ZERO };
                (upload.last_progress() + self.timeouts.idle.max(opening) + GRACE, Reason::IdleTimeout)
            }
            Some(upload) => (upload.last_progress() + self.timeouts.first_byte, Reason::FirstByteTimeout),
            None => (start + self.timeouts.first_byte, Reason::FirstByteTimeout),
        };
        match self.deadline {
            Some(deadline) if deadline < silence.0 => (deadline, Reason::TotalTimeout),
            _ => silence,
        }
    }

    /// When to look at the clock again: a body may end before `give_up`, and then the bound on the first
    /// byte counts.
    fn look(&self, give_up: Instant) -> Instant {
        match self.upload {
            Some(upload) if upload.state() == UploadState::Running => {
                give_up.min(Instant::now() + self.timeouts.first_byte)
            }
            _ => give_up,
        }
    }
}

async fn send(
    permit: &Permit,
    worker: usize,
    request: reqwest::Request,
    clock: &Clock<'_>,
) -> Result<reqwest::Response, Failure> {
    let client = permit.endpoint().client(worker)?;
    let start = Instant::now();
    let call = client.execute(request);
    tokio::pin!(call);
    let sleep = tokio::time::sleep_until(clock.look(clock.next(start).0));
    tokio::pin!(sleep);
    loop {
        tokio::select! {
            biased;
            result = &mut call => return result.map_err(|error| Failure::from_reqwest(&error)),
            () = &mut sleep => {
                let (give_up, reason) = clock.next(start);
                if give_up <= Instant::now() {
                    return Err(Failure::new(reason, format!("no answer began within {:?}", start.elapsed())));
                }
                sleep.as_mut().reset(clock.look(give_up));
            }
        }
    }
}

/// Turns a failure into the answer for the client; a fault of its own body is its own.
fn failed(failure: Failure, permit: &Permit, upload: Option<&Upload>, limit: u64, attempts: u32) -> Failed {
    let problem = match upload.map(Upload::state) {
        Some(UploadState::TooLarge) => too_large(limit),
        Some(UploadState::Stalled) => {
            Problem::new(&problem::REQUEST_TIMEOUT, "the request body stopped arriving").cause(&failure)
        }
        Some(UploadState::Broken) => {
            Problem::new(&problem::MALFORMED_REQUEST, "the request body ended before it was complete")
                .cause(&failure)
        }
        _ => {
            permit.endpoint().failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let reason = failure.reason;
            return Failed { problem: failure.into_problem(), reason: Some(reason), attempts };
        }
    };
    Failed { problem, reason: None, attempts }
}

/// The refusal of a body beyond the route's bound.
#[must_use]
pub fn too_large(limit: u64) -> Problem {
    Problem::new(&problem::BODY_TOO_LARGE, format!("the request body may hold at most {limit} bytes"))
        .header(header::CONNECTION, header::HeaderValue::from_static("close"))
}
