//! The secondary key of a stored response: the request fields that its `Vary` names (RFC 9111, 4.1).

use http::{HeaderMap, HeaderName, header};
use smallvec::SmallVec;

use super::directives::split_element;

/// Longer lists are not stored: each name is compared at each look-up.
const MAX_NAMES: usize = 16;

/// Bytes of the request's values; longer ones are not stored.
const MAX_BYTES: usize = 4096;

/// Why a response's `Vary` keeps it from being stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// `Vary: *` never matches (RFC 9111, 4.1).
    Star,
    /// Too many names or too long values, or no field names at all.
    Excessive,
}

/// Names and the values they had, normalised; `None` where the request lacked the field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vary(Vec<(HeaderName, Option<Box<[u8]>>)>);

impl Vary {
    /// The secondary key of a response with these `headers` to a request with those.
    pub fn of(response: &HeaderMap, request: &HeaderMap) -> Result<Self, Unfit> {
        let mut fields = Vec::new();
        let mut bytes = 0;
        for line in response.get_all(header::VARY) {
            for name in line.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                if name.is_empty() {
                    continue;
                }
                if name == b"*" {
                    return Err(Unfit::Star);
                }
                let name = HeaderName::from_bytes(name).map_err(|_| Unfit::Excessive)?;
                if fields.iter().any(|(known, _)| *known == name) {
                    continue;
                }
                let value = normalised(request, &name);
                bytes += value.as_ref().map_or(0, SmallVec::len);
                if fields.len() == MAX_NAMES || bytes > MAX_BYTES {
                    return Err(Unfit::Excessive);
                }
                fields.push((name, value.map(|v| v.to_vec().into_boxed_slice())));
            }
        }
        fields.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        Ok(Self(fields))
    }

    /// Rebuilds a key that was taken apart with [`Self::fields`].
    #[must_use]
    pub fn from_fields(fields: Vec<(HeaderName, Option<Box<[u8]>>)>) -> Self {
        Self(fields)
    }

    #[must_use]
    pub fn fields(&self) -> &[(HeaderName, Option<Box<[u8]>>)] {
        &self.0
    }

    /// Whether `other` is about the same fields.
    #[must_use]
    pub fn same_names(&self, other: &Self) -> bool {
        self.0.iter().map(|(name, _)| name).eq(other.0.iter().map(|(name, _)| name))
    }

    /// Whether every request matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request with these `headers` selects the response. Allocates only for values of
    /// several lines or of more than 256 bytes.
    #[must_use]
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        self.0.iter().all(|(name, stored)| normalised(headers, name).as_deref() == stored.as_deref())
    }

    /// The same names with the values that another request has.
    #[must_use]
    pub fn of_request(&self, headers: &HeaderMap) -> Self {
        let value = |name| normalised(headers, name).map(|value| value.to_vec().into_boxed_slice());
        Self(self.0.iter().map(|(name, _)| (name.clone(), value(name))).collect())
    }

    /// A name for this key beside others of one resource.
    #[must_use]
    pub fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.to_bytes())
    }

    /// Names and values as one text that no other key has.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in &self.0 {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.push(if value.is_some() { b'=' } else { 0 });
            bytes.extend_from_slice(value.as_deref().unwrap_or_default());
            bytes.push(0);
        }
        bytes
    }
}

/// A field's lines as one list, blanks around commas gone; `Accept-Encoding` also without case and in
/// order, since neither means anything there (RFC 9110, 12.5.3).
fn normalised(headers: &HeaderMap, name: &HeaderName) -> Option<SmallVec<[u8; 256]>> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let mut items: SmallVec<[&[u8]; 16]> = SmallVec::new();
    for line in std::iter::once(first).chain(lines) {
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            let (item, after) = split_element(rest);
            items.push(item.trim_ascii());
            rest = after;
        }
    }
    let is_set = *name == header::ACCEPT_ENCODING;
    if is_set {
        items.sort_unstable_by(|a, b| folded(a).cmp(folded(b)));
    }
    let mut joined = SmallVec::new();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            joined.push(b',');
        }
        if is_set {
            joined.extend(folded(item));
        } else {
            joined.extend_from_slice(item);
        }
    }
    Some(joined)
}

/// A member of a list in lower case and without blanks.
fn folded(item: &[u8]) -> impl Iterator<Item = u8> {
    item.iter().filter(|b| !matches!(b, b' ' | b'\t')).map(u8::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::map;

    fn vary(value: &str, request: &[(&str, &str)]) -> Vary {
        Vary::of(&map(&[("vary", value)]), &map(request)).unwrap()
    }

    #[test]
    fn a_star_anywhere_never_matches() {
        for lines in [vec!["*"], vec!["a, *"], vec!["a", "*"], vec!["*, *"]] {
            let lines: Vec<_> = lines.into_iter().map(|l| ("vary", l)).collect();
            assert_eq!(Vary::of(&map(&lines), &HeaderMap::new()), Err(Unfit::Star));
        }
    }

    #[test]
    fn every_named_field_must_be_the_same_and_absence_is_a_value() {
        let key = vary("Foo, bar", &[("foo", "1")]);
        assert!(key.matches(&map(&[("foo", "1"), ("other", "2")])));
        assert!(!key.matches(&map(&[("foo", "2")])));
        assert!(!key.matches(&map(&[])));
        assert!(!key.matches(&map(&[("foo", "1"), ("bar", "")])));
    }

    #[test]
    fn lines_and_blanks_of_one_list_do_not_matter_but_order_does() {
        let key = vary("foo", &[("foo", "1, 2")]);
        assert!(key.matches(&map(&[("foo", "1"), ("foo", "2")])));
        assert!(key.matches(&map(&[("foo", " 1 ,2")])));
        assert!(!key.matches(&map(&[("foo", "2, 1")])));
    }

    #[test]
    fn accept_encoding_is_a_set_without_case() {
        let key = vary("accept-encoding", &[("accept-encoding", "gzip, BR;q=0.5")]);
        assert!(key.matches(&map(&[("accept-encoding", "br; q=0.5,gzip")])));
        assert!(!key.matches(&map(&[("accept-encoding", "br,gzip")])));
    }

    #[test]
    fn what_is_too_long_is_not_stored() {
        let long = "x".repeat(MAX_BYTES + 1);
        let request = map(&[("foo", &long)]);
        assert_eq!(Vary::of(&map(&[("vary", "foo")]), &request), Err(Unfit::Excessive));
        let many: Vec<String> = (0..=MAX_NAMES).map(|i| format!("f{i}")).collect();
        assert_eq!(Vary::of(&map(&[("vary", &many.join(","))]), &HeaderMap::new()), Err(Unfit::Excessive));
    }

    #[test]
    fn different_keys_have_different_names() {
        let absent = vary("foo", &[]);
        assert_ne!(absent.hash(), vary("foo", &[("foo", "")]).hash());
        assert_ne!(vary("foo", &[("foo", "1")]).hash(), vary("foo", &[("foo", "2")]).hash());
    }
}
