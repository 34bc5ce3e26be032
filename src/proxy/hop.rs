//! Header fields at the hop: what must not pass from one connection to the next, and what the gateway adds.
//!
//! RFC 9110, section 7.6 (message forwarding), RFC 9112, section 7; `Forwarded` (RFC 7239) and its
//! `X-Forwarded-*` relatives are believed only from trusted hops.

use std::{fmt::Write, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

/// Whether a field belongs to one connection whatever `Connection` says (RFC 9110, section 7.6.1), or is
/// `Proxy`, which CGI programs mistake for an environment variable.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "transfer-encoding"
            | "upgrade"
            | "proxy"
    )
}

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether a field is what a caller could claim about itself; believed only from a trusted hop.
fn is_claim(name: &HeaderName) -> bool {
    match name.as_str() {
        "forwarded" | "x-real-ip" => true,
        name => name.strip_prefix("x-forwarded-").is_some_and(|rest| {
            matches!(rest, "for" | "host" | "proto" | "port" | "prefix" | "server" | "ssl")
        }),
    }
}

/// Removes the fields that `is` names. Messages seldom have any, and a look at each name is cheaper than a
/// search for each that might be there.
fn remove_all(headers: &mut HeaderMap, is: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| is(name)).cloned() {
        headers.remove(name);
    }
}

/// Takes out everything that must not reach the next hop.
///
/// `TE` is cut down to `trailers`, the one value that may pass when it is renewed for the next hop.
pub fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        strip_listed(headers);
    }
    if headers.contains_key(header::TE) {
        let trailers = headers.get_all(header::TE).iter().any(wants_trailers);
        headers.remove(header::TE);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
    remove_all(headers, is_hop_by_hop);
}

/// Removes the fields that `Connection` lists, except those without which the message would change its meaning
/// and those that are for every recipient, which must not stand there (RFC 9110, section 7.6.1): an upstream
/// that lists `Cache-Control` would have its private answers stored.
fn strip_listed(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        // The usual word, whose field goes anyway.
        .filter(|name| !name.eq_ignore_ascii_case("keep-alive"))
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::TE))
        .filter(|name| !is_for_all(name))
        .collect();
    for name in listed {
        headers.remove(name);
    }
}

/// Whether a field steers caches, wherever they are.
fn is_for_all(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "cache-control" | "cdn-cache-control" | "surrogate-control" | "expires" | "pragma" | "vary" | "age"
    )
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
        remove_all(headers, is_claim);
    }
    if tell_address {
        let chain = if client.trusted { continued(headers, client.peer) } else { address(client.peer) };
        headers.insert(X_FORWARDED_FOR, chain);
    } else {
        for name in [header::FORWARDED, X_FORWARDED_FOR, HeaderName::from_static("x-real-ip")] {
            headers.remove(name);
        }
    }
    // What strangers claim is gone by now.
    if !client.trusted || !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(client.scheme));
    }
    if (!client.trusted || !headers.contains_key(X_FORWARDED_HOST))
        && !client.host.is_empty()
        && let Ok(host) = HeaderValue::from_str(client.host)
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

/// The chain of addresses that trusted hops have written, with the next one.
fn continued(headers: &HeaderMap, peer: IpAddr) -> HeaderValue {
    let mut chain = String::with_capacity(48);
    for value in headers.get_all(X_FORWARDED_FOR).iter().filter_map(|v| v.to_str().ok()) {
        chain.push_str(value);
        chain.push_str(", ");
    }
    let _ = write!(chain, "{peer}");
    HeaderValue::try_from(chain).unwrap_or_else(|_| address(peer))
}

/// An address as text. One is written for every request, and formatting the usual kind by its digits takes a
/// fraction of what the general way does.
fn address(peer: IpAddr) -> HeaderValue {
    let text = match peer {
        IpAddr::V4(peer) => {
            let (mut text, mut len) = ([b'.'; 16], 0);
            for octet in peer.octets() {
                let mut digits = itoa::Buffer::new();
                let digits = digits.format(octet).as_bytes();
                text[len..len + digits.len()].copy_from_slice(digits);
                len += digits.len() + 1;
            }
            HeaderValue::from_bytes(&text[..len - 1])
        }
        IpAddr::V6(peer) => HeaderValue::try_from(peer.to_string()),
    };
    text.expect("invariant: addresses are visible ASCII")
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
    fn an_address_is_written_as_the_standard_library_writes_it() {
        for text in
            ["0.0.0.0", "127.0.0.1", "255.255.255.255", "10.20.3.100", "::", "2001:db8::1", "::ffff:1.2.3.4"]
        {
            let peer: IpAddr = text.parse().unwrap();
            assert_eq!(address(peer), peer.to_string());
        }
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
