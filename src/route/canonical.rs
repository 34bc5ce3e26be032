//! One spelling per request target: what is matched is byte for byte what is sent upstream.
//!
//! Two readings of one path are the classic way around a gateway, so a target is brought to its canonical
//! form once (RFC 3986, section 6.2.2: unreserved characters bare, hex in capitals, everything a path
//! cannot hold escaped) and refused where an upstream could read it in another way. For every accepted
//! target `Url::parse` leaves path and query as they are (a property test holds that).
//!
//! It does not decode: `%2F` stays `%2F` and is only reported. Whether a route takes it is the caller's
//! rule: under `encoded_slash: keep` it passes; under `refuse` it is a 400; without either, the caller looks
//! up [`decode_slashes`] of the path too and refuses when that leads to another route than the path itself.

use std::borrow::Cow;

/// A target of more bytes cannot be held by [`http::Uri`].
const MAX_LEN: usize = u16::MAX as usize - 1;

/// A target in canonical form; borrowed from the input when that was canonical already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Begins with `/`.
    pub path: Cow<'a, str>,
    /// Without its `?`; `Some("")` when there is a `?` and nothing behind it.
    pub query: Option<Cow<'a, str>>,
    /// Whether the path holds `%2F`.
    pub encoded_slash: bool,
}

/// Why a target is refused; each is a 400, but for the length, a 414.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotAbsolute,
    Fragment,
    DotSegment,
    Backslash,
    Control,
    Escape,
    TooLong,
}

impl Refusal {
    /// For the `detail` of a problem.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the request target does not begin with `/`",
            Self::Fragment => "the request target holds a fragment (`#`)",
            Self::DotSegment => "the path holds a dot segment (`.` or `..`, plain or encoded)",
            Self::Backslash => "the path holds a backslash, plain or encoded",
            Self::Control => "the request target holds a control character",
            Self::Escape => "the path holds a `%` that two hexadecimal digits do not follow",
            Self::TooLong => "the request target is too long",
        }
    }
}

/// Brings a raw path and query to canonical form.
///
/// Refused in the path: dot segments in any mix of `.` and `%2e`, also between encoded slashes and before
/// path parameters (`..;x`, which some servers read as `..`); backslashes and control characters, plain or
/// encoded; invalid escapes. In the query only plain control characters are: there escapes are data.
///
/// # Errors
/// The first reason found.
pub fn canonical(target: &str) -> Result<Target<'_>, Refusal> {
    if !target.starts_with('/') {
        return Err(Refusal::NotAbsolute);
    }
    if target.len() > MAX_LEN {
        return Err(Refusal::TooLong);
    }
    if memchr::memchr(b'#', target.as_bytes()).is_some() {
        return Err(Refusal::Fragment);
    }
    let (raw_path, raw_query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let path = path(raw_path)?;
    if has_dot_segment(&path) {
        return Err(Refusal::DotSegment);
    }
    let query = raw_query.map(query).transpose()?;
    if path.len() + query.as_ref().map_or(0, |query| query.len() + 1) > MAX_LEN {
        return Err(Refusal::TooLong);
    }
    let encoded_slash = memchr::memmem::find(path.as_bytes(), b"%2F").is_some();
    Ok(Target { path, query, encoded_slash })
}

/// A canonical path as a server reads it that decodes slashes before it splits segments.
#[must_use]
pub fn decode_slashes(path: &str) -> String {
    path.replace("%2F", "/")
}

/// Canonical escapes of a path or a part of one; dot segments are left to [`has_dot_segment`].
pub(super) fn path(raw: &str) -> Result<Cow<'_, str>, Refusal> {
    let bytes = raw.as_bytes();
    let mut out = Rewrite::new(raw);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let decoded = escape(bytes, at)?;
                match decoded {
                    0..0x20 | 0x7F => return Err(Refusal::Control),
                    b'\\' => return Err(Refusal::Backslash),
                    _ if unreserved(decoded) => out.replace(at..at + 3, &[decoded]),
                    _ => out.replace(at..at + 3, &escaped(decoded)),
                }
                at += 2;
            }
            b'\\' => return Err(Refusal::Backslash),
            0..0x20 | 0x7F => return Err(Refusal::Control),
            _ if PATH[byte as usize] => {}
            _ => out.replace(at..at + 1, &escaped(byte)),
        }
        at += 1;
    }
    Ok(out.finish())
}

