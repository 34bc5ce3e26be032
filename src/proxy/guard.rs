//! Guard: the route's policies, one after the other, in the order of their table.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::{
    exchange::Body,
    policy::{Context, Findings, Policy, Verdict},
    problem::Problem,
};

/// Runs the policies until one of them ends the request, with an answer or a refusal. What they found out goes
/// to `found` in any case: the fields they ask for belong on the answer, whoever gives it.
pub async fn guard(
    policies: &[Policy],
    headers: &HeaderMap,
    query: Option<&str>,
    (client, now_ms): (IpAddr, u64),
    found: &mut Findings,
) -> Result<Option<Response<Body>>, Problem> {
    if policies.is_empty() {
        return Ok(None);
    }
    let mut cx = Context { query, headers, client, now_ms, found: Findings::default() };
    let mut outcome = Ok(None);
    for policy in policies {
        outcome = match policy.apply(&mut cx).await {
            Verdict::Continue => continue,
            Verdict::Refuse(problem) => Err(*problem),
            Verdict::Answer(response) => Ok(Some(*response)),
        };
        break;
    }
    *found = cx.found;
    outcome
}

/// Sets the fields that policies put on the answer, whoever gave it.
pub fn announce(headers: &mut HeaderMap, fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>) {
    for (name, value) in fields {
        headers.insert(name, value);
    }
}
