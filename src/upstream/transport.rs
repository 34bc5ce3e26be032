//! The HTTP client towards an endpoint: one reqwest client per worker and endpoint.
//!
//! A pooled connection lives on the runtime that dialled it, hence a client per worker. Everything that
//! reqwest would do on its own (redirects, retries, proxies from the environment, referers, decompression)
//! is off: a gateway forwards exactly one request for one.

use std::{
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use super::{Failure, alias::Alias};

/// Idle connections are closed before the usual keep-alive bounds of upstreams (nginx: 75 s, Node: 5 s is
/// caught by a retry), so that a request seldom meets a connection that is just being closed.
const POOL_IDLE: Duration = Duration::from_secs(55);
const POOL_IDLE_PER_WORKER: usize = 1024;
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
const MAX_RESPONSE_HEADERS: usize = 200;

/// The clients of one endpoint, by worker, each made at its first use.
#[derive(Debug)]
pub struct Clients {
    connect_timeout: Duration,
    http1_only: bool,
    alias: Option<Arc<Alias>>,
    by_worker: Box<[OnceLock<reqwest::Client>]>,
}

impl Clients {
    pub(super) fn new(
        workers: usize,
        connect_timeout: Duration,
        http1_only: bool,
        alias: Option<Arc<Alias>>,
    ) -> Self {
        let by_worker = (0..workers).map(|_| OnceLock::new()).collect();
        Self { connect_timeout, http1_only, alias, by_worker }
    }

    pub(super) fn get(&self, worker: usize) -> Result<&reqwest::Client, Failure> {
        let cell = &self.by_worker[worker];
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = self.build().map_err(|error| Failure::from_reqwest(&error))?;
        Ok(cell.get_or_init(|| client))
    }

    fn build(&self) -> reqwest::Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .no_proxy()
            .tcp_nodelay(true)
            .tcp_keepalive(TCP_KEEPALIVE)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_PER_WORKER)
            .http1_max_headers(MAX_RESPONSE_HEADERS)
            .tls_backend_preconfigured(tls());
        if self.http1_only {
            builder = builder.http1_only();
        }
        if let Some(alias) = &self.alias {
            builder = builder.dns_resolver(Arc::clone(alias));
        }
        builder.build()
    }
}

/// A client for the gateway's own errands (descriptions, key sets): a whole-call bound, few redirects.
pub fn plain_client(timeout: Duration, redirects: usize) -> reqwest::Result<reqwest::Client> {
    let policy = if redirects == 0 {
        reqwest::redirect::Policy::none()
    } else {
        reqwest::redirect::Policy::limited(redirects)
    };
    reqwest::Client::builder()
        .redirect(policy)
        .referer(false)
        .no_proxy()
        .timeout(timeout)
        .pool_max_idle_per_host(0)
        .tls_backend_preconfigured(tls())
        .build()
}

/// A client that calls one server many times: a bound on each call, connections kept, no redirects.
pub fn busy_client(timeout: Duration, connections: usize) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .timeout(timeout)
        .pool_max_idle_per_host(connections)
        .tls_backend_preconfigured(tls())
        .build()
}

/// The TLS policy of every client that the gateway makes.
#[must_use]
pub fn tls() -> rustls::ClientConfig {
    rustls::ClientConfig::clone(&TLS)
}

/// The one TLS policy towards upstreams: the system's roots, TLS 1.2 and 1.3, HTTP/2 or 1.1 by ALPN.
/// Prepared once; without it every client would build a verifier of its own.
static TLS: LazyLock<Arc<rustls::ClientConfig>> = LazyLock::new(|| {
    let mut roots = rustls::RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        tracing::warn!(
            "no root certificates on this machine: calls to https upstreams will fail; install `ca-certificates`"
        );
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("invariant: the provider has the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
});
