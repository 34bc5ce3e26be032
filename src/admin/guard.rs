//! Who may use the admin API: the host check, the token, the quotas.
//!
//! - `Host` must name loopback, the listener's own address or a configured name: a page in a browser that
//!   rebinds its DNS name to 127.0.0.1 still sends that name.
//! - Changing calls need the token, and those that show what is stored. When the listener or the caller is not on loopback, every call does but
//!   `/health` and `/ready`. A right token always passes, so nobody can lock its owner out.
//! - The quota counts by the peer's address, never by what a header says of it.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{DefaultKeyedRateLimiter, Quota, middleware::NoOpMiddleware};
use tower_governor::{
    GovernorError, GovernorLayer, governor::GovernorConfigBuilder, key_extractor::KeyExtractor,
};

use super::{Token, answer::Refusal};
use crate::problem::{self, Problem};

/// Calls of one peer at once, and how often one more is allowed: far beyond any scraper.
const BURST: u32 = 200;
const PERIOD: Duration = Duration::from_millis(20);
/// Wrong tokens of one peer at once and per minute; then they get 429 instead of 401.
const WRONG_TOKENS: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");
/// So many peers are remembered before those that have their full quota again are forgotten.
const MAX_PEERS: usize = 4096;

/// The rules of one admin listener.
#[derive(Debug)]
pub struct Access {
    token: Token,
    address: SocketAddr,
    hosts: Vec<String>,
    wrong: DefaultKeyedRateLimiter<IpAddr>,
}

impl Access {
    /// `address` is where the listener is bound, `hosts` are further names it may be called by (without port).
    #[must_use]
    pub fn new(token: Token, address: SocketAddr, hosts: Vec<String>) -> Self {
        let wrong = DefaultKeyedRateLimiter::keyed(Quota::per_minute(WRONG_TOKENS));
        Self { token, address, hosts, wrong }
    }

    fn knows(&self, host: &str) -> bool {
        let name = without_port(host);
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        if self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return true;
        }
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let Ok(address) = bare.parse::<IpAddr>() else { return false };
        let address = address.to_canonical();
        // Bound to every address, the listener cannot know its own; an address, unlike a name, cannot be rebound.
        address.is_loopback() || address == self.address.ip() || self.address.ip().is_unspecified()
    }

    fn needs_token(&self, method: &Method, path: &str, peer: Option<IpAddr>) -> bool {
        let changes = method != Method::GET && method != Method::HEAD;
        // Other people's addresses and answers.
        let shows = path.starts_with("/cache/");
        let near =
            self.address.ip().to_canonical().is_loopback() && peer.is_some_and(|peer| peer.is_loopback());
        changes || shows || !near
    }
}

/// Refuses requests for a host that is not this listener.
pub(super) async fn host(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    // HTTP/2 has the host in the target.
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str);
    let mut fields = request.headers().get_all(header::HOST).iter().map(HeaderValue::to_str);
    let (field, more) = (fields.next(), fields.next());
    let known = |host: &str| access.knows(host);
    let right = more.is_none()
        && (authority.is_some() || field.is_some())
        && authority.is_none_or(known)
        && field.is_none_or(|field| field.is_ok_and(known));
    if right {
        return next.run(request).await;
    }
    let detail = "the admin API answers to loopback names; the operator adds others with `admin.hosts`";
    Refusal::new(&problem::MISDIRECTED, detail).into_response()
}

