//! A short name for a cleartext origin.
//!
//! reqwest reads the URL of every request anew, twice, and the pool hashes and copies its authority. Host and
//! port are the dear part of that, and over cleartext nothing on the wire depends on them: `Host` is set by the
//! gateway. So clients of such an origin are given `http://u/`, and the resolver says what `u` is. With TLS the
//! host of the URL is the name that the certificate is checked against, and stays.

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Where a client's one name leads.
#[derive(Debug)]
pub(super) struct Alias {
    host: Host,
    port: u16,
}

static SHORT: LazyLock<Url> =
    LazyLock::new(|| Url::parse("http://u/").expect("invariant: this is a URL with a host"));

/// What the clients of `origin` are told in its place, and what resolves it; the origin itself where its host
/// must be kept.
pub(super) fn of(origin: &Url) -> (Url, Option<Arc<Alias>>) {
    match (origin.scheme(), origin.host(), origin.port_or_known_default()) {
        ("http", Some(host), Some(port)) => {
            (SHORT.clone(), Some(Arc::new(Alias { host: host.to_owned(), port })))
        }
        _ => (origin.clone(), None),
    }
}

impl Resolve for Alias {
    fn resolve(&self, _: Name) -> Resolving {
        let fixed = |address| Ok(Box::new(std::iter::once(address)) as Addrs);
        let port = self.port;
        match &self.host {
            Host::Ipv4(ip) => Box::pin(std::future::ready(fixed(SocketAddr::from((*ip, port))))),
            Host::Ipv6(ip) => Box::pin(std::future::ready(fixed(SocketAddr::from((*ip, port))))),
            Host::Domain(name) => {
                let name = name.clone();
                Box::pin(async move {
                    // Collected: what `lookup_host` gives borrows the name.
                    let found: Vec<_> = tokio::net::lookup_host((name.as_str(), port)).await?.collect();
                    Ok(Box::new(found.into_iter()) as Addrs)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(origin: &str) -> Option<Vec<SocketAddr>> {
        let (wire, alias) = of(&Url::parse(origin).unwrap());
        let alias = alias?;
        assert_eq!(wire.as_str(), "http://u/");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(alias.resolve("u".parse().unwrap())).unwrap();
        Some(found.collect())
    }

    #[test]
    fn a_cleartext_origin_is_found_by_its_short_name() {
        assert_eq!(resolved("http://192.0.2.7:81").unwrap(), [SocketAddr::from(([192, 0, 2, 7], 81))]);
        assert_eq!(resolved("http://[2001:db8::1]").unwrap(), ["[2001:db8::1]:80".parse().unwrap()]);
        let named = resolved("http://localhost:82").unwrap();
        assert!(!named.is_empty() && named.iter().all(|at| at.ip().is_loopback() && at.port() == 82));
    }

    #[test]
    fn with_tls_the_host_stays() {
        let origin = Url::parse("https://pets.example:8443/").unwrap();
        let (wire, alias) = of(&origin);
        assert_eq!(wire, origin);
        assert!(alias.is_none());
    }
}
