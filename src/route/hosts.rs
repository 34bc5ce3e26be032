//! Virtual hosts: from the authority of a request to what serves it.
//!
//! An exact name wins over a wildcard, a longer wildcard over a shorter one, and the default takes the rest.
//! `*.example.com` stands for one or more labels before `.example.com`, not for `example.com` itself (as the
//! Gateway API has it). Ports play no part.

use std::{borrow::Cow, collections::HashMap, net::Ipv6Addr};

/// What serves each host.
#[derive(Clone, Debug)]
pub struct Hosts<T> {
    exact: HashMap<Box<str>, T, foldhash::fast::RandomState>,
    /// By what stands behind the `*`, with its dot: `.example.com`.
    wildcard: HashMap<Box<str>, T, foldhash::fast::RandomState>,
    default: Option<T>,
}

/// Why a host name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    Character,
    Port,
    Ipv6,
    TooLong,
    Label,
}

impl HostError {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Character => "the host holds a character that a host name cannot hold",
            Self::Port => "the port is not a number up to 65535",
            Self::Ipv6 => "the address in brackets is not an IPv6 address",
            Self::TooLong => "the host is longer than 255 characters",
            Self::Label => "the host has an empty label",
        }
    }
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: HashMap::default(), wildcard: HashMap::default(), default: None }
    }
}

impl<T> Hosts<T> {
    /// The entry of a host as configured: a name, `*.` before a name, or `*` for the default.
    /// It is made when it is new.
    ///
    /// # Errors
    /// When the name is not one.
    pub fn entry(&mut self, host: &str, new: impl FnOnce() -> T) -> Result<&mut T, HostError> {
        if host == "*" {
            return Ok(self.default.get_or_insert_with(new));
        }
        if let Some(suffix) = host.strip_prefix("*.") {
            let key = format!(".{}", normalise(suffix)?);
            return Ok(self.wildcard.entry(key.into()).or_insert_with(new));
        }
        let key = normalise(host)?;
        Ok(self.exact.entry(key.into()).or_insert_with(new))
    }

    /// Who serves the host of a request, given as the authority came: any case, with or without port.
    ///
    /// # Errors
    /// When it is not a host at all, which is a 400; an unknown one is `Ok(None)`.
    pub fn find(&self, authority: &str) -> Result<Option<&T>, HostError> {
        Ok(self.get(&normalise(authority)?))
    }

    /// The same for a host that is [`normalise`]d already.
    pub fn get(&self, host: &str) -> Option<&T> {
        if let Some(found) = self.exact.get(host) {
            return Some(found);
        }
        if !self.wildcard.is_empty() {
            let dots = host.match_indices('.').map(|(at, _)| at).filter(|&at| at > 0);
            for at in dots {
                if let Some(found) = self.wildcard.get(&host[at..]) {
                    return Some(found);
                }
            }
        }
        self.default.as_ref()
    }

    /// All entries with their host as configured (lower case), in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, &T)> {
        let exact = self.exact.iter().map(|(host, value)| (Cow::from(host.as_ref()), value));
        let wildcard = self.wildcard.iter().map(|(host, value)| (Cow::from(format!("*{host}")), value));
        exact.chain(wildcard).chain(self.default.iter().map(|value| (Cow::from("*"), value)))
    }

    /// Makes another value of each.
    pub fn map<U>(self, mut with: impl FnMut(T) -> U) -> Hosts<U> {
        Hosts {
            exact: self.exact.into_iter().map(|(host, value)| (host, with(value))).collect(),
            wildcard: self.wildcard.into_iter().map(|(host, value)| (host, with(value))).collect(),
            default: self.default.map(with),
        }
    }
}

