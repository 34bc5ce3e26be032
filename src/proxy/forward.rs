//! Forward: one request to one endpoint through reqwest, its answer's head back.
//!
//! The URL sent is checked to be the path that was matched: two views of one path are the classic way past
//! a gateway. A request is sent a second time only when it surely did nothing the first time: it has no body,
//! its method is idempotent, and the kept-alive connection it went to was just being closed.

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::Instant;
use url::Url;

use super::body::{RequestBody, Upload, UploadState, UpstreamBody};
use crate::{
    gateway::route::{Credential, Target, Timeouts},
    problem::{self, Problem},
    upstream::{Failure, Permit, failure::Reason},
};

/// What goes out: the head as the upstream shall see it.
pub struct Outgoing<'a> {
    pub method: &'a Method,
    /// Canonical path as matched.
    pub path: &'a str,
    /// Canonical query, without what was checked and removed here.
    pub query: Option<Cow<'a, str>>,
    pub headers: HeaderMap,
    /// The request's body, unless it has none.
    pub body: Option<Incoming>,
    pub body_limit: u64,
    pub worker: usize,
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

/// Sends the request and waits for the head of the answer.
pub async fn forward(
    target: &Target,
    credentials: &[Credential],
    timeouts: &Timeouts,
    mut out: Outgoing<'_>,
) -> Result<Answer, Failed> {
    let permit = target.upstream.admit().ok_or_else(|| {
        Problem::new(
            &problem::UPSTREAM_UNAVAILABLE,
            "every endpoint of the upstream is at its cap on requests",
        )
        .retry_after(1)
    })?;
    let url = target_url(&permit.endpoint().origin, target, out.path, out.query.as_deref(), credentials)?;
    let deadline = timeouts.total.map(|total| Instant::now() + total);
    let (body, upload) = match out.body.take() {
        None => (None, None),
        Some(incoming) => {
            let (body, upload) = RequestBody::new(incoming, out.body_limit, timeouts.idle);
            (Some(reqwest::Body::wrap(body)), Some(upload))
        }
    };
    let can_repeat = body.is_none() && out.method.is_idempotent();
    let spare = can_repeat.then(|| (url.clone(), out.headers.clone()));
    let mut request = reqwest::Request::new(out.method.clone(), url);
    *request.headers_mut() = out.headers;
    *request.body_mut() = body;
    let clock = Clock { timeouts, deadline, upload: upload.as_deref() };
    let mut attempts = 1;
    let mut result = send(&permit, out.worker, request, &clock).await;
    if let (Err(failure), Some((url, headers))) = (&result, spare)
        && failure.is_stale_connection()
    {
        attempts = 2;
        let mut again = reqwest::Request::new(out.method.clone(), url);
        *again.headers_mut() = headers;
        result = send(&permit, out.worker, again, &clock).await;
    }
    match result {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let failure = Failure::new(Reason::Protocol, "101 to a request that asked for no other protocol");
            Err(failed(failure, &permit, upload.as_deref(), out.body_limit, attempts))
        }
        Ok(response) => {
            let response = http::Response::<reqwest::Body>::from(response)
                .map(|body| UpstreamBody::new(body, timeouts.idle, deadline, permit));
            Ok(Answer { response, attempts, upload })
        }
        Err(failure) => Err(failed(failure, &permit, upload.as_deref(), out.body_limit, attempts)),
    }
}

/// The upstream's URL for a matched path; refuses anything that would not be sent byte for byte.
fn target_url(
    origin: &Url,
    target: &Target,
    path: &str,
    query: Option<&str>,
    credentials: &[Credential],
) -> Result<Url, Problem> {
    let root = origin.as_str().trim_end_matches('/');
    let rest = target.strip.rest(path);
    let mut text =
        String::with_capacity(root.len() + target.prefix.len() + path.len() + query.map_or(0, str::len) + 2);
    text.push_str(root);
    text.push_str(&target.prefix);
    if !rest.starts_with('/') && (!rest.is_empty() || target.prefix.is_empty()) {
        text.push('/');
    }
    text.push_str(rest);
    let end_of_path = text.len();
    push_query(&mut text, query, credentials);
    let url = Url::parse(&text).map_err(|error| {
        Problem::new(&problem::MALFORMED_REQUEST, "the request target cannot be forwarded").cause(error)
    })?;
    let same = url.as_str().len() == text.len() && url.as_str()[root.len()..] == text[root.len()..];
    if !same {
        let detail = "the request target would not reach the upstream as it was checked";
        let cause = format!("`{}` became `{}`", &text[root.len()..end_of_path], url.path());
        return Err(Problem::new(&problem::MALFORMED_REQUEST, detail).cause(cause));
    }
    Ok(url)
}

fn push_query(text: &mut String, query: Option<&str>, credentials: &[Credential]) {
    let mut separator = '?';
    if let Some(query) = query {
        text.push(separator);
        text.push_str(query);
        separator = '&';
    }
    for credential in credentials {
        if let Credential::Query(pair) = credential {
            text.push(separator);
            text.push_str(pair);
            separator = '&';
        }
    }
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
    let sleep = tokio::time::sleep_until(clock.next(start).0);
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
                sleep.as_mut().reset(give_up);
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
