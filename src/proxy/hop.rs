//! Header fields at the hop: what must not pass from one connection to the next, and what the gateway adds.
//!
//! RFC 9110, section 7.6 (message forwarding), RFC 9112, section 7; `Forwarded` (RFC 7239) and its
//! `X-Forwarded-*` relatives are believed only from trusted hops.

use std::{fmt::Write, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

/// Fields that belong to one connection whatever `Connection` says (RFC 9110, section 7.6.1), and `Proxy`,
/// which CGI programs mistake for an environment variable.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("proxy"),
];

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What a caller could claim about itself; believed only from a trusted hop.
const CLAIMS: [HeaderName; 9] = [
    header::FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-ssl"),
    HeaderName::from_static("x-real-ip"),
];

/// Takes out everything that must not reach the next hop.
///
/// `TE` is cut down to `trailers`, the one value that may pass when it is renewed for the next hop.
pub fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        strip_listed(headers);
    }
    let trailers = headers.get_all(header::TE).iter().any(wants_trailers);
    if headers.contains_key(header::TE) {
        headers.remove(header::TE);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes the fields that `Connection` lists, except those without which the message would change its meaning.
fn strip_listed(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::TE))
        .collect();
    for name in listed {
        headers.remove(name);
    }
}

fn wants_trailers(value: &HeaderValue) -> bool {
    value.as_bytes().split(|b| *b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Whether `name` stands among the pseudonyms of `Via`: the request came round in a circle.
#[must_use]
pub fn came_through(headers: &HeaderMap, name: &str) -> bool {
    headers
        .get_all(header::VIA)
        .iter()
        .any(|value| memchr::memmem::find(value.as_bytes(), name.as_bytes()).is_some())
}

/// Appends this hop to `Via` (RFC 9110, section 7.6.3).
pub fn add_via(headers: &mut HeaderMap, version: Version, via: &Via) {
    let value = if version == Version::HTTP_2 { &via.http2 } else { &via.http1 };
    headers.append(header::VIA, value.clone());
}

/// This process in `Via`: a pseudonym of its own, so that two gateways in a row are no loop.
#[derive(Debug)]
pub struct Via {
    pub name: String,
    http1: HeaderValue,
    http2: HeaderValue,
}

impl Via {
    /// `id` tells this process from every other.
    #[must_use]
    pub fn new(id: u32) -> Self {
        let name = format!("gatewright-{id:08x}");
        let value = |version| {
            HeaderValue::try_from(format!("{version} {name}")).expect("invariant: the name is visible ASCII")
        };
        Self { http1: value("1.1"), http2: value("2"), name }
    }
}

/// The client as the gateway sees it.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The connection's other end.
    pub peer: IpAddr,
    /// Whether `peer` is a trusted hop.
    pub trusted: bool,
    pub scheme: &'static str,
    /// The authority the client asked for.
    pub host: &'a str,
}

/// Replaces what the caller claims by what the gateway knows; a trusted hop's chain is kept and continued.
pub fn set_forwarded(headers: &mut HeaderMap, client: Client<'_>, tell_address: bool) {
    if !client.trusted {
        for name in &CLAIMS {
            headers.remove(name);
        }
    }
    if tell_address {
        let mut chain = String::with_capacity(48);
        if client.trusted {
            for value in headers.get_all(X_FORWARDED_FOR).iter().filter_map(|v| v.to_str().ok()) {
                chain.push_str(value);
                chain.push_str(", ");
            }
        }
        let _ = write!(chain, "{}", client.peer);
        insert(headers, X_FORWARDED_FOR, chain);
    } else {
        for name in [header::FORWARDED, X_FORWARDED_FOR, HeaderName::from_static("x-real-ip")] {
            headers.remove(name);
        }
    }
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(client.scheme));
    }
    if !headers.contains_key(X_FORWARDED_HOST) && !client.host.is_empty() {
        insert(headers, X_FORWARDED_HOST, client.host.to_owned());
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// The client's address: the right-most address of `X-Forwarded-For` that is no trusted hop itself, when the
/// connection comes from a trusted hop; else the connection's other end.
#[must_use]
pub fn client_address(headers: &HeaderMap, peer: IpAddr, trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut address = peer;
    if !trusted(peer) {
        return peer;
    }
    let lines: Vec<&str> = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|v| v.to_str().ok()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Ok(hop) = hop.trim().parse() else { break };
        address = hop;
        if !trusted(hop) {
            break;
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
            .collect()
    }

    #[test]
    fn fields_of_one_connection_do_not_pass() {
        let mut map = headers(&[
            ("connection", "close, X-Foo, Host"),
            ("x-foo", "1"),
            ("host", "a"),
            ("keep-alive", "5"),
            ("te", "gzip, trailers;q=0.5, Trailers"),
            ("proxy", "http://evil"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        strip(&mut map);
        let mut names: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "host", "te"]);
        assert_eq!(map["te"], "trailers");
    }

    #[test]
    fn claims_of_strangers_are_dropped_and_chains_of_trusted_hops_continued() {
        let claims = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4"), ("x-real-ip", "1.2.3.4")];
        let client = |trusted| Client {
            peer: "10.0.0.1".parse().unwrap(),
            trusted,
            scheme: "http",
            host: "api.example.com",
        };
        let mut map = headers(&claims);
        set_forwarded(&mut map, client(false), true);
        assert_eq!(map[X_FORWARDED_FOR], "10.0.0.1");
        assert!(!map.contains_key("forwarded") && !map.contains_key("x-real-ip"));
        assert_eq!(map["x-forwarded-host"], "api.example.com");
        let mut map = headers(&claims);
        set_forwarded(&mut map, client(true), true);
        assert_eq!(map[X_FORWARDED_FOR], "1.2.3.4, 10.0.0.1");
        let mut map = headers(&claims);
        set_forwarded(&mut map, client(false), false);
        assert!(!map.contains_key(X_FORWARDED_FOR));
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_hop_made_up() {
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let peer: IpAddr = "10.0.0.9".parse().unwrap();
        let map = headers(&[("x-forwarded-for", "6.6.6.6, 5.5.5.5"), ("x-forwarded-for", "10.0.0.1")]);
        assert_eq!(client_address(&map, peer, trusted).to_string(), "5.5.5.5");
        let stranger: IpAddr = "8.8.8.8".parse().unwrap();
        assert_eq!(client_address(&map, stranger, trusted), stranger);
        let junk = headers(&[("x-forwarded-for", "6.6.6.6, junk")]);
        assert_eq!(client_address(&junk, peer, trusted), peer);
    }
}