/// What `Url::parse` would escape in the query of an `http` URL is escaped here, nothing else is touched.
fn query(raw: &str) -> Result<Cow<'_, str>, Refusal> {
    let mut out = Rewrite::new(raw);
    for (at, byte) in raw.bytes().enumerate() {
        match byte {
            0..0x20 | 0x7F => return Err(Refusal::Control),
            b' ' | b'"' | b'<' | b'>' | b'\'' | 0x80.. => out.replace(at..at + 1, &escaped(byte)),
            _ => {}
        }
    }
    Ok(out.finish())
}

/// Whether a canonical path holds `.` or `..` as a segment, for a reader that takes `%2F` for a slash or
/// cuts a segment at its `;`.
pub(super) fn has_dot_segment(path: &str) -> bool {
    if memchr::memchr(b'.', path.as_bytes()).is_none() {
        return false;
    }
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    path.split('/').any(|segment| segment.split("%2F").any(dots))
}

/// The bytes a path may hold unescaped: `pchar` and `/` (RFC 3986, section 3.3).
static PATH: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = unreserved(byte as u8)
            || matches!(
                byte as u8,
                b'/' | b':'
                    | b'@'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
            );
        byte += 1;
    }
    table
};

const fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that the escape at `at` stands for.
fn escape(bytes: &[u8], at: usize) -> Result<u8, Refusal> {
    let digit = |at: usize| bytes.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    match (digit(at + 1), digit(at + 2)) {
        (Some(high), Some(low)) => Ok((high << 4 | low) as u8),
        _ => Err(Refusal::Escape),
    }
}