/// A host as it is compared: lower case, without port and without the dot at the end of a full name,
/// IPv6 addresses in brackets and in their shortest form. Empty stays empty (HTTP/1.1 allows `Host:`).
///
/// # Errors
/// When it is not a host.
pub fn normalise(authority: &str) -> Result<Cow<'_, str>, HostError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(HostError::Ipv6)?;
        check_port(port)?;
        let address: Ipv6Addr = address.parse().map_err(|_| HostError::Ipv6)?;
        let shortest = format!("[{address}]");
        let same = authority.starts_with(&shortest);
        return Ok(if same { Cow::Borrowed(&authority[..shortest.len()]) } else { Cow::Owned(shortest) });
    }
    let (host, port) =
        authority.split_at(memchr::memchr(b':', authority.as_bytes()).unwrap_or(authority.len()));
    check_port(port)?;
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.len() > 255 {
        return Err(HostError::TooLong);
    }
    let (mut upper, mut before) = (false, b'.');
    for byte in host.bytes() {
        match byte {
            b'.' if before == b'.' => return Err(HostError::Label),
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {}
            b'A'..=b'Z' => upper = true,
            _ => return Err(HostError::Character),
        }
        before = byte;
    }
    if before == b'.' && !(authority.is_empty() || authority.starts_with(':')) {
        return Err(HostError::Label);
    }
    Ok(if upper { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) })
}

/// `""`, `:` or `:8080`.
fn check_port(port: &str) -> Result<(), HostError> {
    let digits = match port.strip_prefix(':') {
        Some(digits) => digits,
        None if port.is_empty() => return Ok(()),
        None => return Err(HostError::Character),
    };
    let number = digits.bytes().all(|byte| byte.is_ascii_digit());
    if number && (digits.is_empty() || digits.parse::<u16>().is_ok()) { Ok(()) } else { Err(HostError::Port) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&'static str]) -> Hosts<&'static str> {
        let mut hosts = Hosts::default();
        for &name in names {
            hosts.entry(name, || name).unwrap();
        }
        hosts
    }

    #[test]
    fn exact_wins_over_wildcard_and_the_longer_wildcard_over_the_shorter() {
        let hosts = hosts(&["api.example.com", "*.example.com", "*.b.example.com", "*", "[::1]"]);
        for (asked, found) in [
            ("api.example.com", "api.example.com"),
            ("API.Example.COM.:8443", "api.example.com"),
            ("x.example.com", "*.example.com"),
            ("x.y.example.com:80", "*.example.com"),
            ("x.b.example.com", "*.b.example.com"),
            ("b.example.com", "*.example.com"),
            ("example.com", "*"),
            ("xexample.com", "*"),
            ("", "*"),
            ("127.0.0.1:8080", "*"),
            ("[0:0::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(hosts.find(asked), Ok(Some(&found)), "{asked}");
        }
    }

    #[test]
    fn an_unknown_host_without_a_default_is_nobodys() {
        assert_eq!(hosts(&["a.example"]).find("b.example"), Ok(None));
        assert_eq!(hosts(&["*.a.example"]).find(".a.example"), Err(HostError::Label));
    }

    #[test]
    fn what_is_no_host_is_refused_with_the_reason() {
        for (bad, error) in [
            ("a b", HostError::Character),
            ("user@host", HostError::Character),
            ("a/b", HostError::Character),
            ("ä", HostError::Character),
            ("a:b", HostError::Port),
            ("a:65536", HostError::Port),
            ("a:1:2", HostError::Port),
            ("a..b", HostError::Label),
            (".", HostError::Label),
            ("a..", HostError::Label),
            ("[::1", HostError::Ipv6),
            ("[v1.x]", HostError::Ipv6),
            ("[::1]x", HostError::Character),
        ] {
            assert_eq!(normalise(bad), Err(error), "{bad}");
        }
        assert_eq!(normalise(&"a".repeat(256)), Err(HostError::TooLong));
    }

    #[test]
    fn the_common_case_borrows() {
        for common in ["api.example.com:8080", "api.example.com.", "[::1]:80", ""] {
            assert!(matches!(normalise(common), Ok(Cow::Borrowed(_))), "{common}");
        }
    }
}
