//! Where Redis is and how to get in. Pure.

use std::{fmt, time::Duration};

use percent_encoding::percent_decode_str;
use url::Url;

const DEFAULT_PORT: u16 = 6379;

/// The longest prefix of keys, in bytes.
pub const MAX_PREFIX: usize = 64;

/// A server, from `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`; `rediss` is the same through TLS. It is
/// shown without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub tls: bool,
    /// A name or an IP address, without brackets.
    pub host: String,
    pub port: u16,
    pub database: u32,
    /// Of the server's access list.
    pub username: Option<String>,
    pub password: Option<String>,
}

/// Everything that one connection needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub address: Address,
    /// What the names of keys begin with: gateways of one prefix belong together.
    pub prefix: String,
    /// From dialling to a connection that may be used.
    pub connect_timeout: Duration,
    /// From a command to its reply.
    pub reply_timeout: Duration,
}

impl Config {
    /// A server with the usual deadlines: two seconds to connect, one second for a reply.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            prefix: "gatewright".to_owned(),
            connect_timeout: Duration::from_secs(2),
            reply_timeout: Duration::from_secs(1),
        }
    }

    /// The name of a key. The braces keep all keys of a prefix on one node of a Cluster.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{{{}}}:{name}", self.prefix)
    }
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it, for people; nothing of the text is repeated, since it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, _)) = text.split_once("://") else {
            return Err("an address begins with `redis://`, or with `rediss://` for TLS".into());
        };
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return Err("the scheme is `redis`, or `rediss` for TLS".into()),
        };
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(
                "take out what stands from `?` or `#` on; in a password they are `%3F` and `%23`".into()
            );
        }
        let host = match url.host() {
            Some(url::Host::Domain(name)) => decoded(name)?,
            Some(url::Host::Ipv4(address)) => address.to_string(),
            Some(url::Host::Ipv6(address)) => address.to_string(),
            None => return Err("the host is missing".into()),
        };
        let path = url.path().trim_matches('/');
        let database = if path.is_empty() { Ok(0) } else { path.parse() };
        let database = database.map_err(|_| "after the host comes the number of a database, such as `/0`")?;
        let given = |text: &str| if text.is_empty() { Ok(None) } else { decoded(text).map(Some) };
        Ok(Self {
            tls,
            host,
            port: url.port().unwrap_or(DEFAULT_PORT),
            database,
            username: given(url.username())?,
            password: url.password().map_or(Ok(None), given)?,
        })
    }

    /// The address in full, as [`Self::parse`] reads it.
    #[must_use]
    pub fn reveal(&self) -> String {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let shown = self.to_string();
        if self.username.is_none() && self.password.is_none() {
            return shown;
        }
        let user = self.username.as_deref().map(encode).unwrap_or_default();
        let password = self.password.as_deref().map(|text| format!(":{}", encode(text))).unwrap_or_default();
        shown.replacen("://", &format!("://{user}{password}@"), 1)
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "what is escaped is not UTF-8")?;
    Ok(decoded.into_owned())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "rediss://" } else { "redis://" })?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        write!(f, ":{}", self.port)?;
        if self.database > 0 { write!(f, "/{}", self.database) } else { Ok(()) }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// Whether a text may be the prefix of keys.
///
/// # Errors
/// What is wrong with it, for people.
pub fn check_prefix(text: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/');
    if text.is_empty() || text.len() > MAX_PREFIX || !text.bytes().all(plain) {
        return Err(format!("up to {MAX_PREFIX} letters, digits and `-_.:/` make a prefix"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_its_defaults() {
        let plain = Address::parse("redis://cache.internal").unwrap();
        assert_eq!((plain.tls, plain.port, plain.database), (false, 6379, 0));
        assert_eq!((plain.username, plain.password), (None, None));
        let full = Address::parse("rediss://gate:s%40f%2Fe@[::1]:7000/3").unwrap();
        assert_eq!((full.tls, full.host.as_str(), full.port, full.database), (true, "::1", 7000, 3));
        assert_eq!((full.username.as_deref(), full.password.as_deref()), (Some("gate"), Some("s@f/e")));
        assert_eq!(full.to_string(), "rediss://[::1]:7000/3");
        assert_eq!(Address::parse(&full.reveal()).unwrap(), full);
        let password = Address::parse("redis://:secret@127.0.0.1").unwrap();
        assert_eq!((password.username.as_deref(), password.password.as_deref()), (None, Some("secret")));
        assert_eq!(Address::parse(&password.reveal()).unwrap(), password);
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for wrong in [
            "127.0.0.1:6379",
            "http://:hunter2@127.0.0.1",
            "redis://",
            "redis://:hunter2@",
            "redis://:hunter2@host:port",
            "redis://:hunter2@host/name",
            "redis://:hunter2@host/4294967296",
            "redis://:hunter2@host/0/1",
            "rediss://:hunter2@host#insecure",
            "redis://:hunter2@host?protocol=resp2",
            "redis://:hunter2%FF@host",
        ] {
            let why = Address::parse(wrong).expect_err(wrong);
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let address = Address::parse("redis://gate:hunter2@h").unwrap();
        let shown = format!("{address} {address:?} {:?}", Config::new(address.clone()));
        assert!(!shown.contains("hunter2") && !shown.contains("gate:"), "{shown}");
    }

    #[test]
    fn all_keys_of_a_prefix_have_one_hash_tag() {
        let config = Config::new(Address::parse("redis://h").unwrap());
        assert_eq!(config.key("purges"), "{gatewright}:purges");
        assert!(check_prefix("shop/eu-1").is_ok());
        for wrong in ["", "a b", "a{b}", &"x".repeat(MAX_PREFIX + 1)] {
            assert!(check_prefix(wrong).is_err(), "{wrong}");
        }
    }
}
