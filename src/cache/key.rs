//! The primary key: method class, host, canonical path, query, declared fields, principal (RFC 9111, 2).
//!
//! A key is a run of length-prefixed parts, so that no two requests can be written alike. It is hashed
//! for the look-up and compared in full on a hit: a collision costs a miss, never a wrong answer.
//! The scheme is a part of it (RFC 9110, 4.2): upstreams are told it, and redirect by it.

use std::hash::{DefaultHasher, Hasher};

use http::{HeaderMap, HeaderName, header};
use smallvec::SmallVec;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::{options::RouteCacheOptions, request::CacheRequest, share};

/// Longer keys go past the cache.
const MAX_BYTES: usize = 16 * 1024;

pub(super) type Bytes = SmallVec<[u8; 256]>;

/// A key with its hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    bytes: Bytes,
    /// Names the stored resource.
    pub id: u128,
    /// Names host and path alone: an unsafe method invalidates all that lies there.
    pub place: u64,
}

/// What a key is called in `Cache-Status`. Requests for the same stored response see the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name(pub(super) u64);

/// Why a request has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unkeyed {
    /// It has a query parameter that the description does not declare (`undeclared_query: bypass`).
    Undeclared,
    /// Key or query are too large.
    TooLarge,
}

impl Key {
    /// The key that all callers share.
    pub fn shared(request: &CacheRequest<'_>, seed: u64) -> Result<Self, Unkeyed> {
        let mut bytes = Bytes::new();
        part(&mut bytes, request.host.as_bytes());
        part(&mut bytes, request.path.as_bytes());
        let place = xxh3_64_with_seed(&bytes, seed);
        if request.scheme != "http" {
            bytes.push(b'S');
            part(&mut bytes, request.scheme.as_bytes());
        }
        query(&mut bytes, request.query, request.options)?;
        for name in request.options.headers.iter() {
            field(&mut bytes, request.headers, name);
        }
        for name in request.options.cookies.iter() {
            cookie(&mut bytes, request.headers, name.as_bytes());
        }
        overrides(&mut bytes, request.headers, request.from_trusted);
        if bytes.len() > MAX_BYTES {
            return Err(Unkeyed::TooLarge);
        }
        let id = share::shared_id(xxh3_128_with_seed(&bytes, seed));
        Ok(Self { bytes, id, place })
    }

    /// The same resource as stored for one principal.
    #[must_use]
    pub fn of_principal(&self, principal: &[u8], seed: u64) -> Self {
        let mut bytes = self.bytes.clone();
        bytes.push(b'P');
        part(&mut bytes, principal);
        let id = share::own_id(xxh3_128_with_seed(&bytes, seed), xxh3_64_with_seed(principal, seed));
        Self { bytes, id, place: self.place }
    }

