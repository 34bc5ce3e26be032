//! Tags that an upstream gives its responses, to be purged by: `Cache-Tag` (a list with commas) and
//! `Surrogate-Key` (a list with blanks).
//!
//! They are read from the stored fields when a purge asks for them, so they take no further memory. Both
//! fields go on to clients like any other; a route takes them out with `response_headers: { remove: … }`.

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// A response with more tags, or more bytes of them, is not stored: each purge by tag looks at all.
const MAX_TAGS: usize = 1000;
const MAX_BYTES: usize = 16 * 1024;

/// Tags by their hashes.
pub type Hashes = SmallVec<[u64; 8]>;

/// Every tag of a response, as sent.
pub fn each(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let of = |name, separates: fn(&u8) -> bool| {
        let lines = headers.get_all(name).into_iter();
        lines.flat_map(move |line| line.as_bytes().split(separates)).map(<[u8]>::trim_ascii)
    };
    of(CACHE_TAG, |b| *b == b',')
        .chain(of(SURROGATE_KEY, |b| matches!(b, b' ' | b'\t')))
        .filter(|t| !t.is_empty())
}

/// Whether a response has so few tags that it may be stored.
#[must_use]
pub fn fit(headers: &HeaderMap) -> bool {
    let mut bytes = 0;
    let mut tags = each(headers).map(|tag| bytes += tag.len());
    let few = tags.by_ref().take(MAX_TAGS + 1).count() <= MAX_TAGS;
    drop(tags);
    few && bytes <= MAX_BYTES
}

#[must_use]
pub fn hashes(headers: &HeaderMap) -> Hashes {
    each(headers).map(hash).collect()
}

/// The hash of one tag. Case does not count: of the services whose tags these are, some tell it apart and
/// some do not, and removing too much costs a fetch. So does a collision.
#[must_use]
pub fn hash(tag: &[u8]) -> u64 {
    let lower: SmallVec<[u8; 64]> = tag.iter().map(u8::to_ascii_lowercase).collect();
    xxh3_64(&lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::map;

    fn tags(fields: &[(&str, &str)]) -> Vec<String> {
        each(&map(fields)).map(|tag| String::from_utf8(tag.to_vec()).unwrap()).collect()
    }

    #[test]
    fn both_fields_and_all_their_lines_are_read() {
        let fields = [
            ("cache-tag", "a, b ,,c d"),
            ("surrogate-key", "e  f\tg,h"),
            ("cache-tag", "i"),
            ("edge-cache-tag", "x"),
        ];
        assert_eq!(tags(&fields), ["a", "b", "c d", "i", "e", "f", "g,h"]);
        assert!(tags(&[("cache-tag", " , ")]).is_empty());
    }

    #[test]
    fn case_does_not_count_and_nothing_else_is_the_same() {
        assert_eq!(hash(b"Pets"), hash(b"pETS"));
        assert_ne!(hash(b"pets"), hash(b"pets "));
        assert_eq!(hashes(&map(&[("cache-tag", "A")])).as_slice(), [hash(b"a")]);
    }

    #[test]
    fn too_many_tags_or_too_long_ones_do_not_fit() {
        let list = |count: usize| vec!["t"; count].join(" ");
        assert!(fit(&map(&[("surrogate-key", &list(MAX_TAGS))])));
        assert!(!fit(&map(&[("surrogate-key", &list(MAX_TAGS)), ("cache-tag", "one")])));
        assert!(fit(&map(&[("cache-tag", &"t".repeat(MAX_BYTES))])));
        assert!(!fit(&map(&[("cache-tag", &"t".repeat(MAX_BYTES + 1))])));
        assert!(fit(&HeaderMap::new()));
    }
}
