//! The second half of Forward's preparation: the head of the request as the upstream shall see it.

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use super::{
    forward::Outgoing,
    hop::{self, Via},
    lookup::Lookup,
    receive::{self, Connection},
};
use crate::{
    exchange::RequestId,
    gateway::{Gateway, Route, route::Credential},
    policy::Findings,
    route::Target,
    upstream::Endpoint,
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Everything the head of the upstream's request is made from.
pub struct Source<'a> {
    pub via: &'a Via,
    pub gateway: &'a Gateway,
    pub connection: Connection,
    pub route: &'a Route,
    pub head: &'a Parts,
    pub target: &'a Target<'a>,
    /// Canonical, without what stays here.
    pub query: Option<&'a str>,
    pub found: &'a Findings,
}

/// How many fields the gateway adds at most, its own credentials and changes aside.
const ADDED: usize = 8;

/// Builds it: the caller's fields without those of its hop and without the credentials that were checked
/// here, then what the gateway adds.
pub fn outgoing<'a>(
    from: &Source<'a>,
    lookup: &Lookup<'_>,
    request_id: &RequestId,
    endpoint: &Endpoint,
) -> Outgoing<'a> {
    let Source { route, head, target, found, .. } = *from;
    // A clone would have no room to add to.
    let mut headers = HeaderMap::with_capacity(head.headers.len() + ADDED);
    headers.extend(head.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    hop::strip(&mut headers);
    headers.remove(header::EXPECT);
    set_host(&mut headers, head, route.rewrite.preserve_host, endpoint);
    if let Some(strip) = &found.strip {
        strip.apply(&mut headers);
    }
    let client = hop::Client {
        peer: from.connection.peer,
        trusted: !from.gateway.trusted_proxies.is_empty() && from.gateway.trusts(from.connection.peer),
        scheme: from.connection.scheme,
        host: receive::host(head),
    };
    hop::set_forwarded(&mut headers, client, route.rewrite.client_address);
    hop::add_via(&mut headers, head.version, from.via);
    if let Ok(id) = request_id.as_str().parse() {
        headers.insert(X_REQUEST_ID, id);
    }
    route.rewrite.request.apply(&mut headers);
    present(&mut headers, &route.rewrite.credentials);
    lookup.condition(&mut headers);
    Outgoing { method: &head.method, path: &target.path, query: from.query, headers }
}

/// The upstream's authority, or the caller's where that is kept: HTTP/2 has it in `:authority`, and HTTP/1.0
/// may have none.
fn set_host(headers: &mut HeaderMap, head: &Parts, preserve: bool, endpoint: &Endpoint) {
    let asked = receive::host(head);
    let kept = if preserve && !asked.is_empty() { HeaderValue::from_str(asked).ok() } else { None };
    match kept.or_else(|| endpoint.host.clone()) {
        Some(host) => drop(headers.insert(header::HOST, host)),
        None => drop(headers.remove(header::HOST)),
    }
}

/// The gateway's own credentials replace whatever the caller sent under their names.
fn present(headers: &mut HeaderMap, credentials: &[Credential]) {
    for credential in credentials {
        if let Credential::Header(name, value) = credential {
            headers.insert(name, value.clone());
        }
    }
}
