//! Renewing a stored answer in the background (RFC 5861, section 3): a task of its own, which no client's
//! coming or going touches.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, Method, header, request::Parts};
use http_body_util::BodyExt;

use super::{
    Proxy, forward,
    lookup::{self, Asking, Identity, Looked, Purpose},
    outgoing::{self, Source},
    receive::{self, Connection},
    settle::Settled,
};
use crate::{
    exchange::now_ms,
    gateway::{Gateway, Route},
    policy::Findings,
};

/// However long the route's own clocks are, a renewal nobody waits for ends.
const MOST: Duration = Duration::from_secs(300);

/// What would make the answer another one than the stored.
const PARTIAL: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::CACHE_CONTROL,
    header::PRAGMA,
];

/// Fetches the answer to `head` anew, on this worker, as the same caller.
pub fn renew(
    proxy: &Arc<Proxy>,
    gateway: &Arc<Gateway>,
    connection: Connection,
    head: &Parts,
    route: &Arc<Route>,
    found: &Findings,
) {
    let mut head = head.clone();
    head.method = Method::GET;
    for name in &PARTIAL {
        head.headers.remove(name);
    }
    let found = Findings { caller: found.caller.clone(), strip: found.strip.clone(), ..Findings::default() };
    let (proxy, gateway, route) = (Arc::clone(proxy), Arc::clone(gateway), Arc::clone(route));
    tokio::spawn(async move {
        let fetched = fetch(&proxy, &gateway, connection, &head, &route, &found);
        let _ = tokio::time::timeout(MOST, fetched).await;
    });
}

async fn fetch(
    proxy: &Proxy,
    gateway: &Gateway,
    connection: Connection,
    head: &Parts,
    route: &Route,
    found: &Findings,
) -> Option<()> {
    let target = receive::receive(head, &proxy.via).ok()?;
    let host = receive::normal_host(head).ok()?;
    let identity = Identity::of(&host, &target, found, route, (gateway, connection));
    let request_id = receive::request_id(&head.headers, now_ms());
    let mut word = None;
    let asked = Asking { now_ms: now_ms(), purpose: Purpose::Renew, has_body: false };
    let looked = lookup::lookup(&proxy.live, route, head, &target, &identity, asked, &mut word).await.ok()?;
    let Looked::Unanswered(mut lookup) = looked else { return None };
    loop {
        let (via, target, query) = (&proxy.via, &target, identity.query.as_deref());
        let source = Source { via, gateway, connection, route, head, target, query, found };
        let outgoing = |endpoint: &_| outgoing::outgoing(&source, &lookup, &request_id, endpoint);
        let answer = forward::forward(route, connection.worker, None, outgoing).await;
        match lookup.settle(answer, &proxy.via, &mut word).await.ok()? {
            Settled::Answer(mut response) => {
                // Reading the body is what stores it.
                while let Some(frame) = response.body_mut().frame().await {
                    frame.ok()?;
                }
                return Some(());
            }
            Settled::Again(without_conditions) => lookup = *without_conditions,
        }
    }
}