    /// The same resource where parts of its response are kept.
    #[must_use]
    pub fn of_parts(&self, seed: u64) -> Self {
        let mut bytes = self.bytes.clone();
        bytes.push(b'R');
        let id = xxh3_128_with_seed(&bytes, seed);
        Self { bytes, id, place: self.place }
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[must_use]
    pub fn name(&self, seed: u64) -> Name {
        // SipHash, so that names tell nothing of the seed, which keeps others from making keys collide.
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        hasher.write_u128(self.id);
        Name(hasher.finish())
    }
}

/// Names a host and path as [`Key::place`] does.
#[must_use]
pub fn place(host: &str, path: &str, seed: u64) -> u64 {
    let mut bytes = Bytes::new();
    part(&mut bytes, host.as_bytes());
    part(&mut bytes, path.as_bytes());
    xxh3_64_with_seed(&bytes, seed)
}

/// Host and path of a key's bytes.
#[must_use]
pub fn host_and_path(key: &[u8]) -> Option<(&str, &str)> {
    let (host, rest) = take_part(key)?;
    let (path, _) = take_part(rest)?;
    Some((std::str::from_utf8(host).ok()?, std::str::from_utf8(path).ok()?))
}

fn take_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

pub(super) fn part(bytes: &mut Bytes, content: &[u8]) {
    // Longer content makes the key too large, which is looked at in the end.
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(content);
}

fn query(bytes: &mut Bytes, query: Option<&str>, options: &RouteCacheOptions) -> Result<(), Unkeyed> {
    let Some(declared) = &options.query else {
        bytes.push(if query.is_some() { b'Q' } else { b'q' });
        part(bytes, query.unwrap_or_default().as_bytes());
        return Ok(());
    };
    bytes.push(b'D');
    declared.key(bytes, query.unwrap_or_default(), options.undeclared_query)
}

/// Fields that many upstreams obey in place of the target, the method or the host. A caller who sends one gets
/// an answer that is right for nobody else, so it tells answers apart.
fn overrides(bytes: &mut Bytes, headers: &HeaderMap, trusted: bool) {
    for (name, value) in headers {
        if is_override(name.as_str(), trusted) {
            bytes.push(b'O');
            part(bytes, name.as_str().as_bytes());
            part(bytes, value.as_bytes());
        }
    }
}

fn is_override(name: &str, trusted: bool) -> bool {
    if !name.starts_with("x-") {
        return name == "front-end-https";
    }
    match name {
        // the target, the method, the host, the scheme
        "x-original-url"
        | "x-original-uri"
        | "x-rewrite-url"
        | "x-http-destinationurl"
        | "x-forwarded-path"
        | "x-forwarded-uri"
        | "x-http-method-override"
        | "x-http-method"
        | "x-method-override"
        | "x-host"
        | "x-original-host"
        | "x-http-host-override"
        | "x-url-scheme"
        | "x-forwarded-scheme" => true,
        // From strangers these are dropped before they reach the upstream.
        "x-forwarded-host" | "x-forwarded-proto" | "x-forwarded-port" | "x-forwarded-prefix"
        | "x-forwarded-server" | "x-forwarded-ssl" => trusted,
        _ => false,
    }
}

fn field(bytes: &mut Bytes, headers: &HeaderMap, name: &HeaderName) {
    bytes.push(b'H');
    for line in headers.get_all(name) {
        part(bytes, line.as_bytes());
    }
}

fn cookie(bytes: &mut Bytes, headers: &HeaderMap, name: &[u8]) {
    bytes.push(b'C');
    cookies(headers, name).for_each(|pair| part(bytes, pair));
}

/// Whether the request brings a cookie of this name.
#[must_use]
pub fn has_cookie(headers: &HeaderMap, name: &str) -> bool {
    cookies(headers, name.as_bytes()).next().is_some()
}

/// The pairs `name=value` of the cookies of one name.
fn cookies<'a>(headers: &'a HeaderMap, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|b| *b == b';').map(<[u8]>::trim_ascii));
    pairs.filter(move |pair| pair.strip_prefix(name).is_some_and(|rest| rest.starts_with(b"=")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Method;

    use super::*;
    use crate::cache::{DeclaredQuery, Param, UndeclaredQuery, query::MAX_PAIRS};

    fn key_of(target: &str, headers: &HeaderMap, options: &RouteCacheOptions) -> Result<Key, Unkeyed> {
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        let request = CacheRequest {
            method: &Method::GET,
            host: "a.test",
            path,
            query,
            headers,
            partition: None,
            scheme: "http",
            from_trusted: false,
            options,
            now_ms: 0,
        };
        Key::shared(&request, 7)
    }

    fn key(target: &str, options: &RouteCacheOptions) -> Key {
        key_of(target, &HeaderMap::new(), options).unwrap()
    }

    fn declared(names: &[&str]) -> RouteCacheOptions {
        let params = names.iter().map(|name| Param::plain(name)).collect();
        let query = Some(Arc::new(DeclaredQuery { params, open: false }));
        RouteCacheOptions { query, ..Default::default() }
    }

    #[test]
    fn without_a_description_the_query_counts_as_sent() {
        let options = RouteCacheOptions::default();
        assert_eq!(key("/x?a=1", &options), key("/x?a=1", &options));
        assert_ne!(key("/x?a=1&b=2", &options), key("/x?b=2&a=1", &options));
        assert_ne!(key("/x?", &options), key("/x", &options));
    }

    #[test]
    fn declared_parameters_count_in_declared_order_and_repeated_ones_in_sent_order() {
        let options = declared(&["a", "b"]);
        assert_eq!(key("/x?a=1&b=2", &options), key("/x?b=2&a=1", &options));
        assert_ne!(key("/x?a=1&a=2", &options), key("/x?a=2&a=1", &options));
        assert_ne!(key("/x?a=1", &options), key("/x?b=1", &options));
        assert_ne!(key("/x?a", &options), key("/x?a=", &options));
        assert_eq!(key("/x?a[x]=1&b=2", &options), key("/x?b=2&a[x]=1", &options));
    }

    #[test]
    fn undeclared_parameters_are_keyed_ignored_or_bypass_even_in_encoded_spelling() {
        let by_key = declared(&["a"]);
        assert_ne!(key("/x?a=1&u=1", &by_key), key("/x?a=1", &by_key));
        let ignore = RouteCacheOptions { undeclared_query: UndeclaredQuery::Ignore, ..declared(&["a"]) };
        assert_eq!(key("/x?a=1&u=1", &ignore), key("/x?a=1", &ignore));
        assert_ne!(key("/x?%61=1", &ignore), key("/x", &ignore));
        let bypass = RouteCacheOptions { undeclared_query: UndeclaredQuery::Bypass, ..declared(&["a"]) };
        assert_eq!(key_of("/x?u=1", &HeaderMap::new(), &bypass), Err(Unkeyed::Undeclared));
    }

    #[test]
    fn parts_cannot_run_into_each_other() {
        let options = declared(&["a", "b"]);
        assert_ne!(key("/x?a=1", &options), key("/x?a=1&b=", &options));
        assert_ne!(
            key("/xa", &RouteCacheOptions::default()).place,
            key("/x", &RouteCacheOptions::default()).place
        );
    }

    #[test]
    fn declared_fields_and_cookies_join_and_others_do_not() {
        let options = RouteCacheOptions {
            headers: Arc::new([HeaderName::from_static("x-tenant")]),
            cookies: Arc::new([Box::from("lang")]),
            ..Default::default()
        };
        let with = |name: &str, value: &str| {
            let headers =
                HeaderMap::from_iter([(HeaderName::try_from(name).unwrap(), value.parse().unwrap())]);
            key_of("/x", &headers, &options).unwrap()
        };
        let plain = key("/x", &options);
        assert_ne!(with("x-tenant", "a"), with("x-tenant", "b"));
        assert_ne!(with("cookie", "a=1; lang=de"), with("cookie", "lang=en"));
        assert_eq!(with("cookie", "language=de"), plain);
        assert_eq!(with("x-other", "1"), plain);
    }

    #[test]
    fn each_principal_has_a_key_of_its_own_in_one_place() {
        let shared = key("/x", &RouteCacheOptions::default());
        let (a, b) = (shared.of_principal(b"a", 7), shared.of_principal(b"b", 7));
        assert!(a.id != b.id && a.id != shared.id);
        assert!(a.place == shared.place && b.place == shared.place);
        assert_eq!(place("a.test", "/x", 7), shared.place);
        assert_eq!(host_and_path(a.as_bytes()), Some(("a.test", "/x")));
    }

    #[test]
    fn what_is_too_large_has_no_key() {
        let many = "a=1&".repeat(MAX_PAIRS + 1);
        let target = format!("/x?{many}");
        assert_eq!(key_of(&target, &HeaderMap::new(), &declared(&["a"])), Err(Unkeyed::TooLarge));
        let long = format!("/x?{}", "a".repeat(MAX_BYTES));
        assert_eq!(key_of(&long, &HeaderMap::new(), &RouteCacheOptions::default()), Err(Unkeyed::TooLarge));
    }
}
