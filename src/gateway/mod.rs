//! One generation of the configuration, compiled: immutable, shared by all workers, swapped whole.
//!
//! Requests take one `Arc` of it and keep it to their end. What must outlive a generation (upstreams,
//! limiters, keys, key sets, the cache, metrics) lives in [`live::Live`]; a generation holds handles into it.

pub mod assemble;
pub mod live;
pub mod plan;
pub mod route;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Method, Response};

use crate::{
    exchange::Body,
    policy::Policy,
    problem::Problem,
    route::{HostRoutes, Hosts},
};

pub use live::Live;
pub use route::Route;

/// One compiled generation.
pub struct Gateway {
    /// Counts up from 1; in `/health`, metrics and the access log.
    pub number: u64,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    pub hosts: Hosts<Host>,
    pub trusted_proxies: Box<[Network]>,
    /// What answers where no route does: the documentation.
    pub pages: Option<MountedPages>,
    /// Where the `type` of a problem points: a path on this gateway with a slash at its end, or none.
    pub problem_path: Option<Box<str>>,
}

/// What one virtual host serves.
pub struct Host {
    pub table: HostRoutes,
    /// By the ids that `table` gives.
    pub routes: Box<[Arc<Route>]>,
}

/// Pages that the gateway itself serves beside the routes.
pub trait Pages: Send + Sync {
    /// The page at `path`; `None` when it is not one of them.
    fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Result<Response<Body>, Problem>>;
}

/// The pages with what guards them.
pub struct MountedPages {
    /// Every page lies under this path.
    pub prefix: Box<str>,
    /// They come before the routes: routes take every path there is.
    pub first: bool,
    pub policies: Box<[Policy]>,
    pub pages: Arc<dyn Pages>,
}

impl Gateway {
    /// Whether a hop's word about the client is believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(address))
    }
}

/// An address range in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: u128,
    mask: u128,
}

impl Network {
    /// Reads `10.0.0.0/8`, `::1` …
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (width, offset) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let bits = bits.unwrap_or(width);
        if bits > width {
            return None;
        }
        let mask = u128::MAX.checked_shl(128 - (bits + offset)).unwrap_or(0);
        Some(Self { address: widened(address) & mask, mask })
    }

    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        widened(address) & self.mask == self.address
    }
}

/// IPv4 addresses as IPv4-mapped IPv6 ones, so that both spellings of one client are the same.
fn widened(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_in_both_spellings() {
        let net = Network::parse("10.1.0.0/16").unwrap();
        for (address, inside) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("10.2.0.1", false), ("::1", false)]
        {
            assert_eq!(net.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(Network::parse("0.0.0.0/0").unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!(Network::parse("::1").unwrap().contains("::1".parse().unwrap()));
        assert!(Network::parse("10.0.0.0/33").is_none() && Network::parse("host").is_none());
    }
}
