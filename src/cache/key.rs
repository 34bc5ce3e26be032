//! The primary key: host, canonical path, operation, query, declared fields, principal (RFC 9111, 2).
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

/// Whether a key belongs to one principal: the byte behind its owner.
const SHARED: u8 = b's';
const OWN: u8 = b'p';

pub(super) type Bytes = SmallVec<[u8; 256]>;

/// API and operation of a stored response, by the hashes of their names: the same across generations and
/// restarts. What was stored for one operation never answers another, wherever their paths lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub api: u64,
    pub operation: u64,
}

impl Owner {
    #[must_use]
    pub fn of(api: &str, operation: &str) -> Self {
        let api = Self::api(api);
        Self { api, operation: xxh3_64_with_seed(operation.as_bytes(), api) }
    }

    #[must_use]
    pub fn api(name: &str) -> u64 {
        xxh3_64_with_seed(name.as_bytes(), 0)
    }
}

/// A key with its hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    bytes: Bytes,
    /// Where the byte stands that tells a principal's key.
    kind: usize,
    /// Names the stored resource.
    pub id: u128,
    /// Names host and path alone: an unsafe method invalidates all that lies there.
    pub place: u64,
}

/// What a key is called in `Cache-Status`. Requests for the same stored response see the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name(pub u64);

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
        let Owner { api, operation } = request.options.owner;
        bytes.extend_from_slice(&api.to_le_bytes());
        bytes.extend_from_slice(&operation.to_le_bytes());
        let kind = bytes.len();
        bytes.push(SHARED);
        section(&mut bytes, |bytes| query(bytes, request.query, request.options))?;
        if request.scheme != "http" {
            bytes.push(b'S');
            part(&mut bytes, request.scheme.as_bytes());
        }
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
        Ok(Self { bytes, kind, id, place })
    }

    /// The same resource as stored for one principal.
    #[must_use]
    pub fn of_principal(&self, principal: &[u8], seed: u64) -> Self {
        let mut bytes = self.bytes.clone();
        bytes[self.kind] = OWN;
        bytes.push(b'P');
        part(&mut bytes, principal);
        let id = share::own_id(xxh3_128_with_seed(&bytes, seed), xxh3_64_with_seed(principal, seed));
        Self { bytes, kind: self.kind, id, place: self.place }
    }

    /// The same resource where parts of its response are kept.
    #[must_use]
    pub fn of_parts(&self, seed: u64) -> Self {
        let mut bytes = self.bytes.clone();
        bytes.push(b'R');
        let id = share::same_owner(xxh3_128_with_seed(&bytes, seed), self.id);
        Self { bytes, kind: self.kind, id, place: self.place }
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

/// A key taken apart, as far as people and purges speak of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    pub host: &'a str,
    pub path: &'a str,
    pub owner: Owner,
    /// Whether it is one principal's.
    pub own: bool,
    /// What of the query counts, in the key's own form.
    pub query: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Takes the bytes of a key apart; nothing when they are none.
    #[must_use]
    pub fn of(key: &'a [u8]) -> Option<Self> {
        let (host, rest) = take_part(key)?;
        let (path, rest) = take_part(rest)?;
        let (api, rest) = rest.split_first_chunk()?;
        let (operation, rest) = rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first()?;
        let (query, _) = take_part(rest)?;
        Some(Self {
            host: std::str::from_utf8(host).ok()?,
            path: std::str::from_utf8(path).ok()?,
            owner: Owner { api: u64::from_le_bytes(*api), operation: u64::from_le_bytes(*operation) },
            own: *kind == OWN,
            query,
        })
    }

    /// The query for people: that of a description without what does not count, in the key's order.
    #[must_use]
    pub fn shown_query(&self) -> Option<String> {
        let (kind, mut rest) = self.query.split_first()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match kind {
            b'Q' => take_part(rest).map(|(query, _)| text(query)),
            b'D' => {
                let mut pairs = Vec::new();
                while let Some((_, behind)) = rest.split_first() {
                    // Between the pairs stand single marks; no pair is empty or holds a control character.
                    rest = match take_part(rest) {
                        Some((pair, rest)) if !pair.is_empty() && pair.iter().all(|b| *b >= b' ') => {
                            pairs.push(text(pair));
                            rest
                        }
                        _ => behind,
                    };
                }
                (!pairs.is_empty()).then(|| pairs.join("&"))
            }
            _ => None,
        }
    }
}

/// What of a query counts, as [`Parts::query`] has it.
pub fn query_part(
    query: Option<&str>,
    options: &RouteCacheOptions,
) -> Result<impl AsRef<[u8]> + use<>, Unkeyed> {
    let mut bytes = Bytes::new();
    self::query(&mut bytes, query, options)?;
    Ok(bytes)
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

/// Puts the length of what `fill` writes before it.
fn section(bytes: &mut Bytes, fill: impl FnOnce(&mut Bytes) -> Result<(), Unkeyed>) -> Result<(), Unkeyed> {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    fill(bytes)?;
    let length = u32::try_from(bytes.len() - start - 4).unwrap_or(u32::MAX);
    bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
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
        let parts =
            |key: &Key| Parts::of(key.as_bytes()).map(|p| (p.host.to_owned(), p.path.to_owned(), p.own));
        assert_eq!(parts(&a), Some(("a.test".to_owned(), "/x".to_owned(), true)));
        assert_eq!(parts(&shared), Some(("a.test".to_owned(), "/x".to_owned(), false)));
        assert_eq!(Parts::of(&a.as_bytes()[..20]), None);
    }

    #[test]
    fn what_belongs_to_one_operation_answers_no_other() {
        let of = |api: &str, operation: &str| {
            let options = RouteCacheOptions { owner: Owner::of(api, operation), ..Default::default() };
            key("/x", &options)
        };
        let one = of("a", "get");
        assert_eq!(one, of("a", "get"));
        assert!(one != of("a", "list") && one != of("b", "get"));
        assert_eq!(one.place, of("b", "list").place);
        let owner = |key: &Key| Parts::of(key.as_bytes()).unwrap().owner;
        assert_eq!(owner(&one).api, owner(&of("a", "list")).api);
        assert_ne!(Owner::of("ab", "c"), Owner::of("a", "bc"));
    }

    #[test]
    fn the_query_of_a_key_can_be_read_and_compared() {
        let shown = |target: &str, options: &RouteCacheOptions| {
            Parts::of(key(target, options).as_bytes()).unwrap().shown_query()
        };
        let plain = RouteCacheOptions::default();
        assert_eq!(shown("/x", &plain), None);
        assert_eq!(shown("/x?b=2&a=1", &plain).unwrap(), "b=2&a=1");
        let known = declared(&["a", "b"]);
        assert_eq!(shown("/x", &known), None);
        assert_eq!(shown("/x?u=3&b=2&a=1", &known).unwrap(), "a=1&b=2&u=3");
        // Lengths that look like marks.
        for length in [55, 56, 57, 59, 59 + 256, 300] {
            let value = "v".repeat(length);
            assert_eq!(shown(&format!("/x?b={value}"), &known).unwrap(), format!("b={value}"));
        }
        let part = |query| query_part(Some(query), &known).unwrap().as_ref().to_vec();
        assert_eq!(part("b=2&a=1"), Parts::of(key("/x?a=1&b=2", &known).as_bytes()).unwrap().query);
        assert_ne!(part("a=1"), part("a=1&u=1"));
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