fn escaped(byte: u8) -> [u8; 3] {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    [b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

/// Copies a text only once a part of it is replaced by something else.
struct Rewrite<'a> {
    raw: &'a str,
    out: Vec<u8>,
    /// How much of `raw` stands in `out`.
    done: usize,
}

impl<'a> Rewrite<'a> {
    fn new(raw: &'a str) -> Self {
        Self { raw, out: Vec::new(), done: 0 }
    }

    fn replace(&mut self, range: std::ops::Range<usize>, by: &[u8]) {
        let raw = self.raw.as_bytes();
        if raw[range.clone()] != *by {
            self.out.extend_from_slice(&raw[self.done..range.start]);
            self.out.extend_from_slice(by);
            self.done = range.end;
        }
    }

    fn finish(mut self) -> Cow<'a, str> {
        if self.done == 0 {
            return Cow::Borrowed(self.raw);
        }
        self.out.extend_from_slice(&self.raw.as_bytes()[self.done..]);
        // Every non-ASCII byte was replaced by its escape.
        Cow::Owned(String::from_utf8(self.out).expect("invariant: canonical text is ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    fn accepted(target: &str) -> String {
        let target = canonical(target).unwrap_or_else(|refusal| panic!("{target}: {refusal:?}"));
        target.path.into_owned() + &target.query.map(|query| format!("?{query}")).unwrap_or_default()
    }

    #[test]
    fn a_canonical_target_is_borrowed() {
        let target = canonical("/a/%20b/%2F~x;v=1/'()*!$&+,=:@?q=%zz&x={}^`|\\").unwrap();
        assert!(matches!(target.path, Cow::Borrowed(_)));
        assert!(matches!(target.query, Some(Cow::Borrowed(_))));
        assert!(target.encoded_slash);
        assert_eq!(canonical("/a?").unwrap().query.as_deref(), Some(""));
        assert_eq!(canonical("//a//").unwrap().path, "//a//");
    }

    #[test]
    fn other_spellings_are_brought_to_one() {
        for (raw, expected) in [
            ("/%7Eme/%41%2d%2E%5f", "/~me/A-._"),
            ("/a%2fb%c3%bc", "/a%2Fb%C3%BC"),
            ("/grüße", "/gr%C3%BC%C3%9Fe"),
            ("/\"<>{}^`|[]", "/%22%3C%3E%7B%7D%5E%60%7C%5B%5D"),
            ("/a%252e%252e/b", "/a%252e%252e/b"),
            ("/a?b='c'\"<>ü#"[..].trim_end_matches('#'), "/a?b=%27c%27%22%3C%3E%C3%BC"),
            ("/a?b=%7e%2f%00", "/a?b=%7e%2f%00"),
            ("/...", "/..."),
            ("/.a/a./..b", "/.a/a./..b"),
        ] {
            assert_eq!(accepted(raw), expected, "{raw}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let cases: &[(Refusal, &[&str])] = &[
            (Refusal::NotAbsolute, &["", "*", "a", "http://h/", "?a"]),
            (Refusal::Fragment, &["/#", "/a?b#c"]),
            (
                Refusal::DotSegment,
                &[
                    "/.",
                    "/..",
                    "/./",
                    "/a/../b",
                    "/a/%2e%2E",
                    "/%2e./",
                    "/.%2e",
                    "/..;/a",
                    "/a/.;x",
                    "/a/..%2Fb",
                    "/a%2f..",
                    "/x%2F%2e%2e%2fy",
                    "/a/..?q",
                ],
            ),
            (Refusal::Backslash, &["/\\", "/a\\..\\b", "/%5c", "/%5C.."]),
            (Refusal::Control, &["/\t", "/a\nb", "/%00", "/%1f", "/%7F", "/\x7f", "/?\n", "/?a=\x01"]),
            (Refusal::Escape, &["/%", "/%2", "/%zz", "/%2g", "/a%?b", "/%ü"]),
        ];
        for (refusal, targets) in cases {
            for target in *targets {
                assert_eq!(canonical(target), Err(*refusal), "{target:?}");
            }
        }
        assert_eq!(canonical(&format!("/{}", "a".repeat(70_000))), Err(Refusal::TooLong));
        assert_eq!(canonical(&format!("/{}", "ü".repeat(20_000))), Err(Refusal::TooLong));
    }

    /// Targets made of the pieces that parsers disagree about.
    fn targets() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("/"),
            Just("."),
            Just(".."),
            Just("%2e"),
            Just("%2E"),
            Just("%2f"),
            Just("%2F"),
            Just("\\"),
            Just("%5c"),
            Just("?"),
            Just("#"),
            Just(";"),
            Just("%"),
            Just("%25"),
            Just("%00"),
            Just("'"),
            Just("\""),
            Just("<"),
            Just("{"),
            Just("}"),
            Just("^"),
            Just("`"),
            Just("|"),
            Just("["),
            Just(" "),
            Just("ü"),
            Just("%c3%bc"),
            Just("\t"),
            Just("@"),
            Just(":"),
            Just("a"),
            Just("C:"),
            Just("%41"),
        ];
        let pieces = prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()));
        prop_oneof![4 => pieces, 1 => "/\\PC{0,20}", 1 => ".{0,20}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn the_url_parser_leaves_an_accepted_target_as_it_is(target in targets()) {
            if let Ok(canon) = canonical(&target) {
                let text = accepted(&target);
                let url = Url::parse(&format!("http://upstream.example:8080{text}")).unwrap();
                prop_assert_eq!(url.path(), canon.path.as_ref());
                prop_assert_eq!(url.query(), canon.query.as_deref());
                prop_assert_eq!(url.host_str(), Some("upstream.example"));
                prop_assert!(http::uri::PathAndQuery::try_from(text.as_str()).is_ok());
            }
        }

        #[test]
        fn canonical_form_is_its_own_canonical_form(target in targets()) {
            if canonical(&target).is_ok() {
                let text = accepted(&target);
                let again = canonical(&text).unwrap();
                prop_assert!(matches!(again.path, Cow::Borrowed(_)));
                prop_assert_eq!(accepted(&text), text);
            }
        }
    }
}
