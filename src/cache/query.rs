//! The query as a description declares it: what of it joins the key, and what of it is forwarded.
//!
//! Pairs stay as they were sent: two spellings of one value cost a miss, never a wrong answer. Names are
//! compared decoded, so that an encoded spelling does not slip past as undeclared.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{
    key::{self, Unkeyed},
    options::{RouteCacheOptions, UndeclaredQuery},
};

/// Requests with more query pairs go past the cache: each is compared with each declared name.
pub(super) const MAX_PAIRS: usize = 128;

/// The query parameters of an operation, in declared order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredQuery {
    pub params: Box<[Param]>,
    /// An exploded object takes names that nobody can list: then none is undeclared.
    pub open: bool,
}

/// One declared query parameter, or one property of an exploded object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Decoded.
    pub name: Box<str>,
    /// `deepObject`: `name[property]=value`, where the order of the properties says nothing.
    pub deep: bool,
    /// What absence stands for, where the operation asks for that to be folded.
    pub default: Option<Absent>,
}

/// The default of a parameter as it would be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Decoded values of pairs in a row.
    Pairs(Box<[Box<str>]>),
    /// The items of an array in one pair: as sent, because an encoded delimiter is none.
    Joined(Box<str>),
}

type Pairs<'a> = SmallVec<[&'a [u8]; 16]>;

impl DeclaredQuery {
    /// Appends what tells answers apart: declared parameters in declared order, then the others as sent.
    pub(super) fn key(
        &self,
        bytes: &mut key::Bytes,
        query: &str,
        undeclared: UndeclaredQuery,
    ) -> Result<(), Unkeyed> {
        let mut pairs: SmallVec<[(&[u8], bool); 16]> = SmallVec::new();
        for pair in pairs_of(query) {
            if pairs.len() == MAX_PAIRS {
                return Err(Unkeyed::TooLarge);
            }
            pairs.push((pair, false));
        }
        for param in &self.params {
            let mut own = Pairs::new();
            for (pair, seen) in pairs.iter_mut().filter(|(_, seen)| !seen) {
                if param.declares(pair) {
                    *seen = true;
                    own.push(pair);
                }
            }
            if param.deep {
                own.sort_by(|a, b| Decoded(name(a)).cmp(Decoded(name(b))));
            }
            if !param.default.as_ref().is_some_and(|default| default.is(&own)) {
                own.iter().for_each(|pair| key::part(bytes, pair));
            }
            bytes.push(b';');
        }
        for (pair, _) in pairs.iter().filter(|(_, seen)| !seen) {
            match undeclared {
                _ if self.open => key::part(bytes, pair),
                UndeclaredQuery::Key => key::part(bytes, pair),
                UndeclaredQuery::Ignore => {}
                UndeclaredQuery::Bypass => return Err(Unkeyed::Undeclared),
            }
        }
        Ok(())
    }

    /// The query without the pairs that are not declared; most often all of it.
    #[must_use]
    pub fn declared_part<'a>(&self, query: &'a str) -> Cow<'a, str> {
        let declared = |pair: &[u8]| self.open || self.params.iter().any(|param| param.declares(pair));
        if pairs_of(query).all(declared) {
            return Cow::Borrowed(query);
        }
        let kept: Vec<&str> = query.split('&').filter(|pair| declared(pair.as_bytes())).collect();
        Cow::Owned(kept.join("&"))
    }
}

impl RouteCacheOptions {
    /// The query that cache and upstream see. Parameters that do not count in the key must not reach the
    /// upstream either: else one caller's would decide what all the others get.
    #[must_use]
    pub fn forwarded_query<'a>(&self, query: Cow<'a, str>) -> Cow<'a, str> {
        let Some(declared) = self.query.as_ref().filter(|_| self.undeclared_query == UndeclaredQuery::Ignore)
        else {
            return query;
        };
        match query {
            Cow::Borrowed(query) => declared.declared_part(query),
            Cow::Owned(query) => Cow::Owned(declared.declared_part(&query).into_owned()),
        }
    }
}

impl Param {
    /// A parameter without a default that folds, in any style but `deepObject`.
    #[must_use]
    pub fn plain(name: &str) -> Self {
        Self { name: name.into(), deep: false, default: None }
    }

    /// Whether a raw `name=value` belongs here: its name, decoded, is this one, or this and a bracket.
    fn declares(&self, pair: &[u8]) -> bool {
        let mut decoded = Decoded(name(pair));
        self.name.bytes().all(|byte| decoded.next() == Some(byte))
            && matches!(decoded.next(), None | Some(b'['))
    }
}

impl Absent {
    /// Whether `pairs`, all of one parameter, say what their absence says.
    fn is(&self, pairs: &[&[u8]]) -> bool {
        match self {
            Self::Pairs(values) => {
                let said = pairs.iter().map(|pair| value(pair).map(Decoded));
                let wanted = values.iter().map(|value| value.bytes());
                values.len() == pairs.len()
                    && said.zip(wanted).all(|(said, wanted)| said.is_some_and(|said| said.eq(wanted)))
            }
            Self::Joined(wanted) => match pairs {
                [pair] => value(pair).is_some_and(|value| value == wanted.as_bytes()),
                _ => false,
            },
        }
    }
}

fn pairs_of(query: &str) -> impl Iterator<Item = &[u8]> {
    query.as_bytes().split(|b| *b == b'&').filter(|pair| !pair.is_empty())
}

fn name(pair: &[u8]) -> &[u8] {
    &pair[..memchr::memchr(b'=', pair).unwrap_or(pair.len())]
}

