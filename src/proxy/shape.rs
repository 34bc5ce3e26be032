//! Shape: the last hand on every answer, whether it came from an upstream, the store or the gateway itself.

use http::{HeaderName, HeaderValue, Response, request::Parts};

use super::{
    finish::Record,
    guard,
    receive::{self, Connection},
};
use crate::{
    exchange::Body,
    gateway::Gateway,
    policy::Findings,
    problem::{Blame, Problem},
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Turns a refusal into its problem document, then applies the route's changes and the policies' fields.
pub fn shape(
    gateway: &Gateway,
    connection: Connection,
    head: &Parts,
    record: &mut Record,
    found: Findings,
    outcome: Result<Response<Body>, Problem>,
) -> Response<Body> {
    let mut response = match outcome {
        Ok(response) => response,
        Err(problem) => refuse(gateway, connection, head, record, problem),
    };
    let headers = response.headers_mut();
    if let Some(route) = &record.route {
        route.rewrite.response.apply(headers);
    }
    guard::announce(headers, found.response_headers);
    if let Ok(id) = HeaderValue::from_str(record.request_id.as_str()) {
        headers.insert(X_REQUEST_ID, id);
    }
    response
}

fn refuse(
    gateway: &Gateway,
    connection: Connection,
    head: &Parts,
    record: &mut Record,
    problem: Problem,
) -> Response<Body> {
    record.problem = Some(problem.kind);
    record.cause.clone_from(&problem.cause);
    let id = record.request_id.as_str();
    if problem.kind.blame == Blame::Gateway {
        tracing::error!(request_id = id, code = problem.kind.slug, cause = problem.cause, "{}", problem.detail);
    } else if problem.kind.blame == Blame::Upstream {
        tracing::warn!(request_id = id, code = problem.kind.slug, cause = problem.cause, "{}", problem.detail);
    }
    let base = match &gateway.problem_path {
        Some(path) => format!("{}://{}{path}", connection.scheme, receive::host(head)),
        None => "urn:gatewright:problem:".to_owned(),
    };
    problem.into_response(&base, id)
}
