//! Guard: the route's policies, one after the other, in the order of their table.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::{
    exchange::Body,
    policy::{Context, Findings, Policy, Verdict},
    problem::Problem,
};

/// What the policies decided. The fields they ask for belong on the answer in either case.
pub enum Guarded {
    Admitted(Findings),
    Answered(Box<Response<Body>>, Findings),
    Refused(Box<Problem>, Findings),
}

/// Runs the policies until one of them ends the request.
pub async fn guard(
    policies: &[Policy],
    headers: &HeaderMap,
    query: Option<&str>,
    client: IpAddr,
    now_ms: u64,
) -> Guarded {
    let mut cx = Context { query, headers, client, now_ms, found: Findings::default() };
    for policy in policies {
        match policy.apply(&mut cx).await {
            Verdict::Continue => {}
            Verdict::Refuse(problem) => return Guarded::Refused(problem, cx.found),
            Verdict::Answer(response) => return Guarded::Answered(response, cx.found),
        }
    }
    Guarded::Admitted(cx.found)
}

/// Sets the fields that policies put on the answer, whoever gave it.
pub fn announce(headers: &mut HeaderMap, fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>) {
    for (name, value) in fields {
        headers.insert(name, value);
    }
}
