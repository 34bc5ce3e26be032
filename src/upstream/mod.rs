//! Where requests go: upstreams, their endpoints and the clients that reach them.
//!
//! An [`Upstream`] outlives a configuration generation: [`Upstreams`] hands the same live handle to every
//! generation that names the same endpoints, so pools and counts survive a reload. Which endpoint takes a
//! request is `balance`'s business, how bytes travel is `transport`'s, and how many requests of one route may
//! be under way `cap`'s.

mod alias;
mod balance;
pub mod cap;
pub mod failure;
pub mod transport;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use url::{Position, Url};

pub use cap::{Cap, Caps};
pub use failure::Failure;

/// What makes two upstreams the same across generations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamKey {
    /// Shown in logs, metrics and the admin API.
    pub name: Arc<str>,
    /// Base URLs in the order of the configuration; only scheme, host and port count here.
    pub endpoints: Vec<Url>,
    /// Bound on establishing a connection (TCP and TLS).
    pub connect_timeout: Duration,
    /// Most requests under way at once to one endpoint; beyond it the answer is 503.
    pub max_requests: usize,
    /// `Host` is chosen per request, which HTTP/2's `:authority` does not allow: speak HTTP/1.1 only.
    pub own_host: bool,
}

/// A group of endpoints that serve the same API.
#[derive(Debug)]
pub struct Upstream {
    pub key: UpstreamKey,
    pub endpoints: Box<[Endpoint]>,
    turn: AtomicUsize,
}

/// One address of an upstream, with a client per worker.
#[derive(Debug)]
pub struct Endpoint {
    /// Scheme, host and port; the path is `/`.
    pub origin: Url,
    /// What its clients are told in the origin's place.
    pub wire: Url,
    /// The origin's authority for `Host`. None where HTTP/2 may be spoken, which has `:authority` instead.
    pub host: Option<HeaderValue>,
    clients: transport::Clients,
    max_requests: usize,
    in_flight: AtomicUsize,
    pub requests: AtomicU64,
    pub failures: AtomicU64,
}

/// Counts one request against its endpoint for as long as it lives (head and body).
#[derive(Debug)]
pub struct Permit {
    upstream: Arc<Upstream>,
    index: usize,
}

impl Upstream {
    fn new(key: UpstreamKey, workers: usize) -> Self {
        let endpoint = |url: &Url| {
            let mut origin = url.clone();
            origin.set_path("/");
            origin.set_query(None);
            let http1 = key.own_host || origin.scheme() == "http";
            let (wire, alias) = alias::of(&origin);
            Endpoint {
                host: authority(&origin).filter(|_| http1),
                origin,
                wire,
                clients: transport::Clients::new(workers, key.connect_timeout, key.own_host, alias),
                max_requests: key.max_requests,
                in_flight: AtomicUsize::new(0),
                requests: AtomicU64::new(0),
                failures: AtomicU64::new(0),
            }
        };
        let endpoints = key.endpoints.iter().map(endpoint).collect();
        Self { key, endpoints, turn: AtomicUsize::new(0) }
    }

    /// Takes a place at the next endpoint, or none when every endpoint is at its cap.
    #[must_use]
    pub fn admit(self: &Arc<Self>) -> Option<Permit> {
        self.admit_from(balance::round_robin(&self.turn, self.endpoints.len()))
    }

    /// The same, beginning behind the endpoint of `before`.
    #[must_use]
    pub fn admit_behind(self: &Arc<Self>, before: &Permit) -> Option<Permit> {
        self.admit_from(before.index + 1)
    }

    fn admit_from(self: &Arc<Self>, first: usize) -> Option<Permit> {
        (0..self.endpoints.len()).map(|step| (first + step) % self.endpoints.len()).find_map(|index| {
            let endpoint = &self.endpoints[index];
            if endpoint.in_flight.fetch_add(1, Ordering::Relaxed) >= endpoint.max_requests {
                endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
            endpoint.requests.fetch_add(1, Ordering::Relaxed);
            Some(Permit { upstream: Arc::clone(self), index })
        })
    }
}

impl Endpoint {
    /// Requests under way now, bodies included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The client of `worker`; made at its first use.
    pub fn client(&self, worker: usize) -> Result<&reqwest::Client, Failure> {
        self.clients.get(worker)
    }
}

impl Permit {
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.upstream.endpoints[self.index]
    }

    #[must_use]
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.endpoint().in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Host and port, a default port left out.
fn authority(origin: &Url) -> Option<HeaderValue> {
    HeaderValue::from_str(&origin[Position::BeforeHost..Position::AfterPort]).ok()
}

/// The registry: live upstreams by identity. An upstream that no generation uses any more is dropped
/// with its pools as soon as its last request ends.
#[derive(Debug)]
pub struct Upstreams {
    workers: usize,
    live: Mutex<HashMap<UpstreamKey, Weak<Upstream>>>,
}

impl Upstreams {
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { workers, live: Mutex::default() }
    }

    /// The live upstream of this identity, or a new one.
    pub fn adopt(&self, key: UpstreamKey) -> Arc<Upstream> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upstream) = live.get(&key).and_then(Weak::upgrade) {
            return upstream;
        }
        live.retain(|_, upstream| upstream.strong_count() > 0);
        let upstream = Arc::new(Upstream::new(key.clone(), self.workers));
        live.insert(key, Arc::downgrade(&upstream));
        upstream
    }

    /// Those in use, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Upstream>> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = live.values().filter_map(Weak::upgrade).collect();
        all.sort_by(|a, b| a.key.name.cmp(&b.key.name));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> UpstreamKey {
        UpstreamKey {
            name: "pets".into(),
            endpoints: vec![Url::parse(&format!("http://127.0.0.1:{port}/base")).unwrap()],
            connect_timeout: Duration::from_secs(1),
            max_requests: 1,
            own_host: false,
        }
    }

    #[test]
    fn a_generation_adopts_the_live_upstream_and_an_unused_one_goes() {
        let registry = Upstreams::new(1);
        let first = registry.adopt(key(1));
        assert!(Arc::ptr_eq(&first, &registry.adopt(key(1))));
        assert!(!Arc::ptr_eq(&first, &registry.adopt(key(2))));
        let gone = Arc::downgrade(&first);
        drop(first);
        assert_eq!(gone.strong_count(), 0);
    }

    #[test]
    fn the_authority_leaves_a_default_port_out_and_keeps_brackets() {
        for (origin, expected) in [
            ("http://user:secret@a.example:80/base", "a.example"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("https://a.example:80/", "a.example:80"),
        ] {
            assert_eq!(authority(&Url::parse(origin).unwrap()).unwrap(), expected);
        }
    }

    #[test]
    fn a_full_endpoint_admits_again_once_a_permit_is_dropped() {
        let upstream = Upstreams::new(1).adopt(key(1));
        let permit = upstream.admit().expect("the first place is free");
        assert!(upstream.admit().is_none());
        drop(permit);
        assert!(upstream.admit().is_some());
    }
}