/// Asks for the token where one is needed.
pub(super) async fn token(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let peer = peer(&request);
    if !access.needs_token(request.method(), request.uri().path(), peer) {
        return next.run(request).await;
    }
    let Some(given) = bearer(&request) else {
        let problem = challenge(&problem::CREDENTIALS_MISSING, "this call needs the admin token");
        return Refusal(problem).into_response();
    };
    if access.token.is(given) {
        return next.run(request).await;
    }
    if access.wrong.len() > MAX_PEERS {
        access.wrong.retain_recent();
    }
    let key = network(peer.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
    if access.wrong.check_key(&key).is_err() {
        tracing::warn!(peer = %key, "many wrong admin tokens");
        return Refusal(Problem::new(&problem::RATE_LIMITED, "too many wrong tokens").retry_after(6))
            .into_response();
    }
    Refusal(challenge(&problem::CREDENTIALS_INVALID, "this is not the admin token")).into_response()
}

/// The quota of all calls but the probes.
pub(super) fn quota() -> GovernorLayer<Peer, NoOpMiddleware<governor::clock::QuantaInstant>, Body> {
    let mut builder = GovernorConfigBuilder::default().key_extractor(Peer);
    let config =
        Arc::new(builder.period(PERIOD).burst_size(BURST).finish().expect("invariant: neither is zero"));
    let limiter = Arc::clone(config.limiter());
    GovernorLayer::new(config).error_handler(move |error| {
        // Only a peer beyond its quota comes here, which is often enough for tidying up.
        if limiter.len() > MAX_PEERS {
            limiter.retain_recent();
        }
        let wait = match error {
            GovernorError::TooManyRequests { wait_time, .. } => wait_time.max(1),
            _ => 1,
        };
        Refusal(Problem::new(&problem::RATE_LIMITED, "too many calls to the admin API").retry_after(wait))
            .into_response()
    })
}

/// Tells callers apart by the address their connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer;

impl KeyExtractor for Peer {
    type Key = IpAddr;

    fn extract<T>(&self, request: &axum::http::Request<T>) -> Result<IpAddr, GovernorError> {
        Ok(network(peer(request).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED))))
    }
}

fn peer<T>(request: &axum::http::Request<T>) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical())
}

/// One caller may hold a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & !u128::from(u64::MAX);
            if v6.is_loopback() { address } else { IpAddr::V6(Ipv6Addr::from(bits)) }
        }
    }
}

fn bearer(request: &Request) -> Option<&str> {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let (value, more) = (values.next()?, values.next());
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    (more.is_none() && scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}

fn challenge(kind: &'static problem::Kind, what: &str) -> Problem {
    static BEARER: LazyLock<HeaderValue> =
        LazyLock::new(|| HeaderValue::from_static("Bearer realm=\"gatewright admin\""));
    let detail =
        format!("{what}: send `Authorization: Bearer` with the text of `admin.token` in the state directory");
    Problem::new(kind, detail).header(header::WWW_AUTHENTICATE, BEARER.clone())
}

/// The host of `host[:port]`; IPv6 addresses keep their brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') =>
        {
            // An IPv6 address without brackets has colons of its own and no port.
            if name.contains(':') && !name.ends_with(']') { host } else { name }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(address: &str) -> Access {
        Access::new(Token::of("secret"), address.parse().unwrap(), vec!["admin.internal".into()])
    }

    #[test]
    fn only_hosts_that_cannot_be_rebound_are_known() {
        let near = access("127.0.0.1:9901");
        for host in
            ["localhost", "LOCALHOST:9901", "127.0.0.1:1", "127.8.8.8", "[::1]:9901", "admin.internal:80"]
        {
            assert!(near.knows(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1:9901",
            "[::2]",
            "127.0.0.1.evil.example",
            "localhost:x",
        ] {
            assert!(!near.knows(host), "{host}");
        }
        assert!(access("10.0.0.1:9901").knows("10.0.0.1:9901"));
        assert!(!access("10.0.0.1:9901").knows("10.0.0.2"));
        assert!(access("0.0.0.0:9901").knows("192.168.1.7:9901"));
        assert!(!access("0.0.0.0:9901").knows("evil.example"));
    }

    #[test]
    fn off_loopback_reading_needs_the_token_too() {
        let (near, far) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 9]));
        for (address, method, path, peer, needed) in [
            ("127.0.0.1:1", Method::GET, "/cache", Some(near), false),
            ("127.0.0.1:1", Method::HEAD, "/keys", Some(near), false),
            ("127.0.0.1:1", Method::GET, "/cache/entries", Some(near), true),
            ("127.0.0.1:1", Method::POST, "/keys", Some(near), true),
            ("127.0.0.1:1", Method::DELETE, "/keys/1", Some(near), true),
            ("127.0.0.1:1", Method::GET, "/keys", None, true),
            ("0.0.0.0:1", Method::GET, "/keys", Some(near), true),
            ("0.0.0.0:1", Method::GET, "/keys", Some(far), true),
        ] {
            let needs = access(address).needs_token(&method, path, peer);
            assert_eq!(needs, needed, "{address} {method} {path} {peer:?}");
        }
    }

    #[test]
    fn neighbours_in_ipv6_share_a_quota() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
