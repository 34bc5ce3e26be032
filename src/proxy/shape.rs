//! Shape: the last hand on every answer, whether it came from an upstream, the store or the gateway itself.

use http::{HeaderName, HeaderValue, Response, request::Parts};

use super::{
    finish::{self, Record},
    guard,
    receive::{self, Connection},
};
use crate::{
    exchange::{Body, RequestId, now_ms},
    gateway::Gateway,
    policy::Findings,
    problem::{self, Blame, Problem},
    telemetry::{Telemetry, log::Hush},
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

/// The answer to a request of which there is no head: it has an id, and its reason is counted and logged.
pub fn refuse_unrouted(
    gateway: &Gateway,
    telemetry: &Telemetry,
    connection: Connection,
    problem: Problem,
) -> Response<Body> {
    let id = RequestId::generate(now_ms(), fastrand::u128(..));
    log(&problem, id.as_str());
    if problem.kind.blame == Blame::Client {
        finish::headless(telemetry, gateway.number, connection.peer, &id, &problem);
    } else {
        // A panic: its request's record was dropped on the way here and emitted the event.
        telemetry.metrics.problem(problem.kind);
    }
    let mut response = problem.into_response(&type_base(gateway, connection, ""), id.as_str());
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(X_REQUEST_ID, id);
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
    log(&problem, id);
    problem.into_response(&type_base(gateway, connection, receive::host(head)), id)
}

/// What stands before the word in a problem's `type`: the address of its page on this gateway, else a URN.
fn type_base(gateway: &Gateway, connection: Connection, host: &str) -> String {
    match &gateway.problem_path {
        Some(path) if !host.is_empty() => format!("{}://{host}{path}", connection.scheme),
        Some(path) => path.to_string(),
        None => "urn:gatewright:problem:".to_owned(),
    }
}

/// The operator's half, at most once a second for each kind of problem. A client's own fault stays out of the
/// log: the access log has it.
fn log(problem: &Problem, request_id: &str) {
    static HUSH: [Hush; 64] = [const { Hush::new() }; 64];
    if problem.kind.blame == Blame::Client {
        return;
    }
    let row = problem::ALL.iter().position(|kind| std::ptr::eq(*kind, problem.kind)).unwrap_or_default();
    let Some(unsaid) = HUSH[row % HUSH.len()].turn(now_ms()) else { return };
    let (code, cause) = (problem.kind.slug, problem.cause.as_deref());
    match problem.kind.blame {
        Blame::Gateway => tracing::error!(request_id, code, cause, unsaid, "{}", problem.detail),
        _ => tracing::warn!(request_id, code, cause, unsaid, "{}", problem.detail),
    }
}
