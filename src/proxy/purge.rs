//! `PURGE`: removing stored answers over the data plane, for the consumers that a route names.
//!
//! Where the route that a GET of the same target would take names nobody, `PURGE` is a method like any other.
//! Where it does, the request is answered here and never reaches an upstream: the caller shows one of the
//! gateway's own credentials, and everything stored for the path goes, or for the one address when the target
//! has a query, all variants and principals alike.

use std::sync::Arc;

use http::{HeaderValue, Method, Response, header, request::Parts};

use super::{finish::Record, guard, routing};
use crate::{
    cache::{Purge, Reach, Scope, Spread, incomplete, key, query_hash},
    exchange::Body,
    gateway::{Gateway, Live, Route, route::PurgeRight},
    policy::Findings,
    problem::{self, Problem},
    route::{Found, Target},
    telemetry::Step,
};

/// Whether a request may be meant for here.
#[must_use]
pub fn is_purge(method: &Method) -> bool {
    method.as_str() == "PURGE"
}

/// The answer to a `PURGE`; `None` where it is a method like any other. `host` is normalised.
pub async fn purge(
    live: &Live,
    gateway: &Gateway,
    host: &str,
    head: &Parts,
    target: &Target<'_>,
    (record, found): (&mut Record, &mut Findings),
) -> Option<Result<Response<Body>, Problem>> {
    let route = route(gateway, host, head, target)?;
    let right = Arc::clone(route.purge.as_ref()?);
    record.routed(&route);
    Some(answer(live, &route, &right, host, head, target, (record, found)).await)
}

/// The route of a GET.
fn route(gateway: &Gateway, host: &str, head: &Parts, target: &Target<'_>) -> Option<Arc<Route>> {
    let host = gateway.hosts.get(host)?;
    match host.table.find(&Method::GET, &target.path, target.query.as_deref(), &head.headers) {
        Found::Route { id, .. } => Some(Arc::clone(&host.routes[id as usize])),
        Found::MethodNotAllowed { .. } | Found::NotFound => None,
    }
}

async fn answer(
    live: &Live,
    route: &Route,
    right: &PurgeRight,
    host: &str,
    head: &Parts,
    target: &Target<'_>,
    (record, found): (&mut Record, &mut Findings),
) -> Result<Response<Body>, Problem> {
    routing::admit(route, head, target)?;
    record.enter(Step::Guard);
    let asks = (record.client, record.now_ms());
    let query = target.query.as_deref();
    if let Some(response) = guard::guard(&right.policies, &head.headers, query, asks, found).await? {
        return Ok(response);
    }
    record.caller(found);
    let consumer = found.caller.as_ref().and_then(|caller| caller.consumer.as_ref());
    if !consumer.is_some_and(|consumer| right.consumers.iter().any(|name| **name == *consumer.name)) {
        return Err(Problem::new(&problem::FORBIDDEN, "the caller may not purge here"));
    }
    record.enter(Step::Lookup);
    record.cache = Some("purge");
    let Some(nodes) = &live.nodes else { return Ok(done(0, None)) };
    let purge = Purge::hard(Some(host), scope(route, target, found)?);
    match nodes.purge(purge).await {
        Ok(Spread { purged, reach }) => match reach {
            Reach::Alone => Ok(done(purged.responses, None)),
            Reach::Everywhere(sequence) => Ok(done(purged.responses, Some(sequence))),
            Reach::HereOnly(why) => Err(Problem::new(&problem::PURGE_INCOMPLETE, incomplete(&why))
                .member("answers", purged.responses.into())),
        },
        Err(error) => Err(Problem::new(&problem::PURGE_UNCONFIRMED, error.to_string())),
    }
}

/// What the target names, its query as the cache reads it.
fn scope(route: &Route, target: &Target<'_>, found: &Findings) -> Result<Scope, Problem> {
    let path = target.path.to_string();
    let (Some(query), Some(options)) = (&target.query, &route.cache) else { return Ok(Scope::Path(path)) };
    // A credential in the query is not a part of the address.
    let Some(query) = found.forwarded_query(query) else { return Ok(Scope::Path(path)) };
    match key::query_part(Some(&query), options) {
        Ok(part) => Ok(Scope::Url { path, query: query_hash(part.as_ref()) }),
        Err(_) => Err(Problem::new(
            &problem::MALFORMED_REQUEST,
            "requests with this query go past the cache; purge the path without a query",
        )),
    }
}

/// `sequence`: the number of the purge in the log that all nodes read, where there is one.
fn done(answers: u64, sequence: Option<u64>) -> Response<Body> {
    let text = match sequence {
        None => format!("{{\"answers\":{answers}}}\n"),
        Some(sequence) => {
            format!("{{\"answers\":{answers},\"reach\":\"everywhere\",\"sequence\":{sequence}}}\n")
        }
    };
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
