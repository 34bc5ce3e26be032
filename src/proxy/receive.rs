//! Receive: the request's head in the one form in which every later step sees it.

use std::{borrow::Cow, net::IpAddr};

use http::{HeaderMap, Method, header, request::Parts};

use super::hop;
use crate::{
    exchange::RequestId,
    gateway::Gateway,
    problem::{self, Problem},
    route::{self, Refusal, Target},
};

const X_REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-request-id");

/// Who is at the other end of the connection that a request came by.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub peer: IpAddr,
    /// The worker that serves it: clients of upstreams are per worker.
    pub worker: usize,
    /// `http` or `https`.
    pub scheme: &'static str,
}

/// The authority that the client asked for, as it came: `:authority` or `Host`.
#[must_use]
pub fn host(head: &Parts) -> &str {
    match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    }
}

/// The same as it is compared: lower case, without its port.
pub fn normal_host(head: &Parts) -> Result<Cow<'_, str>, Problem> {
    route::normalise(host(head)).map_err(|error| Problem::new(&problem::MALFORMED_REQUEST, error.as_str()))
}

/// The caller's request id when it is sane, else a new one.
#[must_use]
pub fn request_id(headers: &HeaderMap, now_ms: u64) -> RequestId {
    headers
        .get(X_REQUEST_ID)
        .and_then(|value| RequestId::accept(value.as_bytes()))
        .unwrap_or_else(|| RequestId::generate(now_ms, fastrand::u128(..)))
}

/// The client's address, seen through trusted hops.
#[must_use]
pub fn client_address(gateway: &Gateway, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    if gateway.trusted_proxies.is_empty() {
        return peer;
    }
    hop::client_address(headers, peer, |address| gateway.trusts(address))
}

/// Brings the target to canonical form and refuses what no route could take.
pub fn receive<'a>(head: &'a Parts, via: &hop::Via) -> Result<Target<'a>, Problem> {
    if head.method == Method::CONNECT {
        return Err(Problem::new(&problem::NOT_IMPLEMENTED, "CONNECT is not served here"));
    }
    if hop::came_through(&head.headers, &via.name) {
        return Err(Problem::new(&problem::LOOP_DETECTED, "`Via` already names this gateway"));
    }
    if let Some(expect) = head.headers.get(header::EXPECT)
        && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(Problem::new(&problem::EXPECTATION_FAILED, "only `Expect: 100-continue` is known"));
    }
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    route::canonical(target).map_err(|refusal| match refusal {
        Refusal::TooLong => Problem::new(&problem::URI_TOO_LONG, refusal.as_str()),
        _ => Problem::new(&problem::MALFORMED_REQUEST, refusal.as_str()),
    })
}