fn value(pair: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b'=', pair).map(|at| &pair[at + 1..])
}

/// Percent-decoding with `+` as a blank; what is no escape stays.
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let hex = |b: u8| char::from(b).to_digit(16);
        if let [b'%', high, low, rest @ ..] = self.0
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            self.0 = rest;
            return Some((high * 16 + low) as u8);
        }
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(if *first == b'+' { b' ' } else { *first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(params: impl IntoIterator<Item = Param>) -> DeclaredQuery {
        DeclaredQuery { params: params.into_iter().collect(), open: false }
    }

    fn key(declared: &DeclaredQuery, query: &str) -> Vec<u8> {
        let mut bytes = key::Bytes::new();
        declared.key(&mut bytes, query, UndeclaredQuery::Key).unwrap();
        bytes.to_vec()
    }

    fn folding(name: &str, default: Absent) -> Param {
        Param { default: Some(default), ..Param::plain(name) }
    }

    fn pairs(values: &[&str]) -> Absent {
        Absent::Pairs(values.iter().map(|value| Box::from(*value)).collect())
    }

    #[test]
    fn properties_of_a_deep_object_have_no_order() {
        let deep = declared([Param { deep: true, ..Param::plain("f") }]);
        assert_eq!(key(&deep, "f[a]=1&f[b]=2"), key(&deep, "f[b]=2&f[a]=1"));
        assert_eq!(key(&deep, "f%5Ba%5D=1&f[b]=2").len(), key(&deep, "f[b]=2&f%5Ba%5D=1").len());
        assert_ne!(key(&deep, "f[a]=1&f[b]=2"), key(&deep, "f[a]=2&f[b]=1"));
        // Of one property, the order counts.
        assert_ne!(key(&deep, "f[a]=1&f[a]=2"), key(&deep, "f[a]=2&f[a]=1"));
        let flat = declared([Param::plain("f")]);
        assert_ne!(key(&flat, "f[a]=1&f[b]=2"), key(&flat, "f[b]=2&f[a]=1"));
    }

    #[test]
    fn a_default_is_the_same_as_absence_where_that_is_asked_for() {
        let folded = declared([folding("limit", pairs(&["20"])), folding("sort", pairs(&["a b"]))]);
        assert_eq!(key(&folded, "limit=20"), key(&folded, ""));
        assert_eq!(key(&folded, "sort=a+b&limit=%320"), key(&folded, ""));
        for other in ["limit=2", "limit=200", "limit", "limit=", "limit=20&limit=20", "limit[x]=20&limit=1"] {
            assert_ne!(key(&folded, other), key(&folded, ""), "{other}");
        }
        let plain = declared([Param::plain("limit")]);
        assert_ne!(key(&plain, "limit=20"), key(&plain, ""));
    }

    #[test]
    fn the_default_of_an_array_is_folded_as_it_is_sent() {
        let exploded = declared([folding("s", pairs(&["a", "b"]))]);
        assert_eq!(key(&exploded, "s=a&s=b"), key(&exploded, ""));
        assert_ne!(key(&exploded, "s=b&s=a"), key(&exploded, ""));
        assert_ne!(key(&exploded, "s=a"), key(&exploded, ""));
        let joined = declared([folding("s", Absent::Joined("a,b".into()))]);
        assert_eq!(key(&joined, "s=a,b"), key(&joined, ""));
        // One item with a comma in it.
        assert_ne!(key(&joined, "s=a%2Cb"), key(&joined, ""));
    }

    #[test]
    fn what_does_not_count_is_not_forwarded() {
        let declared = declared([Param::plain("a"), Param::plain("key name")]);
        let part = |query| declared.declared_part(query);
        assert!(matches!(part("a=1&key+name=2&&a[x]=3"), Cow::Borrowed(_)));
        assert_eq!(part("u=1&a=2&%61=3&aa=4&key%20name=5"), "a=2&%61=3&key%20name=5");
        assert_eq!(part("utm_source=x"), "");
        assert_eq!(part(""), "");
    }

    #[test]
    fn nothing_is_undeclared_where_an_object_takes_any_name() {
        let open = DeclaredQuery { params: Box::new([Param::plain("a")]), open: true };
        assert_eq!(open.declared_part("b=1&a=2"), "b=1&a=2");
        for undeclared in [UndeclaredQuery::Ignore, UndeclaredQuery::Bypass] {
            let mut bytes = key::Bytes::new();
            open.key(&mut bytes, "b=1", undeclared).unwrap();
            assert_eq!(bytes.to_vec(), key(&open, "b=1"));
        }
    }

    proptest::proptest! {
        /// Other orders of different parameters are the same key; and what is forwarded has the key of all.
        #[test]
        fn keys_do_not_depend_on_the_order_of_parameters(
            values in proptest::collection::vec("[a-z%+0-9]{0,6}", 4),
            turn in 0_usize..4,
        ) {
            let names = ["a", "b", "deep[x]", "deep[y]"];
            let declared = declared([
                Param::plain("b"), Param { deep: true, ..Param::plain("deep") }, Param::plain("a"),
            ]);
            let mut sent: Vec<_> = names.iter().zip(&values).map(|(name, value)| format!("{name}={value}")).collect();
            let straight = sent.join("&");
            sent.rotate_left(turn);
            proptest::prop_assert_eq!(key(&declared, &straight), key(&declared, &sent.join("&")));
            let more = format!("{straight}&zz=1");
            proptest::prop_assert_eq!(declared.declared_part(&more), straight);
        }
    }
}
